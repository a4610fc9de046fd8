"""From a configuration to what the trainer needs: data, network and task."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vqkit.config import EncoderConfig, NamedOptions, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.core.randomness import generator_for
from vqkit.data.opening import open_dataset, size_hint
from vqkit.data.subsets import check_data
from vqkit.errors import ConfigError, SizeError
from vqkit.evaluation.code_rates import unigram_rate
from vqkit.evaluation.metrics import code_histogram
from vqkit.inference.conditioning import code_spec, condition_kinds
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Autoencoder, DataSpec, ImageDataset, Prior, Split
from vqkit.interfaces.picture_losses import PictureLoss
from vqkit.interfaces.tasks import Task
from vqkit.losses.adversarial import AdversarialLoss
from vqkit.losses.balance import AdaptiveWeight, unbalanced
from vqkit.losses.gan import build_discriminator
from vqkit.losses.perceptual import PerceptualLoss, check_pictures
from vqkit.losses.vgg import load_vgg
from vqkit.registry import METHODS, MODELS, PRIORS, Registry
from vqkit.storage.checkpoints import load_encoder, load_model, load_prior
from vqkit.training.code_cache import coded_split
from vqkit.training.image_statistics import measure_training_images
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.masks import resolve_mask_kind
from vqkit.training.tasks.pretraining import SelfSupervisedTask
from vqkit.training.tasks.prior import PriorTask


class Built(NamedTuple):
    """A task, whose model is on the device; the splits for training and validation; and the data set that they are from."""

    task: Task
    train: Split
    validation: Split
    dataset: ImageDataset


def build_autoencoder(config: RunConfig, device: torch.device) -> Built:
    """Data, model and task of an autoencoder's run. Raises `ConfigError`, `DataError` or `CheckpointError`."""
    dataset = open_dataset(config.data)
    model = _model(config, dataset.spec)
    if config.encoder.start_from is not None:
        _initialise_encoder(config.encoder, model)
    train, validation = dataset.split("train"), dataset.split("val")
    measure_training_images(model, train)
    model.to(device, memory_format=torch.channels_last)
    losses = _picture_losses(config, model, device)
    masking = resolve_mask_kind(config.masking, dataset.spec)
    return Built(AutoencoderTask(model, masking, config.training.seed, losses, validation), train, validation, dataset)


def _initialise_encoder(settings: EncoderConfig, model: Autoencoder) -> None:
    """Initialise a model's encoder from a trained one, and freeze it if the settings say so.

    Raises `DataError` when that encoder was trained on another kind of images, and `ConfigError` naming the first setting in which
    it differs.
    """
    start = load_encoder(str(settings.start_from))
    check_data(model.spec, start.spec)
    part = model.encoder_part
    for name, value in part.settings.items():
        if start.part.settings.get(name) != value:
            raise ConfigError(
                f"The encoder {start.path} that training starts from has {name} = {start.part.settings.get(name)}, not {value}.",
                "Give the model that encoder's settings, or pretrain one for this --model.",
            )
    _warn_of_other_ranges(model.spec, start.spec, start.path)
    part.load_state_dict(start.part.state_dict())
    part.requires_grad_(not settings.freeze)


def _warn_of_other_ranges(spec: DataSpec, trained_on: DataSpec, path: Path) -> None:
    """Warn where the same stored value is another unit value for the encoder that training starts from."""
    scales = [[(each.low, each.high, each.transform) for each in given.component_specs] for given in (spec, trained_on)]
    differing = next((number for number, (own, other) in enumerate(zip(*scales, strict=True)) if own != other), None)
    if differing is not None:
        (low, high, _), (first, last, transform) = (each[differing] for each in scales)
        warnings.warn(
            f"The encoder {path} was trained on {spec.components[differing]} from {first:g} to {last:g} ({transform}); here it is "
            f"from {low:g} to {high:g}, so the encoder sees other values. Set data.range to that of its training.",
            stacklevel=4,
        )


def build_pretraining(config: PretrainingRunConfig, device: torch.device) -> Built:
    """Data, encoder and task of a pretraining run. Raises `ConfigError` or `DataError`."""
    dataset = open_dataset(config.data)
    encoder = _model(config, dataset.spec).encoder_part
    method = _initialised(METHODS, config.method, config.training.seed, encoder)
    for network in (encoder, method):
        network.to(device, memory_format=torch.channels_last)
    splits = dataset.split("train"), dataset.split("val")
    views = resolve_mask_kind(config.views, dataset.spec)
    return Built(SelfSupervisedTask(encoder, config.model, method, views, splits, config.training.seed), *splits, dataset)


def _picture_losses(config: RunConfig, model: Autoencoder, device: torch.device) -> list[PictureLoss]:
    """The perceptual and adversarial losses with a weight. The adversarial one comes last: it is balanced against all others."""
    settings, spec = config.loss, model.spec
    losses: list[PictureLoss] = []
    if settings.perceptual:
        check_pictures(spec)
        losses.append(PerceptualLoss(settings.perceptual, load_vgg(settings.perceptual_weights, device)))
    if settings.adversarial:
        _check_no_discriminator(config.model.name, model)
        with _seeded(generator_for(config.training.seed, "discriminator").initial_seed()):
            discriminator = build_discriminator(spec, settings.discriminator_channels)
        discriminator.to(device)
        balance = AdaptiveWeight(model.last_weights) if settings.adaptive else unbalanced
        losses.append(AdversarialLoss(settings, discriminator, balance))
    return losses


def _check_no_discriminator(name: str, model: Autoencoder) -> None:
    """Raise `ConfigError` for a model that has a discriminator of its own."""
    if model.adversaries:
        raise ConfigError(
            f"loss.adversarial adds a discriminator, and the model '{name}' has one of its own.",
            "Leave loss.adversarial at 0, or add it to another model, such as vae.",
        )


def build_prior(config: PriorRunConfig, device: torch.device) -> Built:
    """Codes, prior and task of a prior's run. Raises `ConfigError`, `DataError` or `CheckpointError`."""
    loaded = load_model(config.tokenizer.run, device)
    pipeline = Pipeline(loaded, device)
    dataset = open_dataset(config.data)
    check_data(dataset.spec, pipeline.spec)
    spec = code_spec(pipeline.tokenizer, config.conditioning.condition_on)
    prior = _initialised(PRIORS, config.prior, config.training.seed, spec)
    learned = _initialise_prior(config.levels.start_from, prior) if config.levels.start_from else ()
    prior.trained_levels = config.levels.learn or spec.level_names
    prior.to(device, memory_format=torch.channels_last)
    # Only now that the prior is known to fit, because encoding a data set takes a while.
    with_images = bool(spec.observed_channels)
    train, validation = (
        coded_split(pipeline, dataset.split(name), config.data, name, with_images=with_images) for name in ("train", "val")
    )
    condition = resolve_mask_kind(config.conditioning, pipeline.spec)
    counts, held_out = (tuple(map(code_histogram, split.codes, spec.cardinalities)) for split in (train, validation))
    unigram = unigram_rate(counts, held_out, spec, pipeline.spec).levels
    return Built(PriorTask(prior, loaded, condition, unigram, config.training.seed, learned), train, validation, dataset)


def _initialise_prior(run: str, prior: Prior) -> tuple[str, ...]:
    """Initialise a prior from a trained one. Returns the names of the levels that were trained before.

    Raises `ConfigError` when that prior has other conditioning.
    """
    start = load_prior(run)
    if start.prior.spec != prior.spec:
        present, wanted = (", ".join(condition_kinds(spec)) or "nothing" for spec in (start.prior.spec, prior.spec))
        raise ConfigError(
            f"The prior {start.path} that training starts from is conditioned on {present}, not on {wanted}.",
            f"Give --condition-on {','.join(condition_kinds(start.prior.spec)) or 'none'}, or leave --start-from out.",
        )
    prior.load_state_dict(start.prior.state_dict())
    return start.learned_levels


def _model(config: RunConfig | PretrainingRunConfig, spec: DataSpec) -> Any:
    """The network of a model. Raises `ConfigError` naming the settings of the data that give images of a size that fits."""
    try:
        return _initialised(MODELS, config.model, config.training.seed, spec)
    except SizeError as error:
        settings = size_hint(config.data, spec, error.multiple)
        raise ConfigError(error.message, f"{error.hint} Set the size with {settings}." if settings else error.hint) from None


def _initialised(registry: Registry[Any], part: NamedOptions, seed: int, context: Any) -> Any:
    """The network, with weights drawn from the run's seed."""
    with _seeded(seed):
        return registry.build(part.name, part.options, context)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators for the initial weights, and restore them afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
