"""What identifies the images of a split, so that a run that is resumed can tell whether they are still the same."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch

from vqkit.data.subsets import evenly_spaced
from vqkit.interfaces import Split

_MOST_NAMES = 10_000
_IN_MEMORY_BYTES, _READ_BYTES = 2**26, 2**24
_FEWEST, _MOST = 16, 4096
_BATCH = 64


class Fingerprint(NamedTuple):
    """A split: how many images, and digests of their names and of their content, as they are before anything random."""

    images: int
    names: str
    content: str


def fingerprint(split: Split) -> Fingerprint:
    """The fingerprint of a split, of evenly spaced images where it is large: all of a few thousand small ones.

    Content is images and where they are present, conditions, labels and codes; what is stored where nothing is present does not
    count. Raises `DataError` for an image that cannot be read.
    """
    names = hashlib.sha256("\0".join(split.names(evenly_spaced(len(split), _MOST_NAMES))).encode("utf-8", "surrogatepass"))
    content = hashlib.sha256()
    for positions in torch.split(evenly_spaced(len(split), _most_images(split)), _BATCH):
        batch = split.batch(positions)
        shown = torch.where(batch.observed, batch.images, torch.zeros((), dtype=batch.images.dtype))
        for tensor in (shown, batch.present, batch.conditions, batch.labels, *batch.codes):
            if tensor is not None:
                content.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
                content.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Fingerprint(len(split), names.hexdigest(), content.hexdigest())


def _most_images(split: Split) -> int:
    """Images of a split whose content is read: fewer where they come from files that have to be decoded."""
    size = max(1, split.batch(torch.arange(1)).images.nbytes)
    most = (_IN_MEMORY_BYTES if split.in_memory else _READ_BYTES) // size
    return min(_MOST, max(_FEWEST, most))
