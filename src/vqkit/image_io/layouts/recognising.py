"""Recognising a layout: patterns that people use are tried, and each is judged by the files that it would put together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vqkit.image_io.layouts.grouping import ImageKey, Match, match_files, widen_components
from vqkit.image_io.layouts.naming import EPURE_ORDER, natural
from vqkit.image_io.layouts.patterns import Pattern, without_suffix
from vqkit.image_io.layouts.probing import Prober
from vqkit.image_io.layouts.splits import PlacedFile
from vqkit.image_io.layouts.walking import WalkedFile
from vqkit.image_io.split_names import tell_splits_apart

EPURE = "{component}/**/{name}_{component}"
FOLDERS = ("{component}/**/{name}", "{class}/{component}/**/{name}_{component}", "{class}/{component}/**/{name}")
ALONE = "{component}"
STEMS = ("**/{name}/{component}", ALONE)
WORDS = (
    "**/{name}/{name}_{component}",
    "**/{name}_{component}",
    "**/{component}_{name}",
    "**/{name}-{component}",
    "**/{component}-{name}",
)
IGNORED_FOLDERS = frozenset({"full", "composite", "before_after"})
"""Folders beside those of the components whose pictures show all components together."""

_ORDER = (*FOLDERS, *STEMS, *WORDS)
_MOST_COMPONENTS = 64
_SHARED = {True: 0.1, False: 0.25}
"""Least share of the images with several components, by whether components are folders: chance makes fewer."""
_SHAPES_COMPARED = 5
_NUMBERED = 0.8
"""Numbered files in folders whose shortest has less than this share of the longest are classes rather than gaps."""
_DIGIT = re.compile("[0-9]")
_BAND = re.compile(r"(b(and)?|c|ch|channel|w)[-_]?\d{1,2}a?", re.IGNORECASE)
_WELL_KNOWN = """
    red green blue nir swir swir1 swir2 rededge pan vv vh hh hv dem dapi gfp rfp yfp cfp cy3 cy5 fitc tritc dna rna actin tubulin er
    mito agp bf brightfield darkfield phase dic t1 t1ce t1w t2 t2w flair pd adc dwi mask depth
"""
_WORDS = frozenset(_WELL_KNOWN.split())


class Candidate(NamedTuple):
    """A pattern and what it makes of the files: matches, the files of each component, and the components of each image."""

    text: str
    matches: Sequence[Match]
    files: Mapping[str, list[WalkedFile]]
    images: Mapping[ImageKey, set[str]]


class Recogniser:
    """Chooses the pattern of a set of files.

    `components`: names that are wanted, of which some may be missing, or None. `is_known`: whether a table lies beside
    the files; then, or with composites beside them, folders are those of components whatever is in them.
    """

    def __init__(self, files: Sequence[PlacedFile], components: Sequence[str] | None, is_known: bool) -> None:
        self._files = [file for file in files if not is_beside_components(file, components)]
        self._components = components
        self._is_known = is_known or len(self._files) < len(files)
        self._prober = Prober()

    def components_apart(self) -> Candidate | None:
        """The layout in which each component has files of its own, or None where each file is a whole image."""
        epure = self._read(EPURE)
        if epure is not None and self._are_epure(epure):
            return epure
        judge = self._is_convincing if self._components is None else self._holds_wanted
        read = (self._read(text) for text in _ORDER)
        found = [candidate for candidate in read if candidate is not None and judge(candidate)]
        return min(found, key=_rank) if found else None

    def _read(self, text: str) -> Candidate | None:
        """What a pattern makes of the files; None where they cannot be its images."""
        matches = match_files(Pattern(text, self._components), self._files, _MOST_COMPONENTS)
        if self._components is None:
            matches = widen_components(matches, text)
        if text not in FOLDERS and text != EPURE:
            matches = self._grey_only(matches)
        if not matches or _are_ambiguous(matches):
            return None
        if self._components is None and tell_splits_apart({str(match.component) for match in matches}):
            return None
        images: dict[ImageKey, set[str]] = defaultdict(set)
        for match in matches:
            images[match.key].add(str(match.component))
        return Candidate(text, matches, _by_component(matches), images)

    def _are_epure(self, found: Candidate) -> bool:
        """Whether folders of files that end in the folder's name are those of components, which photographs in colour are not."""
        if self._is_known or self._components is not None or found.files.keys() & set(EPURE_ORDER):
            return True
        return len(found.files) > 1 and self._are_most(found) and self._are_grey(found)

    def _holds_wanted(self, found: Candidate) -> bool:
        """Whether files of the components that are wanted are there; words in names must account for most of the files."""
        return found.text in FOLDERS or (self._are_most(found) and self._are_grey(found))

    def _is_convincing(self, found: Candidate) -> bool:
        """Whether unnamed components are likely: few of them, which the images share, grey, and of one shape."""
        if len(found.files) < 2 or not self._are_most(found) or not _are_names(found) or _are_numbered_classes(found):
            return False
        shared = sum(len(components) > 1 for components in found.images.values()) / len(found.images)
        return shared >= _SHARED[found.text in FOLDERS] and self._are_grey(found) and self._have_one_shape(found)

    def _are_most(self, found: Candidate) -> bool:
        return 2 * len(found.matches) >= len(self._files)

    def _are_grey(self, found: Candidate) -> bool:
        return all(self._prober.are_grey(files) for files in found.files.values())

    def _have_one_shape(self, found: Candidate) -> bool:
        """Whether the files of an image have one shape, for the first few images of several components."""
        several = [key for key, components in found.images.items() if len(components) > 1][:_SHAPES_COMPARED]
        files: dict[ImageKey, list[WalkedFile]] = {key: [] for key in several}
        for match in found.matches:
            if match.key in files:
                files[match.key].append(match.file)
        return all(map(self._prober.have_one_shape, files.values()))

    def _grey_only(self, matches: list[Match]) -> list[Match]:
        """Without components that are pictures in colour, such as the true-colour picture beside the bands of a satellite."""
        colourful = {name for name, files in _by_component(matches).items() if not self._prober.are_grey(files)}
        return [match for match in matches if match.component not in colourful]


def is_beside_components(file: PlacedFile, components: Sequence[str] | None) -> bool:
    """Whether a file is in a folder of pictures that show all components together, and that is not itself a component."""
    return bool(set(file.rest.split("/")[:-1][:2]) & (IGNORED_FOLDERS - set(components or ())))


def _by_component(matches: Sequence[Match]) -> dict[str, list[WalkedFile]]:
    files: dict[str, list[WalkedFile]] = defaultdict(list)
    for match in matches:
        files[str(match.component)].append(match.file)
    return dict(files)


def _are_ambiguous(matches: Sequence[Match]) -> bool:
    """Whether files that differ in more than the suffix would be one component of one image."""
    uses: dict[tuple[ImageKey, str | None], set[str]] = defaultdict(set)
    for match in matches:
        uses[match.key, match.component].add(without_suffix(match.file.relative))
    return any(len(stems) > 1 for stems in uses.values())


def _are_names(found: Candidate) -> bool:
    """Whether parts of files' names can be components.

    A single image needs well-known ones. In several, most are in more than one, and they do not count up, unless they do so in each
    of many folders alike.
    """
    if found.text in FOLDERS:
        return True
    if len(found.images) == 1 or found.text == ALONE:
        return all(map(is_well_known, found.files))
    if 2 * sum(len(files) > 1 for files in found.files.values()) < len(found.files):
        return False
    alike = len(set(map(frozenset, found.images.values()))) == 1 and len(found.images) > len(found.files)
    return (found.text in STEMS and alike) or not any(token.isdigit() for token in found.files)


def _are_numbered_classes(found: Candidate) -> bool:
    """Whether folders just count their own files: the shorter ones hold the first names of the longest, and far fewer."""
    if found.text not in FOLDERS or all(map(is_well_known, found.files)):
        return False
    names: dict[str | None, set[str]] = defaultdict(set)
    for match in found.matches:
        names[match.component].add(match.key.full_name)
    longest = sorted(sorted(names.values(), key=len)[-1], key=natural)
    if min(map(len, names.values())) >= _NUMBERED * len(longest) or not all(map(_DIGIT.search, longest)):
        return False
    return all(each == set(longest[: len(each)]) for each in names.values())


def is_well_known(component: str) -> bool:
    """Whether a name is one that bands and stains commonly have."""
    return component.lower() in _WORDS or _BAND.fullmatch(component) is not None


def _rank(candidate: Candidate) -> tuple[bool, bool, int, int, int, int]:
    """The likelier of several readings first: well-known names, names that do not just count up, fewer components, folders."""
    names = list(candidate.files)
    counting = len({re.sub(r"[0-9]+", "#", name) for name in names}) == 1 and any(map(_DIGIT.search, names))
    kind = 2 if candidate.text in WORDS else 1 if candidate.text in STEMS else 0
    # Among separators, the one that leaves the shorter names is the last one.
    length, order = sum(map(len, names)), _ORDER.index(candidate.text)
    return not all(map(is_well_known, names)), counting, len(names), kind, length, order
