"""A prior over many samples: batches that fit into memory, with progress counted in samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vqkit.core.memory import map_batches, max_batch_size
from vqkit.interfaces import Codes, Conditioning, Prior
from vqkit.interfaces.priors import Advance, Sampling

MAX_BATCH_SIZE = {"cpu": 256, "cuda": 1024}
"""Samples drawn at once at most, by the type of device: larger batches take as long per sample."""


def draw_codes(
    prior: Prior,
    conditioning: Conditioning,
    each: int,
    sampling: Sampling,
    batch_size: int | None = None,
    advance: Advance | None = None,
    first: int = 0,
) -> Codes:
    """`each` samples for every row of `conditioning`: codes int64 [rows * each, h, w] of each level, on the CPU.

    Samples are numbered from `first`; those of one row have consecutive numbers. `batch_size` None: as large as memory allows.
    `advance` is called with numbers of samples.
    """
    device = next(prior.parameters()).device

    def draw(start: int, stop: int) -> Codes:
        with _counted(advance, stop - start) as report:
            given = _repeated(conditioning, each, start, stop, device)
            codes = prior.sample(stop - start, given, sampling, first + start, report)
        return tuple(level.cpu() for level in codes)

    size = batch_size or fitting_batch_size(prior, sampling, device)
    parts = map_batches(len(conditioning.labels) * each, size, draw, smaller=batch_size is None)
    return tuple(torch.cat(level) for level in zip(*parts, strict=True))


def total_nll(
    prior: Prior, codes: Codes, conditioning: Conditioning, each: int, sampling: Sampling, batch_size: int | None = None
) -> Tensor:
    """Negative log-likelihood in nats, float32 [rows * each] on the CPU, of codes from `draw_codes`: summed over all positions."""
    device = next(prior.parameters()).device

    def measure(start: int, stop: int) -> Tensor:
        given = tuple(level[start:stop].to(device) for level in codes)
        with torch.inference_mode():
            levels = prior.nll(given, _repeated(conditioning, each, start, stop, device))
        return torch.stack([level.flatten(1).sum(dim=1) for level in levels]).sum(dim=0).cpu().clone()

    size = batch_size or fitting_batch_size(prior, sampling, device)
    return torch.cat(map_batches(len(codes[0]), size, measure, smaller=batch_size is None))


def _repeated(conditioning: Conditioning, each: int, start: int, stop: int, device: torch.device) -> Conditioning:
    """Rows `start` to `stop` of `conditioning` with every row `each` times, on the device."""
    rows = torch.arange(start, stop) // each
    return conditioning.map(lambda tensor: tensor[rows].to(device))


def fitting_batch_size(prior: Prior, sampling: Sampling, device: torch.device) -> int:
    """Samples that memory allows at once."""
    spec = prior.spec
    outputs = sum(weight.shape[0] for weight in prior.parameters() if weight.ndim > 1)
    levels = zip(spec.shapes, spec.cardinalities, strict=True)
    # A quarter of all layers' outputs, and noise and logits with their sorted and masked copies: about the most that the
    # built-in priors were measured to hold, by any method.
    numbers = sum(height * width * (outputs // 4 + 10 * codes) for (height, width), codes in levels)
    passes = 1 if sampling.guidance_scale == 1 else 2
    return max_batch_size(4 * numbers * passes, device, MAX_BATCH_SIZE[device.type])


@contextmanager
def _counted(advance: Advance | None, count: int) -> Iterator[Advance | None]:
    """A callback for shares of a batch of `count` samples that calls `advance` with samples.

    They add up to `count` in the end, and to 0 after an error, when the batch is drawn again in smaller ones.
    """
    if advance is None:
        yield None
        return
    done = 0.0

    def report(share: float) -> None:
        nonlocal done
        done += share * count
        advance(share * count)

    try:
        yield report
    except RuntimeError:
        advance(-done)
        raise
    advance(count - done)  # what rounding has left
