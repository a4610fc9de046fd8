"""Which split each file or image belongs to: folders that are named for splits, or the flags of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import DataError
from vqkit.image_io.layouts.found import FoundImage
from vqkit.image_io.layouts.naming import counted, examples
from vqkit.image_io.layouts.walking import WalkedFile
from vqkit.image_io.split_names import decorated_split, split_and_domain, split_named
from vqkit.image_io.tables import KEY, ConditionTable
from vqkit.interfaces import SPLITS, SplitName

_MOST = 0.9


class PlacedFile(NamedTuple):
    """A file, the split whose folder it is in (None without such folders), and its path without that folder.

    `is_domain`: whether that path begins with a domain, which is part of the folder's name: `A` in `trainA`.
    """

    file: WalkedFile
    split: SplitName | None
    rest: str
    is_domain: bool = False


class _Part(NamedTuple):
    """A file, the folders of its path and its name, and its split."""

    file: WalkedFile
    parts: list[str]
    split: SplitName | None


def place_files(files: Sequence[WalkedFile], root: Path, strict: bool = True) -> tuple[list[PlacedFile], list[str]]:
    """Each file with its split, and notes on those that are left out because they lie beside the folders of splits.

    These folders are at the top, or below others, as `images/train/...` beside `masks/train/...`, where nearly all files are in
    them. Without `strict` nothing is left out: folders that have files beside them are ordinary ones.
    Raises `DataError` when two folders are named for one split.
    """
    split_files = [(file, file.relative.split("/")) for file in files]
    domains = _place_domains(split_files)
    if domains:
        return domains, []
    for depth in range(max((len(parts) for _, parts in split_files), default=1) - 1):
        for meaning in (decorated_split, split_named):
            named = [_Part(file, parts, meaning(parts[depth]) if len(parts) > depth + 1 else None) for file, parts in split_files]
            inside = [part for part in named if part.split is not None]
            splits = {part.split for part in inside}
            if meaning is decorated_split and not {"train"} < splits:
                continue
            if len(inside) < len(files) and not (strict and _are_splits(inside, len(files), depth)):
                continue
            twice = _named_twice(inside, depth)
            if twice is not None and meaning is decorated_split and not (strict and _is_train_named(inside, depth)):
                continue
            if twice is not None:
                raise DataError(
                    f"{root} has two folders of {twice[0]} images: {twice[1]} and {twice[2]}.",
                    "Move the images into one of them, or say where the splits are, such as with data.pattern='{split}/{name}'.",
                )
            return _placed(inside, depth), _left_out(sorted(part.parts[0] for part in named if part.split is None))
    return [PlacedFile(file, None, file.relative) for file in files], []


def _place_domains(split_files: Sequence[tuple[WalkedFile, list[str]]]) -> list[PlacedFile]:
    """Files in folders such as `trainA`, `trainB`, `testA` and `testB`, as those of unpaired sets: the letter becomes a folder.

    Nothing unless all files are in such folders, side by side, and of training and other splits.
    """
    for depth in range(max((len(parts) for _, parts in split_files), default=1) - 1):
        meanings = [split_and_domain(parts[depth]) if len(parts) > depth + 1 else None for _, parts in split_files]
        known = [meaning for meaning in meanings if meaning is not None]
        is_one_place = len({tuple(parts[:depth]) for _, parts in split_files}) == 1
        if len(known) < len(meanings) or not is_one_place or not {"train"} < {split for split, _ in known}:
            continue
        return [
            PlacedFile(file, split, "/".join([domain, *parts[depth + 1 :]]), is_domain=True)
            for (file, parts), (split, domain) in zip(split_files, known, strict=True)
        ]
    return []


def _is_train_named(inside: Sequence[_Part], depth: int) -> bool:
    """Whether a folder is called by a name of training images alone, and none so of another split: `train`, `test_1`, `test_2`."""
    return {split_named(part.parts[depth]) for part in inside} - {None} == {"train"}


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
    """The images by the splits of their rows: `test`, else `val`, else the training images; and notes on what is odd.

    Raises `DataError` where a table divides images and has no row for any of these.
    """
    if not table.split_columns:
        return {"train": list(images)}, []
    _check_rows(images, table)
    splits: dict[SplitName, list[FoundImage]] = {name: [] for name in SPLITS}
    several, unflagged, unknown = [], [], []
    for image in images:
        flags = [] if image.key is None else table.splits_of(image.key)
        splits[flags[-1] if flags else "train"].append(image)
        several.extend([image.name] if len(flags) > 1 else [])
        unflagged.extend([image.name] if image.key is not None and not flags else [])
        unknown.extend([image.name] if image.key is None else [])
    notes = []
    if several:
        notes.append(
            f"{table.path.name} flags {counted(len(several), 'image')} for several splits, such as {several[0]}: the last counts."
        )
    if unknown:
        count = counted(len(unknown), "image")
        notes.append(f"{table.path.name} has no row for {count}, such as {unknown[0]}: used for training.")
    if unflagged:
        count = counted(len(unflagged), "image")
        notes.append(f"{table.path.name} flags {count} for no split, such as {unflagged[0]}: used for training.")
    return {name: found for name, found in splits.items() if found}, notes


def _check_rows(images: Sequence[FoundImage], table: ConditionTable) -> None:
    """Raise `DataError` where no image has a row: test images would be trained on."""
    if images and all(image.key is None for image in images):
        columns = ", ".join(table.split_columns)
        raise DataError(
            f"{table.path} says in {columns} which images are for training, but has no row for any of them: the images are called "
            f"{examples([image.name for image in images])}, the rows {examples(list(table.rows)) or 'nothing'}.",
            f"Write the names of the images, without folders and suffix, in the column {KEY}, or remove the columns {columns}.",
        )
