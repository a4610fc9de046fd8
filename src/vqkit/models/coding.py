"""Base class of models with a discrete bottleneck: settings, losses, codes and level ablation.

Such a model encodes the observed part of an image to features on one or more grids, quantises them, the coarsest grid first, and
decodes the codes of all grids to the whole image. `vqkit.models.vqvae` has one grid, `vqkit.models.vqvae2` several.

Each grid is one level of codes. A quantizer with several codes per position (`Quantizer.num_quantizers`) makes as many levels of
its grid, one after the other, so that a prior can model each given those before it.

Shapes: B images, C components, H x W pixels, D code dimensions, h x w a code grid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.config import NamedOptions
from vqkit.interfaces import Codes, Context, DataSpec, Quantizer, Reconstruction, Tokenizer
from vqkit.models.likelihoods import DistanceChoice, build_likelihood
from vqkit.models.networks import Decoder, DecoderOptions, context_of
from vqkit.models.pixel_likelihood import values_per_image
from vqkit.quantizers.choice import QuantizerChoice


class CodingOptions(DecoderOptions):
    """Settings of every model with a discrete bottleneck."""

    likelihood: DistanceChoice = Field("auto", description="auto: bernoulli for binary data, mse for intensities.")
    reconstruction_weight: float = Field(10.0, gt=0, description="Weight of the reconstruction loss.")
    codes_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the error of whole images from codes alone, for training samples of which the decoder also sees a "
        "part; 1 is that of the other samples. For codes as good as those of a model without context; a step takes a fifth longer.",
    )
    quantizer: QuantizerChoice = Field(
        NamedOptions(name="ema"), validate_default=True, description="Name and settings of the quantizer."
    )


class CodingModel(Tokenizer):
    """A tokenizer that quantises features on one or more grids.

    A subclass defines its grids, the input of each quantizer, and the decoder; losses, monitors and codes follow from these.
    """

    options: CodingOptions
    decoder: Decoder

    def __init__(self, options: CodingOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.likelihood = build_likelihood(options.likelihood, spec)

    @property
    @abstractmethod
    def grids(self) -> dict[str, tuple[int, int]]:
        """Name and (h, w) of each grid, coarse first."""

    @property
    @abstractmethod
    def grid_quantizers(self) -> tuple[Quantizer, ...]:
        """The quantizer of each grid."""

    @abstractmethod
    def encode_features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """Features of the observed part of images [B, C, H, W], on each grid."""

    @abstractmethod
    def pre_quantization(self, grid: int, seen: tuple[Tensor, ...], coarser: Sequence[Tensor]) -> Tensor:
        """The input [B, D, h, w] of a grid's quantizer, from the encoder's features and the codes [B, D, h, w] of coarser grids.

        `seen`: from `encode_features`.
        """

    @abstractmethod
    def logits(self, quantized: Sequence[Tensor], conditions: Tensor, context: Context | None = None) -> Tensor:
        """Logits [B, C, H, W] of whole images, given the codes [B, D, h, w] of every grid, condition values and a context."""

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon, vq (codebook) and commit, weighted, the last two summed over the grids; codes
        (alone), where `codes_weight` is set.

        Monitors: vq and commit of each grid by its name, where there are several. `generator`: see `apply_level_dropout`.
        """
        seen = self.encode_features(images, observed)
        quantized: list[Tensor] = []
        codes: list[Tensor] = []
        pulls: dict[str, list[Tensor]] = {"vq": [], "commit": []}
        for grid, quantizer in enumerate(self.grid_quantizers):
            result = quantizer(self.pre_quantization(grid, seen, quantized))
            quantized.append(result.features)
            codes += split_depth(result.indices)
            pulls["vq"].append(result.codebook_loss)
            pulls["commit"].append(quantizer.commitment_weight * result.commitment_loss)
        decoded = self.apply_level_dropout(quantized, generator)
        logits = self.logits(decoded, conditions, context_of(images, shown))
        reconstruction_loss = self.options.reconstruction_weight * self.likelihood.loss(logits, images, present)
        losses = {loss: torch.stack(each).sum() for loss, each in pulls.items()}
        if self.training and shown is not None and self.options.codes_weight and self.decoder.context is not None:
            losses["codes"] = self._codes_loss(images, decoded, conditions, present, shown)
        names = self.grids if len(self.grids) > 1 else ()
        monitors = {f"{loss}_{name}": value for loss, each in pulls.items() for name, value in zip(names, each, strict=False)}
        return Reconstruction(logits, reconstruction_loss, losses, monitors, tuple(codes))

    def _codes_loss(
        self, images: Tensor, quantized: Sequence[Tensor], conditions: Tensor, present: Tensor | None, shown: Tensor
    ) -> Tensor:
        """The error of whole images from codes alone, summed over those of which the decoder was shown a part, over B.

        The reconstruction loss has that of the others already.
        """
        rows = shown.flatten(1).any(dim=1)
        logits = images.new_zeros(images.shape)
        if bool(rows.any()):
            decoded = self.logits([codes[rows] for codes in quantized], conditions[rows])
            logits = logits.to(decoded.dtype).index_put((rows.nonzero().squeeze(1),), decoded)
        # As for images with gaps: a mean over those of all processes, in which this one may have none.
        where = rows[:, None, None, None] if present is None else present & rows[:, None, None, None]
        share = values_per_image(rows[:, None, None, None], training=True)
        loss = self.likelihood.loss(logits, images, where)
        return self.options.codes_weight * self.options.reconstruction_weight * share * loss

    def apply_level_dropout(self, quantized: Sequence[Tensor], generator: torch.Generator | None) -> Sequence[Tensor]:
        """The codes [B, D, h, w] of every grid as decoded in training: all of them, unless a subclass drops some."""
        del generator
        return quantized

    def mean(self, logits: Tensor) -> Tensor:
        """See `Autoencoder.mean`."""
        return self.likelihood.mean(logits)

    @property
    def last_weights(self) -> tuple[nn.Parameter, ...]:
        """See `Autoencoder.last_weights`."""
        return self.decoder.last_weights

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None = None) -> Tensor:
        """See `Autoencoder.reconstruct`; no losses are computed."""
        return self.decode(self.encode(images, observed), conditions, context_of(images, shown))

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """See `Tokenizer.features`. The levels of one grid have the same features."""
        given, _ = self._quantise(images, observed, whole=False)
        return tuple(
            each for each, quantizer in zip(given, self.grid_quantizers, strict=True) for _ in range(quantizer.num_quantizers)
        )

    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        """See `Tokenizer.encode`."""
        _, indices = self._quantise(images, observed, whole=True)
        return tuple(level for each in indices for level in split_depth(each))

    def decode(self, codes: Codes, conditions: Tensor, context: Context | None = None) -> Tensor:
        """See `Tokenizer.decode`."""
        levels = iter(codes)
        quantized: list[Tensor] = []
        for quantizer in self.grid_quantizers:
            indices = [next(levels) for _ in range(quantizer.num_quantizers)]
            quantized.append(quantizer.decode(join_depth(indices)))
        return self.mean(self.logits(quantized, conditions, context))

    def level_contributions(self, codes: Codes) -> tuple[Tensor, ...]:
        """The contribution of each level to the code vectors of its grid, float32 [B, D, h, w]; those of a grid's levels sum to
        them.

        Where a position has several codes, which are summed or have channels of their own, a contribution is the difference that
        the level's codes make while the others of its grid are code 0; the first also includes the vectors of code 0.
        """
        levels = iter(codes)
        contributions: list[Tensor] = []
        for quantizer in self.grid_quantizers:
            indices = [next(levels) for _ in range(quantizer.num_quantizers)]
            nothing = [torch.zeros_like(level) for level in indices]
            for position, level in enumerate(indices):
                vectors = quantizer.decode(join_depth([*nothing[:position], level, *nothing[position + 1 :]]))
                contributions.append(vectors - quantizer.decode(join_depth(nothing)) if position else vectors)
        return tuple(contributions)

    def decode_contributions(self, contributions: Sequence[Tensor], conditions: Tensor) -> Tensor:
        """Expected images [B, C, H, W] of the levels' contributions, or of substitutes; see `level_contributions`."""
        levels = iter(contributions)
        quantized = [torch.stack([next(levels) for _ in range(each.num_quantizers)]).sum(0) for each in self.grid_quantizers]
        return self.mean(self.logits(quantized, conditions))

    def ablation_baseline(self, means: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """What replaces the contribution [1, D, h, w] of an ablated level: by default its mean, from the `means` of all levels."""
        return tuple(means)

    def _quantise(self, images: Tensor, observed: Tensor, whole: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The input of each quantizer and its indices, without training.

        `whole` False: without the indices of the finest grid, on which no other grid depends.
        """
        seen = self.encode_features(images, observed)
        given: list[Tensor] = []
        indices: list[Tensor] = []
        coarser: list[Tensor] = []
        for grid, quantizer in enumerate(self.grid_quantizers):
            given.append(self.pre_quantization(grid, seen, coarser))
            finest = grid == len(self.grids) - 1
            if whole or not finest:
                indices.append(quantizer.encode(given[-1]))
            if not finest:
                coarser.append(quantizer.decode(indices[-1]))
        return given, indices

    @property
    def level_names(self) -> tuple[str, ...]:
        """The grids' names; numbered from 1 where a quantizer has several codes per position."""
        names: list[str] = []
        for name, quantizer in zip(self.grids, self.grid_quantizers, strict=True):
            names += (
                [name]
                if quantizer.num_quantizers == 1
                else [f"{name}_{number}" for number in range(1, quantizer.num_quantizers + 1)]
            )
        return tuple(names)

    @property
    def code_shapes(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of each level."""
        return tuple(
            grid
            for grid, quantizer in zip(self.grids.values(), self.grid_quantizers, strict=True)
            for _ in range(quantizer.num_quantizers)
        )

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each level."""
        return tuple(quantizer.num_codes for quantizer in self.quantizers)

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        """The quantizer of each level; one with several codes per position is repeated for each of its levels."""
        return tuple(quantizer for quantizer in self.grid_quantizers for _ in range(quantizer.num_quantizers))


def split_depth(indices: Tensor) -> list[Tensor]:
    """A quantizer's indices [B, h, w], or [B, num_quantizers, h, w], as levels [B, h, w]."""
    return [indices] if indices.ndim == 3 else list(indices.unbind(dim=1))


def join_depth(levels: Sequence[Tensor]) -> Tensor:
    """The inverse of `split_depth`."""
    return levels[0] if len(levels) == 1 else torch.stack(list(levels), dim=1)
