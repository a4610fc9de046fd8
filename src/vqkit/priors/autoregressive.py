"""Priors that are autoregressive in raster order: likelihood, and three sampling methods that give the same samples.

cached        one `Stepper.step` per code, with caches of earlier activations (Ramachandran et al. 2017 for PixelCNN; keys and
              values of a transformer). Each position is computed once, so a sample costs about one full pass.
fixed-point   x <- choose(logits(x) + noise) over the whole grid until nothing changes (Jacobi iteration, Song et al. 2021; Wiggers
              and Hoogeboom 2020). After t passes the first t codes are exact; far fewer passes than codes are usually enough.
naive         a full pass per code; the reference for the others.

All three choose the same code from the same logits and the same noise, so they give the same sample (up to ties within rounding).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.interfaces import Codes, Conditioning, Prior
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling
from vqkit.priors.sampling import choose, conditioning_of, evaluating, guide, gumbel_noise, is_guided, with_unconditional

_LARGE_PRODUCT = 2**25
"""Multiply-adds of a matrix product from which several threads are faster. In smaller ones threads mostly wait for each other: on
two cores shared with other programs, a batch of 16 took 0.8 s with one thread and 5.5 s with two.
"""


class Stepper(ABC):
    """Computes the logits of one level position by position for a batch of samples, with caches of earlier positions."""

    @abstractmethod
    def step(self, previous: Tensor | None) -> Tensor:
        """Logits float32 [B, K] of the next position in raster order, given the code int64 [B] just before it (None at first)."""


class AutoregressivePrior(Prior):
    """p(codes) = product over levels and positions in raster order of p(code | coarser levels, earlier codes, conditioning)."""

    @abstractmethod
    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """Logits [B, K, h, w] of every position of a level.

        `codes`: this level and the coarser ones. The logits at a position depend on earlier codes of the level, and on all coarser.
        """

    @abstractmethod
    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        """A stepper over a level, given the codes of all `coarser` levels; its logits are those of `logits`."""

    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """See `Prior.nll`."""
        return tuple(self.level_nll(level, codes, conditioning) for level in range(len(codes)))

    def level_nll(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """The `nll` of one level, float32 [B, h, w]; `codes`: this level and the coarser ones, at least."""
        logits = self.logits(level, codes[: level + 1], conditioning).movedim(1, -1)  # rows of codes are faster than planes
        nll = F.cross_entropy(logits.flatten(0, 2).float(), codes[level].flatten(), reduction="none")
        return nll.view(codes[level].shape)

    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
        advance: Advance | None = None,
    ) -> Codes:
        """See `Prior.sample`. Always float32, so that caches and full passes agree."""
        device = next(self.parameters()).device
        given = conditioning_of(self, batch_size, conditioning)
        sampling.check_raster(type(self).__name__)
        positions = [height * width for height, width in self.spec.shapes]
        each = sampling.by_level(self.spec.level_names)
        drawn: Codes = ()

        def passed(count: int) -> None:
            if advance is not None:
                advance(count / sum(positions))

        small = device.type == "cpu" and sampling.method == "cached" and _mean_product(self, batch_size) < _LARGE_PRODUCT
        threads = _one_thread() if small else nullcontext()
        with torch.inference_mode(), evaluating(self), torch.autocast(device.type, enabled=False), threads:
            for level, count in enumerate(positions):
                noise = gumbel_noise(sampling.seed, level, first, batch_size, count, self.spec.cardinalities[level])
                drawn = (*drawn, draw_level(self, level, drawn, given, noise.to(device), each[level], passed))
        return tuple(level.clone() for level in drawn)


def draw_level(
    prior: AutoregressivePrior,
    level: int,
    coarser: Codes,
    conditioning: Conditioning,
    noise: Tensor,
    sampling: Sampling,
    advance: Callable[[int], None],
) -> Tensor:
    """Codes int64 [B, h, w] of one level with Gumbel noise [B, h * w, K]; `advance` is called with numbers of positions."""
    guided = is_guided(conditioning, sampling)
    if guided:
        conditioning, coarser = with_unconditional(conditioning, coarser)

    def decide(logits: Tensor, at: slice | int) -> Tensor:
        """Codes [B, ...] of logits [B or 2 B, ..., K] at positions `at`."""
        if guided:
            conditional, unconditional = logits.chunk(2)
            logits = guide(conditional, unconditional, sampling.guidance_scale)
        return choose(logits, noise[:, at], sampling)

    def everywhere(codes: Tensor) -> Tensor:
        """Logits [B or 2 B, h * w, K] of a full pass over codes [B, h * w]."""
        given = codes.view(len(codes), *prior.spec.shapes[level])
        given = torch.cat([given, given]) if guided else given
        return prior.logits(level, (*coarser, given), conditioning).flatten(2).transpose(1, 2)

    count, positions = noise.shape[:2]
    codes = torch.zeros(count, positions, dtype=torch.int64, device=noise.device)
    if sampling.method == "fixed-point":
        done = 0
        while done < positions:
            proposed = decide(everywhere(codes), slice(None))
            agreed = (proposed == codes).all(dim=0).long().cumprod(dim=0).sum()
            # Codes that agree up to a position were computed from exact ones, so they are exact there and at the next position.
            now = max(done + 1, min(positions, int(agreed) + 1))
            codes = proposed
            advance(now - done)
            done = now
    elif sampling.method == "naive":
        for position in range(positions):
            codes[:, position] = decide(everywhere(codes)[:, position], position)
            advance(1)
    else:
        stepper = prior.stepper(level, coarser, conditioning)
        previous = None
        for position in range(positions):
            codes[:, position] = decide(stepper.step(previous), position)
            previous = torch.cat([codes[:, position]] * 2) if guided else codes[:, position]
            advance(1)
    return codes.view(count, *prior.spec.shapes[level])


def _mean_product(prior: Prior, batch: int) -> float:
    """Multiply-adds of the average matrix product of one position of a batch."""
    sizes = [weight.numel() for weight in prior.parameters() if weight.ndim > 1]
    return batch * sum(sizes) / max(1, len(sizes))


@contextmanager
def _one_thread() -> Iterator[None]:
    """A context in which torch computes with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
