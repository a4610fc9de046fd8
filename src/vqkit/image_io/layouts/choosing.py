"""Which pattern describes the files: the one that is given, or that of a known layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.image_io.layouts.checking import check_components
from vqkit.image_io.layouts.describing import layout_phrase, not_matching, nothing_matches, without_folders
from vqkit.image_io.layouts.grouping import Match, match_files, widen_components
from vqkit.image_io.layouts.patterns import Pattern
from vqkit.image_io.layouts.recognising import Recogniser, is_beside_components
from vqkit.image_io.layouts.splits import PlacedFile
from vqkit.image_io.layouts.walking import WalkedFile


class Choice(NamedTuple):
    """Files as a pattern reads them.

    `layout` and `pattern`: its phrase and text; `are_apart`: whether components have files of their own; `others`: components that
    have files but are not wanted; `notes`: on files that are no component of an image.
    """

    matches: Sequence[Match]
    layout: str
    pattern: str
    are_apart: bool
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def choose_by_pattern(
    text: str,
    placed: Sequence[PlacedFile],
    files: Sequence[WalkedFile],
    components: Sequence[str] | None,
    suffixes: frozenset[str],
    root: Path,
) -> Choice:
    """The files that a pattern matches: those in the folders of splits first, all of them where it has a place for the split.

    Raises `ConfigError` for a pattern that is none, and `DataError` when it matches nothing, or no component that is wanted.
    """
    pattern = Pattern(text, components, suffixes)
    everywhere = [PlacedFile(file, None, file.relative) for file in files]
    are_apart = "component" in pattern.placeholders
    for candidates in ([] if "split" in pattern.placeholders else [placed]) + [everywhere]:
        within = [file for file in candidates if not (are_apart and is_beside_components(file, components))]
        matches = match_files(pattern, within)
        if matches:
            choice = Choice(widen_components(matches, text) if components is None else matches, f"pattern {text}", text, are_apart)
            return _with_rest(choice, within, None if components is None else Pattern(text, None, suffixes))
        if are_apart and components is not None:
            others = match_files(Pattern(text, None, suffixes), within)
            check_components((), sorted({str(match.component) for match in others}), components if others else (), root)
    raise nothing_matches(text, placed, suffixes, root)


def choose_known(placed: Sequence[PlacedFile], components: Sequence[str] | None, is_known: bool, require: bool) -> Choice:
    """The files as a known layout reads them; where none fits, every file is an image.

    With `require`, wanted components that no file has do not keep the layout from being recognised.
    """
    if components is None and any(file.is_domain for file in placed):
        return choose_whole(placed)  # of unpaired sets: images of the same name have nothing in common
    found = Recogniser(placed, components, is_known).components_apart()
    if found is None and components is not None and require:
        found = Recogniser(placed, None, is_known).components_apart()
    if found is not None:
        pattern = found.text if any("/" in match.key.name for match in found.matches) else without_folders(found.text)
        within = [file for file in placed if not is_beside_components(file, components)]
        wanted = None if components is None else Pattern(found.text)
        return _with_rest(Choice(found.matches, layout_phrase(found.text), pattern, True), within, wanted)
    return choose_whole(placed)


def choose_whole(placed: Sequence[PlacedFile]) -> Choice:
    """Every file is an image; if all of them lie in folders, these are classes."""
    have_classes = all("/" in file.rest for file in placed)
    pattern = "{class}/**/{name}" if have_classes else "**/{name}"
    matches = match_files(Pattern(pattern), placed)
    pattern = pattern if any("/" in match.key.name for match in matches) else without_folders(pattern)
    return Choice(matches, layout_phrase(pattern), pattern, False)


def _with_rest(choice: Choice, placed: Sequence[PlacedFile], pattern: Pattern | None) -> Choice:
    """The choice with what it does not use: files of components that are not wanted, which match `pattern`, and others."""
    used = {match.file for match in choice.matches}
    rest = [file for file in placed if file.file not in used]
    unwanted = match_files(pattern, rest) if pattern is not None and choice.are_apart else []
    named = {match.file for match in unwanted}
    notes = not_matching([file.file for file in rest if file.file not in named])
    return choice._replace(others=tuple(sorted({str(match.component) for match in unwanted})), notes=tuple(notes))
