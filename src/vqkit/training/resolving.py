"""The defaults of a run's parts and data, filled in and checked, for each kind of run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

from vqkit.config import (
    EncoderConfig,
    LossConfig,
    NamedOptions,
    PretrainingRunConfig,
    PriorRunConfig,
    RunConfig,
    TokenizerConfig,
)
from vqkit.data.opening import resolve_data
from vqkit.errors import CheckpointError, ConfigError
from vqkit.registry import METHODS, MODELS, PRIORS, Registry
from vqkit.storage import runs
from vqkit.storage.checkpoints import read_header, tokenizer_of


def resolve_pretraining(config: PretrainingRunConfig, epochs: int | None) -> dict[str, Any]:
    """The groups of a pretraining run that have defaults outside the configuration, filled in."""
    del epochs
    parts = {"method": _complete(METHODS, config.method), "model": _complete(MODELS, config.model)}
    return {**parts, "data": resolve_data(config.data)}


def resolve_model(config: RunConfig, epochs: int | None) -> dict[str, Any]:
    """The groups of an autoencoder's run that have defaults outside the configuration, filled in.

    Warns of settings without effect in a run of `epochs` (None: its length is given in steps).
    """
    if epochs is not None and config.masking.max_probability > 0 and epochs < config.masking.warmup_epochs:
        reached = config.masking.max_probability * epochs / config.masking.warmup_epochs
        warnings.warn(
            f"{epochs} epochs end before masking.warmup_epochs = {config.masking.warmup_epochs:g}: "
            f"at most {reached:.2f} of the samples will be masked. Shorten it with --mask-warmup.",
            stacklevel=3,
        )
    _warn_of_idle_losses(config.loss, epochs)
    parts = {"model": _complete(MODELS, config.model), "data": resolve_data(config.data)}
    return {**parts, "encoder": _resolve_encoder(config.encoder)}


def _resolve_encoder(encoder: EncoderConfig) -> EncoderConfig:
    """With the file and the digest of the encoder that provides the initial weights."""
    if encoder.start_from is None:
        if encoder.freeze:
            raise ConfigError(
                "--freeze-encoder needs trained weights, but no encoder is given: its random weights would be frozen.",
                "Name a run of pretrain or train-vqvae with --init-encoder, or leave --freeze-encoder out.",
            )
        return encoder
    path = runs.locate(encoder.start_from)
    header = read_header(path)
    if header.get("kind") not in ("encoder", "model"):
        raise CheckpointError(f"{path} holds no encoder.", "Name a run of pretrain or train-vqvae with --init-encoder.")
    if encoder.digest not in (None, header["digest"]):
        raise CheckpointError(
            f"The encoder {path} has changed: it was {str(encoder.digest)[:12]} and is {header['digest'][:12]} now.",
            "Name the right one with --init-encoder, in another --out.",
        )
    return encoder.model_copy(update={"start_from": str(path), "digest": header["digest"]})


def _warn_of_idle_losses(loss: LossConfig, epochs: int | None) -> None:
    """Warn of settings of the perceptual and adversarial losses that have no effect."""
    for name in loss.without_effect():
        owner = "perceptual" if name.startswith("perceptual") else "adversarial"
        warnings.warn(f"loss.{name} has no effect while loss.{owner} is 0.", stacklevel=4)
    if loss.adversarial and epochs is not None and epochs <= loss.discriminator_start_epoch:
        warnings.warn(
            f"{epochs} epochs end before loss.discriminator_start_epoch = {loss.discriminator_start_epoch:g}: "
            "the adversarial loss will never be switched on.",
            stacklevel=4,
        )


def resolve_prior(config: PriorRunConfig, epochs: int | None) -> dict[str, Any]:
    """The groups of a prior's run that have defaults outside the configuration, filled in.

    The tokenizer becomes a file and its digest; the data are the tokenizer's unless others are named.
    """
    del epochs
    initial = None if config.levels.start_from is None else _initial_prior(config)
    path = initial.tokenizer if initial and config.tokenizer.run is None else runs.locate(config.tokenizer.run)
    header = read_header(path)
    if header.get("kind") != "model" or not header["code_shapes"]:
        raise CheckpointError(f"{path} holds no model with codes.", "Name a run of a VQ model, such as vqvae, with --tokenizer.")
    digest = config.tokenizer.digest
    if digest not in (None, header["digest"]):
        raise CheckpointError(
            f"The tokenizer {path} has changed: it was {str(digest)[:12]} and is {header['digest'][:12]} now.",
            "Name the right one with --tokenizer, or train a new prior on this one in another --out.",
        )
    data = config.data
    if data.name == "tokenizer":
        data = NamedOptions(**{**header["data"], **data.options})
    tokenizer = TokenizerConfig(run=str(path), digest=header["digest"])
    if initial and initial.tokenizer_digest != header["digest"]:
        raise CheckpointError(
            f"The prior {initial.path} models the codes of the tokenizer {initial.tokenizer_digest[:12]}; {path} is another one, "
            f"{header['digest'][:12]}.",
            "Leave --tokenizer out, or leave --start-from out.",
        )
    prior = initial.settings if initial else _complete(PRIORS, config.prior)
    return {"prior": prior, "tokenizer": tokenizer, "data": resolve_data(data)}


class _InitialPrior(NamedTuple):
    """The prior that provides the initial weights of another: its file and settings, its tokenizer and the tokenizer's digest."""

    path: Path
    settings: NamedOptions
    tokenizer: Path
    tokenizer_digest: str


def _initial_prior(config: PriorRunConfig) -> _InitialPrior:
    """The prior that `levels.start_from` names. Raises `ConfigError` when the given settings differ from its own."""
    path = runs.locate(config.levels.start_from, kind="prior")
    header = read_header(path)
    if header.get("kind") != "prior":
        raise CheckpointError(f"{path} holds a {header.get('kind')}, not a prior.", "Name a run of train-prior with --start-from.")
    settings = NamedOptions(name=header["name"], **header["options"])
    typed = {} if config.prior == PriorRunConfig().prior else config.prior.model_dump()
    known, wanted = settings.model_dump(), _complete(PRIORS, config.prior).model_dump()
    for key in typed:
        if known.get(key) != wanted[key]:
            raise ConfigError(
                f"The prior {path} that training starts from has prior.{key} = {known.get(key)}, not {wanted[key]}.",
                "Leave that setting out, or leave --start-from out.",
            )
    return _InitialPrior(path, settings, tokenizer_of(path, header), header["tokenizer_digest"])


def _complete(registry: Registry[Any], part: NamedOptions) -> NamedOptions:
    """A part with its own defaults filled in."""
    return NamedOptions(name=part.name, **registry.options(part.name, part.options).model_dump(mode="json"))
