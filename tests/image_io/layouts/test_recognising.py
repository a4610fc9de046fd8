from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from drawn_files import draw
from PIL import Image

from vqkit.image_io.layouts import FoundSet, find_images


def spread(template: str, components: tuple[str, ...], names: tuple[str, ...]) -> list[str]:
    return [template.format(component=component, name=name) for component, name in product(components, names)]


def members(found: FoundSet) -> dict[str, dict[str, str]]:
    return {image.name: {name: member.path.name for name, member in image.members.items()} for image in found.splits["train"]}


CELLS = tuple(f"cell_{number:03}" for number in range(6))
STAINS = ("actin", "dna", "tubulin")
BANDS = ("B02", "B03", "B04", "B8A", "B10")


@pytest.mark.parametrize(
    ("template", "components", "names", "pattern"),
    [
        ("{component}/{name}.tif", STAINS, CELLS, "{component}/{name}"),
        ("{component}/{name}_{component}.png", STAINS, CELLS, "{component}/{name}_{component}"),
        ("{component}/{name}.tif", ("01", "02", "03"), CELLS, "{component}/{name}"),
        ("{component}/{name}.tif", ("sar", "optical"), ("a", "b"), "{component}/{name}"),
        ("{name}/{component}.tif", STAINS, CELLS, "{name}/{component}"),
        ("{name}/{component}.tif", BANDS, CELLS[:2], "{name}/{component}"),
        ("{name}/{component}.png", ("alpha", "beta", "gamma"), ("scene1", "scene2"), "{name}/{component}"),
        ("{name}/{component}.png", ("1", "2", "3"), CELLS, "{name}/{component}"),
        ("{name}/{name}_{component}.png", ("t1", "t2", "flair"), CELLS, "{name}/{name}_{component}"),
        ("{name}_{component}.tif", STAINS, CELLS, "{name}_{component}"),
        ("{component}_{name}.tif", STAINS, CELLS, "{component}_{name}"),
        ("{name}-{component}.tif", ("left", "right"), CELLS, "{name}-{component}"),
        ("{component}-{name}.tif", ("left", "right"), CELLS, "{component}-{name}"),
        ("{name}_{component}.tif", BANDS, ("S2A_MSIL1C_T33",), "{name}_{component}"),
        ("{name}_{component}.jp2", BANDS, ("T33UVP_20200101T101010",), "{name}_{component}"),
    ],
)  # fmt: skip
def test_known_layouts_are_recognised(
    tmp_path: Path, template: str, components: tuple[str, ...], names: tuple[str, ...], pattern: str
) -> None:
    draw(tmp_path, *spread(template, components, names))
    found = find_images(tmp_path)
    assert found.pattern == pattern
    assert set(found.components) == set(components)
    assert sorted(members(found)) == sorted(names)
    for name, files in members(found).items():
        assert files == {each: Path(template.format(component=each, name=name)).name for each in components}
    again = find_images(tmp_path, found.pattern)
    assert (again.components, again.splits) == (found.components, found.splits)


def test_a_single_folder_of_bands_is_one_image(tmp_path: Path) -> None:
    draw(tmp_path / "scene", *(f"{band}.tif" for band in BANDS))
    found = find_images(tmp_path / "scene")
    assert found.pattern == "{component}"
    assert found.components == ("B02", "B03", "B04", "B8A", "B10")
    assert list(members(found)) == ["scene"]


def test_words_that_make_up_a_component_stay_together(tmp_path: Path) -> None:
    names = ("group_nc", "group_km", "bt")
    draw(tmp_path, *spread("{name}_{component}.png", names, ("toy_0", "toy_1", "toy_2")))
    found = find_images(tmp_path)
    assert found.components == names
    assert list(members(found)) == ["toy_0", "toy_1", "toy_2"]
    assert members(found)["toy_1"]["group_km"] == "toy_1_group_km.png"


def test_a_word_that_all_names_have_is_no_component(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{name}_crop_{component}.png", ("dna", "actin"), CELLS))
    found = find_images(tmp_path)
    assert found.components == ("actin", "dna")
    assert next(iter(members(found))) == "cell_000_crop"


@pytest.mark.parametrize("template", ["{component}/{name}.tif", "{component}/{name}_{component}.png", "{name}_{component}.tif"])
@pytest.mark.parametrize("seed", range(3))
def test_half_of_the_files_may_be_missing(tmp_path: Path, template: str, seed: int) -> None:
    paths = spread(template, ("one", "two", "three"), tuple(f"cell_{number:03}" for number in range(40)))
    kept = random.Random(seed).sample(paths, len(paths) // 2)
    draw(tmp_path, *kept)
    found = find_images(tmp_path)
    assert found.components == ("one", "three", "two")
    assert sum(len(image.members) for image in found.images) == len(kept)
    gaps = sum(len(image.members) < 3 for image in found.images)
    assert f"{gaps} images have gaps: no one in " in found.summary


def test_a_summary_says_what_was_understood(tmp_path: Path) -> None:
    draw(tmp_path, *spread("Train/{component}/{name}.tif", STAINS, CELLS), *spread("test/{component}/{name}.tif", STAINS, ("x",)))
    (tmp_path / "Train/dna/cell_003.tif").unlink()
    assert find_images(tmp_path).summary == (
        "one folder a component: actin, dna, tubulin; 6 train and 1 test images; 1 image has gaps: no dna in 1."
    )


def test_colour_pictures_in_folders_with_equal_names_are_classes(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{component}/{name}.jpg", ("cat", "dog"), ("0000", "0001", "0002")), colour=True)
    found = find_images(tmp_path)
    assert (found.components, found.classes) == ((), ("cat", "dog"))
    assert [(image.name, image.label) for image in found.images][:2] == [("cat/0000", "cat"), ("cat/0001", "cat")]
    assert found.summary == "one folder a class, one file an image; 2 classes (cat, dog); 6 train images."


def test_grey_pictures_in_folders_with_other_names_are_classes(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{kind}/{kind}_{number}.png" for kind in ("normal", "ill") for number in range(5)))
    assert find_images(tmp_path).classes == ("ill", "normal")


def test_grey_digits_that_are_numbered_in_each_folder_are_classes(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{digit}/{number}.png" for digit in range(4) for number in range(12 - 2 * digit)))
    assert find_images(tmp_path).classes == ("0", "1", "2", "3")


def test_stains_are_components_however_many_files_the_last_ones_lack(tmp_path: Path) -> None:
    draw(tmp_path, *(f"{stain}/{number}.png" for stain, count in (("dapi", 12), ("gfp", 6)) for number in range(count)))
    assert find_images(tmp_path).components == ("dapi", "gfp")


def test_numbered_components_with_a_gap_at_the_end_are_components(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{component}/{name}.png", ("in", "out"), tuple(map(str, range(10)))))
    (tmp_path / "out" / "9.png").unlink()
    assert find_images(tmp_path).components == ("in", "out")


def test_grey_pictures_of_other_shapes_are_classes(tmp_path: Path) -> None:
    draw(tmp_path, "cat/1.png", "cat/2.png", size=(8, 4))
    draw(tmp_path, "dog/1.png", "dog/2.png", size=(4, 8))
    assert find_images(tmp_path).classes == ("cat", "dog")


def test_components_of_several_resolutions_are_components(tmp_path: Path) -> None:
    draw(tmp_path, "ten/1.png", "ten/2.png", size=(61, 40))
    draw(tmp_path, "sixty/1.png", "sixty/2.png", size=(10, 7))
    assert find_images(tmp_path).components == ("sixty", "ten")


@pytest.mark.parametrize(
    "names",
    [
        ("shot_a", "shot_b", "trip_a", "trip_b"),
        ("IMG_1", "IMG_2", "IMG_3"),
        ("photo-left", "photo-right"),
    ],
)  # fmt: skip
def test_photographs_in_colour_are_never_split(tmp_path: Path, names: tuple[str, ...]) -> None:
    draw(tmp_path, *(f"{name}.jpg" for name in names), colour=True)
    for components in (None, ("r", "g", "b"), ("a", "b")):
        found = find_images(tmp_path, components=components)
        assert (found.components, [image.name for image in found.images]) == ((), sorted(names))


@pytest.mark.parametrize(
    "names",
    [
        ("scan_0001", "scan_0002", "scan_0003"),
        ("7_0001", "7_0002", "3_0001", "3_0002"),
        ("one", "two", "three"),
        ("holiday_beach", "holiday_sea", "trip_hill", "walk_forest"),
        ("portrait_front", "portrait_back"),
    ],
)
def test_grey_pictures_whose_names_count_or_differ_are_whole_images(tmp_path: Path, names: tuple[str, ...]) -> None:
    draw(tmp_path, *(f"{name}.png" for name in names))
    found = find_images(tmp_path)
    assert (found.components, [image.name for image in found.images]) == ((), sorted(names))


def test_interleaved_stacks_are_whole_images(tmp_path: Path) -> None:
    for split, name in (("train", "p0"), ("train", "p1"), ("test", "p0")):
        (tmp_path / split).mkdir(exist_ok=True)
        np.save(tmp_path / split / f"{name}.npy", np.zeros((13, 4, 4), dtype=np.uint8))
    found = find_images(tmp_path)
    assert found.summary == "one file an image; 2 train and 1 test images."
    assert found.splits["test"][0].file == tmp_path / "test" / "p0.npy"


def test_stacks_in_folders_with_equal_names_are_classes(tmp_path: Path) -> None:
    for kind in ("forest", "river"):
        (tmp_path / kind).mkdir()
        np.save(tmp_path / kind / "a.npy", np.zeros((13, 4, 4), dtype=np.uint8))
    assert find_images(tmp_path).classes == ("forest", "river")


def test_the_true_colour_picture_beside_bands_is_left_out_and_noted(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{name}_{component}.tif", BANDS, ("T33_2020", "T34_2020")))
    draw(tmp_path, "T33_2020_TCI.tif", "T34_2020_TCI.tif", colour=True)
    found = find_images(tmp_path)
    assert found.components == ("B02", "B03", "B04", "B8A", "B10")
    assert found.notes == (
        "Not used: 2 pictures that belong to no image, by their names or because they are in colour "
        "(T33_2020_TCI.tif, T34_2020_TCI.tif).",
    )


def test_a_preview_in_colour_beside_the_bands_of_each_scene_is_left_out(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{name}/{component}.tif", BANDS, ("s1", "s2")))
    draw(tmp_path, "s1/preview.jpg", "s2/preview.jpg", colour=True)
    assert find_images(tmp_path).components == ("B02", "B03", "B04", "B8A", "B10")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_components_of_every_type_are_recognised(tmp_path: Path, dtype: str) -> None:
    for component, name in product(("near", "far"), "ab"):
        (tmp_path / component).mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / component / f"{name}.tif", np.arange(24).reshape(4, 6).astype(dtype))
    assert find_images(tmp_path).components == ("far", "near")


def test_stacks_of_pages_and_samples_are_whole_images(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x_a.tif", np.zeros((5, 4, 6), np.uint16), photometric="minisblack")
    tifffile.imwrite(tmp_path / "y_a.tif", np.zeros((4, 6, 13), np.uint16), photometric="minisblack", planarconfig="contig")
    for number, name in product(range(2), ("x_b", "y_b")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((4, 6, 5 + number), np.uint16), photometric="minisblack")
    assert find_images(tmp_path).components == ()


def test_grey_pictures_saved_in_colour_are_components(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{component}/{name}.png", ("alpha", "beta"), CELLS))
    for path in tmp_path.rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    assert find_images(tmp_path).components == ("alpha", "beta")


def test_a_damaged_file_does_not_turn_components_into_classes(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{component}/{name}.png", ("alpha", "beta"), CELLS))
    (tmp_path / "alpha" / "cell_000.png").write_bytes(b"damaged")
    assert find_images(tmp_path).components == ("alpha", "beta")


@pytest.mark.parametrize("beside", ["composite", "full", "before_after"])
def test_pictures_of_all_components_beside_them_are_ignored(tmp_path: Path, beside: str) -> None:
    draw(tmp_path, *spread("{component}/{name}_{component}.png", ("alpha", "beta"), CELLS), f"{beside}/cell_000.png")
    found = find_images(tmp_path)
    assert (found.components, found.notes) == (("alpha", "beta"), ())
    named = find_images(tmp_path, "{component}/{name}.png", ["alpha", beside], require_components=False)
    assert [image.members.keys() for image in named.images if image.name == "cell_000"] == [{beside}]


def test_folders_of_epure_are_components_even_in_colour_so_that_the_reader_names_the_file(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{component}/{name}_{component}.png", ("bt", "fpu"), CELLS), colour=True)
    assert find_images(tmp_path).components == ("bt", "fpu")


def test_a_table_makes_folders_components(tmp_path: Path) -> None:
    draw(tmp_path, *spread("{component}/{name}_{component}.png", ("cat",), CELLS), colour=True)
    assert find_images(tmp_path).classes == ("cat",)
    (tmp_path / "performances.csv").write_text("matching,width_px\n")
    assert find_images(tmp_path).components == ("cat",)


def test_classes_of_components_are_told_apart(tmp_path: Path) -> None:
    draw(tmp_path, *(f"plate{plate}/{path}" for plate in (1, 2) for path in spread("{component}/{name}.tif", ("dna", "er"), CELLS)))
    found = find_images(tmp_path)
    assert (found.pattern, found.components, found.classes) == ("{class}/{component}/{name}", ("dna", "er"), ("plate1", "plate2"))
    assert found.images[0].name == "plate1/cell_000"


def test_folders_within_components_belong_to_the_names(tmp_path: Path) -> None:
    draw(
        tmp_path,
        *spread("{component}/a/{name}_{component}.png", ("alpha", "beta"), CELLS),
        "alpha/b/x_alpha.png",
        "beta/b/x_beta.png",
    )
    found = find_images(tmp_path)
    assert found.pattern == "{component}/**/{name}_{component}"
    assert list(members(found))[-1] == "b/x"


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("{component}/{name}_{component}.png", "{component}/{name}_{component}"),
        ("{component}/{name}.png", "{component}/{name}"),
        ("{name}/{component}.png", "{name}/{component}"),
        ("{name}_{component}.png", "{name}_{component}"),
        ("{component}_{name}.png", "{component}_{name}"),
        ("{component}.png", "{component}"),
    ],
)
def test_components_that_are_known_are_found_even_alone(tmp_path: Path, template: str, pattern: str) -> None:
    draw(tmp_path, template.format(component="group_nc", name="x_1"))
    found = find_images(tmp_path, components=["nc", "group_nc", "bt"], require_components=False)
    assert (found.pattern, found.components) == (pattern, ("nc", "group_nc", "bt"))
    assert [list(image.members) for image in found.images] == [["group_nc"]]
    assert found.summary.endswith("1 image has gaps: no nc in 1, bt in 1.")


def test_a_few_names_that_end_in_a_component_do_not_hide_the_other_images(tmp_path: Path) -> None:
    draw(tmp_path, "shot_b.png", "trip.png", "walk.png")
    found = find_images(tmp_path, components=["a", "b"], require_components=False)
    assert [image.name for image in found.images] == ["shot_b", "trip", "walk"]
