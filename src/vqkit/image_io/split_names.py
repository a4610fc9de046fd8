"""Names that mean splits: of folders, of arrays, of columns of a table, and within the names of files."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

from vqkit.interfaces import SplitName

SPLIT_FOLDERS: Mapping[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Names of the folders of each split, in any case."""

_SPLIT_OF = {word: split for split, words in SPLIT_FOLDERS.items() for word in words}
DECORATION = r"[-_ ]?(?:sets?|splits?|data|images|imgs|[0-9]{1,4})"
"""What may follow such a name where another folder is named for training: `train2017` beside `val2017`."""
_LONGEST_FIRST = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
_DOMAIN = re.compile(rf"(?i:({_LONGEST_FIRST})(?:[-_ ](?=[a-z])|(?=[a-rt-z]))([a-z]))")  # `tests` is a plural
_BEGINNING = re.compile(rf"(?i:({_LONGEST_FIRST}))(?:[a-zA-Z]?$|[-_. 0-9A-Z])")
_END = re.compile(rf"(?:^|[-_. 0-9]|(?<=[a-z])(?=[A-Z]))(?i:({_LONGEST_FIRST}))$")


def split_named(text: str) -> SplitName | None:
    """The split that a name means, or None."""
    return _SPLIT_OF.get(text.lower())


@functools.cache
def decorated_split(folder: str) -> SplitName | None:
    """The split that a folder's name means which may go on with a year, `set`, `images` and the like, or None."""
    return split_named(re.sub(f"{DECORATION}$", "", folder, flags=re.IGNORECASE))


@functools.cache
def split_and_domain(folder: str) -> tuple[SplitName, str] | None:
    """The split and the domain that a folder's name means, as in unpaired sets: `trainA` is `A` of the training images."""
    found = _DOMAIN.fullmatch(folder)
    return (_SPLIT_OF[found[1].lower()], found[2]) if found else None


@functools.cache
def leading_split(text: str) -> SplitName | None:
    """The split whose name a text begins with as a word of its own, or None: `train_0`, `testB`, but not `tested`."""
    found = _BEGINNING.match(text)
    return _SPLIT_OF[found[1].lower()] if found else None


@functools.cache
def trailing_split(text: str) -> SplitName | None:
    """The split whose name a text ends in as a word of its own, or None: `cell_0_train`."""
    found = _END.search(text)
    return _SPLIT_OF[found[1].lower()] if found else None


def tell_splits_apart(names: Iterable[str]) -> bool:
    """Whether most of these names begin or end in those of splits, and of more than one: `train_1`, `train_2`, `test_1`."""
    meanings = [leading_split(name) or trailing_split(name) for name in names]
    known = [meaning for meaning in meanings if meaning is not None]
    return 2 * len(known) >= len(meanings) and len(set(known)) > 1
