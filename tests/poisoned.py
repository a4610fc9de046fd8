"""A data set with gaps in which anything may be stored, for tests of what is absent: it must not matter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.augmentation import Augmentation
from vqkit.data.splits import ArraySplit
from vqkit.interfaces import ComponentSpec, ConditionSpec, DataSpec, ImageDataset, SplitName
from vqkit.registry import DATASETS, Entry

SIZE = 16
CONDITIONS = (ConditionSpec("depth_m", 0, 1, 0.5, 0.3),)
SPECS = {
    "floats": DataSpec(
        "floats",
        (
            ComponentSpec("heat", dtype="float32", low=-20.0, high=40.0, minimum=-30.0, maximum=50.0, unit="C"),
            ComponentSpec("forest", "binary"),
            ComponentSpec("rain", dtype="float32", low=0.0, high=900.0, maximum=2000.0, transform="sqrt", unit="mm"),
        ),
        SIZE,
        SIZE,
        conditions=CONDITIONS,
    ),
    "integers": DataSpec(
        "integers",
        tuple(ComponentSpec(name, dtype="uint16", low=200.0, high=3000.0, maximum=4095.0) for name in ("b02", "b03", "b08")),
        SIZE,
        SIZE,
        conditions=CONDITIONS,
    ),
}
"""Measurements with a shape between them, of which absent pixels may be NaN, and three bands of 16 bits."""
_IMAGES: dict[SplitName, int] = {"train": 24, "val": 9, "test": 9}
_garbage = False


@contextmanager
def garbage_in_gaps() -> Iterator[None]:
    """Inside, absent pixels hold garbage: NaN, infinities and huge numbers, or all values of 16 bits. Outside, they are 0."""
    global _garbage
    _garbage = True
    try:
        yield
    finally:
        _garbage = False


class PoisonedOptions(Settings):
    """Which of the `SPECS`, and how training images are varied."""

    kind: str = "floats"
    augmented: bool = False


class Poisoned(ImageDataset):
    """Random blobs, of which components, corners and single pixels are absent."""

    Options = PoisonedOptions

    def __init__(self, options: PoisonedOptions) -> None:
        self._options = options
        self._spec = SPECS[options.kind]

    @property
    def spec(self) -> DataSpec:
        """See `ImageDataset.spec`."""
        return self._spec

    def split(self, name: SplitName) -> ArraySplit:
        """The images of a split, with or without garbage where nothing is present."""
        drawn = torch.Generator().manual_seed(len(name))
        count = _IMAGES[name]
        rough = torch.rand(count, 3, 4, 4, generator=drawn)
        unit = torch.nn.functional.interpolate(rough, size=(SIZE, SIZE), mode="bilinear")
        present = gaps(count, drawn)
        conditions = torch.rand(count, 1, generator=drawn)
        stored = self._spec.from_unit(unit)
        filler = garbage(stored, drawn) if _garbage else torch.zeros_like(stored)
        return ArraySplit(
            self._spec,
            torch.where(present, stored, filler),
            conditions,
            augmentation=Augmentation(self._options.augmented, 3 if self._options.augmented else 0).of(name),
            present=present,
        )


def gaps(count: int, drawn: torch.Generator) -> Tensor:
    """What is present, bool [count, 3, SIZE, SIZE]: half of the images lack a component, a third a corner, some single pixels."""
    present = torch.ones(count, 3, SIZE, SIZE, dtype=torch.bool)
    for image in range(count):
        if image % 2:
            present[image, int(torch.randint(3, (), generator=drawn))] = False
        if image % 3 == 0:
            present[image, :, : 4 + image % 5, -6:] = False
        if image % 4 == 0:
            present[image] &= torch.rand(3, SIZE, SIZE, generator=drawn) > 0.2
    return present


def garbage(like: Tensor, drawn: torch.Generator) -> Tensor:
    """Values that must not matter, of the type and shape of `like`."""
    if like.is_floating_point():
        values = torch.tensor([math.nan, math.inf, -math.inf, 3e38, -1e30, 7.0], dtype=like.dtype)
        return values[torch.randint(len(values), like.shape, generator=drawn)]
    return torch.randint(torch.iinfo(like.dtype).max + 1, like.shape, generator=drawn).to(like.dtype)


@pytest.fixture(scope="module")
def poisoned() -> Iterator[str]:
    """The name of the data set, which is registered while the tests of a module run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._entries, "poisoned", Entry(Poisoned, "for tests"))
        yield "poisoned"


def settings(kind: str, model: dict[str, Any], **groups: Any) -> dict[str, Any]:
    """The configuration of a run on these images that takes about a second."""
    training = {"batch_size": 8, "steps": 9, "warmup_steps": 1, "log_every": 2, "precision": "fp32", "picture_every": 2}
    base = {"data": {"name": "poisoned", "kind": kind}, "masking": {"warmup_epochs": 0}, "training": training}
    return {**base, "model": {"hidden": 8, "inner": 8, "blocks": 0, **model}, **groups}
