from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from painting import COLOUR, SHAPES, STAINS, sections
from vqkit.errors import ConfigError, DataError
from vqkit.image_io import reading, sources
from vqkit.image_io.decoding import picture_pixels
from vqkit.image_io.pictures import image_files, save_picture, to_pil
from vqkit.image_io.reading import Item, ReadOptions, find_items, read_hole, read_images, read_item, split_name

IMAGES = sections(3)


def export(directory: Path, images: Tensor = IMAGES) -> Path:
    """The images in the component layout, composites included."""
    for number, image in enumerate(images):
        for path, picture in image_files(image, f"s{number}", directory, SHAPES).items():
            save_picture(picture, path)
    return directory


def read_all(source: Path, spec=SHAPES, **request) -> dict[str, reading.InputImage]:  # type: ignore[no-untyped-def]
    skipped: list[str] = []
    entries = read_images(find_items(source, spec), spec, ReadOptions(**request), True, lambda path, reason: skipped.append(reason))
    return {entry.name: entry for entry in entries}


def only(source: Path, spec=SHAPES, **request) -> reading.InputImage:  # type: ignore[no-untyped-def]
    (entry,) = read_all(source, spec, **request).values()
    return entry


def test_the_component_layout(tmp_path: Path) -> None:
    entries = read_all(export(tmp_path))
    assert list(entries) == ["s0", "s1", "s2"]
    for number, entry in enumerate(entries.values()):
        assert torch.equal(entry.image, IMAGES[number])
        assert bool(entry.present.all()) and bool(entry.observed.all())


def test_a_component_without_a_file_is_missing(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / "belt" / "s1_belt.png").unlink()
    entry = read_all(tmp_path)["s1"]
    assert entry.present.flatten(1).all(dim=1).tolist() == [True, False, True]
    assert torch.equal(entry.image[[0, 2]], IMAGES[1][[0, 2]])


def test_a_kept_component_without_a_file_is_an_error_that_names_what_is_there(tmp_path: Path) -> None:
    for name in ("belt", "tread"):
        save_picture(to_pil(IMAGES[0][0]), tmp_path / name / f"s0_{name}.png")
    with pytest.raises(DataError, match="does not hold carcass, which is to be kept; it holds belt, tread"):
        read_all(tmp_path, keep=("carcass", "belt"))


def test_component_files_in_one_folder(tmp_path: Path) -> None:
    for name, values in zip(SHAPES.components, IMAGES[0], strict=True):
        save_picture(to_pil(values), tmp_path / f"tyre_7_{name}.png")
    entry = only(tmp_path)
    assert entry.name == "tyre_7"
    assert torch.equal(entry.image, IMAGES[0])


def test_a_directory_of_several_sets_asks_for_one(tmp_path: Path) -> None:
    for part in ("train", "test"):
        export(tmp_path / part)
    with pytest.raises(DataError, match=r"holds several sets of images. Give one of them: .*test, .*train"):
        find_items(tmp_path, SHAPES)


def test_plain_images_keep_their_folders_and_do_not_share_a_name(tmp_path: Path) -> None:
    photo = Image.new("RGB", (8, 8), (1, 2, 3))
    for name in ("cat/a.png", "cat/a.bmp", "dog/a.png", ".hidden.png", "notes.txt", "out/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo.save(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("x")
    items = find_items(tmp_path, COLOUR, exclude=tmp_path / "out")
    assert [item.name for item in items] == ["cat/a_bmp", "cat/a_png", "dog/a"]


@pytest.mark.parametrize("name", ["s0_belt.png", "s0_belt.npy"])
def test_a_single_component_is_known_by_its_name(tmp_path: Path, name: str) -> None:
    if name.endswith("npy"):
        np.save(tmp_path / name, IMAGES[0, 1].numpy())
    else:
        save_picture(to_pil(IMAGES[0, 1]), tmp_path / name)
    entry = only(tmp_path / name)
    assert entry.name == "s0"
    assert torch.equal(entry.image[1], IMAGES[0, 1])
    assert entry.present.flatten(1).all(dim=1).tolist() == [False, True, False]


def test_label_maps_strips_and_pages_in_files(tmp_path: Path) -> None:
    image = IMAGES[0]
    composite = image_files(image, "x", Path(), SHAPES)[Path("composite/x.png")]
    composite.save(tmp_path / "rgb.png")
    composite.quantize(4).save(tmp_path / "indexed.png")
    with Image.open(tmp_path / "indexed.png") as indexed:
        assert indexed.mode == "P"
    to_pil(torch.cat(list(image), dim=1)).save(tmp_path / "strip.png")
    first, *others = [to_pil(values) for values in image]
    first.save(tmp_path / "pages.tiff", save_all=True, append_images=others)
    np.save(tmp_path / "array.npy", image.numpy())
    np.savez_compressed(tmp_path / "one.npz", anything=image.numpy())
    np.savez(tmp_path / "named.npz", **{name: values.numpy() for name, values in zip(SHAPES.components, image, strict=True)})
    np.savez(tmp_path / "images.npz", images=image.numpy(), labels=np.arange(3))
    entries = read_all(tmp_path)
    assert len(entries) == 8
    for name, entry in entries.items():
        assert torch.equal(entry.image, image), name


def test_an_archive_may_lack_components_and_hold_batches(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", belt=IMAGES[:, 1].numpy(), carcass=IMAGES[:, 0].numpy())
    entries = read_all(tmp_path / "x.npz")
    assert list(entries) == ["x_00000", "x_00001", "x_00002"]
    assert entries["x_00002"].present.flatten(1).all(dim=1).tolist() == [True, True, False]
    assert torch.equal(entries["x_00002"].image[:2], IMAGES[2, :2])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((8, 12)), "b": np.zeros((8, 12))}, "holds 2 arrays: a, b. Name the images 'images'"),
        ({"belt": np.zeros((8, 12)), "tread": np.zeros((8, 11))}, r"do not fit: belt \(1, 8, 12\), tread \(1, 8, 11\)"),
        ({"belt": np.array(["text"])}, "is no image"),
        ({"images": np.full((3, 8, 12), np.nan)}, "holds NaN"),
        ({"images": np.zeros((0, 3, 8, 12))}, "is no image"),
    ],
)
def test_archives_that_cannot_be_read(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_all(tmp_path / "x.npz")


def test_arrays_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="damaged, or holds Python objects that would have to be unpickled"):
        read_all(tmp_path / "x.npy")


@pytest.mark.parametrize("dtype", [">u2", "<u4", "i8", "f2", "f4", ">f8", "?"])
def test_number_types_of_other_programs(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", (IMAGES[0].numpy() > 0).astype(dtype))
    assert torch.equal(only(tmp_path / "x.npy").image, IMAGES[0])


def test_damaged_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "whole.npy", IMAGES.numpy())
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-10])
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("cut.npy", "empty.npy", "text.npz"):
        with pytest.raises(DataError, match=f"{name} cannot be read as"):
            read_all(tmp_path / name)


def test_huge_arrays_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 1000)
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 8, 12), np.float32))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\0" * 5000)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(DataError, match="GiB of numbers"):
            read_all(tmp_path / name)


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    noise = torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    with pytest.raises(DataError, match=r"cut.png cannot be read: it is damaged"):
        only(tmp_path / "cut.png", COLOUR)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(DataError, match=r"x.png cannot be read"):
        only(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("size", "message"), [((20000, 20000), "is huge"), ((12000, 12000), "is huge"), ((5000, 8), "5000 wide and 8 high")]
)
def test_huge_and_wrong_pictures_are_refused_unread(tmp_path: Path, size: tuple[int, int], message: str) -> None:
    # Only the header is there: whatever tried to decode it would fail in another way.
    header = Image.new("L", (1, 1))
    header.save(tmp_path / "x.png")
    content = bytearray((tmp_path / "x.png").read_bytes())
    content[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(bytes(content))
    with pytest.raises(DataError, match=message):
        only(tmp_path / "x.png")


def test_a_picture_of_another_size_says_which_is_expected(tmp_path: Path) -> None:
    Image.new("L", (24, 8)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"is 24 wide and 8 high; the model's images are 12 and 8.*or 36 wide"):
        only(tmp_path / "x.png")


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    with pytest.raises(DataError, match=r"imag.png does not exist. Did you mean 'image.png'"):
        find_items(tmp_path / "imag.png", SHAPES)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"notes.txt is neither a picture nor an array"):
        find_items(tmp_path / "notes.txt", SHAPES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images in .*empty. Expected carcass/NAME_carcass.png"):
        find_items(tmp_path / "empty", SHAPES)


def test_bad_pictures_in_a_folder_are_skipped_and_named(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / "belt" / "s1_belt.png").write_bytes(b"broken")
    skipped: list[tuple[str, str]] = []
    entries = list(read_images(find_items(tmp_path, SHAPES), SHAPES, ReadOptions(), True, lambda *told: skipped.append(told)))
    assert [entry.name for entry in entries] == ["s0", "s2"]
    assert len(skipped) == 1 and "s1_" in skipped[0][0] and "cannot be read" in skipped[0][1]


def test_a_folder_of_bad_pictures_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"None of the 2 images can be used. The first: .*a.png cannot be read"):
        read_all(tmp_path)


def test_whole_images_are_refused_only_where_something_must_be_missing(tmp_path: Path) -> None:
    export(tmp_path)
    items = find_items(tmp_path, SHAPES)[:1]
    with pytest.raises(DataError, match=r"nothing to fill in. Say what to keep with --keep"):
        list(read_images(items, SHAPES, ReadOptions(), False, lambda path, reason: None))


def test_masks_that_leave_nothing_to_do_are_explained(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(photo)
    items = find_items(photo, COLOUR)
    for hole, said in (
        (False, r"white pixels of a mask are filled in, and this one has none"),
        (True, r"leave some of a mask black"),
    ):
        request = ReadOptions(hole=torch.full((1, 1, 8, 8), hole))
        with pytest.raises(DataError, match=said):
            list(read_images(items, COLOUR, request, False, lambda path, reason: None))


def test_a_photograph_of_another_size_is_not_taken_for_a_strip(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "photo.png")
    with pytest.raises(DataError, match=r"20 wide and 10 high; the model's images are 8 and 8\. Scale or crop it to that size, or"):
        list(read_images(find_items(tmp_path / "photo.png", COLOUR), COLOUR, ReadOptions(), True, lambda path, reason: None))


def test_unknown_names_are_refused_before_anything_is_read() -> None:
    nowhere = [Item("x", {None: Path("nowhere.png")})]
    with pytest.raises(ConfigError, match="Did you mean 'belt'"):
        list(read_images(nowhere, SHAPES, ReadOptions(("bell",)), True, lambda path, reason: None))
    with pytest.raises(ConfigError, match="no form 'map'"):
        list(read_images(nowhere, SHAPES, ReadOptions(form="map"), True, lambda path, reason: None))


def test_split_name_takes_the_longest_component() -> None:
    assert split_name("tyre_1_belt", SHAPES) == ("tyre_1", "belt")
    assert split_name("belt", SHAPES) == ("belt", None)
    assert split_name("cell_actin", STAINS) == ("cell", "actin")
    assert split_name("shot_b", COLOUR) == ("shot_b", None)


def test_masks_are_white_where_to_fill_in(tmp_path: Path) -> None:
    hole = torch.zeros(8, 12, dtype=torch.uint8)
    hole[2:5, 3:9] = 255
    to_pil(hole).save(tmp_path / "mask.png")
    to_pil(hole).convert("RGB").save(tmp_path / "mask.bmp")
    for name in ("mask.png", "mask.bmp"):
        assert torch.equal(read_hole(tmp_path / name, SHAPES)[0, 0], hole > 0)
    to_pil(torch.cat([hole, hole * 0, hole], dim=1)).save(tmp_path / "strip.png")
    each = read_hole(tmp_path / "strip.png", SHAPES)
    assert each.shape == (1, 3, 8, 12)
    assert each[0].flatten(1).any(dim=1).tolist() == [True, False, True]


def test_masks_of_another_size_or_none(tmp_path: Path) -> None:
    Image.new("L", (5, 5)).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="5 wide and 5 high"):
        read_hole(tmp_path / "mask.png", SHAPES)
    with pytest.raises(DataError, match="does not exist"):
        read_hole(tmp_path / "none.png", SHAPES)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (2, 1), 1), [[[255], [255]]]),
        (Image.new("L", (2, 1), 7), [[[7], [7]]]),
        (Image.new("LA", (2, 1), (7, 9)), [[[7, 7, 7, 9]] * 2]),
        (Image.new("RGB", (2, 1), (1, 2, 3)), [[[1, 2, 3]] * 2]),
        (Image.new("RGBA", (2, 1), (1, 2, 3, 4)), [[[1, 2, 3, 4]] * 2]),
        (Image.new("CMYK", (2, 1), (0, 0, 0, 0)), [[[255, 255, 255]] * 2]),
        (Image.new("I;16", (2, 1), 65535), [[[255], [255]]]),
        (Image.new("I", (2, 1), 200), [[[200], [200]]]),
        (Image.new("F", (2, 1), 0.2), [[[51], [51]]]),
    ],
)
def test_pictures_of_every_mode(image: Image.Image, expected: list[list[list[int]]]) -> None:
    assert picture_pixels(image).tolist() == expected


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 20, 30)]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True)
    (pair,) = read_item(Item("x", {None: tmp_path / "x.webp"}), COLOUR)
    assert int(pair[1].images[0, 0, 0, 0]) == 10
