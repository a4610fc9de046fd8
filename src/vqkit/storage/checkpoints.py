"""Checkpoints: self-describing, atomic, and never pickled.

`model.safetensors` alone is enough to use a model: its header holds the model's name and options, the DataSpec, the code
grid, the data it was trained on, and digests of the tensors and of itself (see `vqkit.storage.headers`). `training.safetensors`
and `training.json` beside it hold what a resumed run needs as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import vqkit
from vqkit.config import NamedOptions
from vqkit.core.atomic import write_atomically
from vqkit.errors import CheckpointError, VQKitError, reason_of
from vqkit.interfaces import Autoencoder, CodeSpec, DataSpec, EncoderPart, Prior, Tokenizer
from vqkit.registry import MODELS, PRIORS
from vqkit.storage import runs
from vqkit.storage.bounded_building import bounded
from vqkit.storage.headers import check_header, check_tensor_digest, parse_header, sealed

Network = TypeVar("Network", bound=nn.Module)


class Loaded(NamedTuple):
    """A model as it was saved, in evaluation mode.

    `path` is its file, `digest` the hash of its tensors, `data` the data set it was trained on, `header` everything else.
    """

    model: Autoencoder
    path: Path
    digest: str
    data: NamedOptions
    header: dict[str, Any]


class LoadedPrior(NamedTuple):
    """A prior as it was saved, in evaluation mode; the fields are those of `Loaded`.

    `tokenizer` is the file of the tokenizer whose codes it models, `tokenizer_digest` its digest at that time;
    `learned_levels` names the levels that were trained, which are not all in a run of `--level`.
    """

    prior: Prior
    path: Path
    digest: str
    data: NamedOptions
    header: dict[str, Any]
    tokenizer: Path
    tokenizer_digest: str
    learned_levels: tuple[str, ...]


class LoadedEncoder(NamedTuple):
    """The encoder of a model, pretrained or of an autoencoder's run; `spec` describes the images that it was trained on.

    `path` is its file, `digest` the hash of that file's tensors.
    """

    part: EncoderPart
    spec: DataSpec
    path: Path
    digest: str


def write_model(path: Path, model: Autoencoder, data: NamedOptions, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Save a model, atomically. `tensors` replace the model's own of the same names (such as their EMA)."""
    described = {
        "kind": "model",
        "name": MODELS.name_of(model),
        "options": model.options.model_dump(mode="json"),
        "spec": model.spec.to_json(),
        "code_shapes": model.code_shapes if isinstance(model, Tokenizer) else [],
        "cardinalities": model.cardinalities if isinstance(model, Tokenizer) else [],
    }
    _write(path, {**model.state_dict(), **(tensors or {})}, described, data)


def write_prior(
    path: Path,
    prior: Prior,
    data: NamedOptions,
    tokenizer: Loaded,
    tensors: Mapping[str, Tensor] | None = None,
    learned: Sequence[str] | None = None,
) -> None:
    """Save a prior, atomically, with its tokenizer's digest and the relative path from `path`'s directory to it.

    `tensors` replace the prior's own of the same names; `learned`: the levels that were ever trained, by default all.
    Raises `CheckpointError` if the tokenizer has changed since it was loaded.
    """
    if digest(tokenizer.model.state_dict()) != tokenizer.digest:
        raise CheckpointError(
            f"The tokenizer {tokenizer.path} has changed since it was loaded, but its codes are what the prior learns.",
            "A tokenizer must be frozen; if you train in code, do not give its parameters to the optimizer.",
        )
    described = {
        "kind": "prior",
        "name": PRIORS.name_of(prior),
        "options": prior.options.model_dump(mode="json"),
        "spec": prior.spec.to_json(),
        "tokenizer": os.path.relpath(tokenizer.path.resolve(), path.parent.resolve()),
        "tokenizer_digest": tokenizer.digest,
        "learned_levels": list(prior.spec.level_names if learned is None else learned),
    }
    _write(path, {**prior.state_dict(), **(tensors or {})}, described, data)


def write_encoder(
    path: Path,
    part: EncoderPart,
    model: NamedOptions,
    spec: DataSpec,
    data: NamedOptions,
    tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Save the encoder of `model` alone, atomically. `tensors` replace its own of the same names."""
    described = {"kind": "encoder", "name": model.name, "options": model.options, "spec": spec.to_json()}
    _write(path, {**part.state_dict(), **(tensors or {})}, described, data)


def load_model(run: str | Path | None = None, device: torch.device = torch.device("cpu")) -> Loaded:
    """Load a model in evaluation mode; see `runs.locate` for what `run` may be.

    Raises `CheckpointError` when the file is truncated, was edited, is of another kind, describes what cannot be built, or needs a
    model that is not registered.
    """
    path = runs.locate(run)
    tensors, header = _read(path, device, "model", "Name a run of train-vqvae.")
    model = _rebuilt(lambda: MODELS.build(header["name"], header["options"], DataSpec.from_json(header["spec"])), tensors, path)
    model.to(device, memory_format=torch.channels_last).eval()
    return Loaded(model, path, header["digest"], NamedOptions(**header["data"]), header)


def load_encoder(run: str | Path, device: torch.device = torch.device("cpu")) -> LoadedEncoder:
    """Load the encoder of a run of `pretrain`, or of an autoencoder's. Raises as `load_model` does."""
    path = runs.locate(run)
    if read_header(path).get("kind") == "model":
        loaded = load_model(path, device)
        return LoadedEncoder(loaded.model.encoder_part, loaded.model.spec, path, loaded.digest)
    tensors, header = _read(path, device, "encoder", "Name a run of pretrain or of train-vqvae.")
    built: list[DataSpec] = []

    def build() -> EncoderPart:
        built.append(DataSpec.from_json(header["spec"]))
        return MODELS.build(header["name"], header["options"], built[0]).encoder_part

    part = _rebuilt(build, tensors, path)
    return LoadedEncoder(part.to(device), built[0], path, header["digest"])


def load_prior(run: str | Path | None = None, device: torch.device = torch.device("cpu")) -> LoadedPrior:
    """Load a prior in evaluation mode, without its tokenizer; see `runs.locate` for `run`. Raises as `load_model` does."""
    path = runs.locate(run, kind="prior")
    tensors, header = _read(path, device, "prior", "Name a run of train-prior, which trains one over the codes of a VQ model.")
    prior = _rebuilt(lambda: PRIORS.build(header["name"], header["options"], CodeSpec.from_json(header["spec"])), tensors, path)
    prior.to(device).eval()
    tokenizer = tokenizer_of(path, header)
    data = NamedOptions(**header["data"])
    learned = tuple(header.get("learned_levels") or prior.spec.level_names)
    return LoadedPrior(prior, path, header["digest"], data, header, tokenizer, header["tokenizer_digest"], learned)


def tokenizer_of(path: Path, header: Mapping[str, Any]) -> Path:
    """Where the tokenizer of the prior in the file `path` was, by its header."""
    return Path(os.path.normpath(path.parent.resolve() / header["tokenizer"]))


def _write(path: Path, tensors: Mapping[str, Tensor], described: Mapping[str, Any], data: NamedOptions) -> None:
    """Save tensors with what is said of every model: data and version."""
    write_tensors(path, tensors, {**described, "data": data.model_dump(mode="json"), "version": vqkit.__version__})


def _read(path: Path, device: torch.device, kind: str, hint: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file that must hold a `kind` and be as it was written."""
    tensors, header = read_tensors(path, device)
    if header.get("kind") != kind:
        raise CheckpointError(f"{path} holds {_named(header.get('kind', 'file of another program'))}, not {_named(kind)}.", hint)
    check_header(header, path)
    return tensors, header


def _named(kind: str) -> str:
    """A kind of file with its article."""
    return f"an {kind}" if kind == "encoder" else f"a {kind}"


def _rebuilt(build: Callable[[], Network], tensors: Mapping[str, Tensor], path: Path) -> Network:
    """The network that a header describes, with its weights. Raises `CheckpointError`, whatever is wrong with the description."""
    try:
        with bounded(list(tensors.values())):
            module = build()
    except VQKitError as error:
        reason = reason_of(error.message)
        raise CheckpointError(
            f"{path} describes what cannot be built: {reason}.", error.hint or "Use another checkpoint."
        ) from None
    except Exception as error:  # a header of plausible values that do not go together; parts of third parties raise what they like
        reason = reason_of(str(error))
        raise CheckpointError(
            f"{path} describes what cannot be built: {type(error).__name__}: {reason}.", "Use another checkpoint."
        ) from error
    _fill(module, tensors, path)
    return module


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit the model it describes: {reason_of(str(error))}.", "Use another checkpoint."
        ) from None


def digest(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and bytes; equal for equal models."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Save named tensors with a JSON header, atomically; the format and the digests are added to it."""
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"vqkit": sealed(header, digest(contiguous))})
        except SafetensorError as error:
            raise OSError(_errno(error), str(error), str(path)) from None


class HeaderError(CheckpointError):
    """A file does not begin as a safetensors file does, or ends before what its header says."""


def read_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Named tensors and the JSON header, both as they were written.

    Raises `CheckpointError` when the file cannot be read, was not written by vqkit, or was changed.
    """
    with _opened(path, device) as (file, header):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    check_tensor_digest(header, digest(tensors), path)
    return tensors, header


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header alone, validated; its `kind` is model, encoder, prior, codes or training. Raises as `read_tensors` does."""
    with _opened(path, torch.device("cpu")) as (_, header):
        check_header(header, path)
        return header


@contextmanager
def _opened(path: Path, device: torch.device) -> Iterator[tuple[Any, dict[str, Any]]]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file, parse_header((file.metadata() or {}).get("vqkit", "{}"), path)
    except (SafetensorError, OSError, UnicodeError, ValueError) as error:
        fault = HeaderError if "deserializing header" in str(error) else CheckpointError
        raise fault(f"{path} cannot be read: {error}.", "It is truncated or no safetensors file; use another checkpoint.") from None


def _errno(error: SafetensorError) -> int:
    """The number of the operating system's error that safetensors only mentions in its text."""
    text = str(error)
    return int(text.split("os error ")[1].split(")")[0].split(",")[0]) if "os error " in text else 5
