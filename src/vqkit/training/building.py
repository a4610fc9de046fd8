"""From a configuration to what the trainer needs: data, network and task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from vqkit.config import EncoderConfig, NamedOptions, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.core.randomness import generator_for
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import check_data
from vqkit.errors import ConfigError
from vqkit.evaluation.code_rates import unigram_rate
from vqkit.evaluation.metrics import code_histogram
from vqkit.inference.conditioning import code_spec, condition_kinds
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Autoencoder, Prior, Split
from vqkit.interfaces.picture_losses import PictureLoss
from vqkit.interfaces.tasks import Task
from vqkit.layers.discriminator import PatchDiscriminator
from vqkit.losses.adversarial import AdversarialLoss
from vqkit.losses.balance import AdaptiveWeight, unbalanced
from vqkit.losses.perceptual import PerceptualLoss, check_pictures
from vqkit.losses.vgg import load_vgg
from vqkit.registry import METHODS, MODELS, PRIORS, Registry
from vqkit.storage.checkpoints import load_encoder, load_model, load_prior
from vqkit.training.code_cache import coded_split
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.pretraining import SelfSupervisedTask
from vqkit.training.tasks.prior import PriorTask
from vqkit.training.tasks.task import resolve_mask_kind


class Built(NamedTuple):
    """A task, whose model is on the device, and the splits that it learns from and is judged by."""

    task: Task
    train: Split
    validation: Split


def build_autoencoder(config: RunConfig, device: torch.device) -> Built:
    """Data, model and task of an autoencoder's run. Raises `ConfigError`, `DataError` or `CheckpointError`."""
    dataset = open_dataset(config.data)
    model = _initialised(MODELS, config.model, config.training.seed, dataset.spec)
    if config.encoder.start_from is not None:
        _start_from_encoder(config.encoder, model)
    model.to(device, memory_format=torch.channels_last)
    losses = _picture_losses(config, model, device)
    task = AutoencoderTask(model, resolve_mask_kind(config.masking, dataset.spec), config.training.seed, losses)
    return Built(task, dataset.split("train"), dataset.split("val"))


def _start_from_encoder(settings: EncoderConfig, model: Autoencoder) -> None:
    """Give a model the weights of a trained encoder, and freeze them if that is asked for.

    Raises `DataError` when they know other images, and `ConfigError` naming the first setting of the model in which that encoder
    differs.
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
    part.load_state_dict(start.part.state_dict())
    part.requires_grad_(not settings.freeze)


def build_pretraining(config: PretrainingRunConfig, device: torch.device) -> Built:
    """Data, encoder and task of a pretraining run. Raises `ConfigError` or `DataError`."""
    dataset = open_dataset(config.data)
    encoder = _initialised(MODELS, config.model, config.training.seed, dataset.spec).encoder_part
    method = _initialised(METHODS, config.method, config.training.seed, encoder)
    for network in (encoder, method):
        network.to(device, memory_format=torch.channels_last)
    splits = dataset.split("train"), dataset.split("val")
    views = resolve_mask_kind(config.views, dataset.spec)
    return Built(SelfSupervisedTask(encoder, config.model, method, views, splits, config.training.seed), *splits)


def _picture_losses(config: RunConfig, model: Autoencoder, device: torch.device) -> list[PictureLoss]:
    """The losses that are asked for. The adversarial one comes last: it is balanced against all that pulls to the target."""
    settings, spec = config.loss, model.spec
    losses: list[PictureLoss] = []
    if settings.perceptual:
        check_pictures(spec)
        losses.append(PerceptualLoss(settings.perceptual, load_vgg(settings.perceptual_weights, device)))
    if settings.adversarial:
        _check_no_discriminator(config.model.name, model)
        with _drawing_from(generator_for(config.training.seed, "discriminator").initial_seed()):
            discriminator = PatchDiscriminator(len(spec.components), (spec.height, spec.width), settings.discriminator_channels)
        discriminator.to(device)
        balance = AdaptiveWeight(model.last_weight) if settings.adaptive else unbalanced
        losses.append(AdversarialLoss(settings, discriminator, balance))
    return losses


def _check_no_discriminator(name: str, model: Autoencoder) -> None:
    """Raise `ConfigError` for a model that plays against a discriminator already."""
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
    learned = _start_from(config.levels.start_from, prior) if config.levels.start_from else ()
    prior.trained_levels = config.levels.learn or spec.level_names
    prior.to(device, memory_format=torch.channels_last)
    # Only now that the prior is known to fit: to encode a data set takes a while.
    seen = bool(spec.observed_channels)
    train, validation = (
        coded_split(pipeline, dataset.split(name), config.data, name, with_images=seen) for name in ("train", "val")
    )
    condition = resolve_mask_kind(config.conditioning, pipeline.spec)
    counts, held_out = (tuple(map(code_histogram, split.codes, spec.cardinalities)) for split in (train, validation))
    unigram = unigram_rate(counts, held_out, spec, pipeline.spec).levels
    return Built(PriorTask(prior, loaded, condition, unigram, config.training.seed, learned), train, validation)


def _start_from(run: str, prior: Prior) -> tuple[str, ...]:
    """Give a prior the weights of a trained one; returns the levels that this one has learned.

    Raises `ConfigError` when that one was told other things.
    """
    start = load_prior(run)
    if start.prior.spec != prior.spec:
        told, wanted = (", ".join(condition_kinds(spec)) or "nothing" for spec in (start.prior.spec, prior.spec))
        raise ConfigError(
            f"The prior {start.path} that training starts from is told {told}, not {wanted}.",
            f"Give --condition-on {','.join(condition_kinds(start.prior.spec)) or 'none'}, or leave --start-from out.",
        )
    prior.load_state_dict(start.prior.state_dict())
    return start.learned_levels


def _initialised(registry: Registry[Any], part: NamedOptions, seed: int, context: Any) -> Any:
    """The network, its weights drawn from the run's seed."""
    with _drawing_from(seed):
        return registry.build(part.name, part.options, context)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """Draw weights from a seed, and leave the global generators as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
