"""Sampling speed of priors:
`python benchmarks/sampling.py [--run PRIOR_RUN] [--priors NAME ...] [--grids H,W ...] [--threads N] [--out FILE]`.

The three sampling methods, with the same weights and samples, in float32, for each prior and grid:

- cached: all codes of a batch of 16;
- fixed-point: the same, with the number of full passes;
- naive: the median of `--passes` full passes, times the number of positions. The cost of a pass does not depend on the number of
  known codes, and all passes would take an hour on the largest grid.

Then 64 unconditional images: sampled, decoded and discretised, through the Python interface. Without `--run`, priors with their
default options and the default tokenizer, untrained: as fast as trained ones, except that codes of an untrained prior hardly depend
on each other, so that fixed-point needs few passes. Times are median wall times; CPU time, which other processes disturb less, is
reported as well.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from common.machine import describe_machine, describe_versions, publish
from inpaint import milliseconds, untrained
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.interfaces import CodeSpec, Conditioning
from vqkit.interfaces.priors import Sampling
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.registry import PRIORS

BATCH = 16
IMAGES = 64
CODES = 512
GRIDS = ("16,8", "16,16", "32,32")


class Candidate(NamedTuple):
    """A prior with its sampler, and priors of the same kind to be timed on other grids."""

    name: str
    sampler: Sampler
    priors: list[AutoregressivePrior]


def seconds(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median wall and CPU time of a call, in seconds."""
    return {clock: round(value / 1e3, 4) for clock, value in milliseconds(call, repeats).items()}


def build(name: str, shape: tuple[int, int]) -> AutoregressivePrior:
    """A registered prior with default options and the same untrained weights each time."""
    torch.manual_seed(0)
    prior: AutoregressivePrior = PRIORS.build(name, {}, CodeSpec(("codes",), (shape,), (CODES,)))
    return prior.eval()


def untrained_priors(names: Sequence[str], grids: Sequence[str]) -> Iterator[Candidate]:
    """Registered priors by name, with an untrained tokenizer."""
    shapes = [(int(height), int(width)) for height, width in (grid.split(",") for grid in grids)]
    pipeline = untrained()
    for name in names:
        sampler = Sampler(build(name, pipeline.tokenizer.code_shapes[0]), pipeline, Path("untrained"))
        yield Candidate(name, sampler, [build(name, shape) for shape in shapes])


def trained(run: str) -> Candidate:
    """The prior of a run, on its own grid."""
    sampler = load_sampler(run, device="cpu")
    return Candidate(Path(run).name, sampler, [sampler.prior])


def compare(prior: AutoregressivePrior, repeats: int, passes: int) -> dict[str, Any]:
    """Seconds of each sampling method for one batch."""
    height, width = prior.spec.shapes[0]
    nothing = Conditioning.unconditional(BATCH, prior.spec)
    (cached,) = prior.sample(BATCH)
    (fixed,), needed = count_passes(prior, lambda: prior.sample(BATCH, sampling=Sampling(method="fixed-point")))

    @torch.inference_mode()
    def full_pass() -> torch.Tensor:
        return prior.logits(0, (cached,), nothing)

    one_pass = seconds(full_pass, passes)
    times = {
        "cached": seconds(lambda: prior.sample(BATCH), repeats),
        "fixed-point": seconds(lambda: prior.sample(BATCH, sampling=Sampling(method="fixed-point")), repeats),
        "naive": {clock: round(value * height * width, 2) for clock, value in one_pass.items()},
    }
    return {
        "grid": [height, width],
        "seconds": times,
        "full_pass_seconds": one_pass,
        "cached_against_naive": round(times["naive"]["wall"] / times["cached"]["wall"], 1),
        "fixed_point_passes": needed,
        "fixed_point_agrees": float((fixed == cached).double().mean()),
    }


def count_passes(prior: AutoregressivePrior, call: Callable[[], Any]) -> tuple[Any, int]:
    """The result of a call, and its number of full passes of the prior."""
    passes = 0
    logits = prior.logits

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal passes
        passes += 1
        return logits(*arguments)

    prior.logits = counted
    try:
        return call(), passes
    finally:
        del prior.logits  # the class's own again


def describe(prior: AutoregressivePrior) -> dict[str, Any]:
    return {"options": prior.options.model_dump(), "parameters": sum(parameter.numel() for parameter in prior.parameters())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a run of train-prior, measured on its own grid; default: every prior, untrained")
    parser.add_argument("--priors", nargs="+", metavar="NAME", help="default: every registered one")
    parser.add_argument("--grids", nargs="+", default=GRIDS, metavar="H,W", help=f"default: {' '.join(GRIDS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--passes", type=int, default=5, help="full passes from which the naive time is extrapolated")
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.priors or [*PRIORS.entries()]
    candidates = [trained(arguments.run)] if arguments.run else list(untrained_priors(names, arguments.grids))
    report = {
        "benchmark": "sampling",
        "machine": describe_machine(),
        "versions": describe_versions(),
        "precision": "fp32",
        "weights": "trained" if arguments.run else "untrained",
        "batch": BATCH,
        "naive": f"median of {arguments.passes} full passes times the number of positions",
        "priors": [
            {
                "prior": name,
                **describe(sampler.prior),
                "draws": [compare(prior, arguments.repeats, arguments.passes) for prior in priors],
                f"{IMAGES}_images_seconds": seconds(lambda sampler=sampler: sampler.sample(IMAGES), arguments.repeats),
            }
            for name, sampler, priors in candidates
        ],
    }
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
