"""What `vqkit doctor` checks without a run: the machine, and every registered part in a small model made on the spot."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from vqkit.config import NamedOptions
from vqkit.core.randomness import generator_for
from vqkit.doctor import machine, priors, tokenizers
from vqkit.doctor.checks import Check, Verdict, failed, ok
from vqkit.doctor.pictures import random_images
from vqkit.evaluation.codebook_usage import tokenizer_of
from vqkit.inference.conditioning import KINDS, code_spec
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Batch, ConditionSpec, DataSpec, Quantizer, Tokenizer, fully_observed
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.registry import MODELS, PRIORS, QUANTIZERS
from vqkit.storage.checkpoints import Loaded, digest, load_prior, write_model, write_prior

Module = TypeVar("Module", bound=nn.Module)

BOXES = DataSpec(
    "boxes",
    ("first", "second", "third"),
    16,
    24,
    "binary",
    conditions=(ConditionSpec("width_px", 0, 24, 12, 6),),
    classes=("small", "large"),
)
"""Three shapes in images that are not square, told by a number and a class: with four pixels a code, a grid of 4 x 6."""
TOKENIZER = "vqvae"
"""The model whose codes every prior is tried on."""
FURTHER_TOKENIZERS = {"hierarchical": ("vqvae2",)}
"""More models whose codes a prior is tried on: how its levels are told of each other shows only where there are several."""
SHAKE = 0.05
"""Deviation of the noise added to all parameters of a fresh model, so that parts which start at zero take part as well."""
IMAGES = 16
SAMPLES = 3


def build_checks(device: torch.device) -> list[Check]:
    """The checks of the machine, and of every quantizer, model and prior of the registry."""
    checks = [
        Check("packages", machine.packages),
        Check("arithmetic", partial(machine.arithmetic, device)),
        Check("threads", machine.threads),
        Check("bfloat16", partial(machine.bfloat16, device)),
        Check("torchvision", machine.torchvision),
        Check("disk", partial(machine.disk, Path.cwd())),
    ]
    checks += [Check(f"{name}: nearest code", partial(_nearest_code, name, device)) for name in QUANTIZERS.entries()]
    for name, entry in MODELS.entries().items():
        if issubclass(entry.part, Tokenizer):
            checks += _tokenizer_checks(name, device)
    for name, entry in PRIORS.entries().items():
        if issubclass(entry.part, AutoregressivePrior):
            for tokenizer in (TOKENIZER, *FURTHER_TOKENIZERS.get(name, ())):
                checks += _prior_checks(name, tokenizer, device)
    return checks


class Example(NamedTuple):
    """A small prior with everything that it needs: its tokenizer, and images with their codes."""

    prior: AutoregressivePrior
    tokenizer: Loaded
    batch: Batch
    given: priors.Given


def shaken(build: Callable[[], Module], device: torch.device) -> Module:
    """A fresh module in evaluation mode, the same each time, whose parameters have all been moved a little."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build()
    noise = generator_for(0, "doctor", "shake")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(SHAKE * torch.randn(parameter.shape, generator=noise))
    return module.to(device).eval()


def boxes(count: int) -> Batch:
    """Images uint8 [count, 3, 16, 24] with a box in each component, and the width and class of the first of these."""
    images = random_images(BOXES, count)
    widths = (images[:, 0] > 0).any(dim=1).sum(dim=1)
    return Batch(images, widths[:, None].float(), (widths > BOXES.width // 3).long())


def small_tokenizer(name: str, device: torch.device) -> Loaded:
    """A fresh tokenizer with its default settings, whose codes lie among the features of the boxes."""

    def build() -> Tokenizer:
        model: Tokenizer = MODELS.build(name, {}, BOXES)
        return model

    model = shaken(build, device)
    images = boxes(IMAGES).to(device).images
    with torch.inference_mode():
        # The first training batch is where a codebook starts.
        model.train()(images, fully_observed(images), BOXES.unknown_conditions(IMAGES, device))
    return Loaded(model.eval(), Path(name), digest(model.state_dict()), NamedOptions(name="tyre"), {})


def small_prior(name: str, tokenizer: str, device: torch.device) -> Example:
    """A fresh prior with its default settings over the codes of a small tokenizer, told everything that can be told."""
    loaded = small_tokenizer(tokenizer, device)
    model = tokenizer_of(loaded)

    def build() -> AutoregressivePrior:
        prior: AutoregressivePrior = PRIORS.build(name, {}, code_spec(model, KINDS))
        return prior

    prior = shaken(build, device)
    batch = priors.with_codes(model, boxes(SAMPLES).to(device))
    given = priors.Given(prior, batch.codes, priors.all_told(prior.spec, model, batch))
    return Example(prior, loaded, batch, given)


def _tokenizer_checks(name: str, device: torch.device) -> list[Check]:
    loaded = cache(partial(small_tokenizer, name, device))

    def pipeline() -> Pipeline:
        return Pipeline(loaded(), device, "fp32")

    images = boxes(IMAGES).images
    return [
        Check(f"{name}: round trip", lambda: tokenizers.round_trip(pipeline(), images)),
        Check(f"{name}: kept parts", lambda: tokenizers.kept_parts(pipeline(), images)),
        Check(f"{name}: saved and loaded", lambda: _saved(loaded())),
    ]


def _prior_checks(name: str, tokenizer: str, device: torch.device) -> list[Check]:
    title = name if tokenizer == TOKENIZER else f"{name} on {tokenizer}"
    example = cache(partial(small_prior, name, tokenizer, device))
    return [
        Check(f"{title}: causality", lambda: priors.causality(example().given)),
        Check(f"{title}: cached logits", lambda: priors.cached_logits(example().given)),
        Check(f"{title}: cached draws", lambda: priors.same_draws(example().given, ("fixed-point", "naive"))),
        Check(f"{title}: guidance", lambda: priors.guidance(example().given)),
        Check(f"{title}: seeds", lambda: priors.seeds(example().given)),
        Check(f"{title}: frozen tokenizer", lambda: priors.frozen_tokenizer(*example()[:3])),
        Check(f"{title}: saved and loaded", lambda: _prior_saved(example())),
    ]


def _nearest_code(name: str, device: torch.device) -> Verdict:
    """The check of a registered quantizer with its default settings, on features of which some lie far from the origin."""

    def build() -> Quantizer:
        quantizer: Quantizer = QUANTIZERS.build(name, {})
        return quantizer

    quantizer = shaken(build, device)
    features = torch.randn(8, quantizer.dim, 12, 10, generator=generator_for(0, "doctor", "features")).to(device)
    features[4:] += 20
    with torch.inference_mode():
        quantizer.train()(features)
    return tokenizers.nearest_code((quantizer.eval(),), (features,))


def _saved(loaded: Loaded) -> Verdict:
    with tempfile.TemporaryDirectory() as directory:
        return tokenizers.saved_and_loaded(loaded, Path(directory))


def _prior_saved(example: Example) -> Verdict:
    """Whether a prior that is saved and loaded is the same, and knows its tokenizer."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        tokenizer = example.tokenizer._replace(path=place / "tokenizer" / "model.safetensors")
        write_model(tokenizer.path, tokenizer.model, tokenizer.data)
        path = place / "prior" / "model.safetensors"
        write_prior(path, example.prior, tokenizer.data, tokenizer)
        loaded = load_prior(path)
        verdict = tokenizers.same_weights(example.prior, loaded.prior)
        if verdict.status == "ok" and not loaded.tokenizer.samefile(tokenizer.path):
            return failed(f"the way to its tokenizer is lost: it leads to {loaded.tokenizer}")
        return verdict if verdict.status != "ok" else ok(f"{verdict.found}, with the way to its tokenizer")
