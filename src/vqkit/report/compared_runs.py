"""The runs that a report compares: the model and the seed of each, and a check that all were trained on the same data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.config import EncoderConfig, RunConfig, load_config
from vqkit.data.opening import typed_as
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.storage.checkpoints import read_header
from vqkit.storage.runs import CONFIG_FILE, locate
from vqkit.training.kinds import resolve


class ComparedRun(NamedTuple):
    """One run: its `label`, shared with runs of the same model with other seeds, its seed, and its directory.

    `failure`: what went wrong, in a sentence, if it cannot be measured; `file`: the model that was named, if it is not the best of
    the run.
    """

    label: str
    seed: int
    directory: Path
    failure: str | None = None
    file: Path | None = None

    @property
    def place(self) -> Path:
        """What is measured, as `locate` takes it: the run, or a checkpoint of it."""
        return self.directory if self.file is None else self.file.parent


def find_runs(runs: Sequence[str]) -> list[ComparedRun]:
    """The runs in the given order; runs that differ only in their seed share a label.

    Raises `CheckpointError` for a path that is no run of an autoencoder, `DataError` for a run that was trained on other data than
    the first, and `ConfigError` for a run that is named twice.
    """
    files = [_model_file(run) for run in runs]
    found = [file.parent.parent.parent for file in files]
    configs = [read_config(run) for run in found]
    for run, config in zip(found, configs, strict=True):
        if found.count(run) > 1:
            raise ConfigError(f"The run {run} is named {found.count(run)} times.", "Name each run once.")
        if config.data != configs[0].data:
            raise DataError(
                f"{run} was trained on {_described(config, configs[0])}, and {found[0]} on {_described(configs[0], config)}: "
                "metrics on different images cannot be compared.",
                "Make a report for each data set.",
            )
    labels: dict[str, str] = {}
    for run, config in zip(found, configs, strict=True):
        kind, name = _without_seed(config), config.model.name
        if kind not in labels:
            labels[kind] = name if name not in labels.values() else f"{name} ({run.name})"
    compared = [(labels[_without_seed(config)], config.training.seed, run) for run, config in zip(found, configs, strict=True)]
    for label, seed, run in compared:
        twins = [other for other_label, other_seed, other in compared if (other_label, other_seed) == (label, seed)]
        if len(twins) > 1:
            raise ConfigError(
                f"{twins[0]} and {twins[1]} have the same configuration and the same seed {seed}, so they are not independent.",
                f"Leave out {run}, or train it with another --seed.",
            )
    named = [None if file == locate(file.parent.parent.parent) else file for file in files]
    return [ComparedRun(*each, file=file) for each, file in zip(compared, named, strict=True)]


def read_config(run: Path) -> RunConfig:
    """The configuration that a run was trained with, defaults filled in. Its pretrained encoder need not exist any more."""
    config = load_config(run / CONFIG_FILE, {}, [], RunConfig)
    assert isinstance(config, RunConfig)
    return resolve(config.model_copy(update={"encoder": EncoderConfig()})).model_copy(update={"encoder": config.encoder})


def _model_file(run: str) -> Path:
    """The model that is named. Raises `CheckpointError` for what is no model, or is in no run directory."""
    path = locate(run)
    header = read_header(path)
    if header.get("kind") != "model":
        raise CheckpointError(f"{run} holds a {header.get('kind')}, not a model.", "Name runs of train-vqvae; see vqkit evaluate.")
    directory = path.parent.parent.parent
    if not (directory / CONFIG_FILE).is_file():
        raise CheckpointError(f"The model {path} is not in a run directory.", f"Give a directory that holds {CONFIG_FILE}.")
    return path


def _without_seed(config: RunConfig) -> str:
    """All settings but the seed, as a canonical string."""
    training = config.training.model_copy(update={"seed": 0})
    return config.model_copy(update={"training": training}).model_dump_json()


def _described(config: RunConfig, other: RunConfig) -> str:
    """The data of a run in a few words: its path or name, else the first setting that differs from another's data."""
    mine, others = config.data.model_dump(mode="json"), other.data.model_dump(mode="json")
    place, other_place = typed_as(mine), typed_as(others)
    if place != other_place:
        return place
    key = next(key for key in sorted(mine.keys() | others.keys()) if mine.get(key) != others.get(key))
    return f"{place} with data.{key} = {mine.get(key)}"
