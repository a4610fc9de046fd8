"""What each level of codes carries by itself, in pictures and decibels.

A level is silenced by giving the decoder, at each position, the mean over a data set of what that level adds there, in place of
what it adds for the image: that says nothing about the image. A fixed code would say something, for the most frequent codes of a
fine level paint one and the same object into every picture, and so would the codes of other images. Where the decoder was trained
to do without a level, that level is silenced as it was in training (`CodingModel.silence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqkit.data.subsets import evenly_spaced
from vqkit.evaluation.held_out import Progress, silent
from vqkit.evaluation.metrics import mean_squared_error, peak_signal_to_noise
from vqkit.image_io.pictures import composite, rows_figure
from vqkit.interfaces import Codes, Split, Tokenizer
from vqkit.models.coding import CodingModel

IMAGES_MEASURED = 1000
"""Images, spread evenly over the split, that the figures are means over."""
_IMAGES_DRAWN = 8


@dataclass(frozen=True)
class LevelsShare:
    """What some of the levels carry without the others: `psnr` in decibels of images decoded from them, averaged over `images`."""

    name: str
    levels: tuple[str, ...]
    images: int
    psnr: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def in_parts(model: Tokenizer) -> CodingModel | None:
    """The model, if it has several levels whose parts can be told apart; else None."""
    return model if isinstance(model, CodingModel) and len(model.level_names) > 1 else None


@torch.inference_mode()
def silent_parts(model: CodingModel, levels: Codes, batch_size: int, device: torch.device) -> tuple[Tensor, ...]:
    """What stands for each level where it is silent, float32 [1, D, h, w], of the codes int [N, h, w] of N images."""
    sums: list[Tensor] | None = None
    for codes in zip(*(torch.split(level, batch_size) for level in levels), strict=True):
        parts = [part.sum(0, keepdim=True, dtype=torch.float64) for part in model.parts(_indices(codes, device))]
        sums = parts if sums is None else [total + part for total, part in zip(sums, parts, strict=True)]
    return model.silence([(total / len(levels[0])).float() for total in sums or []])


@torch.inference_mode()
def level_shares(
    model: CodingModel,
    images: Split,
    levels: Codes,
    silences: Sequence[Tensor],
    batch_size: int,
    device: torch.device,
    progress: Progress = silent,
) -> list[LevelsShare]:
    """PSNR of all levels, of each alone, of all but each, and of none, over up to `IMAGES_MEASURED` images.

    `levels`: codes int [N, h, w] of the images of the split; `silences`: see `silent_parts`.
    """
    choices = speaking(model.level_names)
    chosen = evenly_spaced(len(images), IMAGES_MEASURED)
    sums = dict.fromkeys(choices, 0.0)
    with progress(len(chosen)) as advance:
        for positions in torch.split(chosen, batch_size):
            shown = images.batch(positions).to(device).images
            parts = model.parts(_indices([level[positions] for level in levels], device))
            for name, speaks in choices.items():
                decoded = decode_some(model, parts, silences, speaks)
                sums[name] += float(peak_signal_to_noise(mean_squared_error(decoded, shown)).sum())
            advance(len(positions))
    names = model.level_names
    return [
        LevelsShare(name, tuple(names[level] for level in sorted(speaks)), len(chosen), sums[name] / len(chosen))
        for name, speaks in choices.items()
    ]


@torch.inference_mode()
def draw_levels_alone(
    model: CodingModel, images: Split, levels: Codes, silences: Sequence[Tensor], device: torch.device
) -> Image.Image:
    """A figure of a few images of the split: as they are, decoded from all levels, and from each level alone."""
    chosen = evenly_spaced(len(images), _IMAGES_DRAWN)
    parts = model.parts(_indices([level[chosen] for level in levels], device))
    rows = [("original", composite(images.batch(chosen).images, model.spec))]
    for name, speaks in speaking(model.level_names).items():
        if len(speaks) in (1, len(levels)):
            rows.append((name, composite(decode_some(model, parts, silences, speaks).cpu(), model.spec)))
    return rows_figure(rows)


def speaking(names: Sequence[str]) -> dict[str, frozenset[int]]:
    """Which of the levels speak, by a name for it: all, each alone, all but each (where that is something else), none."""
    everyone = frozenset(range(len(names)))
    choices = {"all levels": everyone}
    choices |= {f"{name} alone": frozenset({level}) for level, name in enumerate(names)}
    if len(names) > 2:
        choices |= {f"all but {name}": everyone - {level} for level, name in enumerate(names)}
    return {**choices, "none": frozenset()}


def decode_some(model: CodingModel, parts: Sequence[Tensor], silences: Sequence[Tensor], speaks: frozenset[int]) -> Tensor:
    """Expected images [B, C, H, W] when only some levels speak, of the parts [B, D, h, w] of all; conditions are unknown."""
    said = [part if level in speaks else silences[level].expand_as(part) for level, part in enumerate(parts)]
    unknown = torch.full((len(parts[0]), len(model.spec.conditions)), torch.nan, device=parts[0].device)
    return model.decode_parts(said, unknown)


def _indices(codes: Sequence[Tensor], device: torch.device) -> Codes:
    return tuple(level.to(device, torch.int64) for level in codes)
