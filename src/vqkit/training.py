"""From a command line to a finished run: settle the configuration and the directory, train, say where things are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vqkit import distributed, runs
from vqkit.atomic import write_text
from vqkit.config import DEFAULT_EPOCHS, RunConfig, dump_yaml, load_config, merge, read_config_file
from vqkit.data.opening import resolve_data
from vqkit.errors import CheckpointError, ConfigError
from vqkit.precision import choose_device
from vqkit.registry import MODELS
from vqkit.trainer import Outcome, Trainer

CONFIG_FILE = "run.yaml"


def train(file: Path | None, flags: Mapping[str, Any], assignments: Sequence[str], out: Path | None, resume: str) -> Outcome:
    """Train as the command line says; see `vqkit train-vqvae --help` for the arguments.

    Raises `ConfigError`, `DataError`, `CheckpointError` or `TrainingError` with what to do about it.
    """
    run: Path | None
    continued = None if resume in ("auto", "never") else Path(resume)
    if continued is not None:
        config, run = _continued(continued, flags, assignments, out)
    else:
        config, run = resolve(load_config(file, flags, assignments)), out
    console = Console(stderr=True, quiet=not distributed.is_main())
    with distributed.process_group(choose_device(config.training.device)):
        console.quiet = not distributed.is_main()
        directory = Path(distributed.broadcast_text(str(run or runs.fresh_directory(config.model.name, config.data.name))))
        going_on = _may_continue(directory, config, resume)
        trainer = Trainer.from_config(config, directory, going_on)
        if distributed.is_main():
            write_text(directory / CONFIG_FILE, dump_yaml(config))
            runs.point(directory.parent / "latest", directory.name)
        _announce(console, trainer, directory, going_on)
        outcome = trainer.fit()
        if distributed.is_main():
            _report(console, outcome, config)
    return outcome


def resolve(config: RunConfig) -> RunConfig:
    """The configuration with the defaults of the model and the data filled in, checked against their own settings."""
    model = MODELS.options(config.model.name, config.model.options).model_dump(mode="json")
    training = config.training
    if training.steps is None and training.epochs is None:
        training = training.model_copy(update={"epochs": DEFAULT_EPOCHS})
    if training.epochs is not None and config.masking.max > 0 and training.epochs < config.masking.warmup_epochs:
        reached = config.masking.max * training.epochs / config.masking.warmup_epochs
        warnings.warn(
            f"{training.epochs} epochs end before masking.warmup_epochs = {config.masking.warmup_epochs:g}: "
            f"at most {reached:.2f} of the samples will be masked. Shorten it with --mask-warmup.",
            stacklevel=2,
        )
    named = {"name": config.model.name, **model}
    return config.model_copy(update={"model": type(config.model)(**named), "data": resolve_data(config.data), "training": training})


def _continued(run: Path, flags: Mapping[str, Any], assignments: Sequence[str], out: Path | None) -> tuple[RunConfig, Path]:
    """The configuration of a run to go on with, and its directory; flags may change only how and how long it goes on."""
    if out is not None and out != run:
        raise ConfigError(f"--resume {run} and --out {out} name two runs.", "Give only --resume.")
    run = _directory_of(run)
    base = read_config_file(run / CONFIG_FILE)
    training = dict(base.get("training", {}))
    typed = flags.get("training", {})
    for length, other in (("epochs", "steps"), ("steps", "epochs")):
        if length in typed:
            training.pop(other, None)
    config = resolve(load_config(None, merge({**base, "training": training}, flags), assignments))
    _same_configuration(run, config, groups=("model", "data"))
    return config, run


def _directory_of(run: Path) -> Path:
    """The run directory that `run` names: itself, one below runs/, or what a file such as runs/latest points to."""
    target = runs.pointed(run) if run.is_file() else None
    for candidate in (run.parent / target if target else run, runs.RUNS / run):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    raise CheckpointError(f"There is no run to go on with at {run}.", "Give a run directory: one that holds run.yaml.")


def _may_continue(run: Path, config: RunConfig, resume: str) -> bool:
    """Whether to go on from a checkpoint. Raises `ConfigError` when the directory holds something that must not be lost."""
    if not run.exists() or not any(run.iterdir()):
        return False
    if resume == "never" or not (run / CONFIG_FILE).is_file():
        raise ConfigError(f"The run directory {run} exists.", "Choose another --out, or go on with it: --resume auto.")
    if resume == "auto":
        _same_configuration(run, config)
    return bool(runs.checkpoints(run))


def _same_configuration(run: Path, config: RunConfig, groups: tuple[str, ...] = ("model", "data", "masking", "training")) -> None:
    """Raise `ConfigError` naming the first setting of these groups in which the run on disk differs."""
    before = _flat(resolve(load_config(run / CONFIG_FILE, {}, [])).model_dump(mode="json"))
    after = _flat(config.model_dump(mode="json"))
    for key in sorted(before.keys() | after.keys()):
        if key.split(".")[0] in groups and before.get(key) != after.get(key):
            raise ConfigError(
                f"The run directory {run} exists and was trained with {key} = {before.get(key)}, not {after.get(key)}.",
                f"Choose another --out, or go on with the run as it was: --resume {run}",
            )


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _announce(console: Console, trainer: Trainer, run: Path, going_on: bool) -> None:
    """What is about to be trained, in one line."""
    spec = trainer.task.model.spec
    parameters = sum(parameter.numel() for parameter in trainer.task.parameters())
    verb = f"Going on from step {trainer.step} of" if going_on else "Training"
    console.print(
        f"{verb} {trainer.config.model.name} ({parameters / 1e6:.2f} M parameters) on {spec.name}: {trainer.loader.size} images of "
        f"{len(spec.components)} x {spec.height} x {spec.width}, {trainer.total_steps} steps, on {trainer.device}; into {run}",
        highlight=False,
        soft_wrap=True,
    )


def _report(console: Console, outcome: Outcome, config: RunConfig) -> None:
    """Where things are, and what to type next."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.validation.items() if name != "loss")
    source = config.data.options.get("path", config.data.name)
    lines = [
        "",
        f"Done: {outcome.steps} steps. Validation: {figures}",
        f"  checkpoints, numbers, pictures: {outcome.run}/",
        f"  curves:       tensorboard --logdir {outcome.run}/tensorboard",
        f"  measure it:   vqkit evaluate --run {outcome.run}",
        f"  use it:       vqkit data export {source} --split test --num 4 --out sections",
        f"                vqkit inpaint sections --run {outcome.run} --keep {outcome.spec.components[0]}",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
