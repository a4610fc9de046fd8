"""Checks of a tokenizer: its file, its nearest codes, its round trip, what it keeps, and the health of its codebook.

Shapes: B images, C components, H x W pixels, K codes, h x w the grid of codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqkit.doctor.checks import Verdict, failed, ok, skipped, warning
from vqkit.doctor.pictures import hidden_part
from vqkit.evaluation.codebook_usage import LevelStatistics
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Quantizer, Tokenizer, fully_observed
from vqkit.quantizers.lookup import LookupQuantizer
from vqkit.storage.checkpoints import Loaded, digest, load_model, write_model
from vqkit.storage.code_files import check_codes

NEAREST_TOLERANCE = 1e-4
"""Share by which the chosen code may be farther away than the nearest one: what float32 cannot tell apart."""
LEAST_USAGE, LOW_USAGE = 0.1, 0.5
"""Shares of the codes in use under which a codebook is broken, and under which it is poor."""
LEAST_PERPLEXITY, LOW_PERPLEXITY = 0.02, 0.1
"""The same for the perplexity, as shares of K."""
USES_A_CODE = 4
"""Codes drawn for each code of the codebook, under which its use cannot be judged."""


@torch.inference_mode()
def nearest_code(quantizers: Sequence[Quantizer], features: Sequence[Tensor]) -> Verdict:
    """Whether each feature gets the nearest code, by brute force in float64, and comes back as the forward pass has it.

    `features` float32 [B, D, h, w] for each quantizer. Without a single codebook, as `LookupQuantizer`
    has it, only the way back is checked.
    """
    compared = 0
    for quantizer, level in zip(quantizers, features, strict=True):
        indices = quantizer.encode(level)
        chosen = quantizer.decode(indices)
        if not torch.equal(chosen, quantizer(level).features):
            return failed("codes do not decode to what the forward pass gave")
        if not isinstance(quantizer, LookupQuantizer):
            continue
        codes = quantizer.decode(torch.arange(quantizer.num_codes, device=level.device)[None, None])[0, :, 0].T.double()
        rows = level.movedim(1, -1).flatten(0, -2).double()
        least = torch.cat([torch.cdist(part, codes).amin(dim=1) for part in torch.split(rows, 1024)])
        taken = (rows - codes[indices.flatten()]).norm(dim=1)
        excess = (taken - least) / rows.norm(dim=1).add(1e-6)
        wrong = int((~(excess <= NEAREST_TOLERANCE)).sum())
        if wrong:
            return failed(f"{wrong} of {len(rows)} features got a code that is not the nearest one")
        compared += len(rows)
    if not compared:
        return ok("codes decode to what the forward pass gave; there is no single codebook to search for the nearest")
    return ok(f"{compared} features: each has the nearest code, as brute force finds it")


def round_trip(pipeline: Pipeline, images: Tensor) -> Verdict:
    """Whether images uint8 [B, C, H, W] are encoded twice alike, and decoding their codes is exactly reconstructing them."""
    whole = fully_observed(images)
    tokenizer = pipeline.tokenizer
    codes = pipeline.encode_batch(images, whole)
    check_codes(codes, tokenizer)
    again = pipeline.encode_batch(images, whole)
    if not all(map(torch.equal, codes, again)):
        return failed("encoding the same images twice gives other codes")
    unknown = pipeline.spec.unknown_conditions(len(images))
    decoded, reconstructed = pipeline.decode_batch(codes, unknown), pipeline.fill(images, whole, batch_size=len(images))
    if not torch.equal(decoded, reconstructed):
        difference = float((decoded - reconstructed).abs().max())
        return failed(f"decode(encode(images)) differs from reconstruct(images) by up to {difference:.1e}")
    grids = ", ".join(f"{height} x {width}" for height, width in tokenizer.code_shapes)
    return ok(f"{len(images)} images: decode(encode(x)) is reconstruct(x), to the last bit; grid {grids}")


def kept_parts(pipeline: Pipeline, images: Tensor) -> Verdict:
    """Whether what is kept of images uint8 [B, C, H, W] comes back from `inpaint` bit for bit, as integers and as floats."""
    observed = hidden_part(images, pipeline.spec)
    for given in (images, images.float() / 255):
        filled = pipeline.inpaint(given, observed=observed, form="channels-first")
        changed = int((filled[observed] != given[observed]).sum())
        if filled.shape != given.shape or changed:
            return failed(f"{changed} of {int(observed.sum())} kept pixels came back changed ({given.dtype})")
    return ok(f"{len(images)} images, {int(observed.sum())} kept pixels: all came back as they were")


def codebook_health(levels: Sequence[LevelStatistics]) -> Verdict:
    """Whether enough of the codes are in use on held-out images; the worst level decides."""
    verdicts = [_level_health(level) for level in levels]
    for status in ("failed", "warning", "skipped"):
        if any(verdict.status == status for verdict in verdicts):
            return Verdict(status, "; ".join(verdict.found for verdict in verdicts))
    return ok("; ".join(verdict.found for verdict in verdicts))


def specification(loaded: Loaded) -> Verdict:
    """Whether the model is what its file's header says."""
    spec = loaded.model.spec
    described = f"{len(spec.components)} {spec.value_kind} components of {spec.height} x {spec.width}, data set {spec.name}"
    if not isinstance(loaded.model, Tokenizer):
        return ok(f"{loaded.header['name']}: {described}, no codes")
    grids = tuple(tuple(grid) for grid in loaded.header["code_shapes"])
    sizes = tuple(loaded.header["cardinalities"])
    if (grids, sizes) != (loaded.model.code_shapes, loaded.model.cardinalities):
        return failed(
            f"the header promises grids {grids} of {sizes} codes, the model has {loaded.model.code_shapes} of "
            f"{loaded.model.cardinalities}"
        )
    return ok(f"{loaded.header['name']}: {described}, K = {', '.join(map(str, sizes))}")


def saved_and_loaded(loaded: Loaded, directory: Path) -> Verdict:
    """Whether a model that is saved and loaded is the same. Writes one file into the directory."""
    write_model(directory / "model.safetensors", loaded.model, loaded.data)
    return same_weights(loaded.model, load_model(directory / "model.safetensors").model)


def same_weights(before: torch.nn.Module, after: torch.nn.Module) -> Verdict:
    """Whether two modules have the same digest."""
    first, second = digest(before.state_dict()), digest(after.state_dict())
    if first != second:
        return failed(f"the digest was {first[:12]} before and is {second[:12]} now")
    return ok(f"digest {first[:12]} before and after")


def _level_health(level: LevelStatistics) -> Verdict:
    total = sum(level.counts)
    share = level.perplexity / level.num_codes
    found = (
        f"{level.name}: {level.used} of {level.num_codes} codes used ({level.usage:.0%}), {len(level.unused)} dead, "
        f"perplexity {level.perplexity:.1f} ({share:.0%} of K)"
    )
    if total < USES_A_CODE * level.num_codes:
        return skipped(f"{found}; {total} codes are too few to judge")
    if level.usage < LEAST_USAGE or share < LEAST_PERPLEXITY:
        return failed(f"{found}: the codebook has collapsed. See docs/doctor.md.")
    if level.usage < LOW_USAGE or share < LOW_PERPLEXITY:
        return warning(f"{found}: much of the codebook is wasted. See docs/doctor.md.")
    return ok(found)
