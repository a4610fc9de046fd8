"""Base class of models with a discrete bottleneck: losses, codes and level ablation.

Such a model encodes the observed part of an image to features on one or more grids, quantises them, the coarsest grid first, and
decodes the codes of all grids to the whole image. `vqkit.models.vqvae` has one grid, `vqkit.models.vqvae2` several.

Each grid is one level of codes. A quantizer with several codes per position (`Quantizer.num_quantizers`) makes as many levels of
its grid, one after the other, so that a prior can model each given those before it.

Shapes: B images, C components, H x W pixels, D code dimensions, h x w a code grid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqkit.config import NamedOptions, Settings
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, DataSpec, Likelihood, Quantizer, Reconstruction, Tokenizer
from vqkit.layers.attention import SelfAttention
from vqkit.layers.conditions import ConditionEmbedding
from vqkit.layers.encoder_input import observed_pixels
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Downsample, PositionEmbedding, ResidualBlock, Upsample
from vqkit.models.likelihoods import DistanceChoice, build_likelihood
from vqkit.quantizers.choice import QuantizerChoice


class NetworkOptions(Settings):
    """Settings of the encoder and the decoder of every autoencoder, whatever lies between them."""

    hidden: int = Field(64, ge=8, description="Channels on the code grid; each finer level has half as many.")
    inner: int = Field(64, ge=4, description="Channels inside a residual block.")
    blocks: int = Field(
        1, ge=0, description="Residual blocks on the code grid before the attention, and again after it; in encoder and decoder."
    )
    attention: bool = Field(
        True, description="Self-attention on the code grid of the encoder, so that missing parts are inferred from the whole image."
    )
    stride: int = Field(4, ge=2, description="Pixels per code in each direction; a power of two.")

    @field_validator("stride")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the stride must be a power of two, not {value}")
        return value


class CodingOptions(NetworkOptions):
    """Settings of every model with a discrete bottleneck."""

    likelihood: DistanceChoice = Field("auto", description="auto: bernoulli for binary data, mse for intensities.")
    reconstruction_weight: float = Field(10.0, gt=0, description="Weight of the reconstruction loss.")
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
    def logits(self, quantized: Sequence[Tensor], conditions: Tensor) -> Tensor:
        """Logits [B, C, H, W] of whole images, given the codes [B, D, h, w] of every grid and condition values."""

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon, vq (codebook) and commit, weighted, the last two summed over the grids.

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
        logits = self.logits(self.apply_level_dropout(quantized, generator), conditions)
        reconstruction_loss = self.options.reconstruction_weight * self.likelihood.loss(logits, images)
        losses = {loss: torch.stack(each).sum() for loss, each in pulls.items()}
        names = self.grids if len(self.grids) > 1 else ()
        monitors = {f"{loss}_{name}": value for loss, each in pulls.items() for name, value in zip(names, each, strict=False)}
        return Reconstruction(logits, reconstruction_loss, losses, monitors, tuple(codes))

    def apply_level_dropout(self, quantized: Sequence[Tensor], generator: torch.Generator | None) -> Sequence[Tensor]:
        """The codes [B, D, h, w] of every grid as decoded in training: all of them, unless a subclass drops some."""
        del generator
        return quantized

    def mean(self, logits: Tensor) -> Tensor:
        """See `Autoencoder.mean`."""
        return self.likelihood.mean(logits)

    @property
    def last_weight(self) -> nn.Parameter:
        """See `Autoencoder.last_weight`."""
        return self.decoder.last_weight

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """See `Autoencoder.reconstruct`; no losses are computed."""
        return self.decode(self.encode(images, observed), conditions)

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

    def decode(self, codes: Codes, conditions: Tensor) -> Tensor:
        """See `Tokenizer.decode`."""
        levels = iter(codes)
        quantized: list[Tensor] = []
        for quantizer in self.grid_quantizers:
            indices = [next(levels) for _ in range(quantizer.num_quantizers)]
            quantized.append(quantizer.decode(join_depth(indices)))
        return self.mean(self.logits(quantized, conditions))

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


class Encoder(nn.Module):
    """Strided convolutions, then a trunk on the coarse grid: [B, channels[0], H, W] to [B, hidden, h, w].

    `channels`: before, between and after the downsamplings; `attention`: (h, w) of the coarse grid if it has self-attention.
    """

    def __init__(self, options: NetworkOptions, channels: Sequence[int], attention: tuple[int, int] | None) -> None:
        super().__init__()
        downs: list[nn.Module] = []
        for before, after in pairwise(channels):
            downs += [Downsample(before, after), nn.SiLU()]
        self.down = nn.Sequential(*downs[:-1])
        self.trunk = Trunk(options, attention, conditions=0)

    def forward(self, features: Tensor) -> Tensor:
        """[B, channels[0], H, W] to [B, hidden, h, w]."""
        hidden: Tensor = self.trunk(self.down(features), None)
        return hidden


class Decoder(nn.Module):
    """Codes on the finest grid, `dim` channels in total, to the logits of a whole image, conditioned on condition values."""

    def __init__(self, options: NetworkOptions, spec: DataSpec, dim: int, likelihood: Likelihood) -> None:
        super().__init__()
        channels = widths(options)[::-1]
        embedding = options.hidden if spec.conditions else 0
        self.embed = ConditionEmbedding(spec.conditions, embedding) if embedding else None
        self.project = nn.Conv2d(dim, options.hidden, 3, padding=1)
        self.trunk = Trunk(options, None, conditions=embedding)
        ups: list[nn.Module] = []
        for before, after in zip(channels, [*channels[1:], len(spec.components)], strict=True):
            ups += [nn.SiLU(), Upsample(before, after)]
        self.up = nn.Sequential(*ups)
        # The first images are grey. The error of black ones has the same sign everywhere and, in the first steps, pushes all
        # features before the codes in one direction: those of fsq then saturate its tanh and stay there.
        with torch.no_grad():
            self.last_bias.add_(likelihood.mid_logit)

    @property
    def last_weight(self) -> nn.Parameter:
        """The weight of the convolution that gives the logits."""
        return self.up[-1].get_parameter("0.weight")

    @property
    def last_bias(self) -> nn.Parameter:
        """The bias of the convolution that gives the logits."""
        return self.up[-1].get_parameter("0.bias")

    def forward(self, codes: Tensor, conditions: Tensor) -> Tensor:
        """Codes [B, dim, h, w] and condition values [B, conditions] (NaN: unknown) to logits [B, C, H, W]."""
        embedding = self.embed(conditions) if self.embed is not None else None
        hidden = self.project(codes.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.up(self.trunk(hidden, embedding))
        return logits


class Trunk(nn.Module):
    """Residual blocks, self-attention if `attention` gives the grid's (h, w), and residual blocks, all on one grid."""

    def __init__(self, options: NetworkOptions, attention: tuple[int, int] | None, conditions: int) -> None:
        super().__init__()

        def blocks() -> list[ResidualBlock]:
            return [ResidualBlock(options.hidden, options.inner, conditions) for _ in range(options.blocks)]

        mixing = [PositionEmbedding(options.hidden, *attention), SelfAttention(options.hidden)] if attention else []
        self.before = TypedModuleList(blocks())
        self.mixing = nn.Sequential(*mixing)
        self.after = TypedModuleList(blocks())

    def forward(self, hidden: Tensor, embedding: Tensor | None) -> Tensor:
        """[B, hidden, h, w] to [B, hidden, h, w]."""
        for block in self.before:
            hidden = block(hidden, embedding)
        hidden = self.mixing(hidden)
        for block in self.after:
            hidden = block(hidden, embedding)
        return hidden


def encoder_input(images: Tensor, observed: Tensor) -> Tensor:
    """The input [B, 2 C, H, W] of an encoder for images [B, C, H, W] in [0, 1]: `observed_pixels`, in channels-last layout."""
    return observed_pixels(images, observed).contiguous(memory_format=torch.channels_last)


def check_stride(options: NetworkOptions, spec: DataSpec) -> None:
    """Raise `ConfigError` unless the stride of a model with one grid divides the images' size."""
    stride = options.stride
    finer = [size for size in (2, 4, 8, 16) if size < stride and spec.height % size == 0 and spec.width % size == 0]
    smaller = f"model.stride = {finer[-1]}" if finer else "a data set whose images have another size"
    check_size(spec, stride, f"the stride (model.stride = {stride})", smaller)


def widths(options: NetworkOptions) -> list[int]:
    """Channels after each downsampling to the finest code grid: halved for each finer level, but at least 32."""
    halvings = options.stride.bit_length() - 1
    return [max(min(32, options.hidden), options.hidden >> (halvings - 1 - level)) for level in range(halvings)]


def check_size(spec: DataSpec, stride: int, called: str, otherwise: str) -> None:
    """Raise `ConfigError` unless the coarsest stride divides the images' size.

    `called`: names the stride in the message; `otherwise`: the alternative to resizing the images.
    """
    if spec.height % stride == 0 and spec.width % stride == 0:
        return
    height, width = (size + -size % stride for size in (spec.height, spec.width))
    raise ConfigError(
        f"Images of {spec.height} x {spec.width} (height x width) cannot be divided by {stride}, {called}.",
        f"Sizes that fit are multiples of {stride}: resize with data.height={height} data.width={width}; or use {otherwise}.",
    )


def split_depth(indices: Tensor) -> list[Tensor]:
    """A quantizer's indices [B, h, w], or [B, num_quantizers, h, w], as levels [B, h, w]."""
    return [indices] if indices.ndim == 3 else list(indices.unbind(dim=1))


def join_depth(levels: Sequence[Tensor]) -> Tensor:
    """The inverse of `split_depth`."""
    return levels[0] if len(levels) == 1 else torch.stack(list(levels), dim=1)
