"""Errors of writes name the file that was to be written, with a number."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from vqkit.core.atomic import directory_atomically, write_atomically
from vqkit.core.write_errors import errors_name


@pytest.mark.parametrize("number", [None, errno.ENOSPC])
def test_an_error_without_a_path_gets_it(tmp_path: Path, number: int | None) -> None:
    failure = OSError("12 requested and 3 written") if number is None else OSError(number, "No space left on device")
    with pytest.raises(OSError, match=r"requested|space") as error, write_atomically(tmp_path / "result.npy") as temporary:
        temporary.touch()
        raise failure
    assert error.value.filename == str(tmp_path / "result.npy")
    assert error.value.errno == (number or errno.EIO)
    assert not list(tmp_path.iterdir())


def test_a_temporary_path_is_named_as_what_it_would_be(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, write_atomically(tmp_path / "a.txt"):
        pass  # nothing was written
    assert error.value.filename == str(tmp_path / "a.txt")
    with pytest.raises(OSError, match="space") as error, directory_atomically(tmp_path / "step-1") as folder:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "model.safetensors"))
    assert error.value.filename == str(tmp_path / "step-1" / "model.safetensors")


def test_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error, write_atomically(tmp_path / "a.txt") as temporary:
        temporary.write_bytes((tmp_path / "input.png").read_bytes())
    assert error.value.filename == str(tmp_path / "input.png")


def test_a_full_disk_is_known_by_its_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="encoder error") as error, errors_name(tmp_path / "missing" / "a.png"):
        raise OSError("encoder error -2 when writing image file")
    assert error.value.errno == errno.ENOSPC
