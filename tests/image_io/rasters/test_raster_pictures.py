from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from raster_samples import check_windows, exif, png, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import Window, open_raster
from vqkit.image_io.rasters.pictures import HEAD_BYTES


@pytest.mark.parametrize("suffix", ["png", "bmp", "tga", "webp", "ppm"])
def test_colour_pictures_of_8_bits_are_exact(tmp_path: Path, suffix: str) -> None:
    pixels = values((6, 9, 3), np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    with open_raster(path) as raster:
        info = raster.info
        assert (info.channels, info.height, info.width, info.dtype, info.is_colour) == (3, 6, 9, np.uint8, True)
        given, present = raster.read()
    np.testing.assert_array_equal(given, np.moveaxis(pixels, -1, 0))
    assert present is None and given.flags.writeable and given.flags.c_contiguous
    check_windows(path)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tga", "pgm"])
def test_grey_pictures_have_one_channel(tmp_path: Path, suffix: str) -> None:
    pixels = values((6, 9), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    given, present = read(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(given, pixels[None])
    assert present is None and given.flags.writeable
    check_windows(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "LAB", "1"])
def test_other_pixels_become_colours_or_grey_as_pillow_shows_them(tmp_path: Path, mode: str) -> None:
    colours = Image.fromarray(np.repeat(np.repeat(values((4, 5, 3), np.uint8), 8, 0), 8, 1))
    suffix = {"CMYK": "jpg", "YCbCr": "jpg", "LAB": "tif"}.get(mode, "png")
    path = tmp_path / f"a.{suffix}"
    (Image.new("LAB", (8, 9), (120, 20, 200)) if mode == "LAB" else colours.convert(mode)).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("L")) if mode == "1" else np.asarray(image.convert("RGB"))
    given, present = read(path)
    np.testing.assert_array_equal(given, expected[None] if mode == "1" else np.moveaxis(expected, -1, 0))
    assert present is None
    check_windows(path)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("P", (4, 3), number) for number in (5, 9)]
    for frame in frames:
        frame.putpalette([channel for index in range(256) for channel in (index, 255 - index, 7)])
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    given, present = read(tmp_path / "a.gif")
    assert given.shape == (3, 3, 4) and (given == np.array([5, 250, 7])[:, None, None]).all() and present is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "late png", "deep png", "webp"])
def test_orientation_is_applied_in_sizes_pixels_and_windows(tmp_path: Path, orientation: int, kind: str) -> None:
    if kind == "deep png":
        pytest.importorskip("imagecodecs")
    path = tmp_path / f"a.{kind.split()[-1]}"
    pixels = np.repeat(np.repeat(values((2, 3, 3), np.uint8), 16, 0), 16, 1)
    tag = Image.Exif()
    tag[0x0112] = orientation
    if kind == "deep png":
        deep = pixels.astype(">u2") * 257
        path.write_bytes(png((32, 48), 16, 2, [row.tobytes() for row in deep], [(b"eXIf", exif(orientation))]))
    elif kind == "late png":
        path.write_bytes(png((32, 48), 8, 2, [row.tobytes() for row in pixels], [(b"late eXIf", exif(orientation))]))
    else:
        Image.fromarray(pixels).save(path, exif=tag)
    with Image.open(path) as image:
        image.load()
        expected = np.moveaxis(np.asarray(ImageOps.exif_transpose(image)), -1, 0)
    with open_raster(path) as raster:
        assert (raster.info.height, raster.info.width) == expected.shape[1:]
        given = raster.read().values
    np.testing.assert_array_equal(given // 257 if kind == "deep png" else given, expected)
    check_windows(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_data_are_as_good_as_none(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 7).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*" + b"\xff" * 20)
    assert read(tmp_path / "a.jpg").values.shape == (1, 3, 4)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA", "P", "P index", "RGB", "L", "1", "L2", "L4"])
def test_full_transparency_is_absent_and_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    grey = np.array([[0, 60, 120], [180, 240, 60]], np.uint8)
    hidden = grey == 60
    if mode in ("LA", "RGBA"):
        image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(np.where(hidden, 0, 255).astype(np.uint8))])
        image.convert(mode).save(path)
    elif mode in ("P", "PA", "P index"):
        image = Image.fromarray(grey // 60).convert("L")
        palette = Image.fromarray(np.asarray(image))
        palette = palette.convert("P")
        palette.putdata(list((grey // 60).ravel()))
        palette.putpalette([channel for index in range(256) for channel in (index * 60 % 256,) * 3])
        transparency: Any = 1 if mode == "P index" else bytes([255, 0, 255, 255, 255])
        palette.save(path, transparency=transparency)
    elif mode == "RGB":
        Image.fromarray(grey).convert("RGB").save(path, transparency=(60, 60, 60))
    elif mode == "L":
        Image.fromarray(grey).save(path, transparency=60)
    elif mode == "1":
        path.write_bytes(png((1, 8), 1, 0, [bytes([0b10110001])], [(b"tRNS", struct.pack(">H", 1))]))
        hidden = np.array([[1, 0, 1, 1, 0, 0, 0, 1]], bool)
        grey = np.where(hidden, 255, 0)
    else:
        depth = int(mode[1])
        path.write_bytes(png((1, 2), depth, 0, [bytes([0b01000000 if depth == 2 else 0x10])], [(b"tRNS", struct.pack(">H", 1))]))
        hidden, grey = np.array([[True, False]]), np.zeros((1, 2), np.uint8)
    given, present = read(path)
    assert present is not None and present.shape[0] == 1
    np.testing.assert_array_equal(present[0], ~hidden)
    np.testing.assert_array_equal(given, np.broadcast_to(np.where(hidden, 255, grey), given.shape))
    check_windows(path)


def test_partial_opacity_is_painted_on_white_and_present(tmp_path: Path) -> None:
    pixels = values((5, 7, 4), np.uint8)
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given, present = read(tmp_path / "a.png")
    opacity = pixels[..., 3:].astype(float) / 255
    expected = np.rint(pixels[..., :3] * opacity + 255 * (1 - opacity))
    assert np.abs(np.moveaxis(given, 0, -1) - expected).max() <= 1
    assert present is not None
    np.testing.assert_array_equal(present[0], pixels[..., 3] > 0)


def test_opacity_that_hides_nothing_is_dropped(tmp_path: Path) -> None:
    pixels = values((5, 7, 4), np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    given, present = read(tmp_path / "a.png")
    np.testing.assert_array_equal(given, np.moveaxis(pixels[..., :3], -1, 0))
    assert present is None


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_png_of_16_bits_is_exact(tmp_path: Path, colour: int) -> None:
    if colour:
        pytest.importorskip("imagecodecs")
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    pixels = values((5, 7, samples), ">u2")
    pixels[1, 1] = 0
    (tmp_path / "a.png").write_bytes(png((5, 7), 16, colour, [row.tobytes() for row in pixels]))
    with open_raster(tmp_path / "a.png") as raster:
        assert (raster.info.channels, raster.info.dtype) == (samples if colour < 4 else samples - 1, np.uint16)
        assert raster.info.is_colour == (colour in (2, 6))
        given, present = raster.read()
    np.testing.assert_array_equal(given, np.moveaxis(pixels, -1, 0)[: len(given)])
    assert (present is None) if colour < 4 else (present is not None and not present[0, 1, 1] and present.sum() == 34)
    check_windows(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_plain_png_is_exact_however_large_its_file_is(tmp_path: Path, dtype: str) -> None:
    for side in (20, 400):
        pixels = values((1, side, side), dtype)
        Image.fromarray(pixels[0]).save(tmp_path / f"{side}.png", compress_level=0)
        np.testing.assert_array_equal(read(tmp_path / f"{side}.png").values, pixels)
        check_windows(tmp_path / f"{side}.png")
    assert (tmp_path / "400.png").stat().st_size > HEAD_BYTES > (tmp_path / "20.png").stat().st_size


def test_what_is_read_twice_shares_no_memory(tmp_path: Path) -> None:
    Image.fromarray(values((9, 8), np.uint8)).save(tmp_path / "a.png")
    with open_raster(tmp_path / "a.png") as raster:
        first = raster.read().values
        first += 1
        np.testing.assert_array_equal(raster.read().values[0], values((9, 8), np.uint8))


@pytest.mark.parametrize("colour", [0, 2])
def test_png_of_16_bits_may_have_a_transparent_value(tmp_path: Path, colour: int) -> None:
    if colour:
        pytest.importorskip("imagecodecs")
    pixels = values((5, 7, 3 if colour else 1), ">u2")
    chunk = (b"tRNS", pixels[2, 3].tobytes())
    (tmp_path / "a.png").write_bytes(png((5, 7), 16, colour, [row.tobytes() for row in pixels], [chunk]))
    given, present = read(tmp_path / "a.png")
    np.testing.assert_array_equal(given, np.moveaxis(pixels, -1, 0))
    assert present is not None and not present[0, 2, 3] and present.sum() == 34
    check_windows(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("kind", ["jp2", "j2k"])
def test_jpeg_2000_is_exact(tmp_path: Path, channels: int, dtype: str, kind: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = values((40, 50, channels), dtype)
    data = imagecodecs.jpeg2k_encode(pixels.squeeze(), level=0, reversible=True, codecformat=kind)
    (tmp_path / f"a.{kind}").write_bytes(data)
    with open_raster(tmp_path / f"a.{kind}") as raster:
        assert (raster.info.format, raster.info.dtype, raster.info.channels) == ("JPEG 2000", dtype, channels)
        given, present = raster.read()
    np.testing.assert_array_equal(given, np.moveaxis(pixels, -1, 0))
    assert present is None
    check_windows(tmp_path / f"a.{kind}")


def test_jpeg_2000_of_12_bits_is_not_scaled(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = values((40, 50), np.uint16) % 4096
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, bitspersample=12))
    np.testing.assert_array_equal(read(tmp_path / "a.jp2").values[0], pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_opacity_of_a_jpeg_2000_is_no_channel(tmp_path: Path, dtype: str) -> None:
    """A component is opacity where the box `cdef` says so: the second of two here. Boxes may have lengths of 64 bits."""
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = values((40, 50, 2), dtype)
    pixels[..., 1] = np.iinfo(dtype).max
    pixels[3, 4, 1] = 0
    data = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="jp2")
    start = data.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", data, start)
    channels = struct.pack(">I4sHHHHHHH", 22, b"cdef", 2, 0, 0, 0, 1, 1, 0)
    header = data[start + 8 : start + length].split(b"\0\0\0\x16cdef")[0] + channels
    boxes = data[:start] + struct.pack(">I4s", len(header) + 8, b"jp2h") + header
    stream = data[data.index(b"jp2c") + 4 :]
    boxes += struct.pack(">I4sQ", 1, b"jp2c", len(stream) + 16) + stream
    (tmp_path / "a.jp2").write_bytes(boxes)
    given, present = read(tmp_path / "a.jp2")
    assert present is not None and np.argwhere(~present[0]).tolist() == [[3, 4]]
    everywhere = present[0]
    np.testing.assert_array_equal(given[0][everywhere], pixels[..., 0][everywhere])
    check_windows(tmp_path / "a.jp2")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "I;16"])
def test_jpeg_2000_of_pillow_is_read(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        pytest.importorskip("imagecodecs")
    pixels = values((40, 50) if mode in ("L", "I;16") else (40, 50, len(mode)), np.uint16 if mode == "I;16" else np.uint8)
    Image.fromarray(pixels, mode=mode).save(tmp_path / "a.jp2", irreversible=False) if mode == "LA" else Image.fromarray(
        pixels
    ).save(tmp_path / "a.jp2")
    given, present = read(tmp_path / "a.jp2")
    expected = np.moveaxis(pixels[..., None] if pixels.ndim == 2 else pixels, -1, 0)
    assert len(given) == {"RGBA": 3, "LA": 1}.get(mode, len(expected))
    if mode in ("L", "RGB", "I;16"):
        np.testing.assert_array_equal(given, expected)
        assert present is None
    else:
        assert present is not None
        np.testing.assert_array_equal(present[0], expected[-1] > 0)


@pytest.mark.parametrize("greatest", [256, 1023, 65535])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_netpbm_of_more_than_8_bits_is_exact(tmp_path: Path, greatest: int, kind: str) -> None:
    channels = 1 if kind in ("P2", "P5") else 3
    pixels = np.minimum(values((5, 7, channels), np.uint16), greatest)
    head = f"{kind}\n# made by hand\n7 5\n{greatest}\n".encode()
    body = " ".join(map(str, pixels.ravel())).encode() if kind in ("P2", "P3") else pixels.astype(">u2").tobytes()
    path = tmp_path / ("a.pgm" if channels == 1 else "a.ppm")
    path.write_bytes(head + body)
    np.testing.assert_array_equal(read(path).values, np.moveaxis(pixels, -1, 0))
    check_windows(path)


@pytest.mark.parametrize("greatest", [1, 100, 254, 255])
@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
def test_netpbm_of_at_most_8_bits_is_not_scaled(tmp_path: Path, greatest: int, kind: str) -> None:
    channels = 1 if kind in ("P2", "P5") else 3
    pixels = np.minimum(values((5, 7, channels), np.uint8), greatest).astype(np.uint8)
    body = " ".join(map(str, pixels.ravel())).encode() if kind in ("P2", "P3") else pixels.tobytes()
    path = tmp_path / ("a.pgm" if channels == 1 else "a.ppm")
    path.write_bytes(f"{kind}\n7 5\n{greatest}\n".encode() + body)
    given = read(path).values
    assert given.dtype == np.uint8
    np.testing.assert_array_equal(given, np.moveaxis(pixels, -1, 0))
    check_windows(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="cannot be read"):
        read(path)


def test_float_grey_is_exact(tmp_path: Path) -> None:
    pytest.importorskip("PIL", minversion="10.3")  # which reads .pfm
    pixels = values((5, 7), np.float32)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n7 5\n-1.0\n" + pixels[::-1].astype("<f4").tobytes())
    np.testing.assert_array_equal(read(tmp_path / "a.pfm").values[0], pixels)


def test_a_large_jpeg_may_be_decoded_at_a_fraction(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.new("RGB", (640, 320), (200, 100, 50)).save(tmp_path / "a.jpg", exif=tag)
    with open_raster(tmp_path / "a.jpg") as raster:
        assert raster.read_at_least(100, 50).values.shape == (3, 160, 80)
        assert raster.read().values.shape == (3, 640, 320)
    Image.new("RGB", (640, 320)).save(tmp_path / "a.png")
    with open_raster(tmp_path / "a.png") as raster:
        assert raster.read_at_least(10, 10).values.shape == (3, 320, 640)


def test_huge_pictures_are_refused_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 17)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    Image.new("L", (7, 5)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png is huge. At most 34 pixels are read"):
        open_raster(tmp_path / "a.png")
    (tmp_path / "b.ppm").write_bytes(b"P6 7 5 65535\n" + bytes(210))
    with pytest.raises(DataError, match=r"b.ppm is huge"):
        open_raster(tmp_path / "b.ppm")


def test_pictures_up_to_the_bound_are_read_without_a_warning(tmp_path: Path) -> None:
    """Pillow warns of half as many pixels. In a process of its own, because pytest makes errors of warnings."""
    for name in ("a.png", "a.bmp", "a.jpg"):
        Image.new("L", (7, 5)).save(tmp_path / name)
    lines = (
        "import sys; from pathlib import Path; from PIL import Image; from vqkit.image_io.rasters import Window, open_raster",
        "Image.MAX_IMAGE_PIXELS = 18",
        "for path in sorted(Path(sys.argv[1]).iterdir()):",
        "    with open_raster(path) as raster: print(raster.read().values.shape, raster.read(Window(0, 0, 5, 6)).values.shape)",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(tmp_path)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert outcome.stderr == "" and outcome.stdout == "(1, 5, 7) (1, 5, 6)\n" * 3


def test_windows_and_channels_outside_of_the_image_are_a_mistake(tmp_path: Path) -> None:
    Image.new("L", (7, 5)).save(tmp_path / "a.png")
    with open_raster(tmp_path / "a.png") as raster:
        for window in (Window(0, 0, 6, 1), Window(-1, 0, 2, 1), Window(0, 0, 0, 1)):
            with pytest.raises(ValueError, match="of an image 5 high and 7 wide"):
                raster.read(window)
        with pytest.raises(ValueError, match="that has 1"):
            raster.read(channels=[1])
