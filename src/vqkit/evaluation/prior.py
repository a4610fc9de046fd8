"""How good a prior is on held-out images: what their codes cost, what its samples are like, and what its completions are worth.

docs/evaluation.md explains every figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.data.loading import evaluation_batches
from vqkit.data.opening import open_dataset, resolve_data
from vqkit.data.subsets import align_conditions, check_data, choose_split, shuffled_indices
from vqkit.errors import DataError
from vqkit.evaluation.code_rates import Distortion, Rate, RateMeter, conditioning_cases, uniform_rate, unigram_rate
from vqkit.evaluation.codebook_usage import encode_images
from vqkit.evaluation.completion_quality import CompletionFigures, measure_completions
from vqkit.evaluation.held_out import numbered_batches
from vqkit.evaluation.metrics import code_histogram
from vqkit.evaluation.sample_quality import (
    Adherence,
    Contents,
    Drawn,
    Plausibility,
    Reference,
    adherence,
    contents,
    described,
    plausibilities,
    plausibility,
    reconstructed,
)
from vqkit.evaluation.shape_statistics import connected_parts, part_shares
from vqkit.inference.conditioning import condition_kinds
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.interfaces import Batch, Codes, DataSpec, ImageDataset, Split
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Sampling

COMPLETED_IMAGES = 32
"""Images that are completed in each scenario where no limit is given: with 16 completions each that is work for minutes."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[float], None]]]
"""Given what is done and to how many images, a context that gives a function to call with how many more are done."""


@dataclass(frozen=True)
class SampleFigures:
    """What `samples` new images are like.

    `plausibility`: of held-out images, reconstructions and samples, empty for data that are not binary; `contents`: of the training
    images and of samples; `adherence`: how well samples keep to the conditions of held-out images, empty if the prior is told no
    metadata or the data set cannot measure them.
    """

    samples: int
    plausibility: tuple[Plausibility, ...]
    contents: tuple[Contents, ...]
    adherence: tuple[Adherence, ...]


@dataclass(frozen=True)
class PriorEvaluation:
    """What a prior makes of a split.

    `told`: what it was trained to be told; `conditions`: whether the tokenizer's decoder, and a prior that sees parts of images,
    were told the conditions. `rates`: one for each thing that the prior can be told, nothing last; `unigram` and `uniform`: the
    same with less knowledge; `distortion`: what is left of the images in the codes. `samples` is None and `completions` empty where
    none were asked for.
    """

    run: str
    prior: str
    digest: str
    tokenizer: str
    told: tuple[str, ...]
    data: dict[str, Any]
    split: str
    images: int
    conditions: bool
    sampling: Sampling
    rates: tuple[Rate, ...]
    unigram: Rate
    uniform: Rate
    distortion: Distortion
    samples: SampleFigures | None
    completions: tuple[CompletionFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class HeldOut(NamedTuple):
    """A data set, the images of it that a prior is measured on, and those that it was trained on."""

    dataset: ImageDataset
    images: Split
    training: Split


def silent(what: str, total: int) -> AbstractContextManager[Callable[[float], None]]:
    """The progress that nobody watches."""
    del what, total
    return nullcontext(lambda done: None)


def evaluate_prior(
    run: str | Path | Sampler | None = None,
    data: str | NamedOptions | None = None,
    split: str = "test",
    keeps: Sequence[Sequence[str]] | None = None,
    holes: str | None = None,
    num_samples: int = 256,
    completions: int = 16,
    sampling: Sampling = DEFAULT_SAMPLING,
    batch_size: int = 64,
    limit: int | None = None,
    use_conditions: bool = False,
    device: str = "auto",
    tokenizer: str | Path | None = None,
    progress: Progress = silent,
) -> PriorEvaluation:
    """Measure a prior on a split.

    `run`, `tokenizer` and `device`: what `load_sampler` takes, or its result as `run`; `data`: default, what the prior was
    trained on; `keeps` and `holes`: the parts of images that a prior trained with --condition observed is shown, see
    `evaluation.autoencoder.scenarios`; `num_samples` new images and `completions` of each partly seen one, 0 for none, drawn as
    `sampling` says; `batch_size`: images that are encoded at once (samples are drawn in batches as large as memory allows);
    `limit`: only so many images of the split (without it, `COMPLETED_IMAGES` are completed); `use_conditions`: tell the
    decoder, and the prior beside a part of an image, the conditions, which are unknown to them otherwise.

    Raises `CheckpointError` for a run that cannot be used, `DataError` for data that do not fit the tokenizer, and `ConfigError`
    for a wrong split, component or kind of holes, or for one of these two if the prior was not trained to see parts of images.
    """
    sampler = run if isinstance(run, Sampler) else load_sampler(run, tokenizer, device)
    if keeps or holes:
        sampler.check_completes()
    told = conditioning_cases(sampler.prior.spec, sampler.spec, keeps, holes, use_conditions)
    named = _data(data, sampler)
    held_out = _open(named, sampler.spec, split, limit)
    meter = RateMeter(sampler, told, use_conditions)
    for first, batch in numbered_batches(held_out.images, batch_size, partial(progress, "measured")):
        meter.add(first, _aligned(batch, held_out, sampler).to(sampler.device))
    training, reference = _describe_training(sampler, held_out.training, batch_size, progress)
    drawn = _measure_samples(sampler, held_out, reference, num_samples, sampling, progress) if num_samples else None
    completed: list[CompletionFigures] = []
    if completions:
        given = _some_images(held_out, sampler, limit or COMPLETED_IMAGES)
        if not use_conditions:
            given = given._replace(conditions=torch.full_like(given.conditions, torch.nan))
        seen = [case.scenario for case in told if case.scenario is not None]
        completed = [measure_completions(sampler, part, given, completions, sampling, progress) for part in seen]
    return PriorEvaluation(
        run=str(sampler.path),
        prior=type(sampler.prior).__name__,
        digest=sampler.digest,
        tokenizer=str(sampler.pipeline.path),
        told=condition_kinds(sampler.prior.spec),
        data=named.model_dump(mode="json"),
        split=split,
        images=len(held_out.images),
        conditions=use_conditions,
        sampling=sampling,
        rates=tuple(meter.rates()),
        unigram=unigram_rate(training, tuple(level.cpu() for level in meter.counts), sampler.prior.spec, sampler.spec),
        uniform=uniform_rate(sampler.prior.spec, sampler.spec),
        distortion=meter.distortion(),
        samples=drawn,
        completions=tuple(completed),
    )


def _data(data: str | NamedOptions | None, sampler: Sampler) -> NamedOptions:
    """The data set that is meant, with all of its settings."""
    named = sampler.data if data is None else data
    if named is None:
        raise DataError(f"The prior {sampler.path} does not name the data set that it was trained on.", "Name one with --data.")
    return resolve_data(named)


def _open(named: NamedOptions, expected: DataSpec, split: str, limit: int | None) -> HeldOut:
    dataset = open_dataset(named)
    check_data(dataset.spec, expected)
    return HeldOut(dataset, choose_split(dataset, split, limit), dataset.split("train"))


def _aligned(batch: Batch, held_out: HeldOut, sampler: Sampler) -> Batch:
    """A batch with the conditions and classes that the tokenizer knows."""
    given, expected = held_out.dataset.spec, sampler.spec
    labels = batch.labels if given.classes == expected.classes else torch.full_like(batch.labels, -1)
    return align_conditions(batch._replace(labels=labels), given, expected)


def _some_images(held_out: HeldOut, sampler: Sampler, count: int) -> Batch:
    """`count` held-out images from all over the split, or all if they are fewer, as uint8."""
    batch = held_out.images.batch(shuffled_indices(len(held_out.images), min(count, len(held_out.images))))
    return _aligned(batch, held_out, sampler)


def _describe_training(sampler: Sampler, training: Split, batch_size: int, progress: Progress) -> tuple[Codes, Reference]:
    """How often the training images have each code, int64 [K] of each level, and what is in them."""
    tokenizer = sampler.pipeline.tokenizer
    encoded = encode_images(tokenizer, training, batch_size, sampler.device, partial(progress, "encoded (training images)"))
    counts = tuple(code_histogram(level, size) for level, size in zip(encoded.levels, tokenizer.cardinalities, strict=True))
    parts = None
    if sampler.spec.value_kind == "binary":
        counted = [connected_parts(batch.images >= 128) for batch in evaluation_batches(training, batch_size)]
        parts = part_shares(torch.cat(counted))
    return counts, Reference(encoded.mean_image.double().mean(dim=(1, 2)), parts)


def _measure_samples(
    sampler: Sampler, held_out: HeldOut, reference: Reference, count: int, sampling: Sampling, progress: Progress
) -> SampleFigures:
    """Draw images told nothing and, where the prior is told metadata or a class, told those of held-out images; judge both."""
    spec, trained = sampler.spec, sampler.prior.spec
    given = _some_images(held_out, sampler, count)
    rebuilt = reconstructed(sampler, given.images)
    drawn = [_draw(sampler, "samples", count, {}, None, sampling, progress)]
    kept: tuple[Adherence, ...] = ()
    if trained.is_conditional and not trained.observed_channels:
        asked = dict(zip(spec.condition_names, given.conditions.T, strict=True)) if trained.conditions else {}
        labels = given.labels if trained.classes else None
        drawn.append(_draw(sampler, "samples, conditions told", len(given.images), asked, labels, sampling, progress))
        kept = adherence(held_out.dataset, asked, drawn[-1].final, rebuilt.final)
    plausible: list[Plausibility] = []
    if reference.parts is not None:
        plausible = [plausibility("held-out images", given.images >= 128, reference.parts)]
        plausible += [each for images in (rebuilt, *drawn) for each in plausibilities(images, reference.parts)]
    found = (described("training images", reference, spec), *(contents(images, spec) for images in drawn))
    return SampleFigures(count, tuple(plausible), found, kept)


def _draw(
    sampler: Sampler,
    name: str,
    count: int,
    conditions: Mapping[str, Tensor],
    labels: Tensor | None,
    sampling: Sampling,
    progress: Progress,
) -> Drawn:
    asked = {key: column.tolist() for key, column in conditions.items()}
    with progress(f"drawn ({name})", count) as advance:
        samples = sampler.sample(count, asked, labels, sampling, advance=advance)
    return Drawn(name, samples.expected, samples.images)
