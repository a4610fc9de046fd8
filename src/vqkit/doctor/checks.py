"""What a check is, and how checks are carried out: whatever goes wrong inside one becomes its finding."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from vqkit.errors import VQKitError

Status = Literal["ok", "warning", "failed", "skipped"]


class Verdict(NamedTuple):
    """What a check came to, and what it found in a few words."""

    status: Status
    found: str


class Check(NamedTuple):
    """A named question to a machine or a run. When an essential one fails, those after it are skipped."""

    name: str
    function: Callable[[], Verdict]
    essential: bool = False


class Finding(NamedTuple):
    """The verdict of a check, and the seconds it took."""

    name: str
    status: Status
    found: str
    seconds: float


def ok(found: str) -> Verdict:
    """All is well."""
    return Verdict("ok", found)


def warning(found: str) -> Verdict:
    """Something to know, which is no defect."""
    return Verdict("warning", found)


def failed(found: str) -> Verdict:
    """A defect."""
    return Verdict("failed", found)


def skipped(found: str) -> Verdict:
    """Nothing to check here."""
    return Verdict("skipped", found)


def run_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """The finding of each check in turn, as soon as it is known."""
    lost = ""
    for check in checks:
        start = time.perf_counter()
        verdict = skipped(f"not possible while '{lost}' fails") if lost else _verdict(check)
        if check.essential and verdict.status == "failed":
            lost = check.name
        yield Finding(check.name, *verdict, time.perf_counter() - start)


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.status != "failed" for finding in findings)


def _verdict(check: Check) -> Verdict:
    try:
        return check.function()
    except VQKitError as error:
        return failed(str(error))
    except Exception as error:  # noqa: BLE001 - a part that breaks in any way is what a doctor is there to find
        sentence = (str(error).strip() or "no reason given").splitlines()[0]
        return failed(f"{type(error).__name__}: {sentence}")
