"""`joined`: several folders of pictures, or files of arrays, as one data set; typed as `--data cats,dogs`.

Splits are concatenated in the given order. Classes and conditions are dropped, since they may differ in meaning between the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import NamedOptions, Settings
from vqkit.data.describing import StoredComponent, TrainingValues, ValueSettings, component_specs, fitted_settings
from vqkit.data.loading import all_batches
from vqkit.data.opening import open_dataset
from vqkit.errors import DataError
from vqkit.interfaces import Batch, ComponentSpec, DataSpec, ImageDataset, Split, SplitName
from vqkit.registry import DATASETS

_BATCH = 64


@DATASETS.register("joined")
class JoinedDataset(ImageDataset):
    """Data sets of images of one size with the same components. Raises `DataError` where they differ.

    Ranges are those of the training images of all parts together.
    """

    class Options(Settings):
        """Settings of `joined`."""

        paths: tuple[str, ...] = Field(min_length=2, description="Folders or files to join.")
        settings: dict[str, Any] = Field({}, description="Settings of every part, such as height and width.")

    def __init__(self, options: Options) -> None:
        self._settings = options.settings
        self._parts = [open_dataset(NamedOptions(name=path, **options.settings)) for path in options.paths]
        first, *others = (part.spec for part in self._parts)
        for spec in others:
            _check_alike(spec, first)
        name = ",".join(part.spec.name for part in self._parts)
        self._spec = DataSpec(name, self._joint_specs(), first.height, first.width, display=first.display)

    @property
    def spec(self) -> DataSpec:
        """The common layout of all parts, and their joint ranges; the name joins theirs."""
        return self._spec

    @property
    def notes(self) -> list[str]:
        """See `ImageDataset.notes`: those of each part."""
        return [f"{part.spec.name}: {note}" for part in self._parts for note in part.notes]

    @property
    def fitted_settings(self) -> dict[str, Any]:
        """See `ImageDataset.fitted_settings`: settings of every part, with the joint ranges."""
        parts = [part.fitted_settings for part in self._parts]
        common = {key: value for key, value in {**parts[0], **fitted_settings(self.spec)}.items() if all(key in p for p in parts)}
        return {"settings": {**self._settings, **common}}

    def split(self, name: SplitName) -> Split:
        """The concatenated splits of all parts."""
        return JoinedSplit(self._spec, [part.split(name) for part in self._parts])

    def _joint_specs(self) -> tuple[ComponentSpec, ...]:
        """Components whose ranges and extremes are those of all parts; measured anew only where the parts' ranges differ."""
        columns = list(zip(*(part.spec.component_specs for part in self._parts), strict=True))
        joint = [
            replace(column[0], minimum=min(e.minimum for e in column), maximum=max(e.maximum for e in column)) for column in columns
        ]
        different = [any((each.low, each.high) != (column[0].low, column[0].high) for each in column) for column in columns]
        if not any(different):
            return tuple(joint)
        values = TrainingValues([each.dtype for each in joint])
        for part in self._parts:
            for batch in all_batches(part.split("train"), _BATCH):
                values.add(batch.images, batch.present)
        stored = [StoredComponent(each.name, each.dtype, each.unit, each.nodata) for each in joint]
        kinds = {each.name: each.kind for each in joint}
        transforms = {each.name: each.transform for each in joint}
        measured = component_specs(stored, ValueSettings(transform=transforms), kinds, values.counts)
        return tuple(new if changed else old for new, old, changed in zip(measured, joint, different, strict=True))


def _check_alike(spec: DataSpec, first: DataSpec) -> None:
    """Raise `DataError` unless two parts have the same components, of one kind, type and unit, and the same size."""
    if spec.layout != first.layout:
        raise DataError(
            f"'{spec.name}' has {spec.describe_layout()}, and '{first.name}' has {first.describe_layout()}.",
            "Scale pictures to one size with --set data.settings.height=64 --set data.settings.width=64.",
        )
    for one, other in zip(spec.component_specs, first.component_specs, strict=True):
        for what in ("dtype", "transform", "unit"):
            given, expected = getattr(one, what), getattr(other, what)
            if given != expected:
                called = "values of type" if what == "dtype" else f"the {what}"
                raise DataError(
                    f"The component {one.name} has {called} {given or 'none'} in '{spec.name}' and {expected or 'none'} in "
                    f"'{first.name}'.",
                    "Join only data whose values mean the same.",
                )
        if one.kind == "binary" and (one.low, one.high) != (other.low, other.high):
            raise DataError(
                f"The binary component {one.name} holds {one.low:g} and {one.high:g} in '{spec.name}', and {other.low:g} and "
                f"{other.high:g} in '{first.name}'.",
                "Store the same two values in both.",
            )


class JoinedSplit(Split):
    """Concatenated splits, without conditions and labels."""

    def __init__(self, spec: DataSpec, parts: Sequence[Split]) -> None:
        super().__init__(spec)
        self.parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self._has_gaps = any(part.batch(torch.arange(1)).present is not None for part in parts)

    @property
    def in_memory(self) -> bool:
        """Whether all parts are."""
        return all(part.in_memory for part in self.parts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as stored values, and what is present if that is said by any part."""
        found = self._sorted(indices)
        batches = [self.parts[number].batch(chosen) for number, chosen, _ in found]
        # Indexing puts the images back in order; not the other way round, which torch lacks for unsigned types.
        order = torch.cat([places for _, _, places in found]).argsort()
        images = torch.cat([batch.images for batch in batches])[order]
        present = torch.cat([batch.observed for batch in batches])[order] if self._has_gaps else None
        return Batch(images, torch.empty(len(indices), 0), torch.full((len(indices),), -1), present=present)

    def epoch(self, number: int) -> Split:
        """See `Split.epoch`: those of all parts."""
        parts = [part.epoch(number) for part in self.parts]
        unchanged = all(new is old for new, old in zip(parts, self.parts, strict=True))
        return self if unchanged else JoinedSplit(self.spec, parts)

    def names(self, indices: Tensor) -> list[str]:
        """The part's name, followed by its name of the image."""
        names = [""] * len(indices)
        for number, chosen, places in self._sorted(indices):
            part = self.parts[number]
            for place, name in zip(places.tolist(), part.names(chosen), strict=True):
                names[place] = f"{part.spec.name}_{name}"
        return names

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Augments as the first part does: all have the same settings."""
        return self.parts[0].augment(batch, generator)

    def _sorted(self, indices: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """For each part among `indices`: its number, the positions in it, and the corresponding places in the batch."""
        owners = torch.bucketize(indices, self._ends, right=True)
        starts = torch.cat([self._ends.new_zeros(1), self._ends[:-1]])
        found = []
        for number in torch.unique(owners).tolist():
            places = (owners == number).nonzero()[:, 0]
            found.append((number, indices[places] - starts[number], places))
        return found
