"""Codes that are written while the images are encoded: the same file as one that is written at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from painting import SHAPES, pipeline, sections
from vqkit.errors import CheckpointError, DataError
from vqkit.storage import code_writing
from vqkit.storage.checkpoints import digest, read_tensors
from vqkit.storage.code_files import read_codes
from vqkit.storage.code_writing import EncodedPart, codes_writer
from vqkit.storage.headers import sealed

MODEL = pipeline(SHAPES)
CODES = MODEL.encode(sections(5))[0]
NAMES = ("a", "b/ü", "c", "d", 'e"')


def part(images: slice) -> EncodedPart:
    return EncodedPart((CODES[images],), NAMES[images], torch.arange(5)[images], torch.arange(5.0)[images, None])


def test_the_file_is_the_one_that_safetensors_writes(tmp_path: Path) -> None:
    with codes_writer(tmp_path / "x.safetensors", MODEL.tokenizer, MODEL.digest, ("cat", "dog")) as writer:
        writer.add(part(slice(0, 2)))
        writer.add(part(slice(2, 5)))
        assert writer.count == 5
    tensors, header = read_tensors(tmp_path / "x.safetensors", torch.device("cpu"))
    assert tensors["level_0"].dtype == torch.uint8 and tensors["labels"].dtype == torch.int32
    described = {name: value for name, value in header.items() if name not in ("format", "digest")}
    save_file(tensors, tmp_path / "y.safetensors", metadata={"vqkit": sealed(described, digest(tensors))})
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "y.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.safetensors", "y.safetensors"]


def test_a_file_without_images_is_a_shard_and_no_set(tmp_path: Path) -> None:
    with codes_writer(tmp_path / "x.safetensors", MODEL.tokenizer, MODEL.digest):
        pass
    with pytest.raises(CheckpointError, match="holds no codes"):
        read_codes(tmp_path / "x.safetensors")


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), codes_writer(tmp_path / "x.safetensors", MODEL.tokenizer, MODEL.digest) as writer:
        writer.add(part(slice(0, 2)))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_names_that_no_header_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_writing, "_LONGEST_HEADER", 100)
    with (
        pytest.raises(DataError, match="names of 5 images are too long"),
        codes_writer(tmp_path / "x.safetensors", MODEL.tokenizer, MODEL.digest) as writer,
    ):
        writer.add(part(slice(0, 5)))
