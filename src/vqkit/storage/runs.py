"""Run directories: where they are, what is in them, and how one is named on the command line.

runs/<name>/run.yaml              the resolved configuration, with the kind of the run
runs/<name>/metrics.jsonl         one row of numbers a line
runs/<name>/checkpoints/step-00001000/{model,training}.safetensors, training.json
runs/<name>/best, latest          text files naming a checkpoint
runs/<name>/.lock                 names the process that trains (vqkit.storage.claims)
runs/latest                       a text file naming the newest run
"""

from __future__ import annotations

from pathlib import Path

from vqkit.config import SCHEMAS, read_config_file
from vqkit.core.atomic import write_text
from vqkit.errors import CheckpointError, ConfigError
from vqkit.storage.builtin import PREFIX, builtin_file

RUNS = Path("runs")
CONFIG_FILE = "run.yaml"
MODEL_FILE = "model.safetensors"
_LONGEST_PATH, _LONGEST_PART = 4096, 255


def fresh_directory(model: str, data: str, root: Path = RUNS) -> Path:
    """A run directory that does not exist yet: `<root>/<model>-<data>-001`, `-002`, ..."""
    stem = f"{model}-{Path(data).name or 'data'}"
    taken = {path.name for path in root.glob(f"{stem}-*")}
    number = next(index for index in range(1, len(taken) + 2) if f"{stem}-{index:03d}" not in taken)
    return root / f"{stem}-{number:03d}"


def checkpoint_directory(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / "checkpoints" / f"step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in (run / "checkpoints").glob("step-*") if (path / MODEL_FILE).is_file())


def write_pointer(file: Path, target: str) -> None:
    """Make the text file name a target."""
    write_text(file, target + "\n")


def read_pointer(file: Path) -> str | None:
    """What the text file names, or None when there is no such file, or it holds what can be no path."""
    try:
        with file.open("rb") as opened:
            target = opened.read(_LONGEST_PATH + 1).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    parts = target.encode().split(b"/")
    is_path = "\0" not in target and "\n" not in target and len(target) < _LONGEST_PATH and max(map(len, parts)) <= _LONGEST_PART
    return target if target and is_path else None


def locate(run: str | Path | None, kind: str = "model", root: Path = RUNS) -> Path:
    """The `model.safetensors` that `run` names.

    `run` is a run directory (its best checkpoint), a checkpoint directory, a `model.safetensors`, a file such as `runs/latest`
    that names one of those, the name of a model that comes with vqkit (`builtin:tyre`), or None for the newest run of this `kind`
    (model, prior or encoder) below `root`.
    Raises `CheckpointError` naming what was looked for when there is none.
    """
    if run is None:
        return _newest(kind, root)
    if isinstance(run, str) and run.startswith(PREFIX):
        return builtin_file(run)
    path = Path(run)
    if path.is_file() and path.suffix != ".safetensors":
        target = read_pointer(path)
        path = path.parent / target if target else path
    if not path.exists() and (root / path).exists():
        path = root / path
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if (path / MODEL_FILE).is_file():
        return path / MODEL_FILE
    found = _checkpoint_of(path)
    if found is not None:
        return found
    if path.exists():
        raise CheckpointError(
            f"{path} holds no checkpoint.", "Give a run directory, a checkpoint directory or a model.safetensors."
        )
    names = ", ".join(str(each) for each in _all_runs(root)[:8])
    raise CheckpointError(f"There is no run at {path}.", f"Runs found: {names}." if names else "Train one with: vqkit train-vqvae")


def has_run(kind: str, root: Path = RUNS) -> bool:
    """Whether there is a trained run of this kind."""
    try:
        _newest(kind, root)
    except CheckpointError:
        return False
    return True


def _checkpoint_of(run: Path) -> Path | None:
    """The best checkpoint of a run, else its latest, else its newest."""
    for name in ("best", "latest"):
        target = read_pointer(run / name)
        if target and (run / target / MODEL_FILE).is_file():
            return run / target / MODEL_FILE
    every = checkpoints(run)
    return every[-1] / MODEL_FILE if every else None


def _newest(kind: str, root: Path) -> Path:
    """The newest run of a kind: the one `latest` names if it fits, else by modification time."""
    named = read_pointer(root / "latest")
    candidates = ([root / named] if named else []) + _all_runs(root)
    for run in candidates:
        found = _checkpoint_of(run)
        if found is not None and kind_of(run) == kind:
            return found
    raise CheckpointError(
        f"There is no trained {kind} in {root}/.", f"Train one with: vqkit {SCHEMAS[kind].command}, or name one with --run."
    )


def kind_of(run: Path) -> str | None:
    """The kind of a run, by its run.yaml: model, prior or encoder; None when that file is missing, broken or says no such kind."""
    try:
        kind = read_config_file(run / CONFIG_FILE).get("kind")
    except ConfigError:
        return None
    return kind if isinstance(kind, str) and kind in SCHEMAS else None


def _all_runs(root: Path) -> list[Path]:
    runs = [path.parent for path in root.glob("*/checkpoints")]
    return sorted(runs, key=lambda run: run.stat().st_mtime, reverse=True)


def run_directory(checkpoint: Path) -> Path:
    """The run that a `model.safetensors` belongs to, or its own directory if it belongs to none."""
    directory = checkpoint.parent
    return directory.parent.parent if directory.parent.name == "checkpoints" else directory
