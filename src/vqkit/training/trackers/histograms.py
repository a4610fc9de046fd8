"""Histograms of codes for trackers that take few bins."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_BINS = 512
"""What wandb and trackio take."""


def few_bins(counts: Tensor) -> tuple[list[float], list[float]]:
    """Counts int64 [K] as at most `MOST_BINS` bins and their edges; in larger codebooks, neighbours are summed."""
    used = counts.double().cpu()
    width = -(-len(used) // MOST_BINS)
    bins = [float(part.sum()) for part in torch.split(used, width)]
    return bins, [float(min(number * width, len(used))) for number in range(len(bins) + 1)]
