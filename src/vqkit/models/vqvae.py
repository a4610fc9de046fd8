"""VQ-VAE with component masking (van den Oord et al. 2017, "Neural Discrete Representation Learning").

    image * observed ─┐                                     condition values
                      ├─ encoder ── features ── quantizer ── decoder ── logits of the WHOLE image
    observed ─────────┘             [B,D,h,w]   [B,h,w]

The encoder gets only the observed pixels and the mask; the loss is computed over the whole image. So one pass completes an image.
Where we depart from the paper: the mask as input, residual blocks without normalisation that are initialised to the identity, one
self-attention layer on the code grid in the encoder, sub-pixel upsampling, and condition values that shift the decoder's features.

Shapes: B images, C components, H x W pixels, D code dimensions, h x w = H/stride x W/stride the code grid.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vqkit.interfaces import Context, DataSpec, Quantizer
from vqkit.models.coding import CodingModel, CodingOptions
from vqkit.models.encoder_part import EncoderChain
from vqkit.models.networks import Decoder, Encoder, check_stride, encoder_input, widths
from vqkit.registry import MODELS, QUANTIZERS


class VQVAEOptions(CodingOptions):
    """Settings of the VQ-VAE."""


class ImageEncoder(Encoder):
    """The observed part of an image to features on the code grid."""

    def __init__(self, options: VQVAEOptions, spec: DataSpec, dim: int) -> None:
        grid = spec.height // options.stride, spec.width // options.stride
        super().__init__(options, [2 * len(spec.components), *widths(options)], grid if options.attention else None)
        self.project = nn.Conv2d(options.hidden, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """The `encoder_input` [B, 2 C, H, W] to features [B, D, h, w]."""
        projected: Tensor = self.project(super().forward(features))
        return projected


@MODELS.register("vqvae")
class VQVAE(CodingModel):
    """The masked VQ-VAE of this module; see there for the diagram.

    Raises `ConfigError` when the image size is not divisible by the stride.
    """

    Options = VQVAEOptions
    options: VQVAEOptions

    def __init__(self, options: VQVAEOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        check_stride(options, spec)
        self.quantizer: Quantizer = QUANTIZERS.build(options.quantizer.name, options.quantizer.options)
        self.encoder = ImageEncoder(options, spec, self.quantizer.dim)
        self.decoder = Decoder(options, spec, self.quantizer.dim, self.likelihood)

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """One grid, `codes`, H/stride x W/stride."""
        return {"codes": (self.spec.height // self.options.stride, self.spec.width // self.options.stride)}

    @property
    def grid_quantizers(self) -> tuple[Quantizer, ...]:
        """One quantizer."""
        return (self.quantizer,)

    @property
    def encoder_part(self) -> EncoderChain:
        """See `Autoencoder.encoder_part`."""
        return EncoderChain(self.options, [self.encoder])

    def encode_features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """See `CodingModel.encode_features`."""
        return (self.encoder(encoder_input(images, observed)),)

    def pre_quantization(self, grid: int, seen: tuple[Tensor, ...], coarser: Sequence[Tensor]) -> Tensor:
        """See `CodingModel.pre_quantization`: the encoder's features, unchanged."""
        del coarser
        return seen[grid]

    def logits(self, quantized: Sequence[Tensor], conditions: Tensor, context: Context | None = None) -> Tensor:
        """See `CodingModel.logits`."""
        logits: Tensor = self.decoder(quantized[0], conditions, context)
        return logits
