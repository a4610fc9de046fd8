"""Which split each file or image belongs to: folders that are named for splits, or the flags of a table."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import DataError
from vqkit.image_io.layouts.found import FoundImage
from vqkit.image_io.layouts.naming import counted, examples
from vqkit.image_io.layouts.walking import WalkedFile
from vqkit.image_io.tables import ConditionTable
from vqkit.interfaces import SPLITS, SplitName

SPLIT_FOLDERS: Mapping[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the folders of each split, in any case."""

_SPLIT_OF = {word: split for split, words in SPLIT_FOLDERS.items() for word in words}
DECORATION = r"[-_ ]?(?:sets?|splits?|data|images|imgs|[0-9]{1,4})"
"""What may follow such a name where another folder is named for training: `train2017` beside `val2017`."""
_DEEPEST = 4
_MOST = 0.9


class PlacedFile(NamedTuple):
    """A file, the split whose folder it is in (None without such folders), and its path without that folder."""

    file: WalkedFile
    split: SplitName | None
    rest: str


class _Part(NamedTuple):
    """A file, the folders of its path and its name, and its split."""

    file: WalkedFile
    parts: list[str]
    split: SplitName | None


def split_named(folder: str) -> SplitName | None:
    """The split that a folder's name means, or None."""
    return _SPLIT_OF.get(folder.lower())


def place_files(files: Sequence[WalkedFile], root: Path, strict: bool = True) -> tuple[list[PlacedFile], list[str]]:
    """Each file with its split, and notes on those that are left out because they lie beside the folders of splits.

    These folders are at the top, or below others, as `images/train/...` beside `masks/train/...`, where nearly all files are in
    them. Without `strict` nothing is left out: folders that have files beside them are ordinary ones.
    Raises `DataError` when two folders are named for one split.
    """
    split_files = [(file, file.relative.split("/")) for file in files]
    for depth in range(_DEEPEST):
        for meaning in (decorated_split, split_named):
            named = [_Part(file, parts, meaning(parts[depth]) if len(parts) > depth + 1 else None) for file, parts in split_files]
            inside = [part for part in named if part.split is not None]
            splits = {part.split for part in inside}
            if meaning is decorated_split and not {"train"} < splits:
                continue
            if len(inside) < len(files) and not (strict and _are_splits(inside, len(files), depth)):
                continue
            twice = _named_twice(inside, depth)
            if twice is not None and meaning is decorated_split:
                continue
            if twice is not None:
                raise DataError(
                    f"{root} has two folders of {twice[0]} images: {twice[1]} and {twice[2]}.",
                    "Move the images into one of them, or give a pattern with data.pattern.",
                )
            return _placed(inside, depth), _left_out(sorted(part.parts[0] for part in named if part.split is None))
    return [PlacedFile(file, None, file.relative) for file in files], []


@functools.cache
def decorated_split(folder: str) -> SplitName | None:
    """The split that a folder's name means which may go on with a year, `set`, `images` and the like, or None."""
    return split_named(re.sub(f"{DECORATION}$", "", folder, flags=re.IGNORECASE))


def _are_splits(inside: Sequence[_Part], total: int, depth: int) -> bool:
    """Whether folders that are named so are those of splits, though there are files beside them: a class may be called train."""
    if depth:
        return len(inside) >= _MOST * total
    return 2 * len(inside) >= total or len({part.split for part in inside}) > 1


def _named_twice(inside: Sequence[_Part], depth: int) -> tuple[str, str, str] | None:
    """A split that two folders of one place are named for, such as `val` and `Validation`, with these; or None."""
    seen: dict[tuple[str, SplitName | None], str] = {}
    for _, parts, split in inside:
        folder = "/".join(parts[: depth + 1])
        other = seen.setdefault(("/".join(parts[:depth]), split), folder)
        if other != folder:
            return str(split), other, folder
    return None


def _placed(inside: Sequence[_Part], depth: int) -> list[PlacedFile]:
    # A single folder around those of the splits, as archives have it, says nothing about the images.
    start = depth if len({tuple(part.parts[:depth]) for part in inside}) == 1 else 0
    return [PlacedFile(file, split, "/".join(parts[start:depth] + parts[depth + 1 :])) for file, parts, split in inside]


def _left_out(names: Sequence[str]) -> list[str]:
    """A note on files that are left out, of which `names` are the files or the folders at the top that hold them."""
    if not names:
        return []
    return [f"Not used: {counted(len(names), 'file')} beside the folders of the splits ({examples(list(dict.fromkeys(names)))})."]


def split_by_table(images: Sequence[FoundImage], table: ConditionTable) -> tuple[dict[SplitName, list[FoundImage]], list[str]]:
    """The images by the flags of their rows: `test`, else `val`, else the training images; and notes on contradictions."""
    splits: dict[SplitName, list[FoundImage]] = {name: [] for name in SPLITS}
    several, unflagged = [], []
    for image in images:
        flags = [split for split in SPLITS if image.key is not None and table.flagged(image.key, split)]
        splits[flags[-1] if flags else "train"].append(image)
        several.extend([image.name] if len(flags) > 1 else [])
        unflagged.extend([image.name] if image.key is not None and not flags else [])
    notes = []
    if several:
        notes.append(
            f"{table.path.name} flags {counted(len(several), 'image')} for several splits, such as {several[0]}: the last counts."
        )
    if unflagged and set(SPLITS) & set(table.columns):
        count = counted(len(unflagged), "image")
        notes.append(f"{table.path.name} flags {count} for no split, such as {unflagged[0]}: used for training.")
    return {name: found for name, found in splits.items() if found}, notes
