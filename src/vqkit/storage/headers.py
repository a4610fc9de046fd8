"""The JSON headers of vqkit's safetensors files: what each kind must say, and the digest over all of it.

Every header is validated before anything in it is used. `digest` covers the tensors and identifies a model; `header_digest`
covers the header with that digest, so that both are as they were written. Files of format 1 have no `header_digest`, and those of
codes and of a training's state no `digest` either; they are read, validated, without these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vqkit.config import NamedOptions
from vqkit.errors import CheckpointError
from vqkit.interfaces.plain_values import first_fault

FORMAT = 2
_READ = (1, FORMAT)
_HINT = "It was edited or is damaged; use another file."
_LARGEST = 2**24
_LONGEST_KIND = 20
"""Characters of the name of a kind or of a format; `of another program` has 18."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, Field(min_length=1, max_length=128)]
"""The digest of another file, which is only compared."""
Size = Annotated[int, Field(ge=1, le=_LARGEST)]


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", protected_namespaces=())


class _ModuleHeader(_Header):
    """What the headers of models, encoders and priors have in common; `vqkit.interfaces` validates the `spec`."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    options: dict[str, Any]
    spec: dict[str, Any]
    data: NamedOptions
    version: str
    digest: Digest


class ModelHeader(_ModuleHeader):
    """A header of `write_model`."""

    code_shapes: list[tuple[Size, Size]]
    cardinalities: list[Size]


class EncoderHeader(_ModuleHeader):
    """A header of `write_encoder`."""


class PriorHeader(_ModuleHeader):
    """A header of `write_prior`."""

    tokenizer: Annotated[str, Field(min_length=1, max_length=4096, pattern="^[^\x00]*$")]
    tokenizer_digest: Fingerprint
    learned_levels: list[str] | None = None


class CodesHeader(_Header):
    """A header of `write_codes`; the tokenizer says the rest."""

    tokenizer: Fingerprint
    cardinalities: Annotated[list[Size], Field(min_length=1)]
    names: list[str]
    class_names: list[str]


class TrainingHeader(_Header):
    """A header of the state of a training; `step` and `best` repeat `training.json`, which has no digest."""

    kind: Literal["training"]
    step: Annotated[int, Field(ge=0)] | None = None
    best: float | None = None


_KINDS: dict[str, type[_Header]] = {
    "model": ModelHeader,
    "encoder": EncoderHeader,
    "prior": PriorHeader,
    "codes": CodesHeader,
    "training": TrainingHeader,
}


def sealed(header: Mapping[str, Any], digest: str) -> str:
    """The text of a header to be written, with the format, the digest of the tensors, and the digest over all of it."""
    content = {**header, "format": FORMAT, "digest": digest}
    return json.dumps({**content, "header_digest": _digest(content)})


def parse_header(text: str, path: Path) -> dict[str, Any]:
    """The header in a file: an object of a format that is read, as it was written, of a `kind` that is text if it has one.

    Raises `CheckpointError`.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not _is_kind(header.get("kind", "")):
        raise CheckpointError(f"{path} has a header that is none of vqkit.", _HINT)
    given = header.get("format", "of another program")
    if type(given) is not int or given not in _READ:
        raise CheckpointError(
            f"{path} has the format {str(given)[:_LONGEST_KIND]}; "
            f"this version of vqkit reads the formats {' and '.join(map(str, _READ))}.",
            "Use a checkpoint written by vqkit, or another version of it.",
        )
    stated = header.pop("header_digest", None)
    if (stated is not None or given == FORMAT) and stated != _digest(header):
        raise CheckpointError(f"{path} was changed after it was written: its header does not match its digest.", _HINT)
    return header


def check_header(header: Mapping[str, Any], path: Path) -> None:
    """Raise `CheckpointError` naming the first value of a header that is missing or wrong for its kind."""
    kind = header.get("kind")
    schema = _KINDS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        return
    try:
        schema.model_validate_json(json.dumps(header))
    except ValidationError as error:
        raise CheckpointError(f"The header of {path} {first_fault(error)}.", _HINT) from None


def check_tensor_digest(header: Mapping[str, Any], digest: str, path: Path) -> None:
    """Raise `CheckpointError` unless this is the digest of the tensors that a header of `parse_header` states, if it has to."""
    if header.get("digest", digest if header["format"] != FORMAT else None) != digest:
        raise CheckpointError(
            f"{path} was changed after it was written: its tensors do not match its header.", "Use another checkpoint."
        )


def _is_kind(kind: object) -> bool:
    """Whether this may be the name of a kind: those of other versions are as short."""
    return isinstance(kind, str) and len(kind) <= _LONGEST_KIND


def _digest(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
