"""Scores of files: tables, figures of the oddest images, maps, and what cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import FIELDS, SHAPES, sampler, sections
from vqkit.errors import DataError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.rasters import open_raster
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.oddity import measure_oddity
from vqkit.inference.oddity_reference import SCORES, OddityReference
from vqkit.inference.sampler import Sampler
from vqkit.inference.scoring import Scored, ScoreRequest, score_items

UNIT = SHAPES.to_unit(sections(5))
READY = sampler("observed")
READY.pipeline.tile_overlap = 0


def usual(ready: Sampler, images: torch.Tensor = UNIT) -> OddityReference:
    """A reference of these images."""
    found = measure_oddity(ready, images, torch.ones_like(images, dtype=torch.bool))
    signals, largest = ({name: each.tolist() for name, each in values.items()} for values in (found.signals(), found.largest()))
    signals["bits"] = (found.signals()["bits"] + torch.linspace(-1, 1, len(images))).tolist()  # or all would be the same
    return OddityReference(ready.digest, ready.pipeline.digest, signals, largest)


def scored(
    source: Path, out: Path, request: ScoreRequest, skipped: list[str] | None = None, ready: Sampler = READY
) -> list[Scored]:
    items = find_inputs(source, ready.spec).items
    images = UNIT if ready is READY else torch.rand(5, 3, 16, 12)
    told = skipped if skipped is not None else []
    return score_items(
        ready,
        usual(ready, images),
        items,
        out,
        ReadOptions(),
        request,
        lambda path, reason: told.append(reason),
        lambda count: None,
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five sections, the last of which is empty."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, image in enumerate(sections(5)):
        np.save(folder / f"s{number}.npy", image.numpy() * (number < 4))
    return folder


def test_tables_hold_every_image_the_oddest_first(source: Path, tmp_path: Path) -> None:
    found = scored(source, tmp_path / "out", ScoreRequest(figures=0, batch_size=2))
    assert sorted(each.name for each in found) == [f"s{number}" for number in range(5)]
    combined = [each.scores["combined"] for each in found]
    assert combined == sorted(combined, reverse=True)
    reference = usual(READY)
    images = SHAPES.to_unit(torch.stack([torch.from_numpy(np.load(source / f"{each.name}.npy")) for each in found]))
    expected = reference.scores(measure_oddity(READY, images, torch.ones_like(images, dtype=torch.bool)).signals())
    for name in SCORES:
        assert [each.scores[name] for each in found] == pytest.approx(expected[name].tolist(), rel=1e-5)
        assert [each.shares[name] for each in found] == pytest.approx(reference.share_above(name, expected[name]).tolist())
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content["validation_images"] == 5 and content["prior_digest"] == READY.digest
    assert content["images"] == [each.to_json() for each in found]
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [each.name for each in found]
    assert [float(row["share_error"]) for row in rows] == pytest.approx([each.shares["error"] for each in found], rel=1e-5)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scores.csv", "scores.json"}


@pytest.mark.parametrize(("asked", "drawn"), [(0, 0), (2, 2), (9, 5), (None, 5)])
def test_figures_are_of_the_oddest(source: Path, tmp_path: Path, asked: int | None, drawn: int) -> None:
    found = scored(source, tmp_path / "out", ScoreRequest(figures=asked, batch_size=2))
    figures = sorted(path.stem for path in (tmp_path / "out").glob("figures/*.png"))
    assert figures == sorted(each.name for each in found[:drawn])


def test_maps_are_in_the_unit_of_the_figures_and_unknown_where_nothing_is(tmp_path: Path) -> None:
    ready = sampler("observed", spec=FIELDS)
    values = FIELDS.from_unit(torch.rand(1, 3, 16, 12))[0].numpy().astype("float32")
    values[:, :4, :8] = np.nan
    np.save(tmp_path / "a.npy", values)
    scored(tmp_path / "a.npy", tmp_path / "out", ScoreRequest(maps=True), ready=ready)
    with open_raster(tmp_path / "out" / "maps" / "a_bits.tif") as raster:
        bits = raster.read().values[0]
    with open_raster(tmp_path / "out" / "maps" / "a_error.tif") as raster:
        errors = raster.read().values[0]
    assert bits.dtype == errors.dtype == np.float32
    for each in (bits, errors):
        assert np.isnan(each[:4, :8]).all() and np.isfinite(each[4:]).all() and np.isfinite(each[:, 8:]).all()
    assert np.allclose(bits[4:8, :4], 4)  # any of 16 codes is as likely
    with Image.open(tmp_path / "out" / "figures" / "a.png") as figure:
        assert figure.width > 400 and figure.height > 400


def test_what_cannot_be_read_is_skipped(source: Path, tmp_path: Path) -> None:
    (source / "broken.npy").write_bytes(b"no array")
    np.save(source / "small.npy", np.zeros((3, 8, 8), np.uint8))
    skipped: list[str] = []
    assert len(scored(source, tmp_path / "out", ScoreRequest(), skipped)) == 5
    assert len(skipped) == 2 and any("codes are those of 12 x 8 pixels" in reason for reason in skipped)


def test_every_tile_of_a_larger_image_is_scored_like_an_image(source: Path, tmp_path: Path) -> None:
    images = [np.load(source / f"s{number}.npy") for number in range(4)]
    large = np.concatenate([np.concatenate(images[:2], axis=2), np.concatenate(images[2:], axis=2)], axis=1)
    np.save(tmp_path / "large.npy", large)
    alone = {each.name: each for each in scored(source, tmp_path / "out", ScoreRequest(figures=0))}
    tiled = {each.name: each for each in scored(tmp_path / "large.npy", tmp_path / "tiles", ScoreRequest(maps=True, batch_size=3))}
    places = ["y00000_x00000", "y00000_x00012", "y00008_x00000", "y00008_x00012"]
    assert sorted(tiled) == [f"large_{place}" for place in places]
    for number, place in enumerate(places):
        one, other = tiled[f"large_{place}"], alone[f"s{number}"]
        assert one.bits == pytest.approx(other.bits) and one.scores == pytest.approx(other.scores, rel=1e-5)
    assert len(list((tmp_path / "tiles" / "maps").iterdir())) == 8


def test_tiles_without_data_are_left_out(tmp_path: Path) -> None:
    ready = sampler("observed", spec=FIELDS)
    ready.pipeline.tile_overlap = 0
    values = FIELDS.from_unit(torch.rand(1, 3, 16, 24))[0].numpy().astype("float32")
    values[:, :, 12:] = np.nan
    np.save(tmp_path / "half.npy", values)
    found = scored(tmp_path / "half.npy", tmp_path / "out", ScoreRequest(figures=0), ready=ready)
    assert [each.name for each in found] == ["half_y00000_x00000"]


def test_inputs_are_not_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    Image.fromarray(np.zeros((8, 36), np.uint8)).save(tmp_path / "figures" / "s0.png")
    with pytest.raises(DataError, match="would replace the input"):
        scored(tmp_path / "figures" / "s0.png", tmp_path, ScoreRequest())
