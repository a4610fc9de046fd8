"""Every figure against a plain loop, a set of pixels, or torchmetrics."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.core.torchvision_import import import_torchvision
from vqkit.errors import DataError
from vqkit.evaluation import metrics

CPU = torch.device("cpu")


def random_images(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def random_holes(shape: tuple[int, ...], seed: int) -> Tensor:
    return random_images(shape, seed) < 0.4


@pytest.fixture
def pair() -> tuple[Tensor, Tensor, Tensor]:
    """Predictions, targets and holes of 7 images of 3 channels of 32 x 20."""
    shape = (7, 3, 32, 20)
    return random_images(shape, 0), random_images(shape, 1), random_holes(shape, 2)


def test_mean_squared_error_is_taken_over_the_hole_alone(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    prediction, target, judged = pair
    by_hand = [
        sum((float(p) - float(t)) ** 2 for p, t in zip(image[hole], wanted[hole], strict=True)) / int(hole.sum())
        for image, wanted, hole in zip(prediction, target, judged, strict=True)
    ]
    assert metrics.mean_squared_error(prediction, target, judged).tolist() == pytest.approx(by_hand, rel=1e-6)
    moved = torch.where(judged, prediction, 0.123)
    assert torch.equal(metrics.mean_squared_error(moved, target, judged), metrics.mean_squared_error(prediction, target, judged))


def test_psnr_of_known_errors() -> None:
    assert metrics.peak_signal_to_noise(torch.tensor([1.0, 0.1, 0.01, 0.0])).tolist() == pytest.approx([0, 10, 20, 100])


def similarity_by_hand(first: Tensor, second: Tensor, row: int, column: int) -> float:
    """Wang et al. 2004 at one pixel of two images [H, W]: a weighted sum over an 11 x 11 window, mirrored at the borders."""

    def mirrored(place: int, size: int) -> int:
        place = abs(place) % max(1, 2 * (size - 1))
        return min(place, 2 * (size - 1) - place) if size > 1 else 0

    height, width = first.shape
    weights, xs, ys = [], [], []
    for down in range(-5, 6):
        for across in range(-5, 6):
            place = mirrored(row + down, height), mirrored(column + across, width)
            weights.append(math.exp(-(down**2 + across**2) / (2 * 1.5**2)))
            xs.append(float(first[place]))
            ys.append(float(second[place]))
    total = sum(weights)

    def mean(values: list[float]) -> float:
        return sum(weight * value for weight, value in zip(weights, values, strict=True)) / total

    mx, my = mean(xs), mean(ys)
    vx, vy = mean([(x - mx) ** 2 for x in xs]), mean([(y - my) ** 2 for y in ys])
    vxy = mean([(x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)])
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 32), (11, 6)])
def test_similarity_map_is_the_windowed_formula_at_every_pixel(height: int, width: int) -> None:
    first, second = random_images((1, 2, height, width), 3), random_images((1, 2, height, width), 4)
    similarity = metrics.similarity_map(first, second)
    places = [(0, 0), (height - 1, width - 1), (height // 2, width // 2), (height // 3, 0)]
    for row, column in places:
        by_hand = similarity_by_hand(first[0, 1], second[0, 1], row, column)
        assert float(similarity[0, 1, row, column]) == pytest.approx(by_hand, abs=1e-5)


def test_images_too_small_for_the_window_are_refused() -> None:
    with pytest.raises(DataError, match="at least 6 pixels per side, not 9 x 5"):
        metrics.structural_similarity(random_images((1, 2, 9, 5), 3), random_images((1, 2, 9, 5), 4))


@pytest.mark.parametrize("size", [(32, 32), (64, 32)])
def test_similarity_of_everything_is_that_of_torchmetrics(size: tuple[int, int]) -> None:
    first = random_images((4, 3, *size), 5)
    second = (first + 0.2 * random_images((4, 3, *size), 6)).clamp(0, 1)
    import_torchvision()  # makes torchmetrics importable beside any build of torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    mean, full = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none", return_full_image=True)
    mean = mean.mean()
    assert torch.allclose(metrics.similarity_map(first, second), full, atol=1e-5)
    everything = torch.ones_like(first, dtype=torch.bool)
    assert float(metrics.structural_similarity(first, second, everything).mean()) == pytest.approx(float(mean), abs=1e-5)
    assert torch.equal(metrics.structural_similarity(first, second, everything), metrics.structural_similarity(first, second))


def test_similarity_of_a_hole_is_the_mean_of_the_map_there(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    prediction, target, judged = pair
    full = metrics.similarity_map(prediction, target)
    by_hand = [float(each[hole].double().mean()) for each, hole in zip(full, judged, strict=True)]
    assert metrics.structural_similarity(prediction, target, judged).tolist() == pytest.approx(by_hand)


def pixels(image: Tensor, hole: Tensor) -> set[int]:
    """Numbers of the pixels that are set, and judged."""
    return {
        number
        for number, (value, counts) in enumerate(zip(image.flatten(), hole.flatten(), strict=True))
        if counts and value >= 0.5
    }


def test_overlap_by_set_arithmetic(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    prediction, target, judged = pair
    shapes = metrics.overlap(prediction, target, judged)
    for image in range(2):
        for component in range(3):
            first, second = (pixels(each[image, component], judged[image, component]) for each in (prediction, target))
            assert float(shapes.iou[image, component]) == pytest.approx(len(first & second) / len(first | second))
            assert float(shapes.dice[image, component]) == pytest.approx(2 * len(first & second) / (len(first) + len(second)))


def test_a_probability_of_one_half_counts_as_set() -> None:
    half, one = torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)
    assert metrics.mean_iou(half, one).tolist() == [1.0]
    assert metrics.mean_iou(half - 0.001, one).tolist() == [0.0]


def test_empty_shapes_agree_and_an_empty_one_misses_everything() -> None:
    empty, full = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    both, missed = metrics.overlap(empty, empty), metrics.overlap(empty, full)
    assert (both.iou.item(), both.dice.item()) == (1, 1)
    assert (missed.iou.item(), missed.dice.item()) == (0, 0)


def test_mean_iou_leaves_out_components_that_are_not_judged() -> None:
    target = torch.zeros(2, 3, 4, 4)
    prediction = target.clone()
    target[:, 0] = 1  # missed: IoU 0, but judged in the first image only
    judged = torch.zeros(2, 3, 4, 4, dtype=torch.bool)
    judged[0, :2], judged[1, 1:] = True, True
    assert metrics.mean_iou(prediction, target, judged).tolist() == [0.5, 1.0]
    assert metrics.mean_iou(prediction, target).tolist() == pytest.approx([2 / 3, 2 / 3])


def test_an_image_in_which_nothing_is_judged_has_no_error(pair: tuple[Tensor, Tensor, Tensor]) -> None:
    prediction, target, judged = pair
    judged[[1, 4]] = False
    for measure in (metrics.mean_squared_error, metrics.structural_similarity, metrics.mean_iou):
        assert measure(prediction, target, judged).isnan().tolist() == [False, True, False, False, True, False, False]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -1e30])
def test_what_is_not_judged_may_be_anything(pair: tuple[Tensor, Tensor, Tensor], poison: float) -> None:
    prediction, target, judged = pair
    poisoned = torch.where(judged, prediction, poison), torch.where(judged, target, poison)
    assert torch.equal(metrics.mean_squared_error(*poisoned, judged), metrics.mean_squared_error(prediction, target, judged))
    assert torch.equal(metrics.mean_iou(*poisoned, judged), metrics.mean_iou(prediction, target, judged))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=20).filter(any))
@settings(max_examples=50, deadline=None)
def test_use_of_codes_by_hand(counts: list[int]) -> None:
    total = sum(counts)
    entropy = -sum(count / total * math.log2(count / total) for count in counts if count)
    tensor = torch.tensor(counts)
    assert float(metrics.usage(tensor)) == pytest.approx(sum(count > 0 for count in counts) / len(counts))
    assert float(metrics.entropy_bits(tensor)) == pytest.approx(entropy, abs=1e-12)
    assert float(metrics.perplexity(tensor)) == pytest.approx(2**entropy)
    assert float(metrics.perplexity(tensor)) <= len(counts) * (1 + 1e-12)


def test_perplexity_of_equal_codes_is_their_number() -> None:
    assert metrics.perplexity(torch.tensor([[5, 5, 5, 0], [9, 0, 0, 0], [0, 0, 0, 0]])).tolist() == pytest.approx([3, 1, 1])


def test_histogram_counts_every_code() -> None:
    codes = torch.randint(9, (4, 5, 6), generator=torch.Generator().manual_seed(7))
    by_hand = Counter(codes.flatten().tolist())
    assert metrics.code_histogram(codes, 12).tolist() == [by_hand[code] for code in range(12)]
