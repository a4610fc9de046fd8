"""What a process that was killed leaves in a run directory: pointers that are behind, and unfinished files."""

from __future__ import annotations

import math
from pathlib import Path

from vqkit.core.leftovers import remove, remove_directory, remove_leftovers
from vqkit.errors import CheckpointError
from vqkit.storage import runs
from vqkit.training.run_progress import STATE_FILE, read_progress


def recover(run: Path, keep: int) -> None:
    """Bring a run directory that training goes on in, with the `keep` newest checkpoints, in order. The process has claimed it.

    `latest` names the newest checkpoint, and `best` the first one of its best loss: a kill after a checkpoint is in place may have
    come before the pointers. What is unfinished, or would have been removed, is removed. Raises `OSError`.
    """
    remove_leftovers([path for path in run.rglob(".*.partial*") if path.parent.name != "checkpoints"])
    every = runs.checkpoints(run)
    if not every:
        remove_unfinished(run)
        return
    _point(run, "latest", every[-1])
    better = _better(run, every)
    if better is not None:
        _point(run, "best", better)
    prune(run, keep)


def remove_unfinished(run: Path) -> None:
    """Remove checkpoints that were not written to the end, or were being removed, when a process was killed."""
    folder = run / "checkpoints"
    remove_leftovers(folder.glob(".*.partial"), owned=True)
    for path in folder.glob("step-*"):
        if path.is_dir() and not (path / runs.MODEL_FILE).exists():
            remove(path)


def prune(run: Path, keep: int) -> None:
    """Keep the `keep` newest checkpoints and the best one. Raises `OSError`."""
    best = runs.read_pointer(run / "best")
    for old in runs.checkpoints(run)[:-keep]:
        if str(old.relative_to(run)) != best:
            remove_directory(old)
    remove_unfinished(run)


def _better(run: Path, every: list[Path]) -> Path | None:
    """The checkpoint that `best` should name instead: the first with the best loss of the newest one. None if it is right."""
    best = _loss(every[-1])
    if best is None or not math.isfinite(best):
        return None
    target = runs.read_pointer(run / "best")
    named = run / target if target else None
    if named is not None and (named / runs.MODEL_FILE).is_file():
        present = _loss(named)
        if present is None or present <= best:
            return None
    return next(path for path in every if _loss(path) == best)


def _loss(checkpoint: Path) -> float | None:
    """The best loss until a checkpoint was written; None if it does not say."""
    try:
        return read_progress(checkpoint / STATE_FILE, {}).best
    except CheckpointError:
        return None


def _point(run: Path, name: str, checkpoint: Path) -> None:
    """Make a pointer name a checkpoint, unless it does."""
    target = str(checkpoint.relative_to(run))
    if runs.read_pointer(run / name) != target:
        runs.write_pointer(run / name, target)
