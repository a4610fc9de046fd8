"""What is hidden of the images when a model is evaluated: sets of components that are kept, and masks of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.data.masking import observed_components, sample_pixels
from vqkit.errors import ConfigError, did_you_mean
from vqkit.interfaces import DataSpec

MaskKind = Literal["boxes", "free-form", "half"]
MASK_KINDS: tuple[MaskKind, ...] = ("boxes", "free-form", "half")
_BLOCK = 64
"""Masks drawn from one generator, whatever the batch size."""
MOST_KEEP_SETS = 6
"""Components up to which each is also kept alone by default; with more, each is only left out."""


class MaskScenario(NamedTuple):
    """What a model observes of an image: the components at the indices `keep`, outside of a mask of `mask_kind`, if any."""

    name: str
    keep: tuple[int, ...]
    mask_kind: MaskKind | None = None

    def observed(self, positions: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """What is observed of a batch: bool [B, C, H, W] on the CPU.

        `positions` int64 [B]: the images' positions in their whole split, on which alone a mask depends; `shape`: (B, C, H, W).
        """
        count, components, height, width = shape
        observed = observed_components(list(self.keep), (count, components, height, width))
        return observed if self.mask_kind is None else observed & fixed_masks(self.mask_kind, positions, height, width)

    def judged(self, present: Tensor, observed: Tensor) -> Tensor:
        """Where errors count, bool [B, C, H, W]: on what is `present` and not `observed`, bool of that shape; on everything present
        where nothing is hidden.

        Nothing is judged in an image that does not hold every kept component: it cannot show how well they tell the others.
        """
        if self.mask_kind is not None:
            return present & ~observed
        if len(self.keep) == present.shape[1]:
            return present
        held = present.flatten(2).any(dim=2)[:, list(self.keep)].all(dim=1)
        return held[:, None, None, None] & present & ~observed


def mask_scenarios(
    spec: DataSpec, keep_sets: Sequence[Sequence[str]] | None = None, mask_kind: str | None = None
) -> list[MaskScenario]:
    """Full input first, then every keep-set, then masked pixels.

    `keep_sets`: names of components that are kept together, an empty sequence for no such scenario. Default: each component alone
    and all but each (only the latter with more than `MOST_KEEP_SETS` components), for colour images each channel alone.
    `mask_kind`: boxes, free-form, half or none. Default: boxes for colour images and for images of one component, and none where
    `keep_sets` are given.

    Raises `ConfigError` for an unknown name, and for a keep-set that keeps nothing or everything.
    """
    count = len(spec.components)
    everything = tuple(range(count))
    chosen = [MaskScenario("full input", everything)]
    if keep_sets is not None:
        sets = [_keep_set(spec, names) for names in keep_sets]
    else:
        alone = [(component,) for component in everything] if 1 < count <= MOST_KEEP_SETS else []
        without = [everything[:component] + everything[component + 1 :] for component in everything]
        sets = alone + (without if count > 2 and not spec.is_colour else [])
    chosen += [MaskScenario(_name(spec, kept), kept) for kept in dict.fromkeys(sets)]
    if mask_kind is None:
        mask_kind = "none" if keep_sets or not (spec.is_colour or count == 1) else "boxes"
    if mask_kind != "none":
        chosen.append(MaskScenario(f"{mask_kind} missing", everything, _mask_kind(mask_kind)))
    return chosen


def fixed_masks(kind: MaskKind, positions: Tensor, height: int, width: int) -> Tensor:
    """The masks of the images at these positions of a split (int64 [B]): bool [B, 1, H, W], False where pixels are missing.

    Every image has one mask of each kind, in whatever subset, order or batches a split is read.
    """
    blocks = positions // _BLOCK
    masks = torch.empty(len(positions), 1, height, width, dtype=torch.bool)
    for block in sorted(set(blocks.tolist())):
        inside = blocks == block
        generator = generator_for("evaluation holes", kind, block)
        masks[inside] = sample_pixels((_BLOCK, 1, height, width), kind, generator, rows=positions[inside] % _BLOCK)
    return masks


def _keep_set(spec: DataSpec, names: Sequence[str]) -> tuple[int, ...]:
    positions = tuple(sorted(set(spec.component_indices(spec.named_components(names)))))
    if not positions or len(positions) == len(spec.components):
        what = "nothing" if not positions else "everything"
        raise ConfigError(
            f"The keep-set '{','.join(names)}' keeps {what}: some components must be kept and others missing.",
            f"The components are {', '.join(spec.components)}.",
        )
    return positions


def _name(spec: DataSpec, keep: tuple[int, ...]) -> str:
    """`keep a,b`, or `all but c` where that is much shorter."""
    missing = [name for position, name in enumerate(spec.components) if position not in keep]
    if (len(missing) == 1 and len(keep) > 1) or 3 * len(missing) <= len(keep):
        return f"all but {','.join(missing)}"
    return f"keep {','.join(spec.components[position] for position in keep)}"


def _mask_kind(name: str) -> MaskKind:
    for kind in MASK_KINDS:
        if kind == name:
            return kind
    raise ConfigError(f"There is no mask kind '{name}'.", did_you_mean(name, (*MASK_KINDS, "none")))
