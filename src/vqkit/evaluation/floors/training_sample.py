"""Training images to which simple predictors are fitted, in memory, and what is counted over them.

Shapes: N training images, C components, H x W pixels. Absent pixels are 0 and count in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vqkit.data.loading import all_batches
from vqkit.data.subsets import Subset, evenly_spaced
from vqkit.evaluation.held_out import WORKERS
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.interfaces import DataSpec, Split
from vqkit.interfaces.components import to_unit

MOST_IMAGES = 4000
"""Training images that are looked at, evenly spaced over the split."""
MOST_BYTES = 2**29
"""Memory for them, as stored values: of large images there are fewer."""
_CHUNK = 2**23
"""Values that are held in float32 at a time."""
_UNKNOWN_MEAN = 0.5
"""The mean, in unit values, of a component that no training image holds."""


class TrainingSample:
    """Up to `MOST_IMAGES` images of a training split; `spec`: whose ranges give unit values, those of the model."""

    def __init__(self, split: Split, spec: DataSpec, device: torch.device, progress: Progress = no_progress) -> None:
        self.spec, self.device = spec, device
        shape = (len(spec.components), spec.height, spec.width)
        size = spec.stored_dtype.itemsize * shape[0] * shape[1] * shape[2]
        positions = evenly_spaced(len(split), max(1, min(MOST_IMAGES, MOST_BYTES // size)))
        self._images = torch.empty(len(positions), *shape, dtype=split.spec.stored_dtype)
        self._present: Tensor | None = None
        first = 0
        with progress("training images read for the floors", len(positions)) as advance:
            for batch in all_batches(Subset(split, positions), self._chunk, WORKERS):
                rows = slice(first, first + len(batch.images))
                self._images[rows] = batch.images
                if batch.present is not None:
                    if self._present is None:
                        self._present = torch.empty(len(positions), *batch.present.shape[1:], dtype=torch.bool)
                    self._present[rows] = batch.present
                first = rows.stop
                advance(len(batch.images))

    def __len__(self) -> int:
        return len(self._images)

    @property
    def whole(self) -> bool:
        """Whether nothing is absent from any image."""
        return self._present is None or bool(self._present.all())

    def at(self, rows: Tensor | slice, components: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Images in unit values, float32 [n, C, H, W], 0 where nothing is present, and where they are, bool of that shape.

        `components`: only those at these positions.
        """
        chosen = list(range(len(self.spec.components)) if components is None else components)
        stored = self._images[rows]
        if components is not None:
            stored = torch.stack([stored[:, position] for position in chosen], dim=1)
        images = to_unit(stored.to(self.device), [self.spec.component_specs[position] for position in chosen])
        if self._present is None:
            return images, torch.ones_like(images, dtype=torch.bool)
        present = self._present[rows].to(self.device)
        present = (present if present.shape[1] == 1 else present[:, chosen]).expand(images.shape)
        return torch.where(present, images, 0), present

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order, some at a time: see `at`."""
        for first in range(0, len(self), self._chunk):
            yield self.at(slice(first, first + self._chunk))

    @property
    def _chunk(self) -> int:
        return max(1, _CHUNK // self._images[0].numel())


def pixel_means(sample: TrainingSample) -> tuple[Tensor, Tensor]:
    """The mean of each component, float32 [C], and of each of its pixels, float32 [C, H, W], over what is present.

    Where a pixel is present in no image it has the mean of its component.
    """
    total = count = torch.zeros((), dtype=torch.float64, device=sample.device)
    for images, present in sample.chunks():
        total = total + images.sum(0, dtype=torch.float64)
        count = count + present.sum(0)
    totals, counts = total.flatten(1).sum(1), count.flatten(1).sum(1)
    means = torch.where(counts > 0, totals / counts.clamp_min(1), _UNKNOWN_MEAN)
    pixels = torch.where(count > 0, total / count.clamp_min(1), means[:, None, None])
    return means.float(), pixels.float()


def copying_errors(sample: TrainingSample) -> Tensor:
    """Mean squared error, float64 [C, C], of each component (row) as a prediction of each other one (column).

    Over the pixels at which both are present; infinite where there are none.
    """
    count = len(sample.spec.components)
    squares = torch.zeros(count, count, dtype=torch.float64, device=sample.device)
    pixels = torch.zeros_like(squares)
    for images, present in sample.chunks():
        values, there = (each.transpose(0, 1).flatten(1).double() for each in (images, present))
        own = values.square() @ there.T  # absent values are 0
        squares += own + own.T - 2 * values @ values.T
        pixels += there @ there.T
    return torch.where(pixels > 0, squares.clamp_min(0) / pixels.clamp_min(1), torch.inf)
