"""Reading images for a trained model: files and directories in any of the forms of `vqkit.image_io.forms`, and masks.

A directory is in the component layout (`{component}/{prefix}_{component}.png`, or the same files in one folder), where a component
without a file is missing from that image, or it holds plain images. Everything is checked before it is decoded: a huge, truncated
or foreign file is a `DataError` that names it.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqkit.errors import DataError, did_you_mean
from vqkit.image_io.forms import Reading, Source, array_source, check_form, checked_values, read_form, split_strip
from vqkit.image_io.observing import observe
from vqkit.interfaces import DataSpec

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tga"})
ARRAY_SUFFIXES = frozenset({".npy", ".npz"})
MOST_BYTES = 2**31
"""Largest array that is read: 2 GiB. Larger collections belong into a data set (`--data`)."""

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


class Entry(NamedTuple):
    """One image: its name in outputs, its values uint8 [C, H, W], where it has any (bool) and what the model may look at (bool)."""

    name: str
    image: Tensor
    present: Tensor
    observed: Tensor


class Request(NamedTuple):
    """What a user said about the images: the components to keep, the pixels to fill in (see `read_hole`), and the form."""

    keep: tuple[str, ...] = ()
    hole: Tensor | None = None
    form: str | None = None


def read_entries(
    items: Sequence[Item], spec: DataSpec, request: Request, whole: bool, skip: Callable[[str, str], None]
) -> Iterator[Entry]:
    """The images of all items, one after the other. `whole`: whether images of which everything is observed are welcome.

    An item that cannot be used is skipped, and `skip` is told its path and why. Raises `DataError` when there is only one
    such item, or when none can be used, and `ConfigError` for an unknown component or form.
    """
    spec.component_indices(request.keep)
    if request.form is not None:
        check_form(request.form)
    usable, reason = 0, ""
    for item in items:
        try:
            entries = list(_observed_entries(item, spec, request, whole))
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


def _observed_entries(item: Item, spec: DataSpec, request: Request, whole: bool) -> Iterator[Entry]:
    mask = ~request.hole if request.hole is not None else None
    for name, reading in read_item(item, spec, request.keep, request.form):
        observed = observe(reading.present, request.keep, mask, spec)
        if bool(observed.all()) and not whole:
            hint = "Say what to keep with --keep, or what to fill in with --mask."
            if mask is not None:
                hint = "The white pixels of a mask are filled in, and this one has none."
            raise DataError("The whole image is kept, so there is nothing to fill in.", hint)
        yield Entry(name, reading.images[0], reading.present[0], observed[0])


def find_items(source: Path, spec: DataSpec, exclude: Path | None = None) -> list[Item]:
    """What there is to read at a path, sorted by name; plain images below `exclude`, where outputs go, are left out.

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
    if source.suffix.lower() not in PICTURE_SUFFIXES | ARRAY_SUFFIXES:
        known = ", ".join(sorted(PICTURE_SUFFIXES | ARRAY_SUFFIXES))
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
            if named is None or path.suffix.lower() in ARRAY_SUFFIXES:
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
    # photo.png and photo.jpg side by side must not be written to one file.
    unique = (name if uses[name] == 1 else f"{name}_{path.suffix[1:].lower()}" for name, path in zip(names, paths, strict=True))
    return [Item(name, {None: path}) for name, path in zip(unique, paths, strict=True)]


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and _is_readable(path))


def _is_readable(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES | ARRAY_SUFFIXES and not path.name.startswith(".") and path.is_file()


def split_name(stem: str, spec: DataSpec) -> tuple[str, str | None]:
    """`{prefix}_{component}` as its two parts; (stem, None) when it does not end in a component.

    A photograph named `shot_b` is whole all the same, so colour pictures are never split.
    """
    if spec.is_colour:
        return stem, None
    endings = [name for name in spec.components if stem.endswith(f"_{name}") and len(stem) > len(name) + 1]
    if not endings:
        return stem, None
    component = max(endings, key=len)
    return stem[: -len(component) - 1], component


def read_item(item: Item, spec: DataSpec, keep: tuple[str, ...] = (), form: str | None = None) -> Iterator[tuple[str, Reading]]:
    """The images of an item, one at a time as (name, reading [1, C, H, W] of uint8); an array of several numbers its images.

    Raises `DataError` naming the file when it cannot be read, and `ConfigError` for an unknown form.
    """
    path = item.files.get(None)
    if path is None:
        yield item.name, _read_components(item.files, spec)
        return
    source = _array_file(path, spec) if path.suffix.lower() in ARRAY_SUFFIXES else _picture_file(path, spec)
    images, present, _ = source if isinstance(source, Reading) else read_form(source, spec, keep, form)
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
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise DataError(f"The mask {path} is not a picture.", f"It may end in {', '.join(sorted(PICTURE_SUFFIXES))}.")
    page = _picture_file(path, spec).pages[0][..., :3].to(torch.float32).mean(dim=-1)
    if page.shape == (spec.height, spec.width):
        return (page >= _WHITE)[None, None]
    return split_strip(page >= _WHITE, spec)


def _read_components(files: Mapping[str | None, Path], spec: DataSpec) -> Reading:
    """One image from one picture a component; components without a file are not present."""
    shape = (1, len(spec.components), spec.height, spec.width)
    images, present = torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape, dtype=torch.bool)
    for component, path in files.items():
        alone = read_form(_picture_file(path, spec), spec, (str(component),), "component")
        images, present = images | alone.images, present | alone.present
    return Reading(images, present)


def _picture_file(path: Path, spec: DataSpec) -> Source:
    """The pages of a picture that has one of the sizes that fit. Raises `DataError` when it has not, or cannot be decoded."""
    component = split_name(path.stem, spec)[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                _check_picture_size(image.size, path, spec)
                # Only TIFF pages are components; the frames of an animation or the previews in a JPEG are not.
                count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
                pages = []
                for number in range(count if count == len(spec.components) else 1):
                    image.seek(number)
                    _check_picture_size(image.size, path, spec)
                    pages.append(picture_pixels(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(
            f"The picture {path} is huge.", f"The model's images are {spec.width} wide and {spec.height} high."
        ) from None
    except PermissionError:
        raise DataError(f"The picture {path} may not be read.", "Change its permissions.") from None
    except (OSError, SyntaxError, ValueError, EOFError):  # in all of these ways PIL reports damage
        raise DataError(f"The picture {path} cannot be read: it is damaged or not a picture.", "Replace or remove it.") from None
    return Source(str(path), tuple(pages), count, component=component)


def _check_picture_size(size: tuple[int, int], path: Path, spec: DataSpec) -> None:
    """Refuse a size that no form has, before anything is decoded."""
    strip = spec.width * len(spec.components)
    if size in ((spec.width, spec.height), (strip, spec.height)):
        return
    several = len(spec.components) > 1 and not spec.is_colour
    also = f" (or {strip} wide, with the {len(spec.components)} components side by side)" if several else ""
    raise DataError(
        f"The picture {path} is {size[0]} wide and {size[1]} high; the model's images are {spec.width} and {spec.height}.",
        f"Scale or crop it to that size{also}, or train a model on larger images.",
    )


def picture_pixels(image: Image.Image) -> Tensor:
    """A decoded picture as uint8 [H, W, 1] (greyscale), [H, W, 3] (colour) or [H, W, 4] (with opacity); 16 bits are cut to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F":
            values = values * 255 if values.size and values.max() <= 1 else values
        elif values.max() > 255 or image.mode != "I":
            values = values / 257
        return torch.from_numpy(np.clip(np.round(values), 0, 255).astype(np.uint8))[..., None]
    if image.mode in ("1", "L"):
        return torch.from_numpy(np.array(image.convert("L")))[..., None]
    opaque = image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info
    return torch.from_numpy(np.array(image.convert("RGB" if opaque else "RGBA")))


def _array_file(path: Path, spec: DataSpec) -> Source | Reading:
    """The array in a file, or the images in an archive whose arrays are named for components."""
    try:
        if path.suffix.lower() == ".npy":
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
            _check_bytes(mapped.nbytes, path)
            return _to_source(np.array(mapped), path, spec)
        with zipfile.ZipFile(path) as archive:
            _check_bytes(sum(member.file_size for member in archive.infolist()), path)
        with np.load(path, allow_pickle=False) as arrays:
            return _archive(arrays, path, spec)
    except PermissionError:
        raise DataError(f"The array {path} may not be read.", "Change its permissions.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise DataError(f"{path} is damaged or holds no plain array.", "Save it anew with numpy.save or numpy.savez.") from None


def _archive(arrays: Mapping[str, np.ndarray], path: Path, spec: DataSpec) -> Source | Reading:
    """One array, the one named `images`, or one array [H, W] or [B, H, W] a component, named for it."""
    names = list(arrays)
    named = [name for name in spec.components if name in names]
    if "images" in names or (len(names) == 1 and not named):
        return _to_source(arrays["images" if "images" in names else names[0]], path, spec)
    if not named:
        raise DataError(
            f"{path} holds {len(names)} arrays: {', '.join(names)}.",
            f"Name the images 'images', or each component for itself: {', '.join(spec.components)}.",
        )
    parts = {name: checked_values(_to_tensor(arrays[name], path), spec, f"{path}, {name}") for name in named}
    parts = {name: part[None] if part.ndim == 2 else part for name, part in parts.items()}
    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    if len(set(shapes.values())) > 1 or any(shape[1:] != (spec.height, spec.width) for shape in shapes.values()):
        described = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(
            f"The arrays in {path} do not fit: {described}.", f"Each must be [{spec.height}, {spec.width}] or a batch of those."
        )
    first = parts[named[0]]
    images = torch.stack([parts.get(name, torch.zeros_like(first)).to(first.dtype) for name in spec.components], dim=1)
    present = torch.tensor([name in parts for name in spec.components])[None, :, None, None].expand(images.shape)
    return Reading(images, present)


def _to_source(array: np.ndarray, path: Path, spec: DataSpec) -> Source:
    return array_source(_to_tensor(array, path), str(path))._replace(component=split_name(path.stem, spec)[1])


def _to_tensor(array: np.ndarray, path: Path) -> Tensor:
    """A tensor of the array's values; numbers of a kind that torch cannot compare become wider or narrower ones."""
    if array.dtype.kind not in "buif" or math.prod(array.shape) == 0:
        raise DataError(
            f"{path} holds an array of {array.dtype} {array.shape}, which is no image.", "Images are numbers, uint8 best."
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _check_bytes(count: int, path: Path) -> None:
    if count > MOST_BYTES:
        raise DataError(
            f"{path} holds {count / 2**30:.1f} GiB of numbers, more than {MOST_BYTES / 2**30:.0f}.", "Split it into files."
        )
