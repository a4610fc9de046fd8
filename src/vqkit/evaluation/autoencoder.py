"""How well a model reconstructs held-out images, from full input and with parts of them missing.

Errors are measured on the missing part alone in each scenario, and on everything from full input. Masks of pixels depend on the
image's position in its split alone, so every model fills in the same ones. docs/evaluation.md defines every metric.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.data.opening import typed_as
from vqkit.data.subsets import align_conditions
from vqkit.errors import VQKitError
from vqkit.evaluation.bounds import Bounds, measure_bounds, with_prior
from vqkit.evaluation.error_meter import ErrorMeter
from vqkit.evaluation.feature_distances import FeatureDistances
from vqkit.evaluation.floors import FITTED_ON_THESE, HeldOutImages, kept_floors, without_nearest
from vqkit.evaluation.held_out import batches_with_positions, data_settings, open_data, open_split
from vqkit.evaluation.mask_scenarios import MaskScenario, mask_scenarios
from vqkit.evaluation.metrics import code_histogram, entropy_bits, perplexity, usage
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.evaluation.scenario_metrics import (
    FloorMetrics,
    ScenarioMetrics,
    known,
    notes,
    relative_error,
    scenario_metrics,
)
from vqkit.evaluation.training_masks import unfamiliar_masks
from vqkit.evaluation.variance import VarianceMeter, Variances
from vqkit.evaluation.verdicts import below_floors
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import Autoencoder, Batch, Codes, Context, DataSpec, ImageDataset, Split, Tokenizer, where_present
from vqkit.storage.checkpoints import Loaded, load_model

_DEFAULT = EvaluationRequest()


@dataclass(frozen=True)
class LevelUsage:
    """How one level's codes are used over the split, from full input.

    `used` of `num_codes` codes, as a share `usage`; `perplexity` = exp(entropy). Bits per image are summed over the `grid` (h, w):
    `uniform_bits` at log2 K per code, the size when stored as fixed-length integers; `entropy_bits` at the entropy of the codes'
    frequencies over the split, the least that a lossless code can take which knows these frequencies and nothing else.
    """

    name: str
    grid: tuple[int, int]
    num_codes: int
    used: int
    usage: float
    perplexity: float
    uniform_bits: float
    entropy_bits: float


@dataclass(frozen=True)
class CodeBits:
    """Size of an image's codes, all levels together: see `LevelUsage`. A pixel counts once, however many components it has."""

    uniform_bits_per_image: float
    uniform_bits_per_pixel: float
    entropy_bits_per_image: float
    entropy_bits_per_pixel: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a model on a split.

    `full`: from full input, on everything; `parts`: one for each keep-set and mask kind; `variance` of all pixels and channels of
    the evaluated images (of mixed ones, of the intensities), and `relative_error` = `full.mse` / `variance` (None where all pixels
    are equal); `with_conditions`: whether the model was conditioned on them; `levels` is empty, and `bits` None, for models without
    codes; `distances`: FID and LPIPS from full input, and `bounds` on the log-likelihood, where they were requested;
    `images_per_second`: throughput of the whole model in batches, reading excluded; `notes`: sentences on figures that mean less
    than they seem to, such as the PSNR of a constant component.
    """

    run: str
    model: str
    digest: str
    data: dict[str, Any]
    split: str
    images: int
    with_conditions: bool
    full: ScenarioMetrics
    parts: tuple[ScenarioMetrics, ...]
    variance: float | None
    relative_error: float | None
    levels: tuple[LevelUsage, ...]
    bits: CodeBits | None
    distances: dict[str, float]
    bounds: Bounds | None
    images_per_second: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "bounds": self.bounds and self.bounds.to_json()}


def evaluate(
    run: str | Path | Loaded | None = None,
    request: EvaluationRequest = _DEFAULT,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> Evaluation:
    """Measure a model on a split.

        evaluate("runs/tyres").full.psnr
        evaluate("runs/tyres", EvaluationRequest(split="val", limit=500)).relative_error

    `run`: what `load_model` takes, or its result (then `device` is where that model is); `progress`: called with what is measured,
    to report how far it is.

    Raises `CheckpointError` for a run that cannot be loaded, `DataError` for data that do not fit the model, and `ConfigError` for
    an unknown split, component or mask kind, a feature network that is not available, or bounds of a model without a likelihood.
    """
    loaded = run if isinstance(run, Loaded) else load_model(run, device)
    dataset = open_data(loaded, request.data)
    images = open_split(loaded, dataset, request.split, request.limit)
    scenarios = mask_scenarios(images.spec, request.keep_sets, request.mask_kind)
    distances = FeatureDistances(images.spec, len(images), request.fid, request.lpips, device)
    bounds = _bounds(loaded, images, request, device, progress)  # first: a model without bounds is refused before the long part
    meters = _Meters(loaded.model, scenarios, request.with_conditions, distances, device)
    for positions, batch in batches_with_positions(images, request.batch_size, "evaluated", progress):
        stored = batch.images.to(device)
        meters.add(positions, align_conditions(batch.to(device, loaded.model.spec), images.spec, loaded.model.spec), stored)
    variances, levels = meters.variance.result(), meters.level_usage()
    held_out = HeldOutImages(images, scenarios, loaded.model.spec, request.batch_size)
    floors, unmeasured = _floors(loaded, dataset, held_out, request, variances, device, progress)
    full, *parts = meters.scenario_metrics(variances, floors)
    return Evaluation(
        run=str(loaded.path),
        model=loaded.header.get("name", type(loaded.model).__name__),
        digest=loaded.digest,
        data=data_settings(loaded, request.data),
        split=request.split,
        images=len(images),
        with_conditions=request.with_conditions,
        full=full,
        parts=tuple(parts),
        variance=known(variances.common),
        relative_error=relative_error(full.mse, variances.common),
        levels=levels,
        bits=code_bits(levels, loaded.model.spec) if levels else None,
        distances=distances.result(),
        bounds=bounds,
        images_per_second=meters.images_per_second(),
        notes=(
            *notes(full, parts, variances, loaded.model.spec),
            *unfamiliar_masks(loaded.path, len(loaded.model.spec.components), scenarios),
            *below_floors(parts),
            *unmeasured,
        ),
    )


def _floors(
    loaded: Loaded,
    dataset: ImageDataset,
    images: HeldOutImages,
    request: EvaluationRequest,
    variances: Variances,
    device: torch.device,
    progress: Progress,
) -> tuple[list[tuple[FloorMetrics, ...]], list[str]]:
    """The floors of each scenario, and a sentence where they were requested and cannot be measured, or not be trusted.

    `dataset`: that of the images; simple predictors are fitted to the training images of the model all the same.
    """
    nothing: list[tuple[FloorMetrics, ...]] = [() for _ in images.scenarios]
    if not request.floors:
        return nothing, []
    try:
        training = open_split(loaded, dataset if request.data is None else None, "train")
    except VQKitError as error:
        return nothing, [f"No simple predictor is measured, because the training images cannot be read: {error}"]
    own, given = data_settings(loaded, None), data_settings(loaded, request.data)
    data = {"training": own, "held out": given, "split": request.split}
    floors = kept_floors(loaded.path, data, training, images, variances, device, progress)
    if request.split == "train" and typed_as(own) == typed_as(given):
        return [without_nearest(row) for row in floors], [FITTED_ON_THESE]
    return floors, []


def _bounds(loaded: Loaded, images: Split, request: EvaluationRequest, device: torch.device, progress: Progress) -> Bounds | None:
    """Bounds on the log-likelihood, None where they were not requested. Raises `ConfigError` for a model that has none."""
    if request.bound_samples is None:
        return None
    model = with_prior(loaded.model)
    return measure_bounds(model, images, request.bound_samples, 0, request.with_conditions, device, progress)


class _Meters:
    """Everything that is summed over a split in one pass through a model."""

    def __init__(
        self,
        model: Autoencoder,
        scenarios: Sequence[MaskScenario],
        with_conditions: bool,
        distances: FeatureDistances,
        device: torch.device,
    ) -> None:
        self.model, self.scenarios, self.with_conditions, self.device = model, scenarios, with_conditions, device
        self.distances = distances
        self.errors = [ErrorMeter(model.spec, device) for _ in scenarios]
        self.variance = VarianceMeter(model.spec, device)
        cardinalities = model.cardinalities if isinstance(model, Tokenizer) else ()
        self.counts = [torch.zeros(size, dtype=torch.int64, device=device) for size in cardinalities]
        self.passes, self.seconds = 0, 0.0

    @torch.inference_mode()
    def add(self, positions: Tensor, batch: Batch, stored: Tensor) -> None:
        """Add a batch that is on the device; `positions` int64 [B] of its images in the split, which `stored` are as in files."""
        images = batch.images
        unknown = self.model.spec.unknown_conditions(len(images), images.device)
        conditions = batch.conditions if self.with_conditions else unknown
        present = batch.observed
        self.variance.add(images, present)
        for scenario, errors in zip(self.scenarios, self.errors, strict=True):
            observed = scenario.observed(positions, images.shape).to(self.device) & present
            if self.passes == 0:
                self._forward(images, observed, conditions, observed)  # warm-up: the very first pass is not timed
            codes, expected = self._timed(images, observed, conditions, None if scenario is self.scenarios[0] else observed)
            judged = scenario.judged(present, observed)
            if scenario is self.scenarios[0]:
                shown = where_present(expected, batch.present)
                errors.add(shown, images, judged, self._final(shown, images, torch.zeros_like(observed)), stored)
                held = present.flatten(1).any(1)
                self.distances.add(images[held], shown[held])
                for counts, level in zip(self.counts, codes, strict=True):
                    counts += code_histogram(level, len(counts))
            else:
                # The known pixels are those of the image, as in the output of `inpaint`: SSIM's windows reach into them.
                final = self._final(expected, images, observed)
                filled = where_present(torch.where(observed, images, expected), batch.present)
                errors.add(filled, images, judged, final, stored)

    def _final(self, expected: Tensor, images: Tensor, observed: Tensor) -> Tensor | None:
        """The images that `inpaint` would write, float [B, C, H, W], where shapes are to be compared; None for intensities."""
        spec = self.model.spec
        return None if spec.value_kind == "intensity" else fill_missing(expected, images, observed, spec)

    def _timed(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None) -> tuple[Codes, Tensor]:
        _synchronize(self.device)
        start = time.perf_counter()
        result = self._forward(images, observed, conditions, shown)
        _synchronize(self.device)
        self.seconds += time.perf_counter() - start
        self.passes += len(images)
        return result

    def _forward(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None) -> tuple[Codes, Tensor]:
        """Codes (none for a continuous model) and expected images, in one pass; the decoder sees what is `shown` to it."""
        if not isinstance(self.model, Tokenizer):
            return (), self.model.reconstruct(images, observed, conditions, shown)
        codes = self.model.encode(images, observed)
        return codes, self.model.decode(codes, conditions, None if shown is None else Context(images, shown))

    def scenario_metrics(self, variances: Variances, floors: Sequence[Sequence[FloorMetrics]]) -> list[ScenarioMetrics]:
        """Metrics of each scenario, over all processes, with its floors."""
        meters = zip(self.scenarios, self.errors, floors, strict=True)
        spec = self.model.spec
        return [scenario_metrics(scenario, errors.result(), variances, spec, row) for scenario, errors, row in meters]

    def level_usage(self) -> tuple[LevelUsage, ...]:
        """How the codes are used, over all processes."""
        if not isinstance(self.model, Tokenizer):
            return ()
        distributed.all_reduce(*self.counts)
        levels = zip(self.model.level_names, self.model.code_shapes, self.counts, strict=True)
        return tuple(level_usage(name, grid, counts) for name, grid, counts in levels)

    def images_per_second(self) -> float:
        """Throughput of all processes together."""
        rate = torch.tensor(self.passes / max(self.seconds, 1e-9), dtype=torch.float64, device=self.device)
        distributed.all_reduce(rate)
        return float(rate)


def level_usage(name: str, grid: tuple[int, int], counts: Tensor) -> LevelUsage:
    """Use of one level's codes, of counts int64 [K]."""
    num_codes, positions = len(counts), grid[0] * grid[1]
    return LevelUsage(
        name=name,
        grid=grid,
        num_codes=num_codes,
        used=int((counts > 0).sum()),
        usage=float(usage(counts)),
        perplexity=float(perplexity(counts)),
        uniform_bits=positions * math.log2(num_codes),
        entropy_bits=positions * float(entropy_bits(counts)),
    )


def code_bits(levels: Sequence[LevelUsage], spec: DataSpec) -> CodeBits:
    """Size of an image's codes, summed over the levels."""
    uniform, entropy = (sum(bits) for bits in zip(*((level.uniform_bits, level.entropy_bits) for level in levels), strict=True))
    pixels = spec.height * spec.width
    return CodeBits(uniform, uniform / pixels, entropy, entropy / pixels)


def _synchronize(device: torch.device) -> None:
    """Wait until the device has finished, so that wall-clock times are meaningful."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
