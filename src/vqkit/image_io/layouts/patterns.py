"""Patterns of paths, such as `{component}/{name}.tif`: where in a path the parts of an image's identity stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from vqkit.errors import ConfigError, did_you_mean
from vqkit.image_io.formats import IMAGE_SUFFIXES
from vqkit.image_io.split_names import DECORATION, SPLIT_FOLDERS, decorated_split
from vqkit.interfaces import SplitName

PLACEHOLDERS = ("name", "component", "split", "class")
ANY_FOLDERS = "**/"

_TOKENS = re.compile(r"\*\*/|\*|\{[^{}/]*\}|[^*{}]+|[{}]")
_SPLIT_WORDS = "|".join(word for words in SPLIT_FOLDERS.values() for word in words)
_DOUBLE_SUFFIX = ".ome"


class PathParts(NamedTuple):
    """What a pattern reads from a path; None for what it has no place for, and an empty name without one."""

    name: str
    component: str | None
    split: SplitName | None
    label: str | None


class Pattern:
    """A pattern of paths relative to a directory, compiled.

    `{name}` (of the image), `{component}`, `{split}` and `{class}` stand for text without a slash, each for the same text wherever
    it is repeated; `*` for any text without a slash; `**/` for any folders, which become part of the name. A pattern without a
    suffix, or that ends in `.*`, matches every format of `suffixes`. Where `components` are given, only these are components, and
    the longest that fits is chosen; otherwise `{name}` is as long as possible.

    Raises `ConfigError` for a pattern that names no image, or has an unknown placeholder.
    """

    def __init__(
        self, text: str, components: Sequence[str] | None = None, suffixes: frozenset[str] | tuple[str, ...] = IMAGE_SUFFIXES
    ) -> None:
        self.text = text
        self._any_suffix = not text.lower().endswith(tuple(suffixes))
        stem = text.removesuffix(".*") if self._any_suffix else text
        if text.startswith("/"):
            raise ConfigError(f"The pattern '{text}' is absolute.", "Write it relative to the directory of the data set.")
        tokens = _TOKENS.findall(stem.replace("\\", "/").removeprefix("./"))
        self.placeholders = frozenset(token[1:-1] for token in tokens if token.startswith("{") and len(token) > 1)
        self._check(tokens)
        seen: set[str] = set()
        self._regex = re.compile("".join(self._translated(token, components, seen) for token in tokens), re.DOTALL)

    def match(self, relative: str) -> PathParts | None:
        """The parts of a relative path with slashes, or None where the pattern does not fit."""
        subject = without_suffix(relative) if self._any_suffix else _lower_suffix(relative)
        found = self._regex.fullmatch(subject)
        if found is None:
            return None
        parts = found.groupdict()
        folders = "".join(text or "" for key, text in parts.items() if key.startswith("folders"))
        split = parts.get("split")
        name = folders + (parts.get("name") or "")
        return PathParts(name.rstrip("/"), parts.get("component"), decorated_split(split) if split else None, parts.get("class"))

    def _check(self, tokens: Sequence[str]) -> None:
        for token in tokens:
            if token in ("{", "}"):
                raise ConfigError(f"The pattern '{self.text}' has a brace without its partner.", _example())
            if token.startswith("{") and token[1:-1] not in PLACEHOLDERS:
                hint = did_you_mean(token[1:-1], PLACEHOLDERS)
                raise ConfigError(f"The pattern '{self.text}' has an unknown placeholder {token}.", hint)
        if not self.placeholders & {"name", "component"}:
            raise ConfigError(f"The pattern '{self.text}' has no {{name}}, so it cannot tell images apart.", _example())

    def _translated(self, token: str, components: Sequence[str] | None, seen: set[str]) -> str:
        """A token as a regular expression; a placeholder that was seen before must be the same text again."""
        if token == ANY_FOLDERS:
            number = len([key for key in seen if key.startswith("folders")])
            seen.add(f"folders{number}")
            return f"(?P<folders{number}>(?:[^/]+/)*?)"
        if token == "*":
            return "[^/]*?"
        if not token.startswith("{"):
            return re.escape(_lower_suffix(token) if not self._any_suffix and self.text.endswith(token) else token)
        key = token[1:-1]
        if key in seen:
            return f"(?P={key})"
        seen.add(key)
        if key == "split":
            return f"(?P<split>(?i:(?:{_SPLIT_WORDS})(?:{DECORATION})?))"
        if key == "component" and components is not None:
            return f"(?P<component>{'|'.join(map(re.escape, sorted(components, key=len, reverse=True)))})"
        return f"(?P<{key}>[^/]+{'' if key == 'name' and components is None else '?'})"


def without_suffix(relative: str) -> str:
    """A path without the suffix of its format, of which `.ome.tif` is one."""
    stem, _, suffix = relative.rpartition(".")
    stem = stem if stem and not stem.endswith("/") and "/" not in suffix else relative
    return stem[: -len(_DOUBLE_SUFFIX)] if stem.lower().endswith(_DOUBLE_SUFFIX) else stem


def suffix_of(relative: str) -> str:
    """The suffix that `without_suffix` removes, in lower case."""
    return relative[len(without_suffix(relative)) :].lower()


def _lower_suffix(text: str) -> str:
    """Text with what follows its last dot in lower case: suffixes match in any case."""
    stem, dot, suffix = text.rpartition(".")
    return f"{stem}{dot}{suffix.lower()}" if dot and "/" not in suffix else text


def _example() -> str:
    return "Write for example '{component}/{name}.tif'."
