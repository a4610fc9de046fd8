"""`performances.csv`: the conditions of the images in the component layout.

One row per image: `matching` (the image's prefix), the flags `train` and `test`, and numbers such as `width_px`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqkit.errors import ConfigError, DataError, did_you_mean

TABLE = "performances.csv"
KEY = "matching"
DEFAULT_CONDITIONS = ("width_px", "height_px")
_TRUE = frozenset({"true", "1", "1.0", "yes"})


class ConditionTable:
    """The rows of a table by the lower-cased `matching` column.

    Raises `DataError` when the file cannot be read or has no such column.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise DataError(f"The table {path} cannot be read: {reason}.", "Save it as comma-separated UTF-8 text.") from None
        header = text.partition("\n")[0]
        reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=header.count))
        self.columns = [(name or "").strip() for name in reader.fieldnames or ()]
        reader.fieldnames = self.columns
        if KEY not in self.columns:
            found = ", ".join(self.columns) or "none"
            raise DataError(f"The table {path} has no column '{KEY}'; its columns are {found}.", "Name the column of prefixes so.")
        self.rows = {row[KEY].strip().lower(): row for row in reader if row[KEY]}

    def flagged(self, key: str, column: str) -> bool:
        """Whether the flag `column` is set for the image `key`; False where either is missing."""
        return (self.rows.get(key, {}).get(column) or "").strip().lower() in _TRUE

    def choose(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """The columns to use as conditions: those asked for, or the common ones that are there.

        Raises `ConfigError` for a column that is not there.
        """
        if names is None:
            return tuple(name for name in DEFAULT_CONDITIONS if name in self.columns)
        for name in names:
            if name not in self.columns:
                raise ConfigError(f"The table {self.path} has no column '{name}'.", did_you_mean(name, self.columns))
        return tuple(names)

    def values(self, keys: Sequence[str], names: Sequence[str]) -> Tensor:
        """Numbers float32 [keys, names], NaN where there is no row or an empty cell.

        Raises `DataError` for a cell that is no number, and when there is no row for any of the keys.
        """
        known = [self.rows.get(key) for key in keys]
        if keys and names and not any(known):
            first = next(iter(self.rows), "nothing")
            raise DataError(
                f"No row of {self.path} matches any of the pictures: they begin with '{keys[0]}', the rows with '{first}'.",
                f"The column '{KEY}' holds the part of a file's name before _COMPONENT.png.",
            )
        return torch.tensor([[self._number(row, name) for name in names] for row in known]).reshape(len(keys), len(names))

    def _number(self, row: dict[str, str] | None, name: str) -> float:
        cell = (row or {}).get(name) or ""
        try:
            return float(cell) if cell.strip() else math.nan
        except ValueError:
            matching = (row or {})[KEY]
            hint = f"Only numeric columns can be conditions. Mend it, or leave '{name}' out of data.conditions."
            raise DataError(f"{self.path}: the {name} of {matching} is '{cell}', which is not a number.", hint) from None


def write_table(path: Path, keys: Sequence[str], split: str, names: Sequence[str], values: Tensor) -> None:
    """Write a table of the images `keys` of one split with the conditions `values` [keys, names]; empty cells for NaN."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([KEY, "train", "test", *names])
        for key, row in zip(keys, values.tolist(), strict=True):
            cells = ["" if math.isnan(value) else f"{value:.9g}" for value in row]
            writer.writerow([key, split != "test", split == "test", *cells])
