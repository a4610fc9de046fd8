"""Metrics: errors on the missing part of images, overlap of binary components, and code usage.

Everywhere: `prediction` and `target` are float [B, C, H, W] in unit values; `judged` is bool [B, C, H, W] (or broadcastable to it),
True where an error counts, which for a filled-in image is `present & ~observed`; None judges everything. What is not judged may be
anything, also NaN. docs/evaluation.md has the formulas.

Conventions: an image in which nothing is judged has no error, neither a small nor a large one (NaN); two empty shapes agree (IoU
and Dice 1); PSNR never exceeds `MAX_PSNR`.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import DataError

THRESHOLD = 0.5
"""A pixel of a binary component is set where its probability is at least this."""
MAX_PSNR = 100.0
"""Decibels given to an image without error, and the most any image can have."""
WINDOW_REACH = 5
"""Pixels that SSIM's Gaussian window extends to each side: Wang et al. 2004, section III.C."""
_WINDOW_STD = 1.5
_C1, _C2 = 0.01**2, 0.03**2
"""Constants of SSIM for values from 0 to 1: Wang et al. 2004, equations 7 and 10."""


def mean_squared_error(prediction: Tensor, target: Tensor, judged: Tensor | None = None) -> Tensor:
    """Mean squared error of each image over its judged pixels, float64 [B]; NaN where none is judged."""
    total, count = _sum_of_squares(prediction, target, judged)
    return total / count


def peak_signal_to_noise(mse: Tensor) -> Tensor:
    """PSNR in decibels for a peak value of 1, at most `MAX_PSNR`, of mean squared errors of any shape: 10 log10(1 / MSE)."""
    return -10 * mse.clamp_min(10 ** (-MAX_PSNR / 10)).log10()


def structural_similarity(prediction: Tensor, target: Tensor, judged: Tensor | None = None) -> Tensor:
    """SSIM of each image over its judged pixels, float64 [B]: the mean there of `similarity_map`; NaN where none is judged.

    The windows of judged pixels reach into their surroundings, so that `prediction` should hold the known pixels elsewhere, and
    both images the same value where nothing is present.
    """
    similarity = similarity_map(prediction, target).double()
    if judged is None:
        return similarity.flatten(1).mean(1)
    where = judged.expand_as(similarity)
    return torch.where(where, similarity, 0).flatten(1).sum(1) / where.flatten(1).sum(1)


def similarity_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity around each pixel, float32 [B, C, H, W] in [-1, 1] (Wang et al. 2004, equation 13).

    Gaussian window of 11 x 11 pixels, standard deviation 1.5, each channel by itself; images are mirrored at their borders, so
    every pixel has a value. It is the full SSIM image of torchmetrics, in a fraction of the time. Raises `DataError` for sides
    shorter than 6 pixels.
    """
    height, width = target.shape[-2:]
    if min(height, width) <= WINDOW_REACH:
        raise DataError(
            f"SSIM needs images of at least {WINDOW_REACH + 1} pixels per side, not {height} x {width} (height x width).",
            "Use larger images.",
        )
    first, second = prediction.float(), target.float()
    down, across = (_window_means(size, target.device) for size in (height, width))

    def mean(values: Tensor) -> Tensor:
        return down @ values @ across.T

    mean_first, mean_second = mean(first), mean(second)
    variances = [
        (mean(each.square()) - around.square()).clamp_min(0) for each, around in ((first, mean_first), (second, mean_second))
    ]
    covariance = mean(first * second) - mean_first * mean_second
    luminance = (2 * mean_first * mean_second + _C1) / (mean_first.square() + mean_second.square() + _C1)
    return luminance * (2 * covariance + _C2) / (variances[0] + variances[1] + _C2)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must serve in every mode
def _window_means(size: int, device: torch.device) -> Tensor:
    """Weighted means along a line of `size` pixels, mirrored at its ends: float32 [size, size], a row for each window."""
    offsets = torch.arange(-WINDOW_REACH, WINDOW_REACH + 1, dtype=torch.float64)
    weights = torch.exp(-(offsets.square()) / (2 * _WINDOW_STD**2))
    pixels = torch.arange(size)[:, None] + offsets.long()
    mirrored = (size - 1) - ((size - 1) - pixels.abs()).abs()
    means = torch.zeros(size, size, dtype=torch.float64)
    means.scatter_add_(1, mirrored, (weights / weights.sum()).expand(size, -1))
    return means.float().to(device)


class Overlap(NamedTuple):
    """Judged pixels of each component that are set, int64 [B, C] each: in both images, in the prediction, and in the target."""

    both: Tensor
    prediction: Tensor
    target: Tensor

    @property
    def iou(self) -> Tensor:
        """Intersection over union (Jaccard index), float64 [B, C]; 1 where both are empty."""
        union = self.prediction + self.target - self.both
        return torch.where(union > 0, self.both.double() / union.clamp_min(1), 1.0)

    @property
    def dice(self) -> Tensor:
        """Dice coefficient (F1 score of the pixels), float64 [B, C]; 1 where both are empty."""
        size = self.prediction + self.target
        return torch.where(size > 0, 2 * self.both.double() / size.clamp_min(1), 1.0)


def overlap(prediction: Tensor, target: Tensor, judged: Tensor | None = None) -> Overlap:
    """Compare binary components at `THRESHOLD`."""
    predicted, wanted = prediction >= THRESHOLD, target >= THRESHOLD
    if judged is not None:
        predicted, wanted = predicted & judged, wanted & judged
    return Overlap(*(mask.flatten(2).sum(2) for mask in (predicted & wanted, predicted, wanted)))


def mean_iou(prediction: Tensor, target: Tensor, judged: Tensor | None = None) -> Tensor:
    """IoU of each image, float64 [B]: the mean over those of its components that have judged pixels; NaN if none has."""
    iou = overlap(prediction, target, judged).iou
    if judged is None:
        return iou.mean(1)
    counted = judged.expand_as(target).flatten(2).any(2)
    return (iou * counted).sum(1) / counted.sum(1)


def code_histogram(codes: Tensor, num_codes: int) -> Tensor:
    """How often each code was chosen, int64 [K], of indices of any shape."""
    return torch.bincount(codes.flatten(), minlength=num_codes)


def usage(counts: Tensor) -> Tensor:
    """Share of the codes that were chosen at least once, float64 [...], of counts [..., K]."""
    return (counts > 0).double().mean(-1)


def entropy_bits(counts: Tensor) -> Tensor:
    """Entropy of the codes in bits, float64 [...], of counts [..., K]; 0 where nothing was counted."""
    shares = counts.double() / counts.sum(-1, keepdim=True).clamp_min(1)
    surprise: Tensor = torch.special.entr(shares)
    return surprise.sum(-1) / math.log(2)


def perplexity(counts: Tensor) -> Tensor:
    """exp(entropy), float64 [...], of counts [..., K]: the number of equally frequent codes with the same entropy.

    Between 1 and K. Count over a whole epoch or data set: the perplexity of a batch depends on its size.
    """
    return torch.exp2(entropy_bits(counts))


def _sum_of_squares(prediction: Tensor, target: Tensor, judged: Tensor | None) -> tuple[Tensor, Tensor]:
    """Squared error of each image summed over its judged pixels, float64 [B], and their number, int64 [B]."""
    squares = (prediction.float() - target.float()).square()
    if judged is None:
        total = squares.flatten(1).sum(1, dtype=torch.float64)
        return total, torch.full_like(total, target.shape[1:].numel(), dtype=torch.int64)
    where = judged.expand_as(squares)
    return torch.where(where, squares, 0).flatten(1).sum(1, dtype=torch.float64), where.flatten(1).sum(1)
