"""From a command line to a finished run: complete the configuration, choose the directory, train, report where the results are."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from vqkit.config import AnyRunConfig, RunConfig, dump_yaml, load_config
from vqkit.core import distributed
from vqkit.core.atomic import write_text
from vqkit.core.precision import choose_device
from vqkit.errors import Interrupted, TrainingError
from vqkit.storage import runs
from vqkit.storage.claims import claimed, claimed_fresh
from vqkit.storage.runs import CONFIG_FILE
from vqkit.training.data_identity import write_identity
from vqkit.training.kinds import next_steps, resolve
from vqkit.training.recovery import recover
from vqkit.training.resuming import continued_config, keep_fitted, may_continue
from vqkit.training.threads import using_threads, with_threads
from vqkit.training.trainer import Outcome, Trainer

_REFUSED = "\n"
"""What rank 0 broadcasts in place of the run directory when it has none."""


def train(
    file: Path | None,
    flags: Mapping[str, Any],
    assignments: Sequence[str],
    out: Path | None,
    resume: str,
    schema: type[AnyRunConfig] = RunConfig,
) -> Outcome:
    """Train as the command line says; see `vqkit train-vqvae --help` for the arguments. `schema` decides the kind of run.

    Raises `ConfigError`, `DataError`, `CheckpointError` or `TrainingError` with a hint.
    """
    run: Path | None
    continued = None if resume in ("auto", "never") else Path(resume)
    if continued is not None:
        config, run = continued_config(continued, flags, assignments, out, schema)
    else:
        config, run = resolve(load_config(file, flags, assignments, schema)), out
    with distributed.process_group(choose_device(config.training.device)):
        return _train_together(config, run, resume)


def _train_together(config: AnyRunConfig, run: Path | None, resume: str) -> Outcome:
    """Train in every process; only rank 0 writes and logs."""
    console = Console(stderr=True, quiet=not distributed.is_main())
    with ExitStack() as stack:
        directory = stack.enter_context(_claimed(config, run))
        stack.enter_context(_noticing_lost_processes(config, directory))
        config = keep_fitted(directory, config)
        resumed = may_continue(directory, config, resume)
        config = config if resumed else with_threads(config)
        stack.enter_context(using_threads(config.training.threads))
        if distributed.is_main():
            recover(directory, config.training.keep_checkpoints)
        distributed.barrier()  # all have read what is there before it changes
        trainer = Trainer.from_config(config, directory, resumed)
        is_finished = trainer.step >= trainer.total_steps
        if distributed.is_main():
            if not is_finished:  # no step is taken with settings that a finished run is given
                write_text(directory / CONFIG_FILE, dump_yaml(trainer.config))
            write_identity(directory, trainer.data)
            runs.write_pointer(directory.parent / "latest", directory.name)
        if not is_finished:
            _announce(console, trainer, directory, resumed)
        outcome = trainer.fit()  # of a finished run, this writes the files that a kill after the last step has left out
    if distributed.is_main():
        _report(console, outcome, config, is_finished)
    return outcome


@contextmanager
def _noticing_lost_processes(config: AnyRunConfig, run: Path) -> Iterator[None]:
    """Raise `TrainingError` where another process has ended, with how to go on; the last checkpoint is whole."""
    try:
        yield
    except RuntimeError as error:
        if not distributed.is_lost_process(error):
            raise
        if distributed.rank() > 1:  # one of the first two says it, whichever process has ended
            raise Interrupted from None
        saved = runs.checkpoints(run)
        last = f"its last checkpoint is {saved[-1].name}" if saved else "it has no checkpoint yet"
        raise TrainingError(
            f"Another process of the run {run} has ended, so the run cannot go on; {last}.",
            f"Resume it, with as many processes as you like: vqkit {config.command} --resume {shlex.quote(str(run))}",
        ) from None


@contextmanager
def _claimed(config: AnyRunConfig, run: Path | None) -> Iterator[Path]:
    """The run directory, of which rank 0 keeps other trainings away. Raises `ConfigError` where one is."""
    if not distributed.is_main():
        name = distributed.broadcast_text(_REFUSED)
        if name == _REFUSED:
            raise Interrupted  # rank 0 says why
        yield Path(name)
        return
    with ExitStack() as stack:
        try:
            claim = claimed(run) if run is not None else claimed_fresh(config.subject.name, config.data.name)
            directory = stack.enter_context(claim)
        except BaseException:
            distributed.broadcast_text(_REFUSED)
            raise
        distributed.broadcast_text(str(directory))
        yield directory


def _announce(console: Console, trainer: Trainer, run: Path, resumed: bool) -> None:
    """Log what was understood of the data, and in one line what is about to be trained."""
    spec = trainer.task.spec
    parameters = sum(parameter.numel() for parameter in trainer.task.model.parameters())
    for line in trainer.notes:
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    verb = f"Resuming at step {trainer.step}:" if resumed else "Training"
    console.print(
        f"{verb} {trainer.config.subject.name} ({parameters / 1e6:.2f} M parameters) on {spec.name}: {trainer.loader.size} images "
        f"of {len(spec.components)} x {spec.height} x {spec.width}, {_length(trainer)}, on {_processor(trainer)}; into {run}",
        highlight=False,
        soft_wrap=True,
    )


def _processor(trainer: Trainer) -> str:
    """The device, and how many threads there are where that was chosen for this run."""
    threads = trainer.config.training.threads
    return str(trainer.device) if threads is None else f"{trainer.device} ({threads} thread{'s' if threads > 1 else ''})"


def _length(trainer: Trainer) -> str:
    """How many steps there are, and why they are more than the epochs have."""
    if trainer.total_steps == trainer.planned_steps:
        return f"{trainer.total_steps} steps"
    passes = trainer.total_steps / trainer.loader.steps_per_epoch
    return f"{trainer.total_steps} steps ({passes:.0f} epochs, because the set is small: --epochs or --steps sets the length)"


def _report(console: Console, outcome: Outcome, config: AnyRunConfig, was_finished: bool) -> None:
    """Log where the results are, and what to type next. `was_finished`: no step was left to take."""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in outcome.validation.items() if name != "loss")
    resume = f"vqkit {config.command} --resume {outcome.run}"
    heading = [f"Done: {outcome.steps} steps. Validation: {metrics}"]
    if was_finished:
        heading = [
            f"The run is finished: it has taken {outcome.steps} steps, so nothing was trained and {CONFIG_FILE} was left as it is.",
            f"  train it further, with more steps or --epochs: {resume} --steps {2 * outcome.steps}",
        ]
    lines = [
        "",
        *heading,
        f"  checkpoints, metrics, images: {outcome.run}/",
        f"  curves:       tensorboard --logdir {shlex.quote(f'{outcome.run}/tensorboard')}",
        *next_steps(config, outcome.run, outcome.spec),
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
