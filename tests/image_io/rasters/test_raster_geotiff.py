from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from raster_samples import DTYPES, check_windows, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import FileTags, Georeference, RasterInfo, RasterWriter, Window, open_raster, write_raster

rasterio = pytest.importorskip("rasterio")

NORTH_UP = (10.0, 0.0, 500000.0, 0.0, -10.0, 4000000.0)


def write(path: Path, array: np.ndarray, **settings: Any) -> None:
    """A GeoTIFF in UTM zone 32 with pixels of 10 m."""
    profile = {"driver": "GTiff", "height": array.shape[1], "width": array.shape[2], "count": len(array), "dtype": array.dtype.name}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(*NORTH_UP)}
    with rasterio.open(path, "w", **(profile | place | {"photometric": "minisblack"} | settings)) as dataset:
        dataset.write(array)


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each != "float16"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_every_type_and_its_place_are_exact(tmp_path: Path, dtype: str, interleave: str) -> None:
    array = values((3, 40, 50), dtype)
    path = tmp_path / "a.tif"
    write(path, array, interleave=interleave, compress="deflate")
    with open_raster(path) as raster:
        info = raster.info
        assert (info.format, info.channels, info.height, info.width, info.dtype) == ("GeoTIFF", 3, 40, 50, np.dtype(dtype))
        assert info.tags.georeference is not None and info.tags.georeference.transform == NORTH_UP
        assert rasterio.crs.CRS.from_wkt(info.tags.georeference.crs) == rasterio.crs.CRS.from_epsg(32632)
        assert info.tags.layout == ("interleaved" if interleave == "pixel" else "planar")
        given, present = raster.read()
    np.testing.assert_array_equal(given, array)
    assert given.dtype == array.dtype and present is None
    check_windows(path)


def test_float16_is_not_widened(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.float16)
    write(tmp_path / "a.tif", array.astype(np.float32), nbits=16)
    given = read(tmp_path / "a.tif").values
    assert given.dtype == np.float16
    np.testing.assert_array_equal(given, array)


def test_names_units_and_nodata(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.int16)
    array[1, 3, 4] = -9999
    write(tmp_path / "a.tif", array, nodata=-9999)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.descriptions, dataset.units = ("VV", "VH"), ("dB", "dB")
    with open_raster(tmp_path / "a.tif") as raster:
        assert (raster.info.names, raster.info.unit, raster.info.nodata) == (("VV", "VH"), "dB", -9999)
        present = raster.read().present
    assert present is not None and np.argwhere(~present).tolist() == [[1, 3, 4]]
    given = read(tmp_path / "a.tif", nodata=5)
    assert given.present is None or given.present[1, 3, 4]
    check_windows(tmp_path / "a.tif")


@pytest.mark.parametrize("where", ["in the file", "beside it"])
def test_a_mask_for_the_whole_file(tmp_path: Path, where: str) -> None:
    array = values((2, 40, 50), np.uint16)
    mask = values((40, 50), np.uint8) > 60
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=where == "in the file"):
        write(tmp_path / "a.tif", array)
        with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
            dataset.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists() == (where == "beside it")
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, array)
    assert present is not None
    np.testing.assert_array_equal(present[0], mask)
    check_windows(tmp_path / "a.tif")


def test_a_mask_beside_a_tiff_that_lies_nowhere(tmp_path: Path) -> None:
    array = values((1, 40, 50), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array[0])
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
            dataset.write_mask(array[0] > 999)
    assert (tmp_path / "a.tif.msk").exists()
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, array)
    assert present is not None
    np.testing.assert_array_equal(present, array > 999)


def test_opacity_is_no_band(tmp_path: Path) -> None:
    array = values((5, 40, 50), np.uint16)
    array[4] = 65535
    array[4, 3, 4] = 0
    write(tmp_path / "a.tif", array, alpha="unspecified")
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:4], rasterio.enums.ColorInterp.alpha]
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, array[:4])
    assert present is not None and np.argwhere(~present[0]).tolist() == [[3, 4]]
    check_windows(tmp_path / "a.tif")


def test_colours_and_palettes(tmp_path: Path) -> None:
    write(tmp_path / "rgb.tif", values((3, 40, 50), np.uint8), photometric="rgb")
    with open_raster(tmp_path / "rgb.tif") as raster:
        assert raster.info.is_colour
    indices = values((1, 40, 50), np.uint8) % 4
    colours = {0: (9, 8, 7, 255), 1: (255, 0, 1, 255), 2: (2, 3, 4, 255), 3: (0, 0, 0, 0)}
    write(tmp_path / "land.tif", indices, photometric="palette", nodata=3)
    with rasterio.open(tmp_path / "land.tif", "r+") as dataset:
        dataset.write_colormap(1, colours)
    given, present = read(tmp_path / "land.tif")
    np.testing.assert_array_equal(given, np.array([colours[index][:3] for index in range(4)], np.uint8).T[:, indices[0]])
    assert present is not None
    np.testing.assert_array_equal(present, indices != 3)


def test_where_zero_is_white(tmp_path: Path) -> None:
    array = values((1, 40, 50), np.uint16)
    write(tmp_path / "a.tif", array, photometric="miniswhite", nodata=int(array[0, 0, 0]))
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, 65535 - array)
    assert present is not None
    np.testing.assert_array_equal(present, array != array[0, 0, 0])


def test_overviews_are_not_other_images(tmp_path: Path) -> None:
    array = values((2, 512, 512), np.uint16)
    write(tmp_path / "a.tif", array, tiled=True)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.build_overviews([2, 4])
    np.testing.assert_array_equal(read(tmp_path / "a.tif").values, array)


def test_pages_that_lie_somewhere_are_refused(tmp_path: Path) -> None:
    tags = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0,) * 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", values((3, 40, 50), np.uint16), photometric="minisblack", extratags=tags, metadata=None)
    with pytest.raises(DataError, match="GeoTIFF of 3 pages"):
        open_raster(tmp_path / "a.tif")


def test_without_the_extra_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", values((2, 40, 50), np.uint16))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(DataError, match=r"a.tif is a GeoTIFF: it is read with the package rasterio.*pip install 'vqkit\[geo\]'"):
        open_raster(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", values((40, 50), np.uint16))
    (tmp_path / "b.tif.aux.xml").write_text("<PAMDataset><PAMRasterBand><Metadata/></PAMRasterBand></PAMDataset>")
    assert read(tmp_path / "b.tif").present is None  # QGIS leaves such files beside everything it shows
    (tmp_path / "b.tif.aux.xml").write_text("<PAMDataset><PAMRasterBand><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>")
    with pytest.raises(DataError, match=r"vqkit\[geo\]"):
        open_raster(tmp_path / "b.tif")


def test_a_world_file_says_where_a_tiff_lies(tmp_path: Path) -> None:
    array = values((40, 50), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", array)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n3999995\n")  # the centre of the first pixel
    write_again(tmp_path)
    (tmp_path / "a.tfw").unlink()
    with rasterio.open(tmp_path / "b.tif") as dataset:
        assert tuple(dataset.transform)[:6] == NORTH_UP
        np.testing.assert_array_equal(dataset.read(1), array)


def test_nodata_beside_a_tiff_counts(tmp_path: Path) -> None:
    array = values((40, 50), np.uint16)
    tifffile.imwrite(tmp_path / "b.tif", array)
    text = f"<NoDataValue>{array[0, 0]}</NoDataValue>"
    (tmp_path / "b.tif.aux.xml").write_text(f'<PAMDataset><PAMRasterBand band="1">{text}</PAMRasterBand></PAMDataset>')
    present = read(tmp_path / "b.tif").present
    assert present is not None
    np.testing.assert_array_equal(present[0], array != array[0, 0])


def everything(path: Path) -> dict[str, Any]:
    """What rasterio says of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            names = (
                *("crs", "transform", "nodata", "descriptions", "units", "scales", "offsets", "colorinterp", "dtypes", "count"),
                *("width", "height", "interleaving", "photometric"),
            )
            found = {name: getattr(dataset, name) for name in names}
            points, crs = dataset.gcps
            found |= {"points": [(point.row, point.col, point.x, point.y, point.z) for point in points], "points crs": crs}
            found |= {"texts": dataset.tags(), "band texts": [dataset.tags(band + 1) for band in range(dataset.count)]}
            found |= {"rational": dataset.tags(ns="RPC"), "bits": dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")}
            return found | {"values": dataset.read(), "mask": dataset.dataset_mask()}


def check_same(first: Path, second: Path, without: tuple[str, ...] = ()) -> None:
    expected, given = everything(first), everything(second)
    for name, content in expected.items():
        if name in ("values", "mask"):
            np.testing.assert_array_equal(given[name], content, name)
        elif name not in without:
            assert given[name] == content, name


@pytest.mark.parametrize("dtype", [each for each in DTYPES if each != "float16"])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("in_bands", [False, True])
def test_a_geotiff_comes_back_as_it_was(tmp_path: Path, dtype: str, interleave: str, in_bands: bool) -> None:
    array = values((4, 300, 310), dtype)
    write(tmp_path / "a.tif", array, interleave=interleave, nodata=7, compress="deflate")
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.descriptions, dataset.units = ("B02", "B03", "B04", "B08"), ("1",) * 4
        dataset.scales, dataset.offsets = (0.0001,) * 4, (0.0, 0.0, 0.5, 0.0)
        dataset.update_tags(AREA_OR_POINT="Point", ACQUIRED="2026-01-02")
        dataset.update_tags(2, WAVELENGTH="560")
    write_again(tmp_path, in_bands)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")


def write_again(folder: Path, in_bands: bool = False) -> None:
    """Read a.tif and write it as b.tif."""
    with open_raster(folder / "a.tif") as raster:
        info = raster.info
        with RasterWriter(folder / "b.tif", info, info.channels, info.height, info.width, info.dtype) as writer:
            step = 70 if in_bands else info.height
            for top in range(0, info.height, step):
                window = Window(top, 0, min(step, info.height - top), info.width)
                writer.write(window, *raster.read(window))
    assert sorted(file.name for file in folder.iterdir() if file.name[0] != "a") == ["b.tif"]


def test_float16_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", values((2, 40, 50), np.float16).astype(np.float32), nbits=16)
    write_again(tmp_path)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")
    assert everything(tmp_path / "b.tif")["bits"] == "16"


@pytest.mark.parametrize("in_bands", [False, True])
@pytest.mark.parametrize("first_absent_row", [0, 200])
def test_masks_come_back(tmp_path: Path, in_bands: bool, first_absent_row: int) -> None:
    mask = values((300, 310), np.uint8) > 60
    mask[:first_absent_row] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(tmp_path / "a.tif", values((2, 300, 310), np.uint16))
        with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
            dataset.write_mask(mask)
    write_again(tmp_path, in_bands)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(everything(tmp_path / "b.tif")["mask"] > 0, mask)


@pytest.mark.parametrize("in_bands", [False, True])
def test_absent_pixels_without_a_value_for_them_get_a_mask(tmp_path: Path, in_bands: bool) -> None:
    array = values((2, 300, 310), np.uint16)
    write(tmp_path / "a.tif", array)
    with open_raster(tmp_path / "a.tif") as raster:
        info = raster.info
    present = np.ones((1, 300, 310), np.bool_)
    present[0, 250:, 7] = False
    with RasterWriter(tmp_path / "b.tif", info, 2, 300, 310, np.uint16) as writer:
        for top in range(0, 300, 100 if in_bands else 300):
            window = Window(top, 0, 100 if in_bands else 300, 310)
            writer.write(window, array[:, window.rows], present[:, window.rows])
    given = everything(tmp_path / "b.tif")
    np.testing.assert_array_equal(given["mask"] > 0, present[0])
    np.testing.assert_array_equal(given["values"], array)
    with pytest.raises(DataError, match="without data in some channels only"):
        write_raster(tmp_path / "c.tif", array, np.stack([present[0], ~present[0]]), info)


def test_opacity_colours_and_white_come_back(tmp_path: Path) -> None:
    array = values((5, 40, 50), np.uint16)
    array[4] = 65535
    array[4, 3, 4] = 0
    write(tmp_path / "a.tif", array, alpha="unspecified")
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.colorinterp = [*dataset.colorinterp[:4], rasterio.enums.ColorInterp.alpha]
    write_again(tmp_path)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")
    write(tmp_path / "a.tif", values((3, 40, 50), np.uint8), photometric="rgb")
    write_again(tmp_path)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")
    write(tmp_path / "a.tif", values((1, 40, 50), np.uint16), photometric="miniswhite", nodata=9)
    write_again(tmp_path)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_ground_control_points_and_rational_polynomials_come_back(tmp_path: Path) -> None:
    points = [
        rasterio.control.GroundControlPoint(row, column, 5e5 + column, 4e6 - row, 7.0) for row, column in ((0, 0), (0, 9), (9, 5))
    ]
    write(tmp_path / "a.tif", values((1, 40, 50), np.uint16), transform=None, crs=None)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.gcps = (points, rasterio.crs.CRS.from_epsg(32632))
    write_again(tmp_path)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")
    coefficients = " ".join(f"{number / 7:.10g}" for number in range(20))
    texts = dict.fromkeys(("LINE_NUM_COEFF", "LINE_DEN_COEFF", "SAMP_NUM_COEFF", "SAMP_DEN_COEFF"), coefficients)
    offsets = ("LINE_OFF", "SAMP_OFF", "LAT_OFF", "LONG_OFF", "HEIGHT_OFF", "LINE_SCALE", "SAMP_SCALE", "LAT_SCALE", "LONG_SCALE")
    texts |= dict.fromkeys((*offsets, "HEIGHT_SCALE"), "2")
    write(tmp_path / "a.tif", values((1, 40, 50), np.uint16), transform=None, crs=None)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.update_tags(ns="RPC", **texts)
    write_again(tmp_path)
    check_same(tmp_path / "a.tif", tmp_path / "b.tif")
    assert everything(tmp_path / "b.tif")["rational"]["LAT_OFF"] == "2"


def test_a_geotiff_of_other_values_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", values((1, 40, 50), np.float32).astype(np.complex64))
    with pytest.raises(DataError, match=r"a\.tif holds values of type complex64"):
        open_raster(tmp_path / "a.tif")


def test_each_band_may_have_a_mask_of_its_own(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.uint16)
    masks = np.where(values((2, 40, 50), np.uint8) > 99, 255, 0).astype(np.uint8)
    write(tmp_path / "a.tif", array)
    profile = {"driver": "GTiff", "height": 40, "width": 50, "count": 2, "dtype": "uint8", "photometric": "minisblack"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "a.tif.msk.tif", "w", **profile) as dataset:
            dataset.write(masks)
            dataset.update_tags(INTERNAL_MASK_FLAGS_1="0", INTERNAL_MASK_FLAGS_2="0")
    (tmp_path / "a.tif.msk.tif").rename(tmp_path / "a.tif.msk")
    given, present = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given, array)
    assert present is not None
    np.testing.assert_array_equal(present, masks > 0)
    check_windows(tmp_path / "a.tif")


def test_opacity_is_written_without_roles_of_colours_too(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.uint16)
    place = Georeference("EPSG:32632", NORTH_UP)
    like = RasterInfo(Path("x.tif"), "GeoTIFF", 2, 40, 50, array.dtype, tags=FileTags(georeference=place, opacity=True))
    present = values((1, 40, 50), np.uint8) > 99
    write_raster(tmp_path / "a.tif", array, present, like)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), [*array, np.where(present[0], 65535, 0)])
        assert dataset.colorinterp[-1].name == "alpha"
    given = read(tmp_path / "a.tif")
    np.testing.assert_array_equal(given.values, array)
    np.testing.assert_array_equal(given.present, present)


def test_a_geotiff_whose_writing_fails_is_not_there(tmp_path: Path) -> None:
    like = RasterInfo(Path("x.tif"), "GeoTIFF", 1, 40, 50, np.dtype(np.uint16))
    with pytest.raises(RuntimeError), RasterWriter(tmp_path / "a.tif", like, 1, 40, 50, np.uint16) as writer:
        writer.write(Window(0, 0, 20, 50), np.zeros((1, 20, 50), np.uint16))
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_part_and_another_size_lie_where_they_belong(tmp_path: Path) -> None:
    array = values((1, 40, 50), np.uint16)
    write(tmp_path / "a.tif", array)
    window = Window(4, 10, 20, 30)
    with open_raster(tmp_path / "a.tif") as raster:
        write_raster(tmp_path / "b.tif", raster.read(window).values, None, raster.info.cropped(window))
        write_raster(tmp_path / "c.tif", array[:, ::2, ::5].copy(), None, raster.info)
    with (
        rasterio.open(tmp_path / "a.tif") as whole,
        rasterio.open(tmp_path / "b.tif") as part,
        rasterio.open(tmp_path / "c.tif") as small,
    ):
        assert tuple(part.transform)[:6] == (10.0, 0.0, 500100.0, 0.0, -10.0, 3999960.0)
        assert small.bounds == whole.bounds and (small.height, small.width) == (20, 10)
