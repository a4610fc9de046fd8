"""Resuming a run: its directory, its configuration, and the settings that must not have changed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqkit.config import SCHEMAS, AnyRunConfig, NamedOptions, load_config, merge_lengths, read_config_file
from vqkit.data.opening import with_fitted
from vqkit.errors import CheckpointError, ConfigError
from vqkit.storage import runs
from vqkit.storage.claims import is_unused
from vqkit.storage.runs import CONFIG_FILE
from vqkit.training.kinds import resolve
from vqkit.training.small_sets import keep_fitting_batch
from vqkit.training.threads import keep_threads

_FIXED_GROUPS = ("model", "prior", "method", "encoder", "levels", "tokenizer", "data", "views", "conditioning", "loss")
"""Groups of settings that must not change when a run is resumed."""


def continued_config(
    run: Path, flags: Mapping[str, Any], assignments: Sequence[str], out: Path | None, schema: type[AnyRunConfig]
) -> tuple[AnyRunConfig, Path]:
    """The configuration of a run to resume, and its directory; flags may only change the training loop, such as its length."""
    if out is not None and out != run:
        raise ConfigError(f"--resume {run} and --out {out} name two runs.", "Give only --resume.")
    run = _directory_of(run)
    base = read_config_file(run / CONFIG_FILE)
    trained_by = _schema_of(run)
    if trained_by is not schema:
        again = f"vqkit {trained_by.command} --resume {shlex.quote(str(run))}"
        raise ConfigError(f"{run} is not a run of {schema.command}.", f"Resume it with: {again}")
    config = resolve(load_config(None, merge_lengths(base, flags), assignments, schema))
    _same_configuration(run, config, groups=_FIXED_GROUPS)
    return config, run


def _schema_of(run: Path) -> type[AnyRunConfig]:
    """What the configuration of a run is. Raises `CheckpointError` when its run.yaml does not name its kind."""
    kind = runs.kind_of(run)
    if kind is None:
        raise CheckpointError(f"{run / CONFIG_FILE} does not say which kind of run it is.", f"Expected kind: {', '.join(SCHEMAS)}.")
    return SCHEMAS[kind]


def _directory_of(run: Path) -> Path:
    """The run directory that `run` names: itself, one below runs/, or what a file such as runs/latest points to."""
    target = runs.read_pointer(run) if run.is_file() else None
    for candidate in (run.parent / target if target else run, runs.RUNS / run):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    raise CheckpointError(f"There is no run to resume at {run}.", "Give a run directory: one that holds run.yaml.")


def keep_fitted(run: Path, config: AnyRunConfig) -> AnyRunConfig:
    """The configuration with what the run in this directory, if any, has found out: ranges of the same data, and threads."""
    if not (run / CONFIG_FILE).is_file():
        return config
    before = read_config_file(run / CONFIG_FILE)
    earlier, training = before.get("data"), before.get("training")
    if isinstance(training, Mapping):
        if isinstance(training.get("batch_size"), int):
            config = keep_fitting_batch(run, config, training["batch_size"])
        if isinstance(training.get("threads"), int):
            config = keep_threads(config, training["threads"])
    if not isinstance(earlier, Mapping) or "name" not in earlier:
        return config
    return config.model_copy(update={"data": with_fitted(config.data, NamedOptions(**earlier))})


def may_continue(run: Path, config: AnyRunConfig, resume: str) -> bool:
    """Whether to resume from a checkpoint. Raises `ConfigError` when the directory holds something that would be overwritten."""
    if is_unused(run):
        return False
    if not (run / CONFIG_FILE).is_file():
        raise ConfigError(f"{run} exists and is not a run.", "Choose another --out.")
    if resume == "never":
        raise ConfigError(f"The run directory {run} exists.", "Choose another --out, or resume it: --resume auto.")
    if resume == "auto":
        _same_configuration(run, config)
    return bool(runs.checkpoints(run))


def _same_configuration(run: Path, config: AnyRunConfig, groups: tuple[str, ...] = ()) -> None:
    """Raise `ConfigError` naming the first setting of these groups (of all, by default) in which the run on disk differs."""
    schema = _schema_of(run)
    if not isinstance(config, schema):
        raise ConfigError(f"The run directory {run} holds a run of {schema.command}.", "Choose another --out.")
    before = _flat(resolve(load_config(run / CONFIG_FILE, {}, [], schema)).model_dump(mode="json"))
    after = _flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        if (not groups or key.split(".")[0] in groups) and before.get(key) != after.get(key):
            raise ConfigError(
                f"The run directory {run} exists and was trained with {key} = {before.get(key)}, not {after.get(key)}.",
                f"Choose another --out, or resume the run with its own configuration: --resume {shlex.quote(str(run))}",
            )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
