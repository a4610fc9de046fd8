"""The checks of `vqkit doctor --run RUN`: the files and the behaviour of a trained model or a trained prior."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path

import torch

from vqkit.doctor import priors, records, tokenizers
from vqkit.doctor.checks import Check, Outcome, ok, skipped
from vqkit.doctor.images import HeldOutImages, held_out_images
from vqkit.errors import CheckpointError, ConfigError
from vqkit.evaluation.code_rates import uniform_rate, unigram_rate
from vqkit.evaluation.codebook_usage import encode_images, level_statistics, tokenizer_of
from vqkit.evaluation.metrics import code_histogram
from vqkit.inference.pipeline import BATCH_SIZE, Pipeline
from vqkit.inference.sampler import check_tokenizer
from vqkit.interfaces import Batch, Tokenizer
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.masked import MaskedPrior
from vqkit.storage.checkpoints import Loaded, LoadedPrior, load_model, load_prior, read_header
from vqkit.storage.runs import locate, run_directory

IMAGES = 32
"""Images in a check of a model that uses a single batch."""
SAMPLES = 2
"""Samples in a check of a prior."""
LIKELIHOOD_IMAGES = 64
"""Images whose likelihood under a prior is computed."""
LIKELIHOOD_BATCH = 16
"""Images in one forward pass of that computation."""


def build_checks(run: str, tokenizer: str | None, device: torch.device) -> list[Check]:
    """The checks of a run. `tokenizer`: the present path of the tokenizer of a prior, if it was moved.

    Raises `CheckpointError` when there is no such run, or when it is neither a model nor a prior, and `ConfigError` when a
    tokenizer is given for a model.
    """
    path = locate(run)
    try:
        kind = read_header(path).get("kind")
    except CheckpointError:
        kind = "model"  # the check "file" reports what is wrong with it
    if kind not in ("model", "prior"):
        raise CheckpointError(f"{path} holds {kind}, not a model or a prior.", "Give a run of train-vqvae or train-prior.")
    if kind == "prior":
        return PriorRun(path, None if tokenizer is None else locate(tokenizer), device).checks()
    if tokenizer is not None:
        raise ConfigError(f"{path} is a model, and --tokenizer applies to priors.", "Omit --tokenizer, or give a prior with --run.")
    return ModelRun(path, device).checks()


class ModelRun:
    """A saved model. It is loaded on first use, so that an error is reported by the check in which it occurs."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path = path
        self.device = device

    def checks(self) -> list[Check]:
        """The checks, in order."""
        return [
            Check("losses", lambda: records.losses(run_directory(self.path))),
            Check("file", self._file, required=True),
            Check("specification", lambda: tokenizers.specification(self.loaded)),
            Check("held-out images", lambda: self.images.outcome),
            Check("nearest code", self._nearest_code),
            Check("round trip", self._round_trip),
            Check("empty context", lambda: tokenizers.empty_context(self.pipeline, self.images.batch(IMAGES))),
            Check("kept pixels", lambda: tokenizers.kept_pixels(self.pipeline, self.images.batch(IMAGES))),
            Check("codebook health", self._codebook_health),
        ]

    @cached_property
    def loaded(self) -> Loaded:
        """The model. Raises `CheckpointError` if the file was changed after it was written."""
        return load_model(self.path, self.device)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The model in an inference pipeline, in float32."""
        return Pipeline(self.loaded, self.device, "fp32")

    @cached_property
    def images(self) -> HeldOutImages:
        """Images that the model was not trained on."""
        return held_out_images(self.loaded, self.loaded.data)

    def _file(self) -> Outcome:
        return _file_outcome(self.loaded)

    def _nearest_code(self) -> Outcome:
        if not isinstance(self.loaded.model, Tokenizer):
            return _NO_CODES
        shown = self.images.batch(IMAGES).to(self.device, self.loaded.model.spec)
        with torch.inference_mode():
            features = self.loaded.model.features(shown.images, shown.observed)
        return tokenizers.nearest_code(self.loaded.model.quantizers, features)

    def _round_trip(self) -> Outcome:
        if not isinstance(self.loaded.model, Tokenizer):
            return _NO_CODES
        return tokenizers.round_trip(self.pipeline, self.images.batch(IMAGES))

    def _codebook_health(self) -> Outcome:
        if not isinstance(self.loaded.model, Tokenizer):
            return _NO_CODES
        if self.images.split is None:
            return _NO_DATA
        model = self.loaded.model
        encoded = encode_images(model, self.images.split, BATCH_SIZE, self.device)
        levels = zip(model.level_names, encoded.levels, model.cardinalities, strict=True)
        return tokenizers.codebook_health([level_statistics(*level) for level in levels])


class PriorRun:
    """A saved prior and the tokenizer whose codes it models; `tokenizer` is the present path of the latter, if it was moved."""

    def __init__(self, path: Path, tokenizer: Path | None, device: torch.device) -> None:
        self.path = path
        self.device = device
        self._tokenizer_path = tokenizer

    def checks(self) -> list[Check]:
        """The checks, in order."""
        return [
            Check("losses", lambda: records.losses(run_directory(self.path))),
            Check("overfitting", lambda: records.overfitting(run_directory(self.path))),
            Check("file", self._file, required=True),
            Check("tokenizer", self._tokenizer, required=True),
            Check("held-out images", lambda: self.images.outcome),
            Check("causality", self._autoregressive_check(priors.causality)),
            Check("cached logits", self._autoregressive_check(priors.cached_logits)),
            Check("cached draws", self._autoregressive_check(partial(priors.same_draws, methods=("fixed-point",)))),
            Check("guidance", self._autoregressive_check(priors.guidance)),
            Check("seeds", self._autoregressive_check(priors.seeds)),
            Check("frozen tokenizer", self._frozen_tokenizer),
            Check("likelihood", self._likelihood),
        ]

    @cached_property
    def loaded(self) -> LoadedPrior:
        """The prior. Raises `CheckpointError` if the file was changed after it was written."""
        return load_prior(self.path, self.device)

    @cached_property
    def tokenizer(self) -> Loaded:
        """The tokenizer. Raises `CheckpointError` if it is missing, or is not the one that the prior was trained on."""
        loaded = load_model(self._tokenizer_path or self.loaded.tokenizer, self.device)
        check_tokenizer(self.loaded.tokenizer_digest, loaded.digest, self.path, loaded.path)
        return loaded

    @cached_property
    def images(self) -> HeldOutImages:
        """Images that neither the prior nor its tokenizer were trained on."""
        return held_out_images(self.tokenizer, self.loaded.data)

    @cached_property
    def batch(self) -> Batch:
        """`SAMPLES` images with their codes."""
        return self._batch(SAMPLES)

    def _autoregressive_check(self, check: Callable[[priors.PriorCase], Outcome]) -> Callable[[], Outcome]:
        """A check of priors whose logits are known, skipped for others."""

        def check_or_skip() -> Outcome:
            prior = self.loaded.prior
            if not isinstance(prior, AutoregressivePrior | MaskedPrior):
                return skipped(f"the prior {self.loaded.header['name']} gives no logits")
            return check(
                priors.PriorCase(
                    prior, self.batch.codes, priors.full_conditioning(prior.spec, tokenizer_of(self.tokenizer), self.batch)
                )
            )

        return check_or_skip

    def _batch(self, count: int) -> Batch:
        return priors.with_codes(tokenizer_of(self.tokenizer), self.images.batch(count).to(self.device, self.tokenizer.model.spec))

    def _file(self) -> Outcome:
        return _file_outcome(self.loaded)

    def _frozen_tokenizer(self) -> Outcome:
        return priors.frozen_tokenizer(self.loaded.prior, self.tokenizer, self.batch)

    def _tokenizer(self) -> Outcome:
        return ok(f"{self.tokenizer.path}: digest {self.tokenizer.digest[:12]}, the one that the prior was trained on")

    @torch.inference_mode()
    def _likelihood(self) -> Outcome:
        if self.images.split is None:
            return _NO_DATA
        prior, tokenizer = self.loaded.prior, tokenizer_of(self.tokenizer)
        spec, data, batch = prior.spec, tokenizer.spec, self._batch(LIKELIHOOD_IMAGES)
        conditioning = priors.full_conditioning(spec, tokenizer, batch)
        total = 0.0
        for start in range(0, len(batch.images), LIKELIHOOD_BATCH):
            part = itemgetter(slice(start, start + LIKELIHOOD_BATCH))
            levels = prior.nll(tuple(map(part, batch.codes)), conditioning.map(part))
            total += sum(float(level.double().sum()) for level in levels)
        counts = tuple(map(code_histogram, batch.codes, spec.cardinalities))
        nll = total / sum(level.numel() for level in batch.codes)
        unigram = unigram_rate(counts, counts, spec, data).nll_per_code
        return priors.likelihood(nll, unigram, uniform_rate(spec, data).nll_per_code)


_NO_CODES = skipped("the model has no codes")
_NO_DATA = skipped("needs held-out images")


def _file_outcome(loaded: Loaded | LoadedPrior) -> Outcome:
    """Describe a loaded file; loading has already compared the tensors with the digest in its header."""
    module = loaded.model if isinstance(loaded, Loaded) else loaded.prior
    count = sum(parameter.numel() for parameter in module.parameters())
    name, version = loaded.header["name"], loaded.header["version"]
    return ok(f"{loaded.path}: {name}, {count:,} parameters, written by vqkit {version}, digest {loaded.digest[:12]}")
