"""`vqkit reproduce`: train every model, evaluate all of them on the same held-out images, and write a report.

OUT/index.html, results.csv, figures/   see vqkit.report.writing
    runs/<model>-seed<n>/               ordinary run directories
    logs/                               configuration and output of each run's process
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vqkit.config import PretrainingRunConfig, RunConfig
from vqkit.core.cpus import usable_cpus
from vqkit.core.precision import choose_device
from vqkit.errors import TrainingError
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.report.compared_runs import ComparedRun
from vqkit.report.measuring import EvaluationProtocol
from vqkit.report.page import About
from vqkit.report.writing import Report, write_report
from vqkit.reproduce.job_pool import Train, exclusive_directory, max_concurrent_jobs, run_jobs
from vqkit.reproduce.planning import Job, plan
from vqkit.reproduce.presets import Preset, load_preset
from vqkit.reproduce.processes import ProcessTrainer

REPORTS = Path("reports")


def reproduce(
    preset: str = "smoke",
    data: str = "tyre",
    models: Sequence[str] = (),
    out: Path | None = None,
    device: str = "auto",
    command: str = "vqkit reproduce",
    at_once: int | None = None,
    train: Train | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Compare `models` (default: all) on `data` under a preset, and write a report to `out`; finished runs are kept.

    `command`: the command line, shown in the report; `at_once`: number of runs trained in parallel, which share the cores (None:
    see `max_concurrent_jobs`); `train`: trains one run, by default in a process of its own.
    Raises `ConfigError`, `RegistryError` and `DataError` before anything is trained, `Interrupted` when asked to stop, and
    `TrainingError` after the report is written if runs failed.
    """
    chosen = choose_device(device)
    settings = load_preset(preset)
    directory = out or REPORTS / f"{Path(preset).stem}-{_name(data)}"
    jobs = plan(settings, data, models, directory, device)
    console = Console(stderr=True)
    with exclusive_directory(directory) as lock:
        at_once = min(at_once or max_concurrent_jobs(chosen), len(jobs))
        threads = None if at_once == 1 else max(1, usable_cpus() // at_once)
        failures = run_jobs(jobs, train or ProcessTrainer(directory / "logs", lock, threads), console, at_once)
        compared = [job for job in jobs if isinstance(job.config, RunConfig)]
        runs = [ComparedRun(job.name, job.seed, job.run, failures.get(job.run)) for job in compared]
        about = About(f"Which model inpaints {_name(data)} best?", command, _notes(settings, jobs, at_once))
        report = write_report(runs, directory, about, _protocol(settings), chosen, progress)
    if report.failed:
        names = ", ".join(f"{run.label} (seed {run.seed})" for run in report.failed)
        raise TrainingError(
            f"{len(report.failed)} of {len(compared)} runs failed: {names}; {report.page} shows the errors and the other runs.",
            "Run the same command again to retry them.",
        )
    return report


def _protocol(preset: Preset) -> EvaluationProtocol:
    return EvaluationProtocol(preset.test_images, preset.bound_images, preset.bound_samples)


def _notes(preset: Preset, jobs: Sequence[Job], at_once: int) -> tuple[str, ...]:
    """Sentences for the report: how the runs were trained."""
    configs = [job.config for job in jobs if isinstance(job.config, RunConfig)]
    training, masking, steps = configs[0].training, configs[0].masking, configs[0].training.steps or 0
    seeds = "one seed" if len(preset.seeds) == 1 else f"{len(preset.seeds)} seeds"
    budget = (
        f"Every model was trained on {steps * training.batch_size:,} images ({steps:,} steps of "
        f"{training.batch_size}) with {seeds}, the same optimizer and the same encoder and decoder; "
        f"{masking.kind.replace('-', ' ')} were masked in {masking.max_probability:.0%} of the images."
    )
    notes = [preset.summary, budget]
    encoder = next((job for job in jobs if isinstance(job.config, PretrainingRunConfig)), None)
    if encoder is not None:
        notes.append(
            "MODEL+METHOD starts from an encoder pretrained with METHOD on another "
            f"{encoder.steps * encoder.config.training.batch_size:,} images, in addition to the shared budget."
        )
    if at_once > 1:
        notes.append(f"Training times were measured with {at_once} runs in parallel.")
    return tuple(notes)


def _name(data: str) -> str:
    """A short name of the data: the data set's name, or the last part of each path."""
    return "+".join(Path(part.strip()).name for part in data.split(",")) or "data"
