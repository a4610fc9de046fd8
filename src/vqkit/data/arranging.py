"""From image files to images of components: in which file and channel each component of each image is."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.data.describing import StoredComponent
from vqkit.data.headers import FileHeader, Form
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.layouts import FoundImage
from vqkit.image_io.values import channel_names

GREY = -1
"""In place of a channel: all colours of the file, which must be equal."""
_SHOWN = 3


class Part(NamedTuple):
    """Where one component of an image is: a file, and its channel there, or `GREY`."""

    header: FileHeader
    channel: int


class ImageFiles(NamedTuple):
    """One image: its name, the place of each component (None: a gap), its class, and the key of its row in the table."""

    name: str
    parts: tuple[Part | None, ...]
    label: str | None = None
    key: str | None = None

    @property
    def reference(self) -> FileHeader:
        """The header of the part with the most pixels, on whose grid the image is read."""
        return max((part.header for part in self.parts if part), key=lambda header: header.form.height * header.form.width)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        form = self.reference.form
        return form.height, form.width

    @property
    def is_resampled(self) -> bool:
        """Whether its components differ in resolution."""
        return len({part.header.form[1:3] for part in self.parts if part}) > 1

    @property
    def may_have_gaps(self) -> bool:
        """Whether some pixels may be absent: a component has no file, or a file may say so of pixels."""
        return any(part is None or part.header.may_have_gaps for part in self.parts)


def apart(found: Sequence[FoundImage], components: Sequence[str], headers: Mapping[Path, FileHeader]) -> list[ImageFiles]:
    """Images whose components lie in files of their own. Raises `DataError` for a file that holds more than one component."""

    def part(image: FoundImage, name: str) -> Part | None:
        member = image.members.get(name)
        if member is None:
            return None
        header = headers[member.path]
        channels = header.form.channels
        if member.channel is not None or channels == 1:
            return Part(header, member.channel or 0)
        if not header.is_colour:
            raise DataError(
                f"{member.path} has {channels} channels, where one is expected: the component {name} of {image.name}.",
                "Save one channel a file, or describe files that hold all components with data.pattern='{name}'.",
            )
        return Part(header, GREY)

    return [ImageFiles(image.name, tuple(part(image, name) for name in components), image.label, image.key) for image in found]


def in_one_file(
    found: Sequence[FoundImage], headers: Mapping[Path, FileHeader], components: Sequence[str] | None, root: Path
) -> tuple[tuple[str, ...], list[ImageFiles]]:
    """The names of the components of images that lie in one file each, and the images.

    Where every file names its channels, and one has all names, channels are matched by name. Otherwise they are matched by
    position, and grey pictures among coloured ones are shown in colour. `components` chooses named channels, or names all of them;
    a single name takes colours whose channels are equal as grey.

    Raises `DataError` for files with different numbers of channels, and `ConfigError` for names that do not fit.
    """
    files = {image.path: headers[image.path] for image in found}
    held = _names_in_files(list(files.values()))
    if held and (components is None or set(components) <= set(held)):
        names = tuple(components or held)
        return names, [_by_name(image, files[image.path], names) for image in found]
    count = _channel_count(list(files.values()), root)
    grey = components is not None and len(components) == 1 and count == 3
    if components is not None and len(components) != count and not grey:
        known = f"They are named {', '.join(held)}." if held else f"Give {count} names, such as {','.join(channel_names(count))}."
        raise ConfigError(f"data.components names {len(components)} channels; the files in {root} have {count}.", known)
    names = tuple(components) if components else _default_names(list(files.values()), count)
    return names, [_by_position(image, files[image.path], len(names)) for image in found]


def colour_pictures(paths: Sequence[Path]) -> list[ImageFiles]:
    """Pictures known to be in colour, of 8 bits, which are scaled when they are read: their headers are not looked at."""
    headers = (FileHeader(path, Form(3, 1, 1, "uint8"), (), (), None, is_colour=True, may_have_gaps=False) for path in paths)
    return [ImageFiles(header.path.stem, tuple(Part(header, channel) for channel in range(3))) for header in headers]


def check_extents(images: Sequence[ImageFiles]) -> None:
    """Raise `DataError` for an image whose components differ in size and cannot be the same area at another resolution."""
    for image in images:
        if image.is_resampled:
            height, width = image.size
            for form, path in ((part.header.form, part.header.path) for part in image.parts if part):
                # Rounded to whole pixels when it was made coarser, a side may be off by one; at the same resolution it may not.
                if abs(form.width - width * form.height / height) > (form.height != height):
                    other = f"{image.reference.path} {width} and {height}"
                    raise DataError(
                        f"{path} is {form.width} wide and {form.height} high, and {other}: they do not show the same area.",
                        "Crop or pad the components of an image to the same area; their resolutions may differ.",
                    )


def stored_components(names: Sequence[str], images: Sequence[ImageFiles]) -> list[StoredComponent]:
    """The type of the values of each component, its unit and its nodata value, where all files agree on them.

    Raises `DataError` saying which files have which type, if a component has several, and for a component without any file.
    """
    return [_stored(name, [image.parts[number] for image in images]) for number, name in enumerate(names)]


def _stored(name: str, parts: Sequence[Part | None]) -> StoredComponent:
    headers: dict[str, list[FileHeader]] = defaultdict(list)
    units: set[str] = set()
    nodata: set[float | None] = set()
    for part in parts:
        if part is not None:
            headers[part.header.form.dtype].append(part.header)
            units.add(part.header.units[part.channel] if part.header.units else "")
            nodata.add(part.header.nodata)
    if not headers:
        raise DataError(f"The component {name} is absent from every image.", "Leave it out with data.components.")
    if len(headers) > 1:
        kinds = sorted(headers.items(), key=lambda item: -len(item[1]))
        given = "; ".join(f"{dtype} in {len(files):,} ({_examples(files)})" for dtype, files in kinds)
        raise DataError(f"The files of the component {name} hold values of several types: {given}.", "Convert them to one type.")
    return StoredComponent(
        name, next(iter(headers)), units.pop() if len(units) == 1 else "", nodata.pop() if len(nodata) == 1 else None
    )


def _examples(files: Sequence[FileHeader]) -> str:
    return f"{', '.join(str(header.path) for header in files[:_SHOWN])}{', ...' if len(files) > _SHOWN else ''}"


def _names_in_files(headers: Sequence[FileHeader]) -> tuple[str, ...]:
    """The names of the channels of the file that has the most, if every file's are among them and none is there twice."""
    longest = max((header.names for header in headers), key=len)
    known = set(longest)
    if any(len(header.names) != header.form.channels or len(set(header.names)) < len(header.names) for header in headers):
        return ()
    if all(known.issuperset(header.names) for header in headers):
        return longest
    warnings.warn("The files name their channels differently; channels are matched by their position.", stacklevel=4)
    return ()


def _by_name(image: FoundImage, header: FileHeader, names: Sequence[str]) -> ImageFiles:
    parts = tuple(Part(header, header.names.index(name)) if name in header.names else None for name in names)
    return ImageFiles(image.name, parts, image.label, image.key)


def _by_position(image: FoundImage, header: FileHeader, count: int) -> ImageFiles:
    channels = [0] * count if header.form.channels == 1 else [GREY] if count == 1 else range(count)
    return ImageFiles(image.name, tuple(Part(header, channel) for channel in channels), image.label, image.key)


def _channel_count(headers: Sequence[FileHeader], root: Path) -> int:
    """The number of channels of all files; grey ones may be among coloured ones."""
    counts = {header.form.channels for header in headers}
    coloured = all(header.is_colour for header in headers if header.form.channels == 3)
    if len(counts - {1} if max(counts) == 3 and coloured else counts) > 1:
        examples = (next(header for header in headers if header.form.channels == count) for count in sorted(counts))
        given = ", ".join(f"{header.form.channels} ({header.path})" for header in examples)
        raise DataError(f"The files in {root} have different numbers of channels: {given}.", "Keep each kind in its own directory.")
    return max(counts)


def _default_names(headers: Sequence[FileHeader], count: int) -> tuple[str, ...]:
    """Names of channels without any: r g b of colours, and of three channels of 8 bits; grey; else numbers."""
    coloured = all(header.is_colour or header.form.dtype == "uint8" for header in headers if header.form.channels == 3)
    return channel_names(count) if count != 3 or coloured else tuple(f"channel_{number}" for number in range(1, count + 1))
