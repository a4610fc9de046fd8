"""Errors a user can fix, and the wording that helps to fix them.

Every error that vqkit raises on purpose is a `VQKitError`: one sentence that says what was given and what was expected,
and one hint that says what to do. The command line prints both and leaves with exit code 2. Anything else is a bug of ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LONGEST_REASON = 200


class VQKitError(Exception):
    """Something the user can fix.

    `message` is one sentence naming what was given and what was expected; `hint` is the next thing to try.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(VQKitError):
    """A setting, an option or a combination of them that cannot work."""


class SizeError(ConfigError):
    """Images whose height or width a model cannot divide; those that fit are multiples of `multiple`."""

    def __init__(self, message: str, hint: str, multiple: int) -> None:
        super().__init__(message, hint)
        self.multiple = multiple


class RegistryError(VQKitError):
    """A name that is not registered, or registered twice, or a part that cannot be used."""


class CheckpointError(VQKitError):
    """A run or a checkpoint that is missing, broken, or of another kind."""


class DataError(VQKitError):
    """Pictures, arrays or tables that cannot be read or do not fit."""


class TrainingError(VQKitError):
    """A training run that cannot continue, such as one whose gradients are no longer finite."""


class Interrupted(Exception):  # noqa: N818 - not an error
    """The program was stopped by a signal after saving its progress. Exit code 130."""


def reason_of(said: str) -> str:
    """What an error of another library says, as a part of a sentence: its last line, cut where it is long."""
    last = (said.strip().splitlines() or [""])[-1].lstrip().rstrip(" .:") or "no reason given"
    return last if len(last) <= _LONGEST_REASON else f"{last[:_LONGEST_REASON]} ..."


def did_you_mean(name: str, options: Iterable[str], known_as: str = "Known:") -> str:
    """A hint for a wrong name: the closest right one, if any is close, and the whole list after `known_as`."""
    known = sorted(options, key=lambda option: re.sub(r"\d+", lambda digits: digits[0].zfill(9), option))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"Did you mean '{close[0]}'? " if close else ""
    return f"{guess}{known_as} {', '.join(known) or 'none'}."
