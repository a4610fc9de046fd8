from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, SHAPES, STAINS, pipeline, sections, write_components
from vqkit.errors import DataError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.masks import Mask
from vqkit.image_io.pictures import composite, save_picture, to_pil
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.inpaint import Written, batched, inpaint_items
from vqkit.interfaces import DataSpec

IMAGES = sections(5)
HOLE = torch.zeros(8, 8, dtype=torch.bool)
HOLE[2:6, 3:7] = True
MASK = Mask(Path("mask.png"), HOLE[None].numpy())


def export(directory: Path) -> Path:
    return write_components(IMAGES, directory)


def fill(
    source: Path, out: Path, request: ReadOptions, spec: DataSpec = SHAPES, batch_size: int = 2
) -> tuple[list[Written], list[str]]:
    skipped: list[str] = []
    items = find_inputs(source, spec, exclude=out).items
    written = inpaint_items(pipeline(spec), items, out, request, lambda path, reason: skipped.append(reason), batch_size=batch_size)
    return list(written), skipped


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image))


def test_a_directory_is_filled_in_as_the_model_does(tmp_path: Path) -> None:
    source, out = export(tmp_path / "in"), tmp_path / "out"
    written, skipped = fill(source, out, ReadOptions(("belt",)))
    assert [result.name for result in written] == ["s0", "s1", "s2", "s3", "s4"] and not skipped
    expected = pipeline(SHAPES).inpaint(IMAGES, keep=["belt"])
    for number, image in enumerate(expected):
        for name, values in zip(SHAPES.components, image, strict=True):
            assert torch.equal(pixels(out / name / f"s{number}_{name}.png"), values)
        shown = pixels(out / "composite" / f"s{number}.png").permute(2, 0, 1)
        assert torch.equal(shown, composite(SHAPES.to_unit(image[None]), SHAPES)[0])
    every = {path for path in out.rglob("*") if path.is_file()}
    assert every == {path for result in written for path in result.files}
    assert all(result.figure == out / "before_after" / f"{result.name}.png" for result in written)


def test_kept_greys_are_kept_to_the_bit(tmp_path: Path) -> None:
    soft = torch.randint(256, (8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    to_pil(soft).save(tmp_path / "x_belt.png")
    fill(tmp_path / "x_belt.png", tmp_path / "out", ReadOptions())
    assert torch.equal(pixels(tmp_path / "out" / "belt" / "x_belt.png"), soft)
    filled = torch.stack([pixels(tmp_path / "out" / name / f"x_{name}.png") for name in ("carcass", "tread")])
    assert set(filled.unique().tolist()) <= {0, 255}
    assert not bool(((filled > 0) & (soft >= 128)).any())


def test_outside_the_hole_colours_are_kept_to_the_bit(tmp_path: Path) -> None:
    photo = torch.randint(256, (8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(photo.numpy()).save(tmp_path / "x.bmp")
    (result,), _ = fill(tmp_path / "x.bmp", tmp_path / "out", ReadOptions(mask=MASK), COLOUR)
    filled = pixels(tmp_path / "out" / "x.bmp")
    assert torch.equal(filled[~HOLE], photo[~HOLE])
    assert not torch.equal(filled, photo)
    assert result.files == (tmp_path / "out" / "x.bmp", tmp_path / "out" / "before_after" / "x.png")


def test_channels_are_shown_one_by_one_only_where_they_miss_different_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (9, 99, 199)).save(tmp_path / "x.png")
    widths = []
    for request in (ReadOptions(mask=MASK), ReadOptions(("r",), MASK)):
        (result,), _ = fill(tmp_path / "x.png", tmp_path / str(len(widths)), request, COLOUR)
        with Image.open(result.figure) as figure:
            widths.append(figure.width)
    assert widths[1] - widths[0] > 2 * 128


def test_transparent_pixels_are_filled_in_without_being_asked(tmp_path: Path) -> None:
    photo = torch.full((8, 8, 4), 200, dtype=torch.uint8)
    photo[..., 3] = 255
    photo[:4, :, 3] = 0
    Image.fromarray(photo.numpy()).save(tmp_path / "x.png")
    fill(tmp_path / "x.png", tmp_path / "out", ReadOptions(), COLOUR)
    filled = pixels(tmp_path / "out" / "x.png")
    assert (filled[4:] == 200).all() and not (filled[:4] == 200).all()


def test_missing_component_files_are_filled_in_and_whole_images_skipped(tmp_path: Path) -> None:
    source, out = export(tmp_path / "in"), tmp_path / "out"
    (source / "belt" / "s1_belt.png").unlink()
    written, skipped = fill(source, out, ReadOptions())
    assert [result.name for result in written] == ["s1"]
    assert len(skipped) == 4 and "nothing to fill in" in skipped[0]
    for name in ("carcass", "tread"):
        assert (out / name / f"s1_{name}.png").read_bytes()
        assert torch.equal(pixels(out / name / f"s1_{name}.png"), pixels(source / name / f"s1_{name}.png"))


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    fill(export(tmp_path / "in"), tmp_path / "out", ReadOptions(("belt", "tread")))
    again, skipped = fill(tmp_path / "out", tmp_path / "again", ReadOptions(("belt",)))
    assert len(again) == 5 and not skipped


def test_inputs_are_never_replaced(tmp_path: Path) -> None:
    source = export(tmp_path / "in")
    before = {path: path.read_bytes() for path in source.rglob("*.png")}
    for given in (source, source / "belt" / "s0_belt.png"):
        with pytest.raises(DataError, match="in holds the images that are to be filled in"):
            fill(given, source, ReadOptions(("belt",)))
    photo = tmp_path / "photos" / "x.png"
    save_picture(Image.new("RGB", (8, 8), (9, 9, 9)), photo)
    with pytest.raises(DataError, match=r"would replace the input .*x.png"):
        fill(photo, photo.parent, ReadOptions(("r",)), COLOUR)
    assert {path: path.read_bytes() for path in source.rglob("*.png")} == before
    assert pixels(photo).unique().tolist() == [9]


def test_the_figure_shows_what_was_given_what_came_out_and_the_truth(tmp_path: Path) -> None:
    source = export(tmp_path / "in")
    ((result, *_), _) = fill(source, tmp_path / "whole", ReadOptions(("belt",)))
    (alone,), _ = fill(source / "belt" / "s0_belt.png", tmp_path / "alone", ReadOptions())
    whole, part = pixels(result.figure), pixels(alone.figure)
    assert whole.shape[0] == part.shape[0] + 2 * (128 + 8), "the truth and the difference from it are further rows"
    grey = torch.tensor([200, 232], dtype=torch.uint8)
    assert bool((part[..., :1] == grey).all(dim=-1).logical_or((part == 200).all(dim=-1)).any()), "what is missing is hatched"


def test_arrays_come_back_as_arrays(tmp_path: Path) -> None:
    spec = DataSpec.uniform("bands", tuple(f"band{number}" for number in range(10)), 8, 8, "intensity")
    given = np.full((2, 10, 8, 8), 77, np.uint8)
    np.save(tmp_path / "x.npy", given)
    written, _ = fill(tmp_path / "x.npy", tmp_path / "out", ReadOptions(("band3",)), spec)
    assert [result.name for result in written] == ["x_00000", "x_00001"]
    filled = np.load(tmp_path / "out" / "x.npy")
    assert np.array_equal(filled, pipeline(spec).inpaint(given, keep=["band3"])) and filled.dtype == np.uint8
    assert [path.name for result in written for path in result.files] == ["x_00000.png", "x.npy", "x_00001.png"]
    shares = np.full((4, 8, 8), 0.5, ">f4")
    np.save(tmp_path / "y.npy", shares)
    fill(tmp_path / "y.npy", tmp_path / "out", ReadOptions(("dna",)), STAINS)
    filled = np.load(tmp_path / "out" / "y.npy")
    assert filled.dtype == np.dtype(">f4") and (filled[0] == 0.5).all() and not (filled[1:] == 0.5).all()


def test_archives_keep_what_else_they_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", belt=IMAGES[:, 1].numpy() // 255, labels=np.arange(5))
    fill(tmp_path / "x.npz", tmp_path / "out", ReadOptions())
    with np.load(tmp_path / "out" / "x.npz") as archive:
        filled = {name: archive[name] for name in archive.files}
    assert set(filled) == {"carcass", "belt", "tread", "labels"}
    assert np.array_equal(filled["belt"], IMAGES[:, 1].numpy() // 255) and filled["labels"].tolist() == [0, 1, 2, 3, 4]
    expected = pipeline(SHAPES).inpaint(IMAGES.numpy(), keep=["belt"])
    assert np.array_equal(filled["tread"], expected[:, 2] // 255) and filled["tread"].dtype == np.uint8


def test_bad_pictures_are_skipped_and_one_alone_is_refused(tmp_path: Path) -> None:
    source = export(tmp_path / "in")
    (source / "belt" / "s3_belt.png").write_bytes(b"broken")
    written, skipped = fill(source, tmp_path / "out", ReadOptions(("belt",)))
    assert [result.name for result in written] == ["s0", "s1", "s2", "s4"]
    assert len(skipped) == 1 and "s3_belt.png cannot be read" in skipped[0]
    with pytest.raises(DataError, match=r"s3_belt.png cannot be read"):
        fill(source / "belt" / "s3_belt.png", tmp_path / "out", ReadOptions())


def test_batched() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []
