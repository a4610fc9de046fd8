"""Write docs/cli.md from the command line itself, so that it cannot say anything else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from generated_page import table, write_or_check
from vqkit.cli.app import app

HEAD = """# Command line

Written from the commands themselves by `scripts/cli_reference.py`.

`RUN` is a run directory, a checkpoint directory or a `model.safetensors`; without it the newest fitting run is used. Long work
shows a progress bar; piped output is plain lines; with `--json`, stdout holds one JSON object and nothing else.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 2 | something you can fix: one sentence says what, one hint says how; `VQKIT_DEBUG=1` adds the traceback |
| 1 | a bug of vqkit; of `vqkit doctor`, a check that failed |
| 130 | interrupted; a training run has saved a checkpoint and says how to go on |
"""


class Parameter(NamedTuple):
    """One parameter of a command, as its function declares it."""

    name: str
    annotation: Any
    info: OptionInfo | ArgumentInfo
    default: Any

    @property
    def is_argument(self) -> bool:
        """Whether it is given by its place and not by a name."""
        return isinstance(self.info, ArgumentInfo)

    @property
    def many(self) -> bool:
        """Whether it may be given several times."""
        return any(get_origin(each) in (list, tuple) for each in (self.annotation, *get_args(self.annotation)))

    @property
    def kind(self) -> type:
        """The type of one value."""
        annotation = self.annotation
        while get_args(annotation):
            annotation = next(each for each in get_args(annotation) if each is not NoneType)
        assert isinstance(annotation, type)
        return annotation

    @property
    def metavar(self) -> str:
        """What stands for the value in a usage line; nothing for a flag."""
        if self.is_argument:
            return (self.info.metavar or self.name.upper()).strip("[]")
        if self.kind is bool:
            return ""
        return self.info.metavar or {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(self.kind, "VALUE")


def commands(application: typer.Typer, words: tuple[str, ...] = ("vqkit",)) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every command by its full name, in the order of the help, and the function behind it."""
    for command in application.registered_commands:
        assert command.callback is not None
        yield " ".join([*words, command.name or command.callback.__name__.replace("_", "-")]), command.callback
    for group in application.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, (*words, str(group.name)))


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a command in order, without its context. Each must be `Annotated` with its help."""
    hints = get_type_hints(function, include_extras=True)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if hints[name] is typer.Context:
            continue
        annotation, *extras = get_args(hints[name])
        info = next(extra for extra in extras if isinstance(extra, (OptionInfo, ArgumentInfo)))
        assert info.help, f"{function.__name__} has no help for {name}"
        if not info.hidden:
            found.append(Parameter(name, annotation, info, parameter.default))
    return found


def spellings_of(option: Parameter) -> list[str]:
    """The ways to write an option: those declared, else the one that Typer makes of its name."""
    declared = option.info.default  # where Typer keeps the first one of an `Annotated` option
    if isinstance(declared, str):
        return [declared, *(option.info.param_decls or ())]
    long = f"--{option.name.replace('_', '-')}"
    return [f"{long}/--no-{long[2:]}"] if option.kind is bool else [long]


def option_row(option: Parameter) -> tuple[str, ...]:
    """An option's spellings, what it is for, and its default."""
    spellings = spellings_of(option)
    spelled = ", ".join(f"`{spelling} {option.metavar}`" if option.metavar else f"`{spelling}`" for spelling in spellings)
    default = option.default.value if isinstance(option.default, Enum) else option.default
    shown = "" if default in (None, False, inspect.Parameter.empty) else f"`{default}`"
    return spelled, option.info.help or "", "required" if option.default is inspect.Parameter.empty else shown


def section(name: str, function: Callable[..., Any]) -> str:
    """A command's own chapter: usage, what it does, arguments, options."""
    every = parameters(function)
    arguments = [each for each in every if each.is_argument]
    options = [each for each in every if not each.is_argument]
    words = [f"{each.metavar}..." if each.many else each.metavar for each in arguments]
    usage = [word if each.default is inspect.Parameter.empty else f"[{word}]" for word, each in zip(words, arguments, strict=True)]
    description = paragraphs(inspect.getdoc(function) or "")
    parts = [f"## {name}\n", f"```\n{' '.join([name, *usage, '[OPTIONS]'])}\n```\n", f"{description}\n"]
    if arguments:
        parts.append(table(("argument", "meaning"), [(f"`{each.metavar}`", each.info.help or "") for each in arguments]))
    if options:
        parts.append(table(("option", "meaning", "default"), [option_row(each) for each in options]))
    return "\n".join(parts)


def paragraphs(text: str) -> str:
    """A docstring's paragraphs, each on one line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.replace("\b", "").split("\n\n"))


if __name__ == "__main__":
    chapters: list[str] = []
    names: dict[Callable[..., Any], str] = {}
    for name, function in commands(app):
        first = names.setdefault(function, name)
        chapters.append(
            section(name, function) if first == name else f"## {name}\n\nThe same command as `{first}`, with its options.\n"
        )
    write_or_check("docs/cli.md", "\n".join([HEAD, *chapters]), __doc__)
