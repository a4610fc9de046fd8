"""Arrays as tensors, names of channels, and label maps as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError


def tensor_of(array: NDArray[Any]) -> Tensor:
    """An array as a tensor, which shares its memory unless that is read-only or not contiguous."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def channel_axis(shape: Sequence[int], source: str) -> int:
    """Which of the first (0) and the last (-1) axis of an image's shape of length 3 counts its channels: the shorter one.

    Raises `DataError` when both are equally long.
    """
    if shape[0] == shape[-1]:
        given = " x ".join(map(str, shape))
        raise DataError(f"{source} is {given}: its first or its last axis may be the channels.", "Set data.layout to NCHW or NHWC.")
    return 0 if shape[0] < shape[-1] else -1


def channel_names(count: int) -> tuple[str, ...]:
    """Names for the channels of pictures that have none: grey, or r g b, or channel_1 ... channel_n."""
    common = {1: ("grey",), 3: ("r", "g", "b")}
    return common.get(count, tuple(f"channel_{number}" for number in range(1, count + 1)))


def one_hot_images(label_maps: Tensor, components: int) -> Tensor:
    """Label maps uint8 [B, H, W] (0: background) as images uint8 [B, C, H, W] of 0 and 255."""
    values = torch.arange(1, components + 1, dtype=torch.uint8)
    return (label_maps[:, None] == values[None, :, None, None]).to(torch.uint8).mul_(255)
