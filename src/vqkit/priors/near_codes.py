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
"""Standard deviation of embeddings before training. At 1, PyTorch's default, near codes outweigh all else at first."""


class NearFeatures(nn.Module):
    """Features E of what is near a position, and of where something is known: a linear map of embeddings, and one of the mask."""

    def __init__(self, embedded: int, positions: int, width: int) -> None:
        super().__init__()
        self.of_codes = nn.Linear(embedded * positions, width)
        self.of_known = nn.Linear(positions, width, bias=False)

    def forward(self, near: Tensor, known: Tensor) -> Tensor:
        """Features [B, n, E] of embeddings [B, n, embedded * J] where they are `known` bool [B or 1, n, J]."""
        seen = known.to(near.dtype)
        features: Tensor = self.of_codes(near * seen.repeat(1, 1, near.shape[2] // known.shape[2])) + self.of_known(seen)
        return features


class NearCodes(nn.Module):
    """A convolution over the known codes around a position, whichever these are: features of them and of which are known.

    There are two kinds of features E: `tokens` of codes, and `queries` for what is predicted. `reach`: how many rows and columns
    away a code may be; J = (2 `reach` + 1)^2 positions are near, some of them outside the grid.
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
        self.tokens, self.queries = (NearFeatures(features, len(offsets), width) for _ in range(2))

    def forward(self, codes: Tensor, ranks: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and queries [B, N, E] of the codes [B, N] near each position.

        Tokens see those whose rank int64 [B or 1, N] is below that of the position, queries those of an earlier step [B or 1, N].
        """
        grid = self.embedding(codes).transpose(1, 2).reshape(len(codes), -1, *self.shape)
        near = F.unfold(grid, 2 * self.reach + 1, padding=self.reach)  # its backward pass is fast, that of indexing is not
        near = near.transpose(1, 2)
        earlier, drawn = (self._ranks(each, self.around[None]) < each[..., None] for each in (ranks, steps))
        return self.tokens(near, earlier), self.queries(near, drawn)

    def at(self, features: NearFeatures, codes: Tensor, ranks: Tensor, positions: Tensor, before: Tensor) -> Tensor:
        """Tokens or queries [B, n, E] at positions int64 [B or 1, n], of codes whose rank is below `before` int64 [B or 1, n]."""
        around = self.around[positions]
        known = self._ranks(ranks, around) < before[..., None]
        batch = torch.arange(len(codes), device=codes.device)[:, None, None]
        near = self.embedding(F.pad(codes, (0, 1)))[batch, around].transpose(2, 3).flatten(2)
        mixed: Tensor = features(near, known)
        return mixed

    @staticmethod
    def _ranks(ranks: Tensor, around: Tensor) -> Tensor:
        """The ranks [B or 1, n, J] around positions."""
        padded = F.pad(ranks, (0, 1), value=NEVER)
        if len(around) == 1:
            return padded[:, around[0]]
        return padded.expand(len(around), -1).gather(1, around.flatten(1)).view(around.shape)
