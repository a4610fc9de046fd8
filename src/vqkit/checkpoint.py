"""Checkpoints: self-describing, atomic, and never pickled.

`model.safetensors` alone is enough to use a model: its header holds the model's name and options, the DataSpec, the code
grid, the data it was trained on, and a digest of the tensors. `training.safetensors` and `training.json` beside it hold what
a resumed run needs as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import vqkit
from vqkit import runs
from vqkit.atomic import write_atomically
from vqkit.config import NamedOptions
from vqkit.errors import CheckpointError
from vqkit.interfaces import Autoencoder, DataSpec, Tokenizer
from vqkit.registry import MODELS

FORMAT = 1
locate = runs.locate


class Loaded(NamedTuple):
    """A model as it was saved, in evaluation mode.

    `path` is its file, `digest` the fingerprint of its tensors, `data` the data set it was trained on, `header` all the rest.
    """

    model: Autoencoder
    path: Path
    digest: str
    data: NamedOptions
    header: dict[str, Any]


def write_model(path: Path, model: Autoencoder, data: NamedOptions, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Save a model, atomically. `tensors` replace the model's own of the same names (running means of the weights, say)."""
    state = {**model.state_dict(), **(tensors or {})}
    name = next(name for name, entry in MODELS.entries().items() if entry.part is type(model))
    header = {
        "format": FORMAT,
        "kind": "model",
        "name": name,
        "options": model.options.model_dump(mode="json"),
        "spec": model.spec.to_json(),
        "data": data.model_dump(mode="json"),
        "code_shapes": model.code_shapes if isinstance(model, Tokenizer) else [],
        "cardinalities": model.cardinalities if isinstance(model, Tokenizer) else [],
        "version": vqkit.__version__,
        "digest": digest(state),
    }
    write_tensors(path, state, header)


def load_model(run: str | Path | None = None, device: torch.device = torch.device("cpu")) -> Loaded:  # noqa: B008 - immutable
    """Load a model in evaluation mode; see `locate` for what `run` may be.

    Raises `CheckpointError` when the file is truncated, was edited, is of another kind, or needs a model that is not registered.
    """
    path = locate(run)
    tensors, header = read_tensors(path, device)
    if header.get("kind") != "model":
        raise CheckpointError(
            f"{path} holds a {header.get('kind', 'file of another program')}, not a model.", "Name a run of train-vqvae."
        )
    if header["digest"] != digest(tensors):
        raise CheckpointError(
            f"{path} was changed after it was written: its tensors do not match its header.", "Use another checkpoint."
        )
    model = MODELS.build(header["name"], header["options"], DataSpec.from_json(header["spec"]))
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path} does not fit the model it describes: {reason}", "Use another checkpoint.") from None
    model.to(device, memory_format=torch.channels_last).eval()
    return Loaded(model, path, header["digest"], NamedOptions(**header["data"]), header)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A fingerprint of names, shapes and bytes; equal for equal models."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Save named tensors with a JSON header, atomically."""
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"vqkit": json.dumps(header)})
        except SafetensorError as error:
            raise OSError(_errno(error), str(error), str(path)) from None


def read_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Named tensors and the JSON header. Raises `CheckpointError` when the file cannot be read or was not written by vqkit."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = json.loads((file.metadata() or {}).get("vqkit", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}.", "It is truncated or no safetensors file; use another checkpoint."
        ) from None
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has the format {header.get('format', 'of another program')}; this version of vqkit reads format {FORMAT}.",
            "Use a checkpoint written by vqkit, or another version of it.",
        )
    return tensors, header


def _errno(error: SafetensorError) -> int:
    """The number of the operating system's error that safetensors only mentions in its text."""
    text = str(error)
    return int(text.split("os error ")[1].split(")")[0].split(",")[0]) if "os error " in text else 5
