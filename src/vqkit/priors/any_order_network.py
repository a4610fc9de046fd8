"""A network that predicts codes from any set of known ones.

    start, codes ── embedding, position, conditions ── [attention to codes drawn no later ── feed-forward] x content layers
                                                                    │ keys and values
    query, position, conditions ── [attention to codes drawn earlier ── feed-forward] x query layers ── head ── logits

What is computed of a code depends on the codes drawn before it and on no later one, whatever the order. So one pass gives the exact
likelihood under an order, from all positions at once; and in sampling every code is computed once, when it is drawn, and every
prediction once, when it is needed: N codes cost about two passes, in however few steps. A masked transformer without these caches
(Chang et al. 2022, "MaskGIT", arXiv 2202.04200) costs a pass a step, and learns from the hidden part of the codes only.

Two streams with one of them for what is predicted: Yang et al. 2019, "XLNet" (arXiv 1906.08237); queries that only attend, to keys
and values that are cached: Li et al. 2025, "Autoregressive Image Generation with Randomized Parallel Decoding" (arXiv 2503.10568).
Where we depart from the latter: positions are learned, and attention adds a learned bias for each head and offset between two
positions (Raffel et al. 2020, "T5"): near codes matter most, everywhere alike, which little data would not teach.

Shapes: B samples, N = h * w positions, n of them, K codes, E = width, A heads. Keys have N + 1 places, the first of which is the
start.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.layers.attention import number_of_heads
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import PositionEmbedding, init_zero

_NEVER = 2**62
"""The rank of what is not there."""
_START_DEVIATION = 0.02
"""Standard deviation of embeddings and the head before training (Radford et al. 2018)."""


class KeysValues(NamedTuple):
    """Keys and values of one layer, [B, A, m, E / A] each."""

    keys: Tensor
    values: Tensor


class RelativeBias(nn.Module):
    """A learned number for each head and offset between two positions of a grid, and for each head and the start."""

    offsets: Tensor

    def __init__(self, heads: int, height: int, width: int) -> None:
        super().__init__()
        rows, columns = torch.arange(height), torch.arange(width)
        places = torch.cartesian_prod(rows, columns)
        apart = places[:, None] - places[None] + torch.tensor([height - 1, width - 1])
        self.register_buffer("offsets", apart[..., 0] * (2 * width - 1) + apart[..., 1], persistent=False)
        self.table = nn.Parameter(torch.zeros(heads, (2 * height - 1) * (2 * width - 1)))
        self.start = nn.Parameter(torch.zeros(heads))

    def forward(self) -> Tensor:
        """[A, N, N + 1]: of each position (row) to the start and each position."""
        between = self.table[:, self.offsets]
        return torch.cat([self.start[:, None, None].expand(-1, len(self.offsets), 1), between], dim=2)


class AttendingBlock(nn.Module):
    """Attention to a content, then a feed-forward network of four times the width; initialised as the identity."""

    def __init__(self, width: int, head_width: int, dropout: float, shape: tuple[int, int]) -> None:
        super().__init__()
        self.heads = number_of_heads(width, head_width)
        self.content_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.content, self.query, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width), nn.Linear(width, width)
        self.bias = RelativeBias(self.heads, *shape)
        contract = nn.Linear(4 * width, width)
        init_zero(self.out)
        init_zero(contract)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), contract, nn.Dropout(dropout))

    def keys_values(self, content: Tensor) -> KeysValues:
        """Of content [B, n, E]: [B, A, n, E / A]."""
        keys, values = self.content(self.content_norm(content)).chunk(2, dim=2)
        return KeysValues(self._heads(keys), self._heads(values))

    def forward(self, tokens: Tensor, content: KeysValues, bias: Tensor) -> Tensor:
        """Tokens [B, n, E] that see m places of a content; `bias` [B or 1, A, n, m]: minus infinity for those that are not seen."""
        query = self._heads(self.query(self.norm(tokens)))
        if torch.is_grad_enabled():
            # On a CPU the backward pass of `scaled_dot_product_attention` is several times slower at these sizes.
            scores = (query * query.shape[-1] ** -0.5) @ content.keys.transpose(2, 3) + bias
            mixed = scores.softmax(dim=-1).to(content.values.dtype) @ content.values
        else:
            mixed = F.scaled_dot_product_attention(query, content.keys, content.values, bias.to(query.dtype))
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.feed(tokens)

    def _heads(self, features: Tensor) -> Tensor:
        """[B, n, E] to [B, A, n, E / A]."""
        return features.view(*features.shape[:2], self.heads, -1).transpose(1, 2)


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
        offsets = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 2)
        places = torch.cartesian_prod(torch.arange(height), torch.arange(columns))[:, None] + offsets
        inside = ((places >= 0) & (places < torch.tensor(shape))).all(dim=2)
        numbers = places[..., 0] * columns + places[..., 1]
        self.register_buffer("around", torch.where(inside, numbers, height * columns), persistent=False)
        self.of_codes = nn.Linear(features * len(offsets), 2 * width)
        self.of_known = nn.Linear(len(offsets), 2 * width, bias=False)

    def forward(self, codes: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
        """Both kinds of features [B, N, E], of the codes [B, N] near each position whose rank int64 [B or 1, N] is below its own."""
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
        padded = F.pad(ranks, (0, 1), value=_NEVER)
        if len(around) == 1:
            return padded[:, around[0]]
        return padded.expand(len(around), -1).gather(1, around.flatten(1)).view(around.shape)


class AnyOrderNetwork(nn.Module):
    """The network for the codes of one level; see the module for the diagram.

    `layers`: content and query layers, half each, one more of the former if they are odd.
    """

    def __init__(self, num_codes: int, shape: tuple[int, int], width: int, layers: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_codes, width)
        self.position = PositionEmbedding(width, *shape)
        self.start, self.asked = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.dropout = nn.Dropout(dropout)
        self.near = NearCodes(num_codes, width, shape)

        def blocks(count: int) -> TypedModuleList[AttendingBlock]:
            return TypedModuleList([AttendingBlock(width, head_width, dropout, shape) for _ in range(count)])

        self.content_blocks, self.query_blocks = blocks(layers - layers // 2), blocks(layers // 2)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_codes)
        for parameter in (self.embedding.weight, self.position.rows, self.position.columns, self.head.weight):
            nn.init.normal_(parameter, std=_START_DEVIATION)
        nn.init.zeros_(self.head.bias)

    def places(self, conditions: Tensor | None) -> Tensor:
        """Features of position and conditions that are added to each token, [B or 1, N, E].

        `conditions`: features [B, E, 1, 1] or [B, E, h, w], or None.
        """
        features = self.position.rows.new_zeros(1, 1, 1, 1) if conditions is None else conditions
        return self.position(features).flatten(2).transpose(1, 2)

    def forward(self, codes: Tensor, ranks: Tensor, steps: Tensor, conditions: Tensor | None) -> Tensor:
        """Logits [B, N, K] of codes int64 [B, N], each predicted from those of earlier steps.

        `ranks` int64 [B or 1, N]: the place of each code in the order, and `steps` that of the step in which it is drawn, which may
        be one of several codes but follows the order.
        """
        places = self.places(conditions)
        near_codes, near_asked = self.near(codes, ranks)
        if steps is not ranks:
            _, near_asked = self.near(codes, steps)
        tokens = self.dropout(self.embedding(codes) + places + near_codes)
        tokens = torch.cat([self.first_token(places).expand(len(tokens), 1, -1), tokens], dim=1)
        before = F.pad(ranks, (1, 0), value=-1)
        no_later = _numbers((before[:, None] <= before[:, :, None])[:, None])
        for block in self.content_blocks:
            bias = F.pad(block.bias(), (0, 0, 1, 0))
            tokens = block(tokens, block.keys_values(tokens), bias + no_later)
        queries = self.dropout(self.asked + places + near_asked)
        earlier = _numbers((F.pad(steps, (1, 0), value=-1)[:, None] < steps[:, :, None])[:, None])
        for block in self.query_blocks:
            queries = block(queries, block.keys_values(tokens), block.bias() + earlier)
        logits: Tensor = self.head(self.norm(queries))
        return logits

    def first_token(self, places: Tensor) -> Tensor:
        """The start [B or 1, 1, E], which holds the mean of what is known of all positions."""
        return self.start + places.mean(dim=1, keepdim=True)


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
        self._stored: list[KeysValues | None] = [None] * len(self._blocks)
        device = self._places.device
        batch, positions = self._places.shape[:2]
        self._codes = torch.zeros(batch, positions, dtype=torch.int64, device=device)
        self._ranks = torch.full((1, positions), _NEVER, device=device)
        self._count = 0
        self._columns = torch.empty(1, 0, dtype=torch.int64, device=device)
        self._hidden = torch.empty(1, 0, dtype=torch.bool, device=device)
        self._add_tokens(self._network.first_token(self._places), torch.zeros(1, 1, dtype=torch.int64, device=device), None)

    def add(self, codes: Tensor, positions: Tensor, valid: Tensor | None = None) -> None:
        """Codes int64 [B, n] at positions, which see those before them in this order; `valid` bool [B, n]: which count."""
        own = torch.arange(self._count, self._count + positions.shape[1], device=positions.device)[None]
        self._count += positions.shape[1]
        self._codes = _put(self._codes, positions, valid, codes)
        self._ranks = _put(self._ranks, positions, valid, own)
        near, _ = self._network.near.at(self._codes, self._ranks, positions, own)
        self._add_tokens(self._network.embedding(codes) + self._at(positions) + near, positions + 1, valid)

    def logits(self, positions: Tensor) -> Tensor:
        """Logits float32 [B, n, K] at positions, given all codes so far."""
        now = torch.full_like(positions, self._count)
        _, near = self._network.near.at(self._codes, self._ranks, positions, now)
        tokens = self._network.asked + self._at(positions) + near
        for number in range(self._content, len(self._blocks)):
            stored = self._stored[number]
            assert stored is not None
            tokens = self._blocks[number](tokens, stored, self._bias(number, positions + 1))
        logits: Tensor = self._network.head(self._network.norm(tokens))
        return logits.float()

    def _add_tokens(self, tokens: Tensor, rows: Tensor, valid: Tensor | None) -> None:
        """Tokens [B, n, E] of the start (row 0) or of positions (rows from 1), int64 [B or 1, n]; which count."""
        count, before = tokens.shape[1], self._columns.shape[1]
        hidden = torch.zeros_like(rows, dtype=torch.bool) if valid is None else ~valid
        self._columns = _joined(self._columns, rows)
        self._hidden = _joined(self._hidden, hidden)
        later = torch.ones(count, count, dtype=torch.bool, device=tokens.device).triu(1)
        later = F.pad(later, (before, 0))
        for number, block in enumerate(self._blocks):
            new, stored = block.keys_values(tokens), self._stored[number]
            if stored is not None:
                new = KeysValues(torch.cat([stored.keys, new.keys], dim=2), torch.cat([stored.values, new.values], dim=2))
            self._stored[number] = new
            if number < self._content:
                # What does not count sees the start at least, so that its softmax has a value.
                tokens = block(tokens, new, self._bias(number, rows).masked_fill(later, -torch.inf))

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


def _numbers(seen: Tensor) -> Tensor:
    """What a mask adds to scores: 0 where it is True, minus infinity elsewhere."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
