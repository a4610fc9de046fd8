"""Level ablation: the PSNR and the images that remain when only some levels of a hierarchical code are decoded.

A level is ablated by mean ablation: in place of its contribution for the image, the decoder gets that contribution's mean over a
data set at each position, which holds no information about the image. The codes of another image, or the most frequent code, would
be no neutral baseline: they decode to content of their own. Where the decoder was trained with level dropout, a level is replaced
as it was in training (`CodingModel.ablation_baseline`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqkit.data.subsets import evenly_spaced
from vqkit.evaluation.error_meter import measured_components
from vqkit.evaluation.metrics import mean_squared_error, peak_signal_to_noise
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite, composite_shows_all, rows_figure, stacked
from vqkit.interfaces import Codes, ShownImages, Split, Tokenizer
from vqkit.models.coding import CodingModel

IMAGES_MEASURED = 1000
"""Images, evenly spaced over the split, that the PSNR is averaged over."""
_IMAGES_DRAWN = 8


@dataclass(frozen=True)
class LevelAblation:
    """Images decoded from some `levels`, the others ablated.

    `psnr` in decibels, averaged over the `images` that hold anything; `pooled_psnr`: of the mean squared error over all pixels.
    """

    name: str
    levels: tuple[str, ...]
    images: int
    psnr: float
    pooled_psnr: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def multi_level(model: Tokenizer) -> CodingModel | None:
    """The model, if it has several levels whose contributions can be separated; else None."""
    return model if isinstance(model, CodingModel) and len(model.level_names) > 1 else None


@torch.inference_mode()
def ablation_baselines(model: CodingModel, levels: Codes, batch_size: int, device: torch.device) -> tuple[Tensor, ...]:
    """What replaces each level where it is ablated, float32 [1, D, h, w], from the codes int [N, h, w] of N images."""
    sums: list[Tensor] | None = None
    for codes in zip(*(torch.split(level, batch_size) for level in levels), strict=True):
        parts = [part.sum(0, keepdim=True, dtype=torch.float64) for part in model.level_contributions(_indices(codes, device))]
        sums = parts if sums is None else [total + part for total, part in zip(sums, parts, strict=True)]
    return model.ablation_baseline([(total / len(levels[0])).float() for total in sums or []])


@torch.inference_mode()
def measure_ablations(
    model: CodingModel,
    images: Split,
    levels: Codes,
    baselines: Sequence[Tensor],
    batch_size: int,
    device: torch.device,
    progress: Progress = no_progress,
) -> list[LevelAblation]:
    """PSNR with all levels, each level only, all but each, and none, over up to `IMAGES_MEASURED` images, on what is present.

    `levels`: codes int [N, h, w] of the images of the split; `baselines`: see `ablation_baselines`.
    """
    cases = ablation_cases(model.level_names)
    chosen = evenly_spaced(len(images), IMAGES_MEASURED)
    meters = {name: _DecibelMeter() for name in cases}
    measured = measured_components(model.spec).to(device)[:, None, None]
    with progress("decoded", len(chosen)) as advance:
        for positions in torch.split(chosen, batch_size):
            shown = images.batch(positions).to(device, model.spec)
            contributions = model.level_contributions(_indices([level[positions] for level in levels], device))
            for name, kept in cases.items():
                decoded = decode_ablated(model, contributions, baselines, kept)
                meters[name].add(decoded, shown.images, shown.observed & measured)
            advance(len(positions))
    names = model.level_names
    return [
        LevelAblation(name, tuple(names[level] for level in sorted(kept)), *meters[name].result()) for name, kept in cases.items()
    ]


class _DecibelMeter:
    """Sums squared errors over images, and their PSNR."""

    def __init__(self) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64)

    def add(self, prediction: Tensor, target: Tensor, judged: Tensor) -> None:
        pixels = judged.flatten(1).sum(1).double()
        mse = mean_squared_error(prediction, target, judged)
        psnr = peak_signal_to_noise(mse)
        rows = torch.stack([torch.ones_like(pixels), pixels, mse * pixels, psnr])
        self._sums += rows[:, pixels > 0].sum(1).cpu()

    def result(self) -> tuple[int, float, float]:
        """Images that had anything judged, their mean PSNR, and that of the mean squared error; NaN where there is no image."""
        images, pixels, squares, psnr = self._sums.tolist()
        if not images:
            return 0, math.nan, math.nan
        return int(images), psnr / images, float(peak_signal_to_noise(torch.tensor(squares / pixels)))


@torch.inference_mode()
def draw_single_levels(
    model: CodingModel, images: Split, levels: Codes, baselines: Sequence[Tensor], device: torch.device
) -> Image.Image:
    """A figure of a few images of the split: the originals, decoded from all levels, and from each level only.

    Where a composite does not show all components, those of the first image follow below.
    """
    chosen = evenly_spaced(len(images), _IMAGES_DRAWN)
    contributions = model.level_contributions(_indices([level[chosen] for level in levels], device))
    original = images.batch(chosen).to(torch.device("cpu"), model.spec)
    rows = [("original", ShownImages(original.images, original.present))]
    for name, kept in ablation_cases(model.level_names).items():
        if len(kept) in (1, len(levels)):
            rows.append((name, ShownImages(decode_ablated(model, contributions, baselines, kept).cpu())))
    sheet = rows_figure([(name, composite(shown.images, model.spec, shown.present)) for name, shown in rows])
    return sheet if composite_shows_all(model.spec) else stacked([sheet, overview(rows, model.spec)])


def ablation_cases(names: Sequence[str]) -> dict[str, frozenset[int]]:
    """Indices of the levels that are kept, by case: all, each only, all but each (with more than two levels), none."""
    everything = frozenset(range(len(names)))
    cases = {"all levels": everything}
    cases |= {f"{name} only": frozenset({level}) for level, name in enumerate(names)}
    if len(names) > 2:
        cases |= {f"all but {name}": everything - {level} for level, name in enumerate(names)}
    return {**cases, "none": frozenset()}


def decode_ablated(
    model: CodingModel, contributions: Sequence[Tensor], baselines: Sequence[Tensor], kept: frozenset[int]
) -> Tensor:
    """Expected images [B, C, H, W] from the `kept` levels, of the contributions [B, D, h, w] of all; conditions are unknown."""
    inputs = [each if level in kept else baselines[level].expand_as(each) for level, each in enumerate(contributions)]
    unknown = model.spec.unknown_conditions(len(inputs[0]), inputs[0].device)
    return model.decode_contributions(inputs, unknown)


def _indices(codes: Sequence[Tensor], device: torch.device) -> Codes:
    return tuple(level.to(device, torch.int64) for level in codes)
