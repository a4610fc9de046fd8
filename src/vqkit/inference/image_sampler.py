"""The contract of what draws new images: a prior over codes (`sampler`), or a model with a prior of its own (`model_sampler`)."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.inference.pipeline import Conditions
from vqkit.interfaces import Codes, ConditionSpec, DataSpec
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling

Labels = int | str | Sequence[int | str] | Tensor
"""A class by name or number for all images, or one for each."""


class Samples(NamedTuple):
    """N new images.

    `codes`: each level int64 [N, h, w], empty from a model without codes; `expected` float32 [N, C, H, W]: the decoder's output in
    unit values; `images` [N, C, H, W]: the same, final, as stored values; `conditions` float32 [N, D] and `labels` int64 [N]: what
    the images were conditioned on, NaN and -1 where unknown.
    """

    codes: Codes
    expected: Tensor
    images: Tensor
    conditions: Tensor
    labels: Tensor


class ImageSampler(ABC):
    """A trained model that draws new images, in evaluation mode.

    `spec` describes the images; `path` is the model's file, `digest` its fingerprint, and `data` the data set that it was trained
    on, or None if that is not recorded.
    """

    def __init__(self, spec: DataSpec, path: Path, digest: str, data: NamedOptions | None) -> None:
        self.spec = spec
        self.path = path
        self.digest = digest
        self.data = data

    @property
    @abstractmethod
    def condition_names(self) -> tuple[str, ...]:
        """Names of the conditions on which images can depend; empty if there are none."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes on which images can depend; empty if there are none."""

    @property
    def is_conditional(self) -> bool:
        """Whether new images can be conditioned on named values or a class."""
        return bool(self.condition_names or self.classes)

    @abstractmethod
    def check_conditional(self) -> None:
        """Raise `ConfigError`, with a hint on what to train, unless `is_conditional`."""

    @abstractmethod
    def sample(
        self,
        num_samples: int,
        conditions: Conditions | None = None,
        labels: Labels | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        batch_size: int | None = None,
        advance: Advance | None = None,
        first: int = 0,
    ) -> Samples:
        """Draw new images. A sample depends on the seed, its number and its conditioning, and not on the batch size.

        `conditions`: named values, one for all images or one for each (those not named are unknown); `labels`: a class for all
        images or one for each; with neither, samples are unconditional. `batch_size` None: chosen by the free memory; `first`:
        number of the first sample; `advance` is called with numbers of samples, which may be fractions.

        Warns of values outside the range of the training data. Raises `ConfigError` if `num_samples` is below 1, for an unknown
        name, and for conditions, classes or settings that the model does not support.
        """

    @abstractmethod
    def origin(self, sampling: Sampling) -> dict[str, Any]:
        """The model and the settings that determine the images, as plain values for a record."""


def warn_outside_range(conditions: Sequence[ConditionSpec], rows: Tensor, subject: str) -> None:
    """Warn of values [B, D] outside the range that the `subject` (prior or model) was trained with."""
    for condition, column in zip(conditions, rows.T, strict=False):
        for value in column[(column < condition.minimum) | (column > condition.maximum)].unique().tolist():
            warnings.warn(
                f"{condition.name} {value:g} is outside the range that the {subject} was trained with, "
                f"{condition.minimum:g} to {condition.maximum:g}.",
                stacklevel=4,
            )
