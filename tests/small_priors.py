"""Small untrained priors, lively enough that nothing in them is dead, random conditioning for them, and ways to inspect them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from vqkit.interfaces import Codes, CodeSpec, Conditioning, ConditionSpec
from vqkit.interfaces.priors import Sampling, SamplingMethod
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.priors.hierarchical import HierarchicalPixelCNN
from vqkit.priors.sampling import gumbel_noise
from vqkit.registry import PRIORS

SMALL: dict[str, dict[str, Any]] = {
    "pixelcnn": {"channels": 16, "layers": 3},
    "transformer": {"width": 16, "layers": 2, "head_width": 8},
    "hierarchical": {"channels": 16, "layers": 3, "blocks": 1},
}
"""Options by which each prior in raster order takes milliseconds."""

SMALL_MASKED: dict[str, Any] = {"width": 16, "layers": 4, "head_width": 8, "blocks": 1}
"""The same for the prior that draws in any order."""

LEVELS = {name: 2 if name == "hierarchical" else 1 for name in SMALL}
"""How many levels of codes each prior is tried on."""

VARIANTS: list[tuple[str, dict[str, Any]]] = [*((name, {}) for name in SMALL), ("pixelcnn", {"attention": 2})]
"""Names with options beside `SMALL`: every prior, and what is built differently."""

METHODS: tuple[SamplingMethod, ...] = get_args(SamplingMethod)

CONDITIONING_KINDS = ("none", "metadata", "class", "observed", "metadata+observed")
"""Kinds of conditioning that a prior may take."""

SIZES = (ConditionSpec("width_px", 40, 60, 50, 5), ConditionSpec("height_px", 40, 60, 50, 5))


def small_spec(kinds: str = "none", shape: tuple[int, int] = (5, 3), codes: int = 20, levels: int = 1) -> CodeSpec:
    """Levels of `codes` codes, the finest of this shape, each coarser one half as high and wide."""
    names = {1: ("codes",), 2: ("top", "bottom"), 3: ("level_1", "level_2", "level_3")}[levels]
    shapes = tuple((-(-shape[0] >> level), -(-shape[1] >> level)) for level in reversed(range(levels)))
    return CodeSpec(
        names,
        shapes,
        (codes,) * levels,
        conditions=SIZES if "metadata" in kinds else (),
        classes=("a", "b", "c") if "class" in kinds else (),
        observed_channels=(4,) * levels if "observed" in kinds else (),
    )


def small_prior(name: str, spec: CodeSpec, **options: Any) -> AutoregressivePrior:
    """An untrained prior whose every weight is random: blocks start at zero, and would hide what goes wrong behind them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior: AutoregressivePrior = PRIORS.build(name, {**{**SMALL, "masked": SMALL_MASKED}[name], **options}, spec)
        with torch.no_grad():
            for parameter in prior.parameters():
                inputs = parameter[0].numel() if parameter.ndim > 1 else 4
                parameter.add_(torch.randn_like(parameter) / inputs**0.5)
    return prior.eval()


def random_conditioning(spec: CodeSpec, count: int, seed: int = 0) -> Conditioning:
    """Random conditioning of the kinds that the prior takes, none of it dropped."""
    generator = torch.Generator().manual_seed(seed)
    maps = zip(spec.observed_channels, spec.shapes, strict=False)
    return Conditioning(
        50 + 5 * torch.randn(count, len(spec.conditions), generator=generator),
        torch.randint(len(spec.classes), (count,), generator=generator) if spec.classes else torch.full((count,), -1),
        tuple(torch.randn(count, channels, *shape, generator=generator) for channels, shape in maps),
        torch.zeros(count, dtype=torch.bool),
    )


def random_codes(spec: CodeSpec, count: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Codes that are all equally likely."""
    generator = torch.Generator().manual_seed(seed)
    levels = zip(spec.cardinalities, spec.shapes, strict=True)
    return tuple(torch.randint(codes, (count, *shape), generator=generator) for codes, shape in levels)


def noise_on_grid(spec: CodeSpec, count: int, sampling: Sampling, level: int = 0) -> Tensor:
    """The noise [count, h, w, K] that a prior draws the first samples of a level with."""
    height, width = spec.shapes[level]
    noise = gumbel_noise(sampling.seed, level, 0, count, height * width, spec.cardinalities[level])
    return noise.unflatten(1, (height, width))


@torch.no_grad()
def full_logits(prior: AutoregressivePrior, codes: Codes, conditioning: Conditioning, level: int = 0) -> Tensor:
    """The logits [B, h, w, K] of one full pass over a level."""
    return prior.logits(level, codes[: level + 1], conditioning).permute(0, 2, 3, 1)


def network(prior: AutoregressivePrior, level: int = 0) -> nn.Module:
    """The network of a level, whose parts bear the same names whichever prior it is of."""
    return prior.networks[level] if isinstance(prior, HierarchicalPixelCNN) else prior


def same_codes(one: Codes, other: Codes) -> bool:
    """Whether every level is the same."""
    return all(torch.equal(*levels) for levels in zip(one, other, strict=True))


class Rows:
    """How many rows each full pass and each stepper of a prior was asked for."""

    def __init__(self, prior: AutoregressivePrior, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        logits, stepper = prior.logits, prior.stepper

        def counted_logits(level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
            self.asked.append(len(conditioning.dropped))
            return logits(level, codes, conditioning)

        def counted_stepper(level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
            self.asked.append(len(conditioning.dropped))
            return stepper(level, coarser, conditioning)

        monkeypatch.setattr(prior, "logits", counted_logits)
        monkeypatch.setattr(prior, "stepper", counted_stepper)
