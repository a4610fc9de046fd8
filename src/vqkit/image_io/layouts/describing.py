"""In words: how images lie on disk, what is missing, and what a pattern that finds nothing should have been."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from vqkit.errors import DataError
from vqkit.image_io.layouts.found import FoundImage
from vqkit.image_io.layouts.grouping import ImageKey, match_files
from vqkit.image_io.layouts.naming import counted, examples
from vqkit.image_io.layouts.patterns import ANY_FOLDERS, Pattern, suffix_of
from vqkit.image_io.layouts.recognising import EPURE, FOLDERS, STEMS, WORDS, Recogniser, is_well_known
from vqkit.image_io.layouts.splits import PlacedFile
from vqkit.image_io.layouts.walking import WalkedFile
from vqkit.interfaces import SplitName

_SHOWN = 3
_PATTERNS = (EPURE, *FOLDERS, *WORDS, *STEMS, "**/{name}")


def layout_phrase(pattern: str) -> str:
    """How images lie on disk that a recognised pattern finds."""
    if pattern in FOLDERS or pattern == EPURE:
        return "one folder a component"
    if pattern in STEMS:
        return "one folder an image, one file a component"
    if pattern in WORDS:
        return (
            f"one file a component, named {without_folders(pattern).rpartition('/')[2].replace('{', '').replace('}', '').upper()}"
        )
    return "one folder a class, one file an image" if "{class}" in pattern else "one file an image"


def without_folders(pattern: str) -> str:
    """A pattern for files that are not in further folders."""
    return pattern.replace(ANY_FOLDERS, "")


def summarise(layout: str, components: Sequence[str], splits: Mapping[SplitName, list[FoundImage]], classes: Sequence[str]) -> str:
    """One sentence with layout, components, classes, the number of images in each split, and gaps."""
    counts = [f"{len(images):,} {split}" for split, images in splits.items()]
    total = sum(map(len, splits.values()))
    images = f"{' and '.join([', '.join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)} image{'' if total == 1 else 's'}"
    parts = [f"{layout}: {', '.join(components)}" if components else layout]
    if classes:
        parts.append(f"{counted(len(classes), 'class', 'es')} ({examples(classes, 10)})")
    return f"{'; '.join([*parts, images, *_gaps(components, splits)])}."


def _gaps(components: Sequence[str], splits: Mapping[SplitName, list[FoundImage]]) -> list[str]:
    """How many images lack a component, and which; nothing where none does."""
    every = [image for images in splits.values() for image in images if image.file is None]
    missing = Counter(name for image in every for name in components if name not in image.members)
    gaps = sum(any(name not in image.members for name in components) for image in every)
    named = ", ".join(f"{name} in {missing[name]:,}" for name in components if missing[name])
    return [f"{counted(gaps, 'image')} {'has' if gaps == 1 else 'have'} gaps: no {named}"] if gaps else []


def nothing_matches(pattern: str, files: Sequence[PlacedFile], suffixes: frozenset[str], root: Path) -> DataError:
    """The error for a pattern that matches no file: what there is, and the nearest pattern that matches."""
    shown = examples([file.file.relative for file in files], _SHOWN)
    found = f"there are {counted(len(files), 'file')}, such as {shown}" if files else "there are no images at all"
    suffix = suffix_of(pattern)
    if suffix and not set("{}*") & set(suffix) and suffix not in suffixes:
        hint = f"Files that end in {suffix} are not read; known: {', '.join(sorted(suffixes))}."
    else:
        nearest = nearest_pattern(pattern, files)
        hint = f"The nearest pattern that matches is '{nearest}'." if nearest else "See docs/data.md for the supported layouts."
    return DataError(f"The pattern '{pattern}' matches nothing in {root}; {found}.", hint)


def nearest_pattern(pattern: str, files: Sequence[PlacedFile]) -> str | None:
    """A pattern that matches: the given one in another format or folder, else what is recognised, else the most similar one."""
    if not files:
        return None
    own, suffixes = suffix_of(pattern), Counter(suffix_of(file.rest) for file in files)
    suffix = suffixes.most_common(1)[0][0] if own or len(suffixes) == 1 else ""
    mended = f"{pattern.removesuffix(own)}{suffix}"
    for text in (mended, f"*/{pattern}", f"*/{mended}"):
        if _shared(text, files):
            return text
    recognised = Recogniser(files, None, is_known=False).components_apart()
    if recognised is not None and "{component}" in pattern:
        nested = any("/" in match.key.name for match in recognised.matches)
        return f"{recognised.text if nested else without_folders(recognised.text)}{suffix}"
    texts = [mended, *(f"{without_folders(known)}{suffix}" for known in _PATTERNS)]
    wanted = [text for text in (*texts, *(f"*/{text}" for text in texts)) if ("{component}" in text) == ("{component}" in pattern)]
    matching = {text: shared for text in wanted if (shared := _shared(text, files)) is not None}
    likely = [text for text, shared in matching.items() if shared] or list(matching)
    return max(likely, key=lambda text: difflib.SequenceMatcher(None, pattern, text).ratio(), default=None)


def _shared(text: str, files: Sequence[PlacedFile]) -> bool | None:
    """Whether a pattern puts files together as components of an image; None if it matches few of them, or several as one."""
    matches = match_files(Pattern(text), files)
    together: dict[ImageKey, set[str | None]] = defaultdict(set)
    for match in matches:
        together[match.key].add(match.component)
    if 2 * len(matches) < len(files) or sum(map(len, together.values())) < len(matches):
        return None
    if "{name}" not in text and not all(is_well_known(str(match.component)) for match in matches):
        return None
    return any(len(components) > 1 for components in together.values())


def not_matching(files: Sequence[WalkedFile]) -> list[str]:
    """A note on files that belong to no image."""
    if not files:
        return []
    found = examples([file.relative for file in files])
    one = len(files) == 1
    reason = (
        "belongs to no image, by its name or because it is" if one else "belong to no image, by their names or because they are"
    )
    return [f"Not used: {counted(len(files), 'picture')} that {reason} in colour ({found})."]


def lonely(images: Sequence[FoundImage], components: Sequence[str], placed: Sequence[PlacedFile]) -> list[str]:
    """A note for a set in which no image has several components, though there are several: names were not read as meant."""
    if len(components) < 2 or any(len(image.members) != 1 for image in images):
        return []
    nearest = Recogniser(placed, None, is_known=False).components_apart()
    hint = f"; the pattern '{without_folders(nearest.text)}' puts several together" if nearest else ""
    return [f"No image has more than one component{hint}."]
