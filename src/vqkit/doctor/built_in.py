"""The checks of `vqkit doctor` without a run: the machine, and every registered part in a small untrained model."""

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
from vqkit.doctor.checks import Check, Outcome, failed, ok
from vqkit.doctor.images import random_images
from vqkit.evaluation.codebook_usage import tokenizer_of
from vqkit.inference.conditioning import KINDS, code_spec
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Batch, ConditionSpec, DataSpec, Quantizer, Tokenizer, fully_observed
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.masked import MaskedPrior
from vqkit.registry import MODELS, PRIORS, QUANTIZERS
from vqkit.storage.checkpoints import Loaded, digest, load_prior, write_model, write_prior

Module = TypeVar("Module", bound=nn.Module)

BOX_SPEC = DataSpec.uniform(
    "boxes",
    ("first", "second", "third"),
    16,
    24,
    "binary",
    conditions=(ConditionSpec("width_px", 0, 24, 12, 6),),
    classes=("small", "large"),
)
"""Three boxes in an image that is not square, described by a number and a class. With stride 4 the grid of codes is 4 x 6."""
TOKENIZER = "vqvae"
"""The model whose codes every prior is checked on."""
FURTHER_TOKENIZERS = {"hierarchical": ("vqvae2",), "masked": ("vqvae2",)}
"""Further models for the checks of a prior: the conditioning of a level on coarser ones needs several levels."""
PERTURBATION = 0.05
"""Standard deviation of the noise added to all parameters, so that layers initialised to zero have an effect."""
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
        if issubclass(entry.part, AutoregressivePrior | MaskedPrior):
            for tokenizer in (TOKENIZER, *FURTHER_TOKENIZERS.get(name, ())):
                checks += _prior_checks(name, tokenizer, device, issubclass(entry.part, AutoregressivePrior))
    return checks


class Example(NamedTuple):
    """A small prior with its tokenizer, and images with their codes."""

    prior: AutoregressivePrior | MaskedPrior
    tokenizer: Loaded
    batch: Batch
    case: priors.PriorCase


def perturbed(build: Callable[[], Module], device: torch.device) -> Module:
    """An untrained module in evaluation mode, with noise added to all parameters; the same at every call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build()
    noise = generator_for(0, "doctor", "shake")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(PERTURBATION * torch.randn(parameter.shape, generator=noise))
    return module.to(device).eval()


def box_images(count: int) -> Batch:
    """Images uint8 [count, 3, 16, 24] with a box in each component, and the width and class of the first box."""
    images = random_images(BOX_SPEC, count)
    widths = (images[:, 0] > 0).any(dim=1).sum(dim=1)
    return Batch(images, widths[:, None].float(), (widths > BOX_SPEC.width // 3).long())


def small_tokenizer(name: str, device: torch.device) -> Loaded:
    """An untrained tokenizer with default settings, whose codebook is initialised on box images."""
    model: Tokenizer = perturbed(lambda: MODELS.build(name, {}, BOX_SPEC), device)
    images = box_images(IMAGES).to(device, BOX_SPEC).images
    with torch.inference_mode():
        # The first training batch initialises the codebook.
        model.train()(images, fully_observed(images), BOX_SPEC.unknown_conditions(IMAGES, device))
    return Loaded(model.eval(), Path(name), digest(model.state_dict()), NamedOptions(name="tyre"), {})


def small_prior(name: str, tokenizer: str, device: torch.device) -> Example:
    """An untrained prior with default settings over the codes of a small tokenizer, with every kind of conditioning."""
    loaded = small_tokenizer(tokenizer, device)
    model = tokenizer_of(loaded)
    prior: AutoregressivePrior | MaskedPrior = perturbed(lambda: PRIORS.build(name, {}, code_spec(model, KINDS)), device)
    batch = priors.with_codes(model, box_images(SAMPLES).to(device, BOX_SPEC))
    case = priors.PriorCase(prior, batch.codes, priors.full_conditioning(prior.spec, model, batch))
    return Example(prior, loaded, batch, case)


def _tokenizer_checks(name: str, device: torch.device) -> list[Check]:
    loaded = cache(partial(small_tokenizer, name, device))

    def pipeline() -> Pipeline:
        return Pipeline(loaded(), device, "fp32")

    images = box_images(IMAGES)
    return [
        Check(f"{name}: round trip", lambda: tokenizers.round_trip(pipeline(), images)),
        Check(f"{name}: empty context", lambda: tokenizers.empty_context(pipeline(), images)),
        Check(f"{name}: kept pixels", lambda: tokenizers.kept_pixels(pipeline(), images)),
        Check(f"{name}: saved and loaded", lambda: _model_saved(loaded())),
    ]


def _prior_checks(name: str, tokenizer: str, device: torch.device, in_raster_order: bool) -> list[Check]:
    title = name if tokenizer == TOKENIZER else f"{name} on {tokenizer}"
    example = cache(partial(small_prior, name, tokenizer, device))
    draws = Check(f"{title}: cached draws", lambda: priors.same_draws(example().case, ("fixed-point", "naive")))
    return [
        Check(f"{title}: causality", lambda: priors.causality(example().case)),
        Check(f"{title}: cached logits", lambda: priors.cached_logits(example().case)),
        *([draws] if in_raster_order else []),
        Check(f"{title}: guidance", lambda: priors.guidance(example().case)),
        Check(f"{title}: seeds", lambda: priors.seeds(example().case)),
        Check(f"{title}: frozen tokenizer", lambda: priors.frozen_tokenizer(*example()[:3])),
        Check(f"{title}: saved and loaded", lambda: _prior_saved(example())),
    ]


def _nearest_code(name: str, device: torch.device) -> Outcome:
    """The check of a registered quantizer with default settings, on features some of which are far from the origin."""
    quantizer: Quantizer = perturbed(lambda: QUANTIZERS.build(name, {}), device)
    features = torch.randn(8, quantizer.dim, 12, 10, generator=generator_for(0, "doctor", "features")).to(device)
    features[4:] += 20
    with torch.inference_mode():
        quantizer.train()(features)
    return tokenizers.nearest_code((quantizer.eval(),), (features,))


def _model_saved(loaded: Loaded) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        return tokenizers.saved_and_loaded(loaded, Path(directory))


def _prior_saved(example: Example) -> Outcome:
    """Whether a prior is the same after saving and loading, and still refers to its tokenizer."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        tokenizer = example.tokenizer._replace(path=root / "tokenizer" / "model.safetensors")
        write_model(tokenizer.path, tokenizer.model, tokenizer.data)
        path = root / "prior" / "model.safetensors"
        write_prior(path, example.prior, tokenizer.data, tokenizer)
        loaded = load_prior(path)
        outcome = tokenizers.same_weights(example.prior, loaded.prior)
        if outcome.status != "ok":
            return outcome
        if not loaded.tokenizer.samefile(tokenizer.path):
            return failed(f"the path of the tokenizer is wrong after loading: {loaded.tokenizer}")
        return ok(f"{outcome.message}, path of the tokenizer unchanged")
