"""VQ-VAE-2: codes on several grids, the coarse ones for layout, the fine ones for detail (Razavi et al. 2019, "Generating Diverse
High-Fidelity Images with VQ-VAE-2", section 3.1), with component masking.

    image * observed ─┐
                      ├─ encoder ──┬───────── concatenate ── quantizer ── codes "bottom" ──┐
    observed ─────────┘            │               │                                       ├─ decoder ── logits of the
                                encoder         context                                    │     │       WHOLE image
                                   │               │                                       │  condition values
                                   └─ quantizer ───┴───── codes "top" ────── upsampled ────┘

The coarsest grid is quantised first. Its codes are decoded onto the next grid and concatenated with the finer features there, so
that a finer level only has to represent what the coarser ones do not. With more than two levels, each is conditioned on all coarser
ones.

In training a few samples (`level_dropout`) are decoded from coarse levels alone, with zeros in place of finer codes. Without level
dropout the coarse levels are not trained to represent an image by themselves, and decoded alone they show next to nothing.

Like `vqkit.models.vqvae`, the model completes an image in one pass. Where we depart from the paper: masking and all that is listed
there; self-attention on the coarsest grid only (finer grids are conditioned on its codes); codes are upsampled to a finer grid by
repetition and a convolution instead of a transposed convolution; level dropout.

Shapes: B images, C components, H x W pixels, D code dimensions, h x w a code grid, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqkit.core.distributed import local_chunk, parts
from vqkit.interfaces import Context, DataSpec, Quantizer, check_images, fully_observed
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Upsample
from vqkit.models.coding import CodingModel, CodingOptions
from vqkit.models.encoder_part import EncoderChain
from vqkit.models.networks import Decoder, Encoder, Trunk, check_size, encoder_input, widths
from vqkit.registry import MODELS, QUANTIZERS


class VQVAE2Options(CodingOptions):
    """Settings of the VQ-VAE-2; `stride` is that of the finest level, and `quantizer` is built once for each level."""

    levels: int = Field(2, ge=2, le=16, description="Levels of codes.")
    factor: int = Field(2, ge=2, le=64, description="Ratio of the strides of a level and the next finer one; a power of two.")
    attention: bool = Field(
        True,
        description="Self-attention on the coarsest grid of the encoder, so that missing parts are inferred from the whole image.",
    )
    level_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the training samples decoded without their fine levels, so that coarse levels represent the layout.",
    )

    @field_validator("factor")
    @classmethod
    def _factor_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the factor must be a power of two, not {value}")
        return value


class CoarserCodes(nn.Module):
    """Conditioning on coarser codes: all coarser codes, on the finest of their grids, to features on the next finer grid."""

    def __init__(self, options: VQVAE2Options, dim: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(dim, options.hidden, 3, padding=1)
        self.trunk = Trunk(options, None, conditions=0)
        halvings = options.factor.bit_length() - 1
        self.up = nn.Sequential(*(nn.Sequential(nn.SiLU(), Upsample(options.hidden, options.hidden)) for _ in range(halvings)))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [B, dim, h, w] to features [B, hidden, factor * h, factor * w]."""
        hidden = self.project(codes.contiguous(memory_format=torch.channels_last))
        features: Tensor = self.up(self.trunk(hidden, None))
        return features


@MODELS.register("vqvae2")
class VQVAE2(CodingModel):
    """The masked VQ-VAE-2 of this module; see there for the diagram.

    Raises `ConfigError` when the image size is not divisible by the coarsest level's stride.
    """

    Options = VQVAE2Options
    options: VQVAE2Options

    def __init__(self, options: VQVAE2Options, spec: DataSpec) -> None:
        super().__init__(options, spec)
        check_sizes(options, spec)
        built: list[Quantizer] = [
            QUANTIZERS.build(options.quantizer.name, options.quantizer.options) for _ in range(options.levels)
        ]
        self.level_quantizers = TypedModuleList(built)
        dim = built[0].dim
        image = [2 * len(spec.components), *widths(options)]
        between = [options.hidden] * options.factor.bit_length()
        coarsest = next(iter(self.grids.values())) if options.attention else None
        # The finest encoder comes first: each is applied to the output of the previous one.
        encoders = [Encoder(options, image, None)]
        encoders += [Encoder(options, between, None) for _ in range(options.levels - 2)]
        self.encoders = TypedModuleList([*encoders, Encoder(options, between, coarsest)])
        self.contexts = TypedModuleList([CoarserCodes(options, dim * level) for level in range(1, options.levels)])
        joined = [options.hidden] + [2 * options.hidden] * (options.levels - 1)
        self.projects = TypedModuleList([nn.Conv2d(channels, dim, 1) for channels in joined])
        self.decoder = Decoder(options, spec, dim * options.levels, self.likelihood)

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """`top` and `bottom`; where there are more, `level_1` (the coarsest), `level_2`, ..."""
        levels = range(self.options.levels)
        names = ("top", "bottom") if len(levels) == 2 else tuple(f"level_{level + 1}" for level in levels)
        strides = (self.options.stride * self.options.factor ** (len(levels) - 1 - level) for level in levels)
        return {name: (self.spec.height // stride, self.spec.width // stride) for name, stride in zip(names, strides, strict=True)}

    @property
    def grid_quantizers(self) -> tuple[Quantizer, ...]:
        """A quantizer for each level."""
        return tuple(self.level_quantizers)

    @property
    def encoder_part(self) -> EncoderChain:
        """See `Autoencoder.encoder_part`."""
        return EncoderChain(self.options, list(self.encoders), self.options.factor)

    def encode_features(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """See `CodingModel.encode_features`: features [B, hidden, h, w] of each level."""
        hidden = encoder_input(images, observed)
        seen: list[Tensor] = []
        for encoder in self.encoders:
            hidden = encoder(hidden)
            seen.append(hidden)
        return tuple(reversed(seen))

    def pre_quantization(self, grid: int, seen: tuple[Tensor, ...], coarser: Sequence[Tensor]) -> Tensor:
        """See `CodingModel.pre_quantization`: the grid's features, concatenated with the context of all coarser codes."""
        features = seen[grid]
        if grid:
            context = self.contexts[grid - 1](together(coarser))
            features = torch.cat([features, context.to(features.dtype)], dim=1)
        given: Tensor = self.projects[grid](features)
        return given

    def logits(self, quantized: Sequence[Tensor], conditions: Tensor, context: Context | None = None) -> Tensor:
        """See `CodingModel.logits`."""
        logits: Tensor = self.decoder(together(quantized), conditions, context)
        return logits

    def apply_level_dropout(self, quantized: Sequence[Tensor], generator: torch.Generator | None) -> Sequence[Tensor]:
        """In training, zeros in place of the fine levels of some samples; the number of levels kept is uniform over 1 ... L - 1.

        Drawn for the batch of all processes and cut.
        """
        if not self.training or generator is None or not self.options.level_dropout:
            return quantized
        count = len(quantized[0]) * parts()
        dropped = torch.rand(count, generator=generator) < self.options.level_dropout
        kept = torch.where(dropped, torch.randint(1, self.options.levels, (count,), generator=generator), self.options.levels)
        kept = local_chunk(kept).to(quantized[0].device)[:, None, None, None]
        return [codes * (level < kept) for level, codes in enumerate(quantized)]

    def ablation_baseline(self, means: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """See `CodingModel.ablation_baseline`; zeros for fine levels that level dropout replaced by zeros in training.

        That is, with level dropout and one code per position.
        """
        dropped = self.options.level_dropout > 0 and all(quantizer.num_quantizers == 1 for quantizer in self.grid_quantizers)
        return tuple(torch.zeros_like(mean) if dropped and level else mean for level, mean in enumerate(means))

    @torch.no_grad()
    def get_code_indices(self, images: Tensor) -> dict[str, Tensor]:
        """Indices int64 [B, h, w] of whole float images [B, C, H, W] in [0, 1], by level: `indices_top`, `indices_bottom`.

        Raises `DataError` for images of another size or number of components.
        """
        check_images(images, self.spec)
        codes = self.encode(images, fully_observed(images))
        return {f"indices_{name}": level for name, level in zip(self.level_names, codes, strict=True)}


def together(codes: Sequence[Tensor]) -> Tensor:
    """Codes [B, D, h, w] of several grids, coarse first, on the last and finest of them: [B, L * D, h, w]."""
    finest = codes[-1]
    return torch.cat([*(F.interpolate(level, finest.shape[2:], mode="nearest") for level in codes[:-1]), finest], dim=1)


def check_sizes(options: VQVAE2Options, spec: DataSpec) -> None:
    """Raise `SizeError` unless every level's stride divides the images' size."""
    strides = [options.stride * options.factor**level for level in range(options.levels)]
    levels = sum(spec.height % stride == 0 and spec.width % stride == 0 for stride in strides)
    fewer = f"model.levels = {levels}" if levels >= 2 else "a smaller model.stride, or the model vqvae"
    settings = f"(model.stride = {options.stride}, model.factor = {options.factor})"
    check_size(spec, strides[-1], f"the stride of the coarsest of {options.levels} levels {settings}", fewer)
