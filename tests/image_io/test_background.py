"""Files that are written beside the computation."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest

from vqkit.core.atomic import write_text
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.originals import Output


def output(path: Path) -> Output:
    return Output(path, partial(write_text, path, path.name))


def test_results_come_in_order_when_their_files_are_in_place(tmp_path: Path) -> None:
    done: list[int] = []
    with BackgroundWriter[int](tmp_path) as writer:
        for number in range(6):
            writer.submit([output(tmp_path / f"{number}_{part}.txt") for part in range(5)], number)
            for finished in writer.finished():
                assert (tmp_path / f"{finished}_4.txt").is_file()
                done.append(finished)
        assert done == [0, 1, 2, 3], "two batches may be waiting"
        done += writer.finished(wait=True)
    assert done == list(range(6)) and len(list(tmp_path.iterdir())) == 30


def test_a_batch_without_files(tmp_path: Path) -> None:
    with BackgroundWriter[str](tmp_path) as writer:
        writer.submit([], "nothing")
        assert list(writer.finished(wait=True)) == ["nothing"]
    assert not list(tmp_path.iterdir())


def test_an_error_reaches_the_caller_and_its_batch_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def write_all() -> None:
        with BackgroundWriter[int](tmp_path) as writer:
            writer.submit([output(tmp_path / "fine.txt")], 0)
            writer.submit([output(tmp_path / "lost.txt"), output(tmp_path / "file" / "x.txt")], 1)
            list(writer.finished(wait=True))

    with pytest.raises(OSError, match="file"):
        write_all()
    assert {path.name for path in tmp_path.iterdir()} == {"file", "fine.txt"}


def test_a_caller_that_fails_leaves_no_parts(tmp_path: Path) -> None:
    ready = threading.Event()

    def slow(path: Path) -> None:
        ready.wait(5)
        write_text(path, "x")

    def write_all() -> None:
        with BackgroundWriter[int](tmp_path) as writer:
            writer.submit([Output(tmp_path / f"{number}.txt", partial(slow, tmp_path / f"{number}.txt")) for number in range(9)], 0)
            ready.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all()
    names = {path.name for path in tmp_path.iterdir()}
    assert not any(name.startswith(".") for name in names) and len(names) in (0, 9)
