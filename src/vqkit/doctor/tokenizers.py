"""Checks of a tokenizer: its file, nearest codes, round trip, kept pixels, and the health of its codebook.

Shapes: B images, C components, H x W pixels, K codes, h x w the grid of codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqkit.doctor.checks import Outcome, failed, ok, skipped, warning
from vqkit.doctor.images import observed_mask
from vqkit.evaluation.codebook_usage import LevelStatistics
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Batch, Quantizer, Tokenizer
from vqkit.quantizers.lookup import LookupQuantizer
from vqkit.storage.checkpoints import Loaded, digest, load_model, write_model
from vqkit.storage.code_ranges import check_codes

NEAREST_TOLERANCE = 1e-4
"""Largest excess of the distance to the chosen code over that to the nearest, relative to the feature: float32 rounding."""
MIN_USAGE, LOW_USAGE = 0.1, 0.5
"""Fractions of codes in use below which the codebook check fails, and below which it warns."""
MIN_PERPLEXITY, LOW_PERPLEXITY = 0.02, 0.1
"""The same for the perplexity, as fractions of K."""
MIN_USES_PER_CODE = 4
"""Mean number of uses per code below which the use of a codebook is not assessed."""
_ROUNDING = 1e-5
"""Largest difference, in unit values, of two batches' results that differ in rounding alone."""


@torch.inference_mode()
def nearest_code(quantizers: Sequence[Quantizer], features: Sequence[Tensor]) -> Outcome:
    """Whether each feature gets the nearest code, by brute force in float64, and decoding gives the result of the forward pass.

    `features` float32 [B, D, h, w] for each quantizer. For a quantizer without a single codebook (not a `LookupQuantizer`) only
    decoding is checked.
    """
    compared = 0
    for quantizer, level in zip(quantizers, features, strict=True):
        indices = quantizer.encode(level)
        chosen = quantizer.decode(indices)
        if not torch.equal(chosen, quantizer(level).features):
            return failed("decoded codes differ from the result of the forward pass")
        if not isinstance(quantizer, LookupQuantizer):
            continue
        codes = quantizer.decode(torch.arange(quantizer.num_codes, device=level.device)[None, None])[0, :, 0].T.double()
        rows = level.movedim(1, -1).flatten(0, -2).double()
        nearest = torch.cat([torch.cdist(part, codes).amin(dim=1) for part in torch.split(rows, 1024)])
        chosen_distance = (rows - codes[indices.flatten()]).norm(dim=1)
        excess = (chosen_distance - nearest) / rows.norm(dim=1).add(1e-6)
        wrong = int((~(excess <= NEAREST_TOLERANCE)).sum())
        if wrong:
            return failed(f"{wrong} of {len(rows)} features got a code that is not the nearest one")
        compared += len(rows)
    if not compared:
        return ok("decoded codes equal the forward pass; there is no single codebook to search")
    return ok(f"{compared} features: each has the nearest code, compared with brute force")


def round_trip(pipeline: Pipeline, batch: Batch) -> Outcome:
    """Whether encoding stored images is deterministic, and decode(encode(x)) equals reconstruct(x) bit for bit."""
    images, whole = batch.images, batch.observed
    tokenizer = pipeline.tokenizer
    codes = pipeline.encode_batch(images, whole)
    check_codes(codes, tokenizer)
    again = pipeline.encode_batch(images, whole)
    if not all(map(torch.equal, codes, again)):
        return failed("encoding the same images twice gives different codes")
    unknown = pipeline.spec.unknown_conditions(len(images))
    unit = pipeline.spec.to_unit(images)
    decoded, reconstructed = pipeline.decode_batch(codes, unknown), pipeline.reconstruct_unit(unit, whole, None, len(images))
    if not torch.equal(decoded, reconstructed):
        difference = float((decoded - reconstructed).abs().max())
        return failed(f"decode(encode(images)) differs from reconstruct(images) by up to {difference:.1e}")
    grids = ", ".join(f"{height} x {width}" for height, width in tokenizer.code_shapes)
    return ok(f"{len(images)} images: decode(encode(x)) equals reconstruct(x) bit for bit; grid {grids}")


def empty_context(pipeline: Pipeline, batch: Batch) -> Outcome:
    """Whether a decoder to which nothing of some images is shown decodes them as it does codes, or latents, alone."""
    device, spec = pipeline.device, pipeline.spec
    on_device = batch.to(device, spec)
    unknown = spec.unknown_conditions(len(batch.images), device)
    shown = observed_mask(batch, spec).to(device) & on_device.observed
    shown[::2] = False
    given = on_device.images, on_device.observed, unknown
    with torch.inference_mode():
        alone, seen = (pipeline.model.reconstruct(*given, context) for context in (None, shown))
    difference = float((alone - seen)[::2].abs().max())
    if not difference <= _ROUNDING:
        return failed(f"an empty context changes images by up to {difference:.1e}")
    return ok(f"{len(alone[::2])} images: without a context they are those of their codes or latents alone")


def kept_pixels(pipeline: Pipeline, batch: Batch) -> Outcome:
    """Whether `inpaint` returns the observed pixels of stored images unchanged, as they are and in unit values."""
    images = batch.images
    observed = observed_mask(batch, pipeline.spec)
    for array in (images, pipeline.spec.to_unit(images)):
        filled = pipeline.inpaint(array, observed=observed, form="channels-first")
        changed = int((filled[observed] != array[observed]).sum())
        if filled.shape != array.shape or changed:
            return failed(f"{changed} of {int(observed.sum())} kept pixels were changed ({array.dtype})")
    return ok(f"{len(images)} images, {int(observed.sum())} kept pixels: all unchanged")


def codebook_health(levels: Sequence[LevelStatistics]) -> Outcome:
    """Whether enough codes are in use on held-out images; the worst level determines the status."""
    outcomes = [_level_outcome(level) for level in levels]
    for status in ("failed", "warning", "skipped"):
        if any(outcome.status == status for outcome in outcomes):
            return Outcome(status, "; ".join(outcome.message for outcome in outcomes))
    return ok("; ".join(outcome.message for outcome in outcomes))


def specification(loaded: Loaded) -> Outcome:
    """Whether the model matches the header of its file."""
    spec = loaded.model.spec
    described = f"{len(spec.components)} {spec.value_kind} components of {spec.height} x {spec.width}, data set {spec.name}"
    if not isinstance(loaded.model, Tokenizer):
        return ok(f"{loaded.header['name']}: {described}, no codes")
    grids = tuple(tuple(grid) for grid in loaded.header["code_shapes"])
    sizes = tuple(loaded.header["cardinalities"])
    if (grids, sizes) != (loaded.model.code_shapes, loaded.model.cardinalities):
        return failed(
            f"the header states grids {grids} of {sizes} codes, the model has {loaded.model.code_shapes} of "
            f"{loaded.model.cardinalities}"
        )
    return ok(f"{loaded.header['name']}: {described}, K = {', '.join(map(str, sizes))}")


def saved_and_loaded(loaded: Loaded, directory: Path) -> Outcome:
    """Whether a model is the same after saving and loading. Writes one file to the directory."""
    write_model(directory / "model.safetensors", loaded.model, loaded.data)
    return same_weights(loaded.model, load_model(directory / "model.safetensors").model)


def same_weights(before: torch.nn.Module, after: torch.nn.Module) -> Outcome:
    """Whether two modules have the same digest of their weights."""
    first, second = digest(before.state_dict()), digest(after.state_dict())
    if first != second:
        return failed(f"the digest was {first[:12]} before, and is now {second[:12]}")
    return ok(f"digest {first[:12]} before and after")


def _level_outcome(level: LevelStatistics) -> Outcome:
    total = sum(level.counts)
    fraction = level.perplexity / level.num_codes
    message = (
        f"{level.name}: {level.used} of {level.num_codes} codes used ({level.usage:.0%}), {len(level.unused)} dead, "
        f"perplexity {level.perplexity:.1f} ({fraction:.0%} of K)"
    )
    if total < MIN_USES_PER_CODE * level.num_codes:
        return skipped(f"{message}; {total} codes are too few to assess it")
    if level.usage < MIN_USAGE or fraction < MIN_PERPLEXITY:
        return failed(f"{message}: the codebook has collapsed. See docs/doctor.md.")
    if level.usage < LOW_USAGE or fraction < LOW_PERPLEXITY:
        return warning(f"{message}: much of the codebook is unused. See docs/doctor.md.")
    return ok(message)
