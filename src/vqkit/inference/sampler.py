"""A trained prior with its tokenizer: new images, and completions of partly observed ones.

    sampler = vqkit.load_sampler("runs/prior")
    images = sampler.sample(16, {"width_px": 58}, sampling=Sampling(guidance_scale=2)).images
    completions = sampler.complete(images, observed, 8)

A sample is a function of the seed, its number and its conditioning; it does not depend on the batch size or the sampling method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.core.precision import choose_device
from vqkit.errors import CheckpointError, ConfigError, DataError, did_you_mean
from vqkit.image_io.observing import as_observed
from vqkit.inference.calibration import Calibration, read_calibration
from vqkit.inference.code_windows import CodeWindows, blend
from vqkit.inference.conditioning import condition_kinds, conditioning_for, observed_maps
from vqkit.inference.image_sampler import ImageSampler, Labels, Samples, warn_outside_range
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, Pipeline, condition_rows
from vqkit.inference.postprocess import fill_stored, to_stored
from vqkit.inference.prior_batches import draw_codes, total_nll
from vqkit.inference.ranking import DEFAULT_RANK, Rank, expected_errors
from vqkit.inference.shared_codes import SharedCodesSampler
from vqkit.inference.tile_order import Answers, draw_tile_by_tile, sampling_of_tile
from vqkit.interfaces import Codes, Conditioning, Context, Prior, check_images, where_present
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling
from vqkit.priors.masked import MaskedPrior
from vqkit.storage.checkpoints import digest, load_model, load_prior


class Completions(NamedTuple):
    """K whole images for each of B partly observed ones, the best first: see `rank` of `Sampler.complete`.

    `images` stored values [B, K, C, H, W], equal to the given ones where observed; `nll` float32 [B, K]: negative
    log-likelihood of their codes; `expected_error` float64 [B, K]: their error to the others and to the answer of one pass, see
    `ranking.expected_errors`; `uncertainty` float32 [B, C, H, W]: twice the standard deviation over the K images, so that a shape
    that is present in half of them has 1, calibrated where that was fitted (see `calibration`); 0 where observed. `codes`: each
    level int64 [B, K, h, w]; empty for images that are not of the size of a tile.
    """

    images: Tensor
    nll: Tensor
    expected_error: Tensor
    uncertainty: Tensor
    codes: Codes


def load_sampler(
    run: str | Path | None = None,
    tokenizer: str | Path | None = None,
    device: str = "auto",
    tile_overlap: int | None = None,
    *,
    tokenizer_option: str = "--tokenizer",
) -> Sampler:
    """A sampler for a trained prior.

    `run`: a run of train-prior, a checkpoint directory or a file, or None for the newest prior in `runs/`; `tokenizer`: where its
    tokenizer is now, if it was moved; `tokenizer_option`: the option of the command line that says so, for hints. Raises
    `CheckpointError` if the tokenizer is missing or is not the one that the prior was trained on, or if some levels of the prior
    have not been trained.
    """
    chosen = choose_device(device)
    loaded = load_prior(run, chosen)
    missing = [name for name in loaded.prior.spec.level_names if name not in loaded.learned_levels]
    if missing:
        raise CheckpointError(
            f"The prior {loaded.path} was trained on {', '.join(loaded.learned_levels)}, and not yet on {', '.join(missing)}.",
            f"Continue with: vqkit train-prior --level {','.join(missing)} --start-from {run or loaded.path}",
        )
    if tokenizer is None and not loaded.tokenizer.is_file():
        raise CheckpointError(
            f"The tokenizer of the prior {loaded.path} is not at {loaded.tokenizer} any more.",
            f"Name its run with {tokenizer_option}.",
        )
    found = load_model(loaded.tokenizer if tokenizer is None else tokenizer, chosen)
    pipeline = Pipeline(found, chosen, "fp32", tile_overlap)
    check_tokenizer(loaded.tokenizer_digest, found.digest, loaded.path, found.path, tokenizer_option)
    calibration = read_calibration(loaded.path, loaded.digest, found.digest)
    return Sampler(loaded.prior, pipeline, loaded.path, loaded.digest, loaded.data, calibration)


def check_tokenizer(expected: str, given: str, prior: Path, tokenizer: Path, option: str = "--tokenizer") -> None:
    """Raise `CheckpointError` unless the tokenizer's digest `given` is the one that the prior was trained on, `expected`.

    `option`: how the command line names a tokenizer.
    """
    if expected != given:
        raise CheckpointError(
            f"The prior {prior} models the codes of the tokenizer {expected[:12]}; {tokenizer} is another one, {given[:12]}.",
            f"It was trained further or replaced: name the right one with {option}, or train a new prior on this one.",
        )


class _Wanted(NamedTuple):
    """`each` answers for every image, numbered from `first`; see `Sampler.complete` for the rest.

    `images` as stored and `observed` bool [B, C, H, W]; `rows` float32 [B, D]: their conditions.
    """

    images: Tensor
    observed: Tensor
    rows: Tensor
    each: int
    sampling: Sampling
    batch_size: int | None
    advance: Advance | None
    first: int

    def repeated(self) -> tuple[Tensor, Tensor, Tensor]:
        """The images, what is observed and the conditions of every answer, those to one image one after another."""
        images, observed, rows = (each.repeat_interleave(self.each, dim=0) for each in (self.images, self.observed, self.rows))
        return images, observed, rows


class Sampler(ImageSampler):
    """A prior and the tokenizer whose codes it models; see `ImageSampler`.

    `prior` (in evaluation mode) and `pipeline` (the tokenizer with its conversions) are on one `device`. `calibration`: what was
    fitted to make the uncertainty of completions true, or None.
    """

    def __init__(
        self,
        prior: Prior,
        pipeline: Pipeline,
        path: Path,
        fingerprint: str = "",
        data: NamedOptions | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(pipeline.spec, path, fingerprint or digest(prior.state_dict()), data)
        self.prior = prior
        self.pipeline = pipeline
        self.device = pipeline.device
        self.calibration = calibration

    @property
    def condition_names(self) -> tuple[str, ...]:
        """See `ImageSampler.condition_names`."""
        return tuple(condition.name for condition in self.prior.spec.conditions)

    @property
    def classes(self) -> tuple[str, ...]:
        """See `ImageSampler.classes`."""
        return self.prior.spec.classes

    @property
    def is_conditional(self) -> bool:
        """See `ImageSampler.is_conditional`. False for a prior that completes images: it needs an image beside the conditions."""
        return super().is_conditional and not self.prior.spec.observed_channels

    def origin(self, sampling: Sampling) -> dict[str, Any]:
        """See `ImageSampler.origin`: the prior, its tokenizer and all settings."""
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
        """See `ImageSampler.sample`.

        Raises `ConfigError` also for a prior that was trained to complete images, if there are conditions.
        """
        if num_samples < 1:
            raise ConfigError(f"{num_samples} samples were requested.", "Ask for at least one.")
        if conditions or labels is not None:
            self.check_conditional()
        rows = self._rows(conditions, num_samples)
        classes = self._classes(labels, num_samples)
        unknown = rows.isnan().all(dim=1) & (classes < 0)
        conditioning = Conditioning.unconditional(num_samples, self.prior.spec)
        if not bool(unknown.all()):
            conditioning = conditioning_for(self.prior.spec, rows, classes)._replace(dropped=unknown)
        codes = draw_codes(self.prior, conditioning, 1, sampling, batch_size, advance, first)
        expected = self._decode(codes, rows)
        return Samples(codes, expected, to_stored(expected, self.spec), rows, classes)

    def complete(
        self,
        images: Tensor,
        observed: Tensor,
        num_samples: int,
        conditions: Conditions | None = None,
        sampling: Sampling | None = None,
        batch_size: int | None = None,
        advance: Advance | None = None,
        first: int = 0,
        rank: Rank = DEFAULT_RANK,
    ) -> Completions:
        """Draw `num_samples` whole images for each partly observed one; larger ones tile by tile (`tile_order`), or, by a masked
        prior, from codes that all tiles share (`shared_codes`).

        `images` [B, C, H, W], stored; `observed` bool [B, C, H, W] or [H, W], True where a pixel is known; `conditions` as for
        `sample`, one for all images or one each; `sampling`: by default with the temperature that was fitted, if any; `first`:
        number of the first image; `rank`: likelihood (the most likely completion first) or consensus (that with the least
        expected error to the others and to the answer of one pass). Raises `ConfigError` for no samples, an unknown name, or a
        prior that was not trained with --condition-on observed, or not with the conditions, and `DataError` for images or a mask
        that do not fit.
        """
        sampling = self.completion_sampling() if sampling is None else sampling
        if num_samples < 1:
            raise ConfigError(f"{num_samples} completions were requested.", "Ask for at least one.")
        self.check_completes()
        if images.ndim != 4 or images.shape[1] != len(self.spec.components):
            check_images(images, self.spec)
        if images.dtype != self.spec.stored_dtype:
            expected_dtype = str(self.spec.stored_dtype).removeprefix("torch.")
            raise DataError(
                f"The images are {images.dtype}; {expected_dtype} is expected.", "Give values as the data set holds them."
            )
        observed = as_observed(observed, images.shape).expand(images.shape)
        rows = self._rows(conditions, len(images))
        wanted = _Wanted(images, observed, rows, num_samples, sampling, batch_size, advance, first * num_samples)
        if tuple(images.shape[2:]) == (self.spec.height, self.spec.width):
            answers = self._complete_whole(wanted)
        elif isinstance(self.prior, MaskedPrior):
            answers = self._complete_shared(self.prior, wanted)
        else:
            answers = self._complete_tiles(wanted)
        return self._ranked(answers, wanted, rank)

    def _complete_whole(self, wanted: _Wanted) -> Answers:
        """Answers for images of the size of a tile."""
        conditioning = self._conditioning_of(wanted.images, wanted.observed, wanted.rows)
        each, sampling, batch_size = wanted.each, wanted.sampling, wanted.batch_size
        codes = draw_codes(self.prior, conditioning, each, sampling, batch_size, wanted.advance, wanted.first)
        nll = total_nll(self.prior, codes, conditioning, each, sampling, batch_size)
        images, observed, rows = wanted.repeated()
        return Answers(self._decode(codes, rows, Context(self.spec.to_unit(images), observed)), nll, codes)

    def _complete_shared(self, prior: MaskedPrior, wanted: _Wanted) -> Answers:
        """Answers from one grid of codes for all tiles of an image."""
        images, observed, rows = wanted.images, wanted.observed, wanted.rows
        size = self.spec.height, self.spec.width
        windows = CodeWindows(images.shape[2], images.shape[3], size, prior.spec.shapes, self.pipeline.tile_overlap)
        active = [windows.active(~known) for known in observed]

        def cut(numbers: Sequence[int], tiles: Sequence[int]) -> tuple[Tensor, Tensor]:
            return windows.cut_pixels(images, numbers, tiles), windows.cut_pixels(observed, numbers, tiles)

        def condition(numbers: Sequence[int], tiles: Sequence[int]) -> Conditioning:
            return self._conditioning_of(*cut(numbers, tiles), rows[list(numbers)])

        def decode(codes: Codes, numbers: Sequence[int], tiles: Sequence[int]) -> Tensor:
            pixels, known = cut(numbers, tiles)
            return self._decode(codes, rows[list(numbers)], Context(self.spec.to_unit(pixels), known))

        settings = wanted.each, wanted.sampling, wanted.first, wanted.batch_size
        drawn = SharedCodesSampler(prior, windows, active, condition, *settings).draw(wanted.advance)
        expected = torch.zeros(len(images) * wanted.each, *images.shape[1:])
        blend(expected, drawn.codes, windows, active, decode)
        return Answers(expected, drawn.nll)

    def _complete_tiles(self, wanted: _Wanted) -> Answers:
        """Answers tile by tile, each tile given what those before it have filled in."""
        images, observed, rows = wanted.repeated()
        grid, advance = self.pipeline.tile_grid(images.shape[2], images.shape[3]), wanted.advance
        drawn_tiles = 0

        def draw(tiles: Tensor, known: Tensor, number: int) -> Answers:
            nonlocal drawn_tiles
            drawn_tiles += 1
            report = None if advance is None else lambda done: advance(done / grid.count)
            settings = sampling_of_tile(wanted.sampling, number)
            conditioning = self._conditioning_of(tiles, known, rows)
            codes = draw_codes(self.prior, conditioning, 1, settings, wanted.batch_size, report, wanted.first)
            nll = total_nll(self.prior, codes, conditioning, 1, settings, wanted.batch_size)
            return Answers(self._decode(codes, rows, Context(self.spec.to_unit(tiles), known)), nll)

        answers = draw_tile_by_tile(images, observed, ~observed, draw, self._finish, grid)
        if advance is not None:
            advance(len(images) * (1 - drawn_tiles / grid.count))
        return answers

    def _ranked(self, answers: Answers, wanted: _Wanted, rank: Rank) -> Completions:
        """The completions of all images, the best first, with their uncertainty. Equally good ones by likelihood."""
        observed, nll = wanted.observed, answers.nll
        filled = self._finish(answers.expected, *wanted.repeated()[:2])
        unit = self.spec.to_unit(filled).view(len(observed), wanted.each, *filled.shape[1:])
        # Image by image, which bounds the memory.
        one_pass = self._one_pass(wanted) if wanted.each > 1 else unit[:, 0]  # a single answer is compared with nothing
        each_image = zip(*(torch.split(each, 1) for each in (unit, one_pass, ~observed)), strict=True)
        errors = torch.cat([expected_errors(drawn, other, missing, self.spec) for drawn, other, missing in each_image])
        order = nll.view(len(observed), wanted.each).argsort(dim=1, stable=True)
        if rank == "consensus":
            order = order.gather(1, errors.gather(1, order).argsort(dim=1, stable=True))

        def ranked(tensor: Tensor) -> Tensor:
            return tensor.reshape(*order.shape, *tensor.shape[1:])[torch.arange(len(order))[:, None], order]

        if self.calibration is not None and self.calibration.fits(wanted.sampling):
            spread = self.calibration.spread(unit, self.spec)
        else:
            spread = unit.std(dim=1, unbiased=False)
        uncertainty = torch.where(observed, 0, spread * 2)
        return Completions(ranked(filled), ranked(nll), ranked(errors.flatten()), uncertainty, tuple(map(ranked, answers.codes)))

    def _one_pass(self, wanted: _Wanted) -> Tensor:
        """The final images of one pass of the tokenizer, unit values [B, C, H, W]."""
        conditions = dict(zip(self.spec.condition_names, wanted.rows.T, strict=True))
        unit, missing = self.spec.to_unit(wanted.images), ~wanted.observed
        expected = self.pipeline.fill_unit(unit, wanted.observed, conditions, wanted.batch_size or BATCH_SIZE, missing)
        return self.spec.to_unit(self._finish(expected, wanted.images, wanted.observed))

    def _finish(self, expected: Tensor, images: Tensor, observed: Tensor) -> Tensor:
        """Final images, as stored, with what is observed kept."""
        return fill_stored(expected, images, observed, self.spec)

    def completion_sampling(self, sampling: Sampling = DEFAULT_SAMPLING) -> Sampling:
        """The settings with the temperature that was fitted for completions, if it was."""
        return sampling if self.calibration is None else self.calibration.sampling(sampling)

    def check_completes(self) -> None:
        """Raise `ConfigError` unless the prior was trained to complete images."""
        if not self.prior.spec.observed_channels:
            raise ConfigError(
                f"The prior {self.path} was not trained to complete images.",
                f"Train one with: vqkit train-prior --tokenizer {self.pipeline.path} --condition-on observed",
            )

    def check_conditional(self) -> None:
        """See `ImageSampler.check_conditional`."""
        trained = self.prior.spec
        kind = "class" if self.spec.classes and not self.spec.conditions else "metadata"
        if trained.observed_channels:
            raise ConfigError(
                f"The prior {self.path} was trained to complete images and draws new ones only unconditionally.",
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
        warn_outside_range(trained, rows, "prior")
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
            f"The prior {self.path} was not trained with --condition-on {kind}.",
            f"Train one with: vqkit train-prior --tokenizer {self.pipeline.path} --condition-on {kinds}",
        )

    def _conditioning_of(self, images: Tensor, observed: Tensor, rows: Tensor) -> Conditioning:
        """The conditioning on partly observed images, on the CPU."""
        parts = []
        for part in torch.split(torch.arange(len(images)), BATCH_SIZE):
            seen = observed[part].to(self.device)
            unit = where_present(self.spec.to_unit(images[part].to(self.device)), seen)
            maps = observed_maps(self.pipeline.tokenizer, unit, seen)
            parts.append(tuple(level.cpu() for level in maps))
        maps = tuple(torch.cat(level) for level in zip(*parts, strict=True))
        return conditioning_for(self.prior.spec, rows, torch.full((len(rows),), -1), maps)

    def _decode(self, codes: Codes, rows: Tensor, context: Context | None = None) -> Tensor:
        return self.pipeline.decode_unit(codes, dict(zip(self.spec.condition_names, rows.T, strict=True)), context)
