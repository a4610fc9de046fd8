"""A prior over several levels of codes (Razavi et al. 2019, "Generating Diverse High-Fidelity Images with VQ-VAE-2", section 3.2).

    p(codes) = p(level 1) * p(level 2 | level 1) * p(level 3 | levels 1, 2) * ...           level 1 is the coarsest

    coarser codes ── features (`vqkit.priors.coarser_codes`) ── + ── PixelCNN of the level ── logits
    conditions ─────────────────────────────────────────────────┘

Each level is a gated PixelCNN of its own (`vqkit.priors.pixelcnn`), which shares nothing with the others. It is conditioned on all
coarser levels, and never on a finer one. Levels may have one and the same grid, as those of a residual quantizer do;
with a single level this is the plain PixelCNN.

Where we depart from the paper: as in `vqkit.priors.pixelcnn`; coarser codes are upsampled by repetition, with learned positions
added, and a level is conditioned on all coarser levels, not only on the next one.

Shapes: B samples, C channels, K codes, h x w the grid of a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar

import torch
from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema
from torch import Tensor

from vqkit.config import Settings, describe_validation_error
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, CodeSpec, Conditioning, Tokenizer
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling
from vqkit.layers.module_list import TypedModuleList
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.priors.coarser_codes import CoarserCodes
from vqkit.priors.pixelcnn import PixelCNN, PixelCNNOptions, PixelCNNStepper
from vqkit.registry import PRIORS

Value = TypeVar("Value")


class _OneOrList:
    """Makes the JSON Schema of a list accept one of its items as well."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        several = handler(schema)
        return {"anyOf": [several["items"], several]}


ByLevel = Annotated[
    tuple[Value, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
    _OneOrList(),
]
"""One value for all levels, or a list with one per level, the coarsest first."""


class HierarchicalOptions(Settings):
    """Settings of the hierarchical prior. Each is one value for all levels, or a list with one per level, the coarsest first."""

    channels: ByLevel[int] = Field(
        (128,),
        description="Channels of both stacks of a level's PixelCNN. Like all settings here, one value for all "
        "levels, or a list with one per level, the coarsest first.",
    )
    layers: ByLevel[int] = Field((15,), description="Gated layers.")
    kernel: ByLevel[int] = Field((3,), description="Width of the convolutions, odd; half of it, rounded up, is their height.")
    first_kernel: ByLevel[int] = Field((7,), description="The same for the first layer.")
    attention: ByLevel[int] = Field((0,), description="Causal attention blocks, spread evenly between the layers (PixelSNAIL).")
    dropout: ByLevel[float] = Field((0.0,), description="Probability with which gated features are zeroed in training.")
    blocks: ByLevel[Annotated[int, Field(ge=1)]] = Field(
        (3,), description="Residual blocks over the coarser codes; the coarsest level has none."
    )

    @model_validator(mode="after")
    def _every_level_works(self) -> HierarchicalOptions:
        for level in range(max(map(len, self.lists().values()))):
            try:
                self.of_level(level)
            except ValidationError as error:
                raise ValueError(describe_validation_error(error, PixelCNNOptions, f"level {level + 1}")[0]) from None
        return self

    def lists(self) -> dict[str, tuple[Any, ...]]:
        """The values of each setting."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def of_level(self, level: int) -> PixelCNNOptions:
        """The settings of one level's PixelCNN, by its number from 0; raises pydantic's `ValidationError` for what cannot work."""
        values = self.lists()
        return PixelCNNOptions(**{name: _pick(values[name], level) for name in PixelCNNOptions.model_fields})


@PRIORS.register("hierarchical")
class HierarchicalPixelCNN(AutoregressivePrior):
    """The hierarchical prior; see the module for the diagram.

    Raises `ConfigError` if the number of values of a setting is not that of the levels.
    """

    Options = HierarchicalOptions
    options: HierarchicalOptions

    def __init__(self, options: HierarchicalOptions, spec: CodeSpec) -> None:
        super().__init__(options, spec)
        _check_lists(options, spec)
        networks, coarser = [], []
        for level in range(len(spec.level_names)):
            own = options.of_level(level)
            networks.append(PixelCNN(own, _spec_of_level(spec, level), extra_features=level > 0))
            if level:
                blocks = _pick(options.blocks, level)
                coarser.append(CoarserCodes(spec.cardinalities[:level], spec.shapes[level], own.channels, blocks))
        self.networks = TypedModuleList(networks)
        self.coarser = TypedModuleList(coarser)

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """See `AutoregressivePrior.logits`."""
        return self.networks[level].network(codes[level], self.condition_features(level, codes[:level], conditioning))

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        """See `AutoregressivePrior.stepper`."""
        return PixelCNNStepper(
            self.networks[level], self.condition_features(level, coarser, conditioning), len(conditioning.dropped)
        )

    def condition_features(self, level: int, coarser: Codes, conditioning: Conditioning) -> Tensor | None:
        """Features of a level's conditioning and coarser codes, [B, C, 1, 1] or [B, C, h, w]; None if it has neither."""
        own = self.networks[level].condition_features(conditioning._replace(observed=conditioning.observed[level : level + 1]))
        if not level:
            return own
        coarser_features: Tensor = self.coarser[level - 1](coarser)
        return coarser_features if own is None else own + coarser_features

    def freeze_other_levels(self, names: tuple[str, ...]) -> None:
        """See `Prior.freeze_other_levels`."""
        for level, name in enumerate(self.spec.level_names):
            self.networks[level].requires_grad_(name in names)
            if level:
                self.coarser[level - 1].requires_grad_(name in names)

    def loss_function(self, *codes: Tensor, conditioning: Conditioning | None = None) -> dict[str, Tensor]:
        """See `Prior.loss_function`; over the `trained_levels` only. `codes`: those of all levels, the coarsest first."""
        given = conditioning or Conditioning.unconditional(len(codes[0]), self.spec, codes[0].device)
        if set(self.trained_levels) == set(self.spec.level_names):
            levels = dict(zip(self.spec.level_names, self(codes, given), strict=True))
        else:
            learned = [level for level, name in enumerate(self.spec.level_names) if name in self.trained_levels]
            levels = {self.spec.level_names[level]: self.level_nll(level, codes, given) for level in learned}
        total = torch.cat([nll.flatten() for nll in levels.values()]).mean()
        return {"total_loss": total, **{name: nll.mean() for name, nll in levels.items()}}

    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
        advance: Advance | None = None,
        *,
        top_shape: Sequence[int] | None = None,
        bottom_shape: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        temperature: float | tuple[float, ...] | None = None,
    ) -> Codes:
        """See `Prior.sample`: the codes of each level, the coarsest first.

        `temperature` replaces that of `sampling`; the codes are moved to `device`. `top_shape` and `bottom_shape` are the (h, w) of
        the coarsest and the finest level: any other than the prior's own raises `ConfigError`.
        """
        shapes = self.spec.shapes
        for name, shape, own in (("top_shape", top_shape, shapes[0]), ("bottom_shape", bottom_shape, shapes[-1])):
            if shape is not None and tuple(shape) != own:
                given = " x ".join(map(str, shape))
                raise ConfigError(
                    f"{name} is {given}; the prior models a grid of {own[0]} x {own[1]} codes there.",
                    "Leave it out, or train a prior on a tokenizer with that grid.",
                )
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        codes = super().sample(batch_size, conditioning, sampling, first, advance)
        return codes if device is None else tuple(level.to(device) for level in codes)

    def sample_with_vqvae2(
        self,
        vqvae2_model: Tokenizer,
        batch_size: int,
        device: torch.device | str | None = None,
        temperature: float | tuple[float, ...] = 1.0,
        seed: int = 0,
    ) -> Tensor:
        """Unconditional images float32 [B, C, H, W] in [0, 1], decoded by the tokenizer whose codes the prior models.

        Raises `ConfigError` for a tokenizer with other levels.
        """
        modelled = self.spec.level_names, self.spec.shapes, self.spec.cardinalities
        if modelled != (vqvae2_model.level_names, vqvae2_model.code_shapes, vqvae2_model.cardinalities):
            raise ConfigError(
                f"The prior models {_levels(*modelled)}; the tokenizer has "
                f"{_levels(vqvae2_model.level_names, vqvae2_model.code_shapes, vqvae2_model.cardinalities)}.",
                "Give the tokenizer that the prior was trained on.",
            )
        place = next(vqvae2_model.parameters()).device
        codes = self.sample(batch_size, sampling=Sampling(temperature=temperature, seed=seed), device=place)
        unknown = vqvae2_model.spec.unknown_conditions(batch_size, place)
        with torch.no_grad():
            images = vqvae2_model.decode(codes, unknown)
        return images if device is None else images.to(device)


def _pick(values: Sequence[Any], level: int) -> Any:
    """A level's value: the only one, or its own (the last one if the list is too short, which `_check_lists` refuses later)."""
    return values[min(level, len(values) - 1)]


def _spec_of_level(spec: CodeSpec, level: int) -> CodeSpec:
    """The specification of the PixelCNN of one level."""
    part = slice(level, level + 1)
    return replace(
        spec,
        level_names=spec.level_names[part],
        shapes=spec.shapes[part],
        cardinalities=spec.cardinalities[part],
        observed_channels=spec.observed_channels[part],
    )


def _check_lists(options: HierarchicalOptions, spec: CodeSpec) -> None:
    """Raise `ConfigError` if the number of values of a setting is neither 1 nor that of the levels."""
    levels = spec.level_names
    for name, values in options.lists().items():
        if len(values) not in (1, len(levels)):
            has = f"has {len(levels)} levels of codes" if len(levels) > 1 else "has one level of codes"
            raise ConfigError(
                f"prior.{name} lists {len(values)} values; the tokenizer {has} ({', '.join(levels)}).",
                "Give one value for all levels, or one per level, the coarsest first.",
            )


def _levels(names: Sequence[str], shapes: Sequence[tuple[int, int]], cardinalities: Sequence[int]) -> str:
    """A description of levels: `top 8 x 8 of 512 codes, bottom 16 x 16 of 512 codes`."""
    each = zip(names, shapes, cardinalities, strict=True)
    return ", ".join(f"{name} {height} x {width} of {codes} codes" for name, (height, width), codes in each)
