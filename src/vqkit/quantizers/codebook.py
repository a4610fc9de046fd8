"""What all learned codebooks share: initialisation from the first batch, and resetting dead codes.

How the codes are updated is up to the subclass: `vqkit.quantizers.ema` and `vqkit.quantizers.gradient`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from vqkit.core import distributed
from vqkit.layers.mirrored_buffer import MirroredBuffer
from vqkit.quantizers.dead_codes import reset_dead_codes
from vqkit.quantizers.global_batch import GlobalBatch, draw_weighted
from vqkit.quantizers.kmeans import assign, kmeans
from vqkit.quantizers.lookup import LookupOptions, LookupQuantizer

MIN_MEAN_USES = 10
"""Dead codes are reset only when the codes were chosen this often on average: with fewer uses, a code may be unused by chance."""

_GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: multiples of this odd number are spread evenly over the 64-bit seeds."""


class CodebookOptions(LookupOptions):
    """Settings of every learned codebook."""

    kmeans_iterations: int = Field(
        10,
        ge=0,
        description="Lloyd iterations on the first batch, fewer with very many codes and features; with 0, the codes are random "
        "features of that batch.",
    )
    reset_every: int = Field(10, ge=0, description="Updates between two resets of dead codes; 0 disables them.")
    reset_threshold: float = Field(
        0.1,
        gt=0,
        le=1,
        description="A code is dead if its uses since the last reset are below this fraction of the mean.",
    )


class LearnedCodebook(LookupQuantizer):
    """A codebook [K, D] that is initialised by k-means on the first training batch, and whose dead codes are reset.

    State, all of it saved with the model:

    - `codes` float32 [K, D];
    - `recent` float32 [K], how often each code was chosen since the last reset, summed over the processes;
    - `initialised`, whether the first training batch has been seen;
    - `updates`, the number of training batches seen;
    - `seed`, drawn when the codebook is built. With `updates` it determines every later random draw, alike on all processes.
    """

    Options: ClassVar[type[BaseModel]] = CodebookOptions
    codes: Tensor
    recent: Tensor
    initialised: Tensor
    updates: Tensor
    seed: Tensor

    def __init__(self, options: CodebookOptions) -> None:
        super().__init__(options)
        self.options = options
        self.register_buffer("recent", torch.zeros(self.num_codes))
        self._initialised = MirroredBuffer(self, "initialised", False)
        self._updates = MirroredBuffer(self, "updates", 0)
        self.register_buffer("seed", torch.randint(2**63 - 1, ()))

    @torch.no_grad()
    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """See `Quantizer.reset_unused_codes` and `reset_dead_codes`."""
        dead, codes = reset_dead_codes(self.codebook(), counts, generator)
        if bool(dead.any()):
            self._set_codes(dead, codes, torch.ones_like(self.recent))
        return int(dead.sum())

    @abstractmethod
    def _update_codes(self, rows: Tensor, indices: Tensor) -> Tensor:
        """Update the codes, without a gradient; every process calls this at every training step.

        `rows` float32 [N, D]; `indices` int64 [N], the code of each row. Returns how many rows of all processes chose each code,
        float32 [K].
        """

    def _set_codes(self, mask: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Replace the codes selected by `mask` bool [K] by `codes` float32 [K, D], and reset the state that belongs to them.

        `counts` float32 [K]: how many features each new code represents.
        """
        del counts
        self.codes.detach().copy_(torch.where(mask[:, None], self._normalized(codes), self.codes))

    @property
    def is_initialised(self) -> bool:
        """See `LookupQuantizer.is_initialised`."""
        return self._initialised.read()

    @torch.no_grad()
    def _initialise(self, rows: Tensor) -> None:
        """K-means on the first training batch whose features are all finite."""
        if self._initialised.read():
            return
        distributed.broadcast(self.seed)
        generator = self._generator()
        centres, sizes = kmeans(rows, self.num_codes, self.options.kmeans_iterations, generator, self.l2_normalized)
        if not bool(centres.isfinite().all()):
            return
        self._set_codes(torch.ones_like(sizes, dtype=torch.bool), centres, sizes.clamp_min(1))
        self._initialised.write(True)

    @torch.no_grad()
    def _update(self, rows: Tensor, indices: Tensor) -> None:
        self.recent += self._update_codes(rows, indices)
        self._updates.write(self._updates.read() + 1)
        every = self.options.reset_every
        if self._initialised.read() and every and self._updates.read() % every == 0:
            self._reset_dead_codes(rows, indices, self._generator())

    def _reset_dead_codes(self, rows: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Set each dead code to a row of a cell with a large quantisation error, and restart the counts of uses.

        The cell (the rows of one code) is drawn with probability proportional to its squared error, and the row uniformly among
        those of the cell: this splits the worst cells. It avoids both frequent rows that are already well represented, and
        outliers, which make poor codes.
        """
        mean = self.recent.mean()
        enough = mean >= MIN_MEAN_USES
        dead = enough & (self.recent < self.options.reset_threshold * mean)
        errors = (rows - torch.embedding(self.codebook(), indices)).square_().sum(dim=1).nan_to_num(nan=0, posinf=0)
        sizes, totals = assign(errors[:, None], indices, self.num_codes)
        weights = (totals[:, 0] / sizes.clamp_min(1))[indices] * (errors > 0)
        candidates, usable = draw_weighted(GlobalBatch(rows), weights, self.num_codes, generator)
        # The n-th dead code becomes the n-th candidate; dead codes beyond the last candidate stay as they are.
        number = dead.cumsum(0) - 1
        position = number.clamp(0, len(candidates) - 1)
        mask = dead & (number < len(candidates)) & usable[position]
        self._set_codes(mask, candidates[position], torch.ones_like(self.recent))
        self.recent.mul_(~enough)

    def _generator(self) -> torch.Generator:
        """A generator that depends only on the saved seed and the number of updates."""
        return torch.Generator().manual_seed((int(self.seed) + self._updates.read() * _GOLDEN_RATIO) % 2**63)
