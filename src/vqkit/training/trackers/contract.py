"""The contract of a tracker: what shows the numbers, histograms and pictures of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Tracker(Protocol):
    """Gets everything that a run records, on rank 0, in the order of the steps. Methods raise `OSError` when they cannot write."""

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step by name, such as `train/loss`; some may not be finite."""

    def histogram(self, step: int, name: str, counts: Tensor) -> None:
        """How often each code was chosen, counts int64 [K]."""

    def picture(self, step: int, name: str, sheet: Image) -> None:
        """A picture by name."""

    def close(self) -> None:
        """Nothing follows: write what is held back."""
