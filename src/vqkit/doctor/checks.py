"""Checks and how they are run: an exception inside a check is reported as its failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from vqkit.errors import VQKitError

Status = Literal["ok", "warning", "failed", "skipped"]


class Outcome(NamedTuple):
    """What the function of a check returns: a status, and a message of one line."""

    status: Status
    message: str


class Check(NamedTuple):
    """A named check of the machine or of a run. When a required check fails, those after it are skipped."""

    name: str
    function: Callable[[], Outcome]
    required: bool = False


class CheckResult(NamedTuple):
    """The outcome of a check that was run, and its duration in seconds."""

    name: str
    status: Status
    message: str
    seconds: float


def ok(message: str) -> Outcome:
    """The check passed."""
    return Outcome("ok", message)


def warning(message: str) -> Outcome:
    """The check passed, but the user should know something."""
    return Outcome("warning", message)


def failed(message: str) -> Outcome:
    """The check failed."""
    return Outcome("failed", message)


def skipped(message: str) -> Outcome:
    """The check does not apply, or cannot be run."""
    return Outcome("skipped", message)


def run_checks(checks: Sequence[Check]) -> Iterator[CheckResult]:
    """Run the checks in order, and yield each result as soon as it is available."""
    failed_requirement = ""
    for check in checks:
        start = time.perf_counter()
        outcome = skipped(f"needs the check '{failed_requirement}', which failed") if failed_requirement else _outcome(check)
        if check.required and outcome.status == "failed":
            failed_requirement = check.name
        yield CheckResult(check.name, *outcome, time.perf_counter() - start)


def is_healthy(results: Sequence[CheckResult]) -> bool:
    """Whether no check failed."""
    return all(result.status != "failed" for result in results)


def _outcome(check: Check) -> Outcome:
    try:
        return check.function()
    except VQKitError as error:
        return failed(str(error))
    except Exception as error:  # noqa: BLE001 - any exception in a part is a failure to report
        sentence = (str(error).strip() or "no message").splitlines()[0]
        return failed(f"{type(error).__name__}: {sentence}")
