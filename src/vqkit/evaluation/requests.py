"""What to measure: one frozen request for a model, and one for a prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from vqkit.config import NamedOptions
from vqkit.errors import ConfigError
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Sampling


@dataclass(frozen=True, kw_only=True)
class HeldOutRequest:
    """Which images to measure on, and what is hidden of them. Raises `ConfigError` for a number that is too small."""

    data: str | NamedOptions | None = None
    """Name or path of a data set. Default: the one that the run was trained on."""
    split: str = "test"
    """train, val or test."""
    limit: int | None = None
    """Number of images, which are drawn from the whole split and are always the same. Default: all."""
    batch_size: int = 64
    """Images that go through the model at once. It does not change the results."""
    keep_sets: Sequence[Sequence[str]] | None = None
    """Names of components that are kept together, for each scenario. Default: see `mask_scenarios`."""
    mask_kind: str | None = None
    """Pixels that are missing: boxes, free-form, half or none. Default: see `mask_scenarios`."""
    with_conditions: bool = False
    """Condition the model on the images' conditions, which are unknown to it otherwise."""
    floors: bool = True
    """Also the errors of simple predictors on the same images, see `vqkit.evaluation.floors`."""

    _smallest: ClassVar[dict[str, int]] = {"limit": 1, "batch_size": 1}

    def __post_init__(self) -> None:
        for name, smallest in self._smallest.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ConfigError(f"{name} is {value}; it must be at least {smallest}.", f"Give {name} a larger number.")


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest(HeldOutRequest):
    """What `evaluate` measures of a model."""

    fid: bool = False
    """Also the FID of reconstructions from full input: see `FeatureDistances`."""
    lpips: bool = False
    """Also their LPIPS."""
    bound_samples: int | None = None
    """Posterior samples per image for bounds on its log-likelihood, see `measure_bounds`. Default: no bounds."""

    _smallest: ClassVar[dict[str, int]] = {**HeldOutRequest._smallest, "bound_samples": 1}


@dataclass(frozen=True, kw_only=True)
class PriorEvaluationRequest(HeldOutRequest):
    """What `evaluate_prior` measures of a prior.

    `keep_sets` and `mask_kind` are for priors conditioned on observed parts of images. Without a `limit`, only the first
    `COMPLETED_IMAGES` images are completed. `with_conditions` concerns the tokenizer's decoder, and the prior where it is
    conditioned on observed parts.
    """

    num_samples: int = 256
    """New images to draw; 0 for none."""
    completions: int = 16
    """Completions of each partly observed image to draw; 0 for none."""
    sampling: Sampling = DEFAULT_SAMPLING
    """How codes are drawn."""
    fitted_temperature: bool = True
    """Draw completions at the temperature that was fitted for the prior, if it was; False: at that of `sampling`."""
    calibrate: bool = False
    """Fit the uncertainty of completions on validation images first, and write it beside the prior: see `fit_calibration`."""

    against: Sequence[str] = ()
    """Names or paths of other data, whose images are compared with the held-out ones: see `measure_against`."""

    _smallest: ClassVar[dict[str, int]] = {**HeldOutRequest._smallest, "num_samples": 0, "completions": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.calibrate:
            return
        if self.split == "val":
            raise ConfigError("The uncertainty is fitted on validation images, and cannot be measured on them.", "Measure on test.")
        if self.completions < 2:
            raise ConfigError(f"{self.completions} completions have no spread to calibrate.", "Ask for at least 2.")
        if self.sampling != replace(DEFAULT_SAMPLING, seed=self.sampling.seed, method=self.sampling.method):
            raise ConfigError(
                "The uncertainty is calibrated for plain sampling, whose temperature it chooses.",
                "Leave out the temperature, top-k, top-p and the guidance scale.",
            )
