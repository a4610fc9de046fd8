"""Reading images for a trained model: files and directories in any of the forms of `vqkit.image_io.forms`, and masks.

A directory is in the component layout (`{component}/{prefix}_{component}.png`, or the same files in one folder), where a component
without a file is missing from that image, or it contains plain images. Files are checked before they are decoded: a huge, truncated
or unsupported file raises a `DataError` that names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import DataError, did_you_mean
from vqkit.image_io.formats import INPUT_SUFFIXES, PICTURE_SUFFIXES, has_suffix
from vqkit.image_io.forms import Reading, check_form, read_form, split_strip
from vqkit.image_io.observing import observe
from vqkit.image_io.sources import picture_source, read_source
from vqkit.interfaces import DataSpec

_WHITE = 128
"""Grey value from which a pixel of a mask counts as white."""


class Item(NamedTuple):
    """One thing to read: its name in outputs (a relative path without suffix), and its file, or one file a component."""

    name: str
    files: Mapping[str | None, Path]

    @property
    def path(self) -> Path:
        """The file, or the first of the files."""
        return next(iter(self.files.values()))


class InputImage(NamedTuple):
    """One image: name in outputs, values uint8 [C, H, W], and bool [C, H, W]: where values are present, and where observed."""

    name: str
    image: Tensor
    present: Tensor
    observed: Tensor


class ReadOptions(NamedTuple):
    """How to read images: the components to keep, the pixels to fill in (see `read_hole`), and the form."""

    keep: tuple[str, ...] = ()
    hole: Tensor | None = None
    form: str | None = None


def read_images(
    items: Sequence[Item], spec: DataSpec, request: ReadOptions, whole: bool, skip: Callable[[str, str], None]
) -> Iterator[InputImage]:
    """The images of all items, one after the other. `whole`: whether fully observed images are allowed.

    An item that cannot be used is skipped, and `skip` is called with its path and the reason. Raises `DataError` for the only
    item, or when none can be used, and `ConfigError` for an unknown component or form.
    """
    spec.component_indices(request.keep)
    if request.form is not None:
        check_form(request.form)
    usable, reason = 0, ""
    for item in items:
        try:
            entries = list(_observed_images(item, spec, request, whole))
        except DataError as error:
            if len(items) == 1:
                raise
            reason = reason or str(error)
            skip(str(item.path), str(error))
            continue
        usable += len(entries)
        yield from entries
    if not usable:
        raise DataError(f"None of the {len(items)} images can be used.", f"The first: {reason}")


def _observed_images(item: Item, spec: DataSpec, request: ReadOptions, whole: bool) -> Iterator[InputImage]:
    mask = ~request.hole if request.hole is not None else None
    for name, reading in read_item(item, spec, request.keep, request.form):
        observed = observe(reading.present, request.keep, mask, spec)
        if bool(observed.all()) and not whole:
            hint = "Say what to keep with --keep, or what to fill in with --mask."
            if mask is not None:
                hint = "The white pixels of a mask are filled in, and this one has none."
            raise DataError("The whole image is kept, so there is nothing to fill in.", hint)
        yield InputImage(name, reading.images[0], reading.present[0], observed[0])


def find_items(source: Path, spec: DataSpec, exclude: Path | None = None) -> list[Item]:
    """The items at a path, sorted by name, except plain images below `exclude`, the output directory.

    Raises `DataError` when the path does not exist, is of a kind that cannot be read, or is a directory without images.
    """
    if source.is_dir():
        parts = [str(path) for path in sorted(source.iterdir()) if any((path / name).is_dir() for name in spec.components)]
        items = _component_items(source, spec)
        if not items and parts:
            raise DataError(f"{source} holds several sets of images.", f"Give one of them: {', '.join(parts[:8])}.")
        items = items or _plain_items(source, exclude)
        if not items:
            hint = f"Expected {spec.components[0]}/NAME_{spec.components[0]}.png and so on, or pictures or arrays."
            raise DataError(f"There are no images in {source}.", hint)
        return items
    if not source.exists():
        nearby = [item.name for item in source.parent.iterdir()] if source.parent.is_dir() else []
        raise DataError(
            f"{source} does not exist.", did_you_mean(source.name, nearby) if 0 < len(nearby) <= 20 else "Check the path."
        )
    if not has_suffix(source, INPUT_SUFFIXES):
        known = ", ".join(sorted(INPUT_SUFFIXES))
        raise DataError(f"{source} is neither a picture nor an array.", f"Files that can be read end in {known}.")
    return [Item(split_name(source.stem, spec)[0], {None: source})]


def _component_items(directory: Path, spec: DataSpec) -> list[Item]:
    """Items of the component layout, or of the same files in one folder; none when the directory is in neither."""
    folders = {name: directory / name for name in spec.components if (directory / name).is_dir()}
    found: dict[str, dict[str | None, Path]] = {}
    if folders:
        for component, folder in folders.items():
            for path in _pictures(folder):
                prefix = path.stem.removesuffix(f"_{component}")
                found.setdefault(prefix or path.stem, {})[component] = path
    elif len(spec.components) > 1 and not spec.is_colour:
        for path in sorted(filter(_is_readable, directory.iterdir())):
            prefix, named = split_name(path.stem, spec)
            if named is None or not has_suffix(path, PICTURE_SUFFIXES):
                return []
            found.setdefault(prefix, {})[named] = path
    return [Item(prefix, files) for prefix, files in sorted(found.items())]


def _plain_items(directory: Path, exclude: Path | None) -> list[Item]:
    """Every picture or array in the directory and in the folders below it, except for those below `exclude`."""
    paths = [path for path in sorted(directory.rglob("*")) if _is_readable(path)]
    if exclude is not None and exclude.resolve() != directory.resolve():
        paths = [path for path in paths if not path.resolve().is_relative_to(exclude.resolve())]
    names = [path.relative_to(directory).with_suffix("").as_posix() for path in paths]
    uses = Counter(names)
    # photo.png and photo.jpg in one folder must not be written to one file.
    unique = (name if uses[name] == 1 else f"{name}_{path.suffix[1:].lower()}" for name, path in zip(names, paths, strict=True))
    return [Item(name, {None: path}) for name, path in zip(unique, paths, strict=True)]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if has_suffix(path, PICTURE_SUFFIXES) and _is_readable(path))


def _is_readable(path: Path) -> bool:
    return has_suffix(path, INPUT_SUFFIXES) and not path.name.startswith(".") and path.is_file()


def split_name(stem: str, spec: DataSpec) -> tuple[str, str | None]:
    """`{prefix}_{component}` as its two parts; (stem, None) when it does not end in a component.

    Names of colour pictures are never split: a photograph `shot_b` shows all channels.
    """
    if spec.is_colour:
        return stem, None
    endings = [name for name in spec.components if stem.endswith(f"_{name}") and len(stem) > len(name) + 1]
    if not endings:
        return stem, None
    component = max(endings, key=len)
    return stem[: -len(component) - 1], component


def read_item(item: Item, spec: DataSpec, keep: tuple[str, ...] = (), form: str | None = None) -> Iterator[tuple[str, Reading]]:
    """The images of an item, one at a time as (name, reading [1, C, H, W] of uint8); images of an array are numbered.

    Raises `DataError` naming the file when it cannot be read, and `ConfigError` for an unknown form.
    """
    path = item.files.get(None)
    if path is None:
        yield item.name, _read_components(item.files, spec)
        return
    source = read_source(path, spec)
    if not isinstance(source, Reading):
        source = read_form(source._replace(component=split_name(path.stem, spec)[1]), spec, keep, form)
    images, present, _ = source
    if images.is_floating_point():
        images = (images * 255).round().to(torch.uint8)
    for number in range(len(images)):
        name = item.name if len(images) == 1 else f"{item.name}_{number:05d}"
        yield name, Reading(images[number : number + 1], present[number : number + 1])


def read_hole(path: Path, spec: DataSpec) -> Tensor:
    """A mask picture as the pixels to fill in: bool [1, 1 or C, H, W], True where it is white.

    It is as large as the image, or C times as wide to mask each component on its own. Raises `DataError` for another size.
    """
    if not path.is_file():
        raise DataError(
            f"The mask {path} does not exist.", "Give a picture of the image's size, white where it is to be filled in."
        )
    if not has_suffix(path, PICTURE_SUFFIXES):
        raise DataError(f"The mask {path} is not a picture.", f"It may end in {', '.join(sorted(PICTURE_SUFFIXES))}.")
    page = picture_source(path, spec).pages[0][..., :3].to(torch.float32).mean(dim=-1)
    if page.shape == (spec.height, spec.width):
        return (page >= _WHITE)[None, None]
    return split_strip(page >= _WHITE, spec)


def _read_components(files: Mapping[str | None, Path], spec: DataSpec) -> Reading:
    """One image from one picture a component; components without a file are not present."""
    shape = (1, len(spec.components), spec.height, spec.width)
    images, present = torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape, dtype=torch.bool)
    for component, path in files.items():
        alone = read_form(picture_source(path, spec), spec, (str(component),), "component")
        images, present = images | alone.images, present | alone.present
    return Reading(images, present)
