"""What codebooks share whose codes learn one by one: the first codes, and codes that died.

How the codes follow the features is the subclass's own: `vqkit.quantizers.ema` and `vqkit.quantizers.gradient`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from vqkit.core import distributed
from vqkit.layers.mirrored_buffer import MirroredBuffer
from vqkit.quantizers.global_batch import GlobalBatch, draw_weighted
from vqkit.quantizers.kmeans import assign, kmeans
from vqkit.quantizers.lookup import LookupOptions, LookupQuantizer
from vqkit.quantizers.sphere import unit
from vqkit.quantizers.unused import beside_used_codes

MIN_MEAN_USES = 10
"""Mean number of uses from which a code without any is dead, and not just unlucky; where batches are small, looks wait for it."""

_GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""Odd, and far from any pattern in its bits: it spreads consecutive numbers over all 64-bit seeds."""


class CodebookOptions(LookupOptions):
    """Settings of every learned codebook."""

    kmeans_iterations: int = Field(
        10, ge=0, description="Lloyd iterations on the first batch; 0: random features of it are the codes."
    )
    restart_every: int = Field(10, ge=0, description="Updates between two looks for dead codes; 0: never look.")
    restart_threshold: float = Field(
        0.1, gt=0, le=1, description="A code is dead when it was chosen less often since the last look than this share of the mean."
    )


class LearnedCodebook(LookupQuantizer):
    """A codebook [K, D] that starts on the first training batch and moves dead codes to where they are missed.

    State, all saved with the model: `codes` float32 [K, D]; `recent` float32 [K], how often each code was chosen by the features
    of all processes since the last look for dead codes; `initialised`; `updates`, how many training batches were seen; `seed`,
    drawn when the codebook is built, from which together with `updates` every later random draw follows, alike on all processes.
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
        """See `Quantizer.reset_unused_codes` and `beside_used_codes`."""
        unused, codes = beside_used_codes(self.codebook(), counts, generator)
        if bool(unused.any()):
            self._move(unused, codes, torch.ones_like(self.recent))
        return int(unused.sum())

    @abstractmethod
    def _learn(self, rows: Tensor, indices: Tensor) -> Tensor:
        """Follow the rows float32 [N, D], given the code of each; without gradient, at every training step of every process.

        Returns how many rows of all processes chose each code, float32 [K].
        """

    def _move(self, moved: Tensor, codes: Tensor, counts: Tensor) -> None:
        """Give the codes marked in bool [K] new values [K, D], and renew whatever state goes with them.

        `counts` float32 [K]: how many features each new value stands for.
        """
        del counts
        codes = unit(codes, 1) if self.on_sphere else codes
        self.codes.detach().copy_(torch.where(moved[:, None], codes, self.codes))

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        """On the first training batch whose features are all finite: put the codes among them."""
        if self._initialised.read():
            return
        distributed.broadcast(self.seed)
        generator = self._generator()
        centres, sizes = kmeans(rows, self.num_codes, self.options.kmeans_iterations, generator, on_sphere=self.on_sphere)
        if not bool(centres.isfinite().all()):
            return
        self._move(torch.ones_like(sizes, dtype=torch.bool), centres, sizes.clamp_min(1))
        self._initialised.write(True)

    @torch.no_grad()
    def _update(self, rows: Tensor, indices: Tensor) -> None:
        """Everything that happens after a training batch was quantised."""
        self.recent += self._learn(rows, indices)
        self._updates.write(self._updates.read() + 1)
        every = self.options.restart_every
        if self._initialised.read() and every and self._updates.read() % every == 0:
            self._restart_dead_codes(rows, indices, self._generator())

    def _restart_dead_codes(self, rows: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Put each dead code on a row of a badly represented cell, and begin to count anew.

        The cell (the rows of one code) is drawn with probability proportional to its squared error, the row in it uniformly:
        this splits the worst cells. Common rows that are well represented are left alone; so are outliers, which make poor codes.
        """
        mean = self.recent.mean()
        ripe = mean >= MIN_MEAN_USES
        dead = ripe & (self.recent < self.options.restart_threshold * mean)
        errors = (rows - torch.embedding(self.codebook(), indices)).square_().sum(dim=1).nan_to_num(nan=0, posinf=0)
        sizes, totals = assign(errors[:, None], indices, self.num_codes)
        weights = (totals[:, 0] / sizes.clamp_min(1))[indices] * (errors > 0)
        pool, usable = draw_weighted(GlobalBatch(rows), weights, self.num_codes, generator)
        # The first dead code takes the first row of the pool, and so on; when the pool is used up the rest waits.
        place = dead.cumsum(0) - 1
        within = place.clamp(0, len(pool) - 1)
        moved = dead & (place < len(pool)) & usable[within]
        self._move(moved, pool[within], torch.ones_like(self.recent))
        self.recent.mul_(~ripe)

    def _generator(self) -> torch.Generator:
        """Random numbers that follow from the saved seed and the number of updates alone."""
        return torch.Generator().manual_seed((int(self.seed) + self._updates.read() * _GOLDEN_RATIO) % 2**63)
