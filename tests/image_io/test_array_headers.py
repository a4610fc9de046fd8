"""Headers of arrays are compared with their file before anything is allocated, whatever they state."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqkit.errors import DataError
from vqkit.image_io.array_headers import check_archive, check_array_file
from vqkit.image_io.arrays import read_arrays
from vqkit.image_io.rasters import open_raster

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 5), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999999, 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2.0, 3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (float('nan'), 3), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': 24, }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': None, }",
    "{'descr': '|u1', 'fortran_order': 3, 'shape': (2, 3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3, 4), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3, 4), }",
    "{'descr': '|S999999999', 'fortran_order': False, 'shape': (2, 3, 4), }",
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 3, 4), }",
    "{'descr': [('a', '|u1', (99999, 99999))], 'fortran_order': False, 'shape': (2, 3, 4), }",
    "{'descr': 7, 'fortran_order': False, 'shape': (2, 3, 4), }",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), ",
    "{'descr': '|u1, 'fortran_order': False, 'shape': (2, 3, 4), }",
    "[1, 2, 3]",
    "" + "(" * 400,
    "" + "-" * 4000 + "1",
    "1e999999",
    "\0" * 40,
    "'''",
]


def array_file(header: str, version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1").ljust(118 if len(header) < 118 else len(header) + 10) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + VALUES.tobytes()


def archive(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.npy", content)


def write_plain(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def refused(call: Callable[[Path], Any], path: Path) -> None:
    with pytest.raises(DataError) as error:
        call(path)
    assert str(path) in error.value.message and error.value.hint


@pytest.mark.parametrize(("suffix", "write"), [(".npy", write_plain), (".npz", archive)])
def test_true_headers_are_read(tmp_path: Path, suffix: str, write: Callable[[Path, bytes], None]) -> None:
    path = tmp_path / f"train{suffix}"
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }"
    for version in (b"\x01\x00", b"\x02\x00"):
        write(path, array_file(header, version))
        assert np.array_equal(read_arrays(path)[0]["train"], VALUES)
        stated = check_array_file(path) if suffix == ".npy" else check_archive(path)["train"]
        assert (stated.shape, stated.dtype, stated.nbytes) == ((2, 3, 4), np.uint8, 24)


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
@pytest.mark.parametrize(("suffix", "write"), [(".npy", write_plain), (".npz", archive)])
def test_false_headers_are_refused(tmp_path: Path, suffix: str, write: Callable[[Path, bytes], None], header: str) -> None:
    path = tmp_path / f"train{suffix}"
    write(path, array_file(header))
    refused(read_arrays, path)
    refused(open_raster, path)


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x00\x00", b"\xff\xff"])
def test_other_versions_are_refused(tmp_path: Path, version: bytes) -> None:
    path = tmp_path / "train.npy"
    path.write_bytes(array_file("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3, 4), }", version))
    refused(read_arrays, path)


def test_an_archive_cannot_state_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    content = io.BytesIO()
    np.savez_compressed(content, train=np.zeros(2**12, np.uint8))
    stated = bytearray(content.getvalue())
    member = zipfile.ZipFile(content).infolist()[0]
    start = stated.rindex(member.file_size.to_bytes(4, "little"))
    stated[start : start + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(stated)
    refused(read_arrays, path)


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train.txt", "nothing")
    refused(read_arrays, path)


def test_damaged_deflated_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    np.savez_compressed(path, train=(np.arange(4096) ** 2 % 251).astype(np.uint8).reshape(64, 8, 8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff" * 40
    path.write_bytes(content)
    refused(read_arrays, path)
