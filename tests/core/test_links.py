"""No link inside of the directory of results leads a write elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqkit.core.atomic import WriteBatch, directory_atomically, write_text
from vqkit.core.links import no_links_below
from vqkit.errors import ConfigError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A directory of results with links: `away` to a directory beside it, `away.txt` to a file beside it."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "thesis.txt").write_text("words")
    (tmp_path / "out" / "real").mkdir(parents=True)
    (tmp_path / "out" / "away").symlink_to(tmp_path / "beside")
    (tmp_path / "out" / "away.txt").symlink_to(tmp_path / "beside" / "thesis.txt")
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["away/new.txt", "away/deeper/new.txt", "away/thesis.txt"])
def test_links_to_directories_are_not_followed(out: Path, name: str) -> None:
    with no_links_below(out), pytest.raises(ConfigError, match="away is a link to another directory"):
        write_text(out / name, "x")
    with no_links_below(out), pytest.raises(ConfigError, match="away is a link"), directory_atomically(out / name):
        pass
    batch = WriteBatch(out)
    with batch.collect(), pytest.raises(ConfigError, match="away is a link"):
        write_text(out / name, "x")
    assert [path.name for path in (out.parent / "beside").iterdir()] == ["thesis.txt"]
    assert (out.parent / "beside" / "thesis.txt").read_text() == "words"


def test_a_link_to_a_file_is_replaced_and_not_followed(out: Path) -> None:
    with no_links_below(out):
        write_text(out / "away.txt", "x")
    assert (out.parent / "beside" / "thesis.txt").read_text() == "words"
    assert not (out / "away.txt").is_symlink()


def test_the_directory_itself_may_be_a_link(out: Path, tmp_path: Path) -> None:
    (tmp_path / "typed").symlink_to(out)
    with no_links_below(tmp_path / "typed"):
        write_text(tmp_path / "typed" / "real" / "new.txt", "x")
        write_text(tmp_path / "elsewhere.txt", "x")
    assert (out / "real" / "new.txt").read_text() == "x"


def test_nothing_is_refused_outside_of_the_block(out: Path) -> None:
    with no_links_below(out), no_links_below(None):
        pass
    write_text(out / "away" / "new.txt", "x")
