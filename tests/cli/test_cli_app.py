"""The error boundary: what becomes of each kind of error at the command line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import vqkit
from vqkit.cli import app as cli
from vqkit.errors import DataError, Interrupted


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "VQKIT_DEBUG"} | {"NO_COLOR": "1"}
    command = [sys.executable, "-m", "vqkit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


class Ending:
    """How `main` ended when the command raised `error`."""

    def __init__(self, error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def fail(**_: object) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(SystemExit) as caught:
            cli.main()
        self.code = caught.value.code
        self.out, self.err = capsys.readouterr()


@pytest.fixture(autouse=True)
def _no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQKIT_DEBUG", raising=False)


def test_what_the_user_can_fix_is_a_sentence_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = Ending(DataError("The folder is empty.", "Put pictures in it."), monkeypatch, capsys)
    assert (ending.code, ending.out) == (2, "")
    assert ending.err == "Error: The folder is empty.\nHint: Put pictures in it.\n"


def test_without_a_hint_there_is_no_empty_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert Ending(DataError("The folder is empty."), monkeypatch, capsys).err == "Error: The folder is empty.\n"


def test_debugging_shows_the_traceback_as_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VQKIT_DEBUG", "1")
    ending = Ending(DataError("The folder is empty."), monkeypatch, capsys)
    assert ending.code == 2
    assert ending.err.startswith("Traceback (most recent call last)")
    assert ending.err.endswith("Error: The folder is empty.\n")


@pytest.mark.parametrize(
    ("number", "message", "hint"),
    [
        (
            errno.ENOSPC,
            "Cannot write or read runs/a: No space left on device.",
            "Free some space; what was saved before is intact.",
        ),
        (errno.EACCES, "Cannot write or read runs/a: Permission denied.", "Choose a place that you may write to."),
        (errno.EROFS, "Cannot write or read runs/a: Read-only file system.", "Choose a place that you may write to."),
        (errno.EEXIST, "Cannot write or read runs/a: File exists.", "A file has that name; choose another path."),
        (errno.ENOTDIR, "Cannot write or read runs/a: Not a directory.", "A part of that path is a file; choose another path."),
        (errno.ENOENT, "Cannot write or read runs/a: No such file or directory.", "Check the path."),
    ],
)
def test_disks_and_permissions_are_the_users_to_fix(
    number: int, message: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending = Ending(OSError(number, "whatever the library says", "runs/a"), monkeypatch, capsys)
    assert (ending.code, ending.err) == (2, f"Error: {message}\nHint: {hint}\n")


def test_a_full_disk_without_a_file_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending(OSError(errno.ENOSPC, "full"), monkeypatch, capsys)
    assert ending.err.startswith("Error: Cannot write or read a file: No space left on device.")


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
        ),
    ],
    ids=["gpu", "processor"],
)
def test_too_little_memory(error: RuntimeError, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending(error, monkeypatch, capsys)
    assert ending.code == 2
    assert ending.err == "Error: The device has too little memory for this.\nHint: Use a smaller --batch-size or a smaller model.\n"


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ending = Ending(Interrupted("Saved. Go on with: vqkit train-vqvae --resume runs/a"), monkeypatch, capsys)
    assert (ending.code, ending.err) == (130, "Saved. Go on with: vqkit train-vqvae --resume runs/a\n")


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug"), OSError(errno.EBADF, "no open file")])
def test_bugs_are_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(type(error)) as caught:
        cli.main()
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "code", "in_stderr", "not_in_stderr"),
    [
        ("vqkit.errors.DataError('The folder is empty.', 'Put pictures in it.')", 2, "Hint: Put pictures in it.", "Traceback"),
        ("ValueError('a bug')", 1, "ValueError: a bug", "Hint"),
        ("KeyboardInterrupt()", 130, "", "Traceback"),
        ("OSError(28, 'full', 'runs/a')", 2, "runs/a: No space left on device.", "Traceback"),
    ],
)
def test_exit_codes_of_a_whole_process(error: str, code: int, in_stderr: str, not_in_stderr: str) -> None:
    program = f"""
import vqkit.errors
from vqkit.cli import app as cli
@cli.app.command("fail")
def fail() -> None:
    raise {error}
cli.main()
"""
    environment = {name: value for name, value in os.environ.items() if name != "VQKIT_DEBUG"}
    done = subprocess.run(
        [sys.executable, "-c", program, "fail"], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    assert in_stderr in done.stderr
    assert not_in_stderr not in done.stderr


def test_sigterm_before_a_training_removes_what_is_not_finished(tmp_path: Path) -> None:
    program = f"""
import os, signal, time
from pathlib import Path
from vqkit.cli import app as cli
from vqkit.core.atomic import write_atomically
@cli.app.command("slow")
def slow() -> None:
    with write_atomically(Path({str(tmp_path / "a.txt")!r})) as temporary:
        temporary.touch()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program, "slow"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("Stopped by SIGTERM.") and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_met_by_a_thread_is_left_to_the_main_thread(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back after the test
    Ending(DataError("x"), monkeypatch, capsys)

    def fail(error: Exception) -> None:
        raise error

    for error in (OSError(errno.ENOSPC, "No space left on device"), RuntimeError("a bug")):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
    printed = capsys.readouterr().err
    assert "RuntimeError: a bug" in printed and "space" not in printed


def test_the_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"vqkit {vqkit.__version__}\n")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands(flag: str) -> None:
    done = run(flag)
    assert done.returncode == 0
    for command in ("train-vqvae", "inpaint", "encode", "decode", "codebook-stats", "evaluate", "choose", "data", "models"):
        assert f" {command} " in done.stdout


def test_a_wrong_command_is_the_users_to_fix() -> None:
    done = run("trian")
    assert done.returncode == 2
    assert "No such command 'trian'" in done.stderr
    assert "Traceback" not in done.stderr


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the command line in this process, where torch is loaded already."""
    monkeypatch.setattr(sys, "argv", ["vqkit", *arguments])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # `main` replaces it
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_a_wrong_setting_is_the_users_to_fix(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "train-vqvae", "--set", "training.sed=1") == 2
    message, hint = capsys.readouterr().err.splitlines()
    assert message == "Error: The configuration has no setting 'training.sed'."
    assert hint.startswith("Hint: Did you mean 'training.seed'?")


def test_a_warning_is_a_note_without_our_files(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def note(**_: object) -> None:
        warnings.warn("The run is short.", stacklevel=1)
        warnings.warn("The run is short.", stacklevel=2)  # said already
        warnings.warn("not for users", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(cli, "app", note)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.main()
    assert capsys.readouterr().err == "Note: The run is short.\n"


def test_models_as_json_is_one_object_and_nothing_else(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "models", "--json") == 0
    out, err = capsys.readouterr()
    listing = json.loads(out)
    assert "vqvae" in listing["models"]
    assert "ema" in listing["quantizers"]
    assert "tyre" in listing["data sets"]
    assert {"pixelcnn", "transformer"} <= set(listing["priors"])
    assert err == ""


def test_the_settings_of_a_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "models", "tyre", "--json") == 0
    described = json.loads(capsys.readouterr().out)
    assert (described["kind"], described["name"]) == ("data set", "tyre")
    assert described["settings"]["num_val"]["meaning"]
    assert called(monkeypatch, "models", "vqvae") == 0
    assert "quantizer" in capsys.readouterr().out
    assert called(monkeypatch, "models", "vqva") == 2
    assert "Nothing is registered as 'vqva'.\nHint: Did you mean 'vqvae'?" in capsys.readouterr().err


def test_models_as_a_table_has_a_line_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "models") == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines() if " vqvae " in line] == [["model", "vqvae"]]


@pytest.mark.parametrize("command", [["decode", "x.safetensors"], ["score", "x"], ["export"]])
def test_several_processes_do_not_do_one_thing_over_each_other(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(sys, "argv", ["vqkit", *command])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert f"process 1: Error: vqkit {command[0]} works in one process, and torchrun started 2" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-5", "wide", "9" * 20, "", "\u0665"])
def test_an_impossible_size_of_the_terminal_is_ignored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.setenv(name, size)
    monkeypatch.setattr(sys, "argv", ["vqkit", "models"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "vqvae" in capsys.readouterr().out


def test_a_size_of_the_terminal_that_can_be_is_kept(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "61")
    Ending(DataError("x"), monkeypatch, capsys)
    assert os.environ["COLUMNS"] == "61"
