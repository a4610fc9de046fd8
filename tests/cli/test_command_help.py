"""What `--help` of every command shows, and what becomes of options that were renamed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from vqkit.cli.app import app
from vqkit.cli.commands import unwrapped
from vqkit.errors import ConfigError
from vqkit.renamed import OPTIONS

WIDTH = 100


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*words, name))


EVERY_COMMAND = list(commands(typer.main.get_command(app)))


def description(words: tuple[str, ...], width: int) -> list[str]:
    """The lines between the usage and the first panel, as a terminal of that width shows them."""
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"})
    assert shown.exit_code == 0, shown.output
    lines = [line.strip() for line in shown.output.splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("Usage:"))
    end = next(index for index, line in enumerate(lines) if line.startswith(("╭", "+-")))
    return lines[start + 1 : end]


def hard_breaks(lines: list[str], width: int) -> list[str]:
    """Lines that end before the next word was too long for them."""
    return [
        line
        for line, following in pairwise(lines)
        if line and following and len(line) + 1 + len(following.split()[0]) <= width - 2 and not re.match(r"[-*]|\d+\.", following)
    ]


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_the_terminal_alone_breaks_lines(words: tuple[str, ...]) -> None:
    lines = description(words, WIDTH)
    assert any(lines)
    assert hard_breaks(lines, WIDTH) == []


def test_the_probe_sees_a_hard_break() -> None:
    assert hard_breaks(["a line that", "goes on"], WIDTH) == ["a line that"]


def test_paragraphs_are_joined_and_lists_and_code_are_kept() -> None:
    text = "One\n    line.\n\n    Two\n    lines:\n    - an item\n      of two\n    - another\n\n        code a\n        code b\n"
    assert unwrapped(text) == "One line.\n\nTwo lines:\n- an item of two\n- another\n\n    code a\n    code b"
    assert unwrapped("\b\na\nb") == "\b\na\nb"


def test_train_is_train_vqvae_by_another_name() -> None:
    listed = [command.name for command in app.registered_commands]
    assert listed[:2] == ["train-vqvae", "train"]
    assert app.registered_commands[0].callback is app.registered_commands[1].callback
    for name, other in (("train-vqvae", "train"), ("train", "train-vqvae")):
        assert f"`{other}`" in " ".join(description((name,), WIDTH)) or other in " ".join(description((name,), WIDTH))


@pytest.mark.parametrize("command", ["train-vqvae", "train", "train-prior", "pretrain"])
def test_the_options_of_training_stand_in_panels(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100", "NO_COLOR": "1"}).output
    titles = re.findall(r"^╭─ (.+?) ─", shown, flags=re.MULTILINE)
    assert titles[0] == "Options"
    assert titles[1:] == [title for title in ("Model and data", "Masking", "Training", "Output", "Runtime") if title in titles]
    assert len(re.findall(r"^│ --", shown.split("╭─ Model")[0], flags=re.MULTILINE)) == 1  # --help


@pytest.mark.parametrize(("command", "old"), OPTIONS)
@pytest.mark.parametrize("form", ["{} value", "{}=value"])
def test_a_renamed_option_is_refused_with_its_new_name(command: str, old: str, form: str) -> None:
    new = OPTIONS[command, old].split()[0]
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    spelled = {spelling for parameter in parameters for spelling in parameter.opts}
    assert new in spelled
    assert old not in spelled
    refused = CliRunner().invoke(app, [command, *form.format(old).split()]).exception
    assert isinstance(refused, ConfigError)
    assert refused.message == f"The option {old} of vqkit {command} has another name now."
    assert refused.hint == f"Use {OPTIONS[command, old]}."
