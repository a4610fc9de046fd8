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
    known, is_whole = present, bool(present.all())
    if keep:
        positions = spec.component_indices(keep)
        absent = (
            []
            if is_whole
            else [spec.components[position] for position in positions if not bool(present[:, position].flatten(1).any(dim=1).all())]
        )
        if absent:
            held = [name for position, name in enumerate(spec.components) if bool(present[:, position].any())]
            raise DataError(
                f"The image does not hold {', '.join(absent)}, which is to be kept; it holds {', '.join(held) or 'nothing'}.",
                "Keep only what it holds, or give the directory that holds the files of all of them.",
            )
        chosen = torch.tensor([position in positions for position in range(len(spec.component_specs))])
        known = known & chosen[:, None, None]
    if mask is None and is_whole:
        return known
    known = known & mask if mask is not None else known
    if not bool(known.flatten(1).any(dim=1).all()):
        if not bool(present.flatten(1).any(dim=1).all()):
            raise DataError("The image holds no data: every pixel is NaN, nodata or transparent.", "Give one that holds some.")
        raise DataError("Nothing of the image is observed.", "Keep a component, or leave some of a mask black.")
    return known


def as_observed(mask: NDArray[Any] | Tensor, shape: Sequence[int]) -> Tensor:
    """A mask of any accepted shape as bool, broadcastable to the images' [B, C, H, W].

    [H, W]; [C, H, W] or [H, W, C], for all images; [B, H, W], for all components; or [B, C, H, W], [B, H, W, C], where B or C may
    be 1. Raises `DataError` when it fits none of them, and for [N, H, W] where N is both B and C: which of them is not guessed.
    """
    values = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else mask
    if values.dtype.kind not in "bui":
        raise DataError(
            "The mask `observed` holds floating point numbers.", "Give booleans, True where a pixel is known: mask > 0.5."
        )
    batch, components, height, width = shape
    known = torch.from_numpy(np.ascontiguousarray(values != 0))
    if known.ndim == 3 and known.shape[0] == batch == components > 1 and known.shape[1:] == (height, width):
        raise DataError(
            f"The mask `observed` has the shape {tuple(known.shape)}: one mask for each of the {batch} images, or one for each of "
            f"the {components} components.",
            f"Give [{batch}, 1, {height}, {width}] for one an image, or [1, {components}, {height}, {width}] for one a component.",
        )
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
