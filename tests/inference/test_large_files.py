"""Images read, filled in and written by rows, against the same images in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from painting import SHAPES, pipeline
from vqkit.errors import DataError
from vqkit.image_io import large_images
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.large_images import LargeImage, is_large
from vqkit.image_io.masks import read_mask
from vqkit.image_io.rasters import RasterWriter, Window, open_raster, write_raster
from vqkit.image_io.reading import ReadOptions
from vqkit.inference import large_files
from vqkit.inference.inpaint import Written, inpaint_items
from vqkit.inference.large_files import inpaint_large_items
from vqkit.interfaces import DataSpec
from vqkit.interfaces.components import ComponentSpec

NAMES = ("blue", "green", "infrared")
SPEC = DataSpec("fields", tuple(ComponentSpec(name, dtype="uint16", low=500, high=4000, maximum=5000) for name in NAMES), 8, 12)
HEIGHT, WIDTH = 53, 41


def random_integers(stop: int, *shape: int) -> NDArray[np.int64]:
    drawn: NDArray[np.int64] = torch.randint(stop, shape, generator=torch.Generator().manual_seed(0)).numpy()
    return drawn


def values(channels: int = 3) -> NDArray[np.uint16]:
    return random_integers(5001, channels, HEIGHT, WIDTH).astype(np.uint16)


def write(path: Path, array: NDArray[Any], names: tuple[str, ...] = (), **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if names:
        tifffile.imwrite(path, array, ome=True, metadata={"axes": "CYX", "Channel": {"Name": list(names)}}, **settings)
    else:
        tifffile.imwrite(path, array, photometric="minisblack", **settings)
    return path


def both(source: Path, out: Path, request: ReadOptions, spec: DataSpec = SPEC) -> tuple[list[Written], list[Written]]:
    """Results in memory and by rows."""
    items = find_inputs(source, spec).items
    model = pipeline(spec)
    whole = list(inpaint_items(model, items, out / "whole", request, pytest.fail, figures=0))
    by_rows = list(inpaint_large_items(model, items, out / "rows", request, pytest.fail, batch_size=5))
    return whole, by_rows


def assert_same(whole: list[Written], by_rows: list[Written], out: Path) -> None:
    """That the files by rows are among those in memory, and hold the same."""
    for first, second in zip(whole, by_rows, strict=True):
        assert first.name == second.name
        of_rows = {path.relative_to(out / "rows") for path in second.files if path != second.figure}
        assert of_rows == {path.relative_to(out / "whole") for path in first.files if "composite" not in path.parts}
        for path in of_rows:
            with open_raster(out / "whole" / path) as one, open_raster(out / "rows" / path) as other:
                assert one.info.names == other.info.names and one.info.nodata == other.info.nodata
                expected, found = one.read(), other.read()
            assert expected.values.dtype == found.values.dtype
            np.testing.assert_array_equal(expected.values, found.values)


@pytest.mark.parametrize("settings", [{}, {"planarconfig": "separate"}, {"tile": (16, 16)}, {"names": NAMES}])
def test_a_file_of_channels_is_filled_in_as_in_memory(settings: dict[str, Any], tmp_path: Path) -> None:
    source = write(tmp_path / "scene.tif", values(), **settings)
    whole, by_rows = both(source, tmp_path, ReadOptions(("blue", "green")))
    assert_same(whole, by_rows, tmp_path)
    with open_raster(by_rows[0].files[0]) as raster:
        filled = raster.read().values
    np.testing.assert_array_equal(filled[:2], values()[:2])
    assert not np.array_equal(filled[2], values()[2])


def test_nodata_of_a_colour_picture_is_in_all_channels(tmp_path: Path) -> None:
    """A pixel without any red is data: it stays as it is, in memory and by rows."""
    array = random_integers(255, 3, HEIGHT, WIDTH).astype(np.uint8) + np.uint8(1)
    array[0, 5:9, 3:7], array[:, 20:30, 10:20] = 0, 0
    source = tmp_path / "photo.tif"
    tifffile.imwrite(source, np.moveaxis(array, 0, -1), photometric="rgb")
    spec = DataSpec("photos", tuple(ComponentSpec(name, minimum=1, nodata=0) for name in "rgb"), 8, 12)
    whole, by_rows = both(source, tmp_path, ReadOptions(), spec)
    assert_same(whole, by_rows, tmp_path)
    with open_raster(by_rows[0].files[0]) as raster:
        filled = raster.read().values
    given = array.any(axis=0)
    np.testing.assert_array_equal(filled[:, given], array[:, given])
    assert (filled[:, ~given] > 0).all()


def test_a_geotiff_keeps_its_place_and_nodata(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    array = values()
    array[:, 10:30, 5:25] = 0
    place = rasterio.Affine(10, 0, 500000, 0, -10, 4600000)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 3, "height": HEIGHT, "width": WIDTH, "nodata": 0}
    with rasterio.open(tmp_path / "scene.tif", "w", crs="EPSG:32631", transform=place, **profile) as file:
        file.write(array)
        file.descriptions = NAMES
    whole, by_rows = both(tmp_path / "scene.tif", tmp_path, ReadOptions(("blue", "green")))
    assert_same(whole, by_rows, tmp_path)
    with rasterio.open(by_rows[0].files[0]) as file:
        assert file.crs.to_epsg() == 32631 and file.transform == place and file.nodata == 0 and file.descriptions == NAMES
        assert (file.read() != 0).all()


def test_an_ome_zarr_is_filled_in_as_in_memory(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    write_raster(tmp_path / "scene.zarr", values())
    whole, by_rows = both(tmp_path / "scene.zarr", tmp_path, ReadOptions(("blue",)))
    assert_same(whole, by_rows, tmp_path)


def test_further_channels_are_kept_and_missing_ones_are_added(tmp_path: Path) -> None:
    source = write(tmp_path / "scene.ome.tif", values(), names=("other", "green", "blue"))
    whole, by_rows = both(source, tmp_path, ReadOptions())
    assert_same(whole, by_rows, tmp_path)
    with open_raster(by_rows[0].files[0]) as raster:
        assert raster.info.names == ("other", "green", "blue", "infrared")
        np.testing.assert_array_equal(raster.read().values[:3], values())


def test_files_of_components_are_filled_in_as_in_memory(tmp_path: Path) -> None:
    for name, plane in zip(NAMES[:2], values(), strict=False):
        write(tmp_path / "set" / name / f"scene_{name}.tif", plane)
    whole, by_rows = both(tmp_path / "set", tmp_path, ReadOptions())
    assert_same(whole, by_rows, tmp_path)
    assert len(by_rows[0].files) == 3 + 1


def test_a_mask_and_pixels_without_data_are_filled_in(tmp_path: Path) -> None:
    array = values().astype(np.float32)
    array[1, 20:30, 10:20] = np.nan
    spec = DataSpec(
        "floats", tuple(ComponentSpec(name, dtype="float32", low=500, high=4000, maximum=5000) for name in NAMES), 8, 12
    )
    source = write(tmp_path / "scene.tif", array)
    white = np.zeros((HEIGHT, WIDTH), np.uint8)
    white[40:50, :5] = 255
    tifffile.imwrite(tmp_path / "mask.tif", white)
    request = ReadOptions((), read_mask(tmp_path / "mask.tif", spec))
    whole, by_rows = both(source, tmp_path, request, spec)
    assert_same(whole, by_rows, tmp_path)
    with open_raster(by_rows[0].files[0]) as raster:
        filled = raster.read().values
    assert not np.isnan(filled).any()
    untouched = ~np.isnan(array) & (white == 0)
    np.testing.assert_array_equal(filled[untouched], array[untouched])


def test_no_more_than_a_row_of_tiles_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "scene.tif", values())
    read: list[int] = []
    written: list[int] = []
    original_read, original_write = LargeImage.read, RasterWriter.write

    def counted_read(self: LargeImage, top: int, count: int) -> Any:
        read.append(count)
        return original_read(self, top, count)

    def counted_write(self: RasterWriter, window: Window, *rest: Any) -> None:
        written.append(window.height)
        original_write(self, window, *rest)

    given_back: list[int] = []
    monkeypatch.setattr(LargeImage, "read", counted_read)
    monkeypatch.setattr(RasterWriter, "write", counted_write)
    monkeypatch.setattr(large_files, "return_freed_memory", lambda: given_back.append(len(written)))
    list(
        inpaint_large_items(pipeline(SPEC), find_inputs(source, SPEC).items, tmp_path / "out", ReadOptions(("blue",)), pytest.fail)
    )
    assert max(read) <= 8 and sum(read) == HEIGHT and max(written) <= 8 and sum(written) == HEIGHT
    assert given_back == list(range(1, len(written) + 1))


def test_only_images_of_many_values_in_formats_with_rows_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "scene.tif", values())
    write(tmp_path / "scene.png.tif", values()[0])
    np.save(tmp_path / "scene.npy", values())
    items = {item.path.name: item for item in find_inputs(tmp_path, SPEC, "{name}").items}
    assert not any(is_large(item) for item in items.values())
    monkeypatch.setattr(large_images, "LARGEST_IN_MEMORY", 3 * HEIGHT * WIDTH - 1)
    assert {name for name, item in items.items() if is_large(item)} == {"scene.tif"}


def refused(source: Path, request: ReadOptions) -> str:
    with pytest.raises(DataError) as error:
        LargeImage(find_inputs(source, SPEC).items[0], SPEC, request)
    return str(error.value)


def test_what_cannot_be_filled_in_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    scene = write(tmp_path / "scene.tif", values())
    assert "so there is nothing to fill in" in refused(scene, ReadOptions(NAMES))
    assert "so there is nothing to fill in" in refused(scene, ReadOptions())
    four = write(tmp_path / "four.tif", values(4))
    assert "has 4 channels, not 3" in refused(four, ReadOptions(("blue",)))
    named = write(tmp_path / "named.ome.tif", values(), names=("blue", "other", "infrared"))
    assert "does not hold green, which is to be kept; it holds blue, infrared" in refused(named, ReadOptions(("green",)))
    tifffile.imwrite(tmp_path / "mask.tif", np.eye(30, dtype=np.uint8))
    request = ReadOptions((), read_mask(tmp_path / "mask.tif", SPEC))
    assert "is 30 wide and 30 high; the image is 41 wide and 53 high" in refused(scene, request)
    write(tmp_path / "set" / "blue" / "scene_blue.tif", values()[0])
    write(tmp_path / "set" / "green" / "scene_green.tif", values()[1, :20])
    assert "is 41 wide and 20 high; other components of the image are 41 wide and 53 high" in refused(
        tmp_path / "set", ReadOptions()
    )


def test_an_image_that_cannot_be_used_is_skipped_among_others(tmp_path: Path) -> None:
    write(tmp_path / "in" / "bad.tif", values(4))
    write(tmp_path / "in" / "good.tif", values())
    skipped: list[str] = []
    items = find_inputs(tmp_path / "in", SPEC, "{name}").items
    filled = inpaint_large_items(
        pipeline(SPEC), items, tmp_path / "out", ReadOptions(("blue",)), lambda path, reason: skipped.append(Path(path).name)
    )
    assert [result.name for result in filled] == ["good"] and skipped == ["bad.tif"]


def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "scene.tif", values())
    write_rows = RasterWriter.write

    def fail_late(self: RasterWriter, window: Window, *rest: Any) -> None:
        if window.top > 20:
            raise OSError("no space left")
        write_rows(self, window, *rest)

    monkeypatch.setattr(RasterWriter, "write", fail_late)
    items = find_inputs(source, SPEC).items
    with pytest.raises(OSError, match="no space left"):
        list(inpaint_large_items(pipeline(SPEC), items, tmp_path / "out", ReadOptions(("blue",)), pytest.fail))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("figures", "names"), [(0, []), (1, ["one"]), (None, ["one", "two"])])
def test_no_more_figures_are_made_than_asked_for(figures: int | None, names: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / "in" / f"{name}.tif", values())
    model, items = pipeline(SPEC), find_inputs(tmp_path / "in", SPEC).items
    found = inpaint_large_items(model, items, tmp_path / "out", ReadOptions(("blue",)), lambda path, reason: None, figures=figures)
    assert [result.name for result in found if result.figure is not None] == names
    assert sorted(path.stem for path in (tmp_path / "out").glob("before_after/*")) == names


def test_progress_counts_rows_and_the_figure_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_files, "_SHOWN", 20)
    source = write(tmp_path / "scene.tif", values())
    told: list[tuple[str, float]] = []

    @contextmanager
    def follow(what: str, count: int) -> Iterator[Callable[[float], None]]:
        told.append((what, -count))
        yield lambda done: told.append((what, done))

    items = find_inputs(source, SPEC).items
    result = next(inpaint_large_items(pipeline(SPEC), items, tmp_path / "out", ReadOptions(("blue",)), pytest.fail, follow=follow))
    assert told[0] == ("scene: rows", -HEIGHT) and sum(done for _, done in told) == 0 and len(told) > 5
    assert result.figure is not None and result.figure.is_file() and result.figure.name == "scene.png"


@pytest.mark.parametrize("top", [1, 255])
def test_shapes_are_recognised_by_the_whole_image(top: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 0 and 1, though the first rows hold zeros only; and shapes that exclude each other do not overlap."""
    numbers = random_integers(4, HEIGHT, WIDTH)
    numbers[:20] = 0
    for number in (1, 2):
        shape = (numbers == number).astype(np.uint8) * top
        write(tmp_path / "set" / SHAPES.components[number] / f"x_{SHAPES.components[number]}.tif", shape)
    monkeypatch.setattr(large_images, "_ROWS", 10)
    whole, by_rows = both(tmp_path / "set", tmp_path, ReadOptions(("belt",)), SHAPES)
    assert_same(whole, by_rows, tmp_path)
    shapes = np.stack([tifffile.imread(path) for path in by_rows[0].files[:3]])
    assert set(np.unique(shapes)) == {0, top} and (shapes > 0).sum(axis=0).max() == 1
