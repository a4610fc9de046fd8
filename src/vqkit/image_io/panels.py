"""Panels: every component of an image as a picture of its own, with its name, its range and a colour bar, however many there are.

Intensities are grey: the low end of a component's range is black, its high end white. Where the images of a figure use less than
half of the range, the part that they use is shown instead; the colour bar says which, in stored values. Binary components have the
colour of the palette on white. What is not present is hatched, whatever its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vqkit.image_io.pictures import BACKGROUND, composite, display_components, hatching, painted_components, palette
from vqkit.image_io.sheets import Bar, Column, PanelRow, panel_sheet
from vqkit.interfaces import DataSpec, ShownImages, fully_observed, where_present

LARGEST_SIDE = 256
"""Height and width in pixels above which panels are reduced."""

_TOO_HIGH, _TOO_LOW = (178, 24, 43), (33, 102, 172)
_USED, _LEAST_RANGE = 0.5, 0.1
_MOST_VALUES = 2**20
"""Values that percentiles are computed of, at most."""
_DIFFERENCE_SCALES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def panels(images: Tensor, spec: DataSpec, present: Tensor | None = None) -> Tensor:
    """A picture of each component, uint8 [B, C, 3, H, W], of images float [B, C, H, W] in units of the range.

    The grey value of an intensity is 255 times its value, clipped to 0..1 and rounded. `present`: as for `composite`.
    """
    values = where_present(images.to(torch.float32), present).clamp(0, 1)[:, :, None]
    tints = palette(spec).to(values)[:, :, None, None] - BACKGROUND[0]
    shapes = torch.zeros(len(spec.components), 1, 1, 1, dtype=torch.bool, device=values.device)
    shapes[painted_components(spec)] = True
    painted = torch.where(shapes, BACKGROUND[0] + values * tints, values * 255).round().clamp(0, 255).to(torch.uint8)
    if present is None:
        return painted
    hidden = ~present.expand(images.shape)[:, :, None]
    return torch.where(hidden, hatching(*images.shape[2:]).to(images.device), painted)


def shown_range(rows: Sequence[ShownImages], spec: DataSpec) -> Tensor:
    """What is black and what is white in the panels of these images, float32 [C, 2] in units of the range.

    0 and 1, but for an intensity whose values take less than half of the range in these images: then their percentiles 0.5 and
    99.5, at least a tenth of the range apart. Colour pictures and binary components are shown as they are.
    """
    ends = _whole_range(spec)
    for position, each in enumerate(spec.component_specs):
        if spec.is_colour or each.kind == "binary":
            continue
        found = [images[:, position][fully_observed(images, present)[:, position]] for images, present in rows]
        values = torch.cat(found).to(torch.float32).cpu()
        values = values[values.isfinite()].clamp(0, 1)
        if not values.numel():
            continue
        low, high = values[:: math.ceil(values.numel() / _MOST_VALUES)].quantile(torch.tensor([0.005, 0.995])).tolist()
        if high - low < _USED:
            spare = max(0.0, _LEAST_RANGE - (high - low))
            low = min(max(0.0, low - spare / 2), 1 - _LEAST_RANGE)
            ends[position] = torch.tensor([low, max(high, low + _LEAST_RANGE)])
    return ends


def _whole_range(spec: DataSpec) -> Tensor:
    return torch.tensor([0.0, 1.0]).repeat(len(spec.components), 1)


def columns(spec: DataSpec, ends: Tensor | None = None) -> list[Column]:
    """The headings of the pictures of `views`."""
    alone = [Column(each.name, component_bar(position, spec, ends)) for position, each in enumerate(spec.component_specs)]
    if not _has_composite(spec):
        return alone
    shown = display_components(spec)
    return [Column("together", note="" if spec.is_colour else " ".join(shown)), *alone]


def views(image: Tensor, spec: DataSpec, present: Tensor | None = None, ends: Tensor | None = None) -> Tensor:
    """One image as pictures, uint8 [n, 3, h, w]: the composite, where it shows more than one component, and each component.

    `image` float [C, H, W] in units of the range, `present` bool [C, H, W]; `ends`: see `shown_range`, by default the whole range.
    Images that are larger than `LARGEST_SIDE` are reduced.
    """
    images, known = reduced(image[None], None if present is None else present[None])
    ends = _whole_range(spec) if ends is None else ends
    alone = panels(_stretched(images, ends), spec, known)[0]
    if not _has_composite(spec):
        return alone
    # One stretch for all three colours, so that they stay in balance.
    joint = ends.clone()
    positions = spec.component_indices(display_components(spec))
    if positions:
        joint[positions] = torch.stack([ends[positions, 0].min(), ends[positions, 1].max()])
    return torch.cat([composite(_stretched(images, joint), spec, known), alone])


def _stretched(images: Tensor, ends: Tensor) -> Tensor:
    """Images [B, C, H, W] with the ends [C, 2] at 0 and 1."""
    low, high = ends.to(images.device)[:, :, None, None].unbind(1)
    return (images - low) / (high - low)


def _has_composite(spec: DataSpec) -> bool:
    """Whether a composite shows more than the first panel does."""
    return len(spec.components) > 1 and (spec.value_kind != "intensity" or len(display_components(spec)) > 1)


def difference_row(filled: Tensor, truth: Tensor, spec: DataSpec, present: Tensor | None = None) -> PanelRow:
    """`filled - truth`, both float [C, H, W] in units of the range, with the columns of `views`.

    White: equal; red: too high; blue: too low. Intensities share one scale, on which the full colours stand for a difference that
    is exceeded by about one pixel in a hundred; for binary components they stand for 1. In the composite's column is the root mean
    square over the components. What is not present is hatched.
    """
    known = fully_observed(filled, present)
    difference = where_present(filled - truth, known)
    intensities = ~spec.binary
    scale = _difference_scale(difference[intensities], known[intensities])
    reach = torch.where(spec.binary, 1.0, scale)[:, None, None]
    images, where = reduced((difference / reach)[None], known[None])
    scaled, shown = images[0], fully_observed(images, where)[0]
    if _has_composite(spec):
        count = shown.sum(0, keepdim=True)
        together = (where_present(scaled, shown).square().sum(0, keepdim=True) / count.clamp_min(1)).sqrt()
        scaled, shown = torch.cat([together, scaled]), torch.cat([count > 0, shown])
    pictures = torch.where(shown[:, None], _diverging(scaled), hatching(*shown.shape[1:]))
    ends = f"{-scale:g}", f"+{scale:g}"
    between = "of the range" if intensities.any() else ""
    return PanelRow("difference", pictures, Bar(_diverging(torch.linspace(-1, 1, 256)[None])[0], *ends, between))


def grey_row(label: str, values: Tensor, spec: DataSpec) -> PanelRow:
    """Values float [C, H, W] from 0, black, to 1, white, with the columns of `views`; in the composite's are the largest."""
    (shown,), _ = reduced(values[None])
    if _has_composite(spec):
        shown = torch.cat([shown.amax(0, keepdim=True), shown])
    greys = shown.clamp(0, 1).mul(255).round().to(torch.uint8)
    return PanelRow(label, greys[:, None].expand(-1, 3, -1, -1), Bar(torch.arange(256).to(torch.uint8).expand(3, 256), "0", "1"))


def _difference_scale(difference: Tensor, known: Tensor) -> float:
    """A round number that 99 % of the differences [C, H, W] where `known` do not exceed, at most 1; 1 where there are none."""
    found = difference[known].abs().float()
    if not found.numel():
        return 1.0
    usual = float(found[:: math.ceil(found.numel() / _MOST_VALUES)].quantile(0.99))
    return next((scale for scale in _DIFFERENCE_SCALES if usual <= scale), 1.0)


def _diverging(values: Tensor) -> Tensor:
    """Values [n, ...] from -1 to 1 as colours uint8 [n, 3, ...], in proportion: blue, white at 0, red."""
    shape = (3, *[1] * (values.ndim - 1))
    high, low = (torch.tensor(colour, dtype=torch.float32).view(shape) - 255 for colour in (_TOO_HIGH, _TOO_LOW))
    part = values.clamp(-1, 1)[:, None]
    return (255 + part.clamp_min(0) * high - part.clamp_max(0) * low).round().to(torch.uint8)


def reduced(images: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Images float [B, C, H, W] and where they are present, reduced to at most `LARGEST_SIDE` by a whole factor.

    A pixel is the mean of what is present of those that it stands for.
    """
    factor = math.ceil(max(images.shape[2:]) / LARGEST_SIDE)
    if factor == 1:
        return images, None if present is None else present.expand(images.shape)
    if present is None:
        return F.avg_pool2d(images, factor, ceil_mode=True), None
    share = F.avg_pool2d(present.expand(images.shape).to(torch.float32), factor, ceil_mode=True)
    total = F.avg_pool2d(where_present(images, present), factor, ceil_mode=True)
    return total / share.clamp_min(1e-9), share > 0


def component_bar(position: int, spec: DataSpec, ends: Tensor | None = None) -> Bar:
    """The colour bar of the panels of a component; its ends are stored values. `ends`: see `shown_range`."""
    component = spec.component_specs[position]
    if position in painted_components(spec):
        return Bar(palette(spec)[position][:, None].expand(3, 256), "", "")
    low, high = component.low, component.high
    if ends is not None and ends[position].tolist() != [0, 1]:
        corners = ends.T.reshape(2, len(spec.components), 1, 1)
        low, high = spec.from_unit(corners)[:, position].flatten().tolist()
    transform = "" if component.transform == "linear" else component.transform
    colours = torch.arange(256).to(torch.uint8).expand(3, 256)
    return Bar(colours, number_text(low), f"{number_text(high)} {component.unit}".rstrip(), transform)


def number_text(value: float) -> str:
    """A number in at most about six characters: 0.0213, 4095, 65535, 1.5e+06."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"


def overview(rows: Sequence[tuple[str, ShownImages]], spec: DataSpec, scale: int | None = None) -> Image.Image:
    """The first image of each row, its components as panels. `rows`: a label and images each; `scale`: see `panel_sheet`."""
    firsts = []
    for label, (images, present) in rows:
        known = None if present is None else present.expand(images.shape)[:1]
        firsts.append((label, ShownImages(*reduced(images[:1], known))))
    ends = shown_range([shown for _, shown in firsts], spec)
    drawn = [
        PanelRow(label, views(shown.images[0], spec, None if shown.present is None else shown.present[0], ends))
        for label, shown in firsts
    ]
    return panel_sheet(drawn, columns(spec, ends), scale)
