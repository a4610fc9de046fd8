"""Loading batches of a split: shuffled for training, in order for evaluation, distributed over processes.

The order of an epoch is a function of (seed, epoch) alone, and every process takes its contiguous slice of each global batch.
The images of a step therefore depend neither on the number of processes nor on where a run was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vqkit.core import distributed
from vqkit.core.cpus import usable_cpus
from vqkit.core.randomness import generator_for
from vqkit.errors import ConfigError
from vqkit.interfaces import Batch, Split


class TrainingLoader:
    """Random batches of a split, epoch by epoch.

    `batch_size` counts the images of a step over all processes together; an incomplete batch at the end of an epoch is dropped.
    `workers` processes, at most one per usable core, read splits that are not in memory. Raises `ConfigError` for a batch that is
    larger than the split, or that the processes cannot share equally.
    """

    def __init__(self, split: Split, batch_size: int, seed: int, workers: int) -> None:
        self.size = len(split)
        self.batch_size = batch_size
        self._split, self._seed, self._workers = split, seed, workers
        if batch_size > self.size:
            raise ConfigError(
                f"The batch size {batch_size} is larger than the training set of {self.size} images.",
                f"Use --batch-size {self.size} or less.",
            )
        processes = distributed.world_size()
        if batch_size % processes:
            raise ConfigError(
                f"The batch size {batch_size} cannot be shared equally by {processes} processes.",
                f"Use a multiple of {processes}, such as --batch-size {-(-batch_size // processes) * processes}.",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.size // self.batch_size

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """This process's share of the batches of epoch `number`, from batch `start` on; skipping reads nothing."""
        order = torch.randperm(self.size, generator=generator_for(self._seed, "order", number))
        batches = order[: self.steps_per_epoch * self.batch_size].view(self.steps_per_epoch, self.batch_size)
        share = self.batch_size // distributed.world_size()
        first = distributed.rank() * share
        yield from _read(self._split.epoch(number), list(batches[start:, first : first + share]), self._workers)


def all_batches(split: Split, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """A whole split in order, in every process."""
    yield from batches_of(split, range(len(split)), batch_size, workers)


def batches_of(split: Split, images: range, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Some images of a split, in order, in batches of at most `batch_size`; the last may be smaller."""
    if images:
        yield from _read(split, list(torch.split(torch.arange(images.start, images.stop), batch_size)), workers)


def evaluation_batches(split: Split, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """This process's share of a split, in order, in batches of at most `batch_size` images; the last may be smaller.

    The processes' shares differ by at most one image, and together they are the whole split, each image once.
    """
    yield from batches_of(split, distributed.share(len(split)), batch_size, workers)


def _read(split: Split, batches: Sequence[Tensor], workers: int) -> Iterator[Batch]:
    """The images at each of the index tensors (int64 [B]).

    At most one worker per usable core: more would compete for the cores, and DataLoader warns of them.
    """
    pin = torch.cuda.is_available()
    if split.in_memory or workers == 0:
        for indices in batches:
            batch = split.batch(indices)
            yield batch.pinned() if pin else batch
        return
    # DataLoader seeds its workers from this generator, which leaves the global one unchanged.
    yield from DataLoader(
        _Indexed(split),
        batch_size=None,
        sampler=batches,
        num_workers=min(workers, usable_cpus()),
        pin_memory=pin,
        generator=torch.Generator(),
    )


class _Indexed(Dataset[Batch]):
    """A split as a map-style `Dataset` whose keys are index tensors and whose items are whole batches."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitem__(self, indices: Tensor) -> Batch:
        return self._split.batch(indices)
