from __future__ import annotations

from pathlib import Path

import pytest
from drawn_files import draw

from vqkit.errors import DataError
from vqkit.image_io.layouts import FoundSet, find_images
from vqkit.image_io.tables import ConditionTable


def names(found: FoundSet) -> dict[str, list[str]]:
    return {split: [image.name for image in images] for split, images in found.splits.items()}


@pytest.mark.parametrize(
    ("train", "val", "test"), [("train", "val", "test"), ("Train", "VALIDATION", "TEST"), ("Training", "valid", "Testing")]
)
def test_folders_of_splits_have_many_spellings(tmp_path: Path, train: str, val: str, test: str) -> None:
    draw(tmp_path, f"{train}/a.png", f"{val}/b.png", f"{test}/a.png")
    found = find_images(tmp_path)
    assert names(found) == {"train": ["a"], "val": ["b"], "test": ["a"]}
    assert (found.classes, found.split_folders) == ((), True)


def test_files_beside_the_folders_of_splits_are_left_out_and_noted(tmp_path: Path) -> None:
    draw(tmp_path, "train/a.png", "test/b.png", "preview.png", "extra/c.png", "extra/d.png")
    found = find_images(tmp_path)
    assert names(found) == {"train": ["a"], "test": ["b"]}
    assert found.notes == ("Not used: 3 files beside the folders of the splits (extra, preview.png).",)


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, "train/a.png", "val/b.png", "Validation/c.png")
    with pytest.raises(DataError, match=r"two folders of val images: Validation and val\."):
        find_images(tmp_path)


def test_splits_below_components_are_splits(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{component}/{split}/{name}.png" for component in ("sar", "dem") for split, name in SPLIT_NAMES))
    found = find_images(tmp_path)
    assert found.components == ("dem", "sar")
    assert names(found) == {"train": ["a", "b"], "test": ["c"]}


SPLIT_NAMES = (("train", "a"), ("train", "b"), ("Test", "c"))


def test_one_folder_around_the_splits_is_no_class(tmp_path: Path) -> None:
    draw(tmp_path, "download/set/train/a.png", "download/set/test/b.png")
    found = find_images(tmp_path)
    assert names(found) == {"train": ["a"], "test": ["b"]}
    assert found.classes == ()


def test_a_pattern_may_say_where_the_split_is(tmp_path: Path) -> None:
    draw(tmp_path, "dna_train_a.png", "dna_test_b.png", "rna_train_a.png", "rna_test_b.png")
    found = find_images(tmp_path, "{component}_{split}_{name}.png")
    assert names(found) == {"train": ["a"], "test": ["b"]}
    assert found.components == ("dna", "rna")


@pytest.mark.parametrize(
    "folders", [("train2017", "val2017", "test2017"), ("Train_Set", "Val set", "Test-Set"), ("train", "valid", "test1")]
)
def test_folders_may_be_named_for_splits_and_more(tmp_path: Path, folders: tuple[str, ...]) -> None:
    draw(tmp_path, *(f"{folder}/a.png" for folder in folders))
    assert names(find_images(tmp_path)) == {"train": ["a"], "val": ["a"], "test": ["a"]}
    assert names(find_images(tmp_path, "{split}/{name}.png")) == {"train": ["a"], "val": ["a"], "test": ["a"]}


@pytest.mark.parametrize("kinds", [("test1", "test2"), ("test1",), ("train1", "train2"), ("test1", "train1", "train2")])
def test_numbered_folders_that_are_no_splits_are_classes(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    draw(tmp_path, *(f"{kind}/{number}.png" for kind in kinds for number in range(2)), colour=True)
    assert find_images(tmp_path).classes == kinds


@pytest.mark.parametrize("above", ["", "vehicles/"])
@pytest.mark.parametrize("others", [("bus", "car"), ("bus",)])
def test_a_class_may_be_called_train(tmp_path: Path, above: str, others: tuple[str, ...]) -> None:
    draw(tmp_path, *(f"{above}{kind}/{number}.png" for kind in others for number in range(3)), colour=True)
    draw(tmp_path, f"{above}train/0.png", f"{above}train/1.png", colour=True)
    found = find_images(tmp_path)
    assert (list(found.splits), len(found.images)) == (["train"], 3 * len(others) + 2)
    assert not found.split_folders


def test_nothing_is_left_out_where_components_are_not_required(tmp_path: Path) -> None:
    draw(tmp_path, "train/a.png", "test/b.png", "c.png", colour=True)
    assert [image.name for image in find_images(tmp_path, require_components=False).images] == ["c", "test/b", "train/a"]
    (tmp_path / "c.png").unlink()
    assert find_images(tmp_path, require_components=False).split_folders


def table(root: Path, *rows: str) -> ConditionTable:
    (root / "performances.csv").write_text("\n".join(rows))
    return ConditionTable(root / "performances.csv")


def test_flags_of_a_table_divide_images_where_no_folders_do(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{component}/{name}_{component}.png" for component in ("bt", "fpu") for name in ("A", "b", "c", "d")))
    flags = table(tmp_path, "matching,train,test", "a,True,False", "b,False,True", "c,True,True", "d,False,False")
    found = find_images(tmp_path, table=flags)
    assert names(found) == {"train": ["A", "d"], "test": ["b", "c"]}
    assert [image.key for image in found.images] == ["a", "b", "c", "d"]
    assert found.notes == (
        "performances.csv flags 1 image for several splits, such as c: the last counts.",
        "performances.csv flags 1 image for no split, such as d: used for training.",
    )
    assert not found.split_folders


def test_a_table_without_flags_makes_no_notes(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png")
    found = find_images(tmp_path, table=table(tmp_path, "matching,width_px", "a,3", "b,4"))
    assert (names(found), found.notes) == ({"train": ["a", "b"]}, ())


@pytest.mark.parametrize("rows", [("matching,Train,Test", "x,1,0"), ("matching,split", "x,test"), ("matching,test", "")])
def test_a_table_that_divides_other_images_is_refused(tmp_path: Path, rows: tuple[str, ...]) -> None:
    draw(tmp_path, "a.png", "b.png")
    with pytest.raises(DataError, match=r"which images are for training, but has no row for any of them.* called a, b, the rows"):
        find_images(tmp_path, table=table(tmp_path, *rows))


def test_images_without_a_row_are_noted_where_a_table_divides(tmp_path: Path) -> None:
    draw(tmp_path, "a.png", "b.png", "c.png")
    found = find_images(tmp_path, table=table(tmp_path, "matching,split", "a.png,train", "b.png,Test"))
    assert names(found) == {"train": ["a", "c"], "test": ["b"]}
    assert found.notes == ("performances.csv has no row for 1 image, such as c: used for training.",)


def test_folders_of_splits_go_before_flags(tmp_path: Path) -> None:
    draw(tmp_path, "train/a.png", "test/b.png")
    found = find_images(tmp_path, table=table(tmp_path, "matching,train,test", "a,False,True", "b,True,False"))
    assert names(found) == {"train": ["a"], "test": ["b"]}


def test_folders_of_splits_may_be_deep(tmp_path: Path) -> None:
    draw(tmp_path, "data/v1/set/imgs/x/y/train/a.png", "data/v1/set/imgs/x/y/test/b.png")
    found = find_images(tmp_path)
    assert (names(found), found.classes) == ({"train": ["a"], "test": ["b"]}, ())


def test_plurals_are_no_domains(tmp_path: Path) -> None:
    draw(tmp_path, "trains/0.png", "tests/1.png")
    assert find_images(tmp_path).classes == ("tests", "trains")


@pytest.mark.parametrize("above", ["", "horse2zebra/"])
@pytest.mark.parametrize("colour", [True, False])
def test_letters_after_the_names_of_splits_are_domains(tmp_path: Path, above: str, colour: bool) -> None:
    draw(tmp_path, *(f"{above}{kind}/{n}.png" for kind in ("trainA", "trainB", "testA", "testB") for n in range(2)), colour=colour)
    found = find_images(tmp_path)
    assert (found.components, found.classes) == ((), ("A", "B"))
    assert names(found) == {"train": ["A/0", "A/1", "B/0", "B/1"], "test": ["A/0", "A/1", "B/0", "B/1"]}


@pytest.mark.parametrize("count", [2, 9])
def test_several_folders_for_one_split_beside_training_images_are_refused(tmp_path: Path, count: int) -> None:
    draw(
        tmp_path, *(f"{kind}/{n}.png" for kind in ("test_1", "test_2") for n in range(4)), *(f"train/{n}.png" for n in range(count))
    )
    with pytest.raises(DataError, match=r"two folders of test images: test_1 and test_2\.") as refused:
        find_images(tmp_path)
    assert "{split}/{name}" in refused.value.hint
    assert {split: len(images) for split, images in find_images(tmp_path, "{split}/{name}").splits.items()} == {
        "train": count,
        "test": 8,
    }


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("{split}_{name}.png", "{split}_{name}"),
        ("more/{split}_{name}.png", "{class}/{split}_{name}"),
        ("{name}-{split}.png", "{name}-{split}"),
        ("{split}_{name}_dna.png {split}_{name}_rna.png", "{split}_{name}_{component}"),
        ("dna/{split}_{name}.png rna/{split}_{name}.png", "{component}/{split}_{name}"),
    ],
)
def test_files_that_are_named_for_splits_are_noted_and_are_no_components(tmp_path: Path, template: str, pattern: str) -> None:
    pairs = [("train", number) for number in range(6)] + [("test", number) for number in range(6)]
    draw(tmp_path, *(part.format(split=split, name=number) for split, number in pairs for part in template.split()))
    found = find_images(tmp_path)
    assert set(found.components) <= {"dna", "rna"}
    assert len(found.splits["train"]) == 12
    (note,) = (note for note in found.notes if "look like" in note)
    assert note.endswith(f"but all images are used for training: divide them with data.pattern='{pattern}'.")
    again = find_images(tmp_path, pattern)
    assert {split: len(images) for split, images in again.splits.items()} == {"train": 6, "test": 6}
    assert not any("look like" in note for note in again.notes)


def test_folders_that_are_numbered_for_splits_are_classes_with_a_note(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{kind}/{number}.png" for kind in ("train1", "train2", "test1") for number in range(4)))
    found = find_images(tmp_path)
    assert (found.components, found.classes) == ((), ("test1", "train1", "train2"))
    assert found.notes == (
        "Names look like those of splits (test1, train1), but all images are used for training: divide them into folders called "
        "train and test.",
    )


def test_one_name_of_a_split_may_be_a_component(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{component}/{number}.png" for component in ("hue", "sat", "val") for number in range(4)))
    assert find_images(tmp_path).components == ("hue", "sat", "val")


@pytest.mark.parametrize("words", [("trainer", "tested"), ("value", "contest")])
def test_words_that_only_begin_or_end_as_splits_do_are_components(tmp_path: Path, words: tuple[str, str]) -> None:
    draw(tmp_path, *(f"{component}/{number}.png" for component in words for number in range(4)))
    found = find_images(tmp_path)
    assert (set(found.components), found.notes) == (set(words), ())


def test_splits_with_other_components_are_refused(tmp_path: Path) -> None:
    draw(tmp_path, *(f"train/{component}/{name}.png" for component in ("dna", "rna") for name in "abc"))
    draw(tmp_path, *(f"test/{component}/{name}.png" for component in ("dna", "RNA") for name in "de"))
    with pytest.raises(DataError, match=r"different components: train has dna, rna; test has RNA, dna|dna, RNA") as refused:
        find_images(tmp_path)
    assert "data.components" in refused.value.hint
    assert find_images(tmp_path, components=["dna"]).components == ("dna",)


def test_a_component_that_a_small_split_lacks_by_chance_is_a_gap(tmp_path: Path) -> None:
    draw(tmp_path, *(f"train/{component}/{name}.png" for component in ("dna", "rna") for name in "abc"))
    draw(tmp_path, "train/dna/x.png", "val/dna/d.png")
    assert find_images(tmp_path).summary.endswith("4 train and 1 val images; 2 images have gaps: no rna in 2.")
    (tmp_path / "train/dna/x.png").unlink()
    with pytest.raises(DataError, match=r"train has dna, rna; val has dna\."):
        find_images(tmp_path)
