"""Random variants of training images: mirrored left to right, turned, and shifted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from vqkit.core.distributed import local_chunk, world_size
from vqkit.errors import ConfigError
from vqkit.interfaces import Batch, DataSpec, SplitName

Flip = Annotated[bool, Field(description="Mirror half of the training images left to right.")]
"""The setting `flip` of a data set."""

Crop = Annotated[
    int, Field(ge=0, description="Shift training images by up to this many pixels in each direction; borders are mirrored.")
]
"""The setting `crop` of a data set."""


Turn = Annotated[
    bool,
    Field(
        description="Turn training images by random multiples of 90 degrees (by 180 where they are not square): for what has no "
        "upper side, such as cells and land seen from above."
    ),
]
"""The setting `turn` of a data set."""


class Augmentation(NamedTuple):
    """Half of the images mirrored if `flip`, all shifted by up to `crop` pixels (see `shift`), and turned if `turn`."""

    flip: bool = False
    crop: int = 0
    turn: bool = False

    def of(self, split: SplitName) -> Augmentation:
        """What is done to the images of a split: nothing outside of training."""
        return self if split == "train" else Augmentation()

    def check(self, spec: DataSpec) -> None:
        """Raise `ConfigError` unless images can be shifted so far."""
        if self.crop >= min(spec.height, spec.width):
            raise ConfigError(
                f"data.crop = {self.crop} shifts images of {spec.height} x {spec.width} (height x width) out of sight.",
                f"It must be below {min(spec.height, spec.width)}; an eighth of the size is usual.",
            )

    def apply(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A random variant of each image of a batch, and of what is present of it.

        Variants are drawn for the batch of all processes, so that they do not depend on their number.
        """
        count = len(batch.images) * world_size()
        if self.flip:
            flipped = local_chunk(torch.rand(count, generator=generator) < 0.5)
            batch = _changed(batch, lambda images: flip(images, flipped))
        if self.turn:
            square = batch.images.shape[-2] == batch.images.shape[-1]
            turns = local_chunk(torch.randint(4, (count,), generator=generator))
            batch = _changed(batch, lambda images: turn(images, turns if square else turns // 2 * 2))
        if self.crop:
            drawn = torch.randint(-self.crop, self.crop + 1, (2, count, 1), generator=generator)
            shifts = local_chunk(drawn.movedim(0, 1)).movedim(1, 0)
            batch = _changed(batch, lambda images: shift(images, shifts))
        return batch


def _changed(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with its images, and what is present of them pixel by pixel, changed."""
    if batch.present is None:
        return batch._replace(images=change(batch.images))
    return batch._replace(images=change(batch.images), present=change(batch.observed))


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """The images [B, C, H, W] that are `flipped` (bool [B]), mirrored left to right."""
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(-1), images)


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Each image [B, C, H, W] turned by its number of quarter `turns`, int64 [B] in 0 ... 3; even ones if it is not square."""
    number = turns.to(images.device)[:, None, None, None]
    turned = images
    for quarters in (1, 2, 3) if images.shape[-2] == images.shape[-1] else (2,):
        turned = torch.where(number == quarters, images.rot90(quarters, (-2, -1)), turned)
    return turned


def shift(images: Tensor, shifts: Tensor) -> Tensor:
    """Each image [B, C, H, W] shifted, cut out of itself with mirrored borders. `shifts`: pixels down and across, int64 [2, B, 1].

    The usual augmentation of CIFAR (He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2). They pad with
    zeros, but a model that gives back what it sees would learn black borders. The border pixels themselves are not repeated.
    """
    count, _, height, width = images.shape
    down, across = shifts.to(images.device)
    rows, columns = (
        _mirrored(torch.arange(size, device=images.device) + moved, size) for size, moved in ((height, down), (width, across))
    )
    numbers = torch.arange(count, device=images.device)
    # Where positions are looked up around a whole dimension, torch puts what they give first, and that dimension last.
    return images[numbers[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def _mirrored(positions: Tensor, size: int) -> Tensor:
    """Positions beyond 0 ... size - 1 mirrored at the first and the last of these."""
    return size - 1 - (size - 1 - positions.abs()).abs()
