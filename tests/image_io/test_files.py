from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.errors import DataError
from vqkit.image_io.files import PictureSize, decode, first_picture, picture_paths, picture_size, read_all


def noise(*shape: int) -> np.ndarray:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff", "webp"])
def test_lossless_pictures_are_decoded_exactly(tmp_path: Path, suffix: str) -> None:
    pixels = noise(6, 9, 3)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert picture_size(tmp_path / f"a.{suffix}") == (3, 6, 9)
    decoded = decode(tmp_path / f"a.{suffix}", PictureSize(3, 6, 9))
    assert torch.equal(decoded, torch.from_numpy(pixels).permute(2, 0, 1))


def test_jpeg_comes_close(tmp_path: Path) -> None:
    pixels = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.JPEG")
    decoded = decode(tmp_path / "a.JPEG", PictureSize(3, 16, 16)).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(decoded - pixels).max() <= 4


def test_grey_pictures_have_one_channel_or_become_colour(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 9)).save(tmp_path / "grey.png")
    assert picture_size(tmp_path / "grey.png") == (1, 6, 9)
    grey = decode(tmp_path / "grey.png", PictureSize(1, 6, 9))
    colour = decode(tmp_path / "grey.png", PictureSize(3, 6, 9))
    assert torch.equal(grey[0], torch.from_numpy(noise(6, 9)))
    assert torch.equal(colour, grey.expand(3, -1, -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1", "P"])
def test_shapes_in_any_mode_become_grey(tmp_path: Path, mode: str) -> None:
    shape = np.where(noise(6, 9) > 127, 255, 0).astype(np.uint8)
    Image.fromarray(shape).convert(mode).save(tmp_path / "shape.png")
    assert torch.equal(decode(tmp_path / "shape.png", PictureSize(1, 6, 9))[0], torch.from_numpy(shape))


def test_colour_does_not_become_grey(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 9, 3)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour\.png has 3 channels where 1 are expected"):
        decode(tmp_path / "colour.png", PictureSize(1, 6, 9))


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, :, 3] = (0, 255, 51)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", PictureSize(3, 1, 3))[0, 0].tolist() == [255, 0, 204]


def test_sixteen_bits_are_cut_to_eight(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert picture_size(tmp_path / "deep.png") == (1, 1, 3)
    assert decode(tmp_path / "deep.png", PictureSize(1, 1, 3)).tolist() == [[[0, 1, 255]]]


def test_pages_of_a_tiff_are_channels(tmp_path: Path) -> None:
    pages = noise(4, 6, 9)
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    assert picture_size(tmp_path / "stack.tif") == (4, 6, 9)
    assert torch.equal(decode(tmp_path / "stack.tif", PictureSize(4, 6, 9)), torch.from_numpy(pages))


@pytest.mark.parametrize("last", [False, True])
def test_arrays_are_pictures_with_channels_first_or_last(tmp_path: Path, last: bool) -> None:
    planes = noise(5, 8, 9)
    np.save(tmp_path / "a.npy", np.moveaxis(planes, 0, -1) if last else planes)
    assert picture_size(tmp_path / "a.npy") == (5, 8, 9)
    assert torch.equal(decode(tmp_path / "a.npy", PictureSize(5, 8, 9)), torch.from_numpy(planes))


def test_another_size_is_covered_and_cut_to_its_centre(tmp_path: Path) -> None:
    pixels = np.zeros((10, 40, 3), dtype=np.uint8)
    pixels[:, 15:25] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    decoded = decode(tmp_path / "wide.png", PictureSize(3, 5, 5))
    assert decoded.shape == (3, 5, 5)
    assert bool((decoded > 250)[:, :, 1:4].all())
    with pytest.raises(DataError, match="is 40 wide and 10 high, not 5 and 5"):
        decode(tmp_path / "wide.png", PictureSize(3, 5, 5), scale=False)


def broken_files(folder: Path) -> list[Path]:
    """An empty file, text, a truncated picture, a truncated array, pickled objects, an array of another shape."""
    Image.fromarray(noise(64, 64, 3)).save(folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    np.save(folder / "vector.npy", np.zeros(3))
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(folder / "whole.npy", noise(3, 64, 64))
    (folder / "cut.npy").write_bytes((folder / "whole.npy").read_bytes()[:500])
    (folder / "whole.npy").unlink()
    return picture_paths(folder)


def test_broken_files_are_named(tmp_path: Path) -> None:
    paths = broken_files(tmp_path)
    assert len(paths) == 6
    for path in paths:
        with pytest.raises(DataError) as refused:
            decode(path, PictureSize(3, 64, 64))
        assert str(path) in refused.value.message
        assert refused.value.hint


def test_huge_pictures_are_refused_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(20, 20)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    _, errors = read_all([tmp_path / "large.png"], picture_size)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    _, far_larger = read_all([tmp_path / "large.png"], picture_size)
    for error in (*errors, *far_larger):
        assert "large.png is huge" in error.message
    assert len(errors) == len(far_larger) == 1


def test_many_are_read_in_order_and_errors_are_kept(tmp_path: Path) -> None:
    for number in range(9):
        Image.fromarray(np.full((2, 2), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "4.png").write_text("nothing")
    contents, errors = read_all(picture_paths(tmp_path), lambda path: decode(path, PictureSize(1, 2, 2)))
    assert [None if content is None else int(content[0, 0, 0]) for content in contents] == [0, 1, 2, 3, None, 5, 6, 7, 8]
    assert len(errors) == 1


def test_pictures_are_found_everywhere_but_in_hidden_places(tmp_path: Path) -> None:
    for name in ("b/c.PNG", "a.jpg", "a.txt", ".hidden.png", ".cache/d.png", "b/a.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in picture_paths(tmp_path)] == ["a.jpg", "b/a.npy", "b/c.PNG"]
    assert first_picture(tmp_path / ".cache") is not None
    assert first_picture(tmp_path / "nowhere") is None
