from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from raster_samples import read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import open_raster, write_raster
from vqkit.image_io.rasters.failures import reading_errors

DEEP, FLAT = values((3, 40, 50), np.uint16), values((3, 40, 50), np.uint8)


def _geotiff(path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5, 0, -10, 6), "compress": "deflate", "nodata": 3}
    with rasterio.open(path, "w", driver="GTiff", count=3, height=40, width=50, dtype="uint16", **place) as dataset:
        dataset.write(DEEP)


def _jpeg2000(path: Path) -> None:
    pytest.importorskip("imagecodecs")
    write_raster(path, DEEP)


FILES: dict[str, Callable[[Path], None]] = {
    "a.png": lambda path: write_raster(path, FLAT),
    "deep.png": lambda path: write_raster(path, DEEP[:1]),
    "a.jpg": lambda path: write_raster(path, FLAT),
    "a.webp": lambda path: write_raster(path, FLAT),
    "a.bmp": lambda path: write_raster(path, FLAT),
    "a.tga": lambda path: write_raster(path, FLAT),
    "a.ppm": lambda path: write_raster(path, FLAT),
    "deep.ppm": lambda path: write_raster(path, DEEP),
    "a.jp2": _jpeg2000,
    "a.gif": lambda path: Image.fromarray(FLAT[0]).save(path),
    "a.npy": lambda path: np.save(path, DEEP),
    "a.npz": lambda path: np.savez_compressed(path, DEEP),
    "pages.tif": lambda path: tifffile.imwrite(path, DEEP, photometric="minisblack"),
    "planar.tif": lambda path: tifffile.imwrite(path, DEEP, photometric="minisblack", planarconfig="separate"),
    "tiles.tif": lambda path: tifffile.imwrite(path, DEEP, photometric="minisblack", tile=(16, 16), compression="zlib"),
    "big.tif": lambda path: tifffile.imwrite(path, DEEP, photometric="minisblack", bigtiff=True),
    "ome.tif": lambda path: tifffile.imwrite(path, DEEP, photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
    "imagej.tif": lambda path: tifffile.imwrite(path, DEEP, imagej=True, metadata={"axes": "CYX"}),
    "geo.tif": _geotiff,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FILES[name](path)
    whole, data = read(path).values, path.read_bytes()
    for length in sorted({0, 1, 3, 9, 40, *(len(data) * part // 40 for part in range(1, 40))}):
        path.write_bytes(data[:length])
        try:
            given = read(path).values
        except DataError as error:
            assert name in error.message
        else:  # what was cut off was no part of the pixels
            np.testing.assert_array_equal(given, whole)
            assert length > len(data) * 0.8


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
def test_changed_bytes_are_read_or_refused_but_never_crash(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    FILES[name](path)
    data = path.read_bytes()
    refused = 0
    for number in range(60):
        numbers = np.frombuffer(hashlib.sha256(f"{name} {number}".encode()).digest(), np.uint32)
        damaged = bytearray(data)
        for place in numbers[: 1 + number % 4]:  # in the header every other time
            damaged[place % (len(data) if number % 2 else min(len(data), 300))] = int(numbers[-1]) >> (number % 24) & 255
        path.write_bytes(damaged)
        try:
            read(path)
        except DataError as error:
            refused += 1
            assert name in str(error)
    assert refused or name == "a.tga"  # of whose bytes nearly all are pixels


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jp2", "a.bin"])
def test_other_files_are_an_error_that_names_them(tmp_path: Path, name: str) -> None:
    for content in (
        b"",
        b"no picture at all\n",
        b"II*\0" + bytes(20),
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        b"\xff\x4f\xff\x51" + bytes(60),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name} cannot be read: it is damaged or not a picture. Replace or remove it."):
            open_raster(tmp_path / name)


def test_a_file_that_is_missing_or_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"There is no file .*a.png"):
        open_raster(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"The picture .*a.png may not be read"):
        open_raster(tmp_path / "a.png")


def test_a_compression_without_its_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="minisblack", compression="zlib")

    def lacking(*_: object, **__: object) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "decode", property(lambda _: lacking))
    with pytest.raises(
        DataError, match=r"a.tif is compressed in a way that needs the package imagecodecs. pip install imagecodecs"
    ):
        read(tmp_path / "a.tif")


def test_too_little_memory_is_no_damage() -> None:
    with pytest.raises(DataError, match=r"too little memory to read x\.tif"), reading_errors(Path("x.tif")):
        raise MemoryError
