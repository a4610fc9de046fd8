"""Which images there are at a path, and what files of a result are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, DIGITS, SHAPES, STAINS
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.inputs import component_layout, find_inputs, split_name


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 8)).save(path)
    return root


def found(root: Path, pattern: str | None = None) -> dict[str, dict[str | None, str]]:
    """Names of items, and the relative paths of their files."""
    items = find_inputs(root, SHAPES, pattern).items
    return {item.name: {key: member.path.relative_to(root).as_posix() for key, member in item.members.items()} for item in items}


def test_files_of_components_belong_together(tmp_path: Path) -> None:
    make(tmp_path, "carcass/s0_carcass.png", "belt/s0_belt.png", "belt/s1_belt.png", "composite/s0.png")
    assert found(tmp_path) == {
        "s0": {"carcass": "carcass/s0_carcass.png", "belt": "belt/s0_belt.png"},
        "s1": {"belt": "belt/s1_belt.png"},
    }


def test_a_pattern_describes_any_other_layout(tmp_path: Path) -> None:
    make(tmp_path, "7/maps/belt-x.png", "7/maps/tread-x.png", "8/maps/belt-x.png")
    assert found(tmp_path, "{name}/maps/{component}-x.png") == {
        "7": {"belt": "7/maps/belt-x.png", "tread": "7/maps/tread-x.png"},
        "8": {"belt": "8/maps/belt-x.png"},
    }
    (first, _) = find_inputs(tmp_path, SHAPES, "{name}/maps/{component}-x.png").items
    assert first.component_path("7", "carcass") == "7/maps/carcass-x"
    with pytest.raises(DataError, match="matches nothing"):
        find_inputs(tmp_path, SHAPES, "{component}/{name}.tif")
    with pytest.raises(ConfigError, match="describes the files of a directory"):
        find_inputs(tmp_path / "7" / "maps" / "belt-x.png", SHAPES, "{name}")


@pytest.mark.parametrize(
    ("pattern", "name", "label", "expected"),
    [
        ("{component}/{name}_{component}", "s0", None, "{component}/s0_{component}"),
        ("{component}/**/{name}.tif", "a/b/s0", None, "{component}/a/b/s0"),
        ("{component}/**/{name}.tif", "s0", None, "{component}/s0"),
        ("**/{name}/{name}_{component}.ome.tif", "a/s0", None, "a/s0/s0_{component}"),
        ("{class}/{component}/{name}", "cat/s0", "cat", "cat/{component}/s0"),
        ("{name}-{component}.*", "s0", None, "s0-{component}"),
        ("{name}_T*_{component}.jp2", "s0", None, "{component}/s0_{component}"),
        ("{component}.tif", "here", None, "{component}"),
    ],
)
def test_results_lie_as_their_inputs(pattern: str, name: str, label: str | None, expected: str) -> None:
    assert component_layout(pattern, name, label) == expected


def test_several_sets_are_read_one_after_the_other(tmp_path: Path) -> None:
    make(tmp_path, "train/belt/s0_belt.png", "test/belt/s0_belt.png", "test/tread/s0_tread.png")
    items = find_inputs(tmp_path, SHAPES).items
    assert [(item.name, item.component_path(item.name, "belt")) for item in items] == [
        ("test/s0", "test/belt/s0_belt"),
        ("train/s0", "train/belt/s0_belt"),
    ]
    assert items[0].component_path("test/s0_1", "belt") == "test/belt/s0_1_belt"


def test_whole_images_keep_their_folders_and_do_not_share_a_name(tmp_path: Path) -> None:
    make(tmp_path, "cat/a.png", "cat/a.bmp", "dog/a.png", ".hidden.png", ".ipynb_checkpoints/a-checkpoint.png", "out/b.png")
    (tmp_path / "notes.txt").write_text("x")
    for spec in (COLOUR, DIGITS):
        items = find_inputs(tmp_path, spec, exclude=tmp_path / "out").items
        assert [item.name for item in items] == ["cat/a_bmp", "cat/a_png", "dog/a"]


def test_photographs_named_like_channels_are_whole_images(tmp_path: Path) -> None:
    make(tmp_path, "r/1.png", "g/1.png", "shot_b.png")
    assert [item.name for item in find_inputs(tmp_path, COLOUR).items] == ["g/1", "r/1", "shot_b"]


def test_names_that_are_too_long_are_cut_and_stay_different(tmp_path: Path) -> None:
    make(tmp_path, *(f"{'x' * 230}{number}.png" for number in range(3)))
    items = find_inputs(tmp_path, DIGITS).items
    assert len({item.name for item in items}) == 3 and all(len(item.name) <= 200 for item in items)
    apart = make(tmp_path / "apart", *(f"belt/{'y' * 230}{number}.png" for number in range(2)))
    paths = [item.component_path(item.name, "carcass") for item in find_inputs(apart, SHAPES).items]
    assert len(set(paths)) == 2 and all(len(path.rpartition("/")[2]) <= 200 for path in paths)


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    make(tmp_path, "belt/s0_belt.png", "tread/s0_tread.png", "belt/other.png")
    (note,) = [note for note in find_inputs(tmp_path, SHAPES).notes if "other" in note]
    assert note.startswith("Not used: 1 picture")


def test_paths_that_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image.png").touch()
    with pytest.raises(DataError, match=r"imag.png does not exist. Did you mean 'image.png'"):
        find_inputs(tmp_path / "imag.png", SHAPES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        find_inputs(Path("photo.jpg"), SHAPES)
    assert caught.value.hint == "The working directory holds image.png."
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes.txt is neither a picture nor an array"):
        find_inputs(tmp_path / "notes.txt", SHAPES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images in .*empty"):
        find_inputs(tmp_path / "empty", SHAPES)


def test_a_single_file_is_called_what_it_shows(tmp_path: Path) -> None:
    np.save(tmp_path / "s0_belt.npy", torch.zeros(8, 12).numpy())
    (item,) = find_inputs(tmp_path / "s0_belt.npy", SHAPES).items
    assert item.name == "s0" and item.component_path("s0", "tread") == "tread/s0_tread"


def test_split_name_takes_the_longest_component() -> None:
    assert split_name("tyre_1_belt", SHAPES) == ("tyre_1", "belt")
    assert split_name("belt", SHAPES) == ("belt", None)
    assert split_name("cell_actin", STAINS) == ("cell", "actin")
    assert split_name("shot_b", COLOUR) == ("shot_b", None)
