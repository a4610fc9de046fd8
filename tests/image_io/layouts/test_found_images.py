from __future__ import annotations

from pathlib import Path

import pytest

from vqkit.image_io.layouts import FoundImage, FoundSet, Member


def image(name: str) -> FoundImage:
    return FoundImage(name, {}, Path(f"{name}.png"))


def test_images_of_folders_of_splits_are_named_after_their_split() -> None:
    splits = {"train": [image("a"), image("b")], "test": [image("a")]}
    found = FoundSet("one file an image", "{name}", (), splits, split_folders=True)  # type: ignore[arg-type]
    assert [each.name for each in found.images] == ["train/a", "train/b", "test/a"]


def test_images_that_a_table_divides_keep_their_names_and_their_order() -> None:
    splits = {"train": [image("a"), image("c")], "test": [image("b")]}
    found = FoundSet("one file an image", "{name}", (), splits)  # type: ignore[arg-type]
    assert [each.name for each in found.images] == ["a", "b", "c"]


@pytest.mark.parametrize("file", [None, Path("all.tif")])
def test_the_path_of_an_image_is_its_file_or_the_first_of_its_members(file: Path | None) -> None:
    found = FoundImage("x", {} if file else {"dna": Member(Path("dna/x.tif")), "rna": Member(Path("rna/x.tif"))}, file)
    assert found.path == (file or Path("dna/x.tif"))
