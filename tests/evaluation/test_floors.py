"""Simple predictors against plain loops, least squares, and scikit-image."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from poisoned import SPECS, Poisoned, PoisonedOptions, garbage_in_gaps
from vqkit.data.splits import ArraySplit
from vqkit.evaluation.floors import HeldOutImages, kept, kept_floors, measure_floors
from vqkit.evaluation.floors.kriging import Kriging
from vqkit.evaluation.floors.linear import Linear, Linear5, neighbourhoods
from vqkit.evaluation.floors.nearest import Nearest, Nearest10, TrainingDistances
from vqkit.evaluation.floors.predictors import Copy, Known, Surrounding
from vqkit.evaluation.floors.smooth import Biharmonic, Harmonic
from vqkit.evaluation.floors.training_sample import TrainingSample, copying_errors, pixel_means
from vqkit.evaluation.mask_scenarios import fixed_masks, mask_scenarios
from vqkit.evaluation.scenario_metrics import FloorMetrics
from vqkit.evaluation.variance import Variances
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.layers.kriging import fill_by_kriging
from vqkit.layers.spatial_covariance import CovarianceMeter

CPU = torch.device("cpu")
BANDS = DataSpec("bands", tuple(ComponentSpec(name, dtype="uint16", high=4000, maximum=5000) for name in ("a", "b", "c")), 12, 10)
SHAPES = DataSpec.uniform("shapes", ("left", "right"), 12, 10, "binary")
ONES = Variances(1.0, (1.0,) * 3, (None,) * 3)


def bands(count: int, seed: int = 0, gaps: bool = False) -> ArraySplit:
    """Smooth related bands; with gaps, some images lack a band or a corner."""
    drawn = torch.Generator().manual_seed(seed)
    rough = torch.rand(count, 3, 4, 4, generator=drawn)
    smooth = torch.nn.functional.interpolate(rough, size=(12, 10), mode="bilinear")
    mixing = torch.tensor([[1.0, 0.2, 0.0], [0.5, 0.5, 0.1], [0.2, 0.1, 0.7]])
    stored = (3500 * torch.einsum("ij,bjhw->bihw", mixing, smooth) + 200 * torch.rand(count, 3, 12, 10, generator=drawn)).long()
    present = torch.ones(stored.shape, dtype=torch.bool)
    if gaps:
        present[::3, 1] = False
        present[1::4, 0] = False
        present[::5, :, :4, :3] = False
    return ArraySplit(BANDS, torch.where(present, stored, 0).to(torch.uint16), present=present if gaps else None)


def whole(split: ArraySplit) -> tuple[Tensor, Tensor]:
    """All images in unit values, and where they are present."""
    batch = split.batch(torch.arange(len(split))).to(CPU, split.spec)
    return batch.images, batch.observed


def known(images: Tensor, present: Tensor, keep: tuple[int, ...]) -> Known:
    kept_ones = torch.zeros(3, dtype=torch.bool)
    kept_ones[list(keep)] = True
    observed = present & kept_ones[:, None, None]
    return Known(torch.where(observed, images, 0), observed, keep)


@pytest.mark.parametrize("gaps", [False, True])
def test_means_and_errors_of_copying_are_those_of_plain_loops(gaps: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.evaluation.floors.training_sample._CHUNK", 4 * 360)  # several chunks
    split = bands(23, gaps=gaps)
    sample = TrainingSample(split, BANDS, CPU)
    images, present = (each.double().numpy() for each in whole(split))
    there = present.astype(bool)
    means, pixels = pixel_means(sample)
    errors = copying_errors(sample)
    for one in range(3):
        assert float(means[one]) == pytest.approx(images[:, one][there[:, one]].mean(), abs=1e-6)
        assert float(pixels[one, 2, 1]) == pytest.approx(images[there[:, one, 2, 1], one, 2, 1].mean(), abs=1e-6)
        for other in range(3):
            both = there[:, one] & there[:, other]
            wanted = np.square(images[:, one] - images[:, other])[both].mean()
            assert float(errors[one, other]) == pytest.approx(wanted, abs=1e-9)


def test_a_component_that_no_training_image_holds_is_at_the_middle_of_its_range() -> None:
    images = bands(4)
    present = torch.ones(4, 3, 1, 1, dtype=torch.bool)
    present[:, 1] = False
    split = ArraySplit(BANDS, images.batch(torch.arange(4)).images, present=present)
    sample = TrainingSample(split, BANDS, CPU)
    means, pixels = pixel_means(sample)
    assert float(means[1]) == 0.5
    assert bool((pixels[1] == 0.5).all())
    assert bool(copying_errors(sample)[1].isinf().all())
    nearest = Nearest(TrainingDistances(sample, means))
    nearest.prepare(*whole(images))
    assert bool((nearest.predict(known(*whole(images), (0,)))[:, 1] == 0.5).all())


def test_only_so_many_training_images_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.evaluation.floors.training_sample.MOST_IMAGES", 5)
    split = bands(21)
    sample = TrainingSample(split, BANDS, CPU)
    assert torch.equal(sample.at(slice(None))[0], whole(split)[0][[0, 5, 10, 15, 20]])
    monkeypatch.setattr("vqkit.evaluation.floors.training_sample.MOST_BYTES", 3 * 720)
    assert len(TrainingSample(split, BANDS, CPU)) == 3


def test_the_copied_component_is_the_one_with_the_least_training_error() -> None:
    errors = torch.tensor([[0.0, 0.3, 0.1], [0.3, 0.0, 0.2], [0.1, 0.2, 0.0]])
    copy = Copy(errors, torch.tensor([0.5, 0.6, 0.7]))
    images, present = whole(bands(3))
    present[0, 0, 0] = False
    expected = copy.predict(known(images, present, (0, 1)))
    assert torch.equal(expected[1:, 2], images[1:, 0])
    assert bool((expected[0, 2, 0] == 0.7).all()), "the mean of the missing component where the copied one is absent"
    assert copy.sources((0, 1), BANDS.components) == {"c": "a"}
    assert copy.sources((2,), BANDS.components) == {"a": "c", "b": "c"}


@pytest.mark.parametrize("keep", [(0,), (0, 2)])
def test_linear_predictions_are_those_of_least_squares(keep: tuple[int, ...]) -> None:
    training, held_out = bands(60), bands(4, seed=1)
    sample = TrainingSample(training, BANDS, CPU)
    statistics = neighbourhoods(sample)
    images, present = whole(held_out)
    missing = [component for component in range(3) if component not in keep]
    for kind, radius in ((Linear, 0), (Linear5, 2)):
        expected = kind(statistics, 3, CPU).predict(known(images, present, keep))
        design, wanted = _patches(whole(training)[0], keep, radius)
        solution = np.linalg.lstsq(design, wanted[:, missing], rcond=None)[0]
        found = expected[:, missing, 2:-2, 2:-2].permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
        by_hand = _patches(images, keep, radius)[0] @ solution
        assert np.abs(found - by_hand).max() < 5e-4


def _patches(images: Tensor, keep: tuple[int, ...], radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Kept pixels around each pixel that is two pixels away from the border, with a 1 behind them; and the pixel itself."""
    array = images.double().numpy()
    rows, centres = [], []
    for image in array:
        for row in range(2, image.shape[1] - 2):
            for column in range(2, image.shape[2] - 2):
                around = image[list(keep), row - radius : row + radius + 1, column - radius : column + radius + 1]
                rows.append([*around.ravel(), 1.0])
                centres.append(image[:, row, column])
    return np.array(rows), np.array(centres)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("keep", [(0,), (0, 2), (1,), (0, 1, 2)])
def test_the_nearest_images_are_those_of_a_search_of_all(
    gaps: bool, keep: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqkit.evaluation.floors.training_sample._CHUNK", 7 * 360)
    training, held_out = bands(40, gaps=gaps), bands(9, seed=1, gaps=gaps)
    sample = TrainingSample(training, BANDS, CPU)
    means, _ = pixel_means(sample)
    images, present = whole(held_out)
    part = known(images, present, keep)
    if len(keep) == 3:  # a hole, so that something of every component is missing
        seen = part.observed & fixed_masks("half", torch.arange(9), 12, 10)
        part = Known(torch.where(seen, images, 0), seen, keep)
    theirs, held = (each.numpy() for each in whole(training))
    for kind, count in ((Nearest, 1), (Nearest10, 10)):
        predictor = kind(TrainingDistances(sample, means))
        predictor.prepare(images, present)
        expected = predictor.predict(part)
        for image in range(9):
            for component in part.missing or range(3):
                wanted = _nearest_by_hand(part, image, component, theirs, held, count, float(means[component]))
                if wanted is not None:
                    assert np.abs(expected[image, component].numpy() - wanted).max() < 1e-5


def _nearest_by_hand(
    part: Known, image: int, component: int, theirs: np.ndarray, held: np.ndarray, count: int, mean: float
) -> np.ndarray | None:
    """The mean of the nearest training images that hold the component; None for an image that holds nothing to compare with."""
    mine, seen = part.images[image].numpy(), part.observed[image].numpy()
    if not all(seen[kept_one].any() for kept_one in part.keep if part.missing) or not seen.any():
        return None
    distances = []
    for number in range(len(theirs)):
        both = seen & held[number]
        needed = [both[kept_one].any() for kept_one in part.keep] if part.missing else [both.any()]
        if all(needed) and held[number, component].any():
            distances.append((float(np.square(mine.astype(float) - theirs[number])[both].mean()), number))
    chosen = [number for _, number in sorted(distances)[:count]]
    values = np.where(held[chosen, component], theirs[chosen, component], 0).astype(float)
    covered = held[chosen, component].sum(0)
    return np.where(covered > 0, values.sum(0) / np.maximum(covered, 1), mean)


def test_the_surrounding_is_the_mean_of_what_is_visible() -> None:
    images, present = whole(bands(3))
    seen = present & fixed_masks("boxes", torch.arange(3), 12, 10)
    seen[0, 1] = False
    expected = Surrounding(torch.tensor([0.1, 0.2, 0.3])).predict(Known(torch.where(seen, images, 0), seen, (0, 1, 2)))
    assert float(expected[0, 1, 0, 0]) == pytest.approx(0.2)
    assert float(expected[2, 0, 5, 5]) == pytest.approx(float(images[2, 0][seen[2, 0]].mean()))


def test_in_a_harmonic_hole_each_pixel_is_the_mean_of_its_neighbours() -> None:
    images, present = whole(bands(4))
    seen = present & fixed_masks("free-form", torch.arange(4), 12, 10)
    seen[1, 2] = torch.rand(12, 10, generator=torch.Generator().manual_seed(0)) < 0.3  # a component with gaps of its own
    seen[2, 0] = False
    means = torch.tensor([0.25, 0.5, 0.5])
    expected = Harmonic(means, 12, 10).predict(Known(torch.where(seen, images, 0), seen, (0, 1, 2)))
    assert torch.equal(expected[seen], images[seen])
    assert bool((expected[2, 0] == 0.25).all())
    for image, component, row, column in (~seen).nonzero().tolist():
        if (image, component) == (2, 0):
            continue
        around = [(row + step, column + side) for step, side in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        values = [float(expected[image, component, r, c]) for r, c in around if 0 <= r < 12 and 0 <= c < 10]
        assert float(expected[image, component, row, column]) == pytest.approx(sum(values) / len(values), abs=1e-6)


@pytest.mark.parametrize("kind", ["boxes", "half", "free-form"])
def test_a_biharmonic_hole_is_that_of_scikit_image(kind: str) -> None:
    restoration = pytest.importorskip("skimage.restoration")
    images, present = whole(bands(5, seed=3))
    seen = present & fixed_masks(kind, torch.arange(5), 12, 10)  # type: ignore[arg-type]
    expected = Biharmonic(torch.full((3,), 0.5), 12, 10).predict(Known(torch.where(seen, images, 0), seen, (0, 1, 2)))
    for image, mask, found in zip(images, seen[:, 0], expected, strict=True):
        wanted = restoration.inpaint_biharmonic(image.double().numpy(), ~mask.numpy(), channel_axis=0)
        assert np.abs(found.numpy() - wanted).max() < 1e-5


def test_a_biharmonic_hole_has_no_bending() -> None:
    images, present = whole(bands(2, seed=5))
    seen = present & fixed_masks("boxes", torch.arange(2), 12, 10)
    expected = Biharmonic(torch.full((3,), 0.5), 12, 10).predict(Known(torch.where(seen, images, 0), seen, (0, 1, 2))).double()

    def laplacian(values: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(values, (1, 1, 1, 1), mode="replicate")
        inner = padded[..., 1:-1, 1:-1]
        return 4 * inner - padded[..., :-2, 1:-1] - padded[..., 2:, 1:-1] - padded[..., 1:-1, :-2] - padded[..., 1:-1, 2:]

    visible = torch.where(seen, images, torch.nan).flatten(2)
    low, high = visible.nan_to_num(math.inf).amin(2), visible.nan_to_num(-math.inf).amax(2)
    inside = ~seen & (expected > low[..., None, None] + 1e-6) & (expected < high[..., None, None] - 1e-6)
    untouched = ~seen & (inside == ~seen).flatten(2).all(2)[..., None, None]  # solutions of which nothing was clipped
    assert bool(untouched.any())
    assert float(laplacian(laplacian(expected))[untouched].abs().max()) < 1e-5


def test_kriging_fills_in_each_hole_and_takes_the_mean_where_nothing_is_visible() -> None:
    training, (images, present) = bands(30), whole(bands(4, seed=6))
    seen = present & fixed_masks("boxes", torch.arange(4), 12, 10)
    seen[2, 0] = False
    sample = TrainingSample(training, BANDS, CPU)
    means, _ = pixel_means(sample)
    expected = Kriging(sample, means).predict(Known(torch.where(seen, images, 0), seen, (0, 1, 2)))
    assert torch.equal(expected[seen], images[seen])
    assert torch.allclose(expected[2, 0], means[0].expand(12, 10))
    meter = CovarianceMeter(3)
    meter.add(*whole(training))
    holes = seen.flatten(2).any(dim=2)
    filled, _ = fill_by_kriging(images, seen, holes, meter.result(), means.double())
    assert torch.allclose(expected[holes], filled[holes], atol=1e-5)


def test_floors_are_measured_on_what_a_model_is_measured_on() -> None:
    training, held_out = bands(30, gaps=True), bands(11, seed=1, gaps=True)
    scenarios = mask_scenarios(BANDS, [["a"], ["a", "c"]], "boxes")
    full, alone, pair, boxes = measure_floors(training, HeldOutImages(held_out, scenarios, BANDS, 4), ONES)
    images, present = whole(held_out)
    stored = held_out.batch(torch.arange(11)).images
    held = present.flatten(2).any(2)
    sample = TrainingSample(training, BANDS, CPU)
    means, pixels = pixel_means(sample)
    assert full == ()
    assert [floor.name for floor in alone] == ["mean", "mean-image", "copy", "linear", "linear5", "nearest", "nearest10"]
    assert [floor.name for floor in boxes] == [
        "surrounding",
        "harmonic",
        "biharmonic",
        "kriging",
        "mean-image",
        "nearest",
        "nearest10",
    ]
    for floors, keep in ((alone, [0]), (pair, [0, 2])):
        counted = held[:, keep].all(1)
        missing = [component for component in range(3) if component not in keep]
        judged = present & counted[:, None, None, None]
        judged[:, keep] = False
        mean, image = floors[:2]
        assert mean.images == int(judged.flatten(1).any(1).sum())
        for floor, expected in ((mean, means[:, None, None].expand_as(images)), (image, pixels.expand_as(images))):
            assert floor.mse == pytest.approx(float((expected - images)[judged].double().square().mean()), rel=1e-5)
            for component in missing:
                where = judged[:, component]
                apart = (4000 * expected[:, component]).round().clamp(0, 5000) - stored[:, component].float()
                own = floor.components[BANDS.components[component]]
                assert own.rmse == pytest.approx(float(apart[where].double().square().mean().sqrt()), rel=1e-4)
                assert own.mae == pytest.approx(float(apart[where].double().abs().mean()), rel=1e-4)
    assert pair[2].sources == {"b": "a" if copying_errors(sample)[0, 1] < copying_errors(sample)[2, 1] else "c"}
    hole = present & ~fixed_masks("boxes", torch.arange(11), 12, 10)
    filled = Harmonic(means, 12, 10).predict(Known(torch.where(hole, 0, images), present & ~hole, (0, 1, 2)))
    assert boxes[1].mse == pytest.approx(float((filled - images)[hole].double().square().mean()), rel=1e-5)


def test_shapes_have_an_overlap_and_no_regression() -> None:
    drawn = torch.Generator().manual_seed(0)
    left = (torch.nn.functional.avg_pool2d(torch.rand(40, 1, 14, 12, generator=drawn), 3, 1) > 0.5).long()
    images = torch.cat([left, 1 - left], dim=1)
    split, held_out = (ArraySplit(SHAPES, (255 * part).to(torch.uint8)) for part in images.split([32, 8]))
    scenarios = mask_scenarios(SHAPES, [["left"]])
    two = Variances(1.0, (1.0, 1.0), (None, None))
    _, floors = measure_floors(split, HeldOutImages(held_out, scenarios, SHAPES), two)
    assert [floor.name for floor in floors] == ["mean", "mean-image", "copy", "nearest", "nearest10"]
    mean = float(images[:32, 1].double().mean())
    truth = images[32:, 1].bool()
    share = [float(each.double().mean()) if mean >= 0.5 else float(not each.any()) for each in truth]
    assert floors[0].mean_iou == pytest.approx(sum(share) / 8)
    image = images[:32, 1].double().mean(0) >= 0.5
    overlaps = [float((image & each).sum() / (image | each).sum()) for each in truth]
    assert floors[1].mean_iou == pytest.approx(sum(overlaps) / 8)
    assert floors[2].sources == {"right": "left"}
    assert floors[2].mean_iou == 0.0


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_what_lies_where_nothing_is_present_changes_no_floor(kind: str) -> None:
    def measured() -> str:
        data = Poisoned(PoisonedOptions(kind=kind))
        scenarios = mask_scenarios(data.spec, None, "boxes")
        floors = measure_floors(data.split("train"), HeldOutImages(data.split("test"), scenarios, data.spec, 4), ONES)
        return json.dumps([[asdict(floor) for floor in row] for row in floors], allow_nan=False)

    clean = measured()
    with garbage_in_gaps():
        assert measured() == clean


def but_one(split: ArraySplit, number: int) -> ArraySplit:
    """A split of which one image is upside down."""
    batch = split.batch(torch.arange(len(split)))
    images = batch.images.clone()
    images[number] = images[number].flip(1)
    return ArraySplit(BANDS, images, present=batch.present)


def keeping(run: Path, training: ArraySplit, held_out: ArraySplit) -> list[tuple[FloorMetrics, ...]]:
    images = HeldOutImages(held_out, mask_scenarios(BANDS, [["a"]]), BANDS)
    return kept_floors(run / "checkpoints" / "step-00000001" / "model.safetensors", {"name": "bands"}, training, images, ONES)


def test_floors_are_measured_once_and_found_by_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for run in (first, second):
        run.mkdir()
        (run / "run.yaml").touch()
    training, held_out = bands(12, gaps=True), bands(5, seed=1)
    found = keeping(first, training, held_out)
    (file,) = (first / "floors").iterdir()
    calls = []
    monkeypatch.setattr(kept, "measure_floors", lambda *arguments: calls.append(arguments) or [(), ()])
    assert keeping(first, training, held_out) == found
    assert keeping(second, training, held_out) == found
    assert not calls
    assert not (second / "floors").exists()
    keeping(first, bands(12, seed=2), held_out)
    keeping(first, training, bands(6, seed=1))
    assert len(calls) == 2, "other images are measured again"
    for number in range(1, 12):
        keeping(first, but_one(training, number), held_out)
    keeping(first, training, but_one(held_out, 3))
    assert len(calls) == 14, "so they are when any one of them is another"
    file.write_text(file.read_text()[:100])
    assert keeping(first, training, held_out) == [(), ()]
    assert len(calls) == 15, "a damaged file is not believed"
    assert kept._FILES.validate_json(file.read_text()) == [(), ()]


def test_nothing_is_kept_beside_a_model_outside_of_a_run(tmp_path: Path) -> None:
    keeping(tmp_path / "gone", bands(6), bands(3, seed=1))
    assert not (tmp_path / "gone").exists()
    (tmp_path / "bare").mkdir()
    keeping(tmp_path / "bare", bands(6), bands(3, seed=1))
    assert list((tmp_path / "bare").iterdir()) == []
