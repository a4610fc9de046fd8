"""Packed data sets in shards: files that `vqkit.data.packing` wrote, joined by an index, read as one where they lie on the disk.

The order of the images is that of the shards, which is the order of the data set that was packed. Training shuffles it as it does
that of one file, by the seed and the epoch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from vqkit.core.shard_records import read_index
from vqkit.data.array_contents import StoredSplit, read_splits
from vqkit.data.packing import MOST_VERIFIED, SPEC_KEY, check_contents, check_digests, read_spec
from vqkit.data.rows import ComputedRows, Rows, cut_row
from vqkit.errors import DataError
from vqkit.image_io.arrays import read_arrays
from vqkit.image_io.rasters import Window
from vqkit.interfaces import SPLITS, DataSpec

INDEX_KIND = "packed images"
"""The kind of an index of packed files."""


class ShardedRows(ComputedRows):
    """The rows of several files, one after the other, which are not copied."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = list(parts)
        self._ends = torch.tensor(list(accumulate(len(part) for part in parts)))
        first = parts[0][torch.arange(0)]
        self.shape, self.dtype = torch.Size((len(self), *first.shape[1:])), first.dtype

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, indices: Tensor) -> Tensor:
        owners = torch.bucketize(indices, self._ends, right=True)
        found: list[Tensor] = []
        places: list[Tensor] = []
        for number in torch.unique(owners).tolist():
            places.append((owners == number).nonzero()[:, 0])
            found.append(self._parts[number][indices[places[-1]] - self._start(number)])
        if not found:
            return self._parts[0][indices]
        # Indexing puts the rows back in order; not the other way round, which torch lacks for unsigned types.
        return torch.cat(found)[torch.cat(places).argsort()]

    def cut(self, number: int, window: Window) -> Tensor:
        """See `ComputedRows.cut`."""
        part = int(torch.bucketize(torch.tensor(number), self._ends, right=True))
        return cut_row(self._parts[part], number - self._start(part), window)

    def _start(self, part: int) -> int:
        return int(self._ends[part - 1]) if part else 0


def read_packed_shards(path: Path) -> tuple[dict[str, StoredSplit], DataSpec]:
    """The splits of all shards of an index, each as one, and their specification.

    Raises `DataError` for a shard that is missing, damaged, or was packed from another data set.
    """
    index = read_index(path, INDEX_KIND)
    files = [file for file, shard in zip(index.files(), index.shards, strict=True) if sum(shard.counts.values())]
    if not files:
        raise DataError(f"The shards of {path} hold no images.", "Prepare a data set that has some.")
    parts: dict[str, list[StoredSplit]] = {}
    text, spec = None, None
    for file in files:
        arrays, metadata = read_arrays(file)
        packed = read_spec(metadata, file)
        if packed is None:
            raise DataError(f"{file} was not packed by vqkit.", "Prepare that shard again with `vqkit data prepare`.")
        text, spec = text or metadata[SPEC_KEY], spec or packed
        if metadata[SPEC_KEY] != text:
            raise DataError(f"{file} was packed from other data than {files[0]}.", "Prepare all shards from the same data set.")
        check_digests(arrays, metadata, file, MOST_VERIFIED // len(files))
        contents = read_splits(arrays, file, "auto", packed)
        check_contents(packed, contents, file)
        for name, content in contents.items():
            parts.setdefault(name, []).append(content)
    assert spec is not None
    return {name: _joined(parts[name], path) for name in SPLITS if name in parts}, spec


def _joined(parts: Sequence[StoredSplit], path: Path) -> StoredSplit:
    """Splits of several files as one."""
    images, labels, conditions, names, present = zip(*parts, strict=True)
    shapes = {tuple(each.shape[1:]) for each in images}
    if len(shapes) > 1 or len({each is None for each in names}) > 1 or len({each is None for each in present}) > 1:
        raise DataError(f"The shards of {path} do not fit each other.", "Prepare all shards from the same data set.")
    return StoredSplit(
        ShardedRows(images),
        torch.cat(labels),
        torch.cat(conditions),
        None if names[0] is None else [name for part in names for name in part],
        None if present[0] is None else ShardedRows(present),
    )
