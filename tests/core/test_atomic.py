"""Files are whole or absent, one by one and as batches."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vqkit.core import atomic
from vqkit.core.atomic import WriteBatch, directory_atomically, write_atomically, write_text
from vqkit.errors import ConfigError


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_files_of_a_batch_appear_together(tmp_path: Path) -> None:
    batch = WriteBatch()
    with batch.collect():
        for number in range(3):
            write_text(tmp_path / str(number) / "x.txt", f"{number}")
        assert not any(name.endswith("x.txt") and not name.startswith(".") for name in files(tmp_path))
    write_text(tmp_path / "apart.txt", "at once")
    assert (tmp_path / "apart.txt").is_file() and not (tmp_path / "0" / "x.txt").exists()
    batch.commit()
    assert [(tmp_path / str(number) / "x.txt").read_text() for number in range(3)] == ["0", "1", "2"]
    assert files(tmp_path) == {"x.txt", "apart.txt"}


def test_threads_collect_into_the_batch_that_they_are_given(tmp_path: Path) -> None:
    batches = [WriteBatch(), WriteBatch()]

    def write(number: int) -> None:
        with batches[number % 2].collect():
            write_text(tmp_path / f"{number}.txt", str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(20)))
    batches[1].commit()
    assert {name for name in files(tmp_path) if not name.startswith(".")} == {f"{number}.txt" for number in range(1, 20, 2)}
    batches[0].discard()
    assert len(files(tmp_path)) == 10


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("before")
    batch = WriteBatch()

    def write() -> None:
        with write_atomically(tmp_path / "x.txt") as temporary:
            temporary.write_text("half")
            raise OSError("full")

    with batch.collect(), pytest.raises(OSError, match="full"):
        write()
    with pytest.raises(OSError, match="full"):
        write()
    batch.commit()
    assert files(tmp_path) == {"x.txt"} and (tmp_path / "x.txt").read_text() == "before"


def test_everything_is_flushed_before_anything_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever call of the system does it: once for a batch where there is one for a whole file system, else for each file."""
    flushed: list[str] = []
    monkeypatch.setattr(atomic, "flush", lambda path: flushed.append(path.name))
    for fast in (True, False):
        flushed.clear()
        if not fast:
            monkeypatch.setattr(sys, "platform", "darwin")
        batch = WriteBatch()
        with batch.collect():
            for number in range(3):
                write_text(tmp_path / f"{number}.txt", "x")
        batch.commit()
        temporary = [name for name in flushed if "partial" in name]
        assert len(temporary) == (0 if fast and sys.platform == "linux" else 3)
        assert flushed[-1] == tmp_path.name, "the names are flushed at last"


_KILLED = """
import os, signal, sys
from pathlib import Path
from vqkit.core.atomic import WriteBatch, write_text
batch = WriteBatch()
with batch.collect():
    for number in range(50):
        write_text(Path(sys.argv[1]) / f"{number}.txt", "x" * 10000)
        if number == 30:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(atomic.__file__).parents[2])}
    process = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], env=environment, check=False)
    assert process.returncode == -signal.SIGKILL
    assert all(name.startswith(".") for name in files(tmp_path)) and len(files(tmp_path)) == 31


def test_a_batch_makes_its_folders(tmp_path: Path) -> None:
    batch = WriteBatch()
    with batch.collect():
        for name in ("a/b/1.txt", "a/b/2.txt", "a/3.txt"):
            write_text(tmp_path / name, name)
    batch.commit()
    assert sorted(path.name for path in tmp_path.rglob("*.txt")) == ["1.txt", "2.txt", "3.txt"]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["named pipe", "socket", "device", "directory"])
def test_only_regular_files_are_replaced(tmp_path: Path, kind: str, linked: bool) -> None:
    target = {"device": Path(os.devnull)}.get(kind, tmp_path / "special")
    if kind == "named pipe":
        os.mkfifo(target)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(target))
    elif kind == "directory":
        target.mkdir()
    named = tmp_path / "link" if linked else target
    if linked:
        named.symlink_to(target)
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=f"is a {kind}") as error:
        _refuse_to_yield(named)
    assert "another name" in error.value.hint
    assert files(tmp_path) == before and not target.is_file() and named.is_symlink() == linked


def _refuse_to_yield(path: Path) -> None:
    with write_atomically(path):
        raise AssertionError("the writer was asked to write")


def test_a_link_without_a_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").read_text() == "x" and not (tmp_path / "nothing").exists()


def test_a_directory_replaces_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a named pipe"), directory_atomically(tmp_path / "pipe"):
        raise AssertionError("the writer was asked to write")
