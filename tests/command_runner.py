"""A runner of commands for tests, the same with every version of click."""

from __future__ import annotations

import inspect

from typer.testing import CliRunner


def command_runner() -> CliRunner:
    """A runner that keeps what is printed to stdout and stderr separate: before click 8.2, it has to be asked to."""
    separate = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**separate)
