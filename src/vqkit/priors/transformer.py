"""A decoder-only transformer over code indices (Vaswani et al. 2017; over VQ codes: Esser et al. 2021, "Taming Transformers").

    code before (or start) ── embedding ─┐
    row and column ───────── position ───┼─ + ── [attention ── feed-forward] x layers ── norm ── head ── logits
    conditions ───────────── features ───┘

One token per position, in raster order: the preceding code, the position, and the conditioning. So the logits of a position depend
on all earlier codes and on no others. Blocks are pre-norm and initialised as the identity, and the head is initialised near zero:
an untrained prior is close to the uniform distribution.

Shapes: B samples, P = h * w positions, K codes, E = width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, CodeSpec, Conditioning
from vqkit.layers.attention import AttentionCache, CausalSelfAttention
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.prior_conditions import PriorConditions
from vqkit.layers.residual import PositionEmbedding, init_zero
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.registry import PRIORS

START_DEVIATION = 0.02
"""Standard deviation of embeddings, positions and the head before training (Radford et al. 2018)."""


class TransformerOptions(Settings):
    """Settings of the transformer prior."""

    width: int = Field(192, ge=8, description="Features of a position; a multiple of `head_width`.")
    layers: int = Field(6, ge=1, description="Blocks of attention and feed-forward.")
    head_width: int = Field(64, ge=4, description="Features of one attention head.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of inputs and feed-forward outputs.")

    @model_validator(mode="after")
    def _whole_heads(self) -> TransformerOptions:
        if self.width % self.head_width:
            raise ValueError(f"the width ({self.width}) must be a multiple of head_width ({self.head_width})")
        return self


class TransformerBlock(nn.Module):
    """Causal attention, then a feed-forward network of four times the width at each position; initialised as the identity."""

    def __init__(self, width: int, head_width: int, dropout: float) -> None:
        super().__init__()
        self.attention = CausalSelfAttention(width, head_width)
        contract = nn.Linear(4 * width, width)
        init_zero(contract)
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), contract, nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, E] to [B, P, E]."""
        tokens = self.attention(tokens)
        return tokens + self.feed(tokens)

    def step(self, token: Tensor, cache: AttentionCache) -> Tensor:
        """The next position only, [B, E] to [B, E]; it is added to the cache."""
        token = self.attention.step(token, cache)
        return token + self.feed(token)


@PRIORS.register("transformer")
class Transformer(AutoregressivePrior):
    """The transformer; see the module for the diagram.

    Raises `ConfigError` for a tokenizer with several levels.
    """

    Options = TransformerOptions
    options: TransformerOptions

    def __init__(self, options: TransformerOptions, spec: CodeSpec) -> None:
        super().__init__(options, spec)
        if len(spec.level_names) != 1:
            raise ConfigError(
                f"The prior transformer models one level of codes; this tokenizer has {len(spec.level_names)}.",
                "Use --prior hierarchical, or a tokenizer of one level, such as vqvae.",
            )
        width, self.start = options.width, spec.cardinalities[0]
        self.embedding = nn.Embedding(self.start + 1, width)  # the last one precedes the first code
        self.position = PositionEmbedding(width, *spec.shapes[0])
        self.conditions = PriorConditions(spec, width) if spec.is_conditional else None
        self.dropout = nn.Dropout(options.dropout)
        self.blocks = TypedModuleList([TransformerBlock(width, options.head_width, options.dropout) for _ in range(options.layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.start)
        for parameter in (self.embedding.weight, self.position.rows, self.position.columns, self.head.weight):
            nn.init.normal_(parameter, std=START_DEVIATION)
        nn.init.zeros_(self.head.bias)

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """See `AutoregressivePrior.logits`."""
        before = F.pad(codes[level].flatten(1)[:, :-1], (1, 0), value=self.start)
        tokens = self.dropout(self.embedding(before) + self.position_features(conditioning))
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(self.norm(tokens))
        return logits.transpose(1, 2).reshape(len(logits), -1, *self.spec.shapes[level])

    def position_features(self, conditioning: Conditioning) -> Tensor:
        """Features of position and conditioning that are added to each token, [B or 1, P, E]."""
        features = self.position.rows.new_zeros(1, 1, 1, 1) if self.conditions is None else self.conditions(conditioning)
        return self.position(features).flatten(2).transpose(1, 2)

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        """See `AutoregressivePrior.stepper`."""
        del level, coarser
        return TransformerStepper(self, conditioning)


class TransformerStepper(Stepper):
    """Steps through a transformer with the keys and values of every block for the codes so far."""

    def __init__(self, prior: Transformer, conditioning: Conditioning) -> None:
        self.prior = prior
        self.places = prior.position_features(conditioning)
        batch, positions = len(conditioning.dropped), self.places.shape[1]
        self.blocks = prior.blocks
        self.caches = [AttentionCache(positions) for _ in self.blocks]
        self.first = torch.full((batch,), prior.start, device=self.places.device)
        self.position = 0

    def step(self, previous: Tensor | None) -> Tensor:
        """See `Stepper.step`."""
        prior = self.prior
        token = prior.embedding(self.first if previous is None else previous) + self.places[:, self.position]
        for block, cache in zip(self.blocks, self.caches, strict=True):
            token = block.step(token, cache)
        self.position += 1
        logits: Tensor = prior.head(prior.norm(token))
        return logits.float()
