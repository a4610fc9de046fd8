"""New images as files, with a prior whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from painting import COLOUR, SHAPES, STAINS, sampler, sections, write_components
from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import shuffled_indices
from vqkit.errors import DataError
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite, rows_figure
from vqkit.image_io.tables import write_table
from vqkit.inference import samples as drawing
from vqkit.inference.sampler import Sampler
from vqkit.inference.samples import (
    DrawnBlock,
    Sweep,
    conditions_of_test_set,
    draw_blocks,
    plain_blocks,
    plain_grid,
    sweep_blocks,
    sweep_grid,
)
from vqkit.interfaces import DataSpec, ShownImages
from vqkit.interfaces.priors import Sampling
from vqkit.storage.code_files import read_codes

SAMPLING = Sampling(seed=5)


def conditional() -> Sampler:
    return sampler("metadata")


def with_test_set(directory: Path) -> Sampler:
    """A sampler whose data set has three test images, 10, 20 and 30 wide."""
    images = sections(4)
    write_components(images[:3], directory / "test")
    write_components(images[3:], directory / "train", first=3)
    names = [f"s{number}" for number in range(4)]
    write_table(directory / "performances.csv", names, "test", ["width_px"], torch.tensor([[10.0], [20], [30], [40]]))
    ready = conditional()
    ready.data = NamedOptions(name="components", path=str(directory), conditions=["width_px"])
    return ready


def test_what_is_drawn_is_a_data_set_again(tmp_path: Path) -> None:
    blocks = plain_blocks(4, {"width_px": torch.tensor([10.0, 20, 30, 40])}, None)
    drawn = draw_blocks(conditional(), blocks, tmp_path, SAMPLING, batch_size=3)
    drawing.write_samples_json(conditional(), drawn, SAMPLING, tmp_path)
    samples = conditional().sample(4, {"width_px": [10, 20, 30, 40]}, sampling=SAMPLING)
    dataset = open_dataset(NamedOptions(name="components", path=str(tmp_path / "images"), components=list(SHAPES.components)))
    batch = dataset.split("test").batch(torch.arange(4))
    assert torch.equal(batch.images, samples.images)
    assert batch.conditions.tolist() == [[10], [20], [30], [40]]


def test_the_record_says_what_everything_is(tmp_path: Path) -> None:
    ready = conditional()
    drawn = draw_blocks(ready, plain_blocks(2, {"width_px": torch.tensor([10.0, torch.nan])}, None), tmp_path, SAMPLING)
    drawing.write_samples_json(ready, drawn, SAMPLING, tmp_path)
    content = json.loads((tmp_path / "samples.json").read_text())
    assert content["prior_digest"] == ready.digest and content["tokenizer_digest"] == "d" * 64
    assert Sampling(**content["sampling"]) == SAMPLING
    assert content["images"] == [
        {"name": "sample_00000", "number": 0, "conditions": {"width_px": 10}, "class": None},
        {"name": "sample_00001", "number": 1, "conditions": {}, "class": None},
    ]


def test_without_conditions_the_table_has_none(tmp_path: Path) -> None:
    drawn = draw_blocks(sampler(), plain_blocks(1, {}, None), tmp_path, SAMPLING)
    drawing.write_samples_json(sampler(), drawn, SAMPLING, tmp_path)
    assert (tmp_path / "images" / "performances.csv").read_text().split() == ["matching,train,test", "sample_00000,False,True"]


def test_codes_decode_to_the_same_images(tmp_path: Path) -> None:
    ready = conditional()
    drawn = draw_blocks(ready, plain_blocks(3, {"width_px": 30.0}, None), tmp_path, SAMPLING)
    drawing.write_all_codes(ready, drawn, tmp_path / "codes.safetensors")
    content = read_codes(tmp_path / "codes.safetensors")
    samples = ready.sample(3, {"width_px": 30}, sampling=SAMPLING)
    assert torch.equal(content.part(slice(None))[0], samples.codes[0]) and content.names == (
        "sample_00000",
        "sample_00001",
        "sample_00002",
    )
    assert content.conditions.tolist() == [[30]] * 3 and content.tokenizer == ready.pipeline.digest


def test_many_images_are_drawn_in_blocks_that_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, widths = conditional(), torch.tensor([10.0, 20, 30, 40, 50])
    whole = draw_blocks(ready, plain_blocks(5, {"width_px": widths}, None), tmp_path / "whole", SAMPLING)
    monkeypatch.setattr(drawing, "_BLOCK", 2)
    blocks = plain_blocks(5, {"width_px": widths}, None)
    parts = draw_blocks(ready, blocks, tmp_path / "parts", SAMPLING)
    assert [len(part.block.names) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.codes[0] for part in parts]), whole[0].codes[0])
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.png"))
    assert len(files) == 5 * 4
    assert all((tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes() for file in files)
    # In the grid, the blocks do not show either, and captions stay with their images.
    assert plain_grid(ready, parts, 3).tobytes() == plain_grid(ready, whole, 3).tobytes()


def test_along_a_row_of_a_sweep_only_the_condition_changes(tmp_path: Path) -> None:
    ready, sweep = conditional(), Sweep("width_px", (20.0, 47.5))
    drawn = draw_blocks(ready, sweep_blocks(3, sweep, {}, None), tmp_path, SAMPLING)
    alone = [ready.sample(3, {"width_px": value}, sampling=SAMPLING) for value in sweep.values]
    assert all(torch.equal(part.codes[0], samples.codes[0]) for part, samples in zip(drawn, alone, strict=True))
    names = {path.name for path in (tmp_path / "images" / "belt").iterdir()}
    assert names == {f"width_px_{value}_{row:05d}_belt.png" for value in ("20", "47.5") for row in range(3)}
    shown = [composite(SHAPES.to_unit(samples.images), SHAPES) for samples in alone]
    rows = [(f"sample {row}", torch.stack([shown[0][row], shown[1][row]])) for row in range(3)]
    assert sweep_grid(ready, drawn, sweep).tobytes() == rows_figure(rows, titles=["width_px 20", "width_px 47.5"]).tobytes()


def test_the_grid_says_what_was_asked_for(tmp_path: Path) -> None:
    ready = conditional()
    drawn = draw_blocks(ready, plain_blocks(3, {"width_px": torch.tensor([10.0, torch.nan, 30])}, None), tmp_path, SAMPLING)
    shown = drawn[0].pictures
    rows = [rows_figure([("width_px", shown[:2])], titles=["10", ""]), rows_figure([("width_px", shown[2:])], titles=["30"])]
    grid = plain_grid(ready, drawn, columns=2)
    assert grid.size == (rows[0].width, rows[0].height + rows[1].height)
    for row, top in zip(rows, (0, rows[0].height), strict=True):
        assert grid.crop((0, top, row.width, top + row.height)).tobytes() == row.tobytes()


def test_all_components_of_the_first_samples_are_shown_below_the_grid(tmp_path: Path) -> None:
    ready = sampler(spec=STAINS)
    drawn = draw_blocks(ready, plain_blocks(6, {}, None), tmp_path, SAMPLING)
    images = ready.sample(6, sampling=SAMPLING).images
    named = [(f"sample_{number:05d}", ShownImages(STAINS.to_unit(images[number : number + 1]))) for number in range(4)]
    below = overview(named, STAINS)
    grid = plain_grid(ready, drawn, columns=8)
    assert grid.crop((0, grid.height - below.height, below.width, grid.height)).tobytes() == below.tobytes()


def test_captions_name_classes_and_are_left_out_where_nothing_was_asked_for(tmp_path: Path) -> None:
    pets = DataSpec.uniform("pets", ("grey",), 8, 8, "intensity", classes=("cat", "dog"))
    ready = sampler("class", spec=pets)
    drawn = draw_blocks(ready, plain_blocks(2, {}, "dog"), tmp_path, SAMPLING)
    assert plain_grid(ready, drawn, 8).tobytes() == rows_figure([("class", drawn[0].pictures)], titles=["dog", "dog"]).tobytes()
    free: list[DrawnBlock] = draw_blocks(ready, plain_blocks(2, {}, None), tmp_path, SAMPLING)
    assert plain_grid(ready, free, 8).tobytes() == rows_figure([("", free[0].pictures)]).tobytes()
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"sample_00000.png", "sample_00001.png"}


def test_colour_pictures_have_no_table(tmp_path: Path) -> None:
    ready = sampler(spec=COLOUR)
    drawing.write_samples_json(ready, draw_blocks(ready, plain_blocks(1, {}, None), tmp_path, SAMPLING), SAMPLING, tmp_path)
    assert {path.name for path in (tmp_path / "images").iterdir()} == {"sample_00000.png"}


def test_conditions_of_the_test_set_over_and_over(tmp_path: Path) -> None:
    conditions, labels, name = conditions_of_test_set(with_test_set(tmp_path / "sections"), 5)
    widths = torch.as_tensor(conditions["width_px"])
    assert widths.tolist() == torch.tensor([10, 20, 30])[shuffled_indices(3, 5)].tolist()
    assert set(conditions) == {"width_px"} and widths[3:].tolist() == widths[:2].tolist()
    assert labels is None and name == "sections"


def test_a_test_set_that_is_gone_is_explained(tmp_path: Path) -> None:
    ready = with_test_set(tmp_path / "sections")
    (tmp_path / "sections").rename(tmp_path / "elsewhere")
    message = r"conditions of the test set cannot be read: \S+sections is not a directory\. Give the conditioning with --condition"
    with pytest.raises(DataError, match=message):
        conditions_of_test_set(ready, 5)
    with pytest.raises(DataError, match="does not name the data set"):
        conditions_of_test_set(conditional(), 5)
