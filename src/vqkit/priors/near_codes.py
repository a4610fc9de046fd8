"""A convolution over known codes, whichever these are.

    codes near a position ── embedding, 0 where not known ─┐
    which of them are known ───────────────────────────────┴─ linear ── features

Like the first layer of a PixelCNN, except that what counts as known is another set of codes for each position: those whose rank in
an order is lower.

Shapes: B samples, N = h * w positions, n of them, E features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEVER = 2**62
"""The rank of what is not there."""


_START_DEVIATION = 0.1
"""Standard deviation of embeddings before training. At 1, PyTorch's default, near codes outweigh positions and conditions at first."""


class NearCodes(nn.Module):
    """A convolution over the known codes around a position, whichever these are: features of them and of which are known.

    There are two kinds of features E, for tokens of codes and for queries. `reach`: how many rows and columns away a code may be;
    J = (2 `reach` + 1)^2 positions are near, some of them outside the grid.
    """

    around: Tensor

    def __init__(self, num_codes: int, width: int, shape: tuple[int, int], features: int = 32, reach: int = 2) -> None:
        super().__init__()
        self.shape, self.reach = shape, reach
        height, columns = shape
        self.embedding = nn.Embedding(num_codes, features)
        nn.init.normal_(self.embedding.weight, std=_START_DEVIATION)
        offsets = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
        places = torch.cartesian_prod(torch.arange(height), torch.arange(columns))[:, None] + offsets
        inside = ((places >= 0) & (places < torch.tensor(shape))).all(dim=2)
        numbers = places[..., 0] * columns + places[..., 1]
        self.register_buffer("around", torch.where(inside, numbers, height * columns), persistent=False)
        self.of_codes = nn.Linear(features * len(offsets), 2 * width)
        self.of_known = nn.Linear(len(offsets), 2 * width, bias=False)

    def forward(self, codes: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """Both features [B, N, E], of the codes [B, N] near each position whose rank int64 [B or 1, N] is below its own."""
        known = self._ranks(ranks, self.around[None]) < ranks[..., None]
        grid = self.embedding(codes).transpose(1, 2).reshape(len(codes), -1, *self.shape)
        near = F.unfold(grid, 2 * self.reach + 1, padding=self.reach)  # its backward pass is fast, that of indexing is not
        return self._mixed(near.transpose(1, 2), known)

    def at(self, codes: Tensor, ranks: Tensor, positions: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """The same at positions int64 [B or 1, n] only, [B, n, E], for ranks below `before` int64 [B or 1, n]."""
        around = self.around[positions]
        known = self._ranks(ranks, around) < before[..., None]
        batch = torch.arange(len(codes), device=codes.device)[:, None, None]
        return self._mixed(self.embedding(F.pad(codes, (0, 1)))[batch, around].transpose(2, 3).flatten(2), known)

    def _mixed(self, near: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Both features [B, n, E] of what is near [B, n, features * J], where it is known, bool [B or 1, n, J]."""
        seen = known.to(near.dtype)
        features = near.shape[2] // known.shape[2]
        mixed = self.of_codes(near * seen.repeat(1, 1, features)) + self.of_known(seen)
        first, second = mixed.chunk(2, dim=2)
        return first, second

    @staticmethod
    def _ranks(ranks: Tensor, around: Tensor) -> Tensor:
        """The ranks [B or 1, n, J] around positions."""
        padded = F.pad(ranks, (0, 1), value=NEVER)
        if len(around) == 1:
            return padded[:, around[0]]
        return padded.expand(len(around), -1).gather(1, around.flatten(1)).view(around.shape)
