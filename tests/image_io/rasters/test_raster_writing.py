from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from raster_samples import DTYPES, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import (
    FileTags,
    PixelSize,
    RasterInfo,
    RasterWriter,
    Resolution,
    Window,
    lossless_suffix,
    open_raster,
    write_raster,
)

HOLDS_EVERYTHING = ("tif", "npy", "npz")


def info_of(path: Path) -> RasterInfo:
    with open_raster(path) as raster:
        return raster.info


def write_in_bands(path: Path, array: np.ndarray, present: np.ndarray | None, like: RasterInfo | None, rows: int = 7) -> None:
    """The same by windows: bands of rows, each in two halves."""
    channels, height, width = array.shape
    with RasterWriter(path, like, channels, height, width, array.dtype) as writer:
        for top in range(0, height, rows):
            for left, right in ((0, width // 2), (width // 2, width)):
                window = Window(top, left, min(rows, height - top), right - left)
                part = None if present is None else present[:, window.rows, window.columns]
                writer.write(window, array[:, window.rows, window.columns], part)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", HOLDS_EVERYTHING)
@pytest.mark.parametrize("in_bands", [False, True])
def test_every_type_is_written_exactly(tmp_path: Path, dtype: str, suffix: str, in_bands: bool) -> None:
    array = values((5, 20, 31), dtype)
    path = tmp_path / f"a.{suffix}"
    (write_in_bands if in_bands else write_raster)(path, array, None, None)
    given = tifffile.imread(path) if suffix == "tif" else np.load(path)
    given = given["image"] if suffix == "npz" else given
    assert given.dtype == array.dtype
    np.testing.assert_array_equal(given, array)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(read(path).values, array)


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tga", "ppm", "jp2", "j2k"])
@pytest.mark.parametrize("in_bands", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_8_bits_are_written_without_loss(tmp_path: Path, suffix: str, in_bands: bool, channels: int) -> None:
    if suffix in ("jp2", "j2k"):
        pytest.importorskip("imagecodecs")
    array = values((channels, 40, 51), np.uint8)
    path = tmp_path / f"a.{suffix}"
    (write_in_bands if in_bands else write_raster)(path, array, None, None)
    with Image.open(path) as image:
        given = np.asarray(image)
    given = given[..., None] if given.ndim == 2 else given
    np.testing.assert_array_equal(np.moveaxis(given, -1, 0)[:channels], array)
    np.testing.assert_array_equal(read(path).values[:channels], array)


@pytest.mark.parametrize("suffix", ["png", "ppm", "jp2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_16_bits_are_written_without_loss(tmp_path: Path, suffix: str, channels: int) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    array = values((channels, 40, 51), np.uint16)
    path = tmp_path / f"a.{suffix}"
    write_raster(path, array)
    np.testing.assert_array_equal(read(path).values, array)
    if suffix != "ppm":
        given = (imagecodecs.png_decode if suffix == "png" else imagecodecs.jpeg2k_decode)(path.read_bytes())
        np.testing.assert_array_equal(np.moveaxis(given.reshape(40, 51, -1), -1, 0), array)


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_are_written_without_filters_and_photographs_with_them(tmp_path: Path, channels: int) -> None:
    """The type of filter stands before each row of a PNG: 0 is none."""
    pytest.importorskip("imagecodecs")
    rows, columns = np.mgrid[:48, :60]
    disk = np.where((rows - 24) ** 2 + (columns - 30) ** 2 < 300, 255, 0).astype(np.uint8)
    ramp = (2 * rows + 2 * columns).astype(np.uint8)
    for name, grey in (("disk", disk), ("ramp", ramp)):
        picture = np.stack([grey] * channels)
        write_raster(tmp_path / f"{name}.png", picture)
        np.testing.assert_array_equal(read(tmp_path / f"{name}.png").values, picture)
        content = (tmp_path / f"{name}.png").read_bytes()
        start = content.index(b"IDAT")
        length = int.from_bytes(content[start - 4 : start], "big")
        filters = set(zlib.decompress(content[start + 4 : start + 4 + length])[:: 60 * channels + 1])
        assert filters == {0} if name == "disk" else 0 not in filters


def test_a_jpeg_is_written_but_never_proposed(tmp_path: Path) -> None:
    array = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 3, (3, 64, 64))
    write_raster(tmp_path / "a.jpg", array)
    assert np.abs(read(tmp_path / "a.jpg").values.astype(int) - array).max() < 9
    assert lossless_suffix(info_of(tmp_path / "a.jpg")) == ".png"
    for suffix in (".tif", ".npy", ".png", ".ppm", ".webp"):
        write_raster(tmp_path / f"b{suffix.upper()}", array)
        assert lossless_suffix(info_of(tmp_path / f"b{suffix.upper()}")) == suffix
    Image.new("P", (4, 4)).save(tmp_path / "c.gif")
    assert lossless_suffix(info_of(tmp_path / "c.gif")) == ".png"


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "message"),
    [
        ("a.png", (3, 4, 5), "float32", "PNG holds uint8 and uint16, not float32"),
        ("a.png", (5, 4, 5), "uint8", "PNG holds 1 or 3 channels, not 5"),
        ("a.jpg", (3, 4, 5), "uint16", "JPEG holds uint8, not uint16"),
        ("a.gif", (3, 4, 5), "uint8", "no image is written with the suffix .gif"),
        ("a", (3, 4, 5), "uint8", r"no image is written with the suffix \(none\)"),
        ("a.npy", (3, 4, 5), "complex64", "not pixel values"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_raster(tmp_path / name, np.zeros(shape, dtype))
    assert not list(tmp_path.iterdir())


INPUTS: dict[str, dict[str, Any]] = {
    "pages": {"metadata": None, "photometric": "minisblack", "rowsperstrip": 5, "compression": "zlib"},
    "planar": {"planarconfig": "separate", "photometric": "minisblack"},
    "interleaved": {"planarconfig": "contig", "photometric": "minisblack", "resolution": (300, 150), "resolutionunit": 2},
    "miniswhite": {"photometric": "miniswhite"},
    "OME-TIFF": {
        "ome": True,
        "photometric": "minisblack",
        "metadata": {
            "axes": "CYX",
            "Channel": {"Name": ["a", "b", "01"]},
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.25,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeYUnit": "nm",
        },
    },
    "ImageJ TIFF": {
        "imagej": True,
        "resolution": (4.0, 4.0),
        "metadata": {"axes": "CYX", "Labels": ["a", "b", "01"], "unit": "um", "mode": "composite", "Ranges": (0.0, 9.0) * 3},
    },
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("in_bands", [False, True])
def test_a_tiff_comes_back_as_it_was(tmp_path: Path, kind: str, in_bands: bool) -> None:
    """Read and written again: tifffile sees the same values, layout, channel names and pixel sizes."""
    array = values((1 if kind == "miniswhite" else 3, 40, 51), np.uint16)
    stored = np.moveaxis(array, 0, -1) if kind == "interleaved" else array[0] if kind == "miniswhite" else array
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    tifffile.imwrite(source, stored, **INPUTS[kind])
    like = info_of(source)
    (write_in_bands if in_bands else write_raster)(target, read(source).values, None, like)
    np.testing.assert_array_equal(tifffile.imread(target), stored)
    with tifffile.TiffFile(source) as first, tifffile.TiffFile(target) as second:
        for name in ("photometric", "planarconfig", "samplesperpixel", "bitspersample", "dtype", "compression", "extrasamples"):
            assert getattr(first.pages[0], name) == getattr(second.pages[0], name), name
        assert len(first.pages) == len(second.pages)
        assert (first.is_ome, first.is_imagej) == (second.is_ome, second.is_imagej)
        if kind == "OME-TIFF":
            expected, given = (dict(re.findall(r'(\S+)="(.*?)"', file.ome_metadata)) for file in (first, second))
            for key in ("PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeXUnit", "PhysicalSizeYUnit", "SizeC", "Type"):
                assert expected[key] == given[key]
            assert re.findall(r'<Channel [^>]*Name="(.*?)"', second.ome_metadata) == ["a", "b", "01"]
        if kind == "ImageJ TIFF":
            kept = ("Labels", "unit", "mode", "Ranges", "channels")
            assert [first.imagej_metadata[key] for key in kept] == [second.imagej_metadata[key] for key in kept]
        for code in (282, 283, 296):
            assert first.pages[0].tags.valueof(code) == second.pages[0].tags.valueof(code)
    again = info_of(target)
    assert replace(like, path=target) == replace(again, tags=replace(again.tags, description=like.tags.description))


def test_imagej_keeps_the_calibration_of_values(tmp_path: Path) -> None:
    """Signed values of 16 bits are stored with an offset, and shown wrong by 32768 without their calibration."""
    calibration = {"cf": 0, "c0": -32768.0, "c1": 0.5, "vunit": "HU", "zeroclip": True}
    tifffile.imwrite(tmp_path / "a.tif", values((20, 30), np.uint16), imagej=True, metadata=calibration)
    like = info_of(tmp_path / "a.tif")
    write_raster(tmp_path / "b.tif", values((1, 20, 30), np.uint16), None, like)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.is_imagej and {key: file.imagej_metadata[key] for key in calibration} == calibration
    greek = replace(like, tags=replace(like.tags, imagej={**calibration, "unit": "µm", "vunit": "µmol"}))
    write_raster(tmp_path / "c.tif", values((1, 20, 30), np.uint16), None, greek)
    with tifffile.TiffFile(tmp_path / "c.tif") as file:
        assert (file.imagej_metadata["unit"], file.imagej_metadata["vunit"]) == (r"\u00b5m", r"\u00b5mol")


def test_names_of_one_channel_are_kept_by_ome(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", values((20, 30), np.uint16), metadata={"axes": "YX", "Channel": {"Name": "DNA"}})
    like = info_of(tmp_path / "a.ome.tif")
    assert like.names == ("DNA",)
    write_raster(tmp_path / "b.ome.tif", values((1, 20, 30), np.uint16), None, like)
    assert info_of(tmp_path / "b.ome.tif").names == ("DNA",)


def test_names_units_and_nodata_of_a_plain_tiff_are_kept(tmp_path: Path) -> None:
    array = values((2, 20, 30), np.int16)
    like = RasterInfo(
        Path("x.tif"),
        "TIFF",
        2,
        20,
        30,
        array.dtype,
        ("VV", "VH"),
        "dB",
        -9999.0,
        tags=FileTags(units=("dB", "dB"), layout="planar"),
    )
    write_raster(tmp_path / "b.tif", array, None, like)
    given = info_of(tmp_path / "b.tif")
    assert (given.names, given.unit, given.nodata) == (("VV", "VH"), "dB", -9999)
    rasterio = pytest.importorskip("rasterio")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(tmp_path / "b.tif") as dataset:
        assert (dataset.descriptions, dataset.units, dataset.nodata) == (("VV", "VH"), ("dB", "dB"), -9999)


def test_opacity_of_a_tiff_comes_back(tmp_path: Path) -> None:
    array = values((20, 30, 4), np.uint16)
    array[..., 3] = 65535
    array[2, 3, 3] = 0
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unassalpha"])
    given, present = read(tmp_path / "a.tif")
    like = info_of(tmp_path / "a.tif")
    for write in (write_raster, write_in_bands):
        write(tmp_path / "b.tif", given, present, like)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif"), array)
        write(tmp_path / "b.tif", given, None, like)  # what was hidden is filled in
        assert read(tmp_path / "b.tif").present is None


def test_resolution_and_profile_of_pictures_are_kept(tmp_path: Path) -> None:
    profile = b"any profile"
    Image.fromarray(values((20, 30, 3), np.uint8)).save(tmp_path / "a.png", dpi=(300, 200), icc_profile=profile)
    like = info_of(tmp_path / "a.png")
    assert like.tags.profile == profile
    write_raster(tmp_path / "b.png", values((3, 20, 30), np.uint8), None, like)
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == profile
        np.testing.assert_allclose(image.info["dpi"], (300, 200), atol=0.1)
    write_raster(tmp_path / "b.tif", values((3, 20, 30), np.uint8), None, like)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.info["icc_profile"] == profile
        np.testing.assert_allclose([float(each) for each in image.info["dpi"]], (300, 200), atol=0.1)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [*((suffix, "uint8") for suffix in ("png", "webp", "tga", "tif")), ("png", "uint16"), ("tif", "uint16")],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_absent_pixels_of_pictures_are_transparent(tmp_path: Path, suffix: str, channels: int, dtype: str) -> None:
    if dtype == "uint16":
        pytest.importorskip("imagecodecs")
    array = values((channels, 20, 30), dtype)
    present = values((1, 20, 30), np.uint8) > 50
    path = tmp_path / f"a.{suffix}"
    write_raster(path, array, present)
    given = read(path)
    assert given.present is not None
    np.testing.assert_array_equal(given.present, present)
    everywhere = np.broadcast_to(present, array.shape)
    np.testing.assert_array_equal(given.values[:channels][everywhere], array[everywhere])


def test_absent_pixels_hold_nan_or_nodata(tmp_path: Path) -> None:
    present = values((2, 20, 30), np.uint8) > 50
    for dtype, nodata in (("float32", None), ("float32", -9999.0), ("int16", -9999.0), ("uint8", 0.0)):
        array = values((2, 20, 30), dtype)
        array[array == (0 if nodata is None else nodata)] = 1
        like = RasterInfo(Path("x.tif"), "TIFF", 2, 20, 30, np.dtype(dtype), nodata=nodata)
        for suffix in ("tif", "npy"):
            for write in (write_raster, write_in_bands):
                path = tmp_path / f"a.{suffix}"
                write(path, array, present, like)
                stored = tifffile.imread(path) if suffix == "tif" else np.load(path)
                np.testing.assert_array_equal(
                    stored, np.where(present, array, np.array(np.nan if nodata is None else nodata, dtype))
                )
                given = read(path, nodata=nodata)
                assert given.present is not None
                np.testing.assert_array_equal(given.present, present)


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"),
    [("uint8", 0, 1), ("uint8", 255, 254), ("int16", -9999, -9998), ("float32", 0, np.nextafter(np.float32(0), np.float32(1)))],
)
def test_what_was_filled_in_never_reads_as_absent(tmp_path: Path, dtype: str, nodata: float, expected: float) -> None:
    array = np.full((2, 5, 6), nodata, dtype)
    array[0, 0, 0] = 7
    like = RasterInfo(Path("x.tif"), "TIFF", 2, 5, 6, np.dtype(dtype), nodata=float(nodata))
    write_raster(tmp_path / "a.tif", array, None, like)
    given = read(tmp_path / "a.tif")
    assert given.present is None
    assert given.values[0, 0, 0] == 7 and (given.values.ravel()[1:] == np.array(expected, dtype)).all()


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_absent_pixels_of_pictures_may_come_by_windows(tmp_path: Path, suffix: str) -> None:
    array = values((3, 20, 30), np.uint8)
    present = np.ones((1, 20, 30), np.bool_)
    present[0, 15:, 3] = False
    write_in_bands(tmp_path / f"a.{suffix}", array, present, None)
    given = read(tmp_path / f"a.{suffix}").present
    np.testing.assert_array_equal(given, present)


def test_a_tiff_by_windows_cannot_become_transparent_halfway(tmp_path: Path) -> None:
    present = np.ones((1, 20, 30), np.bool_)
    present[0, 15:, 3] = False
    with pytest.raises(DataError, match=r"cannot say that pixels hold no data.*data\.nodata"):
        write_in_bands(tmp_path / "a.tif", values((3, 20, 30), np.uint8), present, None)
    assert not list(tmp_path.iterdir())


def test_a_colour_that_was_filled_in_never_reads_as_absent(tmp_path: Path) -> None:
    array = np.zeros((3, 5, 6), np.uint8)
    array[2, 0, 0] = 200  # a blue: it is kept
    like = RasterInfo(Path("x.tif"), "TIFF", 3, 5, 6, np.dtype(np.uint8), nodata=0.0, is_colour=True)
    write_raster(tmp_path / "a.tif", array, None, like)
    given = read(tmp_path / "a.tif")
    assert given.present is None
    assert given.values[:, 0, 0].tolist() == [0, 0, 200] and (given.values[:, 1:] == 1).all()


@pytest.mark.parametrize("suffix", ["tif", "npy", "npz", "png"])
def test_what_is_never_written_is_zero(tmp_path: Path, suffix: str) -> None:
    with RasterWriter(tmp_path / f"a.{suffix}", None, 1, 20, 30, np.uint8):
        pass
    assert (read(tmp_path / f"a.{suffix}").values == np.zeros((1, 20, 30))).all()


def test_a_file_that_cannot_be_completed_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on the disk")

    with pytest.raises(OSError, match="no space"), RasterWriter(tmp_path / "a.tif", None, 1, 20, 30, np.uint8) as writer:
        writer.write(Window(0, 0, 10, 30), np.zeros((1, 10, 30), np.uint8))
        monkeypatch.setattr(tifffile.TiffWriter, "write", fail)
    assert not list(tmp_path.iterdir())


def test_imagej_has_no_other_types(tmp_path: Path) -> None:
    like = RasterInfo(Path("x.tif"), "ImageJ TIFF", 2, 20, 30, np.dtype(np.int16), ("a", "b"))
    write_raster(tmp_path / "a.tif", values((2, 20, 30), np.int16), None, like)
    given = info_of(tmp_path / "a.tif")
    assert (given.format, given.names) == ("TIFF", ("a", "b"))


@pytest.mark.parametrize("name", ["a.jpg", "a.bmp", "a.npy", "a.ppm"])
def test_formats_that_cannot_say_absent_refuse(tmp_path: Path, name: str) -> None:
    present = np.ones((1, 4, 5), np.bool_)
    write_raster(tmp_path / name, np.zeros((3, 4, 5), np.uint8), present)  # nothing is absent
    present[0, 1, 2] = False
    with pytest.raises(DataError, match=r"cannot say that pixels hold no data.*data\.nodata"):
        write_raster(tmp_path / f"b{name}", np.zeros((3, 4, 5), np.uint8), present)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_channels_that_differ_in_absence_need_a_value_for_it(tmp_path: Path) -> None:
    present = np.ones((3, 4, 5), np.bool_)
    present[1, 1, 2] = False
    for name in ("a.png", "a.tif"):
        with pytest.raises(DataError, match="without data in some channels only"):
            write_raster(tmp_path / name, np.zeros((3, 4, 5), np.uint8), present)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    for name in ("a.tif", "a.npy", "a.png"):
        write_raster(tmp_path / name, np.full((1, 40, 50), 3, np.uint8))
        with pytest.raises(RuntimeError), RasterWriter(tmp_path / name, None, 1, 40, 50, np.uint8) as writer:
            writer.write(Window(0, 0, 5, 50), np.zeros((1, 5, 50), np.uint8))
            raise RuntimeError
        assert (read(tmp_path / name).values == 3).all()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_writer_refuses_other_shapes_and_types(tmp_path: Path) -> None:
    with RasterWriter(tmp_path / "a.npy", None, 2, 4, 5, np.uint16) as writer:
        for wrong in (np.zeros((2, 4, 4), np.uint16), np.zeros((2, 4, 5), np.uint8)):
            with pytest.raises(ValueError, match="is expected"):
                writer.write(Window(0, 0, 4, 5), wrong)
    with pytest.raises(ValueError, match="inside its `with` block"):
        writer.write(Window(0, 0, 4, 5), np.zeros((2, 4, 5), np.uint16))


def test_values_of_the_other_byte_order_are_written(tmp_path: Path) -> None:
    array = values((2, 4, 5), ">i4")
    write_raster(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)


@pytest.mark.parametrize("shape", [(8, 9), (1, 8, 9), (3, 8, 9), (8, 9, 3), (8, 9, 1)])
def test_arrays_keep_their_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", values(shape, np.int16))
    write_raster(tmp_path / "b.npy", read(tmp_path / "a.npy").values, None, info_of(tmp_path / "a.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), values(shape, np.int16))


def test_another_size_covers_the_same_area_and_other_channels_have_no_names(tmp_path: Path) -> None:
    tags = FileTags(pixel_size=PixelSize(2.0, 1.0), resolution=Resolution(100, 50))
    like = RasterInfo(Path("x.tif"), "OME-TIFF", 2, 40, 60, np.dtype(np.uint16), ("a", "b"), tags=tags)
    with RasterWriter(tmp_path / "y.tif", like, 3, 20, 20, np.uint8) as writer:
        info = writer.info
        assert info.names == () and info.tags.pixel_size == PixelSize(4.0, 3.0) and info.tags.resolution == Resolution(100 / 3, 25)
        writer.write(info.whole, np.zeros((3, 20, 20), np.uint8))
