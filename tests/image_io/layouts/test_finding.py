from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from drawn_files import draw

from vqkit.errors import ConfigError, DataError
from vqkit.image_io.formats import INPUT_SUFFIXES
from vqkit.image_io.layouts import FoundSet, Member, find_images
from vqkit.image_io.tables import ConditionTable


def names(found: FoundSet) -> list[str]:
    return [image.name for image in found.images]


class TestPatterns:
    @pytest.mark.parametrize(
        "pattern", ["{component}/{name}.tif", "{name}_{component}.tif", "{component}_{name}.tif", "x/{component}-{name}_end.tif"]
    )
    def test_a_pattern_finds_the_images_and_their_files(self, tmp_path: Path, pattern: str) -> None:
        paths = {(c, n): pattern.format(component=c, name=n) for c, n in product(("dna", "er"), ("a", "b"))}
        draw(tmp_path, *paths.values())
        found = find_images(tmp_path, pattern)
        assert (found.components, names(found), found.notes) == (("dna", "er"), ["a", "b"], ())
        assert found.images[1].members == {name: Member(tmp_path / paths[name, "b"]) for name in ("dna", "er")}
        assert found.summary == f"pattern {pattern}: dna, er; 2 train images."

    def test_it_is_relative_to_the_folders_of_the_splits_or_to_the_root(self, tmp_path: Path) -> None:
        draw(tmp_path, *(f"{split}/{c}/{split}1.png" for split in ("train", "test") for c in ("dna", "er")))
        found = find_images(tmp_path, "{component}/{name}.png")
        assert {split: [image.name for image in images] for split, images in found.splits.items()} == {
            "train": ["train1"],
            "test": ["test1"],
        }
        assert names(find_images(tmp_path, "test/{component}/{name}.png")) == ["test1"]
        assert names(find_images(tmp_path, "{split}/{component}/{name}.png")) == ["train/train1", "test/test1"]

    def test_wildcards_stand_for_anything_in_a_name(self, tmp_path: Path) -> None:
        draw(tmp_path, "T33_2020-01-03_B02.tif", "T33_2020-01-03_B03.tif", "T34_2020-02-08_B02.tif", "T34_2020-02-08_B03.tif")
        found = find_images(tmp_path, "{name}_*_{component}.tif")
        assert (names(found), found.components) == (["T33", "T34"], ("B02", "B03"))

    def test_colours_do_not_matter_where_a_pattern_is_given(self, tmp_path: Path) -> None:
        draw(tmp_path, "shot_b.jpg", "shot_c.jpg", colour=True)
        assert find_images(tmp_path, "{name}_{component}.jpg").components == ("b", "c")

    def test_files_that_do_not_match_are_noted(self, tmp_path: Path) -> None:
        draw(tmp_path, "dna/a.png", "er/a.png", "er/a.tif", "overview.png")
        found = find_images(tmp_path, "{component}/{name}.png")
        assert found.notes == (
            "Not used: 2 pictures that belong to no image, by their names or because they are in colour (er/a.tif, overview.png).",
        )

    def test_a_pattern_that_puts_nothing_together_is_noted(self, tmp_path: Path) -> None:
        draw(tmp_path, *(f"{c}/{n}_{c}.png" for c in ("dna", "er") for n in "abc"))
        found = find_images(tmp_path, "{component}/{name}.png")
        assert found.notes == (
            "No image has more than one component; the pattern '{component}/{name}_{component}' puts several together.",
        )

    def test_components_that_lie_apart_without_any_names_in_common_are_noted(self, tmp_path: Path) -> None:
        draw(tmp_path, "dna/a.png", "er/b.png", colour=True)
        assert find_images(tmp_path, "{component}/{name}.png").notes == ("No image has more than one component.",)

    def test_classes_and_plain_names_have_patterns_too(self, tmp_path: Path) -> None:
        draw(tmp_path, "cat_1.png", "cat_2.png", "dog_1.png")
        found = find_images(tmp_path, "{class}_{name}.png")
        assert (names(found), found.classes) == (["cat/1", "cat/2", "dog/1"], ("cat", "dog"))
        assert [image.file for image in found.images] == [tmp_path / f"{name}.png" for name in ("cat_1", "cat_2", "dog_1")]
        assert names(find_images(tmp_path, "cat_{name}.png")) == ["1", "2"]

    def test_several_words_make_up_a_component_of_a_pattern(self, tmp_path: Path) -> None:
        draw(tmp_path, *(f"t{number}_{name}.png" for number in range(2) for name in ("group_nc", "bt")))
        found = find_images(tmp_path, "{name}_{component}.png")
        assert (found.components, names(found)) == (("group_nc", "bt"), ["t0", "t1"])

    def test_a_single_image_without_a_name_is_called_what_the_directory_is(self, tmp_path: Path) -> None:
        draw(tmp_path / "scene", "B02.tif", "B03.tif")
        assert names(find_images(tmp_path / "scene", "{component}.tif")) == ["scene"]

    def test_what_is_no_pattern_is_refused_before_anything_else(self, tmp_path: Path) -> None:
        draw(tmp_path, "a.png")
        with pytest.raises(ConfigError, match=r"unknown placeholder \{nme\}"):
            find_images(tmp_path, "{nme}.png")


class TestPatternsThatMatchNothing:
    @pytest.mark.parametrize(
        ("template", "pattern", "nearest"),
        [
            ("{component}/{name}_{component}.png", "{component}/{name}.tif", "{component}/{name}_{component}.png"),
            ("{component}/{name}.png", "{component}/{name}.tif", "{component}/{name}.png"),
            ("{component}/{name}.png", "{name}_{component}.png", "{component}/{name}.png"),
            ("{name}_{component}.png", "{component}/{name}.png", "{name}_{component}.png"),
            ("all/{component}/{name}.png", "{component}/{name}.png", "*/{component}/{name}.png"),
            ("{name}/{component}.png", "{name}_{component}.tif", "{name}/{component}.png"),
        ],
    )
    def test_the_nearest_that_matches_is_named(self, tmp_path: Path, template: str, pattern: str, nearest: str) -> None:
        draw(tmp_path, *(template.format(component=c, name=f"cell{n}") for c, n in product(("dna", "er"), range(9))))
        with pytest.raises(DataError) as refused:
            find_images(tmp_path, pattern)
        assert f"The pattern '{pattern}' matches nothing in {tmp_path}; there are 18 files, such as " in refused.value.message
        assert template.format(component="dna", name="cell0") in refused.value.message
        assert refused.value.hint == f"The nearest pattern that matches is '{nearest}'."
        assert find_images(tmp_path, nearest).components == ("dna", "er")

    def test_a_format_that_is_not_read_is_named(self, tmp_path: Path) -> None:
        draw(tmp_path, "dna/a.png", "er/a.png")
        with pytest.raises(DataError) as refused:
            find_images(tmp_path, "{component}/{name}.nii")
        assert "Files that end in .nii are not read" in refused.value.hint

    def test_an_empty_directory_has_no_images(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="There are no images in"):
            find_images(tmp_path, "{name}.png")


class TestComponents:
    def test_those_that_are_wanted_come_in_their_order_and_the_others_are_ignored(self, tmp_path: Path) -> None:
        draw(tmp_path, *(f"{c}/{n}.png" for c in ("01", "02", "03") for n in "ab"))
        found = find_images(tmp_path, components=["03", "01"])
        assert (found.components, list(found.images[0].members)) == (("03", "01"), ["03", "01"])
        assert found.notes == ()

    @pytest.mark.parametrize("pattern", [None, "{component}/{name}.png"])
    @pytest.mark.parametrize("wanted", [["dna", "dnb"], ["dnb"]])
    def test_one_that_no_image_has_is_refused(self, tmp_path: Path, pattern: str | None, wanted: list[str]) -> None:
        draw(tmp_path, *(f"{c}/{n}.png" for c in ("dna", "er") for n in "ab"))
        with pytest.raises(DataError, match=r"No image in .* has the component dnb") as refused:
            find_images(tmp_path, pattern, wanted)
        assert refused.value.hint == "Did you mean 'dna'? Known: dna, er. Choose them with data.components."

    def test_one_that_is_named_twice_is_refused(self, tmp_path: Path) -> None:
        draw(tmp_path, "a.png")
        with pytest.raises(ConfigError, match="The component dna is named twice"):
            find_images(tmp_path, components=["dna", "er", "dna"])

    def test_names_for_the_channels_of_whole_images_are_no_components(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.zeros((3, 4, 4), dtype=np.uint8))
        assert find_images(tmp_path, components=["dna", "er", "agp"]).components == ()

    def test_two_files_for_one_component_are_both_named(self, tmp_path: Path) -> None:
        draw(tmp_path, "dna/a.png", "er/a.png", "dna/a.tif", "er/b.png", "dna/b.png")
        for pattern in (None, "{component}/{name}"):
            with pytest.raises(DataError, match="two files for the component dna") as refused:
                find_images(tmp_path, pattern)
            assert str(tmp_path / "dna/a.png") in refused.value.message
            assert str(tmp_path / "dna/a.tif") in refused.value.message

    def test_a_gap_is_a_component_that_is_not_among_the_members(self, tmp_path: Path) -> None:
        draw(tmp_path, "dna/a.png", "er/a.png", "dna/b.png", "er/b.png", "dna/c.png")
        assert [list(image.members) for image in find_images(tmp_path).images] == [["dna", "er"], ["dna", "er"], ["dna"]]


class TestNames:
    def test_images_that_differ_in_case_alone_are_two(self, tmp_path: Path) -> None:
        draw(tmp_path, *(f"{c}/{n}_{c}.png" for c in ("bt", "fpu") for n in ("a0", "A0")))
        found = find_images(tmp_path)
        assert names(found) == ["A0", "a0"]
        assert found.images[0].members["bt"].path.name == "A0_bt.png"
        assert found.notes == ("Names that differ in case alone are different images: A0 and a0.",)

    def test_files_that_differ_in_the_suffix_alone_are_two_images(self, tmp_path: Path) -> None:
        draw(tmp_path, "a/photo.png", "a/photo.jpg", "a/photo_png.png", "b/photo.tif", "b/x.ome.tif", "b/x.tif")
        draw(tmp_path, "a/photo.webp", colour=True)
        assert names(find_images(tmp_path)) == [
            "a/photo_jpg",
            "a/photo_png",
            "a/photo_png_2",
            "a/photo_webp",
            "b/photo",
            "b/x_ome_tif",
            "b/x_tif",
        ]  # fmt: skip

    def test_folders_stay_in_names_so_that_no_two_are_equal(self, tmp_path: Path) -> None:
        draw(tmp_path, "a/b_0.png", "a_b/0.png", "a/b/0.png", colour=True)
        found = find_images(tmp_path)
        assert (names(found), found.pattern) == (["a/b/0", "a/b_0", "a_b/0"], "{class}/**/{name}")
        assert names(find_images(tmp_path, found.pattern)) == names(found)

    def test_a_pattern_that_reads_one_name_from_several_files_gives_them_their_paths(self, tmp_path: Path) -> None:
        draw(tmp_path, "a/x.png", "b/x.png", "b/y.png")
        assert names(find_images(tmp_path, "*/{name}.png")) == ["a/x", "b/x", "y"]

    def test_the_private_prefix_is_no_part_of_a_name_unless_that_would_merge_images(self, tmp_path: Path) -> None:
        draw(tmp_path, "bt/mdbk_T1_bt.png", "fpu/T1_fpu.png", "bt/mdbk_t2_bt.png", "bt/t2_bt.png")
        found = find_images(tmp_path)
        assert {image.name: list(image.members) for image in found.images} == {
            "T1": ["bt", "fpu"],
            "t2": ["bt"],
            "mdbk_t2": ["bt"],
        }
        assert {image.name: image.path.name for image in found.images}["t2"] == "t2_bt.png"

    def test_rows_of_a_table_are_matched_to_images(self, tmp_path: Path) -> None:
        draw(tmp_path, *(f"{c}/{n}_{c}.png" for c in ("bt", "fpu") for n in ("a0", "A0", "B", "c", "sub/d")))
        (tmp_path / "performances.csv").write_text("matching,width_px\na0,1\nb,2\nd,3\n")
        found = find_images(tmp_path, table=ConditionTable(tmp_path / "performances.csv"))
        keys = {image.name: image.key for image in found.images}
        assert keys == {"A0": None, "B": "b", "a0": "a0", "c": None, "sub/d": "d"}


class TestLinks:
    def test_training_and_validation_never_share_a_file_through_a_link(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        draw(root, "train/a.png", "train/b.png", "val/c.png")
        draw(tmp_path, "store/s.png")
        (root / "val" / "a.png").symlink_to("../train/a.png")
        (root / "train" / "s.png").symlink_to(tmp_path / "store" / "s.png")
        (root / "val" / "t.png").symlink_to(tmp_path / "store" / "s.png")
        found = find_images(root)
        assert names(found) == ["train/a", "train/b", "train/s", "val/c"]
        assert found.notes == (
            "Skipped 1 link to what is read anyway: val/a.png.",
            "Skipped 1 image whose files are links to those of another: t.",
        )

    def test_images_may_share_the_file_of_one_component(self, tmp_path: Path) -> None:
        root = tmp_path / "set"
        draw(tmp_path, "store/dna_a.png", "store/dna_b.png", "store/empty.png")
        for link, target in {"dna/a": "dna_a", "dna/b": "dna_b", "mask/a": "empty", "mask/b": "empty"}.items():
            (root / link).parent.mkdir(parents=True, exist_ok=True)
            (root / f"{link}.png").symlink_to(tmp_path / "store" / f"{target}.png")
        found = find_images(root)
        assert [sorted(image.members) for image in found.images] == [["dna", "mask"], ["dna", "mask"]]


def test_what_is_written_into_the_directory_is_not_read(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "out/c.png", colour=True)
    assert names(find_images(tmp_path, exclude=tmp_path / "out")) == ["a", "b"]


def test_the_suffixes_that_count_may_be_others(tmp_path: Path) -> None:
    draw(tmp_path, "a.png")
    np.savez(tmp_path / "b.npz", images=np.zeros((1, 4, 4)))
    assert names(find_images(tmp_path)) == ["a"]
    assert names(find_images(tmp_path, suffixes=INPUT_SUFFIXES)) == ["a", "b"]


def test_a_directory_without_images_says_which_files_count(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="There are no images in") as refused:
        find_images(tmp_path)
    assert ".tif" in refused.value.hint
