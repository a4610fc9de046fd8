"""What is usual: the signals of validation images (see `vqkit.inference.oddity`), with which every other image is compared.

    typicality  how far the bits are from their mean, in standard deviations: low costs count like high ones. A likely image need
                not be a usual one, since simple images are likely whatever they show (Nalisnick et al. 2019, "Detecting
                Out-of-Distribution Inputs to Deep Generative Models Using Typicality", arXiv 1906.02994)
    combined    the length of three deviations from the means, in standard deviations: the typicality, and the peak and the error
                where they are above theirs. Peak and error enter as logarithms, because they are skewed

It is kept as `oddity.json` beside the prior's `model.safetensors`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.core.atomic import write_text
from vqkit.inference.oddity import SIGNALS

REFERENCE_FILE = "oddity.json"
SCORES = ("bits", "typicality", "peak", "error", "combined")
"""What an image is judged by; more is odder."""
FORMAT = 1
"""Counted up when a signal is measured in another way, so that what was kept is measured again."""
_SKEWED = ("peak", "error")
_LEAST = 1e-12
"""Added before logarithms are taken; the smallest standard deviation."""


@dataclass(frozen=True)
class OddityReference:
    """Measured with a prior and a tokenizer (their digests): each of `SIGNALS` of every image, in the same order.

    `largest`: see `Oddity.largest`, of every image; figures scale with them.
    """

    prior_digest: str
    tokenizer_digest: str
    signals: dict[str, list[float]]
    largest: dict[str, list[float]]
    format: int = FORMAT

    @property
    def images(self) -> int:
        """How many there are."""
        return len(self.signals[SIGNALS[0]])

    def scores(self, signals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each of `SCORES`, float64 [B], from each of `SIGNALS`, float64 [B]."""
        apart = {name: (values - self._means[name]) / self._deviations[name] for name, values in _symmetric(signals).items()}
        typicality = apart["bits"].abs()
        squares = [typicality**2, *(apart[name].clamp_min(0) ** 2 for name in _SKEWED)]
        found = {**signals, "typicality": typicality, "combined": torch.stack(squares).sum(dim=0).sqrt()}
        return {name: found[name].double() for name in SCORES}

    def share_above(self, name: str, values: Tensor) -> Tensor:
        """The share of reference images whose score is at least as high as each of these [B], float64 [B]; a rank among them.

        The image itself counts as one of them, as in a permutation test: of n images none of which is as odd, it is 1 / (n + 1).
        """
        ordered = self._own_scores[name]
        below = torch.searchsorted(ordered, values.double())
        shares: Tensor = (len(ordered) - below + 1).double() / (len(ordered) + 1)
        return torch.where(values.isnan(), torch.nan, shares)

    def usual_largest(self, name: str) -> float:
        """What the `largest` bits or error of 99 % of the images do not exceed."""
        return float(torch.tensor(self.largest[name], dtype=torch.float64).quantile(0.99))

    @cached_property
    def _values(self) -> dict[str, Tensor]:
        return {name: torch.tensor(values, dtype=torch.float64) for name, values in self.signals.items()}

    @cached_property
    def _own_scores(self) -> dict[str, Tensor]:
        return {name: values.sort().values for name, values in self.scores(self._values).items()}

    @cached_property
    def _means(self) -> dict[str, Tensor]:
        return {name: values.mean() for name, values in _symmetric(self._values).items()}

    @cached_property
    def _deviations(self) -> dict[str, Tensor]:
        return {name: values.std().clamp_min(_LEAST) for name, values in _symmetric(self._values).items()}


def _symmetric(signals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each signal, the skewed ones as logarithms."""
    return {name: (signals[name] + _LEAST).log() if name in _SKEWED else signals[name] for name in SIGNALS}


def write_reference(checkpoint: Path, reference: OddityReference) -> Path:
    """Write it beside a prior's `model.safetensors`, atomically; returns the file."""
    path = checkpoint.parent / REFERENCE_FILE
    write_text(path, json.dumps(asdict(reference), allow_nan=False) + "\n")
    return path


def read_reference(checkpoint: Path, prior_digest: str, tokenizer_digest: str) -> OddityReference | None:
    """What was kept for the prior in a `model.safetensors`; None where nothing is that was measured with it and this tokenizer."""
    path = checkpoint.parent / REFERENCE_FILE
    try:
        found = _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    of_these = (found.prior_digest, found.tokenizer_digest, found.format) == (prior_digest, tokenizer_digest, FORMAT)
    return found if of_these else None


def _from_json(content: Mapping[str, Any]) -> OddityReference:
    """The inverse of `asdict`. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    found = OddityReference(**content)
    columns = [*(found.signals[name] for name in SIGNALS), *(found.largest[name] for name in ("bits", "error"))]
    if found.images < 2 or any(len(column) != found.images for column in columns):
        raise ValueError("it does not hold every signal of every image")
    if not bool(torch.tensor(columns, dtype=torch.float64).isfinite().all()):
        raise ValueError("it holds numbers that cannot have been measured")
    return found
