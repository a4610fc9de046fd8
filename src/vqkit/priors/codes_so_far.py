"""Predictions from the codes that are known so far, each of which is computed once, for the next prediction.

Shapes: as in `vqkit.priors.any_order_network`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.layers.attention import AttentionCache
from vqkit.priors.any_order_network import AnyOrderNetwork
from vqkit.priors.near_codes import NEVER


class CodesSoFar:
    """The codes that are known of a batch of samples, as keys and values of all layers of a network, in the order they came in.

    Positions int64 [B, n], or [1, n] if they are the same for all samples, which is faster.
    """

    def __init__(self, network: AnyOrderNetwork, conditions: Tensor | None, batch: int) -> None:
        self._network = network
        self._places = network.places(conditions).expand(batch, -1, -1)
        self._blocks = [*network.content_blocks, *network.query_blocks]
        self._biases = [F.pad(block.bias(), (0, 0, 1, 0)) for block in self._blocks]  # the start's own row: no bias
        self._content = len(network.content_blocks)
        self.clear()

    def clear(self) -> None:
        """Forget all codes."""
        device = self._places.device
        batch, positions = self._places.shape[:2]
        self._stored = [AttentionCache(positions + 1) for _ in self._blocks]
        self._waiting: tuple[Tensor, Tensor, Tensor | None] | None = None
        self._codes = torch.zeros(batch, positions, dtype=torch.int64, device=device)
        self._ranks = torch.full((1, positions), NEVER, device=device)
        self._count = 0
        self._columns = torch.empty(1, 0, dtype=torch.int64, device=device)
        self._hidden = torch.empty(1, 0, dtype=torch.bool, device=device)
        self._add_tokens(self._network.first_token(self._places), torch.zeros(1, 1, dtype=torch.int64, device=device), None)

    def add(self, codes: Tensor, positions: Tensor, valid: Tensor | None = None) -> None:
        """Codes int64 [B, n] at positions, which see those before them in this order; `valid` bool [B, n]: which count.

        They are computed when something is predicted from them.
        """
        self._compute()
        own = torch.arange(self._count, self._count + positions.shape[1], device=positions.device)[None]
        self._count += positions.shape[1]
        self._codes = _put(self._codes, positions, valid, codes)
        self._ranks = _put(self._ranks, positions, valid, own)
        near = self._network.near.at(self._network.near.tokens, self._codes, self._ranks, positions, own)
        self._waiting = self._network.embedding(codes) + self._at(positions) + near, positions + 1, valid

    def logits(self, positions: Tensor) -> Tensor:
        """Logits float32 [B, n, K] at positions, given all codes so far."""
        self._compute()
        now = torch.full_like(positions, self._count)
        near = self._network.near.at(self._network.near.queries, self._codes, self._ranks, positions, now)
        tokens = self._network.asked + self._at(positions) + near
        for number in range(self._content, len(self._blocks)):
            tokens = self._blocks[number](tokens, self._stored[number].all(), self._bias(number, positions + 1))
        logits: Tensor = self._network.head(self._network.norm(tokens))
        return logits.float()

    def _compute(self) -> None:
        """Compute the codes that were added last."""
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._add_tokens(*waiting)

    def _add_tokens(self, tokens: Tensor, rows: Tensor, valid: Tensor | None) -> None:
        """Tokens [B, n, E] of the start (row 0) or of positions (rows from 1), int64 [B or 1, n]; which count."""
        count, before = tokens.shape[1], self._columns.shape[1]
        hidden = torch.zeros_like(rows, dtype=torch.bool) if valid is None else ~valid
        self._columns = _joined(self._columns, rows)
        self._hidden = _joined(self._hidden, hidden)
        later = torch.ones(count, count, dtype=torch.bool, device=tokens.device).triu(1)
        later = F.pad(later, (before, 0))
        for number, block in enumerate(self._blocks):
            content = self._stored[number].add(block.keys_values(tokens))
            if number < self._content:
                # What does not count sees the start at least, so that its softmax has a value.
                tokens = block(tokens, content, self._bias(number, rows).masked_fill(later, -torch.inf))

    def _bias(self, number: int, rows: Tensor) -> Tensor:
        """The bias [B or 1, A, n, m] of a layer for rows int64 [B or 1, n] and all that is stored."""
        table = self._biases[number]
        if len(rows) == len(self._columns) == 1:
            bias = table[:, rows[0]][:, :, self._columns[0]][None]
        else:
            bias = table.flatten(1)[:, rows[:, :, None] * table.shape[2] + self._columns[:, None]].transpose(0, 1)
        return bias.masked_fill(self._hidden[:, None, None], -torch.inf) if bool(self._hidden.any()) else bias

    def _at(self, positions: Tensor) -> Tensor:
        """The features [B, n, E] of position and conditions."""
        if len(positions) == 1:
            return self._places[:, positions[0]]
        return self._places.gather(1, positions[..., None].expand(-1, -1, self._places.shape[2]))


def _joined(first: Tensor, second: Tensor) -> Tensor:
    """Rows [B or 1, n] and [B or 1, m] as [B or 1, n + m]."""
    rows = max(len(first), len(second))
    return torch.cat([first.expand(rows, -1), second.expand(rows, -1)], dim=1)


def _put(values: Tensor, positions: Tensor, valid: Tensor | None, new: Tensor) -> Tensor:
    """Values [B or 1, N] with `new` [B or 1, n] at positions [B or 1, n] where `valid`."""
    rows = max(len(values), len(positions), len(new))
    values, positions, new = (each.expand(rows, -1) for each in (values, positions, new))
    if valid is None:
        return values.scatter(1, positions, new)
    # What does not count may name a position that does.
    row, place = valid.expand(rows, -1).nonzero(as_tuple=True)
    return values.index_put((row, positions[row, place]), new[row, place])
