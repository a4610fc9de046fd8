"""Augmented views of images: random resized crops, flips, brightness and contrast, blur, and masking.

The first four augmentations follow Chen et al. 2020 (SimCLR, appendix A), generalised to any number of components: colour jitter
becomes an independent brightness and contrast for each component. Masking hides components or pixels, as in the training of vqkit's
models; the encoder receives the mask. Binary components stay binary: they are only cropped and flipped. What is not present is
hidden in every view, and enters no mean and no blur.

One view of each pair is never masked, and the other is masked with a probability that increases over the run. If both views are
masked from the start, features mainly encode which part is hidden. Two views can then only be made similar by making all features
equal, which is how Barlow Twins and BYOL collapsed on tyre sections.

Random parameters are sampled for the global batch by one generator on the CPU, and every process applies its share. All operations
are vectorised over the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.config import ViewsConfig
from vqkit.data.masking import sample_observed
from vqkit.interfaces import DataSpec, where_present
from vqkit.interfaces.methods import View

_BLUR = (0.1 / 224, 2.0 / 224)
"""Smallest and largest standard deviation of the blur, relative to the shorter side: SimCLR's values at 224 pixels."""
_REACH = 3
"""Radius of the blur kernel in standard deviations."""


class ViewParameters(NamedTuple):
    """Random parameters of one view of each of B images.

    `scale` float32 [B]: side of the crop relative to the image's; `place` float32 [B, 2]: position of the crop in [-1, 1], left to
    right and top to bottom; `mirrored` bool [B]; `contrast`, `brightness` float32 [B, C]: factors; `blur` float32 [B]: standard
    deviation in pixels, 0 for none; `observed` bool [B, C, H, W].
    """

    scale: Tensor
    place: Tensor
    mirrored: Tensor
    contrast: Tensor
    brightness: Tensor
    blur: Tensor
    observed: Tensor


def sample_parameters(
    shape: tuple[int, int, int, int],
    views: ViewsConfig,
    generator: torch.Generator,
    masked: float,
    held: Tensor | None = None,
) -> ViewParameters:
    """Sample the parameters of views of a batch of `shape` (B, C, H, W); each view is masked with probability `masked`.

    `held`: see `vqkit.data.masking.keep_sets`.
    """
    batch, components, height, width = shape

    def uniform(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*size, generator=generator)

    scale = uniform(batch, low=views.crop).sqrt()
    place = uniform(batch, 2, low=-1.0)
    mirrored = uniform(batch) < views.flip
    contrast, brightness = uniform(2, batch, components, low=1 - views.jitter, high=1 + views.jitter)
    low, high = (share * min(height, width) for share in _BLUR)
    blur = uniform(batch, low=low, high=high) * (uniform(batch) < views.blur)
    observed = sample_observed(shape, masked, views, generator, held)
    return ViewParameters(scale, place, mirrored, contrast, brightness, blur, observed)


def apply_view(images: Tensor, parameters: ViewParameters, spec: DataSpec, present: Tensor | None = None) -> View:
    """Apply view parameters, which may be on the CPU, to images float [B, C, H, W] in unit values.

    What is not `present` (bool, broadcastable to the images; None: nothing is missing) is not observed in the view, nor is what was
    interpolated from it.
    """
    images = where_present(images, present)
    parameters = ViewParameters(*(each.to(images.device, non_blocking=True) for each in parameters))
    there = None
    if present is not None:
        there = _crop(present.expand(images.shape).to(images.dtype), parameters, "bilinear") > 1 - 1e-4
    changed = _crop(images, parameters, "nearest") if spec.value_kind != "intensity" else images
    if spec.value_kind != "binary":
        smooth = where_present(_crop(images, parameters, "bilinear"), there)
        smooth = _blurred(_jittered(smooth, parameters, spec, there), parameters.blur, there)
        changed = smooth if spec.value_kind == "intensity" else torch.where(_binary(spec, images), changed, smooth)
    if there is None:
        return View(changed, parameters.observed)
    return View(torch.where(there, changed, 0), parameters.observed & there)


def _binary(spec: DataSpec, images: Tensor) -> Tensor:
    """Which components are binary, bool [C, 1, 1] on the device of the images."""
    return spec.binary.to(images.device)[:, None, None]


def _crop(images: Tensor, parameters: ViewParameters, interpolation: str) -> Tensor:
    """Random resized crops of images, flipped where `mirrored`."""
    shift = parameters.place * (1 - parameters.scale)[:, None]
    across = torch.where(parameters.mirrored, -parameters.scale, parameters.scale)
    zero = torch.zeros_like(across)
    rows = [torch.stack([across, zero, shift[:, 0]], dim=1), torch.stack([zero, parameters.scale, shift[:, 1]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=interpolation, padding_mode="border", align_corners=False)


def _jittered(images: Tensor, parameters: ViewParameters, spec: DataSpec, there: Tensor | None) -> Tensor:
    """Brightness and contrast: scale each component's deviation from its mean by `contrast`, and the mean by `brightness`.

    The mean is over what is `there` (None: everything); results are clipped to the extremes of the training data.
    """
    if there is None:
        mean = images.mean(dim=(2, 3), keepdim=True)
    else:
        mean = where_present(images, there).sum(dim=(2, 3), keepdim=True) / there.sum(dim=(2, 3), keepdim=True).clamp_min(1)
    contrast, brightness = parameters.contrast[:, :, None, None], parameters.brightness[:, :, None, None]
    bounds = images.new_tensor([each.unit_bounds for each in spec.component_specs])[:, :, None, None]
    return ((images - mean) * contrast + mean * brightness).clamp(bounds[:, 0], bounds[:, 1])


def _blurred(images: Tensor, std: Tensor, there: Tensor | None) -> Tensor:
    """Gaussian blur with one standard deviation [B] in pixels per image, of what is `there`; borders are replicated."""
    if there is None:
        return _convolved(images, std)
    weights = _convolved(there.to(images.dtype), std)
    return _convolved(where_present(images, there), std) / weights.clamp_min(1e-6)


def _convolved(images: Tensor, std: Tensor) -> Tensor:
    """Images convolved with a Gaussian of one standard deviation [B] each."""
    batch, components, height, width = images.shape
    reach = max(1, math.ceil(_REACH * _BLUR[1] * min(height, width)))
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    # Without blur, the Gaussian is so narrow that only the centre pixel has weight.
    kernel = (-0.5 * (offsets / std.clamp_min(1e-3)[:, None]).square()).exp()
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(components, dim=0)
    each = F.pad(images, [reach] * 4, mode="replicate").reshape(1, batch * components, height + 2 * reach, width + 2 * reach)
    for window in (kernel[:, None, :, None], kernel[:, None, None, :]):
        each = F.conv2d(each, window, groups=batch * components)
    return each.view(images.shape)
