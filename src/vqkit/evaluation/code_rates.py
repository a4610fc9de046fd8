"""What the codes of held-out images cost under a prior, and what is left of the images in them: a rate and a distortion.

Natural logarithms (nats) a code are what a prior is trained on. Bits an image are what an ideal entropy coder would need for its
codes with the prior as its model (Shannon 1948), so that tokenizers with different grids and codebooks can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.autoencoder import MaskScenario, scenarios
from vqkit.evaluation.metrics import ErrorMeter, code_histogram
from vqkit.inference.conditioning import conditioning_for, observed_maps
from vqkit.inference.postprocess import settle
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, Codes, CodeSpec, Conditioning, DataSpec


@dataclass(frozen=True)
class Rate:
    """What the codes of an image cost on average.

    `nll_per_code` over the codes of all levels; `bits_per_image` for all codes of an image; `bits_per_pixel`: that divided by
    height x width, whatever the number of components; `levels`: nats a code of each level.
    """

    name: str
    nll_per_code: float
    bits_per_image: float
    bits_per_pixel: float
    levels: dict[str, float]


@dataclass(frozen=True)
class Distortion:
    """Errors of the tokenizer's reconstructions of whole images, as `vqkit evaluate` measures them from full input.

    `iou` by component and `mean_iou` over them: empty and None for data that are not binary.
    """

    mse: float
    psnr: float
    ssim: float
    iou: dict[str, float]
    mean_iou: float | None


class ConditioningCase(NamedTuple):
    """What a prior is told of an image: its metadata and class or not, and the part of it that a scenario leaves, or none."""

    name: str
    conditions: bool = False
    scenario: MaskScenario | None = None


def conditioning_cases(
    spec: CodeSpec, data: DataSpec, keeps: Sequence[Sequence[str]] | None, holes: str | None, use_conditions: bool
) -> list[ConditioningCase]:
    """All that a prior can be told that is worth measuring; nothing comes last.

    A prior that sees parts of images: a telling for each scenario of `evaluation.autoencoder.scenarios`, with metadata and class if
    `use_conditions`. Another one that is told something: that. Raises `ConfigError` as `scenarios` does.
    """
    if spec.observed_channels:
        parts = scenarios(data, keeps, holes)[1:]
        told = [ConditioningCase(part.name, use_conditions, part) for part in parts]
    else:
        told = [ConditioningCase("conditions told", conditions=True)] if spec.is_conditional else []
    return [*told, ConditioningCase("nothing told")]


class RateMeter:
    """Everything that is summed while held-out images go through a tokenizer and a prior."""

    def __init__(self, sampler: Sampler, told: Sequence[ConditioningCase], use_conditions: bool) -> None:
        self._sampler, self._told, self._use_conditions = sampler, told, use_conditions
        spec, device = sampler.spec, sampler.device
        self._binary = spec.value_kind == "binary"
        self._errors = ErrorMeter(len(spec.components), self._binary, device)
        self._nll = torch.zeros(len(told), len(sampler.prior.spec.shapes), dtype=torch.float64, device=device)
        self._images = 0
        self.counts = tuple(torch.zeros(size, dtype=torch.int64, device=device) for size in sampler.prior.spec.cardinalities)

    @torch.inference_mode()
    def add(self, first: int, batch: Batch) -> None:
        """Take in a batch on the device, with the conditions that the tokenizer knows; its first image is number `first`."""
        tokenizer, images = self._sampler.pipeline.tokenizer, batch.images
        codes = tokenizer.encode(images, torch.ones_like(images, dtype=torch.bool))
        conditions = batch.conditions if self._use_conditions else torch.full_like(batch.conditions, torch.nan)
        self._add_errors(tokenizer.decode(codes, conditions), images)
        for counts, level in zip(self.counts, codes, strict=True):
            counts += code_histogram(level, len(counts))
        for sums, case in zip(self._nll, self._told, strict=True):
            nll = self._sampler.prior.nll(codes, tell(self._sampler, case, first, batch))
            sums += torch.stack([level.double().sum() for level in nll])
        self._images += len(images)

    def _add_errors(self, expected: Tensor, images: Tensor) -> None:
        nothing = torch.zeros_like(images, dtype=torch.bool)
        final = settle(expected, images, nothing, self._sampler.spec) / 255 if self._binary else None
        self._errors.add(expected, images, final=final)

    def rates(self) -> list[Rate]:
        """The mean cost for each telling."""
        spec = self._sampler.prior.spec
        codes = self._nll.new_tensor([self._images * height * width for height, width in spec.shapes])
        means = (self._nll / codes).tolist()
        return [rate(case.name, each, spec, self._sampler.spec) for case, each in zip(self._told, means, strict=True)]

    def distortion(self) -> Distortion:
        """The mean errors of the reconstructions."""
        errors = self._errors.result()
        iou = dict(zip(self._sampler.spec.components, errors.iou, strict=True)) if self._binary else {}
        mean = sum(iou.values()) / len(iou) if iou else None
        return Distortion(errors.mse, errors.psnr, errors.ssim, iou, mean)


def tell(sampler: Sampler, case: ConditioningCase, first: int, batch: Batch) -> Conditioning:
    """What a prior is told of a batch on the device, whose first image is number `first` of its split."""
    spec, images = sampler.prior.spec, batch.images
    if case.scenario is None:
        if not case.conditions:
            return Conditioning.unconditional(len(images), spec, images.device)
        told = conditioning_for(spec, batch.conditions, batch.labels)
        return told._replace(dropped=told.values.isnan().all(dim=1) & (told.labels < 0))
    count, components, height, width = images.shape
    observed = case.scenario.observed(first, (count, components, height, width)).to(images.device)
    maps = observed_maps(sampler.pipeline.tokenizer, images, observed)
    unknown = torch.full_like(batch.conditions, torch.nan), torch.full_like(batch.labels, -1)
    return conditioning_for(spec, *((batch.conditions, batch.labels) if case.conditions else unknown), maps)


def uniform_rate(spec: CodeSpec, data: DataSpec) -> Rate:
    """The cost if nothing is known: ln K nats a code."""
    return rate("uniform", [math.log(size) for size in spec.cardinalities], spec, data)


def unigram_rate(training: Codes, held_out: Codes, spec: CodeSpec, data: DataSpec) -> Rate:
    """The cost if only the frequency of each code is known, and not its place or its neighbours.

    `training` and `held_out`: how often each code was chosen, int64 [K] of each level. The cross-entropy of the held-out codes
    under the training codes' frequencies, one added to every count, because a code that never occurred would cost infinitely much.
    """
    levels = []
    for known, counts in zip(training, held_out, strict=True):
        smoothed = known.double() + 1
        cost = smoothed.sum().log() - smoothed.log()
        levels.append(float((counts.double() * cost).sum() / counts.sum()))
    return rate("unigram", levels, spec, data)


def rate(name: str, nll: Sequence[float], spec: CodeSpec, data: DataSpec) -> Rate:
    """A rate from the mean nats a code of each level."""
    sizes = [height * width for height, width in spec.shapes]
    total = sum(size * each for size, each in zip(sizes, nll, strict=True))
    bits = total / math.log(2)
    levels = dict(zip(spec.level_names, nll, strict=True))
    return Rate(name, total / sum(sizes), bits, bits / (data.height * data.width), levels)
