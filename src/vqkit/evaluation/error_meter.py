"""Errors over a data set: of all pixels together, and of each component by itself, in the data's own units as well.

Only what is judged counts, and an image only where anything of it is judged: an average is over the images that have an error.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.distributed import all_reduce
from vqkit.evaluation.metrics import overlap, peak_signal_to_noise, similarity_map
from vqkit.interfaces import DataSpec
from vqkit.interfaces.components import from_unit


class ComponentErrors(NamedTuple):
    """Errors of one component over the `images` in which anything of it was judged; NaN where a figure is not defined.

    `mse` over all judged pixels together, in unit values; `psnr` (decibels) and `ssim` of each image, then averaged over images;
    `rmse` and `mae` over all judged pixels together, in stored values: of intensities, and only if stored values were given;
    `iou` and `dice` of each image, then averaged over images: of binary components.
    """

    images: int
    mse: float
    psnr: float
    ssim: float
    rmse: float
    mae: float
    iou: float
    dice: float

    @property
    def pooled_psnr(self) -> float:
        """PSNR of the mean squared error over all judged pixels together, in decibels."""
        return pooled_psnr(self.mse)


class Errors(NamedTuple):
    """Errors over a data set, on what was judged; NaN where nothing was.

    `images` that had anything judged; `mse` over all judged pixels together; `psnr` (decibels) and `ssim` of each image, then
    averaged over images. Where components are mixed, these three are of the intensities alone. `components`: one for each.
    """

    images: int
    mse: float
    psnr: float
    ssim: float
    components: tuple[ComponentErrors, ...]

    @property
    def pooled_psnr(self) -> float:
        """PSNR of the mean squared error over all judged pixels together, in decibels."""
        return pooled_psnr(self.mse)


class ErrorMeter:
    """Sums errors over a data set: the result does not depend on the batches or on the processes."""

    def __init__(self, spec: DataSpec, device: torch.device) -> None:
        self.spec = spec
        self._measured = measured_components(spec).to(device)
        self._with_stored = False
        # Images with anything judged; then of the measured components: images, pixels, squared error, PSNR, SSIM.
        self._whole = torch.zeros(6, dtype=torch.float64, device=device)
        # Of each component: images, pixels, squared error, PSNR, SSIM, squared and absolute stored error, IoU, Dice.
        self._parts = torch.zeros(9, len(spec.components), dtype=torch.float64, device=device)

    def add(
        self,
        prediction: Tensor,
        target: Tensor,
        judged: Tensor | None = None,
        final: Tensor | None = None,
        stored: Tensor | None = None,
    ) -> None:
        """Add images [B, C, H, W] in unit values. Those in which nothing is judged are left out.

        `final`, by default the prediction: the images whose binary components are compared. `stored`: the target in stored values,
        for the errors in the data's own units, which are those of the prediction as it would be written: rounded for whole numbers
        and clipped to the extremes of the training data.
        """
        where = torch.ones_like(target, dtype=torch.bool) if judged is None else judged.expand_as(target)
        # Nothing is computed for components that are not judged.
        shown = where.flatten(2).any(2).any(0).nonzero()[:, 0].tolist()
        if not shown:
            return
        where, prediction, target = (_components(each, shown) for each in (where, prediction, target))
        pixels = where.flatten(2).sum(2)
        squares = _sums((prediction.float() - target.float()).square(), where)
        similarity = _sums(similarity_map(prediction, target), where)
        counted, count = pixels > 0, pixels.clamp_min(1)
        shapes = overlap(prediction if final is None else _components(final, shown), target, where)
        rows = [
            *(counted, pixels, squares, peak_signal_to_noise(squares / count), similarity / count),
            *self._stored_errors(prediction, stored, where, shown),
            *(shapes.iou, shapes.dice),
        ]
        self._parts[:, shown] += torch.stack([torch.where(counted, row, 0).sum(0).double() for row in rows])
        self._whole[0] += pixels.any(1).sum()
        self._add_whole(*(each[:, self._measured[shown]] for each in (pixels, squares, similarity)))

    def _add_whole(self, pixels: Tensor, squares: Tensor, similarity: Tensor) -> None:
        """Add to the sums over all measured components; each argument is [B, C], a sum over judged pixels."""
        total, square, similar = (each.sum(1) for each in (pixels, squares, similarity))
        counted, count = total > 0, total.clamp_min(1)
        sums = torch.stack([total.double(), square, peak_signal_to_noise(square / count), similar / count])
        self._whole[1] += counted.sum()
        self._whole[2:] += torch.where(counted, sums, 0).sum(1)

    def _stored_errors(self, prediction: Tensor, stored: Tensor | None, where: Tensor, shown: list[int]) -> tuple[Tensor, Tensor]:
        """Squared and absolute errors [B, n] of the components `shown` in stored values, summed over judged pixels; else 0."""
        if stored is None or bool(self.spec.binary.all()):
            nothing = torch.zeros(where.shape[:2], dtype=torch.float64, device=where.device)
            return nothing, nothing
        self._with_stored = True
        written = from_unit(prediction, [self.spec.component_specs[position] for position in shown])
        # Not all devices can stack all types of stored values.
        errors = written.double() - torch.stack([stored[:, position].double() for position in shown], dim=1)
        return _sums(errors.square(), where), _sums(errors.abs(), where)

    def result(self) -> Errors:
        """The errors over everything added by all processes. Every process must call it, once."""
        all_reduce(self._whole, self._parts)
        images, measured, pixels, squares, psnr, ssim = self._whole.tolist()
        components = tuple(
            self._component(sums, each.kind == "binary")
            for sums, each in zip(self._parts.T.tolist(), self.spec.component_specs, strict=True)
        )
        return Errors(int(images), _ratio(squares, pixels), _ratio(psnr, measured), _ratio(ssim, measured), components)

    def _component(self, sums: list[float], binary: bool) -> ComponentErrors:
        images, pixels, squares, psnr, ssim, stored_squares, stored_errors, iou, dice = sums
        unit = pixels if self._with_stored and not binary else 0.0
        shapes = images if binary else 0.0
        return ComponentErrors(
            images=int(images),
            mse=_ratio(squares, pixels),
            psnr=_ratio(psnr, images),
            ssim=_ratio(ssim, images),
            rmse=math.sqrt(_ratio(stored_squares, unit)),
            mae=_ratio(stored_errors, unit),
            iou=_ratio(iou, shapes),
            dice=_ratio(dice, shapes),
        )


def measured_components(spec: DataSpec) -> Tensor:
    """The components whose pixels make up an image's MSE, PSNR and SSIM, bool [C]: all, but of mixed ones the intensities alone.

    A pixel of a shape is all right or all wrong; beside it, the errors of intensities would hardly count.
    """
    return ~spec.binary if spec.value_kind == "mixed" else torch.ones(len(spec.components), dtype=torch.bool)


def pooled_psnr(mse: float) -> float:
    """PSNR in decibels of a mean squared error over a data set; NaN for NaN."""
    return float(peak_signal_to_noise(torch.tensor(mse, dtype=torch.float64)))


def _components(images: Tensor, positions: list[int]) -> Tensor:
    """Images [B, C, H, W] with only the components at these positions, in ascending order; themselves where that is all of them."""
    return images if len(positions) == images.shape[1] else torch.stack([images[:, position] for position in positions], dim=1)


def _sums(values: Tensor, where: Tensor) -> Tensor:
    """Values [B, C, H, W] summed over the pixels of each component, float64 [B, C]."""
    return torch.where(where, values, 0).flatten(2).sum(2, dtype=torch.float64)


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
