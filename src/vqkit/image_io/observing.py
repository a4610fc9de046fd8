"""Which pixels are observed: present in the source, of a kept component, and outside of the hole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError
from vqkit.interfaces import DataSpec


def observe(present: Tensor, keep: tuple[str, ...], mask: Tensor | None, spec: DataSpec) -> Tensor:
    """The observed pixels, bool [B, C, H, W]: present, of a kept component (any if `keep` is empty), and True in `mask`.

    Raises `DataError` when a kept component is absent, or nothing is left of an image.
    """
    known = present
    if keep:
        positions = spec.component_indices(keep)
        absent = [spec.components[position] for position in positions if not bool(present[:, position].flatten(1).any(dim=1).all())]
        if absent:
            held = [name for position, name in enumerate(spec.components) if bool(present[:, position].any())]
            raise DataError(
                f"The image does not hold {', '.join(absent)}, which is to be kept; it holds {', '.join(held) or 'nothing'}.",
                "Keep only what it holds, or give the directory that holds the files of all of them.",
            )
        chosen = torch.zeros(len(spec.components), dtype=torch.bool)
        chosen[positions] = True
        known = known & chosen[:, None, None]
    known = known & mask if mask is not None else known
    if not bool(known.flatten(1).any(dim=1).all()):
        raise DataError("Nothing of the image is observed.", "Keep a component, or leave some of a mask black.")
    return known


def as_observed(mask: NDArray[Any] | Tensor, shape: Sequence[int]) -> Tensor:
    """A mask of any accepted shape as bool, broadcastable to the images' [B, C, H, W]. Raises `DataError` when it fits none."""
    values = mask.detach().cpu() if isinstance(mask, Tensor) else torch.from_numpy(np.ascontiguousarray(mask))
    if values.is_floating_point():
        raise DataError(
            "The mask `observed` holds floating point numbers.", "Give booleans, True where a pixel is known: mask > 0.5."
        )
    batch, components, height, width = shape
    known = values != 0
    if known.ndim == 2:
        known = known[None, None]
    elif known.ndim == 3:
        known = known[:, None] if known.shape[0] == batch != components else known[None]
    if known.ndim == 4 and known.shape[1:3] == (height, width) and known.shape[3] in (1, components):
        known = known.permute(0, 3, 1, 2)
    if (
        known.ndim != 4
        or known.shape[0] not in (1, batch)
        or known.shape[1] not in (1, components)
        or known.shape[2:] != (height, width)
    ):
        raise DataError(
            f"The mask `observed` has the shape {tuple(values.shape)}; the images have {tuple(shape)}.",
            f"Give [{height}, {width}], [{components}, {height}, {width}] or one of these for each image.",
        )
    return known
