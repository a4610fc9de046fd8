"""Reading images for a trained model: from the files of an item to what the model sees, and the way back to such files.

Files are read ahead in threads. They are checked before they are decoded: a huge, truncated or unsupported one raises a `DataError`
that names it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqkit.core.cpus import usable_cpus
from vqkit.errors import DataError
from vqkit.image_io.array_files import ArrayOriginal, numbered, read_arrays_as_images
from vqkit.image_io.component_files import read_components
from vqkit.image_io.forms import Reading, Source, check_form, read_form
from vqkit.image_io.given import as_tensor
from vqkit.image_io.inputs import Item, split_name
from vqkit.image_io.layouts import Member
from vqkit.image_io.masks import Mask
from vqkit.image_io.observing import observe
from vqkit.image_io.originals import Channel, ComponentOriginal, FileOriginal, Original, single_channel, without_channel_tags
from vqkit.image_io.rasters import RasterInfo, RasterPixels, open_raster
from vqkit.image_io.scales import numbers_of_others, to_model
from vqkit.image_io.values import tensor_of
from vqkit.interfaces import DataSpec

_THREADS = max(1, min(4, usable_cpus() // 2))
_AHEAD = 128
"""Most items that are read ahead."""
_AHEAD_BYTES = 2**27
"""Memory that these may take: images of which fewer fit are not read as far ahead."""
_ARRAYS = (".npy", ".npz")


class InputImage(NamedTuple):
    """One image to be filled in or encoded.

    `name`: of its outputs; `image` [C, H, W]: stored values of the model, in its `stored_dtype`; `present` and `observed` bool
    [C, H, W]: where there are values, and where the model may look; `original`: what it was read from; `number`: how many images
    come before it, where an item that was skipped counts as one.
    """

    name: str
    image: Tensor
    present: Tensor
    observed: Tensor
    original: Original
    number: int = 0

    @property
    def size(self) -> torch.Size:
        """Height and width."""
        return self.image.shape[1:]


class ReadOptions(NamedTuple):
    """How to read images: the components to keep, the mask of what to fill in, and the form.

    `may_be_none`: whether it is no error that none of them can be used, because they are a part of those that were asked for.
    """

    keep: tuple[str, ...] = ()
    mask: Mask | None = None
    form: str | None = None
    may_be_none: bool = False


class _Image(NamedTuple):
    """An image as it was read: see `InputImage`."""

    name: str
    image: Tensor
    present: Tensor
    original: Original


def read_images(
    items: Sequence[Item],
    spec: DataSpec,
    request: ReadOptions,
    skip: Callable[[str, str], None],
    check: Callable[[InputImage], None],
) -> Iterator[InputImage]:
    """The images of all items, one after the other.

    `check` is called with each and raises `DataError` for one that cannot be used. An item that cannot be used is skipped, and
    `skip` is called with its path and the reason. Raises `DataError` for the only item, or when none can be used, unless that may
    be, and `ConfigError` for an unknown component or form.
    """
    spec.component_indices(request.keep)
    if request.form is not None:
        check_form(request.form)
    usable, skipped, reason = 0, 0, ""
    for item, found in _read_ahead(items, spec, request, check):
        if isinstance(found, DataError):
            if len(items) == 1 and not request.may_be_none:
                raise found
            reason = reason or str(found)
            skipped += 1
            skip(str(item.path), str(found))
            continue
        for image in found:
            yield image._replace(number=usable + skipped)
            usable += 1
    if not usable and not request.may_be_none:
        raise DataError(f"None of the {len(items)} images can be used.", f"The first: {reason}")


def check_not_whole(image: InputImage, hint: str = "Say what to keep with --keep, or what to fill in with --mask.") -> None:
    """Raise `DataError` for an image of which nothing is to be filled in; `hint`: what to do about it."""
    if bool(image.observed.all()):
        raise DataError("The whole image is kept, so there is nothing to fill in.", hint)


def _read_ahead(
    items: Sequence[Item], spec: DataSpec, request: ReadOptions, check: Callable[[InputImage], None]
) -> Iterator[tuple[Item, list[InputImage] | DataError]]:
    """What each item holds, in order, read in threads; not further ahead than memory allows."""

    def read(item: Item) -> list[InputImage] | DataError:
        try:
            images = list(_observed(item, spec, request))
            for image in images:
                check(image)
        except DataError as error:
            return error
        return images

    waiting: deque[tuple[Item, Future[list[InputImage] | DataError]]] = deque()
    remaining, most = iter(items), 2
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            while True:
                while len(waiting) < most and (item := next(remaining, None)) is not None:
                    waiting.append((item, pool.submit(read, item)))
                if not waiting:
                    return
                item, future = waiting.popleft()
                found = future.result()
                if not isinstance(found, DataError):
                    most = max(2, min(_AHEAD, _AHEAD_BYTES // (1 + sum(4 * image.image.nbytes for image in found))))
                yield item, found
        finally:
            for _, future in waiting:
                future.cancel()


def _observed(item: Item, spec: DataSpec, request: ReadOptions) -> Iterator[InputImage]:
    for name, image, present, original in read_item(item, spec, request.keep, request.form):
        kept = None if request.mask is None else request.mask.kept(image.shape[1], image.shape[2], spec)[None]
        observed = observe(present[None], request.keep, kept, spec)[0]
        yield InputImage(name, image, present, observed, original)


def read_item(item: Item, spec: DataSpec, keep: tuple[str, ...] = (), form: str | None = None) -> Iterator[_Image]:
    """The images of an item, one at a time; those of an array are numbered.

    Raises `DataError` naming the file when it cannot be read, and `ConfigError` for an unknown form.
    """
    member = item.members.get(None)
    if member is None:
        image, present, original = read_components(item, spec)
        yield _Image(item.name, image, present, original)
    elif member.path.suffix.lower() in _ARRAYS:
        file = read_arrays_as_images(member.path, item.name, spec, keep, form)
        for index, numbers in enumerate(file.numbers):
            name = numbered(item.name, index, len(file.numbers))
            image = to_model(numbers, file.given.spec, spec)
            yield _Image(name, image, file.given.present[index], ArrayOriginal(file, index))
    else:
        yield _read_file(item, member, spec, keep, form)


def _read_file(item: Item, member: Member, spec: DataSpec, keep: tuple[str, ...], form: str | None) -> _Image:
    """The one image of a picture, a TIFF or another file of channels."""
    with open_raster(member.path) as raster:
        info = raster.info
        pixels = raster.read()
    component = split_name(member.path.stem, spec)[1]
    if component is None and info.channels == 1 and info.names and info.names[0] in spec.components:
        component = info.names[0]
    source = Source(str(member.path), *pixels, info.names, info.is_colour, component=component)
    reading = read_form(source, spec, keep, form)
    image = to_model(as_tensor(reading.images[0], reading.spec), reading.spec, spec)
    present = tensor_of(reading.present[0])
    return _Image(item.name, image, present, _original(item, info, pixels, reading, spec))


def _original(item: Item, info: RasterInfo, pixels: RasterPixels, reading: Reading, spec: DataSpec) -> Original:
    """How a result is written: as one file like this one, or as one a component where the file holds no channels of components."""
    values = pixels.values
    meanings = reading.spec.component_specs
    if reading.form in ("channels", "colour") and len(set(reading.places)) == len(reading.places):
        present = np.ones(values.shape, bool) if pixels.present is None else np.broadcast_to(pixels.present, values.shape)
        return FileOriginal(info, values, present, reading.places, reading.spec)
    if reading.form == "colour" or (reading.form == "component" and len(spec.components) == 1):
        # Greyscale that is stored in three equal channels, or three equal channels made of greyscale.
        count = len(meanings)
        like = single_channel(info) if count == 1 else replace(without_channel_tags(info), channels=count, is_colour=True)
        return FileOriginal(like, reading.images[0], reading.present[0], tuple(range(count)), reading.spec)
    height, width = reading.images.shape[2:]
    like = single_channel(info)
    if (info.height, info.width) != (height, width):
        like = like.resized(height, width)
    channels: Mapping[int, Channel] = {}
    if reading.form != "label-map":
        channels = {
            number: Channel(reading.images[0, number], meaning, like)
            for number, meaning in enumerate(meanings)
            if not reading.places or reading.places[number] is not None
        }
    return ComponentOriginal(numbers_of_others(reading.spec, spec), channels, like, item.component_path)
