"""A trained prior with its tokenizer: new images, and several answers to one hole.

    sampler = vqkit.load_sampler("runs/prior")
    images = sampler.sample(16, {"width_px": 58}, sampling=Sampling(guidance_scale=2)).images
    completions = sampler.complete(images, observed, 8)

A sample is a function of the seed, its number and its conditioning; it does not depend on the batch size or the sampling method.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.core.memory import map_batches, max_batch_size
from vqkit.core.precision import choose_device
from vqkit.errors import CheckpointError, ConfigError, DataError, did_you_mean
from vqkit.image_io.observing import as_observed
from vqkit.inference.conditioning import condition_kinds, conditioning_for, observed_maps
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, Pipeline, condition_rows
from vqkit.inference.postprocess import discretize, fill_missing
from vqkit.interfaces import Codes, CodeSpec, Conditioning, ConditionSpec, DataSpec, Prior, check_images
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Sampling
from vqkit.storage.checkpoints import digest, load_model, load_prior

MOST_AT_ONCE = {"cpu": 256, "cuda": 1024}
"""Samples that are drawn at once at most: more take no less time each."""
Labels = int | str | Sequence[int | str] | Tensor
Advance = Callable[[float], None]
"""Told how many more samples are done; fractions, because codes come one by one."""


class Samples(NamedTuple):
    """New images.

    `codes`: each level int64 [N, h, w]; `expected` float32 [N, C, H, W] in [0, 1]: what the decoder makes of them; `images` uint8
    [N, C, H, W]: the final ones; `conditions` float32 [N, D] and `labels` int64 [N]: what was asked for, NaN and -1 where nothing.
    """

    codes: Codes
    expected: Tensor
    images: Tensor
    conditions: Tensor
    labels: Tensor


class Completions(NamedTuple):
    """K whole images for each of B partly seen ones, the most likely first.

    `images` uint8 [B, K, C, H, W], equal to the given ones where these were observed; `nll` float32 [B, K]: negative
    log-likelihood of their codes, ascending; `uncertainty` float32 [B, C, H, W] in [0, 1]: standard deviation over the K images,
    twice, so that a shape that is there in half of them has 1; 0 where observed. `codes`: each level int64 [B, K, h, w].
    """

    images: Tensor
    nll: Tensor
    uncertainty: Tensor
    codes: Codes


def load_sampler(run: str | Path | None = None, tokenizer: str | Path | None = None, device: str = "auto") -> Sampler:
    """A trained prior, ready to use.

    `run`: a run of train-prior, a checkpoint directory or a file, or None for the newest prior in `runs/`; `tokenizer`: where its
    tokenizer is now, if it was moved. Raises `CheckpointError` when the tokenizer is not there or is not the one that the prior
    was trained on, or when some levels of the prior have not been trained.
    """
    chosen = choose_device(device)
    loaded = load_prior(run, chosen)
    missing = [name for name in loaded.prior.spec.level_names if name not in loaded.learned_levels]
    if missing:
        raise CheckpointError(
            f"The prior {loaded.path} has learned {', '.join(loaded.learned_levels)}, and not yet {', '.join(missing)}.",
            f"Go on with: vqkit train-prior --level {','.join(missing)} --start-from {run or loaded.path}",
        )
    if tokenizer is None and not loaded.tokenizer.is_file():
        raise CheckpointError(
            f"The tokenizer of the prior {loaded.path} is not at {loaded.tokenizer} any more.", "Name its run with --tokenizer."
        )
    found = load_model(loaded.tokenizer if tokenizer is None else tokenizer, chosen)
    pipeline = Pipeline(found, chosen, "fp32")
    check_tokenizer(loaded.tokenizer_digest, found.digest, loaded.path, found.path)
    return Sampler(loaded.prior, pipeline, loaded.path, loaded.digest, loaded.data)


def check_tokenizer(expected: str, given: str, prior: Path, tokenizer: Path) -> None:
    """Raise `CheckpointError` unless the tokenizer is the one that the prior was trained on; both are told by their digests."""
    if expected != given:
        raise CheckpointError(
            f"The prior {prior} models the codes of the tokenizer {expected[:12]}; {tokenizer} is another one, {given[:12]}.",
            "It was trained further or replaced: name the right one with --tokenizer, or train a new prior on this one.",
        )


class Sampler:
    """A prior and the tokenizer whose codes it models.

    `prior` (in evaluation mode) and `pipeline` (the tokenizer with its conversions) are on one device; `spec` describes the images,
    `path` is the prior's file, `digest` its fingerprint, and `data` the data set that it was trained on, where that is known.
    """

    def __init__(
        self, prior: Prior, pipeline: Pipeline, path: Path, fingerprint: str = "", data: NamedOptions | None = None
    ) -> None:
        self.prior = prior
        self.pipeline = pipeline
        self.path = path
        self.digest = fingerprint or digest(prior.state_dict())
        self.data = data
        self.spec: DataSpec = pipeline.spec
        self.device = pipeline.device

    @property
    def code_spec(self) -> CodeSpec:
        """The codes that the prior models and the conditioning that it takes."""
        return self.prior.spec

    def origin(self, sampling: Sampling) -> dict[str, Any]:
        """What makes drawn images what they are, as plain values: the prior, its tokenizer, and the settings."""
        return {
            "prior": str(self.path),
            "prior_digest": self.digest,
            "tokenizer": str(self.pipeline.path),
            "tokenizer_digest": self.pipeline.digest,
            "sampling": asdict(sampling),
        }

    def sample(
        self,
        num_samples: int,
        conditions: Conditions | None = None,
        labels: Labels | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        batch_size: int | None = None,
        advance: Advance | None = None,
        first: int = 0,
    ) -> Samples:
        """Draw new images.

        `conditions`: named values, one for all or one each (those not named are unknown); `labels`: a class by name or number, or
        one each; without either the prior is unconditional. `batch_size` None: as large as memory allows; `first`: number of the
        first sample. A value outside the range that the prior was trained with is warned of. Raises `ConfigError` for no samples,
        an unknown name, or conditions for a prior that was not trained with them or needs an image as well.
        """
        if num_samples < 1:
            raise ConfigError(f"{num_samples} samples were asked for.", "Ask for at least one.")
        if conditions or labels is not None:
            self.check_conditional()
        rows = self._rows(conditions, num_samples)
        classes = self._classes(labels, num_samples)
        unknown = rows.isnan().all(dim=1) & (classes < 0)
        conditioning = Conditioning.unconditional(num_samples, self.prior.spec)
        if not bool(unknown.all()):
            conditioning = conditioning_for(self.prior.spec, rows, classes)._replace(dropped=unknown)
        codes = self._draw(conditioning, 1, first, sampling, batch_size, advance)
        expected = self._decode(codes, rows)
        return Samples(codes, expected, discretize(expected, self.spec), rows, classes)

    def complete(
        self,
        images: Tensor,
        observed: Tensor,
        num_samples: int,
        conditions: Conditions | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        batch_size: int | None = None,
        advance: Advance | None = None,
        first: int = 0,
    ) -> Completions:
        """Draw `num_samples` whole images for each partly seen one.

        `images` uint8 [B, C, H, W]; `observed` bool [B, C, H, W] or [H, W], True where a pixel is known; `conditions` as for
        `sample`, one for all images or one each; `first`: number of the first image. Raises `ConfigError` for no samples, an
        unknown name, or a prior that was not trained with --condition-on observed, or not with the conditions, and `DataError` for
        images or a mask that do not fit.
        """
        if num_samples < 1:
            raise ConfigError(f"{num_samples} completions were asked for.", "Ask for at least one.")
        self.check_completes()
        check_images(images, self.spec)
        if images.dtype != torch.uint8:
            raise DataError(f"The images are {images.dtype}; uint8 is expected.", "Give whole numbers from 0 to 255.")
        observed = as_observed(observed, images.shape).expand(images.shape)
        rows = self._rows(conditions, len(images))
        conditioning = self._conditioning_of(images, observed, rows)
        codes = self._draw(conditioning, num_samples, first * num_samples, sampling, batch_size, advance)
        nll = self._nll(codes, conditioning, num_samples, sampling, batch_size)
        expected = self._decode(codes, rows.repeat_interleave(num_samples, dim=0))
        given, known = (tensor.repeat_interleave(num_samples, dim=0) for tensor in (images, observed))
        return _ranked(fill_missing(expected, given, known, self.spec), nll, codes, observed)

    def check_completes(self) -> None:
        """Raise `ConfigError` unless the prior was trained to see a part of an image."""
        if not self.prior.spec.observed_channels:
            raise ConfigError(
                f"The prior {self.path} was not trained to complete images: it never saw a part of one.",
                f"Train one with: vqkit train-prior --tokenizer {self.pipeline.path} --condition-on observed",
            )

    def check_conditional(self) -> None:
        """Raise `ConfigError` unless new images can be drawn by conditions or a class."""
        trained = self.prior.spec
        kind = "class" if self.spec.classes and not self.spec.conditions else "metadata"
        if trained.observed_channels:
            raise ConfigError(
                f"The prior {self.path} was trained to complete images: it draws new ones only without conditions.",
                f"Train one for this with: vqkit train-prior --tokenizer {self.pipeline.path} --condition-on {kind}",
            )
        if not (trained.conditions or trained.classes):
            self._refuse(kind)

    def _rows(self, conditions: Conditions | None, count: int) -> Tensor:
        """Named conditions as float32 [count, D], NaN where unknown; see `sample` for what is raised and warned of."""
        rows = condition_rows(self.spec, conditions, count)
        trained = self.prior.spec.conditions
        if conditions and not trained:
            self._refuse("metadata")
        warn_beyond(trained, rows, "prior")
        return rows

    def _classes(self, labels: Labels | None, count: int) -> Tensor:
        """Classes by name or number as int64 [count], -1 where unknown."""
        if labels is None:
            return torch.full((count,), -1)
        names = self.prior.spec.classes
        if not names:
            self._refuse("class")
        given = labels.tolist() if isinstance(labels, Tensor) else labels
        each = [given] * count if isinstance(given, int | str) else list(given)
        if len(each) != count:
            raise ConfigError(f"{len(each)} classes were given for {count} images.", "Give one, or one for each.")
        for label in each:
            if label not in names and not (isinstance(label, int) and -1 <= label < len(names)):
                raise ConfigError(f"There is no class '{label}'.", did_you_mean(str(label), names))
        return torch.tensor([names.index(label) if isinstance(label, str) else label for label in each])

    def _refuse(self, kind: str) -> NoReturn:
        kinds = ",".join((*condition_kinds(self.prior.spec), kind))
        raise ConfigError(
            f"The prior {self.path} was not trained with --condition-on {kind} and cannot be told any.",
            f"Train one with: vqkit train-prior --tokenizer {self.pipeline.path} --condition-on {kinds}",
        )

    def _conditioning_of(self, images: Tensor, observed: Tensor, rows: Tensor) -> Conditioning:
        """The conditioning on partly seen images, on the CPU."""
        parts = []
        for part in torch.split(torch.arange(len(images)), BATCH_SIZE):
            floats = images[part].to(self.device, torch.float32) / 255
            maps = observed_maps(self.pipeline.tokenizer, floats, observed[part].to(self.device))
            parts.append(tuple(level.cpu() for level in maps))
        maps = tuple(torch.cat(level) for level in zip(*parts, strict=True))
        return conditioning_for(self.prior.spec, rows, torch.full((len(rows),), -1), maps)

    def _draw(
        self,
        conditioning: Conditioning,
        each: int,
        first: int,
        sampling: Sampling,
        batch_size: int | None,
        advance: Advance | None,
    ) -> Codes:
        """`each` samples for every row of `conditioning`: codes int64 [rows * each, h, w] of each level, on the CPU.

        Samples are numbered from `first`; those of one row have consecutive numbers.
        """

        def draw(start: int, stop: int) -> Codes:
            with _shares(advance, stop - start) as report:
                given = self._repeated(conditioning, each, start, stop)
                codes = self.prior.sample(stop - start, given, sampling, first + start, report)
            return tuple(level.cpu() for level in codes)

        size = batch_size or self._fitting(sampling)
        parts = map_batches(len(conditioning.labels) * each, size, draw, smaller=batch_size is None)
        return tuple(torch.cat(level) for level in zip(*parts, strict=True))

    def _nll(self, codes: Codes, conditioning: Conditioning, each: int, sampling: Sampling, batch_size: int | None) -> Tensor:
        """Negative log-likelihood float32 [rows * each] of codes drawn by `_draw`, over all levels and positions, on the CPU."""

        def measure(start: int, stop: int) -> Tensor:
            given = tuple(level[start:stop].to(self.device) for level in codes)
            with torch.inference_mode():
                levels = self.prior.nll(given, self._repeated(conditioning, each, start, stop))
            return torch.stack([level.flatten(1).sum(dim=1) for level in levels]).sum(dim=0).cpu().clone()

        size = batch_size or self._fitting(sampling)
        return torch.cat(map_batches(len(codes[0]), size, measure, smaller=batch_size is None))

    def _repeated(self, conditioning: Conditioning, each: int, start: int, stop: int) -> Conditioning:
        """Rows `start` to `stop` of `conditioning` with every row `each` times, on the device."""
        rows = torch.arange(start, stop) // each
        return conditioning.map(lambda tensor: tensor[rows].to(self.device))

    def _fitting(self, sampling: Sampling) -> int:
        """Samples that memory allows at once."""
        spec = self.prior.spec
        outputs = sum(weight.shape[0] for weight in self.prior.parameters() if weight.ndim > 1)
        levels = zip(spec.shapes, spec.cardinalities, strict=True)
        # A quarter of all layers' outputs, and noise and logits with their sorted and masked copies: about the most that the
        # built-in priors were measured to hold, by any method.
        numbers = sum(height * width * (outputs // 4 + 10 * codes) for (height, width), codes in levels)
        passes = 1 if sampling.guidance_scale == 1 else 2
        return max_batch_size(4 * numbers * passes, self.device, MOST_AT_ONCE[self.device.type])

    def _decode(self, codes: Codes, rows: Tensor) -> Tensor:
        return self.pipeline.decode(codes, dict(zip(self.spec.condition_names, rows.T, strict=True)))


def warn_beyond(conditions: Sequence[ConditionSpec], rows: Tensor, subject: str) -> None:
    """Warn of values [B, D] outside the range that the `subject` (prior or model) was trained with."""
    for condition, column in zip(conditions, rows.T, strict=False):
        for value in column[(column < condition.minimum) | (column > condition.maximum)].unique().tolist():
            warnings.warn(
                f"{condition.name} {value:g} is outside the range that the {subject} was trained with, "
                f"{condition.minimum:g} to {condition.maximum:g}.",
                stacklevel=4,
            )


def _ranked(filled: Tensor, nll: Tensor, codes: Codes, observed: Tensor) -> Completions:
    """The completions [B * K, ...] of B images, the most likely first, with what they agree on."""
    nll, order = nll.view(len(observed), -1).sort(dim=1, stable=True)

    def ranked(tensor: Tensor) -> Tensor:
        each = tensor.reshape(*order.shape, *tensor.shape[1:])
        return each.take_along_dim(order.reshape(*order.shape, *[1] * (tensor.ndim - 1)), dim=1)

    images = ranked(filled)
    uncertainty = (images.float() / 255).std(dim=1, unbiased=False) * 2 * ~observed
    return Completions(images, nll, uncertainty, tuple(map(ranked, codes)))


@contextmanager
def _shares(advance: Advance | None, count: int) -> Iterator[Advance | None]:
    """A function that takes shares of `count` samples and tells `advance` of samples: of all in the end, of none after an error."""
    if advance is None:
        yield None
        return
    done = 0.0

    def report(share: float) -> None:
        nonlocal done
        done += share * count
        advance(share * count)

    try:
        yield report
    except RuntimeError:
        advance(-done)
        raise
    advance(count - done)  # what rounding has left
