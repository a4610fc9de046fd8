"""A network that predicts codes from any set of known ones.

    start, codes ── embedding, near codes, position, conditions ── [attention to codes drawn no later, feed-forward] x layers
                                                                       │ keys and values
    query, near codes, position, conditions ── [attention to codes drawn earlier, feed-forward] x layers ── head ── logits

What is computed of a code depends on the codes drawn before it and on no later one, whatever the order. So one pass gives the exact
likelihood under an order, from all positions at once; and in sampling every code is computed once, when it is drawn, and every
prediction once, when it is needed: N codes cost about two passes, in however few steps. A masked transformer without these caches
(Chang et al. 2022, "MaskGIT", arXiv 2202.04200) costs a pass a step, and learns from the hidden part of the codes only.

Two streams with one of them for what is predicted: Yang et al. 2019, "XLNet" (arXiv 1906.08237); queries that only attend, to keys
and values that are cached: Li et al. 2025, "Autoregressive Image Generation with Randomized Parallel Decoding" (arXiv 2503.10568).
Where we depart from the latter: positions are learned; attention adds a learned bias for each head and offset between two positions
(Raffel et al. 2020, "T5"); and known codes near a position are seen directly (`vqkit.priors.near_codes`). Near codes matter most,
everywhere alike, which attention would have to learn first.

Shapes: B samples, N = h * w positions, n of them, K codes, E = width, A heads. Keys have N + 1 places, the first of which is the
start.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.layers.attention import KeysValues, number_of_heads
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import PositionEmbedding, init_zero
from vqkit.priors.near_codes import NearCodes

_START_DEVIATION = 0.02
"""Standard deviation of embeddings and the head before training (Radford et al. 2018)."""


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
        near_codes, near_asked = self.near(codes, ranks, steps)
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


def _numbers(seen: Tensor) -> Tensor:
    """What a mask adds to scores: 0 where it is True, minus infinity elsewhere."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
