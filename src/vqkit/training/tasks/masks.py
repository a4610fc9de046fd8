"""Masks of validation images, and masks that suit a data set."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from vqkit.config import HolesConfig, MaskingConfig
from vqkit.core.distributed import gather, local_chunk, parts
from vqkit.core.randomness import generator_for
from vqkit.data.masking import held_components, sample_observed, sample_parts
from vqkit.interfaces import Batch, DataSpec

Holes = TypeVar("Holes", bound=HolesConfig)


def fixed_observed(batch: Batch, holes: HolesConfig, seed: int, first: int) -> Tensor:
    """A mask of each image that depends on its number and on what is present, bool [B, C, H, W], True where the image is observed.

    `first` is the number of the first image, so that the masks do not depend on how the images are batched or distributed.
    """
    images, present = batch.images, batch.present
    count, components, height, width = images.shape
    held = None if present is None else held_components(present.cpu(), (count, components, height, width))
    drawn = [
        sample_parts(
            (1, components, height, width),
            holes,
            generator_for(seed, "validation", first + number),
            None if held is None else held[number : number + 1],
        )
        for number in range(count)
    ]
    observed = torch.cat(drawn).to(images.device)
    return observed if present is None else observed & present


class Masks(NamedTuple):
    """What the encoder sees of each image (`observed`) and what is `shown` to the decoder, bool [B, C, H, W] each."""

    observed: Tensor
    shown: Tensor


def random_masks(batch: Batch, probability: float, masking: MaskingConfig, generator: torch.Generator) -> Masks:
    """Masks of a training batch, of one of three kinds for each image.

    Not masked: the encoder sees everything and the decoder nothing, so that codes alone hold whole images. Masked, with the
    `probability`: both see the same part, as when an image is completed in one pass; or, in the share `masking.decoder_only` of
    these, the encoder sees everything.
    """
    observed = random_observed(batch, probability, masking, generator)
    whole = batch.observed
    masked = (observed != whole).flatten(1).any(dim=1)[:, None, None, None]
    count = len(batch.images) * parts()
    alone = local_chunk(torch.rand(count, generator=generator) < masking.decoder_only).to(observed.device)[:, None, None, None]
    return Masks(torch.where(alone, whole, observed), observed & masked)


def random_observed(batch: Batch, probability: float, holes: HolesConfig, generator: torch.Generator) -> Tensor:
    """A mask of each training image, bool [B, C, H, W]: see `sample_observed`. What is not present is not observed.

    Masks are drawn for the batch of all processes, so that they do not depend on their number.
    """
    images, present = batch.images, batch.present
    count, components, height, width = images.shape
    shape = (count * parts(), components, height, width)
    observed = local_chunk(sample_observed(shape, probability, holes, generator, all_held(batch))).to(images.device)
    return observed if present is None else observed & present


def all_held(batch: Batch) -> Tensor | None:
    """The components that each image of the batch of all processes holds, bool [N, C] on the CPU; None where all are present."""
    if batch.present is None:
        return None
    count, components, height, width = batch.images.shape
    mine = held_components(batch.present, (count, components, height, width)).to(torch.uint8).contiguous()
    return torch.cat(gather(mine)).bool().cpu()


def resolve_mask_kind(holes: Holes, spec: DataSpec) -> Holes:
    """The configuration with `kind: auto` resolved: components if there are several, else boxes."""
    if holes.kind != "auto":
        return holes
    return holes.model_copy(update={"kind": "components" if len(spec.components) > 1 else "boxes"})
