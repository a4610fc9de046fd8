"""Rows of arrays by their positions: of a tensor, of some of its rows, and of what says where an array holds data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.image_io.rasters import Window
from vqkit.image_io.rasters.absence import equal_to


class Rows(Protocol):
    """N rows, read by position. A tensor is one; others compute their rows when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """The rows at `indices` (int64 [B]): [B, ...]."""
        ...


class ComputedRows(ABC):
    """Rows that are computed when they are asked for: images [C, H, W], or what is present of them, [C or 1, H or 1, W or 1]."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """See `Rows`."""

    @abstractmethod
    def cut(self, number: int, window: Window) -> Tensor:
        """A window of one row."""


def cut_row(rows: Rows, number: int, window: Window) -> Tensor:
    """A window of one row; of a tensor, a view. Where a row has one value for all pixels, it is that."""
    if isinstance(rows, ComputedRows):
        return rows.cut(number, window)
    row = rows[number] if isinstance(rows, Tensor) else rows[torch.tensor([number])][0]
    return row if row.shape[1:] == (1, 1) else row[:, window.rows, window.columns]


class ChosenRows(ComputedRows):
    """The rows at `positions` (int64 [N]), which are not copied: so a memory-mapped array stays on the disk."""

    def __init__(self, rows: Rows, positions: Tensor) -> None:
        self._rows, self._positions = rows, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self._rows[self._positions[indices]]

    def cut(self, number: int, window: Window) -> Tensor:
        """See `ComputedRows.cut`."""
        return cut_row(self._rows, int(self._positions[number]), window)


class BitRows(ComputedRows):
    """Rows of bool [C, H, W] stored as bits, uint8 [N, C, H, ceil(W / 8)], the first pixel in the highest bit."""

    def __init__(self, bits: Tensor, width: int) -> None:
        self._bits, self._width = bits, width

    def __len__(self) -> int:
        return len(self._bits)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self._unpacked(self._bits[indices])

    def cut(self, number: int, window: Window) -> Tensor:
        """See `ComputedRows.cut`."""
        return self._unpacked(self._bits[number, :, window.rows])[..., window.columns]

    def _unpacked(self, bits: Tensor) -> Tensor:
        return torch.from_numpy(np.unpackbits(bits.numpy(), axis=-1, count=self._width).view(np.bool_))


def pack_bits(present: Tensor) -> Tensor:
    """Rows bool [N, C, H, W] as the bits that `BitRows` reads."""
    return torch.from_numpy(np.packbits(present.numpy(), axis=-1))


class PresentRows(ComputedRows):
    """Where images [N, C, H, W] hold data: neither NaN nor the component's value in `nodata`. Rows are bool [C, H, W]."""

    def __init__(self, images: Rows, nodata: Sequence[float | None]) -> None:
        self._images, self._nodata = images, tuple(nodata)
        self._is_float = images[torch.arange(0)].is_floating_point()

    @property
    def can_have_gaps(self) -> bool:
        """Whether any value at all would be absent."""
        return self._is_float or any(value is not None for value in self._nodata)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return torch.from_numpy(self.of(self._images[indices].numpy()))

    def cut(self, number: int, window: Window) -> Tensor:
        """See `ComputedRows.cut`."""
        return torch.from_numpy(self.of(cut_row(self._images, number, window)[None].numpy())[0])

    def of(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """The same for values [B, C, H, W]."""
        present = ~np.isnan(values) if self._is_float else np.ones(values.shape, np.bool_)
        for component, nodata in enumerate(self._nodata):
            absent = equal_to(values[:, component], nodata)
            if absent is not None:
                present[:, component] &= ~absent
        return present


class JointRows(ComputedRows):
    """Where two rows of presence, of shapes that can be broadcast, both say that there are data."""

    def __init__(self, first: Rows, second: Rows) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self._first[indices] & self._second[indices]

    def cut(self, number: int, window: Window) -> Tensor:
        """See `ComputedRows.cut`."""
        return cut_row(self._first, number, window) & cut_row(self._second, number, window)
