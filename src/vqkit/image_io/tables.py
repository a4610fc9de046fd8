"""`performances.csv`: the conditions of images, one row for each.

A row has `matching` (the image's name), the flags `train`, `val` and `test` or the name of a `split`, and numbers such as
`width_px`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.image_io.formats import IMAGE_SUFFIXES
from vqkit.image_io.split_names import SPLIT_FOLDERS, split_named
from vqkit.interfaces import SPLITS, SplitName

TABLE = "performances.csv"
KEY = "matching"
DEFAULT_CONDITIONS = ("width_px", "height_px")
_TRUE = frozenset({"true", "t", "1", "1.0", "yes", "y", "x"})
_FALSE = frozenset({"false", "f", "0", "0.0", "no", "n"})
_LARGEST = torch.finfo(torch.float32).max
_SPLIT_COLUMNS = ("split", "subset", "partition")
_SUFFIX = re.compile(rf"(\.ome)?({'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})$", re.IGNORECASE)
_SIMPLIFICATIONS: tuple[Callable[[str], str], ...] = (
    lambda name: name.casefold(),
    lambda name: _SUFFIX.sub("", name),
    lambda name: _SUFFIX.sub("", name).casefold(),
    lambda name: name.rpartition("/")[2],
    lambda name: name.rpartition("/")[2].casefold(),
    lambda name: _SUFFIX.sub("", name.rpartition("/")[2]),
    lambda name: _SUFFIX.sub("", name.rpartition("/")[2]).casefold(),
)
"""What may tell the key of a row from the name of its image, the least first: case, a suffix, folders before it."""
_UNKNOWN = frozenset({"", "nan", "na", "n/a", "none", "null"})


class ConditionTable:
    """The rows of a table by their column `matching`, as `rows`.

    Raises `DataError` when the file cannot be read, has no such column or one column twice, when a row has more cells than there
    are columns, and when two rows of one key differ.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise DataError(f"The table {path} cannot be read: {reason}.", "Save it as comma-separated UTF-8 text.") from None
        header = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
        try:
            self.columns = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = self.columns
            self._check_columns()
            self.rows = self._read_rows(reader)
        except csv.Error as error:
            raise DataError(f"The table {path} cannot be read: {error}.", "Save it as comma-separated UTF-8 text.") from None

    def _check_columns(self) -> None:
        if KEY not in self.columns:
            found = ", ".join(self.columns) or "none"
            raise DataError(
                f"The table {self.path} has no column '{KEY}'; its columns are {found}.", "Name the column of prefixes so."
            )
        twice = [name for name, count in Counter(self.columns).items() if name and count > 1]
        if twice:
            raise DataError(f"The table {self.path} has the column '{twice[0]}' twice.", "Rename or remove one of the two.")

    def _read_rows(self, reader: csv.DictReader[str]) -> dict[str, dict[str, str]]:
        """The rows by key, their cells without surrounding blanks."""
        rows: dict[str, dict[str, str]] = {}
        lines: dict[str, int] = {}
        for cells in reader:
            line = reader.line_num
            further = [cell for cell in cells.pop(None, None) or () if cell.strip()]
            if further:
                raise DataError(
                    f"{self.path}, line {line} has more cells than there are columns; '{further[0]}' is in none.",
                    "Put text with a separator in quotes, or name the column.",
                )
            row = {name: (cell or "").strip() for name, cell in cells.items()}
            key = row[KEY]
            if key and rows.setdefault(key, row) != row:
                differing = next(name for name in row if row[name] != rows[key][name])
                raise DataError(
                    f"{self.path} has two rows for {key} that differ: {differing} is '{rows[key][differing]}' in line {lines[key]} "
                    f"and '{row[differing]}' in line {line}.",
                    "Remove one of them.",
                )
            lines.setdefault(key, line)
        return rows

    def match(self, names: Iterable[str]) -> dict[str, str]:
        """The key of the row of each name that has one: the same text, or the same but for case, a suffix or folders before it.

        A row that is less than equal to several names, or a name to several rows, is given to none of them.
        """
        distinct = list(dict.fromkeys(names))
        matched = {name: name for name in distinct if name in self.rows}
        for simplified, keys in zip(_SIMPLIFICATIONS, self._simplified, strict=True):
            taken = set(matched.values())
            wanting = defaultdict(list)
            for name in distinct:
                if name not in matched:
                    wanting[simplified(name)].append(name)
            for form, candidates in wanting.items():
                if len(candidates) == 1 and len(keys[form]) == 1 and keys[form][0] not in taken:
                    matched[candidates[0]] = keys[form][0]
        return matched

    @cached_property
    def _simplified(self) -> tuple[dict[str, list[str]], ...]:
        """For each simplification, the keys of each simplified form."""
        indices: tuple[dict[str, list[str]], ...] = tuple(defaultdict(list) for _ in _SIMPLIFICATIONS)
        for simplified, index in zip(_SIMPLIFICATIONS, indices, strict=True):
            for key in self.rows:
                index[simplified(key)].append(key)
        return indices

    @cached_property
    def split_columns(self) -> list[str]:
        """The columns that divide images: flags named for splits, in any case, or else one that holds the names of splits."""
        flags = [name for columns in self._flags.values() for name in columns]
        named = [name for name in self.columns if name.casefold() in _SPLIT_COLUMNS]
        return flags or [name for name in named if any(split_named(row[name]) for row in self.rows.values())][:1]

    def splits_of(self, key: str) -> list[SplitName]:
        """The splits that the row `key` says its image is in. Raises `DataError` for a flag that says neither yes nor no."""
        if any(self._flags.values()) or not self.split_columns:
            return [split for split in SPLITS if self.flagged(key, split)]
        split = split_named(self.rows[key][self.split_columns[0]])
        return [] if split is None else [split]

    def flagged(self, key: str, split: SplitName) -> bool:
        """Whether a flag of the split is set in the row of the image `key`; False where either is missing.

        Raises `DataError` for a cell that says neither yes nor no.
        """
        row = self.rows.get(self.match([key]).get(key, ""), {})
        cells = {column: row.get(column, "").lower() for column in self._flags[split]}
        for column, cell in cells.items():
            if cell not in _TRUE | _FALSE | _UNKNOWN:
                raise DataError(f"{self.path}: the {column} of {key} is '{row[column]}', which is no flag.", "Write True or False.")
        return any(cell in _TRUE for cell in cells.values())

    @cached_property
    def _flags(self) -> dict[SplitName, list[str]]:
        """The columns of flags of each split: those that are called as its folders may be."""
        named = {split: [name for name in self.columns if name.casefold() in words] for split, words in SPLIT_FOLDERS.items()}
        # Alone, a column called valid says which images are in order.
        is_quality = not named["train"] and not named["test"] and [name.casefold() for name in named["val"]] == ["valid"]
        return {**named, "val": []} if is_quality else named

    def choose(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """The columns to use as conditions: those asked for, or the common ones that are there.

        Raises `ConfigError` for a column that is not there, or is named twice.
        """
        if names is None:
            return tuple(name for name in DEFAULT_CONDITIONS if name in self.columns)
        for name in names:
            if name not in self.columns:
                raise ConfigError(f"The table {self.path} has no column '{name}'.", did_you_mean(name, self.columns))
            if list(names).count(name) > 1:
                raise ConfigError(f"data.conditions names the column '{name}' twice.", "Name each column once.")
        return tuple(names)

    def values(self, keys: Sequence[str], names: Sequence[str]) -> Tensor:
        """Numbers float32 [keys, names], NaN where there is no row or an empty cell.

        Raises `DataError` for a cell that is no finite number, and when there is no row for any of the keys.
        """
        matched = self.match(keys)
        if keys and names and not matched:
            first = next(iter(self.rows), "nothing")
            raise DataError(
                f"No row of {self.path} matches any of the pictures: they begin with '{keys[0]}', the rows with '{first}'.",
                f"The column '{KEY}' holds the part of a file's name before _COMPONENT.png.",
            )
        rows = [self.rows.get(matched.get(key, "")) for key in keys]
        return torch.tensor([[self._number(row, name) for name in names] for row in rows]).reshape(len(keys), len(names))

    def _number(self, row: dict[str, str] | None, name: str) -> float:
        cell = (row or {}).get(name, "")
        if row is None or cell.lower() in _UNKNOWN:
            return math.nan
        try:
            number = float(cell)
        except ValueError:
            number, what = math.nan, "which is not a number"
        else:
            what = f"which is not a finite number of at most {_LARGEST:.3g}"
        if not abs(number) <= _LARGEST:
            hint = f"Mend it, empty the cell if it is unknown, or leave '{name}' out of data.conditions."
            raise DataError(f"{self.path}: the {name} of {row[KEY]} is '{cell}', {what}.", hint)
        return number


def write_table(path: Path, keys: Sequence[str], split: str, names: Sequence[str], values: Tensor) -> None:
    """Write a table of the images `keys` of one split with the conditions `values` [keys, names]; empty cells for NaN."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([KEY, "train", "test", *names])
        for key, row in zip(keys, values.tolist(), strict=True):
            cells = ["" if math.isnan(value) else f"{value:.9g}" for value in row]
            writer.writerow([key, split != "test", split == "test", *cells])
