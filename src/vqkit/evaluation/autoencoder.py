"""How good a model is on held-out images: seen whole, and with parts of them missing.

Errors are measured on the missing part alone, per keep-set; from full input, on everything. Holes of pixels are a function of the
image's position in the split, so that every model fills in the same ones. docs/evaluation.md explains every figure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.core import distributed
from vqkit.core.randomness import generator_for
from vqkit.data.masking import observed_components, sample_pixels
from vqkit.data.subsets import align_conditions
from vqkit.errors import ConfigError, did_you_mean
from vqkit.evaluation.bounds import Bounds, measure_bounds, with_prior
from vqkit.evaluation.feature_distances import FeatureDistances
from vqkit.evaluation.held_out import Progress, described_data, numbered_batches, open_split, silent
from vqkit.evaluation.metrics import ErrorMeter, Errors, VarianceMeter, code_histogram, entropy_bits, perplexity, usage
from vqkit.inference.postprocess import settle
from vqkit.interfaces import Autoencoder, Batch, Codes, DataSpec, Tokenizer
from vqkit.storage.checkpoints import Loaded, load_model

HoleKind = Literal["boxes", "free-form", "half"]
HOLE_KINDS: tuple[HoleKind, ...] = ("boxes", "free-form", "half")
HOLES_AT_ONCE = 64
"""Holes drawn from one generator, whatever the batch size."""
MOST_KEEP_SETS = 6
"""Components up to which each is also kept alone by default; with more, each is only left out."""


class MaskScenario(NamedTuple):
    """What a model is given: the components at the positions `keep`, outside of `holes` of a kind if there are any."""

    name: str
    keep: tuple[int, ...]
    holes: HoleKind | None = None

    def observed(self, first: int, shape: tuple[int, int, int, int]) -> Tensor:
        """bool [B, C, H, W] for images whose first is number `first` of its split."""
        observed = observed_components(list(self.keep), shape)
        return observed if self.holes is None else observed & fixed_holes(self.holes, first, shape)


@dataclass(frozen=True)
class ScenarioMetrics:
    """Errors in one scenario, on what was missing (on everything where nothing was).

    `mse` over all pixels; `psnr` (decibels), `ssim`, `iou` and `dice` of each image, averaged over images. `iou` and `dice` by
    component, and `mean_iou` and `mean_dice` over these components: empty and None for data that are not binary.
    """

    name: str
    keep: tuple[str, ...]
    missing: tuple[str, ...]
    holes: HoleKind | None
    mse: float
    psnr: float
    ssim: float
    iou: dict[str, float]
    dice: dict[str, float]
    mean_iou: float | None
    mean_dice: float | None


@dataclass(frozen=True)
class LevelUse:
    """Use of one level's codes over the split, from full input: how many of its codes, as a share, and exp(entropy).

    Bits of an image are summed over the `grid` (h, w): `uniform_bits` at log2 K a code, as it takes to store them plainly;
    `entropy_bits` at the entropy of the codes over the split, the least that a lossless code takes that knows how often each code
    occurs and nothing else.
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
    """What the codes of an image take, all levels together: see `LevelUse`; a pixel counts once, however many components it has."""

    uniform_bits_per_image: float
    uniform_bits_per_pixel: float
    entropy_bits_per_image: float
    entropy_bits_per_pixel: float


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a split.

    `full`: from full input, on everything; `parts`: one for each keep-set or kind of holes; `variance` of all pixels and
    channels of the evaluated images, and `relative_error` = `full.mse` / `variance` (None where all pixels are equal);
    `conditions`: whether the model was told them; `levels` is empty, and `bits` None, for models without codes; `distances`: FID
    and LPIPS from full input, and `bounds` on the probability of an image, where they were asked for; `images_per_second`: images
    a second of wall clock through the whole model in batches, reading excluded.
    """

    run: str
    model: str
    digest: str
    data: dict[str, Any]
    split: str
    images: int
    conditions: bool
    full: ScenarioMetrics
    parts: tuple[ScenarioMetrics, ...]
    variance: float
    relative_error: float | None
    levels: tuple[LevelUse, ...]
    bits: CodeBits | None
    distances: dict[str, float]
    bounds: Bounds | None
    images_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "bounds": self.bounds and self.bounds.to_json()}


def evaluate(
    run: str | Path | Loaded | None = None,
    data: str | NamedOptions | None = None,
    split: str = "test",
    keeps: Sequence[Sequence[str]] | None = None,
    holes: str | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    use_conditions: bool = False,
    fid: bool = False,
    lpips: bool = False,
    bound_samples: int | None = None,
    device: torch.device = torch.device("cpu"),
    progress: Progress = silent,
) -> Evaluation:
    """Measure a model on a split.

    `run`: what `load_model` takes, or its result (then `device` is where that model is); `data`: default, what the model was
    trained on; `keeps` and `holes`: see `scenarios`; `limit`: only so many images; `use_conditions`: tell the model
    the conditions, which are unknown to it otherwise; `fid` and `lpips`: see `FeatureDistances`; `bound_samples`: draws an image
    for bounds on its probability, None for no bounds (see `measure_bounds`); `progress`: how to show how far it is.

    Raises `CheckpointError` for a run that cannot be used, `DataError` for data that do not fit the model, and `ConfigError` for a
    wrong split, component or kind of holes, a network that cannot be had, or bounds of a model under which images have none.
    """
    loaded = run if isinstance(run, Loaded) else load_model(run, device)
    images = open_split(loaded, data, split, limit)
    chosen = scenarios(images.spec, keeps, holes)
    distances = FeatureDistances(images.spec, len(images), fid, lpips, device)
    bounds = None
    if bound_samples is not None:  # first: a model without bounds is refused before anything takes time
        generative = with_prior(loaded.model)
        bounds = measure_bounds(generative, images, bound_samples, 0, use_conditions, device, progress)
    measurement = _Measurement(loaded.model, chosen, use_conditions, distances, device)
    for first, batch in numbered_batches(images, batch_size, progress):
        measurement.add(first, align_conditions(batch.to(device), images.spec, loaded.model.spec))
    full, *parts = measurement.figures()
    variance = measurement.variance.result()
    levels = measurement.levels()
    return Evaluation(
        run=str(loaded.path),
        model=loaded.header.get("name", type(loaded.model).__name__),
        digest=loaded.digest,
        data=described_data(loaded, data),
        split=split,
        images=len(images),
        conditions=use_conditions,
        full=full,
        parts=tuple(parts),
        variance=variance,
        relative_error=full.mse / variance if variance > 0 else None,
        levels=levels,
        bits=code_bits(levels, loaded.model.spec) if levels else None,
        distances=distances.result(),
        bounds=bounds,
        images_per_second=measurement.images_per_second(),
    )


class _Measurement:
    """Everything that is summed while a model goes through a split."""

    def __init__(
        self,
        model: Autoencoder,
        chosen: Sequence[MaskScenario],
        use_conditions: bool,
        distances: FeatureDistances,
        device: torch.device,
    ) -> None:
        self.model, self.scenarios, self.use_conditions, self.device = model, chosen, use_conditions, device
        self.distances = distances
        binary = model.spec.value_kind == "binary"
        self.meters = [ErrorMeter(len(model.spec.components), binary, device) for _ in chosen]
        self.variance = VarianceMeter(device)
        cardinalities = model.cardinalities if isinstance(model, Tokenizer) else ()
        self.counts = [torch.zeros(size, dtype=torch.int64, device=device) for size in cardinalities]
        self.passes, self.seconds = 0, 0.0

    @torch.inference_mode()
    def add(self, first: int, batch: Batch) -> None:
        """Take in a batch on the device, whose first image is number `first` of the split."""
        images = batch.images
        count, components, height, width = images.shape
        conditions = batch.conditions if self.use_conditions else torch.full_like(batch.conditions, torch.nan)
        self.variance.add(images)
        for scenario, meter in zip(self.scenarios, self.meters, strict=True):
            observed = scenario.observed(first, (count, components, height, width)).to(self.device)
            whole = scenario is self.scenarios[0]
            if self.passes == 0:
                self._forward(images, observed, conditions)  # the very first pass also sets things up, and is not timed
            codes, expected = self._timed(images, observed, conditions)
            if whole:
                meter.add(expected, images, final=self._final(expected, images, torch.zeros_like(observed)))
                self.distances.add(images, expected)
                for counts, level in zip(self.counts, codes, strict=True):
                    counts += code_histogram(level, len(counts))
            else:
                # The known pixels are those of the image, as in what `inpaint` gives back: SSIM's windows reach into them.
                final = self._final(expected, images, observed)
                meter.add(torch.where(observed, images, expected), images, ~observed, final)

    def _final(self, expected: Tensor, images: Tensor, observed: Tensor) -> Tensor | None:
        """The shapes that `inpaint` would give out, float [B, C, H, W]; None for intensities."""
        spec = self.model.spec
        return settle(expected, images, observed, spec) / 255 if spec.value_kind == "binary" else None

    def _timed(self, images: Tensor, observed: Tensor, conditions: Tensor) -> tuple[Codes, Tensor]:
        _finish(self.device)
        start = time.perf_counter()
        result = self._forward(images, observed, conditions)
        _finish(self.device)
        self.seconds += time.perf_counter() - start
        self.passes += len(images)
        return result

    def _forward(self, images: Tensor, observed: Tensor, conditions: Tensor) -> tuple[Codes, Tensor]:
        """Codes (none for a continuous model) and expected images, in one pass."""
        if not isinstance(self.model, Tokenizer):
            return (), self.model.reconstruct(images, observed, conditions)
        codes = self.model.encode(images, observed)
        return codes, self.model.decode(codes, conditions)

    def figures(self) -> list[ScenarioMetrics]:
        """Of each scenario, over all processes."""
        results = zip(self.scenarios, self.meters, strict=True)
        return [_figures(scenario, meter.result(), self.model.spec) for scenario, meter in results]

    def levels(self) -> tuple[LevelUse, ...]:
        """Use of the codes, over all processes."""
        if not isinstance(self.model, Tokenizer):
            return ()
        distributed.all_reduce(*self.counts)
        levels = zip(self.model.level_names, self.model.code_shapes, self.counts, strict=True)
        return tuple(level_use(name, grid, counts) for name, grid, counts in levels)

    def images_per_second(self) -> float:
        """Of all processes together."""
        rate = torch.tensor(self.passes / max(self.seconds, 1e-9), dtype=torch.float64, device=self.device)
        distributed.all_reduce(rate)
        return float(rate)


def scenarios(spec: DataSpec, keeps: Sequence[Sequence[str]] | None = None, holes: str | None = None) -> list[MaskScenario]:
    """Full input first, then every keep-set, then holes.

    `keeps`: keep-sets by component names, none where it is empty; by default each component alone and all but each (with more
    than `MOST_KEEP_SETS` components only the latter), for colour pictures each channel alone. `holes`: boxes, free-form, half or
    none; by default boxes for colour pictures and for images of one component, and none where there are `keeps`.
    Raises `ConfigError` for an unknown name, or for a keep-set with nothing in it or nothing missing.
    """
    count = len(spec.components)
    everything = tuple(range(count))
    chosen = [MaskScenario("full input", everything)]
    if keeps is not None:
        sets = [_keep_set(spec, names) for names in keeps]
    else:
        alone = [(position,) for position in everything] if 1 < count <= MOST_KEEP_SETS else []
        without = [everything[:position] + everything[position + 1 :] for position in everything]
        sets = alone + (without if count > 2 and not spec.is_colour else [])
    chosen += [MaskScenario(_name(spec, positions), positions) for positions in dict.fromkeys(sets)]
    if holes is None:
        holes = "none" if keeps or not (spec.is_colour or count == 1) else "boxes"
    if holes != "none":
        chosen.append(MaskScenario(f"{holes} missing", everything, _hole_kind(holes)))
    return chosen


def fixed_holes(kind: HoleKind, first: int, shape: tuple[int, int, int, int]) -> Tensor:
    """Holes that belong to the images' positions in their split, of which the first is `first`: bool [B, 1, H, W], False inside."""
    count, _, height, width = shape
    blocks = range(first // HOLES_AT_ONCE, (first + count - 1) // HOLES_AT_ONCE + 1)
    size = (HOLES_AT_ONCE, 1, height, width)
    drawn = torch.cat([sample_pixels(size, kind, generator_for("evaluation holes", kind, block)) for block in blocks])
    start = first - blocks.start * HOLES_AT_ONCE
    return drawn[start : start + count]


def level_use(name: str, grid: tuple[int, int], counts: Tensor) -> LevelUse:
    """Use of one level's codes, of counts int64 [K]."""
    num_codes, positions = len(counts), grid[0] * grid[1]
    return LevelUse(
        name=name,
        grid=grid,
        num_codes=num_codes,
        used=int((counts > 0).sum()),
        usage=float(usage(counts)),
        perplexity=float(perplexity(counts)),
        uniform_bits=positions * math.log2(num_codes),
        entropy_bits=positions * float(entropy_bits(counts)),
    )


def code_bits(levels: Sequence[LevelUse], spec: DataSpec) -> CodeBits:
    """What the codes of an image take, summed over the levels."""
    uniform, entropy = (sum(bits) for bits in zip(*((level.uniform_bits, level.entropy_bits) for level in levels), strict=True))
    pixels = spec.height * spec.width
    return CodeBits(uniform, uniform / pixels, entropy, entropy / pixels)


def _keep_set(spec: DataSpec, names: Sequence[str]) -> tuple[int, ...]:
    positions = tuple(sorted(set(spec.component_indices(list(names)))))
    if not positions or len(positions) == len(spec.components):
        what = "nothing" if not positions else "everything"
        raise ConfigError(
            f"The keep-set '{','.join(names)}' keeps {what}: some components must be kept and some be missing.",
            f"The components are {', '.join(spec.components)}.",
        )
    return positions


def _name(spec: DataSpec, keep: tuple[int, ...]) -> str:
    """`keep a,b`, or `all but c` where that is shorter."""
    missing = [name for position, name in enumerate(spec.components) if position not in keep]
    if len(missing) == 1 and len(keep) > 1:
        return f"all but {missing[0]}"
    return f"keep {','.join(spec.components[position] for position in keep)}"


def _hole_kind(name: str) -> HoleKind:
    for kind in HOLE_KINDS:
        if kind == name:
            return kind
    raise ConfigError(f"There is no kind of holes '{name}'.", did_you_mean(name, (*HOLE_KINDS, "none")))


def _figures(scenario: MaskScenario, errors: Errors, spec: DataSpec) -> ScenarioMetrics:
    """Errors with the names of components. What was never judged (a component that was kept) is left out."""
    keep = tuple(spec.components[position] for position in scenario.keep)
    missing = tuple(name for name in spec.components if name not in keep)
    iou, dice = (
        {name: value for name, value in zip(spec.components, values, strict=True) if not math.isnan(value)}
        for values in (errors.iou or (math.nan,) * len(spec.components), errors.dice or (math.nan,) * len(spec.components))
    )
    means = [sum(values.values()) / len(values) if values else None for values in (iou, dice)]
    return ScenarioMetrics(scenario.name, keep, missing, scenario.holes, errors.mse, errors.psnr, errors.ssim, iou, dice, *means)


def _finish(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that the clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
