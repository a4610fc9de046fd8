"""`arrays`: images in .npy, .npz and .safetensors files, in their own type.

A file holds one array of images, or one for each split: `train`, `val`, `test`, or `{split}_images` with `{split}_labels`
[N] and `{split}_conditions` [N, D], or `x_train` with `y_train`, in any case and with the names that folders of splits may have.
Images are [N, H, W], [N, C, H, W] or [N, H, W, C]. NaN, the value `nodata`, and what `{split}_present` says are absent. A file that
`vqkit data prepare` wrote carries its specification, and is used where it lies on the disk, and so are those of the shards that an
index joins.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vqkit.core.shard_records import is_index
from vqkit.data.array_contents import Layout, StoredSplit, read_splits, unused_arrays, with_gaps
from vqkit.data.array_tiles import ArraySource, ArrayTile, choose_array_tile
from vqkit.data.augmentation import Augmentation, Crop, Flip, Turn
from vqkit.data.describing import (
    CutRows,
    SampledKindChoice,
    StoredComponent,
    TrainingValues,
    ValueSettings,
    choice_for,
    component_specs,
    fitted_settings,
)
from vqkit.data.packed_shards import read_packed_shards
from vqkit.data.packing import check_contents, check_digests, read_spec
from vqkit.data.rows import ChosenRows, Rows
from vqkit.data.sampled import SampledSplit
from vqkit.data.splits import ArraySplit, SplitPlan, ValidationShare, condition_specs
from vqkit.data.tiled import ImageFacts, TiledSplit
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.arrays import read_arrays
from vqkit.image_io.layouts.naming import counted, examples
from vqkit.image_io.values import channel_names
from vqkit.interfaces import ComponentSpec, ConditionSpec, DataSpec, ImageDataset, Split, SplitName
from vqkit.interfaces.components import Transform
from vqkit.registry import DATASETS

_BATCH_BYTES = 2**26


@DATASETS.register("arrays")
class ArrayDataset(ImageDataset):
    """Images from a file of arrays."""

    class Options(ValueSettings):
        """Settings of `arrays`."""

        path: str = Field(description="File to read.")
        layout: Layout = Field(
            "auto",
            description="Axis order of 4-D arrays; auto: the shorter of the second and the last axis is the channels.",
        )
        components: tuple[str, ...] | None = Field(
            None, min_length=1, description="Names of the channels. Default: r, g, b; grey; or channel_1, channel_2, ..."
        )
        conditions: tuple[str, ...] | None = Field(
            None, description="Names of the columns of the conditions. Default: condition_1, condition_2, ..."
        )
        value_kind: SampledKindChoice = "auto"
        flip: Flip = False
        crop: Crop = 0
        turn: Turn = False
        height: int | None = Field(
            None,
            ge=1,
            description="Height in pixels of tiles that are cut out of the images, at random places in training and side by side "
            "otherwise. Default: the width; or the images' own, unless they are large and not uint8.",
        )
        width: int | None = Field(
            None, ge=1, description="Width in pixels of the tiles. Default: the height; or as for the height."
        )
        pad_to_multiple: int = Field(1, ge=1, description="Zero-pad height and width on all sides to a multiple of this.")
        validation_share: ValidationShare = 0.05

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path = Path(options.path).expanduser()
        if not self._path.is_file():
            hint = "Set data.path to a .npy, .npz or .safetensors file, or to the index of shards."
            raise DataError(f"{self._path} is not a file.", hint)
        contents, self._packed, self._unused = _read(self._path, options)
        self._components = self._packed.components if self._packed else self._component_names(next(iter(contents.values())))
        options.check_names(self._components, options.value_kind)
        self._contents = {name: self._prepared(content, name) for name, content in contents.items()}
        counts = {name: len(content.images) for name, content in self._contents.items()}
        self._plan = SplitPlan(counts, options.validation_share, self._path)
        self._tile = self._choose_tile()

    def split(self, name: SplitName) -> Split:
        """One split."""
        source, positions = self._plan.of(name)
        images, labels, conditions, names, present = self._contents[source]
        if images.shape[2:] != (self._tile.height, self._tile.width):
            return self._tiled(name, self._contents[source], positions)
        rows: Rows = images
        if len(positions) < len(images):
            names = [f"{number:06d}" if names is None else names[number] for number in positions.tolist()]
            rows, conditions, labels = ChosenRows(images, positions), conditions[positions], labels[positions]
            present = None if present is None else ChosenRows(present, positions)
        described = (
            conditions,
            labels,
            names,
            Augmentation(self._options.flip, self._options.crop, self._options.turn).of(name),
            present,
        )
        if self._options.value_kind == "sampled":
            assert isinstance(images, Tensor), "shards are refused"
            return SampledSplit(self.spec, name, rows[torch.arange(len(rows))], self._grey_ends(images), *described)
        return ArraySplit(self.spec, self._cut(rows), *described)

    @property
    def notes(self) -> list[str]:
        """See `ImageDataset.notes`."""
        if not self._unused:
            return []
        return [f"Not used: {counted(len(self._unused), 'array')} of {self._path} under no known name ({examples(self._unused)})."]

    @property
    def fitted_settings(self) -> dict[str, Any]:
        """See `ImageDataset.fitted_settings`. A packed file holds them itself."""
        if self._packed is not None or self._options.value_kind == "sampled":
            return {}
        return {"height": self.spec.height, "width": self.spec.width, **fitted_settings(self.spec)}

    @cached_property
    def spec(self) -> DataSpec:
        """The packed specification, or one made from the training images and the options."""
        if self._packed is not None:
            display = self._options.display or self._packed.display
            return replace(
                self._packed, component_specs=_with_settings(self._packed.component_specs, self._options), display=display
            )
        source, positions = self._plan.describing()
        images, _, conditions, _, present = self._contents[source]
        assert isinstance(images, Tensor), "shards are packed"
        size = self._tile.height, self._tile.width
        ranges = self._condition_ranges(conditions[positions])
        classes = tuple(str(number) for number in range(1 + max(int(each.labels.max()) for each in self._contents.values())))
        kind = self._options.value_kind
        if kind == "sampled":
            return DataSpec.uniform(self._path.stem, self._components, *size, "binary", conditions=ranges, classes=classes)
        dtype = str(images.dtype).removeprefix("torch.")
        values = TrainingValues([dtype] * len(self._components))
        for indices in torch.split(positions, max(1, _BATCH_BYTES // images[:1].nbytes)):
            values.add(images[indices], None if present is None else present[indices])
        stored = [StoredComponent(name, dtype) for name in self._components]
        specs = component_specs(stored, self._options, kind, values.counts)
        return DataSpec(self._path.stem, specs, *size, values.are_exclusive(specs), ranges, classes, self._options.display)

    def _prepared(self, content: StoredSplit, split: str) -> StoredSplit:
        """The content padded, and with what is absent by its values."""
        padded = _pad(content, self._options.pad_to_multiple)
        if self._packed is not None:
            return padded
        nodata = [choice_for(self._options.nodata, name, None) for name in self._components]
        return with_gaps(padded, nodata, f"The array of images for {split} of {self._path}")

    def _choose_tile(self) -> ArrayTile:
        if self._packed is not None:
            return ArrayTile(self._packed.height, self._packed.width)
        images = {name: content.images for name, content in self._contents.items()}
        tile = choose_array_tile(images, self._options.height, self._options.width, self._path)
        if tile.note:
            warnings.warn(tile.note, stacklevel=4)
        return tile

    def _tiled(self, name: SplitName, content: StoredSplit, positions: Tensor) -> TiledSplit:
        if self._options.value_kind == "sampled":
            raise ConfigError(
                "data.value_kind = sampled draws whole images, and data.height and data.width cut them.", "Leave one of them out."
            )
        source = ArraySource(content.images, positions, content.present)
        names = [f"{number:06d}" if content.names is None else content.names[number] for number in positions.tolist()]
        return TiledSplit(
            self.spec,
            source,
            ImageFacts(names, content.conditions[positions], content.labels[positions]),
            moves=name == "train",
            has_gaps=content.present is not None,
            augmentation=Augmentation(self._options.flip, self._options.crop, self._options.turn).of(name),
            kind="auto" if self._packed is not None else self._options.value_kind,
        )

    def _cut(self, rows: Rows) -> Rows:
        """The images, of which those components are cut at half of their range that were asked for as binary."""
        kind = self._options.value_kind
        if self._packed is not None or not any(choice_for(kind, name, "auto") == "binary" for name in self._components):
            return rows
        return CutRows(rows, self.spec.component_specs, kind)

    def _component_names(self, content: StoredSplit) -> tuple[str, ...]:
        count = content.images.shape[1]
        names = self._options.components or channel_names(count)
        if len(names) != count:
            hint = f"Give {count} names, such as {','.join(channel_names(count))}."
            raise ConfigError(f"data.components names {len(names)} channels; {self._path} has {count}.", hint)
        return names

    def _condition_ranges(self, conditions: Tensor) -> tuple[ConditionSpec, ...]:
        count = conditions.shape[1]
        names = self._options.conditions or tuple(f"condition_{number + 1}" for number in range(count))
        if len(names) != count:
            raise ConfigError(f"data.conditions names {len(names)} columns; {self._path} has {count}.", f"Give {count} names.")
        return condition_specs(names, conditions)

    def _grey_ends(self, images: Tensor) -> tuple[float, float]:
        """The greys that are never and always set in a stochastic binarisation.

        They are 0 and 255 for uint8, 0 and 1 for floating point numbers and for arrays of only 0 and 1. Raises `ConfigError` for
        other values whose range is not given.
        """
        if isinstance(self._options.range, tuple):
            return self._options.range
        low, high = float(np.nanmin(images.numpy())), float(np.nanmax(images.numpy()))
        if images.dtype == torch.uint8:
            return 0.0, 1.0 if high == 1 else 255.0
        if low >= 0 and high <= 1:
            return 0.0, 1.0
        raise ConfigError(
            f"data.value_kind = sampled takes greys for probabilities; those of {self._path} run from {low:g} to {high:g}.",
            "Say which greys are never and always set, such as data.range=[0, 4095].",
        )


def _read(path: Path, options: ArrayDataset.Options) -> tuple[dict[str, StoredSplit], DataSpec | None, list[str]]:
    """What is in the file, or in the shards of an index, the specification of a packed one, and the arrays that are not used."""
    if is_index(path):
        if options.value_kind == "sampled":
            raise ConfigError(
                "data.value_kind = sampled needs all images in memory, and shards stay on the disk.",
                "Prepare the data set as one file, or leave data.value_kind out.",
            )
        contents, spec = read_packed_shards(path)
        _refuse_options(options, spec, path)
        return contents, spec, []
    arrays, metadata = read_arrays(path)
    packed = read_spec(metadata, path)
    if packed is not None:
        check_digests(arrays, metadata, path)
        _refuse_options(options, packed, path)
    contents = read_splits(arrays, path, options.layout, packed)
    if packed is not None:
        check_contents(packed, contents, path)
    return contents, packed, [] if packed is not None else unused_arrays(arrays)


def _refuse_options(options: ArrayDataset.Options, packed: DataSpec, path: Path) -> None:
    """Raise `ConfigError` for a setting that is fixed by a packed file. Ranges are not: the file holds values as they are."""
    fixed = ["layout", "components", "conditions", "nodata", "height", "width", "pad_to_multiple", "validation_share"]
    if any(choice_for(options.value_kind, each.name, "auto") not in ("auto", each.kind) for each in packed.component_specs):
        fixed.append("value_kind")
    for name in fixed:
        if getattr(options, name) != type(options).model_fields[name].default:
            raise ConfigError(
                f"data.{name} cannot be changed: it is fixed by the packed file {path}.",
                "Prepare the file again with this setting.",
            )


def _with_settings(specs: Sequence[ComponentSpec], settings: ValueSettings) -> tuple[ComponentSpec, ...]:
    """The components of a packed file with the ranges, transforms and units that are set."""
    changed = []
    for each in specs:
        low, high = choice_for(settings.range, each.name, None) or (each.low, each.high)
        minimum, maximum = choice_for(settings.extremes, each.name, None) or (each.minimum, each.maximum)
        chosen: Transform = choice_for(settings.transform, each.name, "linear")
        transform = each.transform if chosen == "linear" else chosen
        unit = choice_for(settings.unit, each.name, "") or each.unit
        changed.append(replace(each, low=low, high=high, minimum=minimum, maximum=maximum, transform=transform, unit=unit))
    return tuple(changed)


def _pad(content: StoredSplit, multiple: int) -> StoredSplit:
    """Zero-pad images on all sides until height and width are multiples of `multiple`; the zeros are data like any other."""
    height, width = (-size % multiple for size in content.images.shape[2:])
    if not height and not width:
        return content
    assert isinstance(content.images, Tensor), "shards are packed, and a setting of padding is refused"
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    present = content.present
    if isinstance(present, Tensor) and present.shape[2:] != (1, 1):
        present = torch.nn.functional.pad(present, sides, value=True)
    return content._replace(images=torch.nn.functional.pad(content.images, sides), present=present)
