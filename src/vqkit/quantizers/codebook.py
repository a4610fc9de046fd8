"""What learned codebooks share: the first codes, the nearest code, codes that died, and a pass forward.

How the codes follow the features is the subclass's own: `vqkit.quantizers.ema` and `vqkit.quantizers.gradient`.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from vqkit import distributed
from vqkit.config import Settings
from vqkit.errors import ConfigError
from vqkit.interfaces import Quantized, Quantizer
from vqkit.quantizers.global_batch import GlobalBatch, draw_weighted
from vqkit.quantizers.kmeans import assign, kmeans
from vqkit.quantizers.nearest import nearest_codes
from vqkit.quantizers.straight_through import straight_through, to_grid, to_rows

Method = TypeVar("Method", bound=Callable[..., Any])

MIN_MEAN_USES = 10
"""Mean number of uses from which a code without any is dead, and not just unlucky; where batches are small, looks wait for it."""

_GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""Odd, and far from any pattern in its bits: it spreads consecutive numbers over all 64-bit seeds."""


class CodebookOptions(Settings):
    """Settings of every learned codebook."""

    num_codes: int = Field(512, ge=2, description="Number of codes K.")
    dim: int = Field(64, ge=1, description="Length D of a code, and channels of the features.")
    commitment_weight: float = Field(0.25, ge=0, description="Weight of the loss that pulls features to their codes.")
    kmeans_iterations: int = Field(
        10, ge=0, description="Lloyd iterations on the first batch; 0: random features of it are the codes."
    )
    restart_every: int = Field(10, ge=0, description="Updates between two looks for dead codes; 0: never look.")
    restart_threshold: float = Field(
        0.1, gt=0, le=1, description="A code is dead when it was chosen less often since the last look than this share of the mean."
    )


def _never_compiled(method: Method) -> Method:
    """Leave a method out of `torch.compile`: the update counts on the host, for which every step would be compiled anew.

    `torch.compiler.disable` costs seconds when it is imported, which nobody should pay who does not compile.
    """

    @functools.wraps(method)
    def call(*arguments: Any, **keywords: Any) -> Any:
        if torch.compiler.is_compiling():
            disable: Callable[[Method], Method] = torch.compiler.disable
            return disable(method)(*arguments, **keywords)
        return method(*arguments, **keywords)

    return cast(Method, call)


class LearnedCodebook(Quantizer):
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
        super().__init__()
        self.options = options
        self.num_codes = options.num_codes
        self.dim = options.dim
        self.commitment_weight = options.commitment_weight
        self.register_buffer("recent", torch.zeros(self.num_codes))
        self.register_buffer("initialised", torch.tensor(False))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("seed", torch.randint(2**63 - 1, ()))
        self._mirror: tuple[bool, int] | None = None
        self.register_load_state_dict_post_hook(_forget_mirror)  # type: ignore[no-untyped-call]

    @_never_compiled
    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`. In training the first batch also starts the codebook, before it is quantised."""
        with torch.autocast(features.device.type, enabled=False):
            rows = to_rows(features)
            if self.training:
                self._start(rows)
            indices = nearest_codes(rows, self.codes)
            quantized, codebook_loss, commitment_loss = straight_through(features, self.codes, rows, indices)
            if self.training:
                self._update(rows, indices)
        if not self.codes.requires_grad:
            codebook_loss = torch.zeros_like(codebook_loss)
        return Quantized(quantized, indices.view(features.shape[0], *features.shape[2:]), codebook_loss, commitment_loss)

    @_never_compiled
    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(features.device.type, enabled=False):
            return nearest_codes(to_rows(features), self.codes).view(features.shape[0], *features.shape[2:])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        batch, height, width = indices.shape
        return to_grid(torch.embedding(self.codes.detach(), indices.flatten()), torch.Size((batch, self.dim, height, width)))

    @torch.no_grad()
    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """Move codes that were never chosen next to much used ones; returns how many.

        `counts` int64 [K]: how often each code was chosen over a whole data set. A code with a count of exactly zero becomes a
        copy of another, drawn with probability proportional to its count, plus noise of 1 % of the codes' own deviation.
        Raises `ConfigError` when no code at all was chosen.
        """
        assert counts.shape == (self.num_codes,), f"{tuple(counts.shape)} counts for {self.num_codes} codes"
        unused = counts.cpu() == 0
        number = int(unused.sum())
        if number == self.num_codes:
            raise ConfigError(
                "None of the codes was ever chosen, so there is none to copy.", "Count the codes of a data set with images."
            )
        if number:
            source = torch.multinomial(counts.cpu().double(), number, replacement=True, generator=generator)
            codes = self.codes.detach().cpu().clone()
            codes[unused] = codes[source] + 0.01 * codes.std(dim=0) * torch.randn(number, self.dim, generator=generator)
            self._move(unused.to(self.codes.device), codes.to(self.codes.device), torch.ones_like(self.recent))
        return number

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
        self.codes.detach().copy_(torch.where(moved[:, None], codes, self.codes))

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        """On the first training batch whose features are all finite: put the codes among them."""
        initialised, updates = self._progress()
        if initialised:
            return
        distributed.broadcast(self.seed)
        centres, sizes = kmeans(rows, self.num_codes, self.options.kmeans_iterations, self._generator(updates))
        if not bool(centres.isfinite().all()):
            return
        self._move(torch.ones_like(sizes, dtype=torch.bool), centres, sizes.clamp_min(1))
        self.initialised.fill_(True)
        self._mirror = True, updates

    @torch.no_grad()
    def _update(self, rows: Tensor, indices: Tensor) -> None:
        """Everything that happens after a training batch was quantised."""
        self.recent += self._learn(rows, indices)
        self.updates += 1
        initialised, updates = self._progress()
        updates += 1
        self._mirror = initialised, updates
        every = self.options.restart_every
        if initialised and every and updates % every == 0:
            self._restart_dead_codes(rows, indices, self._generator(updates))

    def _restart_dead_codes(self, rows: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Put each dead code on a row of a badly represented cell, and begin to count anew.

        The cell (the rows of one code) is drawn with probability proportional to its squared error, the row in it uniformly:
        this splits the worst cells. Common rows that are well represented are left alone; so are outliers, which make poor codes.
        """
        mean = self.recent.mean()
        ripe = mean >= MIN_MEAN_USES
        dead = ripe & (self.recent < self.options.restart_threshold * mean)
        errors = (rows - torch.embedding(self.codes.detach(), indices)).square_().sum(dim=1).nan_to_num(nan=0, posinf=0)
        sizes, totals = assign(errors[:, None], indices, self.num_codes)
        weights = (totals[:, 0] / sizes.clamp_min(1))[indices] * (errors > 0)
        pool, usable = draw_weighted(GlobalBatch(rows), weights, self.num_codes, generator)
        # The first dead code takes the first row of the pool, and so on; when the pool is used up the rest waits.
        place = dead.cumsum(0) - 1
        within = place.clamp(0, len(pool) - 1)
        moved = dead & (place < len(pool)) & usable[within]
        self._move(moved, pool[within], torch.ones_like(self.recent))
        self.recent.mul_(~ripe)

    def _generator(self, updates: int) -> torch.Generator:
        """Random numbers that follow from the saved seed and the number of updates alone."""
        return torch.Generator().manual_seed((int(self.seed) + updates * _GOLDEN_RATIO) % 2**63)

    def _progress(self) -> tuple[bool, int]:
        """`initialised` and `updates` on the host; read from the buffers only once, since that waits for a GPU."""
        if self._mirror is None:
            self._mirror = bool(self.initialised), int(self.updates)
        return self._mirror


def _forget_mirror(codebook: nn.Module, _: object) -> None:
    """After loading a state, the buffers know better."""
    assert isinstance(codebook, LearnedCodebook)
    codebook._mirror = None
