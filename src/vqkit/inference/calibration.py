"""What was fitted on validation images so that the uncertainty of completions is true, kept beside the prior's checkpoint.

`vqkit evaluate --calibrate` writes `calibration.json`: the temperature at which completions are drawn, and for each component what
their spread leaves out. A decoder makes one image of one grid of codes, so its own error is in no difference between completions:
- an intensity is taken to have normal noise of a `deviation` on top of each completion;
- the probability p with which a shape is set, by the share of completions that set it, becomes
  1 / (1 + exp(-(slope ln(p / (1 - p)) + intercept))) (Platt 1999).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.core.atomic import write_text
from vqkit.errors import CheckpointError, ConfigError
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Sampling
from vqkit.storage.builtin import check_not_builtin

CALIBRATION_FILE = "calibration.json"
_HALF = 0.5
"""Added to the number of completions that set a pixel, and to that of those that do not, so that no probability is 0 or 1."""


@dataclass(frozen=True)
class ComponentCalibration:
    """What the spread of completions of a component leaves out. The defaults change nothing.

    `deviation` of an intensity, in unit values; `slope` and `intercept` of the log-odds of a shape.
    """

    deviation: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0

    def probability(self, number_set: Tensor, count: int) -> Tensor:
        """The probability that a pixel is set, float64 [...], where `number_set` [...] of `count` completions set it."""
        return torch.sigmoid(self.slope * log_odds(number_set, count) + self.intercept)


@dataclass(frozen=True)
class Calibration:
    """Fitted for a prior and a tokenizer (their digests), on `images` validation images with `answers` completions each.

    `temperature`: of completions; `level`: the coverage that was fitted; `scenarios`: what was missing; `components` by name.
    """

    prior_digest: str
    tokenizer_digest: str
    images: int
    answers: int
    level: float
    scenarios: tuple[str, ...]
    temperature: float
    components: dict[str, ComponentCalibration]

    def sampling(self, given: Sampling = DEFAULT_SAMPLING) -> Sampling:
        """The given settings with the fitted temperature."""
        return replace(given, temperature=self.temperature)

    def fits(self, sampling: Sampling) -> bool:
        """Whether completions are drawn as when this was fitted, whatever the seed and method."""
        return sampling == replace(self.sampling(), seed=sampling.seed, method=sampling.method)

    def spread(self, answers: Tensor, spec: DataSpec) -> Tensor:
        """The standard deviation of each pixel, float32 [B, C, H, W], by K answers in unit values [B, K, C, H, W]."""
        parts = []
        for position, component in enumerate(spec.component_specs):
            fitted, drawn = self.components.get(component.name, ComponentCalibration()), answers[:, :, position]
            if component.kind == "binary":
                probability = fitted.probability((drawn >= _HALF).sum(dim=1), answers.shape[1])
                variance = probability * (1 - probability)
            else:
                variance = drawn.var(dim=1, unbiased=False) + fitted.deviation**2
            parts.append(variance.sqrt().float())
        return torch.stack(parts, dim=1)


def log_odds(number_set: Tensor, count: int) -> Tensor:
    """The log-odds, float64 [...], of a pixel that `number_set` [...] of `count` completions set."""
    return torch.log((number_set + _HALF).double() / (count - number_set + _HALF))


def with_noise(answers: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Answers of an intensity with the error of the decoder, drawn from the generator."""
    return answers + deviation * torch.randn(answers.shape, generator=generator)


def write_calibration(checkpoint: Path, calibration: Calibration) -> Path:
    """Write it beside a prior's `model.safetensors`, atomically; returns the file. Raises `ConfigError` for a built-in prior."""
    check_not_builtin(checkpoint)
    path = checkpoint.parent / CALIBRATION_FILE
    write_text(path, json.dumps(asdict(calibration), indent=1) + "\n")
    return path


def read_calibration(checkpoint: Path, prior_digest: str, tokenizer_digest: str) -> Calibration | None:
    """What was fitted for the prior in a `model.safetensors`, or None.

    Raises `CheckpointError` for a file that cannot be read, or that was fitted for another prior or tokenizer.
    """
    path = checkpoint.parent / CALIBRATION_FILE
    hint = "Delete it, and fit it again with: vqkit evaluate --calibrate"
    if not path.is_file():
        return None
    try:
        found = _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"{path} cannot be read: {type(error).__name__}, {error}.", hint) from None
    if (found.prior_digest, found.tokenizer_digest) != (prior_digest, tokenizer_digest):
        raise CheckpointError(f"{path} was fitted for another prior or another tokenizer.", hint)
    return found


def _from_json(content: Mapping[str, Any]) -> Calibration:
    """The inverse of `asdict`. Raises `ValueError` for numbers that cannot have been fitted."""
    components = {name: ComponentCalibration(**values) for name, values in content["components"].items()}
    found = Calibration(**{**content, "components": components, "scenarios": tuple(content["scenarios"])})
    numbers = [value for each in components.values() for value in asdict(each).values()]
    if not all(math.isfinite(value) for value in numbers) or any(each.deviation < 0 for each in components.values()):
        raise ValueError("it holds numbers that cannot have been fitted")
    Sampling(temperature=found.temperature)
    return found
