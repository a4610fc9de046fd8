"""The kinds of training runs: how the configuration of each is resolved, how it is built, and what its result is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from vqkit.config import DEFAULT_EPOCHS, LEAST_STEPS, AnyRunConfig, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.data.opening import typed_as
from vqkit.interfaces import DataSpec
from vqkit.training.building import Built, build_autoencoder, build_pretraining, build_prior
from vqkit.training.resolving import resolve_model, resolve_pretraining, resolve_prior
from vqkit.training.tasks.pretraining import EMBEDDING

Config = TypeVar("Config", RunConfig, PriorRunConfig, PretrainingRunConfig)


class RunKind(NamedTuple):
    """What differs between the kinds of runs. The configuration of each is in `vqkit.config.SCHEMAS`.

    resolve: (configuration, epochs or None) -> the groups of settings with the defaults of their parts filled in.
    build: (resolved configuration, device) -> data, network and task.
    next_steps: (configuration, run directory, data specification) -> lines that say how to use the finished run.
    """

    resolve: Callable[[Any, int | None], dict[str, Any]]
    build: Callable[[Any, torch.device], Built]
    next_steps: Callable[[Any, Path, DataSpec], list[str]]


def resolve(config: Config) -> Config:
    """The configuration with the defaults of its parts and its data filled in, checked against their own settings."""
    training = config.training
    unlimited = training.steps is None and training.epochs is None
    if training.least_steps is None:
        training = training.model_copy(update={"least_steps": LEAST_STEPS if unlimited else 0})
    if unlimited:
        training = training.model_copy(update={"epochs": DEFAULT_EPOCHS})
    return config.model_copy(update={**RUN_KINDS[config.kind].resolve(config, training.epochs), "training": training})


def build(config: AnyRunConfig, device: torch.device) -> Built:
    """What a resolved configuration describes. Raises `ConfigError`, `DataError` or `CheckpointError`."""
    return RUN_KINDS[config.kind].build(config, device)


def next_steps(config: AnyRunConfig, run: Path, spec: DataSpec) -> list[str]:
    """The commands that use a finished run, a line each."""
    return RUN_KINDS[config.kind].next_steps(config, run, spec)


def _after_autoencoder(config: RunConfig, run: Path, spec: DataSpec) -> list[str]:
    return [_measure(run), _export(config), f"                vqkit inpaint sections --run {run} --keep {spec.components[0]}"]


def _after_prior(config: PriorRunConfig, run: Path, spec: DataSpec) -> list[str]:
    if "observed" not in config.conditioning.condition_on:
        return [_measure(run), f"  use it:       vqkit sample --run {run} --num-samples 64"]
    complete = f"                vqkit inpaint sections --prior {run} --keep {spec.components[0]} --num-samples 8"
    return [_measure(run), _export(config), complete]


def _after_pretraining(config: PretrainingRunConfig, run: Path, spec: DataSpec) -> list[str]:
    del spec
    use = f"vqkit train-vqvae --model {config.model.name} --init-encoder {run}"
    return [f"  embedding:    {run / EMBEDDING}", f"  use it:       {use}"]


def _measure(run: Path) -> str:
    return f"  measure it:   vqkit evaluate --run {run}"


def _export(config: RunConfig | PriorRunConfig) -> str:
    return f"  use it:       vqkit data export {typed_as(config.data.model_dump())} --split test --num 4 --out sections"


RUN_KINDS: dict[str, RunKind] = {
    "model": RunKind(resolve_model, build_autoencoder, _after_autoencoder),
    "prior": RunKind(resolve_prior, build_prior, _after_prior),
    "encoder": RunKind(resolve_pretraining, build_pretraining, _after_pretraining),
}
"""Every kind of run by the `kind` that its run.yaml names."""
