"""What all commands have in common: help that the terminal wraps, and renamed options that are answered with the new name."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from vqkit.errors import ConfigError
from vqkit.renamed import OPTIONS

_ONE_PROCESS = ("app", "choose", "decode", "decompress", "export", "report", "reproduce", "score")
"""Commands that torchrun must not start several times: they would write the same files, or serve at the same address."""
_LIST_ITEM = re.compile(r"\s*([-*]|\d+\.)\s")


class Command(TyperCommand):
    """A command that answers an option which it had under another name with the new name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line. Raises `ConfigError` for an option that was renamed."""
        for word in args[: args.index("--")] if "--" in args else args:
            option = word.partition("=")[0]
            new = OPTIONS.get((str(self.name), option))
            if new is not None and all(option not in parameter.opts for parameter in self.params):
                raise ConfigError(f"The option {option} of vqkit {self.name} has another name now.", f"Use {new}.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises `ConfigError` for one that several processes would do over each other."""
        if self.name in _ONE_PROCESS and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(
                f"vqkit {self.name} works in one process, and torchrun started {os.environ['WORLD_SIZE']}.",
                f"Start it without torchrun: vqkit {self.name}",
            )
        return super().invoke(ctx)


def add_command(app: typer.Typer, name: str, function: Callable[..., Any], text: str | None = None) -> None:
    """Add a command under `name`. Its help is `text`, or else the function's docstring."""
    app.command(name, cls=Command, help=unwrapped(text or inspect.getdoc(function) or ""))(function)


def add_group(app: typer.Typer, name: str, group: typer.Typer) -> None:
    """Add a group of commands that were registered by decorators."""
    for command in group.registered_commands:
        assert command.callback is not None
        command.help = unwrapped(command.help or inspect.getdoc(command.callback) or "")
    app.add_typer(group, name=name)


def unwrapped(text: str) -> str:
    r"""A docstring without the line breaks inside its paragraphs, which the terminal makes where it needs them.

    Items of a list stay on lines of their own, as do the lines of a block that is indented or begins with \b.
    """
    return "\n\n".join(map(_paragraph, inspect.cleandoc(text).split("\n\n")))


def _paragraph(text: str) -> str:
    if text.startswith(("\b", " ")):
        return text
    lines: list[str] = []
    for line in text.splitlines():
        if lines and not _LIST_ITEM.match(line):
            lines[-1] = f"{lines[-1]} {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)
