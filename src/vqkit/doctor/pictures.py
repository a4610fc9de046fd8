"""The images that checks are made on: held-out ones where the data are at hand, random ones otherwise.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.config import HolesConfig, NamedOptions
from vqkit.core.randomness import generator_for
from vqkit.data.masking import sample_pixels
from vqkit.data.subsets import align_conditions
from vqkit.doctor.checks import Verdict, ok, warning
from vqkit.errors import VQKitError
from vqkit.evaluation.held_out import open_split
from vqkit.interfaces import Batch, DataSpec, Split
from vqkit.storage.checkpoints import Loaded
from vqkit.training.tasks.task import fixed_observed, resolve_mask_kind

MOST_IMAGES = 1000
"""Images of a split that are looked at, for what needs many."""


class HeldOut(NamedTuple):
    """Images that a model has not learned from, and what to say of them; `split` is None where there are only random ones."""

    split: Split | None
    spec: DataSpec
    verdict: Verdict

    def batch(self, count: int) -> Batch:
        """The first `count` images, uint8 [B, C, H, W], with the conditions that the model knows."""
        if self.split is None:
            unknown = self.spec.unknown_conditions(count)
            return Batch(random_images(self.spec, count), unknown, torch.full((count,), -1))
        batch = self.split.batch(torch.arange(min(count, len(self.split))))
        return align_conditions(batch, self.split.spec, self.spec)


def held_out(loaded: Loaded, data: NamedOptions) -> HeldOut:
    """The test images of `data`, or the validation images where there are no others, for this model."""
    reasons = []
    for name in ("test", "val"):
        try:
            split = open_split(loaded, data, name, MOST_IMAGES)
        except VQKitError as error:
            reasons.append(error.message)
        else:
            return HeldOut(split, loaded.model.spec, ok(f"{len(split)} images of {data.name}, {name} split"))
    return HeldOut(None, loaded.model.spec, warning(f"{reasons[0]} Random shapes are used, and what needs data is skipped."))


def random_images(spec: DataSpec, count: int) -> Tensor:
    """Images uint8 [count, C, H, W] with a random box in each component, always the same ones."""
    components = len(spec.components)
    outside = sample_pixels((count * components, 1, spec.height, spec.width), "boxes", generator_for(0, "doctor", "boxes"))
    inside = (~outside).view(count, components, spec.height, spec.width)
    if spec.exclusive:
        inside &= inside.cumsum(dim=1) == 1  # where boxes meet, the first one is in front
    return inside.to(torch.uint8) * 255


def hidden_part(images: Tensor, spec: DataSpec) -> Tensor:
    """What is known of each image [B, C, H, W] when a part of it is hidden as in training: bool [B, C, H, W]."""
    return fixed_observed(images, resolve_mask_kind(HolesConfig(), spec), 0, 0)
