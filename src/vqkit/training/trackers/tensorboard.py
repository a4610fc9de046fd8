"""TensorBoard: <run>/tensorboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.core.write_errors import errors_name

if TYPE_CHECKING:
    from PIL.Image import Image


class TensorBoardTracker:
    """See `Tracker`. A resumed run drops what was recorded after the step from which it resumes."""

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._events = run / "tensorboard"
        self._board = SummaryWriter(str(self._events), purge_step=step + 1 if step else None)

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.row`."""
        with errors_name(self._events):
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def histogram(self, step: int, name: str, counts: Tensor) -> None:
        """See `Tracker.histogram`."""
        used = counts.double().cpu().numpy()
        edges = torch.arange(len(used) + 1).double().numpy()
        codes = edges[:-1]
        with errors_name(self._events):
            self._board.add_histogram_raw(
                f"codes/{name}",
                min=0.0,
                max=float(len(used)),
                num=float(used.sum()),
                sum=float((codes * used).sum()),
                sum_squares=float((codes * codes * used).sum()),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=used.tolist(),
                global_step=step,
            )

    def picture(self, step: int, name: str, sheet: Image) -> None:
        """See `Tracker.picture`."""
        pixels = torch.frombuffer(bytearray(sheet.convert("RGB").tobytes()), dtype=torch.uint8)
        with errors_name(self._events):
            self._board.add_image(name, pixels.view(sheet.height, sheet.width, 3).numpy(), step, dataformats="HWC")

    def close(self) -> None:
        """See `Tracker.close`."""
        with errors_name(self._events):
            self._board.close()
