"""`vqkit inpaint`, `encode` and `decode` as typed, with a model whose answers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image

from command_runner import command_runner
from painting import SHAPES, load_blocks, pipeline, sampler, sections, write_components
from vqkit.cli.conditions import parse_conditions, parse_names
from vqkit.cli.counting import counting
from vqkit.cli.decode import decode
from vqkit.cli.encode import encode
from vqkit.cli.inpaint import inpaint
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.image_io import large_images
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.pictures import save_picture, to_pil
from vqkit.image_io.rasters import open_raster, write_raster
from vqkit.image_io.reading import ReadOptions, read_images
from vqkit.inference import pipeline as generate
from vqkit.inference import sampler as sampler_module
from vqkit.inference.calibration import Calibration
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import Sampling
from vqkit.storage import runs
from vqkit.storage.code_files import read_codes

IMAGES = sections(3)
asked: list[tuple[str, str | None, str]] = []
app = typer.Typer()
app.command("inpaint")(inpaint)
app.command("encode")(encode)
app.command("decode")(decode)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with exported sections and runs that hold the blocks; the digest of a run is its name.

    The name of a prior says what it was trained with, such as observed+metadata.
    """

    def load_sampler(prior: str, tokenizer: str | None, device: str, tile_overlap: int | None, *, tokenizer_option: str) -> Sampler:
        asked.append((prior, tokenizer, device))
        return sampler(*prior.split("+"))

    asked.clear()
    monkeypatch.setattr(generate, "load_model", load_blocks)
    monkeypatch.setattr(sampler_module, "load_sampler", load_sampler)
    monkeypatch.setattr(runs, "has_run", lambda kind: True)
    monkeypatch.chdir(tmp_path)
    write_components(IMAGES, Path("sections"))
    return tmp_path


def run(*arguments: str) -> Any:
    result = command_runner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_one_file_as_typed() -> None:
    result = run("inpaint", "sections/belt/s0_belt.png", "--keep", "belt")
    assert result.stdout.splitlines() == [
        "using runs/newest/model.safetensors",
        "filled in 1 image, written to inpainted/",
        "look at inpainted/before_after/s0.png",
    ]
    kept, written = Path("sections/belt/s0_belt.png"), Path("inpainted/belt/s0_belt.png")
    assert np.array_equal(np.array(Image.open(kept)), np.array(Image.open(written)))


def test_a_directory_as_typed() -> None:
    Path("sections/belt/s1_belt.png").write_bytes(b"broken")
    result = run("inpaint", "sections", "--keep", "belt,carcass", "--out", "out", "--batch-size", "1", "--run", "chosen")
    assert result.stdout.splitlines() == [
        "using runs/chosen/model.safetensors",
        "filled in 2 images; 1 skipped, written to out/",
        "look at out/before_after/",
    ]
    assert "skipped sections/" in result.stderr and "s1_belt.png cannot be read" in result.stderr


def test_a_mask_is_white_where_to_fill_in() -> None:
    hole = torch.zeros(8, 12, dtype=torch.uint8)
    hole[:4] = 255
    save_picture(to_pil(hole), Path("mask.png"))
    run("inpaint", "sections", "--mask", "mask.png")
    items = find_inputs(Path("inpainted"), SHAPES).items
    entries = read_images(items, SHAPES, ReadOptions(), lambda *skipped: None, lambda image: None)
    observed = torch.ones(3, 3, 8, 12, dtype=torch.bool) & (hole == 0)
    expected = pipeline(SHAPES).inpaint(IMAGES, observed=observed)
    assert torch.equal(torch.stack([entry.image for entry in entries]), expected)


def scene(path: Path) -> torch.Tensor:
    """A file of five by five sections, and its values [3, 40, 60]."""
    values = sections(25).view(5, 5, 3, 8, 12).permute(2, 0, 3, 1, 4).reshape(3, 40, 60)
    write_raster(path, values.numpy())
    return values


def test_a_large_file_is_filled_in_by_rows_as_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = scene(Path("scene.tif"))
    in_memory = run("inpaint", "scene.tif", "--keep", "belt", "--tile-overlap", "4", "--out", "whole")
    assert in_memory.stderr.startswith("Note: 1 image is larger than the model's tile")
    monkeypatch.setattr(large_images, "LARGEST_IN_MEMORY", 1000)
    result = run("inpaint", "scene.tif", "--keep", "belt", "--tile-overlap", "4", "--out", "rows")
    assert result.stdout.splitlines()[1:] == ["filled in 1 image, written to rows/", "look at rows/before_after/scene.png"]
    assert result.stderr.splitlines()[-1] == "scene: rows: 40 of 40"
    with open_raster(Path("rows/scene.tif")) as rows, open_raster(Path("whole/scene.tif")) as whole:
        by_rows = torch.from_numpy(rows.read().values)
        assert torch.equal(by_rows, torch.from_numpy(whole.read().values))
    expected = pipeline(SHAPES, tile_overlap=4).inpaint(values, keep=["belt"])
    assert torch.equal(by_rows, expected) and torch.equal(by_rows[1], values[1])


def test_large_files_and_others_are_filled_in_together(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("in").mkdir()
    scene(Path("in/scene.tif"))
    write_raster(Path("in/section.tif"), IMAGES[0].numpy())
    monkeypatch.setattr(large_images, "LARGEST_IN_MEMORY", 1000)
    result = run("inpaint", "in", "--keep", "belt", "--out", "out", "--pattern", "{name}")
    assert result.stdout.splitlines()[-2:] == ["filled in 2 images, written to out/", "look at out/before_after/"]
    assert sorted(path.name for path in Path("out").glob("*.tif")) == ["scene.tif", "section.tif"]


def test_conditions_reach_the_model() -> None:
    run("inpaint", "sections", "--keep", "belt", "--condition", "width_px=20")
    with Image.open("inpainted/carcass/s0_carcass.png") as picture:
        assert picture.getextrema() == (0, 0), "a fifth is below the threshold everywhere"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["sections", "--keep", "bealt"], ConfigError, "Did you mean 'belt'"),
        (["sections"], DataError, "None of the 3 images can be used.*nothing to fill in"),
        (["sections/belt/s0_belt.png", "--keep", "belt,tread"], DataError, "does not hold tread"),
        (["sections", "--keep", ","], ConfigError, "--keep names no component"),
        (["sections", "--keep", "belt", "--condition", "width"], ConfigError, "there is no '='"),
        (["sections", "--keep", "belt", "--condition", "width_px=wide"], ConfigError, "'wide' is not a number"),
        (["sections", "--keep", "belt", "--condition", "height=3"], ConfigError, "no condition 'height'"),
        (["sections", "--keep", "belt", "--device", "tpu"], ConfigError, "no device 'tpu'"),
        (["sections", "--keep", "belt", "--form", "tree"], ConfigError, "no form 'tree'"),
        (["sections", "--keep", "belt", "--tile-overlap", "5"], ConfigError, "overlap is 5 pixels; tiles of 8 x 12 allow 0 to 4"),
        (["nowhere.png", "--keep", "belt"], DataError, "nowhere.png does not exist"),
        (["sections", "--keep", "belt", "--out", "sections"], DataError, "Choose another directory"),
    ],
)
def test_what_cannot_be_done_says_so_and_writes_nothing(arguments: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run("inpaint", *arguments)
    assert not Path("inpainted").exists()


def test_several_answers_as_typed() -> None:
    result = run(
        "inpaint", "sections/belt/s1_belt.png", "--keep", "belt", "--prior", "observed", "--num-samples", "3", "--seed", "4"
    )
    assert result.stdout.splitlines() == [
        "using runs/prior/model.safetensors and its tokenizer runs/blocks/model.safetensors",
        "completed 1 image in 3 ways, written to inpainted/",
        "look at inpainted/completions/s1.png",
    ]
    for number in (1, 2, 3):
        kept, given = (np.array(Image.open(path)) for path in (f"inpainted/belt/s1_{number}_belt.png", "sections/belt/s1_belt.png"))
        assert np.array_equal(kept, given)
    observed = torch.zeros(1, 3, 8, 12, dtype=torch.bool)
    observed[:, 1] = True
    expected = sampler("observed").complete(IMAGES[1:2], observed, 3, sampling=Sampling(seed=4))
    (image,) = json.loads(Path("inpainted/completions.json").read_text())["images"]
    assert list(image["nll"].values()) == expected.nll[0].tolist()


def test_answers_are_ranked_as_asked() -> None:
    run("inpaint", "sections", "--keep", "belt", "--prior", "observed", "--num-samples", "4", "--rank", "consensus")
    content = json.loads(Path("inpainted/completions.json").read_text())
    assert content["rank"] == "consensus"
    errors = [list(image["expected_error"].values()) for image in content["images"]]
    assert all(each == sorted(each) for each in errors) and any(each[0] < each[-1] for each in errors)


def test_answers_are_drawn_at_the_fitted_temperature_unless_another_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_sampler(prior: str, tokenizer: str | None, device: str, tile_overlap: int | None, *, tokenizer_option: str) -> Sampler:
        fitted = sampler(prior)
        fitted.calibration = Calibration("p", "t", 1, 2, 0.9, (), 1.4, {})
        return fitted

    monkeypatch.setattr(sampler_module, "load_sampler", load_sampler)
    for typed, temperature in (((), 1.4), (("--temperature", "1"), 1.0)):
        output = run("inpaint", "sections", "--keep", "belt", "--prior", "observed", "--num-samples", "2", *typed).stdout
        assert ("at the temperature 1.4, which was fitted on validation images" in output) == (not typed)
        assert json.loads(Path("inpainted/completions.json").read_text())["sampling"]["temperature"] == temperature


def test_answers_for_a_directory_told_how_to_draw() -> None:
    arguments = (
        "sections",
        "--keep",
        "belt",
        "--prior",
        "observed+metadata",
        "--out",
        "out",
        "--condition",
        "width_px=20",
        "--run",
        "moved",
    )
    drawn = (
        "--temperature",
        "0.5",
        "--top-k",
        "9",
        "--top-p",
        "0.9",
        "--guidance-scale",
        "2",
        "--method",
        "naive",
        "--device",
        "cpu",
    )
    result = run("inpaint", *arguments, *drawn)
    assert result.stdout.splitlines()[1:] == ["completed 3 images in 8 ways, written to out/", "look at out/completions/"]
    assert result.stderr.splitlines()[-1] == "drawn: 24 of 24"
    assert asked == [("observed+metadata", "moved", "cpu")]
    sampling = json.loads(Path("out/completions.json").read_text())["sampling"]
    assert Sampling(**sampling) == Sampling(0.5, 9, 0.9, 2.0, 0, "naive")
    with Image.open("out/carcass/s0_1_carcass.png") as picture:
        assert picture.getextrema() == (0, 0), "the condition reaches the decoder: a fifth is below the threshold everywhere"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prior", "observed", "--num-samples", "0"], "0 completions were requested"),
        (["--prior", "observed", "--rank", "best"], "cannot be ranked by 'best'.*likelihood, consensus"),
        (["--rank", "consensus"], "--rank needs --prior"),
        (["--num-samples", "4"], "--num-samples needs --prior.*train-prior --condition-on observed"),
        (["--top-p", "0.5"], "--top-p needs --prior"),
        (["--draw-steps", "8"], "--draw-steps needs --prior"),
        (["--prior", "observed", "--temperature", "0"], "temperature is 0; it must be above 0"),
        (["--prior", "observed", "--top-p", "1.5"], r"top-p is 1.5; it must be in \(0, 1\]"),
        (["--prior", "metadata"], "was not trained to complete images.*--condition-on observed"),
        (["--prior", "observed", "--condition", "width_px=3"], "not trained with --condition-on metadata"),
        (["--prior", "observed+metadata", "--condition", "width=3"], "no condition 'width'.*Did you mean 'width_px'"),
    ],
)
def test_what_a_prior_cannot_do_says_so_and_writes_nothing(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run("inpaint", "sections", "--keep", "belt", *arguments)
    assert not Path("inpainted").exists()


def test_a_model_is_no_prior(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="holds a model, not a prior"):
        run("inpaint", "sections", "--keep", "belt", "--prior", str(tiny_run))


def test_help_says_which_colour_of_a_mask_is_filled_in() -> None:
    assert "WHITE pixels are filled in" in " ".join(run("inpaint", "--help").stdout.replace("│", " ").split())


def test_encode_and_decode() -> None:
    encoded = run("encode", "sections", "--out", "all.safetensors")
    assert encoded.stdout.splitlines()[-1] == "encoded 3 images to all.safetensors (2 x 3 codes of 16 each)"
    content = read_codes(Path("all.safetensors"))
    assert content.names == ("s0", "s1", "s2")
    assert torch.equal(content.part(slice(None))[0], pipeline(SHAPES).encode(IMAGES)[0])
    decoded = run("decode", "all.safetensors", "--out", "again")
    assert decoded.stdout.splitlines()[-1] == "decoded 3 images, written to again/"
    assert len(list(Path("again").rglob("*.png"))) == 12
    with pytest.raises(CheckpointError, match="were made by the tokenizer newestnewest, not by otherotherot"):
        run("decode", "all.safetensors", "--run", "other")


def test_encode_keeps_only_what_is_asked_for() -> None:
    run("encode", "sections", "--keep", "belt")
    assert torch.equal(read_codes(Path("codes.safetensors")).part(slice(None))[0], pipeline(SHAPES).encode(IMAGES, keep="belt")[0])


def test_components_whose_names_hold_commas_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    bands = DataSpec.uniform("bands", ("B2, blue", "B3, green", "B4"), 8, 12, "binary")
    loaded = pipeline(bands).loaded
    monkeypatch.setattr(generate, "load_model", lambda run, device: loaded)
    np.save("bands.npy", IMAGES.numpy())
    run("inpaint", "bands.npy", "--keep", "B2, blue,B4")
    run("encode", "bands.npy", "--keep", "B2, blue,B4")
    keep = ("B2, blue", "B4")
    assert np.array_equal(np.load("inpainted/bands.npy"), pipeline(bands).inpaint(IMAGES.numpy(), keep=keep))
    assert torch.equal(read_codes(Path("codes.safetensors")).part(slice(None))[0], pipeline(bands).encode(IMAGES, keep=keep)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either INPUT or --data"),
        (["sections", "--data", "tyre"], "either INPUT or --data"),
        (["--data", "tyre", "--keep", "belt"], "--keep, --form and --pattern apply to INPUT"),
        (["sections", "--out", "codes.json"], "ends in .safetensors"),
        (["--data", "tyre", "--split", "everything"], "no split 'everything'"),
    ],
)
def test_encode_asks_for_one_input(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run("encode", *arguments)


def test_parsing() -> None:
    assert parse_conditions(["a=1", "b = 2.5", "a = 1.0"]) == {"a": 1, "b": 2.5}
    assert math.isnan(parse_conditions(["a=nan", "a=nan"])["a"])
    assert parse_conditions(None) == {}
    assert parse_names(" a, b,a,") == ("a", "b", "a")
    assert parse_names(None) == ()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["a=1", "a=2"], "--condition gives a twice: 1 and 2"),
        (["a=1", "a=nan"], "--condition gives a twice: 1 and nan"),
        (["a=-inf"], "'--condition a=-inf' is not a finite number"),
        (["a=1e999"], "'--condition a=1e999' is not a finite number"),
    ],
)
def test_a_condition_has_one_finite_value(assignments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_conditions(assignments)


def test_counting_prints_a_line_for_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("encoded", 20) as advance:
        for _ in range(20):
            advance(1)
    lines = capsys.readouterr().err.split("\n")[:-1]
    assert lines == [f"encoded: {number} of 20" for number in range(2, 21, 2)]


def test_parts_of_images_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("drawn", 12) as advance:
        for _ in range(12 * 7):
            advance(1 / 7)
    lines = capsys.readouterr().err.split("\n")[:-1]
    assert len(lines) == 10 and lines[0] == "drawn: 1 of 12" and lines[-1] == "drawn: 12 of 12"


def test_a_single_image_needs_no_counting(capsys: pytest.CaptureFixture[str]) -> None:
    with counting("encoded", 1) as advance:
        advance(1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("figures", "count"), [("all", 3), ("none", 0), ("2", 2)])
def test_figures_as_asked_for(figures: str, count: int) -> None:
    result = run("inpaint", "sections", "--keep", "belt", "--figures", figures)
    assert len(list(Path("inpainted").rglob("before_after/*.png"))) == count
    assert ("look at" in result.stdout) == (count > 0)
    with pytest.raises(ConfigError, match="--figures is 'some'"):
        run("inpaint", "sections", "--keep", "belt", "--figures", "some")


def test_a_mask_of_0_and_1_counts_beside_keep() -> None:
    """It was ignored without a word."""
    hole = torch.zeros(8, 12, dtype=torch.uint8)
    hole[:4] = 1
    save_picture(to_pil(hole), Path("mask.png"))
    run("inpaint", "sections", "--keep", "belt", "--mask", "mask.png")
    filled, given = (np.array(Image.open(f"{folder}/belt/s0_belt.png")) for folder in ("inpainted", "sections"))
    assert np.array_equal(filled[4:], given[4:]) and not np.array_equal(filled[:4], given[:4])
    save_picture(to_pil(hole * 0), Path("black.png"))
    with pytest.raises(DataError, match=r"black\.png has no white pixels"):
        run("inpaint", "sections", "--keep", "belt", "--mask", "black.png")


def test_a_pattern_and_what_it_leaves_out() -> None:
    for number, image in enumerate(IMAGES):
        for name, values in zip(SHAPES.components[:2], image, strict=False):
            save_picture(to_pil(values), Path("other", f"{number}", f"map-{name}.png"))
    save_picture(to_pil(IMAGES[0, 0]), Path("other", "0", "notes.png"))
    result = run("inpaint", "other", "--pattern", "{name}/map-{component}.png")
    assert "Note: Not used: 1 picture that belongs to no image" in result.stderr
    assert sorted(path.name for path in Path("inpainted/0").iterdir()) == [f"map-{name}.png" for name in sorted(SHAPES.components)]
    encoded = run("encode", "other", "--pattern", "{name}/map-{component}.png")
    assert encoded.stdout.splitlines()[-1].startswith("encoded 3 images")


def test_images_larger_than_the_tile_are_said_to_be_filled_in_by_tiles() -> None:
    large = torch.cat([IMAGES[0], IMAGES[1]], dim=1)
    for name, values in zip(SHAPES.components, large, strict=True):
        save_picture(to_pil(values), Path("large", name, f"x_{name}.png"))
    result = run("inpaint", "large", "--keep", "belt")
    assert (
        "Note: 1 image is larger than the model's tile of 8 x 12 pixels (height x width), and filled in tile by tile."
        in result.stderr
    )
    assert "larger" not in run("inpaint", "sections", "--keep", "belt", "--out", "other").stderr
