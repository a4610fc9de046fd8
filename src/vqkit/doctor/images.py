"""The images for the checks: held-out images if the data set is available, random ones otherwise.

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
from vqkit.doctor.checks import Outcome, ok, warning
from vqkit.errors import VQKitError
from vqkit.evaluation.held_out import open_split
from vqkit.interfaces import Batch, DataSpec, Split
from vqkit.storage.checkpoints import Loaded
from vqkit.training.tasks.masks import fixed_observed, resolve_mask_kind

MAX_IMAGES = 1000
"""Largest number of held-out images that a check uses."""


class HeldOutImages(NamedTuple):
    """Images that a model was not trained on, and the outcome of opening them; without a `split`, the images are random."""

    split: Split | None
    spec: DataSpec
    outcome: Outcome

    def batch(self, count: int) -> Batch:
        """The first `count` images, stored values [B, C, H, W], with the conditions in the order of the model."""
        if self.split is None:
            unknown = self.spec.unknown_conditions(count)
            return Batch(random_images(self.spec, count), unknown, torch.full((count,), -1))
        batch = self.split.batch(torch.arange(min(count, len(self.split))))
        return align_conditions(batch, self.split.spec, self.spec)


def held_out_images(loaded: Loaded, data: NamedOptions) -> HeldOutImages:
    """The test images of the data set `data`, or its validation images if it has no test split."""
    reasons = []
    for name in ("test", "val"):
        try:
            split = open_split(loaded, data, name, MAX_IMAGES)
        except VQKitError as error:
            reasons.append(error.message)
        else:
            return HeldOutImages(split, loaded.model.spec, ok(f"{len(split)} images of {data.name}, {name} split"))
    return HeldOutImages(
        None, loaded.model.spec, warning(f"{reasons[0]} Random shapes are used instead; checks that need data are skipped.")
    )


def random_images(spec: DataSpec, count: int) -> Tensor:
    """Stored images [count, C, H, W] with a random box in each component; the same images at every call."""
    components = len(spec.components)
    outside = sample_pixels((count * components, 1, spec.height, spec.width), "boxes", generator_for(0, "doctor", "boxes"))
    inside = (~outside).view(count, components, spec.height, spec.width)
    if spec.exclusive:
        inside &= inside.cumsum(dim=1) == 1  # where boxes overlap, the first component wins
    return spec.from_unit(inside.float())


def observed_mask(batch: Batch, spec: DataSpec) -> Tensor:
    """Which pixels of a batch are observed when a part is hidden as in training: bool [B, C, H, W]."""
    return fixed_observed(batch, resolve_mask_kind(HolesConfig(), spec), 0, 0)
