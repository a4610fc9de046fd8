"""A command as a job: what goes on after an interruption, and how the command is asked to stop."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vqkit.core import launched
from vqkit.core.launched import LaunchedCommand, resumed

CHILD = """
import signal, sys, time
from pathlib import Path
def stop(*_):
    Path("saved").write_text(" ".join(sys.argv[1:]))
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
Path("begun").touch()
if sys.argv[1] == "wrong":
    sys.exit(2)
while sys.argv[1] != "short":
    time.sleep(0.01)
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train-vqvae --out x", "train-vqvae --out x --resume auto"),
        ("train-prior --resume never --out x", "train-prior --resume auto --out x"),
        ("train --resume=never --out x", "train --resume=auto --out x"),
        ("pretrain --resume runs/x", "pretrain --resume runs/x"),
        ("encode a --shard 1/2", "encode a --shard 1/2"),
    ],
)
def test_a_training_goes_on_and_anything_else_begins_again(words: str, expected: str) -> None:
    assert resumed(words.split()) == expected.split()


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launched, "program", lambda: [sys.executable, str(tmp_path / "child.py")])
    monkeypatch.setattr(launched, "process_variables", dict)


def test_before_it_is_ended_a_command_saves_and_is_submitted_again() -> None:
    command = LaunchedCommand(["train-vqvae", "--out", "runs/x"])
    codes: list[int] = []
    job = threading.Thread(target=lambda: codes.append(command()))
    job.start()
    while not Path("begun").exists():
        time.sleep(0.01)
    again = command.checkpoint()
    job.join()
    assert codes == [130] and Path("saved").read_text() == "train-vqvae --out runs/x"
    assert again.function.words == ("train-vqvae", "--out", "runs/x", "--resume", "auto")


def test_a_command_that_fails_fails_the_job() -> None:
    assert LaunchedCommand(["short"])() == 0
    with pytest.raises(subprocess.CalledProcessError, match=r"vqkit.*wrong"):
        LaunchedCommand(["wrong"])()
    assert LaunchedCommand(["short"]).checkpoint().function.words == ("short",)  # nothing runs
