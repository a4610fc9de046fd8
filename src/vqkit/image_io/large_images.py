"""Images too large for memory: read by rows as the model sees them, and results written by rows.

An image lies in one file that has a channel for each component, or in a file for each, all of one size. Files of a result are those
that `vqkit.image_io.originals` describes, except for the composite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError
from vqkit.image_io.component_files import as_stored, meanings_of
from vqkit.image_io.formats import TIFF_SUFFIXES, has_suffix
from vqkit.image_io.forms import match_channels
from vqkit.image_io.inputs import Item, split_name
from vqkit.image_io.observing import observe
from vqkit.image_io.originals import Channel, ComponentOriginal, FileOriginal, Filled, single_channel, suffix_for
from vqkit.image_io.rasters import Raster, RasterInfo, RasterPixels, RasterWriter, Window, open_raster
from vqkit.image_io.reading import ReadOptions
from vqkit.image_io.scales import Extremes, find_extremes, known_colours, known_values, merged_extremes, numbers_of_others
from vqkit.image_io.values import tensor_of
from vqkit.interfaces import DataSpec

LARGEST_IN_MEMORY = 2**25
"""Most values of an image, in all of its channels, that is read at once."""
_MOST_VALUES_A_BYTE = 2**11
"""More than any compression achieves. A file of few bytes need not be opened to know that it is small."""
_ROWS = 256
"""Rows that are read at once when the whole image is looked through."""
_BY_ROWS = frozenset({"TIFF", "OME-TIFF", "ImageJ TIFF", "GeoTIFF", "OME-Zarr"})
"""Formats of which rows can be read and written without the rest."""
_SUFFIXES = (*TIFF_SUFFIXES, ".zarr")


class Rows(NamedTuple):
    """Rows of an image: stored values of the model [C, R, W], and bool [C, R, W]: where they are present, and observed."""

    image: Tensor
    present: Tensor
    observed: Tensor


class _Layer(NamedTuple):
    """Where a component lies: an open file, and the channel there."""

    raster: Raster
    channel: int


def is_large(item: Item) -> bool:
    """Whether an item is read by rows. Files that cannot be opened are not: reading them says why."""
    paths = {member.path for member in item.members.values()}
    if not all(has_suffix(path, _SUFFIXES) for path in paths):
        return False
    try:
        if all(path.is_file() and path.stat().st_size * _MOST_VALUES_A_BYTE < LARGEST_IN_MEMORY for path in paths):
            return False
        infos = [_info(path) for path in paths]
    except (DataError, OSError):
        return False
    values = sum(info.channels * info.height * info.width for info in infos)
    return values > LARGEST_IN_MEMORY and all(info.format in _BY_ROWS for info in infos)


class LargeImage:
    """An open image that is read by rows. A context manager.

    Raises `DataError` when it is opened: for files that hold no channels of the model's components, or of several sizes, for a
    mask of another size, when a component that is to be kept is missing, and when nothing is to be filled in. To find that out, the
    image is looked through once.
    """

    def __init__(self, item: Item, spec: DataSpec, request: ReadOptions) -> None:
        self.item, self.spec, self._request = item, spec, request
        with ExitStack() as stack:
            self._layers, self._places = _open_layers(item, spec, request, stack)
            first = next(iter(self._layers.values())).raster.info
            self.height, self.width = first.height, first.width
            self._check_sizes()
            self._meanings: Mapping[int, DataSpec] = self._look_through()
            self._stack = stack.pop_all()

    def read(self, top: int, count: int) -> Rows:
        """The rows from `top` on."""
        image = torch.zeros(len(self.spec.components), count, self.width, dtype=self.spec.stored_dtype)
        present = torch.zeros(image.shape, dtype=torch.bool)
        for number, pixels in self._components(top, count):
            image[number] = as_stored(pixels.values[0], number, self._meanings[number], self.spec)
            present[number] = tensor_of(_everywhere(pixels)[0])
        return Rows(image, present, present & self._kept(top, count))

    def _kept(self, top: int, count: int) -> Tensor:
        """Which rows are to be kept as far as they are present, bool, broadcastable to [C, R, W]."""
        kept = torch.ones(len(self.spec.components), 1, 1, dtype=torch.bool)
        if self._request.keep:
            kept[:] = False
            kept[self.spec.component_indices(self._request.keep)] = True
        mask = self._request.mask
        return kept if mask is None else kept & ~torch.from_numpy(mask.white[:, top : top + count])

    def _components(self, top: int, count: int) -> Iterator[tuple[int, RasterPixels]]:
        """Numbers of components, and their pixels [1, R, W], present where they are data. Those of one file are read together."""
        window = Window(top, 0, count, self.width)
        for raster in {id(layer.raster): layer.raster for layer in self._layers.values()}.values():
            here = [(number, layer.channel) for number, layer in self._layers.items() if layer.raster is raster]
            values, present = raster.read(window, [channel for _, channel in here])
            in_colour = raster.info.is_colour and self._places == (0, 1, 2)
            if in_colour:
                present = known_colours(values, present, self.spec)
            for position, (number, _) in enumerate(here):
                plane = values[position : position + 1]
                known = present if present is None or len(present) == 1 else present[position : position + 1]
                if not in_colour:
                    known = known_values(plane, known, self.spec.component_specs[number], self.spec)
                yield number, RasterPixels(plane, known)

    def _look_through(self) -> Mapping[int, DataSpec]:
        """What the numbers of each component mean. Raises `DataError` as the class does."""
        found: dict[int, Extremes | None] = dict.fromkeys(self._layers)
        count = len(self.spec.components)
        present_anywhere, observed_anywhere = (torch.zeros(count, 1, 1, dtype=torch.bool) for _ in range(2))
        is_whole = True
        for top in range(0, self.height, _ROWS):
            rows = min(_ROWS, self.height - top)
            kept = self._kept(top, rows)
            known = torch.zeros(count, rows, self.width, dtype=torch.bool)
            for number, pixels in self._components(top, rows):
                here = _everywhere(pixels)
                found[number] = merged_extremes(found[number], find_extremes(pixels.values, here))
                known[number] = tensor_of(here[0])
            observed = known & kept
            present_anywhere |= known.flatten(1).any(dim=1)[:, None, None]
            observed_anywhere |= observed.flatten(1).any(dim=1)[:, None, None]
            is_whole = is_whole and bool(observed.all())
        observe(present_anywhere[None], self._request.keep, observed_anywhere[None], self.spec)
        if is_whole:
            raise DataError(
                "The whole image is kept, so there is nothing to fill in.",
                "Say what to keep with --keep, or what to fill in with --mask.",
            )
        return meanings_of({number: layer.raster.info for number, layer in self._layers.items()}, found, self.spec)

    def _check_sizes(self) -> None:
        for layer in self._layers.values():
            info = layer.raster.info
            if (info.height, info.width) != (self.height, self.width):
                raise DataError(
                    f"{info.path} is {info.width} wide and {info.height} high; other components of the image are {self.width} wide "
                    f"and {self.height} high.",
                    "Images of more than one resolution are filled in only if they fit into memory: resample or cut the files.",
                )
        mask = self._request.mask
        if mask is not None and mask.white.shape[1:] != (self.height, self.width):
            height, width = mask.white.shape[1:]
            raise DataError(
                f"The mask {mask.path} is {width} wide and {height} high; the image is {self.width} wide and {self.height} high.",
                "Give a mask of the image's size.",
            )

    def original(self, top: int, count: int) -> FileOriginal | ComponentOriginal:
        """Rows as they are in the files."""
        first = self._meanings[min(self._meanings)]
        others = numbers_of_others(first, self.spec)
        if self._places is None:
            channels = {
                number: Channel(pixels.values[0], self._meanings[number].component_specs[number], self._headers[number])
                for number, pixels in self._components(top, count)
            }
            return ComponentOriginal(others, channels, self._headers[min(self._headers)], self.item.component_path)
        raster = next(iter(self._layers.values())).raster
        values, present = raster.read(Window(top, 0, count, self.width))
        everywhere = np.ones(values.shape, bool) if present is None else np.broadcast_to(present, values.shape)
        specs = [
            self._meanings[number].component_specs[number] if number in self._meanings else component
            for number, component in enumerate(others.component_specs)
        ]
        return FileOriginal(raster.info, values, everywhere, self._places, replace(others, component_specs=tuple(specs)))

    @property
    def _headers(self) -> Mapping[int, RasterInfo]:
        return {number: single_channel(layer.raster.info, layer.channel) for number, layer in self._layers.items()}

    def __enter__(self) -> LargeImage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)


class LargeResult:
    """Files of a result below `out`, written by rows. A context manager: they appear, whole, when the block ends without an error.

    `paths` are their names. Raises `OSError` when they cannot be written.
    """

    def __init__(self, image: LargeImage, out: Path) -> None:
        self._image = image
        original = image.original(0, 1)
        if isinstance(original, FileOriginal):
            info = original.result_info
            self._files = [(out / f"{image.item.name}{suffix_for(info, info.dtype)}", info)]
        else:
            infos = [original.component_info(number, image.height, image.width) for number in range(len(image.spec.components))]
            names = [original.path_of(image.item.name, name) for name in image.spec.components]
            self._files = [(out / f"{name}{suffix_for(info, info.dtype)}", info) for name, info in zip(names, infos, strict=True)]
        self.paths = tuple(path for path, _ in self._files)
        self._stack = ExitStack()
        self._writers: list[RasterWriter] = []

    def write(self, top: int, filled: Filled, observed: Tensor) -> None:
        """Write rows, and where the values of the files are kept, bool [C, R, W]."""
        count, width = filled.unit.shape[1:]
        original = self._image.original(top, count)
        window = Window(top, 0, count, width)
        if isinstance(original, FileOriginal):
            values, present = original.result(filled, observed)
            self._writers[0].write(window, values, None if present.all() else present)
            return
        for number, writer in enumerate(self._writers):
            writer.write(window, original.component(number, filled, observed[number])[None])

    def __enter__(self) -> LargeResult:
        with ExitStack() as stack:
            for path, info in self._files:
                writer = RasterWriter(path, info, info.channels, self._image.height, self._image.width, info.dtype)
                self._writers.append(stack.enter_context(writer))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)


def _everywhere(pixels: RasterPixels) -> NDArray[np.bool_]:
    """Where pixels are present, of the shape of their values."""
    values, present = pixels
    return np.ones(values.shape, bool) if present is None else np.broadcast_to(present, values.shape)


def _open_layers(
    item: Item, spec: DataSpec, request: ReadOptions, stack: ExitStack
) -> tuple[dict[int, _Layer], tuple[int | None, ...] | None]:
    """Where each component lies, by its number; and the channel of each, or None, where one file holds all of them."""
    member = item.members.get(None)
    if member is not None:
        raster = stack.enter_context(open_raster(member.path))
        places = _places(raster.info, spec, request)
        if isinstance(places, int):
            return {places: _Layer(raster, 0)}, None
        return {number: _Layer(raster, place) for number, place in enumerate(places) if place is not None}, places
    rasters = {path: stack.enter_context(open_raster(path)) for path in {each.path for each in item.members.values()}}
    layers = {}
    for number, name in enumerate(spec.components):
        if name in item.members:
            path, channel = item.members[name]
            channels = rasters[path].info.channels
            if channel is None and channels != 1:
                raise DataError(
                    f"{path} is an image of {channels} channels; {name} is one component.", "Give a file with one channel."
                )
            layers[number] = _Layer(rasters[path], channel or 0)
    return layers, None


def _places(info: RasterInfo, spec: DataSpec, request: ReadOptions) -> tuple[int | None, ...] | int:
    """The channel of each component in a file, or None; or the number of the one component that it shows."""
    if info.is_colour and len(spec.components) == 3:
        return (0, 1, 2)
    if info.channels == 1 and len(spec.components) > 1:
        named = [split_name(info.path.stem, spec)[1], *info.names, *(request.keep if len(request.keep) == 1 else ())]
        for name in named:
            if name in spec.components:
                return spec.components.index(name)
    places = match_channels(info.channels, info.names, spec)
    if places is None:
        named_channels = f" ({', '.join(info.names)})" if info.names else ""
        raise DataError(
            f"{info.path} has {info.channels} channels{named_channels}, not {len(spec.components)}.",
            f"A file this large needs a channel for each of {', '.join(spec.components)}, or names that say which is which.",
        )
    return places


def _info(path: Path) -> RasterInfo:
    with open_raster(path) as raster:
        return raster.info
