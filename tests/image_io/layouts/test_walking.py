from __future__ import annotations

import os
from pathlib import Path

import pytest
from drawn_files import draw

from vqkit.errors import DataError
from vqkit.image_io.formats import IMAGE_SUFFIXES
from vqkit.image_io.layouts.walking import Walk


def walked(root: Path, exclude: Path | None = None) -> list[str]:
    return [file.relative for file in Walk(root, IMAGE_SUFFIXES, exclude).files]


def test_files_at_any_depth_are_found_in_the_order_of_their_paths(tmp_path: Path) -> None:
    draw(tmp_path, "b.png", "a/c/d.PNG", "a/b.tif")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    assert walked(tmp_path) == ["a/b.tif", "a/c/d.PNG", "b.png"]


def test_hidden_files_and_folders_are_skipped_but_a_hidden_root_is_not(tmp_path: Path) -> None:
    root = tmp_path / ".data"
    draw(root, "a.png", ".b.png", ".ipynb_checkpoints/a-checkpoint.png", "x/.thumbnails/c.png")
    assert walked(root) == ["a.png"]


def test_a_link_to_its_own_folder_or_to_one_above_adds_nothing(tmp_path: Path) -> None:
    root = tmp_path / "in"
    draw(root, "i0.png", "x/i1.png")
    draw(tmp_path, "outside.png")
    (root / "self").symlink_to(".")
    (root / "x" / "up").symlink_to(tmp_path)
    walk = Walk(root, IMAGE_SUFFIXES)
    assert [file.relative for file in walk.files] == ["i0.png", "x/i1.png"]
    assert walk.notes == ("Skipped 2 links to what is read anyway: self, x/up.",)


def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    root = tmp_path / "in"
    draw(tmp_path, "one/a.png", "two/b.png")
    root.mkdir()
    (root / "first").symlink_to(tmp_path / "one")
    (tmp_path / "one" / "second").symlink_to(tmp_path / "two")
    (tmp_path / "two" / "third").symlink_to(tmp_path / "one")
    assert walked(root) == ["first/a.png", "first/second/b.png"]


def test_a_folder_is_read_once_even_where_several_links_lead_there(tmp_path: Path) -> None:
    root = tmp_path / "in"
    draw(tmp_path, "store/a.png")
    root.mkdir()
    (root / "train").symlink_to(tmp_path / "store")
    (root / "val").symlink_to(tmp_path / "store")
    assert walked(root) == ["train/a.png"]


def test_what_is_there_without_a_link_comes_before_links_to_it(tmp_path: Path) -> None:
    draw(tmp_path, "z/a.png")
    (tmp_path / "a.png").symlink_to("z/a.png")
    (tmp_path / "b").symlink_to("z")
    walk = Walk(tmp_path, IMAGE_SUFFIXES)
    assert [file.relative for file in walk.files] == ["z/a.png"]
    assert walk.notes == ("Skipped 2 links to what is read anyway: a.png, b.",)


def test_links_to_files_elsewhere_are_files_with_a_target(tmp_path: Path) -> None:
    root = tmp_path / "in"
    draw(tmp_path, "store/1.png")
    root.mkdir()
    for name in ("a.png", "b.png"):
        (root / name).symlink_to(tmp_path / "store" / "1.png")
    target = os.path.realpath(tmp_path / "store" / "1.png")
    assert [(file.relative, file.target) for file in Walk(root, IMAGE_SUFFIXES).files] == [("a.png", target), ("b.png", target)]


def test_broken_links_are_noted(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "round").symlink_to("round")
    walk = Walk(tmp_path, IMAGE_SUFFIXES)
    assert [file.relative for file in walk.files] == ["a.png"]
    assert walk.notes == ("Skipped 2 broken links whose target does not exist: gone.png, round.",)


def test_the_output_directory_is_left_out_unless_it_is_the_root(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "out/b.png", "out/deep/c.png", "outer/d.png")
    (tmp_path / "link.png").symlink_to("out/b.png")
    assert walked(tmp_path, exclude=tmp_path / "outer" / ".." / "out") == ["a.png", "outer/d.png"]
    assert "out/b.png" in walked(tmp_path, exclude=tmp_path)
    assert walked(tmp_path / "out", exclude=tmp_path / "out") == ["b.png", "deep/c.png"]


def test_a_folder_with_the_suffix_of_a_picture_is_a_folder(tmp_path: Path) -> None:
    draw(tmp_path, "scans.png/a.png")
    assert walked(tmp_path) == ["scans.png/a.png"]


def test_a_folder_that_is_one_image_is_not_entered(tmp_path: Path) -> None:
    draw(tmp_path, "x.zarr/0/a.png")
    assert walked(tmp_path) == ["x.zarr"]
    assert walked(tmp_path / "x.zarr") == ["0/a.png"]


def test_a_root_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none cannot be read: No such file or directory"):
        Walk(tmp_path / "none", IMAGE_SUFFIXES)
