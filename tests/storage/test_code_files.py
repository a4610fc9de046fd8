from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from painting import SHAPES, pipeline, sections
from vqkit.errors import CheckpointError
from vqkit.storage.checkpoints import write_tensors
from vqkit.storage.code_files import CodesFile, check_tokenizer, read_codes, write_codes
from vqkit.storage.code_ranges import smallest_integer

MODEL = pipeline(SHAPES)
CONTENT = CodesFile(
    MODEL.encode(sections(3)),
    ("a", "b/c", "d"),
    torch.tensor([0, -1, 1]),
    torch.tensor([[58.0], [torch.nan], [60.0]]),
    MODEL.digest,
    ("cat", "dog"),
)


def test_codes_come_back_as_they_were(tmp_path: Path) -> None:
    write_codes(tmp_path / "x.safetensors", CONTENT, MODEL.tokenizer)
    content = read_codes(tmp_path / "x.safetensors")
    assert torch.equal(content.part(slice(None))[0], CONTENT.codes[0]) and content.codes[0].dtype == torch.uint8
    assert torch.equal(content.part(slice(1, 3))[0], CONTENT.codes[0][1:])
    assert (content.names, content.tokenizer, content.class_names) == (CONTENT.names, CONTENT.tokenizer, CONTENT.class_names)
    assert torch.equal(content.labels, CONTENT.labels)
    torch.testing.assert_close(content.conditions, CONTENT.conditions, equal_nan=True)


def test_codes_are_small(tmp_path: Path) -> None:
    write_codes(tmp_path / "x.safetensors", CONTENT, MODEL.tokenizer)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as file:
        assert file.get_tensor("level_0").dtype == torch.uint8


@pytest.mark.parametrize(
    ("cardinality", "dtype"), [(2, torch.uint8), (256, torch.uint8), (257, torch.int16), (32768, torch.int16), (32769, torch.int32)]
)
def test_the_smallest_integer_holds_the_largest_code(cardinality: int, dtype: torch.dtype) -> None:
    assert smallest_integer(cardinality) == dtype
    assert torch.tensor(cardinality - 1).to(dtype).item() == cardinality - 1


def test_codes_that_are_not_the_tokenizers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="codes from 0 to 99"):
        codes = CONTENT.codes[0].clone()
        codes[0, 0] = torch.tensor([0, 99, 3])
        write_codes(tmp_path / "x.safetensors", CONTENT._replace(codes=(codes,)), MODEL.tokenizer)
    assert list(tmp_path.iterdir()) == []


def test_another_tokenizer_is_refused() -> None:
    check_tokenizer(CONTENT, MODEL.digest, Path("x"), Path("run"))
    with pytest.raises(CheckpointError, match="were made by the tokenizer dddddddddddd, not by eeeeeeeeeeee"):
        check_tokenizer(CONTENT, "e" * 64, Path("x"), Path("run"))


def test_files_that_are_no_codes(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="no file of codes"):
        read_codes(path)
    write_tensors(path, {"a": torch.zeros(1)}, {"format": 1, "kind": "model"})
    with pytest.raises(CheckpointError, match="holds a model, not codes"):
        read_codes(path)
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="is not a file of codes"):
        read_codes(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    with pytest.raises(CheckpointError, match=r"(?s)is not a file of codes.*written by vqkit encode"):
        read_codes(path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a",), "has 1 names for 3 images"),
        (("a", "../../b", "c"), r"names an image '../../b'"),
        (("a", "/b", "c"), "names an image '/b'"),
    ],
)
def test_edited_names_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    write_codes(tmp_path / "x.safetensors", CONTENT._replace(names=names), MODEL.tokenizer)
    with pytest.raises(CheckpointError, match=message):
        read_codes(tmp_path / "x.safetensors")


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    header = {"format": 1, "kind": "codes", "names": ["a"], "cardinalities": [16], "tokenizer": "e" * 64, "class_names": []}
    write_tensors(tmp_path / "x.safetensors", {"level_0": torch.zeros(1, 2, 3)}, header)
    with pytest.raises(CheckpointError, match="lacks 'labels'"):
        read_codes(tmp_path / "x.safetensors")
