"""Which split each file or image belongs to: folders that are named for splits, or the flags of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

_DEEPEST = 4
_SPLIT_OF = {word: split for split, words in SPLIT_FOLDERS.items() for word in words}


class PlacedFile(NamedTuple):
    """A file, the split whose folder it is in (None without such folders), and its path without that folder."""

    file: WalkedFile
    split: SplitName | None
    rest: str


def split_named(folder: str) -> SplitName | None:
    """The split that a folder's name means, or None."""
    return _SPLIT_OF.get(folder.lower())


def place_files(files: Sequence[WalkedFile], root: Path) -> tuple[list[PlacedFile], list[str]]:
    """Each file with its split, and notes on those that are left out because they lie beside the folders of splits.

    These folders are at the top, or below others, as `images/train/...` beside `masks/train/...`, where most files are in them.
    Raises `DataError` when two folders are named for one split.
    """
    parted = [(file, file.relative.split("/")) for file in files]
    for depth in range(_DEEPEST):
        named = [(file, parts, split_named(parts[depth]) if len(parts) > depth + 1 else None) for file, parts in parted]
        inside = [(file, parts, split) for file, parts, split in named if split is not None]
        if not inside or (depth and 2 * len(inside) < len(files)):
            continue
        _check_spellings(((parts[:depth], parts[depth], split) for _, parts, split in inside), root)
        # A single folder around those of the splits, as archives have it, says nothing about the images.
        start = depth if len({tuple(parts[:depth]) for _, parts, _ in inside}) == 1 else 0
        placed = [PlacedFile(file, split, "/".join(parts[start:depth] + parts[depth + 1 :])) for file, parts, split in inside]
        return placed, _left_out(sorted(parts[0] for _, parts, split in named if split is None))
    return [PlacedFile(file, None, file.relative) for file in files], []


def _check_spellings(folders: Iterable[tuple[list[str], str, SplitName]], root: Path) -> None:
    """Raise `DataError` when two folders of one place are named for one split, such as `val` and `Validation`."""
    seen: dict[tuple[str, SplitName], str] = {}
    for above, folder, split in folders:
        other = seen.setdefault(("/".join(above), split), folder)
        if other != folder:
            raise DataError(
                f"{root} has two folders of {split} images: {'/'.join([*above, other])} and {'/'.join([*above, folder])}.",
                "Move the images into one of them, or give a pattern with data.pattern.",
            )


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
