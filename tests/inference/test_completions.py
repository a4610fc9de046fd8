"""Several answers to one hole as files, with a prior whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from painting import COLOUR, SHAPES, noise, sampler, sections, write_components
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.masks import Mask
from vqkit.image_io.reading import ReadOptions
from vqkit.inference import completions as completing
from vqkit.inference.completions import Completed, CompletionRequest, complete_items, completion_names
from vqkit.inference.ranking import RANKS, Rank
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.interfaces.priors import Sampling

IMAGES = sections(3)
BELT = torch.zeros(3, 8, 12, dtype=torch.bool)
BELT[1] = True
KEEP_BELT = ReadOptions(("belt",))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_components(IMAGES, tmp_path / "in")


def complete(
    source: Path, out: Path, count: int, request: ReadOptions = KEEP_BELT, spec: DataSpec = SHAPES
) -> tuple[list[Completed], list[str]]:
    skipped: list[str] = []
    items = find_inputs(source, spec, exclude=out).items
    ready = sampler("observed", spec=spec)
    drawing = CompletionRequest(count, sampling=Sampling(seed=2))
    drawn = complete_items(ready, items, out, request, drawing, lambda path, reason: skipped.append(reason))
    return list(drawn), skipped


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image))


def test_answers_are_written_the_best_first(source: Path, tmp_path: Path) -> None:
    completed, skipped = complete(source, tmp_path / "out", 3)
    assert [result.name for result in completed] == ["s0", "s1", "s2"] and not skipped
    expected = sampler("observed").complete(IMAGES, BELT.expand(3, -1, -1, -1), 3, sampling=Sampling(seed=2))
    for row, result in enumerate(completed):
        assert list(result.nll) == [f"s{row}_1", f"s{row}_2", f"s{row}_3"]
        assert list(result.nll.values()) == expected.nll[row].tolist()
        assert (
            list(result.expected_error.values()) == expected.expected_error[row].tolist() == sorted(result.expected_error.values())
        )
        for answer, name in enumerate(result.nll):
            written = torch.stack([pixels(tmp_path / "out" / part / f"{name}_{part}.png") for part in SHAPES.components])
            assert torch.equal(written, expected.images[row, answer]) and torch.equal(written[1], IMAGES[row, 1])
        uncertainty = (expected.uncertainty[row].amax(dim=0) * 255).round()
        assert torch.equal(pixels(tmp_path / "out" / "uncertainty" / f"s{row}.png"), uncertainty.to(torch.uint8))
        assert result.figure == tmp_path / "out" / "completions" / f"s{row}.png" and result.figure.is_file()


def test_blocks_of_answers_do_not_show(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(source, tmp_path / "whole", 3)
    monkeypatch.setattr(completing, "_BLOCK", 4)
    complete(source, tmp_path / "parts", 3)
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.png"))
    assert len(files) == 3 * (3 * 4 + 2)
    assert all((tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes() for file in files)


def test_names_sort() -> None:
    assert completion_names("x", 3) == ["x_1", "x_2", "x_3"]
    assert completion_names("x", 10) == sorted(completion_names("x", 10)) and completion_names("x", 10)[0] == "x_01"


def test_the_record_names_the_prior_and_the_likelihoods(source: Path, tmp_path: Path) -> None:
    completed, _ = complete(source, tmp_path / "out", 2)
    request = CompletionRequest(2, sampling=Sampling(seed=2))
    entries = [completing.described(each, request) for each in completed]
    completing.write_completions_json(sampler("observed"), entries, request, tmp_path / "out")
    content = json.loads((tmp_path / "out" / "completions.json").read_text())
    assert content["sampling"]["seed"] == 2 and content["tokenizer_digest"] == "d" * 64
    described = [{"name": each.name, "nll": each.nll, "expected_error": each.expected_error} for each in completed]
    assert content["images"] == described and content["rank"] == "consensus"


def test_of_a_single_answer_no_expected_error_is_recorded(source: Path, tmp_path: Path) -> None:
    completed, _ = complete(source, tmp_path / "out", 1)
    entries = [completing.described(each, CompletionRequest(1)) for each in completed]
    completing.write_completions_json(sampler("observed"), entries, CompletionRequest(1), tmp_path / "out")
    content = json.loads((tmp_path / "out" / "completions.json").read_text())
    assert all(set(image) == {"name", "nll"} for image in content["images"])


@pytest.mark.parametrize("rank", RANKS)
def test_answers_are_ranked_by_what_is_asked_for(source: Path, tmp_path: Path, rank: Rank) -> None:
    items, out = find_inputs(source, SHAPES).items, tmp_path / "out"
    drawing = CompletionRequest(5, sampling=Sampling(seed=2), rank=rank)
    completed = list(complete_items(sampler("observed"), items, out, KEEP_BELT, drawing, lambda path, reason: None))
    drawn = sampler("observed").complete(IMAGES, BELT.expand(3, -1, -1, -1), 5, sampling=Sampling(seed=2))
    by = drawn.nll if rank == "likelihood" else drawn.expected_error
    for row, result in enumerate(completed):
        ranked, other = (result.nll, result.expected_error) if rank == "likelihood" else (result.expected_error, result.nll)
        assert list(ranked.values()) == sorted(by[row].tolist()) and list(other.values()) != sorted(other.values())
        first = torch.stack([pixels(out / part / f"s{row}_1_{part}.png") for part in SHAPES.components])
        assert torch.equal(first, drawn.images[row, by[row].argmin()])


def test_colours_outside_the_hole_are_kept_to_the_bit(tmp_path: Path) -> None:
    photo = torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(photo.numpy()).save(tmp_path / "x.png")
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[2:6, 3:7] = True
    complete(tmp_path / "x.png", tmp_path / "out", 4, ReadOptions(mask=Mask(Path("m.png"), hole[None].numpy())), COLOUR)
    answers = [pixels(tmp_path / "out" / f"x_{number}.png") for number in range(1, 5)]
    assert all(torch.equal(answer[~hole], photo[~hole]) for answer in answers)
    assert len({str(answer.tolist()) for answer in answers}) == 4
    assert bool((pixels(tmp_path / "out" / "uncertainty" / "x.png")[~hole] == 0).all())


def test_answers_have_the_type_and_format_of_the_file(tmp_path: Path) -> None:
    names = ("dna", "actin", "golgi")
    specs = tuple(ComponentSpec(name, "intensity", "uint16", 40, 3000, 20, 3161) for name in names)
    spec = DataSpec("cells", specs, 8, 8)
    given = noise(3, 8, 8, low=503, high=1022, dtype="uint16")
    tifffile.imwrite(tmp_path / "x.tif", given, photometric="minisblack")
    np.save(tmp_path / "y.npy", given.astype(np.float32))
    for name in ("x.tif", "y.npy"):
        complete(tmp_path / name, tmp_path / "out", 2, ReadOptions(("actin",)), spec)
    for number in (1, 2):
        answer, array = tifffile.imread(tmp_path / "out" / f"x_{number}.tif"), np.load(tmp_path / "out" / f"y_{number}.npy")
        assert answer.dtype == np.uint16 and np.array_equal(answer[1], given[1]) and not np.array_equal(answer[0], given[0])
        assert array.dtype == np.float32 and np.array_equal(array[1], given[1])
        assert answer.min() >= 20 and answer.max() <= 3161


def test_bad_pictures_are_skipped(source: Path, tmp_path: Path) -> None:
    (source / "belt" / "s1_belt.png").write_bytes(b"broken")
    completed, skipped = complete(source, tmp_path / "out", 2)
    assert [result.name for result in completed] == ["s0", "s2"] and len(skipped) == 1 and "s1_belt.png" in skipped[0]


def test_inputs_are_never_replaced(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in holds the images that are to be filled in"):
        complete(source, source, 2)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "x_1.png")
    with pytest.raises(DataError, match=r"would replace the input .*x_1.png"):
        complete(tmp_path, tmp_path, 2, ReadOptions(("r",)), COLOUR)
    assert pixels(tmp_path / "x_1.png").unique().tolist() == [9]


def test_no_answers_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 completions were requested"):
        complete(source, tmp_path / "out", 0)
