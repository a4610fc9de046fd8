"""A run directory is one process's: claimed at once, named in the refusal, and free when its process is dead."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vqkit
from vqkit.errors import ConfigError
from vqkit.storage.claims import LOCK_FILE, claimed, claimed_fresh, is_unused

_OWNER = """
import os, sys, time
from pathlib import Path
from vqkit.storage.claims import claimed
with claimed(Path(sys.argv[1])):
    if os.fork() == 0:  # like a process that loads data, it inherits the open file
        os.close(1)
        time.sleep(20)
        os._exit(0)
    print("claimed", flush=True)
    time.sleep(30)
"""
_FRESH = """
import sys, time
from pathlib import Path
from vqkit.storage.claims import claimed_fresh
while not Path(sys.argv[2]).exists():
    pass
with claimed_fresh("vqvae", "tyre", Path(sys.argv[1])) as directory:
    (directory / "mine.txt").write_text("x")
    print(directory.name, flush=True)
    sys.stdin.read()
"""


def start(script: str, *arguments: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(vqkit.__file__).parents[1])}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@contextmanager
def owner_of(run: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(_OWNER, run)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_owner_is_named_until_it_is_dead(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with owner_of(run) as owner:
        with pytest.raises(ConfigError, match=f"process {owner.pid} on '{socket.gethostname()}'"), claimed(run):
            pass
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert (run / LOCK_FILE).read_text(), "nothing was tidied up"
        with claimed(run):  # although a process that it started lives
            assert str(os.getpid()) in (run / LOCK_FILE).read_text()
    assert (run / LOCK_FILE).read_text() == "", "no name of a machine stays in a run"


def test_without_locks_of_the_system_the_owner_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.storage.claims._CAN_LOCK", False)
    run = tmp_path / "run"
    with owner_of(run) as owner:
        with pytest.raises(ConfigError, match=f"process {owner.pid} on"), claimed(run):
            pass
        owner.kill()
        owner.wait()
        with claimed(run):
            assert str(os.getpid()) in (run / LOCK_FILE).read_text()


def test_a_second_claim_of_this_process_is_refused_and_harmless(tmp_path: Path) -> None:
    refused: list[ConfigError] = []

    def claim_again() -> None:
        try:
            with claimed(tmp_path):
                pass
        except ConfigError as error:
            refused.append(error)

    with claimed(tmp_path):
        thread = threading.Thread(target=claim_again)
        thread.start()
        thread.join()
        assert len(refused) == 1
        process = start(_OWNER, tmp_path)
        printed, _ = process.communicate(timeout=30)
        assert process.returncode == 1 and not printed, "the lock is still held"


def test_two_at_once_get_two_directories(tmp_path: Path) -> None:
    processes = [start(_FRESH, tmp_path / "runs", tmp_path / "go") for _ in range(3)]
    (tmp_path / "go").touch()
    names = [process.stdout.readline().strip() for process in processes if process.stdout]
    for process in processes:
        process.communicate()
    assert sorted(names) == ["vqvae-tyre-001", "vqvae-tyre-002", "vqvae-tyre-003"]


def test_a_directory_without_use_is_removed_and_others_stay(tmp_path: Path) -> None:
    with pytest.raises(KeyError), claimed_fresh("vqvae", "tyre", tmp_path / "runs"):
        raise KeyError
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        with claimed(tmp_path / name):
            assert is_unused(tmp_path / name)
    assert (tmp_path / "empty").is_dir(), "it was there before"
    assert not (tmp_path / "new").exists()
    with claimed(tmp_path / "new") as run:
        (run / "run.yaml").touch()
    assert not is_unused(tmp_path / "new")


def test_no_lock_stays_in_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.png").touch()
    with pytest.raises(KeyError), claimed(tmp_path / "photographs"):
        raise KeyError
    assert [path.name for path in (tmp_path / "photographs").iterdir()] == ["a.png"]


def test_a_damaged_lock_file_is_no_obstacle(tmp_path: Path) -> None:
    for content in (b"", b"\xff\x00", b"[1]", b'{"pid": "x"}', b"[" * 100_000):
        (tmp_path / LOCK_FILE).write_bytes(content)
        with claimed(tmp_path):
            pass


def test_a_link_as_lock_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("words")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).symlink_to(tmp_path / "precious.txt")
    with pytest.raises(OSError, match="symbolic links"), claimed(tmp_path / "run"):
        pass
    assert (tmp_path / "precious.txt").read_text() == "words"
