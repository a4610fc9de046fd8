"""What a trained model is to read: the images at a path, the files that each lies in, and what files of a result are called.

A directory is read as `vqkit.image_io.layouts` describes it: components in files of their own, where one without a file is
missing, or every file a whole image. A single file is one image (an array file may hold several).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.image_io.formats import INPUT_SUFFIXES, has_suffix
from vqkit.image_io.layouts import FoundSet, Member, find_images, safe_name
from vqkit.image_io.layouts.patterns import ANY_FOLDERS, suffix_of, without_suffix
from vqkit.interfaces import DataSpec

STANDARD_LAYOUT = "{component}/{name}_{component}"
"""How components are laid out where the input says nothing about it."""
_EVERY_FILE = "**/{name}"


class Item(NamedTuple):
    """One image, or one file of several.

    `name`: that of its outputs, a relative path without suffix; `members`: where each component is, or under None the one file that
    holds all; `pattern`: how files of components are named; `folder` and `label`: the folder of its split, ending in a slash, and
    its class, with which the name begins.
    """

    name: str
    members: Mapping[str | None, Member]
    pattern: str = STANDARD_LAYOUT
    folder: str = ""
    label: str | None = None

    @property
    def path(self) -> Path:
        """The file, or the first of the files."""
        return next(iter(self.members.values())).path

    def component_path(self, name: str, component: str) -> str:
        """The relative path, without suffix, of a component of a result that is called `name`."""
        layout = component_layout(self.pattern, name.removeprefix(self.folder), self.label)
        return safe_name(self.folder + layout.replace("{component}", component))


class Inputs(NamedTuple):
    """The items at a path, sorted by name, and sentences on what was understood and what was left out."""

    items: list[Item]
    notes: tuple[str, ...] = ()


def find_inputs(source: Path, spec: DataSpec, pattern: str | None = None, exclude: Path | None = None) -> Inputs:
    """The items at a path, except what lies in `exclude`, the output directory.

    `pattern` describes the files of a directory, see `vqkit.image_io.layouts.Pattern`. Raises `DataError` when the path does not
    exist, is of a kind that cannot be read, or is a directory without images; `ConfigError` for a pattern that is none.
    """
    if source.is_dir() and source.suffix.lower() != ".zarr":
        return _from_directory(source, spec, pattern, exclude)
    if pattern is not None:
        raise ConfigError(f"--pattern describes the files of a directory; {source} is none.", "Give the directory, or no pattern.")
    if not source.exists():
        nearby = [item.name for item in source.parent.iterdir()] if source.parent.is_dir() else []
        where = "The working directory" if source.parent == Path() else f"{source.parent}/"
        hint = did_you_mean(source.name, nearby, f"{where} holds") if 0 < len(nearby) <= 20 else "Check the path."
        raise DataError(f"{source} does not exist.", hint)
    if not has_suffix(source, INPUT_SUFFIXES) and not source.is_dir():
        known = ", ".join(sorted(INPUT_SUFFIXES))
        raise DataError(f"{source} is neither a picture nor an array.", f"Files that can be read end in {known}.")
    return Inputs([_whole(split_name(without_suffix(source.name), spec)[0], source)])


def _from_directory(source: Path, spec: DataSpec, pattern: str | None, exclude: Path | None) -> Inputs:
    components = None if len(spec.components) == 1 or spec.is_colour else spec.components
    if pattern is None and components is None:
        pattern = _EVERY_FILE
    found = find_images(source, pattern, components, exclude=exclude, suffixes=INPUT_SUFFIXES, require_components=False)
    return Inputs(_items(found), found.notes)


def _items(found: FoundSet) -> list[Item]:
    items = []
    for split, images in found.splits.items():
        folder = f"{split}/" if found.split_folders else ""
        for image in images:
            name = f"{folder}{image.name}"
            if image.file is not None:
                items.append(_whole(name, image.file))
                continue
            members: dict[str | None, Member] = dict(image.members.items())
            items.append(Item(safe_name(name), members, found.pattern, folder, image.label))
    return sorted(items, key=lambda item: item.name)


def _whole(name: str, path: Path) -> Item:
    return Item(safe_name(name), {None: Member(path)})


def described_items(items: Sequence[Item], part: range) -> tuple[list[str], list[list[object]]]:
    """What a shard of items is made of, as plain values: the names of all, and the files of the part with their lengths."""
    own = [[member.path.name, *_length(member.path)] for item in items[part.start : part.stop] for member in item.members.values()]
    return [item.name for item in items], own


def _length(path: Path) -> list[int]:
    """The length of a file in bytes; nothing for a directory, as OME-Zarr is."""
    return [path.stat().st_size] if path.is_file() else []


def component_layout(pattern: str, name: str, label: str | None = None) -> str:
    """The path that a pattern gives the components of an image, without suffix and with `{component}` in place of their name.

    `name` begins with the class `label`, if there is one. The standard layout takes the place of a pattern that leaves open where
    the files are (`*`).
    """
    text = without_suffix(pattern) if suffix_of(pattern) not in ("", ".*") else pattern.removesuffix(".*")
    if "*" in text.replace(ANY_FOLDERS, "") or "{component}" not in text:
        text = STANDARD_LAYOUT
    if label is not None and "{class}" in text:
        name = name.removeprefix(f"{label}/")
        text = text.replace("{class}", label)
    folders, slash, base = name.rpartition("/")
    if ANY_FOLDERS in text:
        text = text.replace(ANY_FOLDERS, folders + slash, 1).replace(ANY_FOLDERS, "")
    elif "{name}" in text and folders:
        text = folders + slash + text
    return text.replace("{split}/", "").replace("{name}", base)


def split_name(stem: str, spec: DataSpec) -> tuple[str, str | None]:
    """`{name}_{component}` as its two parts; (stem, None) when it does not end in a component.

    Names of colour pictures are never split: a photograph `shot_b` shows all channels.
    """
    if spec.is_colour:
        return stem, None
    endings = [name for name in spec.components if stem.endswith(f"_{name}") and len(stem) > len(name) + 1]
    if not endings:
        return stem, None
    component = max(endings, key=len)
    return stem[: -len(component) - 1], component
