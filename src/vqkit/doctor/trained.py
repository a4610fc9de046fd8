"""What `vqkit doctor --run RUN` checks: a trained model or a trained prior, as it is on the disk and as it works."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path

import torch

from vqkit.doctor import priors, records, tokenizers
from vqkit.doctor.checks import Check, Verdict, ok, skipped
from vqkit.doctor.pictures import HeldOut, held_out
from vqkit.errors import CheckpointError, ConfigError
from vqkit.evaluation.code_rates import uniform_rate, unigram_rate
from vqkit.evaluation.codebook_usage import encode_images, level_statistics, tokenizer_of
from vqkit.evaluation.metrics import code_histogram
from vqkit.inference.pipeline import BATCH_SIZE, Pipeline
from vqkit.inference.sampler import check_tokenizer
from vqkit.interfaces import Batch, Tokenizer, fully_observed
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.storage.checkpoints import Loaded, LoadedPrior, load_model, load_prior, locate, read_header
from vqkit.storage.runs import run_directory

IMAGES = 32
"""Images for the checks of a model that need a few."""
SAMPLES = 2
"""Samples for the checks of a prior that draw."""
JUDGED = 64
"""Images whose likelihood under a prior is measured, `AT_ONCE` in a pass."""
AT_ONCE = 16


def build_checks(run: str, tokenizer: str | None, device: torch.device) -> list[Check]:
    """The checks of a run. `tokenizer`: where the tokenizer of a prior is now, if it was moved.

    Raises `CheckpointError` when there is no such run, or it is of neither kind, and `ConfigError` for a tokenizer of a model.
    """
    path = locate(run)
    try:
        kind = read_header(path).get("kind")
    except CheckpointError:
        kind = "model"  # the first check will say what is wrong with the file
    if kind not in ("model", "prior"):
        raise CheckpointError(f"{path} holds {kind}, not a model or a prior.", "Name a run of train-vqvae or train-prior.")
    if kind == "prior":
        return PriorRun(path, None if tokenizer is None else locate(tokenizer), device).checks()
    if tokenizer is not None:
        raise ConfigError(f"{path} is no prior, so that it has no tokenizer.", "Leave out --tokenizer, or name a prior with --run.")
    return ModelRun(path, device).checks()


class ModelRun:
    """A trained model on the disk. What is slow is done when it is first asked for, so that an error belongs to its check."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self.path = path
        self.device = device

    def checks(self) -> list[Check]:
        """The checks, in order."""
        return [
            Check("losses", lambda: records.losses(run_directory(self.path))),
            Check("file", self._file, essential=True),
            Check("specification", lambda: tokenizers.specification(self.loaded)),
            Check("held-out images", lambda: self.images.verdict),
            Check("nearest code", self._nearest_code),
            Check("round trip", self._round_trip),
            Check("kept parts", lambda: tokenizers.kept_parts(self.pipeline, self.images.batch(IMAGES).images)),
            Check("codebook health", self._codebook_health),
        ]

    @cached_property
    def loaded(self) -> Loaded:
        """The model. Raises `CheckpointError` for a file that is not as it was written."""
        return load_model(self.path, self.device)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The model with its conversions, in float32."""
        return Pipeline(self.loaded, self.device, "fp32")

    @cached_property
    def images(self) -> HeldOut:
        """Images that the model has not learned from."""
        return held_out(self.loaded, self.loaded.data)

    def _file(self) -> Verdict:
        return _described(self.loaded)

    def _nearest_code(self) -> Verdict:
        if not isinstance(self.loaded.model, Tokenizer):
            return _NO_CODES
        shown = self.images.batch(IMAGES).to(self.device).images
        with torch.inference_mode():
            features = self.loaded.model.features(shown, fully_observed(shown))
        return tokenizers.nearest_code(self.loaded.model.quantizers, features)

    def _round_trip(self) -> Verdict:
        if not isinstance(self.loaded.model, Tokenizer):
            return _NO_CODES
        return tokenizers.round_trip(self.pipeline, self.images.batch(IMAGES).images)

    def _codebook_health(self) -> Verdict:
        if not isinstance(self.loaded.model, Tokenizer):
            return _NO_CODES
        if self.images.split is None:
            return _NO_DATA
        model = self.loaded.model
        encoded = encode_images(model, self.images.split, BATCH_SIZE, self.device)
        levels = zip(model.level_names, encoded.levels, model.cardinalities, strict=True)
        return tokenizers.codebook_health([level_statistics(*level) for level in levels])


class PriorRun:
    """A trained prior on the disk, and the tokenizer whose codes it models; `tokenizer` is its file, if it was moved."""

    def __init__(self, path: Path, tokenizer: Path | None, device: torch.device) -> None:
        self.path = path
        self.device = device
        self._moved_to = tokenizer

    def checks(self) -> list[Check]:
        """The checks, in order."""
        return [
            Check("losses", lambda: records.losses(run_directory(self.path))),
            Check("overfitting", lambda: records.overfitting(run_directory(self.path))),
            Check("file", self._file, essential=True),
            Check("tokenizer", self._tokenizer, essential=True),
            Check("held-out images", lambda: self.images.verdict),
            Check("causality", self._of_a_sequence(priors.causality)),
            Check("cached logits", self._of_a_sequence(priors.cached_logits)),
            Check("cached draws", self._of_a_sequence(partial(priors.same_draws, methods=("fixed-point",)))),
            Check("guidance", self._of_a_sequence(priors.guidance)),
            Check("seeds", self._of_a_sequence(priors.seeds)),
            Check("frozen tokenizer", self._frozen_tokenizer),
            Check("likelihood", self._likelihood),
        ]

    @cached_property
    def loaded(self) -> LoadedPrior:
        """The prior. Raises `CheckpointError` for a file that is not as it was written."""
        return load_prior(self.path, self.device)

    @cached_property
    def tokenizer(self) -> Loaded:
        """The tokenizer. Raises `CheckpointError` when it is not there, or not the one that the prior was trained on."""
        loaded = load_model(self._moved_to or self.loaded.tokenizer, self.device)
        check_tokenizer(self.loaded.tokenizer_digest, loaded.digest, self.path, loaded.path)
        return loaded

    @cached_property
    def images(self) -> HeldOut:
        """Images that neither the prior nor its tokenizer have learned from."""
        return held_out(self.tokenizer, self.loaded.data)

    @cached_property
    def few(self) -> Batch:
        """A few images with their codes."""
        return self._batch(SAMPLES)

    def _of_a_sequence(self, check: Callable[[priors.Given], Verdict]) -> Callable[[], Verdict]:
        """A check of priors that go through the grid code by code; others are not asked."""

        def run_checks() -> Verdict:
            prior = self.loaded.prior
            if not isinstance(prior, AutoregressivePrior):
                return skipped(f"the prior {self.loaded.header['name']} does not go through the grid code by code")
            return check(priors.Given(prior, self.few.codes, priors.all_told(prior.spec, tokenizer_of(self.tokenizer), self.few)))

        return run_checks

    def _batch(self, count: int) -> Batch:
        return priors.with_codes(tokenizer_of(self.tokenizer), self.images.batch(count).to(self.device))

    def _file(self) -> Verdict:
        return _described(self.loaded)

    def _frozen_tokenizer(self) -> Verdict:
        return priors.frozen_tokenizer(self.loaded.prior, self.tokenizer, self.few)

    def _tokenizer(self) -> Verdict:
        return ok(f"{self.tokenizer.path}: digest {self.tokenizer.digest[:12]}, as when the prior was trained")

    @torch.inference_mode()
    def _likelihood(self) -> Verdict:
        if self.images.split is None:
            return _NO_DATA
        prior, tokenizer = self.loaded.prior, tokenizer_of(self.tokenizer)
        spec, data, batch = prior.spec, tokenizer.spec, self._batch(JUDGED)
        told = priors.all_told(spec, tokenizer, batch)
        total = 0.0
        for start in range(0, len(batch.images), AT_ONCE):
            part = itemgetter(slice(start, start + AT_ONCE))
            levels = prior.nll(tuple(map(part, batch.codes)), told.map(part))
            total += sum(float(level.double().sum()) for level in levels)
        counts = tuple(map(code_histogram, batch.codes, spec.cardinalities))
        nll = total / sum(level.numel() for level in batch.codes)
        unigram = unigram_rate(counts, counts, spec, data).nll_per_code
        return priors.likelihood(nll, unigram, uniform_rate(spec, data).nll_per_code)


_NO_CODES = skipped("the model has no codes")
_NO_DATA = skipped("needs held-out images")


def _described(loaded: Loaded | LoadedPrior) -> Verdict:
    """What a file that could be loaded holds: loading has compared the tensors with the digest in its header."""
    module = loaded.model if isinstance(loaded, Loaded) else loaded.prior
    numbers = sum(parameter.numel() for parameter in module.parameters())
    name, version = loaded.header["name"], loaded.header["version"]
    return ok(f"{loaded.path}: {name}, {numbers:,} parameters, as vqkit {version} wrote it, digest {loaded.digest[:12]}")
