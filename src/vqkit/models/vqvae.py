"""VQ-VAE with component masking (van den Oord et al. 2017, "Neural Discrete Representation Learning").

    image * observed ─┐                                     condition values
                      ├─ encoder ── features ── quantizer ── decoder ── logits of the WHOLE image
    observed ─────────┘             [B,D,h,w]   [B,h,w]

The encoder sees only the observed part, and which part that is; the loss is taken over everything. So one pass fills in
what is missing. Where we depart from the paper: the observed indicator, residual blocks without normalisation but starting
at zero, one self-attention on the code grid in the encoder, sub-pixel upsampling, and metadata shifting the decoder's features.

Shapes: B images, C components, H x W pixels, D code dimensions, h x w = H/stride x W/stride the code grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqkit import likelihoods
from vqkit.config import NamedOptions, Settings
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, DataSpec, Quantizer, Reconstruction, Tokenizer
from vqkit.layers.conditions import ConditionEmbedding
from vqkit.layers.residual import Downsample, PositionEmbedding, ResidualBlock, SelfAttention, Upsample
from vqkit.registry import MODELS, QUANTIZERS


class VQVAEOptions(Settings):
    """Settings of the VQ-VAE."""

    hidden: int = Field(64, ge=8, description="Channels on the code grid; finer levels have half as many each.")
    inner: int = Field(64, ge=4, description="Channels inside a residual block.")
    blocks: int = Field(
        1, ge=0, description="Residual blocks on the code grid, on each side, twice: before and after the attention."
    )
    attention: bool = Field(
        True, description="Self-attention on the encoder's code grid: what is missing is guessed from the whole image."
    )
    stride: int = Field(4, ge=2, description="Pixels a code, in each direction; a power of two.")
    likelihood: likelihoods.LikelihoodChoice = Field("auto", description="auto: bernoulli for binary data, mse for intensities.")
    reconstruction_weight: float = Field(10.0, gt=0, description="Weight of the mean reconstruction distance.")
    quantizer: NamedOptions = Field(
        NamedOptions(name="ema"), validate_default=True, description="Name and settings of the quantizer."
    )

    @field_validator("quantizer", mode="before")
    @classmethod
    def _name_or_group(cls, value: object) -> object:
        if isinstance(value, str):
            return {"name": value}
        return {"name": "ema", **value} if isinstance(value, dict) else value

    @field_validator("quantizer")
    @classmethod
    def _complete(cls, value: NamedOptions) -> NamedOptions:
        """With the quantizer's own defaults filled in, so that run.yaml holds them."""
        return NamedOptions(name=value.name, **QUANTIZERS.options(value.name, value.options).model_dump())

    @field_validator("stride")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the stride must be a power of two, not {value}")
        return value


class Encoder(nn.Module):
    """The observed part of an image to features on the code grid."""

    def __init__(self, options: VQVAEOptions, spec: DataSpec, dim: int) -> None:
        super().__init__()
        widths = _widths(options)
        channels = [2 * len(spec.components), *widths]
        downs: list[nn.Module] = []
        for before, after in pairwise(channels):
            downs += [Downsample(before, after), nn.SiLU()]
        self.down = nn.Sequential(*downs[:-1])
        self.trunk = Trunk(options, spec, options.attention, conditions=0)
        self.project = nn.Conv2d(options.hidden, dim, 1)

    def forward(self, images: Tensor, observed: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] and what is observed of them to features [B, D, h, w].

        A hidden pixel is 0, half way between empty (-1) and full (1): missing is not empty.
        """
        known = observed.to(images.dtype)
        seen = torch.cat([(2 * images - 1) * known, known], dim=1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.project(self.trunk(self.down(seen), None))
        return features


class Decoder(nn.Module):
    """Codes to the logits of a whole image, shifted by conditions."""

    def __init__(self, options: VQVAEOptions, spec: DataSpec, dim: int) -> None:
        super().__init__()
        widths = _widths(options)[::-1]
        embedding = options.hidden if spec.conditions else 0
        self.embed = ConditionEmbedding(spec.conditions, embedding) if embedding else None
        self.project = nn.Conv2d(dim, options.hidden, 3, padding=1)
        self.trunk = Trunk(options, spec, attention=False, conditions=embedding)
        ups: list[nn.Module] = []
        for before, after in zip(widths, [*widths[1:], len(spec.components)], strict=True):
            ups += [nn.SiLU(), Upsample(before, after)]
        self.up = nn.Sequential(*ups)

    def forward(self, codes: Tensor, conditions: Tensor) -> Tensor:
        """Codes [B, D, h, w] and condition values [B, conditions] (NaN: unknown) to logits [B, C, H, W]."""
        embedding = self.embed(conditions) if self.embed is not None else None
        hidden = self.project(codes.contiguous(memory_format=torch.channels_last))
        logits: Tensor = self.up(self.trunk(hidden, embedding))
        return logits


class Trunk(nn.Module):
    """Residual blocks, attention where it is asked for, residual blocks, all on the code grid."""

    def __init__(self, options: VQVAEOptions, spec: DataSpec, attention: bool, conditions: int) -> None:
        super().__init__()
        grid = spec.height // options.stride, spec.width // options.stride

        def blocks() -> list[nn.Module]:
            return [ResidualBlock(options.hidden, options.inner, conditions) for _ in range(options.blocks)]

        mixing: list[nn.Module] = [PositionEmbedding(options.hidden, *grid), SelfAttention(options.hidden)] if attention else []
        self.before = nn.ModuleList(blocks())
        self.mixing = nn.Sequential(*mixing)
        self.after = nn.ModuleList(blocks())

    def forward(self, hidden: Tensor, embedding: Tensor | None) -> Tensor:
        """[B, hidden, h, w] to [B, hidden, h, w]."""
        for block in self.before:
            hidden = block(hidden, embedding)
        hidden = self.mixing(hidden)
        for block in self.after:
            hidden = block(hidden, embedding)
        return hidden


@MODELS.register("vqvae", "VQ-VAE with component masking: one level of codes, whole images from parts in one pass")
class VQVAE(Tokenizer):
    """The masked VQ-VAE of this module; see there for the diagram.

    Raises `ConfigError` when the image size is not divisible by the stride.
    """

    Options = VQVAEOptions
    options: VQVAEOptions

    def __init__(self, options: VQVAEOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        stride = options.stride
        if spec.height % stride or spec.width % stride:
            fits = [size for size in (2, 4, 8, 16, 32) if spec.height % size == 0 and spec.width % size == 0]
            raise ConfigError(
                f"Images of {spec.height} x {spec.width} (height x width) cannot be divided by model.stride = {stride}.",
                f"Strides that fit: {', '.join(map(str, fits)) or 'none'}; or resize the images with data.height and data.width.",
            )
        self.likelihood = likelihoods.choose(options.likelihood, spec)
        self.quantizer: Quantizer = QUANTIZERS.build(options.quantizer.name, options.quantizer.options)
        self.encoder = Encoder(options, spec, self.quantizer.dim)
        self.decoder = Decoder(options, spec, self.quantizer.dim)

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon, vq (codebook) and commit, weighted; nothing is drawn at random."""
        quantized = self.quantizer(self.encoder(images, observed))
        logits = self.decoder(quantized.features, conditions)
        losses = {
            "recon": self.options.reconstruction_weight * likelihoods.distance(self.likelihood, logits, images),
            "vq": quantized.codebook_loss,
            "commit": self.quantizer.commitment_weight * quantized.commitment_loss,
        }
        return Reconstruction(logits, losses, {}, (quantized.indices,))

    def mean(self, logits: Tensor) -> Tensor:
        """See `Autoencoder.mean`."""
        return likelihoods.mean(self.likelihood, logits)

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """See `Autoencoder.reconstruct`; without the cost of the losses."""
        return self.decode(self.encode(images, observed), conditions)

    def features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """See `Tokenizer.features`."""
        return (self.encoder(images, observed),)

    def encode(self, images: Tensor, observed: Tensor) -> Codes:
        """See `Tokenizer.encode`."""
        return (self.quantizer.encode(self.encoder(images, observed)),)

    def decode(self, codes: Codes, conditions: Tensor) -> Tensor:
        """See `Tokenizer.decode`."""
        return self.mean(self.decoder(self.quantizer.decode(codes[0]), conditions))

    @property
    def level_names(self) -> tuple[str, ...]:
        """One level, `codes`."""
        return ("codes",)

    @property
    def code_shapes(self) -> tuple[tuple[int, int], ...]:
        """One grid, H/stride x W/stride."""
        return ((self.spec.height // self.options.stride, self.spec.width // self.options.stride),)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """One codebook."""
        return (self.quantizer.num_codes,)

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        """One quantizer."""
        return (self.quantizer,)


def _widths(options: VQVAEOptions) -> list[int]:
    """Channels after each halving, from fine to coarse: half as many a level up, at least 32."""
    halvings = options.stride.bit_length() - 1
    return [max(min(32, options.hidden), options.hidden >> (halvings - 1 - level)) for level in range(halvings)]
