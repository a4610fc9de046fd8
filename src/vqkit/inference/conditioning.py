"""The conditioning of a prior, from images, their observed parts, and their conditions and classes.

A partly observed image becomes a feature map on each level's grid: the frozen tokenizer's encoder features of the observed part,
concatenated with the observed pixels and their mask (the pixels of each cell as channels), so that no information is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError, did_you_mean
from vqkit.interfaces import CodeSpec, Conditioning, DataSpec, Tokenizer
from vqkit.layers.encoder_input import observed_pixels

KINDS = ("metadata", "class", "observed")


def code_spec(tokenizer: Tokenizer, kinds: Sequence[str]) -> CodeSpec:
    """The specification of a prior for this tokenizer that is conditioned on `kinds`: some of metadata, class, observed; or none.

    Raises `ConfigError` for an unknown kind, or one that the tokenizer's data do not have.
    """
    spec = tokenizer.spec
    for kind in kinds:
        if kind not in (*KINDS, "none"):
            raise ConfigError(f"There is no condition '{kind}' to train with.", did_you_mean(kind, (*KINDS, "none")))
    if "metadata" in kinds and not spec.conditions:
        raise ConfigError(f"The data set '{spec.name}' has no metadata to train with.", "Use --condition-on none or observed.")
    if "class" in kinds and not spec.classes:
        raise ConfigError(f"The data set '{spec.name}' has no classes to train with.", "Use --condition-on none or observed.")
    return CodeSpec(
        tokenizer.level_names,
        tokenizer.code_shapes,
        tokenizer.cardinalities,
        conditions=spec.conditions if "metadata" in kinds else (),
        classes=spec.classes if "class" in kinds else (),
        observed_channels=_observed_channels(tokenizer) if "observed" in kinds else (),
    )


def condition_kinds(spec: CodeSpec) -> tuple[str, ...]:
    """The `KINDS` that a prior is conditioned on."""
    present = zip(KINDS, (spec.conditions, spec.classes, spec.observed_channels), strict=True)
    return tuple(kind for kind, has in present if has)


def observed_maps(tokenizer: Tokenizer, images: Tensor, observed: Tensor) -> tuple[Tensor, ...]:
    """For each level, the feature map float32 [B, M, h, w] of the observed part of float images [B, C, H, W]; no gradient."""
    pixels = observed_pixels(images, observed)
    with torch.no_grad():
        features = tokenizer.features(images, observed)
    strides = (images.shape[2] // height for height, _ in tokenizer.code_shapes)
    levels = zip(features, strides, strict=True)
    return tuple(torch.cat([level.float(), F.pixel_unshuffle(pixels, stride)], dim=1) for level, stride in levels)


def conditioning_for(spec: CodeSpec, conditions: Tensor, labels: Tensor, observed: tuple[Tensor, ...] = ()) -> Conditioning:
    """The conditioning of a prior with this `spec`: of `conditions` [B, D] and `labels` [B], what it was trained with.

    Raises `ConfigError` if it was trained on partly observed images and `observed` is empty, or the other way round.
    """
    count = len(conditions)
    if len(observed) != len(spec.observed_channels):
        raise ConfigError(
            "The prior was trained with --condition-on observed and needs an image to complete."
            if spec.observed_channels
            else "The prior was not trained with --condition-on observed and cannot complete images.",
            "Train one with: vqkit train-prior --condition-on observed",
        )
    values = conditions if spec.conditions else conditions.new_empty(count, 0)
    known = labels if spec.classes else torch.full_like(labels, -1)
    return Conditioning(values, known, observed, torch.zeros(count, dtype=torch.bool, device=conditions.device))


def _observed_channels(tokenizer: Tokenizer) -> tuple[int, ...]:
    spec: DataSpec = tokenizer.spec
    levels = zip(tokenizer.quantizers, tokenizer.code_shapes, strict=True)
    return tuple(quantizer.dim + 2 * len(spec.components) * (spec.height // height) ** 2 for quantizer, (height, _) in levels)
