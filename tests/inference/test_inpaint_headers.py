"""What files of a result say of their values: nodata, unit, scale and offset are those of the component that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from painting import noise, pipeline
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.rasters import open_raster
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.inpaint import Written, inpaint_items
from vqkit.interfaces import ComponentSpec, DataSpec

WATER = DataSpec("scenes", (ComponentSpec("ortho", minimum=1, nodata=0), ComponentSpec("water", "binary")), 8, 8)
KELVIN = ComponentSpec("temp", "intensity", "uint16", 160, 440, 160, 440, unit="K")
HEAT = DataSpec("heat", (ComponentSpec("refl", "intensity", "uint16", 1600, 4400, 1600, 4400), KELVIN), 8, 8)


def fill(source: Path, out: Path, spec: DataSpec, keep: tuple[str, ...] = ()) -> list[Written]:
    skipped: list[str] = []
    items = find_inputs(source, spec, exclude=out).items
    written = list(inpaint_items(pipeline(spec), items, out, ReadOptions(keep), lambda path, why: skipped.append(why)))
    assert not skipped
    return written


def write_geotiff(
    path: Path, values: np.ndarray, bands: dict[str, Any] | None = None, mask: np.ndarray | None = None, **more: Any
) -> None:
    """A GeoTIFF [C, H, W]; `bands`: attributes of its bands, as rasterio calls them."""
    rasterio = pytest.importorskip("rasterio")
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype, "crs": "EPSG:32631"}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **profile, **more) as file,
    ):
        for name, given in (bands or {}).items():
            setattr(file, name, given)
        file.write(values)
        if mask is not None:
            file.write_mask(mask)


def test_a_missing_component_does_not_get_the_nodata_value_of_another(tmp_path: Path) -> None:
    """Where 0 means not set, it would be written as 1."""
    rasterio = pytest.importorskip("rasterio")
    write_geotiff(tmp_path / "in" / "ortho" / "x.tif", noise(1, 8, 8, low=1), nodata=0)
    write_geotiff(tmp_path / "in" / "ortho" / "y.tif", noise(1, 8, 8, low=1, seed=1), nodata=0)
    write_geotiff(tmp_path / "in" / "water" / "y.tif", noise(1, 8, 8, high=2) * np.uint8(255))
    fill(tmp_path / "in", tmp_path / "out", WATER, ("ortho",))
    with rasterio.open(tmp_path / "out" / "water" / "x.tif") as file:
        assert file.nodata is None and set(np.unique(file.read())) <= {0, 255} and file.transform.c == 5e5
    with rasterio.open(tmp_path / "out" / "ortho" / "x.tif") as file:
        assert file.nodata == 0


def test_a_missing_component_does_not_get_scale_offset_unit_and_texts_of_another(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    scaled = {"scales": (1e-4,), "offsets": (-0.1,), "units": ("reflectance",), "descriptions": ("near infrared",)}
    for name in ("x", "y"):
        path = tmp_path / "in" / "refl" / f"{name}.tif"
        write_geotiff(path, noise(1, 8, 8, low=1600, high=4400, dtype="uint16"), scaled)
        with rasterio.open(path, "r+") as file:
            file.update_tags(1, WAVELENGTH="842 nm")
    write_geotiff(tmp_path / "in" / "temp" / "y.tif", noise(1, 8, 8, low=160, high=440, dtype="uint16"), {"scales": (0.1,)})
    fill(tmp_path / "in", tmp_path / "out", HEAT, ("refl",))
    with rasterio.open(tmp_path / "out" / "temp" / "x.tif") as file:
        assert (file.scales, file.offsets, file.units, file.descriptions) == ((1.0,), (0.0,), ("K",), ("temp",))
        assert "WAVELENGTH" not in file.tags(1)
    with rasterio.open(tmp_path / "out" / "refl" / "x.tif") as file:
        assert (file.scales, file.offsets, file.units) == ((1e-4,), (-0.1,), ("reflectance",))
        assert file.tags(1)["WAVELENGTH"] == "842 nm"


def test_a_missing_component_does_not_get_the_display_range_of_another(tmp_path: Path) -> None:
    shown = {"unit": "um", "spacing": 2.0, "min": 1600.0, "max": 4400.0}
    (tmp_path / "in").mkdir()
    given = noise(8, 8, low=1600, high=4400, dtype="uint16")
    tifffile.imwrite(tmp_path / "in" / "x_refl.tif", given, imagej=True, metadata=shown)
    fill(tmp_path / "in", tmp_path / "out", HEAT)
    with open_raster(tmp_path / "out" / "x_temp.tif") as raster:
        kept = raster.info.tags.imagej
        assert raster.info.format == "ImageJ TIFF" and kept["unit"] == "um" and kept["spacing"] == 2 and "max" not in kept


def test_an_added_channel_leaves_the_others_their_scale_offset_and_unit(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    scaled = {"scales": (1e-4,) * 2, "offsets": (-0.1, 0.2), "units": ("reflectance", ""), "descriptions": ("refl", "quality")}
    write_geotiff(tmp_path / "x.tif", noise(2, 8, 8, low=1600, high=4400, dtype="uint16"), scaled)
    with rasterio.open(tmp_path / "x.tif", "r+") as file:
        file.update_tags(1, WAVELENGTH="842 nm")
    fill(tmp_path / "x.tif", tmp_path / "out", HEAT, ("refl",))
    with rasterio.open(tmp_path / "out" / "x.tif") as file:
        assert file.descriptions == ("refl", "quality", "temp")
        assert [unit or "" for unit in file.units] == ["reflectance", "", "K"]
        assert file.scales == (1e-4, 1e-4, 1.0) and file.offsets == (-0.1, 0.2, 0.0)
        assert [file.tags(band).get("WAVELENGTH") for band in (1, 2, 3)] == ["842 nm", None, None]


@pytest.mark.parametrize("marked_by", ["mask", "opacity"])
def test_channels_that_the_model_does_not_know_stay_where_a_mask_leaves_nothing(tmp_path: Path, marked_by: str) -> None:
    """One mask is for all channels, and the others have values there now."""
    rasterio = pytest.importorskip("rasterio")
    given, inside = noise(3, 8, 8, low=160, high=440, dtype="uint16"), np.ones((8, 8), bool)
    inside[:3] = False
    names = ("refl", "temp", "quality")
    if marked_by == "mask":
        write_geotiff(tmp_path / "x.tif", given, {"descriptions": names}, inside)
    else:
        roles = [rasterio.enums.ColorInterp[role] for role in ("gray", "undefined", "undefined", "alpha")]
        opacity = np.where(inside, np.uint16(65535), np.uint16(0))[None]
        bands = {"descriptions": (*names, "opacity"), "colorinterp": roles}
        write_geotiff(tmp_path / "x.tif", np.concatenate([given, opacity]), bands, photometric="minisblack")
    fill(tmp_path / "x.tif", tmp_path / "out", HEAT)
    with rasterio.open(tmp_path / "out" / "x.tif") as file:
        filled = file.read()[:3]
        assert (file.read_masks() == 255).all() and file.descriptions[:3] == names
    assert np.array_equal(filled[:, inside], given[:, inside]) and np.array_equal(filled[2], given[2])
    assert (filled[0, ~inside] >= 1600).all()
