"""Maps of amounts, from white for nothing over orange to dark red."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.image_io.panels import number_text
from vqkit.image_io.pictures import hatching
from vqkit.image_io.sheets import Bar

_STOPS = torch.tensor([(255, 255, 255), (253, 212, 158), (252, 141, 89), (215, 48, 31), (103, 0, 13)], dtype=torch.float32)
"""Colours at equal distances, interpolated between (white, then four of ColorBrewer's OrRd and Reds)."""


def heat(values: Tensor, top: float, present: Tensor | None = None) -> Tensor:
    """Values float [n, H, W] as colours uint8 [n, 3, H, W]: white at 0 and below, dark red at `top` (above 0) and beyond.

    What is not `present`, bool [n, H, W], is hatched.
    """
    place = (values / top).clamp(0, 1).nan_to_num(0) * (len(_STOPS) - 1)
    first = place.long().clamp_max(len(_STOPS) - 2)
    share = (place - first)[..., None]
    colours = _STOPS[first] * (1 - share) + _STOPS[first + 1] * share
    painted = colours.movedim(-1, 1).round().to(torch.uint8)
    return painted if present is None else torch.where(present[:, None], painted, hatching(*values.shape[1:]))


def heat_bar(top: float, unit: str = "") -> Bar:
    """The colour bar of `heat`."""
    return Bar(heat(torch.linspace(0, top, 256)[None, None], top)[0, :, 0], "0", f"{number_text(top)}+", unit)
