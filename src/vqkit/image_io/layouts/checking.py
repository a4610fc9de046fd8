"""What is wrong with the components of a set: some that no image has, and splits that differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vqkit.errors import DataError, did_you_mean
from vqkit.image_io.layouts.found import FoundImage
from vqkit.interfaces import SplitName


def check_components(found: Collection[str], others: Sequence[str], wanted: Sequence[str], root: Path) -> None:
    """Raise `DataError` when no image has one of the components that are wanted. `others`: components that are not wanted."""
    absent = [name for name in wanted if name not in found]
    if absent:
        several = "s" if len(absent) > 1 else ""
        raise DataError(
            f"No image in {root} has the component{several} {', '.join(absent)}.",
            f"{did_you_mean(absent[0], [*found, *others])} Choose them with data.components.",
        )


def check_splits(splits: Mapping[SplitName, Sequence[FoundImage]], components: Sequence[str], root: Path) -> None:
    """Raise `DataError` when a split lacks a component that all images of another split have.

    Where that one has gaps too, a small split may lack it by chance.
    """
    held = {split: {name for image in images for name in image.members} for split, images in splits.items()}
    for name in components:
        without = [split for split in splits if name not in held[split]]
        complete = [split for split, images in splits.items() if all(name in image.members for image in images)]
        if without and (complete or "train" in without):
            parts = [f"{split} has {', '.join(each for each in components if each in held[split])}" for split in splits]
            raise DataError(
                f"The splits of {root} have different components: {'; '.join(parts)}.",
                "Give their folders or files the same names, or choose components that all splits have with data.components.",
            )
