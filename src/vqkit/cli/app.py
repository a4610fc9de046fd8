"""The `vqkit` command: its sub-commands and the one place where errors become messages and exit codes.

0: done. 2: something the user can fix. 1: a bug of ours. 130: interrupted.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Annotated, TextIO

import typer

from vqkit.cli.choose import choose
from vqkit.cli.codebook_stats import codebook_stats
from vqkit.cli.commands import add_command, add_group
from vqkit.cli.compress import compress
from vqkit.cli.config import config_app
from vqkit.cli.data import data_app
from vqkit.cli.decode import decode
from vqkit.cli.decompress import decompress
from vqkit.cli.doctor import doctor
from vqkit.cli.encode import encode
from vqkit.cli.evaluate import evaluate
from vqkit.cli.export import export
from vqkit.cli.inpaint import inpaint
from vqkit.cli.launch import launch_app
from vqkit.cli.models import models
from vqkit.cli.pretrain import pretrain
from vqkit.cli.report import report
from vqkit.cli.reproduce import reproduce
from vqkit.cli.sample import sample
from vqkit.cli.score import score
from vqkit.cli.serve_page import app_page
from vqkit.cli.train import train_vqvae
from vqkit.cli.train_prior import train_prior
from vqkit.errors import Interrupted, VQKitError

app = typer.Typer(
    name="vqkit",
    help="Train, inspect and use vector-quantised image models that fill in what is missing.",
    no_args_is_help=True,
    rich_markup_mode="rich",  # typer before 0.20.1 joins the paragraphs of its help unless this is given
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
add_command(app, "train-vqvae", train_vqvae)
add_command(app, "train", train_vqvae, "Train any model: the same command as `train-vqvae`, under a name that fits every model.")
for command in (
    train_prior,
    pretrain,
    sample,
    inpaint,
    score,
    evaluate,
    choose,
    reproduce,
    report,
    codebook_stats,
    encode,
    decode,
    compress,
    decompress,
    export,
    models,
    doctor,
):
    add_command(app, command.__name__.replace("_", "-"), command)
add_command(app, "app", app_page)
add_group(app, "data", data_app)
add_group(app, "config", config_app)
add_group(app, "launch", launch_app)


def _version(requested: bool) -> None:
    if requested:
        from vqkit import __version__

        typer.echo(f"vqkit {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; the entry point of `vqkit` and `python -m vqkit`."""
    _said.clear()
    warnings.showwarning = _show_warning
    threading.excepthook = _in_thread
    signal.signal(signal.SIGTERM, _terminate)
    _drop_impossible_size()
    try:
        app(prog_name="vqkit")
    except VQKitError as error:
        _fail(error.message, error.hint)
    except Interrupted as interruption:
        if str(interruption):  # only rank 0 has a message
            typer.echo(str(interruption), err=True)
        sys.exit(130)
    except OSError as error:
        if error.errno not in _FIXABLE:
            raise
        place = f" {error.filename}" if error.filename else " a file"
        _fail(f"Cannot write or read{place}: {os.strerror(error.errno)}.", _FIXABLE[error.errno])
    except ValueError as error:
        if "embedded null" not in str(error):  # what Python says of every path that holds NUL
            raise
        _fail(
            "A path holds a NUL character, which no name of a file has.",
            "Look for it in the settings, the pointers and the tables.",
        )
    except RuntimeError as error:
        # Named here and not imported, because that would load torch; on the processor it has no type of its own.
        if type(error).__name__ != "OutOfMemoryError" and "can't allocate memory" not in str(error):
            raise
        _fail("The device has too little memory for this.", "Use a smaller --batch-size or a smaller model.")


def _drop_impossible_size() -> None:
    """Some terminals and job systems set COLUMNS or LINES to 0 or to nonsense, which would leave nothing of what is printed."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "80")
        if not (value.isascii() and value.isdigit() and len(value) < 6 and int(value) > 0):
            del os.environ[name]


def _terminate(number: int, frame: FrameType | None) -> None:
    """On SIGTERM, leave through all `finally`, so that unfinished files are removed. A training has a handler of its own."""
    typer.echo("Stopped by SIGTERM. Files that were not finished are removed; run the same command again.", err=True)
    sys.exit(130)


def _in_thread(failed: threading.ExceptHookArgs) -> None:
    """What a thread raised: a full disk and the like say nothing there, because the main thread meets them as well."""
    if not (isinstance(failed.exc_value, OSError) and failed.exc_value.errno in _FIXABLE):
        threading.__excepthook__(failed)


_FIXABLE = {
    errno.ENOSPC: "Free some space; what was saved before is intact.",
    errno.EDQUOT: "Free some space; what was saved before is intact.",
    errno.EACCES: "Choose a place that you may write to.",
    errno.EPERM: "Choose a place that you may write to.",
    errno.EROFS: "Choose a place that you may write to.",
    errno.EEXIST: "A file has that name; choose another path.",
    errno.ENOTDIR: "A part of that path is a file; choose another path.",
    errno.EISDIR: "That path is a directory where a file is expected.",
    errno.ENOENT: "Check the path.",
    errno.ENAMETOOLONG: "That name is longer than file systems allow; shorten it.",
    errno.ELOOP: "That path leads through links that lead back to it.",
    errno.EIO: "The disk or the file system has a fault; choose another place.",
    errno.EFBIG: "The file system holds no files of this size; choose another place.",
}


_said: set[str] = set()
"""Notes that this command has shown: opening the same data twice is no news."""


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
) -> None:
    """A warning is for the user: its sentence, without a file and a line of ours."""
    del filename, lineno, file, line
    if issubclass(category, UserWarning) and str(message) not in _said:
        _said.add(str(message))
        typer.secho(f"Note: {message}", fg="yellow", err=True)


def _process() -> str:
    """Which of several processes speaks; nothing for the first one, and for a single one."""
    return f"process {os.environ['RANK']}: " if os.environ.get("RANK", "0") != "0" else ""


def _fail(message: str, hint: str) -> None:
    """Print one sentence and one hint, and leave with 2 (with the traceback as well if VQKIT_DEBUG is set)."""
    if os.environ.get("VQKIT_DEBUG"):
        import traceback

        traceback.print_exc()
    typer.secho(f"{_process()}Error: {message}", fg="red", err=True)
    if hint:
        typer.secho(f"Hint: {hint}", err=True)
    sys.exit(2)
