from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, SHAPES, sections, write_components
from vqkit.errors import ConfigError, DataError
from vqkit.image_io import array_files
from vqkit.image_io.inputs import Item, find_inputs
from vqkit.image_io.layouts import Member
from vqkit.image_io.masks import Mask
from vqkit.image_io.pictures import composite, save_picture, to_pil
from vqkit.image_io.reading import InputImage, ReadOptions, check_not_whole, read_images, read_item
from vqkit.interfaces import DataSpec

IMAGES = sections(3)


def export(directory: Path) -> Path:
    """The images in the component layout, composites included."""
    return write_components(IMAGES, directory)


def read(items: list[Item], spec: DataSpec = SHAPES, request: ReadOptions = ReadOptions(), check=lambda image: None):  # type: ignore[no-untyped-def] # noqa: B008
    """The images of the items, and why others were skipped."""
    skipped: list[tuple[str, str]] = []
    images = list(read_images(items, spec, request, lambda *reason: skipped.append(reason), check))
    return images, skipped


def read_all(source: Path, spec: DataSpec = SHAPES, **request) -> dict[str, InputImage]:  # type: ignore[no-untyped-def]
    images, _ = read(find_inputs(source, spec).items, spec, ReadOptions(**request))
    return {image.name: image for image in images}


def only(source: Path, spec: DataSpec = SHAPES, **request) -> InputImage:  # type: ignore[no-untyped-def]
    (image,) = read_all(source, spec, **request).values()
    return image


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
    painted = to_pil(composite(SHAPES.to_unit(image[None]), SHAPES)[0])
    painted.save(tmp_path / "rgb.png")
    painted.quantize(4).save(tmp_path / "indexed.png")
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


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_written_archives_hold_every_array_whatever_its_name(tmp_path: Path, dtype: str) -> None:
    content = {
        name: np.arange(6, dtype=dtype).reshape(2, 3) + number for number, name in enumerate(("file", "allow_pickle", "dna"))
    }
    array_files.write_arrays(content, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as archive:
        found = dict(archive)
    assert list(found) == list(content)
    for name, array in content.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


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
        ({"belt": np.zeros((8, 12)), "tread": np.zeros((8, 11))}, r"do not fit: belt float64 \(8, 12\), tread float64 \(8, 11\)"),
        ({"belt": np.array(["text"])}, "is no image"),
        ({"images": np.full((3, 8, 12), np.nan)}, "holds no data: every pixel is NaN"),
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
    monkeypatch.setattr(array_files, "MOST_BYTES", 1000)
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 8, 12), np.float32))
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((4, 3, 8, 12), np.float32))
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


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("size", "message"),
    [((20000, 20000), "is huge"), ((14000, 14000), "is huge"), ((12000, 12000), "cannot be read"), ((5000, 8), "cannot be read")],
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


def test_bad_pictures_in_a_folder_are_skipped_and_named(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / "belt" / "s1_belt.png").write_bytes(b"broken")
    entries, skipped = read(find_inputs(tmp_path, SHAPES).items)
    assert [entry.name for entry in entries] == ["s0", "s2"]
    assert len(skipped) == 1 and "s1_" in skipped[0][0] and "cannot be read" in skipped[0][1]


def test_a_folder_of_bad_pictures_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"None of the 2 images can be used. The first: .*a.png cannot be read"):
        read_all(tmp_path)


def test_whole_images_are_refused_where_something_must_be_missing(tmp_path: Path) -> None:
    export(tmp_path)
    items = find_inputs(tmp_path, SHAPES).items[:1]
    assert len(read(items)[0]) == 1
    with pytest.raises(DataError, match=r"nothing to fill in. Say what to keep with --keep"):
        read(items, check=check_not_whole)


def test_a_mask_that_leaves_nothing_is_explained(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(photo)
    mask = Mask(Path("mask.png"), np.ones((1, 8, 8), bool))
    with pytest.raises(DataError, match=r"leave some of a mask black"):
        read(find_inputs(photo, COLOUR).items, COLOUR, ReadOptions(mask=mask))


def test_unknown_names_are_refused_before_anything_is_read() -> None:
    nowhere = [Item("x", {None: Member(Path("nowhere.png"))})]
    with pytest.raises(ConfigError, match="Did you mean 'belt'"):
        read(nowhere, request=ReadOptions(("bell",)))
    with pytest.raises(ConfigError, match="no form 'map'"):
        read(nowhere, request=ReadOptions(form="map"))


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 20, 30)]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert int(only(tmp_path / "x.webp", COLOUR).image[0, 0, 0]) == 10
    (image,) = read_item(Item("x", {None: Member(tmp_path / "x.webp")}), COLOUR)
    assert image.name == "x"
