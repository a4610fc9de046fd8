from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_samples import DTYPES, check_windows, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import FileTags, PixelSize, RasterInfo, RasterWriter, Window, open_raster, write_raster

zarr = pytest.importorskip("zarr")

VERSIONS = ["0.4", "0.5"] if zarr.__version__ >= "3" else ["0.4"]
"""Of OME-Zarr that can be read: 0.5 is stored as Zarr 3, which zarr 3 reads."""

AXES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def write(path: Path, array: np.ndarray, axes: str = "cyx", **attributes: Any) -> None:
    """An OME-Zarr of NGFF 0.4 with pixels of 0.5 x 0.25 micrometres, made by zarr itself."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2) if zarr.__version__ >= "3" else zarr.open_group(str(path), mode="w")
    chunks = (1,) * (array.ndim - 2) + (16, 16)
    if zarr.__version__ >= "3":
        group.create_array("0", data=array, chunks=chunks)
    else:
        group.create_dataset("0", data=array, chunks=chunks)
    scale = [{"y": 0.5, "x": 0.25}.get(axis, 1.0) for axis in axes]
    described = [{"name": axis, "type": AXES[axis], **({"unit": "micrometer"} if axis in "yx" else {})} for axis in axes]
    dataset = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    group.attrs.update({"multiscales": [{"version": "0.4", "axes": described, "datasets": [dataset]}], **attributes})


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_is_exact(tmp_path: Path, dtype: str) -> None:
    array = values((3, 40, 50), dtype)
    write(tmp_path / "a.zarr", array, omero={"channels": [{"label": label} for label in ("DAPI", "GFP", "01")]})
    with open_raster(tmp_path / "a.zarr") as raster:
        info = raster.info
        assert (info.format, info.channels, info.height, info.width) == ("OME-Zarr", 3, 40, 50)
        assert (info.dtype, info.names) == (np.dtype(dtype), ("DAPI", "GFP", "01"))
        assert info.tags.pixel_size == PixelSize(0.5, 0.25, "µm")
        given, present = raster.read()
    np.testing.assert_array_equal(given, array)
    assert given.dtype == array.dtype and present is None
    check_windows(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("axes", "shape"), [("yx", (40, 50)), ("zyx", (1, 40, 50)), ("tczyx", (1, 3, 1, 40, 50)), ("czyx", (3, 1, 40, 50))]
)
def test_axes_of_length_one_do_not_matter(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    array = values(shape, np.uint16)
    write(tmp_path / "a.zarr", array, axes)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").values, array.reshape(-1, 40, 50))
    check_windows(tmp_path / "a.zarr")


@pytest.mark.parametrize(("axes", "shape"), [("zyx", (4, 40, 50)), ("tcyx", (4, 3, 40, 50))])
def test_depth_and_time_are_refused(tmp_path: Path, axes: str, shape: tuple[int, ...]) -> None:
    write(tmp_path / "a.zarr", values(shape, np.uint16), axes)
    with pytest.raises(DataError, match=f"planes that are not channels of one image: 4 along {axes[0]}"):
        open_raster(tmp_path / "a.zarr")


def test_the_image_in_a_directory_of_bioformats2raw_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    (tmp_path / "a.zarr" / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    array = values((2, 40, 50), np.uint16)
    write(tmp_path / "a.zarr" / "0", array)
    np.testing.assert_array_equal(read(tmp_path / "a.zarr").values, array)
    write(tmp_path / "a.zarr" / "1", array)
    with pytest.raises(DataError, match="holds 2 images where one is expected"):
        open_raster(tmp_path / "a.zarr")


def test_directories_that_are_no_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a directory, not an image"):
        open_raster(tmp_path)
    (tmp_path / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(DataError, match=r"without the metadata of OME-Zarr \(multiscales\), not an image"):
        open_raster(tmp_path)
    (tmp_path / ".zattrs").write_text('{"plate": {}}')
    with pytest.raises(DataError, match="is a plate, not an image"):
        open_raster(tmp_path)


def test_axes_that_do_not_fit_the_array_are_damage(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", values((2, 40, 50), np.uint16))
    file = tmp_path / "a.zarr" / ".zattrs"
    whole = file.read_text()
    for old, new in (('"name": "y"', '"name": "q"'), ('"name": "c"', '"name": "y"'), ('"path": "0"', '"path": "../b"'), ("{", "[")):
        assert old in whole
        file.write_text(whole.replace(old, new))
        with pytest.raises(DataError, match=r"a\.zarr cannot be read"):
            open_raster(tmp_path / "a.zarr")


@pytest.mark.parametrize("word", ["pickle", "\\u0070ickle"])
def test_nothing_is_unpickled(tmp_path: Path, word: str) -> None:
    write(tmp_path / "a.zarr", values((2, 40, 50), np.uint16))
    file = tmp_path / "a.zarr" / "0" / ".zarray"
    changed = json.dumps(json.loads(file.read_text()) | {"filters": [{"id": "pickle", "protocol": 5}]})
    file.write_text(changed.replace("pickle", word))
    with pytest.raises(DataError, match="vqkit never does"):
        open_raster(tmp_path / "a.zarr")


def test_a_note_that_names_pickles_is_no_harm(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.uint16)
    write(tmp_path / "a.zarr", array)
    (tmp_path / "a.zarr" / "0" / ".zattrs").write_text('{"sample": "pickled cucumber"}')
    assert np.array_equal(read(tmp_path / "a.zarr").values, array)


def test_metadata_that_a_group_keeps_of_its_members_are_not_used(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.uint16)
    write(tmp_path / "a.zarr", array)
    own = json.loads((tmp_path / "a.zarr" / "0" / ".zarray").read_text())
    copy = {".zgroup": {"zarr_format": 2}, ".zattrs": {}, "0/.zarray": own | {"filters": [{"id": "pickle", "protocol": 5}]}}
    (tmp_path / "a.zarr" / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": copy}))
    assert np.array_equal(read(tmp_path / "a.zarr").values, array)


def test_without_the_extra_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.zarr", values((2, 40, 50), np.uint16))
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(DataError, match=r"a.zarr is a directory of OME-Zarr.*pip install 'vqkit\[bio\]'"):
        open_raster(tmp_path / "a.zarr")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("in_bands", [False, True])
def test_what_is_written_is_read_by_the_readers_of_zarr(tmp_path: Path, dtype: str, version: str, in_bands: bool) -> None:
    array = values((3, 40, 50), dtype)
    tags = FileTags(pixel_size=PixelSize(0.5, 0.25, "µm"), version=version)
    like = RasterInfo(Path("x.zarr"), "OME-Zarr", 3, 40, 50, array.dtype, ("DAPI", "GFP", "01"), tags=tags)
    path = tmp_path / "a.ome.zarr"
    with RasterWriter(path, like, 3, 40, 50, dtype) as writer:
        for top in range(0, 40, 16 if in_bands else 40):
            window = Window(top, 0, min(16, 40 - top) if in_bands else 40, 50)
            writer.write(window, array[:, window.rows])
    stored = zarr.open_group(str(path), mode="r")["0"]
    assert stored.dtype == array.dtype
    np.testing.assert_array_equal(stored[...], array)
    np.testing.assert_array_equal(read(path).values, array)
    with open_raster(path) as raster:
        assert (raster.info.names, raster.info.tags.pixel_size) == (like.names, like.tags.pixel_size)
        assert raster.info.tags.version == version


@pytest.mark.parametrize("version", VERSIONS)
def test_ome_zarr_opens_what_is_written(tmp_path: Path, version: str) -> None:
    pytest.importorskip("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    array = values((2, 40, 50), np.uint16)
    like = RasterInfo(
        *(Path("x.zarr"), "OME-Zarr", 2, 40, 50, array.dtype, ("bt", "fpu")),
        tags=FileTags(pixel_size=PixelSize(0.5, 0.25, "µm"), version=version),
    )
    write_raster(tmp_path / "a.zarr", array, None, like)
    (node,) = Reader(parse_url(tmp_path / "a.zarr"))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), array)
    assert node.metadata["channel_names" if "channel_names" in node.metadata else "name"] == ["bt", "fpu"]
    assert [axis["name"] for axis in node.metadata["axes"]] == ["c", "y", "x"]
    assert node.metadata["coordinateTransformations"][0][0]["scale"] == [1.0, 0.5, 0.25]


def test_absent_pixels_are_nan(tmp_path: Path) -> None:
    array = values((2, 40, 50), np.float32)
    present = values((2, 40, 50), np.uint8) > 50
    write_raster(tmp_path / "a.zarr", array, present)
    given = read(tmp_path / "a.zarr").present
    assert given is not None
    np.testing.assert_array_equal(given, present)
    with pytest.raises(DataError, match="cannot say that pixels hold no data"):
        write_raster(tmp_path / "b.zarr", array.astype(np.int16), present)
    assert [file.name for file in tmp_path.iterdir()] == ["a.zarr"]


def test_colours_and_displayed_ranges_of_channels_are_kept(tmp_path: Path) -> None:
    channels = [{"label": label, "color": "00FFFF", "window": {"start": 3, "end": 9, "min": 0, "max": 99}} for label in "ab"]
    write(tmp_path / "a.zarr", values((2, 40, 50), np.uint16), omero={"channels": channels})
    with open_raster(tmp_path / "a.zarr") as raster:
        write_raster(tmp_path / "b.zarr", raster.read().values, None, raster.info)
    given = json.loads((tmp_path / "b.zarr" / ".zattrs").read_text())["omero"]["channels"]
    assert [{key: each[key] for key in ("label", "color", "window")} for each in given] == channels
