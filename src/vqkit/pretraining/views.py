"""Two views of an image: cut out, mirrored, changed in brightness and contrast, blurred, and seen in part.

The first four are those of Chen et al. 2020 (SimCLR, appendix A) for images with any number of components, each of which has a
brightness and a contrast of its own in place of the colours. The last is what vqkit's models are for: a view hides components or
pixels, as training does, and is told which. Binary components stay binary: they are cut out and mirrored only.

One view of each pair is whole, and the other hides more and more often while the run goes on. Where both hide from the start, what
an encoder makes of two views tells at first which part is hidden and little else; then no two views of an image can be made alike
but by making all alike, and that is what Barlow Twins and BYOL did on tyre sections.

What is random is drawn for the images of all processes, by one generator on the processor, and each process applies its part. All
is done for the whole batch at once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.config import ViewsConfig
from vqkit.data.masking import sample_observed
from vqkit.interfaces import DataSpec
from vqkit.interfaces.methods import View

_BLUR = (0.1 / 224, 2.0 / 224)
"""Least and largest deviation of the blur, as a share of the image's shorter side: SimCLR's for 224 pixels."""
_REACH = 3
"""Deviations to which a blur reaches."""


class ViewParameters(NamedTuple):
    """What is random about one view of each of B images.

    `scale` float32 [B]: side of the part that is cut out, as a share of the image's; `place` float32 [B, 2]: in [-1, 1], of that
    part in the image, left to right and top to bottom; `mirrored` bool [B]; `contrast`, `brightness` float32 [B, C]: factors;
    `blur` float32 [B]: deviation in pixels, 0 for none; `observed` bool [B, C, H, W].
    """

    scale: Tensor
    place: Tensor
    mirrored: Tensor
    contrast: Tensor
    brightness: Tensor
    blur: Tensor
    observed: Tensor


def sample_parameters(
    shape: tuple[int, int, int, int], views: ViewsConfig, generator: torch.Generator, masked: float
) -> ViewParameters:
    """Draw a view of each of B images, for the shape (B, C, H, W); a share `masked` of them hides a part."""
    batch, components, height, width = shape

    def uniform(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*size, generator=generator)

    scale = uniform(batch, low=views.crop).sqrt()
    place = uniform(batch, 2, low=-1.0)
    mirrored = uniform(batch) < views.flip
    contrast, brightness = uniform(2, batch, components, low=1 - views.jitter, high=1 + views.jitter)
    least, most = (share * min(height, width) for share in _BLUR)
    blur = uniform(batch, low=least, high=most) * (uniform(batch) < views.blur)
    observed = sample_observed(shape, masked, views, generator)
    return ViewParameters(scale, place, mirrored, contrast, brightness, blur, observed)


def apply_view(images: Tensor, parameters: ViewParameters, spec: DataSpec) -> View:
    """The drawn view of each of the images, float [B, C, H, W] in [0, 1]. `parameters` may be on the processor."""
    moved = ViewParameters(*(each.to(images.device, non_blocking=True) for each in parameters))
    changed = _cut(images, moved, "nearest" if spec.value_kind == "binary" else "bilinear")
    if spec.value_kind != "binary":
        changed = _blurred(_jittered(changed, moved), moved.blur)
    return View(changed, moved.observed)


def _cut(images: Tensor, parameters: ViewParameters, interpolation: str) -> Tensor:
    """The drawn part of each image, enlarged to the image's size, mirrored where that was drawn."""
    shift = parameters.place * (1 - parameters.scale)[:, None]
    across = torch.where(parameters.mirrored, -parameters.scale, parameters.scale)
    nothing = torch.zeros_like(across)
    rows = [torch.stack([across, nothing, shift[:, 0]], dim=1), torch.stack([nothing, parameters.scale, shift[:, 1]], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode=interpolation, padding_mode="border", align_corners=False)


def _jittered(images: Tensor, parameters: ViewParameters) -> Tensor:
    """Each component further from, or nearer to, its own mean by its contrast, and that mean times its brightness."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    contrast, brightness = parameters.contrast[:, :, None, None], parameters.brightness[:, :, None, None]
    return ((images - mean) * contrast + mean * brightness).clamp(0, 1)


def _blurred(images: Tensor, deviation: Tensor) -> Tensor:
    """Each image convolved with a Gaussian of its own deviation [B] in pixels; the border's values go on outside."""
    batch, components, height, width = images.shape
    reach = max(1, math.ceil(_REACH * _BLUR[1] * min(height, width)))
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    # Where nothing is to be blurred, so narrow a Gaussian that its own pixel is all of it.
    kernel = (-0.5 * (offsets / deviation.clamp_min(1e-3)[:, None]).square()).exp()
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(components, dim=0)
    each = F.pad(images, [reach] * 4, mode="replicate").reshape(1, batch * components, height + 2 * reach, width + 2 * reach)
    for window in (kernel[:, None, :, None], kernel[:, None, None, :]):
        each = F.conv2d(each, window, groups=batch * components)
    return each.view(images.shape)
