"""How good a prior is on held-out images: the rate of their codes, the quality of its samples, and of its completions.

docs/evaluation.md defines every metric.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.core import distributed
from vqkit.data.loading import evaluation_batches
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import Subset, align_conditions, check_data, choose_split, limit_split, shuffled_indices
from vqkit.errors import DataError, VQKitError
from vqkit.evaluation.against import OtherData, measure_against, open_other
from vqkit.evaluation.calibrating import fit_calibration
from vqkit.evaluation.code_rates import (
    ConditioningCase,
    Distortion,
    Rate,
    RateMeter,
    conditioning_cases,
    uniform_rate,
    unigram_rate,
)
from vqkit.evaluation.codebook_usage import encode_images
from vqkit.evaluation.completion_floors import below_floors_in_one_pass, completion_floors
from vqkit.evaluation.completion_quality import CompletionMetrics, Sources, measure_completions
from vqkit.evaluation.held_out import batches_with_positions, prior_data
from vqkit.evaluation.metrics import code_histogram
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.requests import PriorEvaluationRequest
from vqkit.evaluation.sample_quality import (
    Adherence,
    Contents,
    GeneratedImages,
    Plausibility,
    Reference,
    adherence,
    contents,
    held_shapes,
    plausibilities,
    plausibility,
    reconstructed,
    reference_contents,
    shapes_of,
)
from vqkit.evaluation.scenario_metrics import FloorMetrics
from vqkit.evaluation.shape_statistics import connected_parts, part_shares
from vqkit.inference.calibration import Calibration, write_calibration
from vqkit.inference.conditioning import condition_kinds
from vqkit.inference.postprocess import discretize
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.interfaces import Batch, Codes, DataSpec, ImageDataset, Split
from vqkit.interfaces.priors import Sampling

COMPLETED_IMAGES = 32
"""Images that are completed in each scenario without a limit: with 16 completions each, that takes minutes."""
_DEFAULT = PriorEvaluationRequest()


@dataclass(frozen=True)
class SampleMetrics:
    """Quality of `samples` new images.

    `plausibility`: of held-out images, reconstructions and samples, empty without binary components; `contents`: of the training
    images and of samples; `adherence`: how closely samples follow the conditions of held-out images, empty if the prior is not
    conditioned on metadata or the data set cannot measure them.
    """

    samples: int
    plausibility: tuple[Plausibility, ...]
    contents: tuple[Contents, ...]
    adherence: tuple[Adherence, ...]


@dataclass(frozen=True)
class PriorEvaluation:
    """Metrics of a prior on a split.

    `condition_on`: what it was trained to be conditioned on; `with_conditions`: whether the tokenizer's decoder, and a prior
    conditioned on observed parts, were given the images' conditions. `rates`: one for each conditioning case, unconditional last,
    and `order_rates` the same for other ways to draw the codes, of a prior that draws them in any order;
    `sampling`: of new images, and `completion_sampling` of completions, which may have a fitted temperature; `calibration`: what
    was fitted for their uncertainty, if it was. `unigram` and `uniform`: baselines; `distortion`: of the tokenizer's
    reconstructions. `samples` is None and `completions` empty where none were requested. `notes`: sentences, such as on scenarios
    that no image fits. `against`: comparisons with images of other data.
    """

    run: str
    prior: str
    digest: str
    tokenizer: str
    condition_on: tuple[str, ...]
    data: dict[str, Any]
    split: str
    images: int
    with_conditions: bool
    sampling: Sampling
    completion_sampling: Sampling
    calibration: Calibration | None
    rates: tuple[Rate, ...]
    order_rates: tuple[Rate, ...]
    unigram: Rate
    uniform: Rate
    distortion: Distortion
    samples: SampleMetrics | None
    completions: tuple[CompletionMetrics, ...]
    completion_floors: dict[str, tuple[FloorMetrics, ...]]
    against: tuple[OtherData, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class PriorData(NamedTuple):
    """A data set: the whole split that a prior is measured on, the `images` of it within the limit, and the training images of the
    prior, whatever it is measured on.
    """

    dataset: ImageDataset
    whole: Split
    images: Split
    training: Split
    notes: tuple[str, ...] = ()


def evaluate_prior(
    run: str | Path | Sampler | None = None,
    request: PriorEvaluationRequest = _DEFAULT,
    tokenizer: str | Path | None = None,
    device: str = "auto",
    progress: Progress = no_progress,
) -> PriorEvaluation:
    """Measure a prior on a split.

        evaluate_prior("runs/prior").rates[-1].bits_per_image
        evaluate_prior("runs/prior", PriorEvaluationRequest(limit=500, num_samples=0)).unigram

    `run`, `tokenizer` and `device`: what `load_sampler` takes, or its result as `run`; `progress`: called with what is measured, to
    report how far it is. Samples are drawn in batches as large as memory allows, whatever the request's `batch_size`.

    Raises `CheckpointError` for a run that cannot be loaded, `DataError` for data that do not fit the tokenizer, and `ConfigError`
    for an unknown split, component or mask kind, or for one of the latter two if the prior is not conditioned on observed parts.
    """
    sampler = run if isinstance(run, Sampler) else load_sampler(run, tokenizer, device)
    if request.keep_sets or request.mask_kind or request.calibrate:
        sampler.check_completes()
    cases = conditioning_cases(sampler.prior.spec, sampler.spec, request.keep_sets, request.mask_kind, request.with_conditions)
    settings = prior_data(sampler, request.data)
    data = _open(settings, sampler, request.split, request.limit)
    others = [open_other(sampler, other, request.split, request.limit) for other in request.against]
    if request.calibrate:
        sampler.calibration = _calibrate(sampler, data, cases, request, progress)
        if distributed.is_main():
            write_calibration(sampler.path, sampler.calibration)
    first = distributed.share(len(data.images)).start
    meter = RateMeter(sampler, cases, request.with_conditions, request.sampling, first)
    for positions, batch in batches_with_positions(data.images, request.batch_size, "evaluated", progress):
        stored = batch.images.to(sampler.device)
        meter.add(positions, _aligned(batch, data, sampler).to(sampler.device, sampler.spec), stored)
    meter.join()
    rates = meter.rates()
    training, reference = _describe_training(sampler, data.training, request.batch_size, progress)
    samples = _measure_samples(sampler, data, reference, request, progress) if request.num_samples else None
    completions = _measure_completions(sampler, data, cases, request, progress)
    floors = _measure_floors(sampler, data, cases, settings, request, progress) if completions else {}
    return PriorEvaluation(
        run=str(sampler.path),
        prior=type(sampler.prior).__name__,
        digest=sampler.digest,
        tokenizer=str(sampler.pipeline.path),
        condition_on=condition_kinds(sampler.prior.spec),
        data=settings.model_dump(mode="json"),
        split=request.split,
        images=len(data.images),
        with_conditions=request.with_conditions,
        sampling=request.sampling,
        completion_sampling=_completion_sampling(sampler, request),
        calibration=sampler.calibration,
        rates=tuple(rates),
        order_rates=tuple(meter.order_rates()),
        unigram=unigram_rate(training, tuple(level.cpu() for level in meter.counts), sampler.prior.spec, sampler.spec),
        uniform=uniform_rate(sampler.prior.spec, sampler.spec),
        distortion=meter.distortion(),
        samples=samples,
        completions=completions,
        completion_floors=floors,
        against=tuple(measure_against(sampler, data.images, other, request.batch_size, progress) for other in others),
        notes=(*data.notes, *_notes(cases, rates), *below_floors_in_one_pass(completions, floors)),
    )


def _notes(cases: Sequence[ConditioningCase], rates: Sequence[Rate]) -> Iterator[str]:
    measured = [each.name for each in rates]
    for case in cases:
        if case.name not in measured:
            yield f"No image holds both what '{case.name}' keeps and anything that is missing there."


def _open(named: NamedOptions, sampler: Sampler, split: str, limit: int | None) -> PriorData:
    dataset = open_dataset(named)
    check_data(dataset.spec, sampler.spec)
    whole = choose_split(dataset, split)
    training, notes = (dataset.split("train"), ()) if named == sampler.data else _training(sampler, dataset)
    return PriorData(dataset, whole, limit_split(whole, limit), training, notes)


def _training(sampler: Sampler, dataset: ImageDataset) -> tuple[Split, tuple[str, ...]]:
    """The prior's training images; those of the data that it is measured on, and a note, where they cannot be read."""
    try:
        own = dataset if sampler.data is None else open_dataset(sampler.data)
        check_data(own.spec, sampler.spec)
        return own.split("train"), ()
    except VQKitError as error:
        return dataset.split("train"), (
            f"The prior's training images cannot be read ({error}); those of the given data stand in for them.",
        )


def _aligned(batch: Batch, data: PriorData, sampler: Sampler) -> Batch:
    """A batch with the conditions and classes that the tokenizer knows."""
    given, expected = data.dataset.spec, sampler.spec
    labels = batch.labels if given.classes == expected.classes else torch.full_like(batch.labels, -1)
    return align_conditions(batch._replace(labels=labels), given, expected)


def _some_images(data: PriorData, sampler: Sampler, count: int) -> Sources:
    """`count` held-out images, or all within the limit if they are fewer, as stored values.

    They come in the order in which a limit chooses images, so that an image is completed with the same noise whatever the limit.
    """
    chosen = _completed(data, count)
    return Sources(_aligned(data.whole.batch(chosen), data, sampler), chosen)


def _completed(data: PriorData, count: int) -> Tensor:
    """Positions of so many held-out images in their split, int64 [n]."""
    return shuffled_indices(len(data.whole), min(count, len(data.images)))


def _describe_training(sampler: Sampler, training: Split, batch_size: int, progress: Progress) -> tuple[Codes, Reference]:
    """How often each code is chosen for the training images, int64 [K] of each level, and statistics of these images."""
    tokenizer = sampler.pipeline.tokenizer
    encoded = encode_images(tokenizer, training, batch_size, sampler.device, progress, "encoded (training images)")
    counts = tuple(code_histogram(level, size) for level, size in zip(encoded.levels, tokenizer.cardinalities, strict=True))
    return counts, Reference(encoded.means, _usual_parts(training, sampler.spec, batch_size))


def _usual_parts(training: Split, spec: DataSpec, batch_size: int) -> Tensor | None:
    """See `Reference.parts`; of an image, only of the components that it has."""
    if not bool(spec.binary.any()):
        return None
    counted, held = [], []
    for batch in evaluation_batches(training, batch_size):
        shown = batch.to(torch.device("cpu"), spec)
        counted.append(connected_parts(shapes_of(shown.images, spec)))
        held.append(held_shapes(shown, spec))
    parts = (torch.cat(each) if each else torch.empty(0) for each in (counted, held))
    return part_shares(*map(distributed.gather_rows, parts))


def _measure_samples(
    sampler: Sampler, data: PriorData, reference: Reference, request: PriorEvaluationRequest, progress: Progress
) -> SampleMetrics:
    """Draw unconditional samples and, from a prior conditioned on metadata or a class, samples with those of held-out images."""
    spec, trained = sampler.spec, sampler.prior.spec
    count, sampling = request.num_samples, request.sampling
    given = _some_images(data, sampler, count).batch
    rebuilt = reconstructed(sampler, given)
    drawn = [_draw(sampler, "samples", count, {}, None, sampling, progress)]
    kept: tuple[Adherence, ...] = ()
    if trained.is_conditional and not trained.observed_channels:
        wanted = dict(zip(spec.condition_names, given.conditions.T, strict=True)) if trained.conditions else {}
        labels = given.labels if trained.classes else None
        drawn.append(_draw(sampler, "conditional samples", len(given.images), wanted, labels, sampling, progress))
        kept = adherence(data.dataset, wanted, drawn[-1].final, rebuilt.final)
    plausible: list[Plausibility] = []
    if reference.parts is not None:
        truth = given.to(torch.device("cpu"), spec)
        plausible = [plausibility("held-out images", shapes_of(truth.images, spec), reference.parts, held_shapes(truth, spec))]
        plausible += [each for images in (rebuilt, *drawn) for each in plausibilities(images, reference.parts, spec)]
    found = (reference_contents("training images", reference, spec), *(contents(images, spec) for images in drawn))
    return SampleMetrics(count, tuple(plausible), found, kept)


def _draw(
    sampler: Sampler,
    name: str,
    count: int,
    conditions: Mapping[str, Tensor],
    labels: Tensor | None,
    sampling: Sampling,
    progress: Progress,
) -> GeneratedImages:
    """Draw images, a part in each process; all of them get the whole. A sample depends on its number alone."""
    own = distributed.share(count)
    chosen = slice(own.start, own.stop)
    values = {key: column[chosen].tolist() for key, column in conditions.items()}
    expected = torch.empty(0)
    with progress(f"drawn ({name})", len(own)) as advance:
        if own:
            drawn = sampler.sample(
                len(own), values, None if labels is None else labels[chosen], sampling, advance=advance, first=own.start
            )
            expected = drawn.expected
    expected = distributed.gather_rows(expected)
    return GeneratedImages(name, expected, discretize(expected, sampler.spec))


def _measure_completions(
    sampler: Sampler, data: PriorData, cases: Sequence[ConditioningCase], request: PriorEvaluationRequest, progress: Progress
) -> tuple[CompletionMetrics, ...]:
    """Draw completions in every scenario that the prior is measured in; none where none were requested."""
    scenarios = [case.scenario for case in cases if case.scenario is not None] if request.completions else []
    if not scenarios:
        return ()
    sources, sampling = _images_to_complete(sampler, data, request), _completion_sampling(sampler, request)
    found = [measure_completions(sampler, scenario, sources, request.completions, sampling, progress) for scenario in scenarios]
    return tuple(each for each in found if each is not None)


def _measure_floors(
    sampler: Sampler,
    data: PriorData,
    cases: Sequence[ConditioningCase],
    named: NamedOptions,
    request: PriorEvaluationRequest,
    progress: Progress,
) -> dict[str, tuple[FloorMetrics, ...]]:
    """Simple predictors on the images that are completed, fitted to the training images of the prior."""
    scenarios = [case.scenario for case in cases if case.scenario is not None]
    if not request.floors:
        return {}
    settings = {"data": named.model_dump(mode="json"), "split": request.split}
    completed = Subset(data.whole, _completed(data, request.limit or COMPLETED_IMAGES))
    device = torch.device(sampler.device)
    return completion_floors(sampler.path, settings, data.training, completed, scenarios, sampler.spec, device, progress)


def _images_to_complete(sampler: Sampler, data: PriorData, request: PriorEvaluationRequest) -> Sources:
    """Some images, with their conditions where the request uses them."""
    sources = _some_images(data, sampler, request.limit or COMPLETED_IMAGES)
    if request.with_conditions:
        return sources
    unknown = sampler.spec.unknown_conditions(len(sources.batch.images))
    return sources._replace(batch=sources.batch._replace(conditions=unknown))


def _completion_sampling(sampler: Sampler, request: PriorEvaluationRequest) -> Sampling:
    return sampler.completion_sampling(request.sampling) if request.fitted_temperature else request.sampling


def _calibrate(
    sampler: Sampler, data: PriorData, cases: Sequence[ConditioningCase], request: PriorEvaluationRequest, progress: Progress
) -> Calibration:
    """Fit the uncertainty of completions, on validation images only."""
    held_out = data.dataset.split("val")
    if not len(held_out):
        raise DataError(f"The data set {data.dataset.spec.name} has no validation images to calibrate on.", "Split some off.")
    whole = data._replace(whole=held_out, images=limit_split(held_out, request.limit))
    scenarios = [case.scenario for case in cases if case.scenario is not None]
    sources = _images_to_complete(sampler, whole, request)
    return fit_calibration(sampler, scenarios, sources, request.completions, request.sampling, progress)
