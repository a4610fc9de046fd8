"""Rate and distortion of a prior on held-out images: the cost of their codes, and the error of their reconstructions.

The rate in nats per code is the negative log-likelihood that a prior is trained on. Bits per image are what an ideal entropy coder
needs for an image's codes with the prior as its model (Shannon 1948), so tokenizers with different grids and codebooks compare.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.evaluation.error_meter import ErrorMeter
from vqkit.evaluation.mask_scenarios import MaskScenario, mask_scenarios
from vqkit.evaluation.metrics import code_histogram
from vqkit.evaluation.scenario_metrics import known
from vqkit.inference.conditioning import conditioning_for, observed_maps
from vqkit.inference.postprocess import discretize
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, Codes, CodeSpec, Conditioning, DataSpec, where_present
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Sampling
from vqkit.priors.any_order_sampling import DEFAULT_STEPS
from vqkit.priors.masked import MaskedPrior


@dataclass(frozen=True)
class Rate:
    """Mean cost of an image's codes.

    `nll_per_code` in nats, over the codes of all levels; `bits_per_image` for all codes of an image; `bits_per_pixel`: that divided
    by height x width, whatever the number of components; `levels`: nats per code of each level; `images` over which it is the mean,
    None for a cost that does not depend on images.
    """

    name: str
    nll_per_code: float
    bits_per_image: float
    bits_per_pixel: float
    levels: dict[str, float]
    images: int | None = None


@dataclass(frozen=True)
class Distortion:
    """Errors of the tokenizer's reconstructions of whole images, as `vqkit evaluate` measures them from full input.

    `mse`, `psnr`, `pooled_psnr` and `ssim` are those of `ScenarioMetrics`; `rmse` and `mae` of each intensity, in stored values;
    `iou` of each binary component.
    """

    mse: float | None
    psnr: float | None
    pooled_psnr: float | None
    ssim: float | None
    rmse: dict[str, float]
    mae: dict[str, float]
    iou: dict[str, float]
    mean_iou: float | None


class ConditioningCase(NamedTuple):
    """What a prior is conditioned on: metadata and class if `conditions`, and what is observed in a `scenario`, if any."""

    name: str
    conditions: bool = False
    scenario: MaskScenario | None = None


def conditioning_cases(
    spec: CodeSpec, data: DataSpec, keep_sets: Sequence[Sequence[str]] | None, mask_kind: str | None, with_conditions: bool
) -> list[ConditioningCase]:
    """The ways of conditioning in which a prior is measured; unconditional comes last.

    For a prior conditioned on observed parts: one case for each of the `mask_scenarios`, with metadata and class if
    `with_conditions`. For any other conditional prior: its conditions. Raises `ConfigError` as `mask_scenarios` does.
    """
    if spec.observed_channels:
        scenarios = mask_scenarios(data, keep_sets, mask_kind)[1:]
        cases = [ConditioningCase(scenario.name, with_conditions, scenario) for scenario in scenarios]
    else:
        cases = [ConditioningCase("conditional", conditions=True)] if spec.is_conditional else []
    return [*cases, ConditioningCase("unconditional")]


Way = Callable[[Codes, Conditioning, int], tuple[Tensor, ...]]
"""A cost of codes in nats [B, h, w] of each level, from their conditioning and the number of the first image in the split."""


class RateMeter:
    """Everything that is summed over held-out images in one pass through a tokenizer and a prior."""

    def __init__(
        self,
        sampler: Sampler,
        cases: Sequence[ConditioningCase],
        with_conditions: bool,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
    ) -> None:
        """`sampling`: how a prior in any order draws its samples, whose likelihood is measured beside the others.

        `first`: the number of this process's first image, which decides the random orders.
        """
        self._next = first
        self._sampler, self._cases, self._with_conditions = sampler, cases, with_conditions
        spec, device = sampler.spec, sampler.device
        self._errors = ErrorMeter(spec, device)
        self._nll = torch.zeros(len(cases), len(sampler.prior.spec.shapes), dtype=torch.float64, device=device)
        self._images = [0] * len(cases)
        prior = sampler.prior
        self._ways: dict[str, Way] = {}
        if isinstance(prior, MaskedPrior):
            self._ways["random orders (bound)"] = lambda codes, given, first: prior.bound(codes, given, 1, first=first)
            steps = sampling.draw_steps or DEFAULT_STEPS
            self._ways[f"in {steps} steps"] = lambda codes, given, first: prior.steps_nll(codes, given, sampling)
        self._other_nll = {way: torch.zeros_like(self._nll) for way in self._ways}
        self.counts = tuple(torch.zeros(size, dtype=torch.int64, device=device) for size in sampler.prior.spec.cardinalities)

    @torch.inference_mode()
    def add(self, positions: Tensor, batch: Batch, stored: Tensor | None = None) -> None:
        """Add a batch on the device, with the tokenizer's conditions; `positions` int64 [B] of its images in the split.

        `stored`: the images as in files, for errors in their own unit.
        """
        tokenizer, images = self._sampler.pipeline.tokenizer, batch.images
        codes = tokenizer.encode(images, batch.observed)
        unknown = tokenizer.spec.unknown_conditions(len(images), images.device)
        conditions = batch.conditions if self._with_conditions else unknown
        self._add_errors(tokenizer.decode(codes, conditions), batch, stored)
        for counts, level in zip(self.counts, codes, strict=True):
            counts += code_histogram(level, len(counts))
        for number, case in enumerate(self._cases):
            given = conditioning_of(self._sampler, case, positions, batch)
            counted = counted_images(case, positions, batch)

            def total(levels: Sequence[Tensor], counted: Tensor = counted) -> Tensor:
                return torch.stack([level.double()[counted].sum() for level in levels])

            self._nll[number] += total(self._sampler.prior.nll(codes, given))
            for name, way in self._ways.items():
                self._other_nll[name][number] += total(way(codes, given, self._next))
            self._images[number] += int(counted.sum())
        self._next += len(images)

    def _add_errors(self, expected: Tensor, batch: Batch, stored: Tensor | None) -> None:
        spec = self._sampler.spec
        shown = where_present(expected, batch.present)
        final = None if spec.value_kind == "intensity" else discretize(shown, spec)
        self._errors.add(shown, batch.images, None if batch.present is None else batch.observed, final, stored)

    def join(self) -> None:
        """Add up what all processes have measured. Every process must call it, once, after the last batch."""
        images = torch.tensor(self._images, dtype=torch.int64, device=self._nll.device)
        distributed.all_reduce(self._nll, images, *self._other_nll.values(), *self.counts)
        self._images = images.tolist()

    def rates(self) -> list[Rate]:
        """The mean cost in each conditioning case that there were images for."""
        return self._rates("", self._nll)

    def order_rates(self) -> list[Rate]:
        """The same for other ways of drawing the codes, of a prior that draws them in any order; `rates` is for one at a time."""
        return [rate for way, nll in self._other_nll.items() for rate in self._rates(f", {way}", nll)]

    def _rates(self, way: str, totals: Tensor) -> list[Rate]:
        spec = self._sampler.prior.spec
        sizes = totals.new_tensor([height * width for height, width in spec.shapes])
        found = zip(self._cases, self._images, totals, strict=True)
        return [
            rate(case.name + way, (nll / (images * sizes)).tolist(), spec, self._sampler.spec, images)
            for case, images, nll in found
            if images
        ]

    def distortion(self) -> Distortion:
        """The mean errors of the reconstructions."""
        errors, specs = self._errors.result(), self._sampler.spec.component_specs
        by_name = {each.name: found for each, found in zip(specs, errors.components, strict=True) if found.images}
        rmse, mae, iou = (
            {name: getattr(found, figure) for name, found in by_name.items() if not math.isnan(getattr(found, figure))}
            for figure in ("rmse", "mae", "iou")
        )
        return Distortion(
            mse=known(errors.mse),
            psnr=known(errors.psnr),
            pooled_psnr=known(errors.pooled_psnr),
            ssim=known(errors.ssim),
            rmse=rmse,
            mae=mae,
            iou=iou,
            mean_iou=sum(iou.values()) / len(iou) if iou else None,
        )


def counted_images(case: ConditioningCase, positions: Tensor, batch: Batch) -> Tensor:
    """The images of a batch that a rate is the mean over, bool [B]: in a scenario, those in which it judges anything."""
    present = batch.observed
    if case.scenario is None:
        return torch.ones_like(present[:, 0, 0, 0])
    observed = case.scenario.observed(positions, batch.images.shape).to(present.device) & present
    return case.scenario.judged(present, observed).flatten(1).any(dim=1)


def conditioning_of(sampler: Sampler, case: ConditioningCase, positions: Tensor, batch: Batch) -> Conditioning:
    """The conditioning of a prior for a batch on the device; `positions` int64 [B] of its images in the split."""
    spec, images = sampler.prior.spec, batch.images
    if case.scenario is None:
        if not case.conditions:
            return Conditioning.unconditional(len(images), spec, images.device)
        conditioning = conditioning_for(spec, batch.conditions, batch.labels)
        return conditioning._replace(dropped=conditioning.values.isnan().all(dim=1) & (conditioning.labels < 0))
    observed = case.scenario.observed(positions, images.shape).to(images.device) & batch.observed
    maps = observed_maps(sampler.pipeline.tokenizer, images, observed)
    unknown = sampler.spec.unknown_conditions(len(images), images.device), torch.full_like(batch.labels, -1)
    return conditioning_for(spec, *((batch.conditions, batch.labels) if case.conditions else unknown), maps)


def uniform_rate(spec: CodeSpec, data: DataSpec) -> Rate:
    """The cost under uniform codes: ln K nats per code."""
    return rate("uniform", [math.log(size) for size in spec.cardinalities], spec, data)


def unigram_rate(training: Codes, held_out: Codes, spec: CodeSpec, data: DataSpec) -> Rate:
    """The cost under independent codes with the frequencies of the training set.

    `training` and `held_out`: how often each code was chosen, int64 [K] of each level. The cross-entropy of the held-out codes
    under the training frequencies with add-one smoothing: a code that never occurred in training would cost infinitely much.
    """
    levels = []
    for frequencies, counts in zip(training, held_out, strict=True):
        smoothed = frequencies.double() + 1
        cost = smoothed.sum().log() - smoothed.log()
        levels.append(float((counts.double() * cost).sum() / counts.sum()))
    return rate("unigram", levels, spec, data)


def rate(name: str, nll: Sequence[float], spec: CodeSpec, data: DataSpec, images: int | None = None) -> Rate:
    """A rate from the mean nats per code of each level."""
    sizes = [height * width for height, width in spec.shapes]
    total = sum(size * each for size, each in zip(sizes, nll, strict=True))
    bits = total / math.log(2)
    levels = dict(zip(spec.level_names, nll, strict=True))
    return Rate(name, total / sum(sizes), bits, bits / (data.height * data.width), levels, images)
