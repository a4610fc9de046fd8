"""What an image was read from, and files of a result that are like it: same format, type, tags, names, and values where kept.

C components, H x W pixels of the grid that the model fills in. Where a result is observed, the values of the file are written, bit
for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.image_io.layouts.patterns import suffix_of
from vqkit.image_io.pictures import COMPOSITE
from vqkit.image_io.rasters import RasterInfo, lossless_suffix, write_raster
from vqkit.image_io.rasters.gaps import says_absent_by
from vqkit.image_io.resampling import averaged, everywhere
from vqkit.interfaces import DataSpec
from vqkit.interfaces.components import ComponentSpec, from_unit

Array = NDArray[Any]
NameComponent = Callable[[str, str], str]
"""From the name of a result and of a component to a relative path without suffix."""

_IMAGEJ_OF_PIXELS = frozenset({"unit", "spacing", "mode"})
"""What ImageJ's description says of pixels rather than of their values."""


class Output(NamedTuple):
    """A file to be written: its path, and what writes it there, atomically."""

    path: Path
    write: Callable[[], None]


class Filled(NamedTuple):
    """A final image [C, H, W] of the model that `spec` describes: `unit` values float32, and the same `stored`, with the given
    values where it was observed. `composite`: all components in one picture, uint8 [3, H, W], where it is needed.
    """

    unit: Tensor
    stored: Tensor
    composite: Tensor | None
    spec: DataSpec


class Original(ABC):
    """Where an image was read from. `has_composite`: whether a picture of all components is written beside a result."""

    has_composite: ClassVar[bool] = False

    @abstractmethod
    def outputs(self, name: str, filled: Filled, observed: Tensor, out: Path) -> list[Output]:
        """The files that hold a result below `out`; where it is `observed` (bool [C, H, W]), the values of the file are kept."""

    @abstractmethod
    def holds(self, image: Tensor) -> bool:
        """Whether the values of the file are exactly these [C, H, W], and there are no others."""


class Channel(NamedTuple):
    """A component as its file holds it: values [h, w], what these mean, and the file."""

    values: Array
    meaning: ComponentSpec
    info: RasterInfo


@dataclass(frozen=True)
class FileOriginal(Original):
    """One file that holds the components as channels; so does that of a result.

    `values` [K, h, w] and `present` bool [K, h, w]: all channels; `places`: the channel of each component, or None;
    `spec`: what the numbers mean. A component without a channel becomes a further one.
    """

    info: RasterInfo
    values: Array
    present: NDArray[np.bool_]
    places: tuple[int | None, ...]
    spec: DataSpec

    def outputs(self, name: str, filled: Filled, observed: Tensor, out: Path) -> list[Output]:
        """See `Original.outputs`."""
        values, present = self.result(filled, observed)
        path = out / f"{name}{suffix_for(self.result_info, values.dtype)}"
        return [Output(path, partial(write_raster, path, values, None if present.all() else present, self.result_info))]

    def holds(self, image: Tensor) -> bool:
        """See `Original.holds`."""
        places = [place for place in self.places if place is not None]
        used = sorted(places) == list(range(len(self.values)))
        return used and np.array_equal(self.values[places], image.numpy())

    def result(self, filled: Filled, observed: Tensor) -> tuple[Array, NDArray[np.bool_]]:
        """All channels of a result, and where they are present, [K, h, w]; see `Original.outputs`."""
        unit = filled.unit
        new_values = self.spec.from_unit(unit[None])[0].numpy()
        kept = observed.numpy()
        missing = [number for number, place in enumerate(self.places) if place is None]
        values = np.concatenate([self.values, new_values[missing].astype(self.values.dtype, copy=False)])
        present = np.concatenate([self.present, np.ones((len(missing), *unit.shape[1:]), bool)])
        for number, place in enumerate(self.places):
            if place is None:
                place, observed_here = len(self.values) + missing.index(number), np.zeros_like(kept[number])
            else:
                observed_here = kept[number]
            values[place] = np.where(observed_here, values[place], new_values[number])
            present[place] = True
        if says_absent_by(self.info) == "mark":
            # A mask or opacity is one for all channels: those that the model does not know keep the values that were outside of it.
            present[:] = True
        return values, present

    @property
    def result_info(self) -> RasterInfo:
        """The header of a result, which has further channels for components that the file does not hold."""
        pairs = zip(self.spec.component_specs, self.places, strict=True)
        added = [component for component, place in pairs if place is None]
        return with_channels(self.info, added) if added else self.info


@dataclass(frozen=True)
class ComponentOriginal(Original):
    """Components in files of their own, or in one from which they had to be separated: a result has a file for each.

    `channels`: those that there are, by the number of the component; `reference`: the header that files of the others are like;
    `path_of`: see `NameComponent`. `spec` is that of the model, or what the numbers of binary components mean in all of the files.
    """

    spec: DataSpec
    channels: Mapping[int, Channel]
    reference: RasterInfo
    path_of: NameComponent

    has_composite: ClassVar[bool] = True

    def outputs(self, name: str, filled: Filled, observed: Tensor, out: Path) -> list[Output]:
        """See `Original.outputs`. Beside the components there is a composite, below `composite/`."""
        outputs = []
        for number, component in enumerate(self.spec.component_specs):
            values = self.component(number, filled, observed[number])
            info = self.component_info(number, *filled.unit.shape[1:])
            path = out / f"{self.path_of(name, component.name)}{suffix_for(info, values.dtype)}"
            outputs.append(Output(path, partial(write_raster, path, values[None], None, info)))
        together = filled.composite
        if together is not None:
            path = out / COMPOSITE / f"{name}.png"
            outputs.append(Output(path, partial(write_raster, path, together.numpy())))
        return outputs

    def holds(self, image: Tensor) -> bool:
        """See `Original.holds`."""
        return len(self.channels) == len(image) and all(
            np.array_equal(channel.values, image[number].numpy()) for number, channel in self.channels.items()
        )

    def component_info(self, number: int, height: int, width: int) -> RasterInfo:
        """The header that the file of a component is like; of this size, if there is no such file yet."""
        if number in self.channels:
            return self.channels[number].info
        info = of_another_component(self.reference, self.spec.component_specs[number])
        return info if (info.height, info.width) == (height, width) else info.resized(height, width)

    def component(self, number: int, filled: Filled, observed: Tensor) -> Array:
        """The values [h, w] of a component, on the grid of its file; where it is `observed` (bool [H, W]), those of the file."""
        channel = self.channels.get(number)
        if channel is None:
            return self._missing(number, filled)
        values, meaning, _ = channel
        unit = filled.unit[number]
        if unit.shape != values.shape:
            unit = averaged(unit, *values.shape)
            observed = everywhere(observed, *values.shape)
        elif meaning is filled.spec.component_specs[number]:
            return filled.stored[number].numpy().astype(values.dtype, copy=False)
        return np.where(observed.numpy(), values, _stored(unit, meaning).astype(values.dtype, copy=False))

    def _missing(self, number: int, filled: Filled) -> Array:
        """The same for a component that has no file."""
        component = self.spec.component_specs[number]
        info = self.component_info(number, *filled.unit.shape[1:])
        if component is filled.spec.component_specs[number]:
            return filled.stored[number].numpy().astype(info.dtype, copy=False)
        return _stored(filled.unit[number], component)


def plain_outputs(name: str, filled: Filled, out: Path) -> list[Output]:
    """Files of an image that has no original: components in the standard layout, or one picture of one component or colours.

    Values of uint8 and uint16 are PNG, all others TIFF.
    """
    spec, (height, width) = filled.spec, filled.unit.shape[1:]
    first = np.dtype(spec.component_specs[0].dtype)
    info = RasterInfo(Path("image.png"), "PNG", 1, height, width, first, spec.components[:1], spec.component_specs[0].unit)
    if len(spec.components) > 1 and not spec.is_colour:
        nowhere = torch.zeros(len(spec.components), 1, 1, dtype=torch.bool)
        return ComponentOriginal(spec, {}, info, standard_path).outputs(name, filled, nowhere, out)
    values = filled.stored.numpy()
    info = replace(info, channels=len(values), names=spec.components, is_colour=spec.is_colour and first == np.uint8)
    path = out / f"{name}{suffix_for(info, values.dtype)}"
    return [Output(path, partial(write_raster, path, values, None, info))]


def standard_path(name: str, component: str) -> str:
    """`{component}/{name}_{component}`, where the name may begin with folders."""
    return f"{component}/{name}_{component}"


def suffix_for(info: RasterInfo, dtype: np.dtype[Any]) -> str:
    """The suffix of a file like this one that holds values of this type without loss."""
    suffix = lossless_suffix(info if dtype == info.dtype else replace(info, dtype=dtype))
    own = suffix_of(info.path.name)
    if own.endswith(suffix):
        suffix = own  # such as .ome.tif
    if dtype == np.uint8 or suffix not in (".bmp", ".tga", ".webp", ".png") or (suffix == ".png" and dtype == np.uint16):
        return suffix
    return ".png" if dtype == np.uint16 else ".tif"


def with_channels(info: RasterInfo, added: Sequence[ComponentSpec]) -> RasterInfo:
    """The header of a file that has further channels for these components, of which it says what the model knows: name and unit."""
    tags, count = info.tags, len(added)
    units = tags.units or (("",) * info.channels if any(each.unit for each in added) else ())
    tags = replace(
        tags,
        units=(*units, *(each.unit for each in added)) if units else (),
        scales=(*tags.scales, *[1.0] * count) if tags.scales else (),
        offsets=(*tags.offsets, *[0.0] * count) if tags.offsets else (),
        colours=(*tags.colours, *["undefined"] * count) if tags.colours else (),
        channel_tags=(*tags.channel_tags, *[{} for _ in added]) if tags.channel_tags else (),
    )
    return replace(
        info,
        channels=info.channels + count,
        names=(*info.names, *(each.name for each in added)) if info.names else (),
        unit=tags.units[0] if len(set(tags.units)) == 1 else "",
        is_colour=False,
        tags=tags,
    )


def without_channel_tags(info: RasterInfo) -> RasterInfo:
    """A header without what it says of its channels one by one."""
    return replace(info, names=(), tags=replace(info.tags, units=(), scales=(), offsets=(), colours=(), channel_tags=()))


def of_another_component(info: RasterInfo, component: ComponentSpec) -> RasterInfo:
    """A header like this one for a file of another component: it says of values what the model knows of that component.

    Nodata, scale, offset and display range of one component would make other numbers of those of another.
    """
    imagej = {key: value for key, value in info.tags.imagej.items() if key in _IMAGEJ_OF_PIXELS}
    units = (component.unit,) if component.unit else ()
    return replace(
        info,
        names=(component.name,) if info.names else (),
        dtype=np.dtype(component.dtype),
        unit=component.unit,
        nodata=component.nodata,
        tags=replace(info.tags, units=units, scales=(), offsets=(), colours=(), channel_tags=(), imagej=imagej),
    )


def single_channel(info: RasterInfo, channel: int = 0) -> RasterInfo:
    """The header of a file that holds one channel of this one."""
    if info.channels == 1:
        return info
    names = info.names[channel : channel + 1]
    tags = replace(
        info.tags,
        units=info.tags.units[channel : channel + 1],
        scales=info.tags.scales[channel : channel + 1],
        offsets=info.tags.offsets[channel : channel + 1],
        colours=info.tags.colours[channel : channel + 1],
        channel_tags=info.tags.channel_tags[channel : channel + 1],
        profile=None,
    )
    return replace(info, channels=1, names=names, is_colour=False, tags=tags)


def _stored(unit: Tensor, component: ComponentSpec) -> Array:
    """Unit values [h, w] of one component as stored values."""
    values: Array = from_unit(unit[None, None], (component,))[0, 0].numpy()
    return values
