"""`vqkit launch`: commands as jobs of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqkit.cli.panels import OUTPUT, RUNTIME
from vqkit.core.launched import GRACE_SECONDS, TRAINING, LaunchedCommand
from vqkit.core.optional_packages import optional_package
from vqkit.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

launch_app = typer.Typer(help="Start commands as jobs of a cluster.", no_args_is_help=True, rich_markup_mode="rich")

_IN_SHARDS = ("compress", "encode", "inpaint")
_MINUTES_AN_HOUR = 60


@launch_app.callback()
def _root() -> None:
    """A group, although it has one command so far."""


@launch_app.command(context_settings={"allow_interspersed_args": False})
def slurm(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="A vqkit command with its options.", show_default=False)],
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes on each node.", rich_help_panel=RUNTIME)] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines.", rich_help_panel=RUNTIME)] = 1,
    gpus: Annotated[
        int | None,
        typer.Option("--gpus", min=0, help="GPUs on each node, one for each process. Default: none.", rich_help_panel=RUNTIME),
    ] = None,
    cpus: Annotated[int | None, typer.Option("--cpus", min=1, help="Cores for each process.", rich_help_panel=RUNTIME)] = None,
    memory: Annotated[
        float | None, typer.Option("--memory", min=0.1, help="Memory on each node, in GB.", rich_help_panel=RUNTIME)
    ] = None,
    hours: Annotated[
        float, typer.Option("--hours", min=0.1, help="Time until a job is ended and queued again.", rich_help_panel=RUNTIME)
    ] = 24.0,
    times: Annotated[
        int, typer.Option("--times", min=0, help="How often a job whose time is over is queued again.", rich_help_panel=RUNTIME)
    ] = 3,
    partition: Annotated[str | None, typer.Option("--partition", help="Where to queue.", rich_help_panel=RUNTIME)] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", metavar="KEY=VALUE", help="Any other option of sbatch. May be repeated.", rich_help_panel=RUNTIME),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards", min=2, help="Start an array of so many jobs, each with a --shard of its own.", rich_help_panel=RUNTIME
        ),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="Run on this machine, without a cluster, to try it.", rich_help_panel=RUNTIME)
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the jobs have ended.", rich_help_panel=RUNTIME)] = False,
    folder: Annotated[Path, typer.Option("--folder", help="Directory for what the jobs print.", rich_help_panel=OUTPUT)] = Path(
        "slurm"
    ),
) -> None:
    """Queue a vqkit command as a job of a SLURM cluster.

    For example: vqkit launch slurm --processes 8 --gpus 8 train-vqvae --out runs/x

    What is before the command are options of the job, what follows it are options of the command.

    Several processes are the ranks of one command, as under torchrun. A job that is preempted, or whose time is over, saves where
    it is and is queued again: training goes on with --resume auto, shards that are finished are left out. It needs the extra
    'slurm' of vqkit (submitit), which must be installed on every node, and a directory that all nodes see.
    """
    root: Any = context.find_root().command
    if command[-1] in ("-h", "--help"):
        root.main(command, prog_name="vqkit")
    _check(command, list(root.commands), shards, processes * nodes)
    parameters = {
        "name": f"vqkit-{command[0]}",
        "nodes": nodes,
        "tasks_per_node": processes,
        "gpus_per_node": gpus,
        "cpus_per_task": cpus,
        "mem_gb": memory,
        "timeout_min": round(hours * _MINUTES_AN_HOUR),
        "slurm_partition": partition,
        "slurm_signal_delay_s": GRACE_SECONDS,
        "slurm_additional_parameters": _settings(sbatch or []) or None,
    }
    executor = _executor(folder, here, times, {name: value for name, value in parameters.items() if value is not None})
    jobs = _submit(executor, command, shards)
    for job in jobs:
        typer.echo(f"submitted job {job.job_id}: its output is {job.paths.stdout}, its errors {job.paths.stderr}")
    if wait:
        _wait(jobs)


def _check(command: Sequence[str], known: Sequence[str], shards: int | None, processes: int) -> None:
    """Raise `ConfigError` for what is no command, and for what could not go on after an interruption or be done in shards."""
    name, options = command[0], [word.partition("=")[0] for word in command[1:]]
    if name not in known or name == "launch":
        raise ConfigError(f"'{name}' is no command that vqkit can launch.", did_you_mean(name, known))
    if name in TRAINING and not {"--out", "-o", "--resume"} & set(options):
        raise ConfigError(
            "A training that is queued again must find its run.", f"Name the run directory: {name} --out runs/NAME ..."
        )
    in_shards = name in _IN_SHARDS or list(command[:2]) == ["data", "prepare"]
    if shards is not None and not in_shards:
        raise ConfigError(f"{name} has no shards.", f"Leave --shards out; it is for {', '.join(_IN_SHARDS)} and data prepare.")
    if shards is not None and ("--shard" in options or processes > 1):
        raise ConfigError(
            "--shards gives each job one process and a --shard of its own.", "Leave out --shard, --processes, --nodes."
        )


def _settings(given: Sequence[str]) -> dict[str, str]:
    """`account=physics` as a dictionary. Raises `ConfigError`."""
    for each in given:
        if "=" not in each:
            raise ConfigError(f"--sbatch {each} cannot be read.", "Write --sbatch KEY=VALUE, such as --sbatch account=physics.")
    return dict(each.removeprefix("--").split("=", 1) for each in given)


def _executor(folder: Path, here: bool, times: int, parameters: dict[str, Any]) -> Any:
    """What queues jobs. Raises `DataError` without submitit, and `ConfigError` where there is no SLURM."""
    submitit = optional_package("submitit", "slurm", "Jobs are queued")
    if here and parameters["nodes"] > 1:
        raise ConfigError("--here is this machine, and no other.", "Leave out --nodes or --here.")
    try:
        limits = {"local_max_num_timeout": times} if here else {"slurm_max_num_timeout": times}
        executor = submitit.AutoExecutor(folder=folder, cluster="local" if here else "slurm", **limits)
    except RuntimeError:
        raise ConfigError(
            "There is no SLURM here: srun was not found.", "Start it where jobs are submitted, or try it with --here."
        ) from None
    if here:
        parameters = {name: value for name, value in parameters.items() if not name.startswith("slurm_")}
    executor.update_parameters(**parameters)
    return executor


def _submit(executor: Any, command: Sequence[str], shards: int | None) -> list[Any]:
    """The jobs: one, or an array with one for each shard."""
    if shards is None:
        return [executor.submit(LaunchedCommand(command))]
    with executor.batch():
        return [executor.submit(LaunchedCommand([*command, "--shard", f"{number}/{shards}"])) for number in range(shards)]


def _wait(jobs: Sequence[Any]) -> None:
    """Wait for all jobs. Raises `ConfigError` for the first one that failed."""
    for job in jobs:
        failure = job.exception()
        if failure is not None:
            raise ConfigError(f"The job {job.job_id} failed.", f"See {job.paths.stderr}.")
    typer.echo(f"{len(jobs)} {'job has' if len(jobs) == 1 else 'jobs have'} ended")
