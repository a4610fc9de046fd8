"""The codes of a whole split, computed once and kept beside the tokenizer.

The file's name is a function of the tokenizer's digest, the data set's settings, and the names of the images; a few images are
encoded again to verify that the images behind the names are still the same.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from rich.console import Console

from vqkit.config import NamedOptions
from vqkit.core import distributed
from vqkit.data.coded import CodedSplit
from vqkit.errors import CheckpointError
from vqkit.inference.encoding import encode_split
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import Split
from vqkit.storage.builtin import is_builtin
from vqkit.storage.code_files import CodesFile, read_codes, write_codes
from vqkit.storage.runs import run_directory

_PROBES = 16
"""Images that are encoded again to verify cached codes."""


def coded_split(pipeline: Pipeline, images: Split, data: NamedOptions, name: str, with_images: bool) -> CodedSplit:
    """A split with its codes, from the file that is kept of them or computed now and kept.

    `data` and `name` say which split it is. With several processes the first one computes. Raises as `encode_split` does.
    """
    path = run_directory(pipeline.path) / "codes" / f"{name}-{_key(pipeline, images, data)}.safetensors"
    content = _kept(path, pipeline, images) if distributed.is_main() else None
    if distributed.is_main() and content is None:
        content = _compute(path, pipeline, images, name)
    distributed.barrier()
    if content is None:  # another process than the first: what that one kept, or, where it could not, its own work
        content = _kept(path, pipeline, images) or encode_split(pipeline, images, lambda count: None)
    return CodedSplit(images, content.codes, content.conditions, content.labels, with_images)


def _key(pipeline: Pipeline, images: Split, data: NamedOptions) -> str:
    names = images.names(torch.arange(len(images)))
    text = json.dumps([pipeline.digest, data.model_dump(mode="json"), names], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept(path: Path, pipeline: Pipeline, images: Split) -> CodesFile | None:
    """The codes in the file, if it is there, whole, this tokenizer's, and still those of the images."""
    if not path.is_file():
        return None
    try:
        content = read_codes(path)
    except CheckpointError:
        return None
    if content.tokenizer != pipeline.digest or len(content.labels) != len(images):
        return None
    probes = torch.linspace(0, len(images) - 1, min(_PROBES, len(images))).long()
    seen = images.batch(probes)
    again = pipeline.encode_batch(seen.images, seen.observed)
    same = all(torch.equal(level[probes].to(torch.int64), fresh) for level, fresh in zip(content.codes, again, strict=True))
    return content if same else None


def _compute(path: Path, pipeline: Pipeline, images: Split, name: str) -> CodesFile:
    console = Console(stderr=True)
    console.print(f"Encoding the {len(images)} images of the {name} split, once.", highlight=False, soft_wrap=True)
    content = encode_split(pipeline, images, lambda count: None)
    if is_builtin(pipeline.path):
        return content
    try:
        write_codes(path, content, pipeline.tokenizer)
    except OSError as error:
        console.print(f"Note: their codes cannot be kept in {path.parent} ({error.strerror}).", highlight=False, soft_wrap=True)
    return content
