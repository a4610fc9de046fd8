from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from vqkit.errors import CheckpointError, DataError
from vqkit.storage.compressed_files import MAGIC, Directory, Part, check_models, open_compressed, write_compressed

SAID = Directory("p" * 64, "t" * 64, "1.0", "cpu", None, False)
PARTS = [Part(("a", "folder/b"), b"first part"), Part(("ü",), b"x" * 3000), Part(("c", "d"), b"")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "images.vqk"
    length = write_compressed(path, SAID, iter(PARTS))
    assert length == path.stat().st_size and [entry.name for entry in tmp_path.iterdir()] == ["images.vqk"]
    return path


def test_parts_and_names_come_back(file: Path) -> None:
    content = open_compressed(file)
    assert list(content.parts()) == PARTS
    said = content.directory
    assert (said.names, said.counts, said.sizes) == (("a", "folder/b", "ü", "c", "d"), (2, 1, 2), (10, 3000, 0))
    assert (said.prior, said.tokenizer, said.lossless, said.draw_steps) == (SAID.prior, SAID.tokenizer, False, None)


def test_the_layout_is_the_documented_one(file: Path) -> None:
    content = file.read_bytes()
    assert content[:10] == b"\x89VQKC\r\n\x1a\x01\x00" and content[:8] == MAGIC
    assert content[10:3020] == b"first part" + b"x" * 3000
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    size = int.from_bytes(content[-36:-32], "little")
    assert len(content) == 3020 + size + 36
    assert json.loads(zlib.decompress(content[3020:-36]))["names"] == ["a", "folder/b", "ü", "c", "d"]


def test_a_flipped_bit_anywhere_is_an_error(file: Path) -> None:
    whole = file.read_bytes()
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 1 << position % 8
        file.write_bytes(broken)
        with pytest.raises(DataError):
            open_compressed(file)


def test_a_cut_file_is_an_error(file: Path) -> None:
    whole = file.read_bytes()
    for length in [*range(60), *range(60, len(whole), 97), len(whole) - 1]:
        file.write_bytes(whole[:length])
        with pytest.raises(DataError):
            open_compressed(file)
    file.write_bytes(whole + b"\0")
    with pytest.raises(DataError, match="checksum does not match"):
        open_compressed(file)


def forge(path: Path, said: dict[str, Any] | bytes, parts: bytes = b"123456", size: int | None = None, version: int = 1) -> None:
    """A file with a right checksum and this directory."""
    packed = said if isinstance(said, bytes) else zlib.compress(json.dumps(said).encode())
    content = MAGIC + version.to_bytes(2, "little") + parts + packed
    content += (len(packed) if size is None else size).to_bytes(4, "little")
    path.write_bytes(content + hashlib.sha256(content).digest())


GOOD = {**asdict(SAID), "counts": [2], "sizes": [6], "names": ["a", "b"]}


def test_a_forged_file_with_right_numbers_can_be_opened(tmp_path: Path) -> None:
    forge(tmp_path / "x", GOOD)
    assert open_compressed(tmp_path / "x").directory.names == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": [2**60]}, "the parts of which its directory speaks are not the 6 bytes"),
        ({"sizes": [-1]}, "are not the 6 bytes"),
        ({"sizes": [5]}, "are not the 6 bytes"),
        ({"sizes": [3, 3]}, "are not the 6 bytes"),
        ({"counts": [10**9]}, "are not the 6 bytes"),
        ({"counts": [0]}, "are not the 6 bytes"),
        ({"draw_steps": 0}, "are not the 6 bytes"),
        ({"names": ["a"]}, "it has 1 names for 2 images"),
        ({"names": ["a", "../b"]}, r"names an image '../b'"),
        ({"names": ["a", "/b"]}, r"names an image '/b'"),
        ({"names": ["a", ""]}, r"names an image ''"),
        ({"names": ["a", "b\\..\\c"]}, "which leads out of its folder"),
        ({"names": ["a", 3]}, "values of a wrong type"),
        ({"counts": [True]}, "values of a wrong type"),
        ({"sizes": [6.0]}, "values of a wrong type"),
        ({"lossless": 1}, "values of a wrong type"),
        ({"device": "tpu"}, "values of a wrong type"),
        ({"prior": None}, "values of a wrong type"),
        ({"names": 3}, "its directory cannot be read"),
        ({"more": 3}, "its directory cannot be read"),
    ],
)
def test_forged_directories_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    forge(tmp_path / "x", {**GOOD, **changes})
    with pytest.raises(DataError, match=message):
        open_compressed(tmp_path / "x")


@pytest.mark.parametrize("said", [b"", b"no deflated text", zlib.compress(b"[]"), zlib.compress(b"{"), zlib.compress(b"{}") + b"x"])
def test_directories_that_are_none_are_refused(tmp_path: Path, said: bytes) -> None:
    forge(tmp_path / "x", said)
    with pytest.raises(DataError, match="its directory"):
        open_compressed(tmp_path / "x")


def test_a_directory_that_claims_to_be_huge_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge(tmp_path / "x", GOOD, size=2**32 - 1)
    with pytest.raises(DataError, match=r"its directory of 4294967295 bytes is longer than the file"):
        open_compressed(tmp_path / "x")
    monkeypatch.setattr("vqkit.storage.compressed_files._MOST_TEXT", 10_000)
    forge(tmp_path / "x", zlib.compress(b" " * 10**7))
    with pytest.raises(DataError, match="inflates without end"):
        open_compressed(tmp_path / "x")


def test_other_files_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no compressed file at"):
        open_compressed(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"\x89PNG\r\n\x1a\n" * 10)
    with pytest.raises(DataError, match="is no file of vqkit compress"):
        open_compressed(tmp_path / "x")
    forge(tmp_path / "x", GOOD, version=2)
    with pytest.raises(DataError, match="has version 2 of the format; this version of vqkit reads version 1"):
        open_compressed(tmp_path / "x")


def test_other_models_are_refused() -> None:
    check_models(SAID, "p" * 64, "t" * 64, Path("x"), Path("run"))
    with pytest.raises(CheckpointError, match="was compressed with the prior pppppppppppp, not with qqqqqqqqqqqq in run"):
        check_models(SAID, "q" * 64, "t" * 64, Path("x"), Path("run"))
    with pytest.raises(CheckpointError, match="was compressed with the tokenizer tttttttttttt, not with uuuuuuuuuuuu"):
        check_models(SAID, "p" * 64, "u" * 64, Path("x"), Path("run"))


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def failing() -> Any:
        yield PARTS[0]
        raise DataError("stop")

    with pytest.raises(DataError, match="stop"):
        write_compressed(tmp_path / "x", SAID, failing())
    assert list(tmp_path.iterdir()) == []
