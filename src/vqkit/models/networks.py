"""The encoder and the decoder of all autoencoders, whatever their bottleneck, with their settings.

Shapes: B images, C components, H x W pixels, h x w a code grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.errors import SizeError
from vqkit.interfaces import Context, DataSpec, Likelihood
from vqkit.layers.attention import SelfAttention
from vqkit.layers.conditions import ConditionEmbedding
from vqkit.layers.encoder_input import observed_pixels
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Downsample, PositionEmbedding, ResidualBlock, Upsample
from vqkit.models.context import ContextBranch


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


class DecoderOptions(NetworkOptions):
    """Settings of models with a bottleneck: also what their decoder sees beside it."""

    context: bool = Field(
        True, description="Show the decoder what is observed, so that codes or latents need not carry it; see docs/inpainting.md."
    )


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
    """Codes on the finest grid, `dim` channels in total, to the logits of a whole image, conditioned on condition values.

    `with_context` False: without a view of what is observed, whatever the options say.
    """

    def __init__(
        self, options: DecoderOptions, spec: DataSpec, dim: int, likelihood: Likelihood, with_context: bool = True
    ) -> None:
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
        shown = options.context and with_context
        self.context = ContextBranch(spec, channels[::-1], options.inner, likelihood.pixel_logits) if shown else None
        # The first images are grey. The error of black ones has the same sign everywhere and, in the first steps, pushes all
        # features before the codes in one direction: those of fsq then saturate its tanh and stay there.
        with torch.no_grad():
            each = len(self.last_bias) // len(spec.components)  # the last layer gives the pixels of a block as channels
            self.last_bias.add_(likelihood.mid_logits.repeat_interleave(each))

    @property
    def last_weight(self) -> nn.Parameter:
        """The weight of the convolution that gives the logits."""
        return self.up[-1].get_parameter("0.weight")

    @property
    def last_weights(self) -> tuple[nn.Parameter, ...]:
        """The weights of all layers that the logits come from: also of corrections, where there is a context."""
        return (self.last_weight,) if self.context is None else (self.last_weight, self.context.leave.get_parameter("weight"))

    @property
    def last_bias(self) -> nn.Parameter:
        """The bias of the convolution that gives the logits."""
        return self.up[-1].get_parameter("0.bias")

    def forward(self, codes: Tensor, conditions: Tensor, context: Context | None = None) -> Tensor:
        """Codes [B, dim, h, w], condition values [B, conditions] (NaN: unknown) and a context to logits [B, C, H, W]."""
        embedding = self.embed(conditions) if self.embed is not None else None
        hidden = self.project(codes.contiguous(memory_format=torch.channels_last))
        if self.context is None or context is None:
            logits: Tensor = self.up(self.trunk(hidden, embedding))
            return logits
        seen = self.context(context)
        level = len(self.up) // 2 - 1  # of the coarsest grid; each finer one is an activation and an upsampling away
        hidden = self.trunk(self.context.add(hidden, level, seen), embedding)
        for step in range(0, len(self.up) - 2, 2):
            level -= 1
            hidden = self.context.add(self.up[step + 1](self.up[step](hidden)), level, seen)
        return self.context.correct(self.up[-2:](hidden), hidden, seen)


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
    """The input [B, 2 C, H, W] of an encoder for images [B, C, H, W]: `observed_pixels`, in channels-last layout."""
    return observed_pixels(images, observed).contiguous(memory_format=torch.channels_last)


def context_of(images: Tensor, shown: Tensor | None) -> Context | None:
    """What a decoder sees of images: the pixels that are `shown`, bool [B, C, H, W], or nothing."""
    return None if shown is None else Context(images, shown)


def check_stride(options: NetworkOptions, spec: DataSpec) -> None:
    """Raise `SizeError` unless the stride of a model with one grid divides the images' size."""
    stride = options.stride
    finer = [size for size in (2, 4, 8, 16) if size < stride and spec.height % size == 0 and spec.width % size == 0]
    smaller = f"model.stride = {finer[-1]}" if finer else "a data set whose images have another size"
    check_size(spec, stride, f"the stride (model.stride = {stride})", smaller)


def widths(options: NetworkOptions) -> list[int]:
    """Channels after each downsampling to the finest code grid: halved for each finer level, but at least 32."""
    halvings = options.stride.bit_length() - 1
    return [max(min(32, options.hidden), options.hidden >> (halvings - 1 - level)) for level in range(halvings)]


def check_size(spec: DataSpec, stride: int, called: str, otherwise: str) -> None:
    """Raise `SizeError` unless the coarsest stride divides the images' size.

    `called`: names the stride in the message; `otherwise`: the alternative to images of another size.
    """
    if spec.height % stride == 0 and spec.width % stride == 0:
        return
    raise SizeError(
        f"Images of {spec.height} x {spec.width} (height x width) cannot be divided by {stride}, {called}.",
        f"Sizes that fit are multiples of {stride}; or use {otherwise}.",
        stride,
    )
