"""VQ-VAE-2: codes on several grids, the coarse ones for layout, the fine ones for detail (Razavi et al. 2019, "Generating Diverse
High-Fidelity Images with VQ-VAE-2", section 3.1), with component masking.

    image * observed ─┐
                      ├─ encoder ──┬───────── concatenate ── quantizer ── codes "bottom" ──┐
    observed ─────────┘            │               │                                       ├─ decoder ── logits of the
                                encoder         context                                    │     │       WHOLE image
                                   │               │                                       │  condition values
                                   └─ quantizer ───┴───── codes "top" ────── upsampled ────┘

The coarsest grid is quantised first. What its codes tell is decoded onto the next grid and joins the finer features there, so that
a finer level only has to store what coarser ones do not. With more than two levels, each is told the codes of all coarser ones.

In training a few samples (`coarse_only`) are decoded from coarse levels alone, zeros in place of finer codes. Without that nothing
asks the coarse levels for more than hints, and what they show by themselves is next to nothing.

As `vqkit.models.vqvae`, the model fills in what is missing in one pass. Where we depart from the paper: that, with all that is said
there; self-attention on the coarsest grid (finer ones get its view by way of the codes); codes are upsampled to a finer grid by
repetition, before a convolution, instead of by a transposed convolution; samples decoded from coarse levels alone.

Shapes: B images, C components, H x W pixels, D code dimensions, h x w a code grid, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vqkit.interfaces import DataSpec, Quantizer, check_images, fully_observed
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Upsample
from vqkit.models.coding import CodingModel, CodingOptions, Decoder, Encoder, Trunk, check_size, see, widths
from vqkit.models.encoder_part import EncoderChain
from vqkit.registry import MODELS, QUANTIZERS


class VQVAE2Options(CodingOptions):
    """Settings of the VQ-VAE-2; `stride` is that of the finest level, and `quantizer` is built once for each level."""

    levels: int = Field(2, ge=2, description="Levels of codes.")
    factor: int = Field(2, ge=2, description="How many times coarser a level is than the next finer one; a power of two.")
    attention: bool = Field(
        True, description="Self-attention on the encoder's coarsest grid: what is missing is guessed from the whole image."
    )
    coarse_only: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the training samples that coarse levels alone have to show, so that they carry the layout.",
    )

    @field_validator("factor")
    @classmethod
    def _factor_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the factor must be a power of two, not {value}")
        return value


class Context(nn.Module):
    """What coarser codes tell of a grid: those codes, on the finest of their own grids, to features on the next finer one."""

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
        # The finest encoder comes first: each one works on what the one before has made.
        encoders = [Encoder(options, image, None)]
        encoders += [Encoder(options, between, None) for _ in range(options.levels - 2)]
        self.encoders = TypedModuleList([*encoders, Encoder(options, between, coarsest)])
        self.contexts = TypedModuleList([Context(options, dim * level) for level in range(1, options.levels)])
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

    def look(self, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
        """See `CodingModel.look`: features [B, hidden, h, w] of each level."""
        hidden = see(images, observed)
        seen: list[Tensor] = []
        for encoder in self.encoders:
            hidden = encoder(hidden)
            seen.append(hidden)
        return tuple(reversed(seen))

    def given(self, grid: int, seen: tuple[Tensor, ...], coarser: Sequence[Tensor]) -> Tensor:
        """See `CodingModel.given`: what was seen on this grid, beside what all coarser codes tell of it."""
        features = seen[grid]
        if grid:
            context = self.contexts[grid - 1](together(coarser))
            features = torch.cat([features, context.to(features.dtype)], dim=1)
        given: Tensor = self.projects[grid](features)
        return given

    def logits(self, quantized: Sequence[Tensor], conditions: Tensor) -> Tensor:
        """See `CodingModel.logits`."""
        logits: Tensor = self.decoder(together(quantized), conditions)
        return logits

    def silenced(self, quantized: Sequence[Tensor], generator: torch.Generator | None) -> Sequence[Tensor]:
        """In training, zeros in place of the fine levels of some samples: how many levels they keep is uniform over 1 ... L - 1."""
        if not self.training or generator is None or not self.options.coarse_only:
            return quantized
        count = len(quantized[0])
        silent = torch.rand(count, generator=generator) < self.options.coarse_only
        kept = torch.where(silent, torch.randint(1, self.options.levels, (count,), generator=generator), self.options.levels)
        kept = kept.to(quantized[0].device)[:, None, None, None]
        return [codes * (level < kept) for level, codes in enumerate(quantized)]

    def silence(self, means: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """See `CodingModel.silence`; zeros for the fine levels, if training silenced them so and they have one code a position."""
        known = self.options.coarse_only > 0 and all(quantizer.num_quantizers == 1 for quantizer in self.grid_quantizers)
        return tuple(torch.zeros_like(mean) if known and level else mean for level, mean in enumerate(means))

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
    """Raise `ConfigError` unless every level's stride divides the images' size."""
    strides = [options.stride * options.factor**level for level in range(options.levels)]
    levels = sum(spec.height % stride == 0 and spec.width % stride == 0 for stride in strides)
    fewer = f"model.levels = {levels}" if levels >= 2 else "a smaller model.stride, or the model vqvae"
    settings = f"(model.stride = {options.stride}, model.factor = {options.factor})"
    check_size(spec, strides[-1], f"the stride of the coarsest of {options.levels} levels {settings}", fewer)
