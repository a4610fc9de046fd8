"""Reading images of components from their files: whole, by windows, or scaled; always on the grid of the largest component."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vqkit.data.arranging import GREY, ImageFiles, Part
from vqkit.data.headers import FileHeader
from vqkit.errors import DataError
from vqkit.image_io.rasters import RasterPixels, Window, open_raster
from vqkit.image_io.resampling import Axis, resample

Mask = NDArray[np.bool_]


class ImagePixels(NamedTuple):
    """Stored values [C, h, w], and where they are present: bool [C, h, w]; [C, 1, 1] where only whole components lack; or None."""

    values: NDArray[Any]
    present: Mask | None = None

    def cut(self, window: Window) -> ImagePixels:
        """A part of the image; a view."""
        present = self.present
        if present is not None and present.shape[1:] != (1, 1):
            present = present[:, window.rows, window.columns]
        return ImagePixels(self.values[:, window.rows, window.columns], present)


class Scaling(NamedTuple):
    """Height and width to which whole images are scaled, until they cover that size, and centre-cropped.

    `smooth`: as photographs are, with the Lanczos filter of Pillow, from whatever size a JPEG decoder offers; where pixels are
    absent, linearly from those that are present.
    """

    height: int
    width: int
    smooth: bool


class ImageReader:
    """Reads images whose C components have the given `dtypes`, in the type that holds all of them.

    `nearest`: which components take the nearest pixel where they are resampled, instead of being interpolated; `nodata`: for each
    component, a stored value of absent pixels besides those that files give, or None; `kept`: pixels of files read before.
    """

    def __init__(
        self,
        dtypes: Sequence[str],
        nearest: Sequence[bool],
        nodata: Sequence[float | None],
        scaling: Scaling | None = None,
        kept: Mapping[Path, RasterPixels] | None = None,
    ) -> None:
        self.dtype = np.result_type(*(np.dtype(dtype) for dtype in dtypes))
        self.scaling = scaling
        self._nearest, self._nodata, self._kept = tuple(nearest), tuple(nodata), {} if kept is None else kept

    def size(self, image: ImageFiles) -> tuple[int, int]:
        """Height and width in which an image is read."""
        return image.size if self.scaling is None else self.scaling[:2]

    def holds_all(self, images: Sequence[ImageFiles]) -> bool:
        """Whether no file has to be opened to read these images."""
        return all(part is None or part.header.path in self._kept for image in images for part in image.parts)

    def read(self, image: ImageFiles, window: Window | None = None) -> ImagePixels:
        """An image, or a window of it. Raises `DataError` for a file that is damaged, or in colour where it shows one component."""
        window = window or Window(0, 0, *self.size(image))
        values = np.zeros((len(image.parts), window.height, window.width), self.dtype)
        masks: list[Mask | None] = [None if part else np.zeros((1, 1), bool) for part in image.parts]
        size = image.size
        for header, numbers in _by_file(image):
            for number, (layer, mask) in zip(numbers, self._read_file(image, size, header, numbers, window), strict=True):
                values[number], masks[number] = layer, mask
        return ImagePixels(values, _joined(masks, window))

    def read_component(self, part: Part, number: int, window: Window | None = None) -> tuple[NDArray[Any], Mask | None]:
        """Component `number` of an image at its own resolution, [h, w] in its own dtype, and where it is present."""
        pixels = self._pixels(part.header, window, (part.channel,))
        ((layer, mask),) = self._layers(pixels, part.header, (part.channel,), (number,))
        return layer, mask

    def _read_file(
        self, image: ImageFiles, size: tuple[int, int], header: FileHeader, numbers: Sequence[int], window: Window
    ) -> list[tuple[NDArray[Any], Mask | None]]:
        """The components `numbers` of an image of this size, which lie in one file, on its grid."""
        channels = tuple(part.channel for number in numbers if (part := image.parts[number]))
        scaling = self.scaling
        if scaling is not None and scaling.smooth:
            return self._read_photograph(header, channels, numbers, scaling)
        if scaling is None and header.form[1:3] == size:
            return self._layers(self._pixels(header, window, channels), header, channels, numbers)
        rows, columns = self._axes(size, header, window)
        (top, height), (left, width) = rows.needed, columns.needed
        pixels = self._pixels(header, Window(top, left, height, width), channels)
        return [
            resample(layer, mask, rows, columns, self._nearest[number])
            for number, (layer, mask) in zip(numbers, self._layers(pixels, header, channels, numbers), strict=True)
        ]

    def _read_photograph(
        self, header: FileHeader, channels: Sequence[int], numbers: Sequence[int], scaling: Scaling
    ) -> list[tuple[NDArray[Any], Mask | None]]:
        """The components `numbers` of a photograph, scaled; what is absent does not bleed into what is present."""
        # A JPEG that is decoded at a fraction would hold averages of the nodata value and its surroundings.
        has_nodata = header.nodata is not None or any(self._nodata[number] is not None for number in numbers)
        pixels = self._pixels(header, None, channels, None if has_nodata else scaling)
        layers = self._layers(pixels, header, channels, numbers)
        fitted = [_fitted(layer, scaling) for layer, _ in layers]
        if all(mask is None for _, mask in layers):
            return [(layer, None) for layer in fitted]
        rows, columns = self._axes(header.form[1:3], header, Window(0, 0, scaling.height, scaling.width))
        (top, height), (left, width) = rows.needed, columns.needed
        needed = slice(top, top + height), slice(left, left + width)
        scaled = [resample(layer[needed], None if mask is None else mask[needed], rows, columns, False) for layer, mask in layers]
        return [
            (values if mask is None else np.where(mask, values, smooth), mask)
            for (values, mask), smooth in zip(scaled, fitted, strict=True)
        ]

    def _axes(self, size: tuple[int, int], header: FileHeader, window: Window) -> tuple[Axis, Axis]:
        """Which pixels of a file are seen in a window of an image of this size. If it is scaled, all of its shorter side are."""
        target = size if self.scaling is None else self.scaling[:2]
        step = 1.0 if self.scaling is None else min(size[0] / target[0], size[1] / target[1])
        rows, columns = (
            Axis(source, seen, start, length, (whole - step * seen) / 2 * source / whole, step * seen * source / whole)
            for source, whole, seen, start, length in (
                (header.form.height, size[0], target[0], window.top, window.height),
                (header.form.width, size[1], target[1], window.left, window.width),
            )
        )
        return rows, columns

    def _pixels(
        self, header: FileHeader, window: Window | None, channels: Sequence[int], scaling: Scaling | None = None
    ) -> RasterPixels:
        """The channels of a file, or all of them for `GREY`."""
        chosen = None if GREY in channels else tuple(channels)
        held = self._kept.get(header.path)
        if held is not None:
            values, present = held if window is None else ImagePixels(*held).cut(window)
            if chosen is None:
                return RasterPixels(values, present)
            part = values[list(chosen)] if chosen != tuple(range(len(values))) else values
            return RasterPixels(part, present if present is None or len(present) == 1 else present[list(chosen)])
        with open_raster(header.path, header.nodata) as raster:
            if scaling is None:
                return raster.read(window, chosen)
            values, present = raster.read_at_least(scaling.height, scaling.width)
            return RasterPixels(values if chosen is None else values[list(chosen)], present)

    def _layers(
        self, pixels: RasterPixels, header: FileHeader, channels: Sequence[int], numbers: Sequence[int]
    ) -> list[tuple[NDArray[Any], Mask | None]]:
        """Values and presence of each of the components `numbers`, [h, w] each."""
        values, present = pixels
        if GREY in channels:
            if (values != values[:1]).any():
                raise DataError(
                    f"{header.path} is in colour, where one component is expected.",
                    "Convert it to greyscale, or choose another kind of data set: --data images --set data.path=DIRECTORY.",
                )
            values, present = values[:1], None if present is None else np.logical_and.reduce(present, axis=0, keepdims=True)
        layers = []
        for place, number in enumerate(numbers):
            layer = values[place]
            mask: Mask | None = None if present is None else present[place if len(present) > 1 else 0, ...]
            nodata = self._nodata[number]
            if nodata is not None:
                known: Mask = np.not_equal(layer, nodata)
                mask = known if mask is None else np.logical_and(mask, known)
            layers.append((layer, None if mask is None or mask.all() else mask))
        return layers


def _by_file(image: ImageFiles) -> Iterable[tuple[FileHeader, list[int]]]:
    """Each file of an image, with the numbers of the components that lie in it."""
    files: dict[Path, tuple[FileHeader, list[int]]] = {}
    for number, part in enumerate(image.parts):
        if part is not None:
            files.setdefault(part.header.path, (part.header, []))[1].append(number)
    return files.values()


def _joined(masks: Sequence[Mask | None], window: Window) -> Mask | None:
    """What is present of all components: None for everything, [C, 1, 1] if only whole components are absent, else [C, h, w]."""
    if all(mask is None for mask in masks):
        return None
    if all(mask is None or mask.size == 1 for mask in masks):
        return np.array([mask is None for mask in masks])[:, None, None]
    shape = window.height, window.width
    return np.stack([np.broadcast_to(np.True_ if mask is None else mask, shape) for mask in masks])


def _fitted(layer: NDArray[Any], scaling: Scaling) -> NDArray[Any]:
    """A component uint8 [h, w] of a photograph, scaled until it covers the size, and centre-cropped."""
    size = scaling.height, scaling.width
    if layer.shape == size:
        return layer
    return np.asarray(ImageOps.fit(Image.fromarray(layer), size[::-1], method=Image.Resampling.LANCZOS))
