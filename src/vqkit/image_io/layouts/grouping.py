"""From files that match a pattern to images: which files belong together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from vqkit.errors import DataError
from vqkit.image_io.layouts.patterns import Pattern, suffix_of, without_suffix
from vqkit.image_io.layouts.splits import PlacedFile
from vqkit.image_io.layouts.walking import WalkedFile
from vqkit.interfaces import SplitName

PRIVATE_PREFIX = "mdbk_"
"""Prefix of EPURE files that is no part of an image's name."""

_WORD_AT_END = re.compile(r"\{name\}([-_. ])\{component\}")


class ImageKey(NamedTuple):
    """What tells images apart."""

    split: SplitName | None
    label: str | None
    name: str

    @property
    def full_name(self) -> str:
        """The name below its class."""
        return self.name if self.label is None else f"{self.label}/{self.name}"


class Match(NamedTuple):
    """A file and what the pattern reads from its path."""

    file: WalkedFile
    key: ImageKey
    component: str | None


ImageFiles = dict[str | None, WalkedFile]
"""The file of each component of one image; that of None holds them all."""


def match_files(pattern: Pattern, placed: Sequence[PlacedFile], most: int | None = None) -> list[Match]:
    """The files that match, in their order. With `most`, none as soon as there are more components than that."""
    matches: list[Match] = []
    distinct: set[str | None] = set()
    for each in placed:
        whole = "split" in pattern.placeholders
        parts = pattern.match(each.file.relative if whole else each.rest)
        if parts is None:
            continue
        distinct.add(parts.component)
        if most is not None and len(distinct) > most:
            return []
        split = parts.split if whole else each.split
        matches.append(Match(each.file, ImageKey(split, parts.label, parts.name), parts.component))
    return matches


def widen_components(matches: list[Match], pattern: str) -> list[Match]:
    """Components that consist of several words, where a pattern ends in `{name}_{component}` and reads the last word alone.

    What the names of all files of a component end in belongs to the component, unless it is so for all components:
    `toy_0_group` + `nc`, `toy_1_group` + `nc` beside `toy_0` + `bt` becomes `toy_0` + `group_nc`.
    """
    ending = _WORD_AT_END.search(pattern)
    if ending is None or pattern.count("{name}") + pattern.count("{component}") > 2:
        return matches
    separator = ending[1]
    names: dict[str | None, set[str]] = defaultdict(set)
    for match in matches:
        names[match.component].add(match.key.name)
    ends = {component: _common_end(each, separator) if len(each) > 1 else "" for component, each in names.items()}
    if len(set(ends.values())) == 1:
        return matches
    return [
        match._replace(
            key=match.key._replace(name=match.key.name[: len(match.key.name) - len(end)]),
            component=f"{end}{separator}{match.component}".removeprefix(separator) if end else match.component,
        )
        for match in matches
        for end in (ends[match.component],)
    ]


def _common_end(names: set[str], separator: str) -> str:
    """The words, each after a separator, that all names end in; they never make up a whole name."""
    rows = [name.split(separator) for name in names]
    count = 0
    while all(len(row) > count + 1 for row in rows) and len({row[-1 - count] for row in rows}) == 1:
        count += 1
    return "".join(f"{separator}{word}" for word in rows[0][len(rows[0]) - count :])


def group_components(matches: Sequence[Match]) -> dict[ImageKey, ImageFiles]:
    """The files of each image by component. Raises `DataError` naming two files for one component of one image."""
    images: dict[ImageKey, ImageFiles] = {}
    for match in matches:
        files = images.setdefault(match.key, {})
        other = files.setdefault(match.component, match.file)
        if other is not match.file:
            raise DataError(
                f"The image {match.key.full_name} has two files for the component {match.component}: "
                f"{other.path} and {match.file.path}.",
                "Keep one of them; if they belong to different images, describe the names with data.pattern.",
            )
    return _without_prefix(images)


def _without_prefix(images: dict[ImageKey, ImageFiles]) -> dict[ImageKey, ImageFiles]:
    """Images whose names lose `PRIVATE_PREFIX`, except where another image has that name and the same components."""
    merged: dict[ImageKey, ImageFiles] = {}
    for key in sorted(images, key=lambda key: PRIVATE_PREFIX in key.name):
        folders, slash, base = key.name.rpartition("/")
        short = key._replace(name=f"{folders}{slash}{base.removeprefix(PRIVATE_PREFIX)}")
        clash = short != key and merged.get(short, {}).keys() & images[key].keys()
        merged.setdefault(key if clash else short, {}).update(images[key])
    return merged


def group_whole(matches: Sequence[Match]) -> dict[ImageKey, ImageFiles]:
    """One image for each file. Names that several files share become their paths, with the suffix where that alone differs."""
    uses: dict[ImageKey, list[WalkedFile]] = defaultdict(list)
    for match in matches:
        uses[match.key].append(match.file)
    images: dict[ImageKey, ImageFiles] = {key: {None: files[0]} for key, files in uses.items() if len(files) == 1}
    for key, files in uses.items():
        stems = [without_suffix(file.relative) for file in files]
        for file, stem in zip(files, stems, strict=True) if len(files) > 1 else ():
            suffix = suffix_of(file.relative)[1:].replace(".", "_")
            name = f"{key.name}_{suffix}" if len(set(stems)) == 1 else stem if stems.count(stem) == 1 else f"{stem}_{suffix}"
            images[_unused(key._replace(name=name), images)] = {None: file}
    return images


def _unused(key: ImageKey, taken: Container[ImageKey]) -> ImageKey:
    """The key, with a number after its name where it is taken."""
    result, number = key, 1
    while result in taken:
        number += 1
        result = key._replace(name=f"{key.name}_{number}")
    return result


def drop_repeated(images: Mapping[ImageKey, ImageFiles]) -> tuple[dict[ImageKey, ImageFiles], list[str]]:
    """Images without those whose files are all links to the files of an earlier one, and the names of those."""
    kept: dict[ImageKey, ImageFiles] = {}
    dropped: list[str] = []
    seen: set[tuple[tuple[str, str], ...]] = set()
    for key, files in images.items():
        targets = tuple(sorted((component or "", file.target or "") for component, file in files.items()))
        if all(target for _, target in targets):
            if targets in seen:
                dropped.append(key.full_name)
                continue
            seen.add(targets)
        kept[key] = files
    return kept, dropped
