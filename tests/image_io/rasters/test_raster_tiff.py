from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from raster_samples import DTYPES, check_windows, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import PixelSize, open_raster, write_raster


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "uint64"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_every_type_and_byte_order_is_exact(tmp_path: Path, dtype: str, order: str, big: bool) -> None:
    array = values((2, 20, 30), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, byteorder=order, bigtiff=big, photometric="minisblack")
    with open_raster(path) as raster:
        assert raster.info.dtype == np.dtype(dtype) and raster.info.dtype.isnative
        given, present = raster.read()
    np.testing.assert_array_equal(given, array)
    assert given.dtype == np.dtype(dtype) and given.dtype.isnative and present is None
    check_windows(path)


LAYOUTS: dict[str, dict[str, Any]] = {
    "pages": {},
    "pages without metadata": {"metadata": None},
    "planar": {"planarconfig": "separate"},
    "interleaved": {"planarconfig": "contig"},
    "OME-TIFF": {"ome": True, "metadata": {"axes": "CYX"}},
    "ImageJ TIFF": {"imagej": True, "metadata": {"axes": "CYX"}},
}
STORAGE: dict[str, dict[str, Any]] = {
    "one strip": {},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "lzw tiles with predictor": {"compression": "lzw", "tile": (16, 16), "predictor": True},
    "zstd": {"compression": "zstd"},
}


@pytest.mark.parametrize(
    ("layout", "storage"),
    [(layout, storage) for layout in LAYOUTS for storage in STORAGE if layout != "ImageJ TIFF" or storage == "one strip"],
)
def test_every_layout_and_storage_is_exact(tmp_path: Path, layout: str, storage: str) -> None:
    if storage.startswith(("lzw", "zstd")):
        pytest.importorskip("imagecodecs")
    array = values((5, 40, 50), np.uint16)
    stored = np.moveaxis(array, 0, -1) if layout == "interleaved" else array
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, **({"photometric": "minisblack"} | LAYOUTS[layout] | STORAGE[storage]))
    with open_raster(path) as raster:
        info = raster.info
        assert (info.channels, info.height, info.width, info.is_colour) == (5, 40, 50, False)
        assert info.tags.layout == (layout if layout in ("planar", "interleaved") else "pages")
        assert info.format == (layout if layout in ("OME-TIFF", "ImageJ TIFF") else "TIFF")
        assert info.tags.compressed == ("compression" in STORAGE[storage])
        np.testing.assert_array_equal(raster.read().values, array)
    check_windows(path)


def test_thirteen_interleaved_samples_are_thirteen_channels(tmp_path: Path) -> None:
    array = values((48, 48, 13), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, np.moveaxis(array, -1, 0))


def test_colours_and_an_infrared_sample_are_four_channels(tmp_path: Path) -> None:
    array = values((20, 30, 4), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extrasamples=["unspecified"])
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, np.moveaxis(array, -1, 0))
    assert present is None


def test_pages_of_colours_are_channels_page_by_page(tmp_path: Path) -> None:
    array = values((4, 20, 30, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb")
    given = read(tmp_path / "a.tif").values
    np.testing.assert_array_equal(given, np.moveaxis(array, -1, 1).reshape(12, 20, 30))
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("colours", [1, 3, 5])
def test_an_opacity_sample_is_no_channel(tmp_path: Path, kind: str, dtype: str, colours: int) -> None:
    greatest = np.iinfo(dtype).max
    array = values((20, 30, colours + 1), dtype)
    array[..., -1] = greatest
    array[3, 4, -1] = 0
    array[5, 6, -1] = greatest // 2
    if kind == "assocalpha":
        array[5, 6, :-1] //= 2
        array[3, 4, :-1] = 0
    extra = ["unspecified"] * (colours - 1 if colours != 3 else 0) + [kind]
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="rgb" if colours == 3 else "minisblack", extrasamples=extra, planarconfig="contig"
    )
    given, present = read(tmp_path / "a.tif")
    assert present is not None and np.argwhere(~present[0]).tolist() == [[3, 4]]
    expected = np.moveaxis(array[..., :-1], -1, 0).astype(int)
    if dtype == "uint8" and colours < 5:  # a picture: painted on white
        light = expected[:, 5, 6] if kind == "assocalpha" else expected[:, 5, 6] * 127 / 255
        np.testing.assert_allclose(given[:, 5, 6], np.minimum(light + 128, 255), atol=1)
        assert (given[:, 3, 4] == 255).all()
        expected[:, [5, 3], [6, 4]] = given[:, [5, 3], [6, 4]]
    np.testing.assert_array_equal(given, expected)
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_where_zero_is_white_values_are_inverted(tmp_path: Path, dtype: str, compression: str | None) -> None:
    array = values((20, 30), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite", compression=compression)
    given = read(tmp_path / "a.tif").values[0]
    total = -1 if dtype == "int16" else np.iinfo(dtype).max
    np.testing.assert_array_equal(given.astype(np.int64) + array.astype(np.int64), np.full_like(array, total, np.int64))
    if dtype == "uint8":
        np.testing.assert_array_equal(given, np.asarray(Image.open(tmp_path / "a.tif")))


def test_float_grey_is_never_inverted(tmp_path: Path) -> None:
    array = values((20, 30), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values[0], array)


@pytest.mark.parametrize("white", [False, True])
def test_one_bit_is_0_and_255(tmp_path: Path, white: bool) -> None:
    array = values((20, 30), np.uint8) > 99
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite" if white else "minisblack")
    given = read(tmp_path / "a.tif").values[0]
    np.testing.assert_array_equal(given, np.where(array ^ white, 255, 0))
    np.testing.assert_array_equal(given, np.asarray(Image.open(tmp_path / "a.tif").convert("L")))
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_other_depths_are_not_scaled(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("imagecodecs", minversion="2026.1")  # older ones read but do not write these depths
    array = values((20, 30), np.uint16) >> (16 - bits)
    tifffile.imwrite(tmp_path / "a.tif", array, bitspersample=bits, photometric="minisblack")
    given = read(tmp_path / "a.tif").values[0]
    assert given.dtype == np.uint16
    np.testing.assert_array_equal(given, array)


def test_four_bits_are_scaled_to_eight_as_by_pillow(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", minversion="2026.1")
    array = values((20, 30), np.uint8) >> 4
    tifffile.imwrite(tmp_path / "a.tif", array, bitspersample=4, photometric="minisblack")
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values[0], array * 17)


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    indices = values((20, 30), np.uint8)
    palette = values((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=palette)
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.info.is_colour and raster.info.channels == 3
        given = raster.read().values
    np.testing.assert_array_equal(given, (palette >> 8)[:, indices])
    np.testing.assert_array_equal(np.moveaxis(given, 0, -1), np.asarray(Image.open(tmp_path / "a.tif").convert("RGB")))
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_other_colours_of_8_bits_become_red_green_and_blue(tmp_path: Path, mode: str) -> None:
    pixels = values((20, 30, len(mode)), np.uint8)
    Image.merge(mode, [Image.fromarray(np.ascontiguousarray(pixels[..., band])) for band in range(len(mode))]).save(
        tmp_path / "a.tif"
    )
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == mode
        expected = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0)
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, expected)


def test_jpeg_in_a_tiff_is_decoded(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    smooth = np.add.outer(np.arange(64), np.arange(64))[..., None] + np.array([0, 40, 80])
    tifffile.imwrite(tmp_path / "a.tif", smooth.astype(np.uint8), photometric="rgb", compression="jpeg", tile=(32, 32))
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.info.is_colour
        given = np.moveaxis(raster.read().values, 0, -1).astype(int)
    assert np.abs(given - smooth).mean() < 4
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    array = values((20, 30, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
    with Image.open(tmp_path / "a.tif") as image:
        expected = np.moveaxis(np.asarray(ImageOps.exif_transpose(image)), -1, 0)
    with open_raster(tmp_path / "a.tif") as raster:
        assert (raster.info.height, raster.info.width) == expected.shape[1:]
        np.testing.assert_array_equal(raster.read().values, expected)
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "ZCYX"])
@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_depth_and_time_are_refused(tmp_path: Path, axes: str, kind: str) -> None:
    shape = (4, 2, 20, 30)[-len(axes) :] if len(axes) == 4 else (4, 20, 30)
    tifffile.imwrite(
        tmp_path / "a.tif", values(shape, np.uint16), photometric="minisblack", metadata={"axes": axes}, **{kind: True}
    )
    with pytest.raises(DataError, match=f"4 along {axes[0]}"):
        open_raster(tmp_path / "a.tif")


def test_two_axes_that_may_be_channels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values((2, 3, 20, 30), np.uint16), photometric="minisblack")
    with pytest.raises(DataError, match="planes that are not channels of one image: 2 along Q"):
        open_raster(tmp_path / "a.tif")


def test_depth_and_time_of_length_one_do_not_matter(tmp_path: Path) -> None:
    array = values((1, 1, 3, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", array, photometric="minisblack", metadata={"axes": "TZCYX"})
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif").values, array[0, 0])


def test_pages_of_several_sizes_are_refused_and_overviews_are_not(tmp_path: Path) -> None:
    array = values((64, 64), np.uint16)
    for reduced in (0, 1):
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            writer.write(array, metadata=None, photometric="minisblack")
            writer.write(array[:30, :20], metadata=None, photometric="minisblack", subfiletype=reduced)
        if reduced:
            np.testing.assert_array_equal(read(tmp_path / "a.tif").values[0], array)
        else:
            with pytest.raises(DataError, match=r"holds 2 images \(64 x 64 uint16, 30 x 20 uint16\) where one is expected"):
                open_raster(tmp_path / "a.tif")


def test_names_and_pixel_sizes_of_ome(tmp_path: Path) -> None:
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["DAPI", "GFP", "01"]},
        "PhysicalSizeX": 0.325,
        "PhysicalSizeY": 0.65,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeYUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", values((3, 20, 30), np.uint16), metadata=metadata, photometric="minisblack")
    with open_raster(tmp_path / "a.ome.tif") as raster:
        assert raster.info.names == ("DAPI", "GFP", "01")
        assert raster.info.tags.pixel_size == PixelSize(0.65, 0.325, "nm")


def test_labels_of_imagej_are_names(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Labels": ["bt", "fpu"], "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", values((2, 20, 30), np.uint16), imagej=True, metadata=metadata)
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.info.names == ("bt", "fpu")
        assert raster.info.tags.imagej["unit"] == "um"


def test_nodata_names_and_units_as_gdal_writes_them(tmp_path: Path) -> None:
    array = values((20, 30, 2), np.int16)
    array[3, 4, 1] = -9999
    text = "<GDALMetadata>" + "".join(
        f'<Item name="DESCRIPTION" sample="{number}" role="description">B{number}</Item>'
        f'<Item name="UNITTYPE" sample="{number}" role="unittype">dB</Item>'
        for number in range(2)
    )
    tags = [(42113, "s", 0, "-9999", True), (42112, "s", 0, text + "</GDALMetadata>", True)]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig", extratags=tags)
    with open_raster(tmp_path / "a.tif") as raster:
        assert (raster.info.names, raster.info.unit, raster.info.nodata) == (("B0", "B1"), "dB", -9999)
        present = raster.read().present
    assert present is not None and np.argwhere(~present).tolist() == [[1, 3, 4]]
    with open_raster(tmp_path / "a.tif", nodata=int(array[0, 0, 0])) as raster:
        present = raster.read().present
    assert present is not None and not present[0, 0, 0] and present[1, 3, 4]


def test_nodata_where_zero_is_white_is_that_of_the_stored_value(tmp_path: Path) -> None:
    array = values((20, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite", extratags=[(42113, "s", 0, "9", True)])
    present = read(tmp_path / "a.tif").present
    assert present is not None
    np.testing.assert_array_equal(present[0], array != 9)


@pytest.mark.parametrize("layout", ["pages", "planar", "interleaved"])
def test_large_pages_are_mapped_part_by_part(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.image_io.rasters.tiff_segments._READ_BYTES", 0)
    monkeypatch.setattr("vqkit.image_io.rasters.mapping._MAPPED_BYTES", 1000)
    array = values((5, 40, 50), np.uint16)
    stored = np.moveaxis(array, 0, -1) if layout == "interleaved" else array
    tifffile.imwrite(tmp_path / "a.tif", stored, byteorder=">", **({"photometric": "minisblack"} | LAYOUTS[layout]))
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, array)
    check_windows(tmp_path / "a.tif")


def test_opacity_of_several_pages_belongs_to_each(tmp_path: Path) -> None:
    array = values((3, 20, 30, 2), np.uint16)
    array[..., 1] = np.where(array[..., 1] > 30000, 65535, 0)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, array[..., 0])
    assert present is not None
    np.testing.assert_array_equal(present, array[..., 1] > 0)
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("nodata", [None, "7"])
@pytest.mark.parametrize("planar", [False, True])
def test_tiles_that_the_file_leaves_out_hold_nodata_or_zero(tmp_path: Path, nodata: str | None, planar: bool) -> None:
    array = values((2, 32, 32), np.uint16)
    tags = [] if nodata is None else [(42113, "s", 0, nodata, True)]
    stored = array if planar else np.moveaxis(array, 0, -1)
    config = "separate" if planar else "contig"
    settings: dict[str, Any] = {"photometric": "minisblack", "planarconfig": config, "tile": (16, 16), "extratags": tags}
    tifffile.imwrite(tmp_path / "a.tif", stored, compression="zlib", metadata=None, **settings)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        counts = tif.pages.first.tags[325]
        counts.overwrite([0, *counts.value[1:]])
    given, present = read(tmp_path / "a.tif")
    expected = array.copy()
    expected[: 1 if planar else 2, :16, :16] = int(nodata or 0)
    np.testing.assert_array_equal(given, expected)
    assert (present is None) == (nodata is None)
    if present is not None:
        np.testing.assert_array_equal(present, expected != 7)


def test_a_volume_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", values((4, 32, 32), np.uint16), volumetric=True, tile=(2, 16, 16), photometric="minisblack"
    )
    with pytest.raises(DataError, match="planes that are not channels of one image"):
        open_raster(tmp_path / "a.tif")


def test_an_image_in_several_files_is_refused(tmp_path: Path) -> None:
    array = values((2, 20, 30), np.uint16)
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", array, metadata={"axes": "CYX"}, photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        text = tif.ome_metadata
    start, end = text.index("<TiffData"), text.rindex("</Pixels>")
    planes = "".join(
        f'<TiffData FirstC="{number}" IFD="0" PlaneCount="1"><UUID FileName="{name}.ome.tif">urn:uuid:{name}</UUID></TiffData>'
        for number, name in enumerate(("a", "b"))
    )
    for name in ("a", "b"):
        described = text[:start] + planes + text[end:]
        described = re.sub(r'UUID="urn:uuid:[^"]*"', f'UUID="urn:uuid:{name}"', described)
        tifffile.imwrite(tmp_path / f"{name}.ome.tif", array[0], description=described, metadata=None, photometric="minisblack")
    with pytest.raises(DataError, match=r"a\.ome\.tif is one file of an OME-TIFF of several files"):
        open_raster(tmp_path / "a.ome.tif")


def test_pieces_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values((32, 32), np.uint16), compression="zlib")
    monkeypatch.setattr("vqkit.image_io.rasters.tiff_segments.MAX_READ_BYTES", 1000)
    with pytest.raises(DataError, match=r"a\.tif is compressed in pieces of more than 2 GiB"):
        open_raster(tmp_path / "a.tif")


def test_only_a_jpeg_is_read_at_a_fraction(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values((32, 32), np.uint16))
    with open_raster(tmp_path / "a.tif") as raster:
        assert raster.read_at_least(4, 4).values.shape == (1, 32, 32)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.complex64))
    with pytest.raises(DataError, match=r"a.tif holds values of type complex64"):
        open_raster(tmp_path / "a.tif")


def test_texts_that_are_not_ascii_are_kept(tmp_path: Path) -> None:
    array = values((2, 8, 8), "uint8")
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", description="5 µm, Zürich".encode(), metadata=None)
    with open_raster(tmp_path / "a.tif") as raster:
        info = raster.info
    named = replace(info, names=("größe", "β"), tags=replace(info.tags, units=("µm", "°C")))
    write_raster(tmp_path / "b.tif", array, None, named)
    with open_raster(tmp_path / "b.tif") as raster:
        assert (raster.info.tags.description, raster.info.names) == ("5 µm, Zürich", ("größe", "β"))
        assert raster.info.tags.units == ("µm", "°C")
