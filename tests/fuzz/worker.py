"""Reading one mutated file after the other in one process, within bounds of memory and time, and what came of each."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from subjects import OUT, Subject

from vqkit.cli import app as cli
from vqkit.errors import Interrupted
from vqkit.training import floor_check
from vqkit.training.trainer import Trainer

_WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"}
_FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class"}
_TEXT = 20_000


class Outcome(NamedTuple):
    """`kind`: clear error, valid, traceback, beyond memory, hang, crash or write outside; `detail`: what was said."""

    kind: str
    detail: str


class _TooSlowError(BaseException):
    """An input that takes longer than its time: nothing catches it."""


class Watch:
    """An audit hook that notes writes outside of the directories that an input may write to, and calls of other programs.

    It sees what Python does; the directory around them is compared as well.
    """

    def __init__(self) -> None:
        self.allowed: tuple[Path, ...] | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in _FORBIDDEN:
            self.seen.append(event)
        elif event == "open":
            path, mode, flags = arguments
            writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes and not isinstance(path, int):
                self._check(path)
        elif event in _WRITES:
            for path in arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]:
                if not isinstance(path, int):
                    self._check(path)

    def _check(self, path: str | bytes | os.PathLike[str]) -> None:
        named = Path(os.fsdecode(path)).absolute()
        real = Path(os.path.realpath(named.parent)) / named.name
        if self.allowed is not None and not any(real.is_relative_to(folder) for folder in self.allowed):
            self.seen.append(f"write to {os.fsdecode(path)}")


def start(memory: int) -> Watch:
    """Prepare this process: a bound on its memory beyond what it has, training without training, and the watch."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        limit = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGPROF, _stop)
    Trainer._train_step = _no_step  # type: ignore[method-assign]
    floor_check.report_floors = lambda run: None  # which reads nothing that is mutated, and takes seconds
    return Watch()


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooSlowError


def _no_step(self: Trainer, *_: Any) -> None:
    raise Interrupted("a configuration that can be trained")


def read_mutated(subject: Subject, valid: Path, box: Path, draw: random.Random, watch: Watch, seconds: float) -> Outcome:
    """Mutate the file of a subject in the empty directory `box`, run its command there, and judge what happened."""
    for name in (*subject.needs, subject.file):
        _copy(valid / name, box / name)
    (box / subject.file).write_bytes(subject.mutation((valid / subject.file).read_bytes(), draw))
    (box / "tmp").mkdir()
    before = _listing(box, subject)
    os.chdir(box)
    watch.seen = []
    watch.allowed = (*(box.resolve() / name for name in (OUT, "tmp", *subject.may_write)), Path("/dev"))
    code, failure, printed = _captured(lambda: _call(list(subject.command), seconds), box / "tmp" / "printed")
    watch.allowed = None
    new = _listing(box, subject) - before
    if watch.seen or new:
        return Outcome("write outside", "; ".join((*watch.seen, *map(str, new))))
    return _judge(code, failure, printed)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif not target.exists():
        shutil.copyfile(source, target)


def _listing(box: Path, subject: Subject) -> set[Path]:
    """What is there beside the directories that may be written to."""
    free = (OUT, "tmp", *subject.may_write)
    return {path for path in box.parent.rglob("*") if box not in path.parents or path.relative_to(box).parts[0] not in free}


def _call(arguments: list[str], seconds: float) -> None:
    sys.argv = ["vqkit", *arguments]
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor: the machine may be busy
    try:
        cli.main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _captured(call: Callable[[], None], file: Path) -> tuple[int, BaseException | None, str]:
    """Exit code, what was raised, and all that was printed, by libraries in C as well."""
    kept = [os.dup(number) for number in (1, 2)]
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    failure: BaseException | None = None
    code = 0
    for number in (1, 2):
        os.dup2(descriptor, number)
    try:
        call()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException as error:  # noqa: BLE001 - whatever comes is what is looked for
        failure = error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        printed = os.pread(descriptor, _TEXT, max(0, os.fstat(descriptor).st_size - _TEXT)).decode("utf-8", "replace")
        os.close(descriptor)
    return code, failure, printed


def _judge(code: int, failure: BaseException | None, printed: str) -> Outcome:
    if isinstance(failure, _TooSlowError):
        return Outcome("hang", _place(failure))
    text = f"{failure}{printed}"
    if isinstance(failure, MemoryError) or any(said in text for said in ("allocate memory", "too little memory", "bad_alloc")):
        return Outcome("beyond memory", _place(failure) if failure else printed[-300:])
    if failure is not None:
        return Outcome("traceback", f"{type(failure).__name__}: {str(failure)[:200]} {_place(failure)}")
    if "Traceback (most recent call last)" in printed:
        return Outcome("traceback", printed[-1500:])
    if code in (0, 130):
        return Outcome("valid", "")
    return Outcome("clear error" if code == 2 and "Error" in printed else "traceback", printed[-300:])


def _place(failure: BaseException) -> str:
    """The innermost lines of vqkit, and the innermost of all, in a traceback."""
    frames = traceback.extract_tb(failure.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}vqkit{os.sep}" in frame.filename][-2:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed([*ours, *frames[-1:]]))
