"""The kinds of training runs: how the configuration of each is resolved, how it is built, and what its result is for."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from vqkit.config import DEFAULT_EPOCHS, LEAST_STEPS, AnyRunConfig, HolesConfig, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.data.opening import typed_as, typed_settings
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
    return [_measure(run), _export(config), _fill_in(config, f"--run {shlex.quote(str(run))}", config.masking, spec)]


def _after_prior(config: PriorRunConfig, run: Path, spec: DataSpec) -> list[str]:
    if "observed" not in config.conditioning.condition_on:
        return [_measure(run), f"  use it:       vqkit sample --run {shlex.quote(str(run))} --num-samples 64"]
    complete = _fill_in(config, f"--prior {shlex.quote(str(run))} --num-samples 8", config.conditioning, spec)
    return [_measure(run), _export(config), complete]


def _after_pretraining(config: PretrainingRunConfig, run: Path, spec: DataSpec) -> list[str]:
    del spec
    data = config.data.model_dump()
    use = (
        f"vqkit train-vqvae --model {config.model.name} --data {shlex.quote(typed_as(data))} --init-encoder {shlex.quote(str(run))}"
    )
    return [f"  embedding:    {run / EMBEDDING}", "  use it:       " + " --set ".join([use, *typed_settings(data)])]


def _measure(run: Path) -> str:
    return f"  measure it:   vqkit evaluate --run {shlex.quote(str(run))}"


def _export(config: RunConfig | PriorRunConfig) -> str:
    data = config.data.model_dump()
    export = f"vqkit data export {shlex.quote(typed_as(data))} --split test --num 4 --out {_examples(config)}"
    return "  use it:       " + " --set ".join([export, *typed_settings(data)])


def _fill_in(config: RunConfig | PriorRunConfig, run: str, holes: HolesConfig, spec: DataSpec) -> str:
    """Fill in what was hidden in training: components, or else pixels."""
    command = f"                vqkit inpaint {_examples(config)} {run}"
    if len(spec.components) > 1 and holes.kind in ("auto", "components", "components-or-boxes"):
        return f"{command} --keep {spec.components[0]}"
    return f"{command} --mask mask.png    (white pixels of the mask are filled in)"


def _examples(config: RunConfig | PriorRunConfig) -> str:
    """The directory that the next steps write held-out images to."""
    return "sections" if config.data.name == "tyre" else "held_out"


RUN_KINDS: dict[str, RunKind] = {
    "model": RunKind(resolve_model, build_autoencoder, _after_autoencoder),
    "prior": RunKind(resolve_prior, build_prior, _after_prior),
    "encoder": RunKind(resolve_pretraining, build_pretraining, _after_pretraining),
}
"""Every kind of run by the `kind` that its run.yaml names."""
