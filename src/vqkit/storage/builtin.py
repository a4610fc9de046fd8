"""Small trained models that come with vqkit, so that something can be tried before anything was trained.

    builtin:tyre         a VQ-VAE of the tyre sections
    builtin:tyre-prior   a prior over its codes, for several completions and for new sections

They are files of the package, written by scripts/pretrained.py (`make pretrained`), and are only read.
"""

from __future__ import annotations

from pathlib import Path

from vqkit.errors import CheckpointError, ConfigError, did_you_mean

PREFIX = "builtin:"
FOLDER = Path(__file__).parent.parent / "pretrained"
BUILTIN = {"tyre": "model", "tyre-prior": "prior"}
"""Name and kind of each."""


def builtin_file(run: str) -> Path:
    """The `model.safetensors` of a built-in model, named as above. Raises `CheckpointError` for a name that there is not."""
    name = run.removeprefix(PREFIX)
    if name not in BUILTIN:
        raise CheckpointError(f"There is no built-in model '{name}'.", did_you_mean(name, BUILTIN))
    return FOLDER / name / "model.safetensors"


def is_builtin(path: Path) -> bool:
    """Whether a file is that of a built-in model: nothing is written beside it."""
    return FOLDER.resolve() in path.resolve().parents


def check_not_builtin(path: Path) -> None:
    """Raise `ConfigError` for the file of a built-in model, which would be changed by what is to be kept beside it."""
    if is_builtin(path):
        raise ConfigError(
            f"{path} comes with vqkit and is only read.",
            "Train a run of your own (vqkit train --help), or copy its folder and name that.",
        )


def builtin_of(kind: str) -> str:
    """The built-in model of a kind, as --run takes it."""
    return next(PREFIX + name for name, each in BUILTIN.items() if each == kind)
