"""A split of images with their codes from a tokenizer."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import Batch, Codes, Split


class CodedSplit(Split):
    """Codes, conditions and labels of a split, and optionally its images.

    `codes` int [N, h, w] of each level, int64 in batches; `conditions` float32 [N, D] in the order of the tokenizer's names;
    `labels` int64 [N].
    Without images, batches contain empty ones, uint8 [B, 0, 0, 0]. Nothing is augmented: codes belong to the unchanged images.
    """

    def __init__(self, images: Split, codes: Codes, conditions: Tensor, labels: Tensor, with_images: bool) -> None:
        super().__init__(images.spec)
        self.codes = codes
        self._images, self._conditions, self._labels = images, conditions, labels
        self._with_images = with_images

    @property
    def in_memory(self) -> bool:
        """As for the images, if they are read at all."""
        return self._images.in_memory or not self._with_images

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, indices: Tensor) -> Batch:
        """See `Split.batch`."""
        codes = tuple(level[indices].to(torch.int64) for level in self.codes)
        described = self._conditions[indices], self._labels[indices], codes
        if not self._with_images:
            return Batch(torch.empty(len(indices), 0, 0, 0, dtype=torch.uint8), *described)
        images = self._images.batch(indices)
        return Batch(images.images, *described, images.present)

    def names(self, indices: Tensor) -> list[str]:
        """See `Split.names`."""
        return self._images.names(indices)
