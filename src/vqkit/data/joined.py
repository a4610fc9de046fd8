"""`joined`: several folders of pictures, or files of arrays, as one data set; typed as `--data cats,dogs`.

Splits are concatenated in the given order. Classes and conditions are dropped, since they may differ in meaning between the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import NamedOptions, Settings
from vqkit.data.opening import open_dataset
from vqkit.errors import DataError
from vqkit.interfaces import Batch, DataSpec, ImageDataset, Split, SplitName
from vqkit.registry import DATASETS


@DATASETS.register("joined")
class JoinedDataset(ImageDataset):
    """Data sets of images of one size with the same components. Raises `DataError` where they differ."""

    class Options(Settings):
        """Settings of `joined`."""

        paths: tuple[str, ...] = Field(min_length=2, description="Folders or files to join.")
        settings: dict[str, Any] = Field({}, description="Settings of every part, such as height and width.")

    def __init__(self, options: Options) -> None:
        self._parts = [open_dataset(NamedOptions(name=path, **options.settings)) for path in options.paths]
        first, *others = (part.spec for part in self._parts)
        for spec in others:
            if spec.layout != first.layout:
                raise DataError(
                    f"'{spec.name}' has {spec.describe_layout()}, and '{first.name}' has {first.describe_layout()}.",
                    "Scale pictures to one size with --set data.settings.height=64 --set data.settings.width=64.",
                )
        name = ",".join(part.spec.name for part in self._parts)
        self._spec = DataSpec(name, first.component_specs, first.height, first.width)

    @property
    def spec(self) -> DataSpec:
        """The common layout of all parts; the name joins theirs."""
        return self._spec

    def split(self, name: SplitName) -> Split:
        """The concatenated splits of all parts."""
        return JoinedSplit(self._spec, [part.split(name) for part in self._parts])


class JoinedSplit(Split):
    """Concatenated splits, without conditions and labels."""

    def __init__(self, spec: DataSpec, parts: Sequence[Split]) -> None:
        super().__init__(spec)
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)

    @property
    def in_memory(self) -> bool:
        """Whether all parts are."""
        return all(part.in_memory for part in self._parts)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as uint8."""
        images = torch.empty(len(indices), len(self.spec.components), self.spec.height, self.spec.width, dtype=torch.uint8)
        for number, chosen, places in self._sorted(indices):
            images[places] = self._parts[number].batch(chosen).images
        return Batch(images, torch.empty(len(indices), 0), torch.full((len(indices),), -1))

    def names(self, indices: Tensor) -> list[str]:
        """The part's name, followed by its name of the image."""
        names = [""] * len(indices)
        for number, chosen, places in self._sorted(indices):
            part = self._parts[number]
            for place, name in zip(places.tolist(), part.names(chosen), strict=True):
                names[place] = f"{part.spec.name}_{name}"
        return names

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Augments as the first part does: all have the same settings."""
        return self._parts[0].augment(batch, generator)

    def _sorted(self, indices: Tensor) -> list[tuple[int, Tensor, Tensor]]:
        """For each part among `indices`: its number, the positions in it, and the corresponding places in the batch."""
        owners = torch.bucketize(indices, self._ends, right=True)
        starts = torch.cat([self._ends.new_zeros(1), self._ends[:-1]])
        found = []
        for number in torch.unique(owners).tolist():
            places = (owners == number).nonzero()[:, 0]
            found.append((number, indices[places] - starts[number], places))
        return found
