"""Deterministic faults of component images: what a section looks like in which something is wrong.

Images float [N, C, H, W] in units of the range. Every image gets one fault, in one component that has something in it; which, and
where, is a function of the image's number and the seed. In exclusive data, what is put somewhere covers the other components.

swap       the component is that of another image
shift      the component is moved by 2 pixels
removed    a square piece of the component is missing
displaced  a square piece of the component is moved by half of its side
missing    the component is empty
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.interfaces import DataSpec

SHIFT = 2
PIECE = 8
"""Side of a torn piece, in pixels."""
_DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0))

Fault = Callable[[Tensor, int, int, torch.Generator], Tensor]
"""From all images, the number of one, a component and a source of randomness to that component [H, W] with a fault."""


def swapped(images: Tensor, number: int, component: int, generator: torch.Generator) -> Tensor:
    """The component of the first other image, in a random order, in which it differs."""
    own = images[number, component]
    for other in torch.randperm(len(images), generator=generator).tolist():
        if not torch.equal(images[other, component], own):
            return images[other, component]
    return own


def shifted(images: Tensor, number: int, component: int, generator: torch.Generator) -> Tensor:
    """The component moved by `SHIFT` pixels in a random direction."""
    return _moved(images[number, component], *_direction(generator, SHIFT))


def removed(images: Tensor, number: int, component: int, generator: torch.Generator) -> Tensor:
    """The component without a piece."""
    own = images[number, component]
    return torch.where(_piece(own, generator), own.min(), own)


def displaced(images: Tensor, number: int, component: int, generator: torch.Generator) -> Tensor:
    """The component with a piece of it moved."""
    own = images[number, component]
    piece = _piece(own, generator)
    step = _direction(generator, PIECE // 2)
    there = _moved(piece.to(own), *step) > 0
    return torch.where(there, torch.maximum(_moved(own, *step), own), torch.where(piece, own.min(), own))


def missing(images: Tensor, number: int, component: int, generator: torch.Generator) -> Tensor:
    """Nothing of the component: its lowest value everywhere."""
    del generator
    own = images[number, component]
    return torch.full_like(own, float(own.min()))


FAULTS: dict[str, Fault] = {"swap": swapped, "shift": shifted, "removed": removed, "displaced": displaced, "missing": missing}


def with_fault(name: str, images: Tensor, spec: DataSpec, seed: int = 0) -> Tensor:
    """All images with the named fault; one whose components are all empty is left as it is."""
    changed = images.clone()
    for number, image in enumerate(images):
        generator = generator_for(seed, "fault", name, number)
        shown = (image.flatten(1).amax(dim=1) > image.flatten(1).amin(dim=1)).nonzero().flatten()
        if not len(shown):
            continue
        component = int(shown[torch.randint(len(shown), (), generator=generator)])
        new = FAULTS[name](images, number, component, generator)
        changed[number, component] = new
        if spec.exclusive:
            others = torch.arange(len(image)) != component
            changed[number, others] = torch.where(new > 0, 0, image[others])
    return changed


def smoothed(images: Tensor, side: int) -> Tensor:
    """Images in which every pixel is the mean of `side` x `side` pixels (odd), which makes them simpler than any real one."""
    padded = F.pad(images, [side // 2] * 4, mode="replicate")
    return F.avg_pool2d(padded, side, stride=1)


def _direction(generator: torch.Generator, length: int) -> tuple[int, int]:
    down, right = _DIRECTIONS[int(torch.randint(len(_DIRECTIONS), (), generator=generator))]
    return down * length, right * length


def _piece(component: Tensor, generator: torch.Generator) -> Tensor:
    """A square around a random pixel that is not of the lowest value, bool [H, W]."""
    rows, columns = (component > component.min()).nonzero(as_tuple=True)
    chosen = int(torch.randint(len(rows), (), generator=generator))
    top, left = (int(each[chosen]) - PIECE // 2 for each in (rows, columns))
    piece = torch.zeros_like(component, dtype=torch.bool)
    piece[max(0, top) : top + PIECE, max(0, left) : left + PIECE] = True
    return piece


def _moved(component: Tensor, down: int, right: int) -> Tensor:
    """The component moved by whole pixels, with its lowest value where it came from."""
    height, width = component.shape
    moved = torch.full_like(component, float(component.min()))
    source = component[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    moved[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)] = source
    return moved
