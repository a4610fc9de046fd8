"""Filled-in files are like their inputs: format, type, channel names, layout, and every kept value, read by other libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image

from painting import COLOUR, noise, pipeline
from vqkit.errors import DataError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.masks import Mask
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.inpaint import Written, inpaint_items
from vqkit.interfaces import ComponentSpec, DataSpec

NAMES = ("dna", "actin", "golgi")
CELLS = DataSpec("cells", tuple(ComponentSpec(name, "intensity", "uint16", 40, 3000, 20, 3161) for name in NAMES), 8, 8)
BANDS = DataSpec(
    "bands", tuple(ComponentSpec(f"B{number:02d}", "intensity", "uint16", 0, 7000, 0, 7065) for number in range(1, 14)), 8, 8
)
HEIGHTS = DataSpec("heights", tuple(ComponentSpec(name, "intensity", "float32", -5, 40, -9, 52) for name in NAMES), 8, 8)
KEEP = ReadOptions(("actin",))


def fill(source: Path, out: Path, spec: DataSpec = CELLS, request: ReadOptions = KEEP, **more: object) -> list[Written]:
    skipped: list[str] = []
    pattern = more.pop("pattern", None)
    items = find_inputs(source, spec, pattern, exclude=out).items  # type: ignore[arg-type]
    written = list(inpaint_items(pipeline(spec), items, out, request, lambda path, why: skipped.append(why), **more))  # type: ignore[arg-type]
    assert not skipped
    return written


def cell(height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    return noise(3, height, width, low=503, high=1022, dtype="uint16", seed=seed)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pages.tif", {"photometric": "minisblack"}),
        ("planar.tif", {"photometric": "minisblack", "planarconfig": "separate"}),
        ("interleaved.tif", {"photometric": "minisblack", "planarconfig": "contig"}),
        ("compressed.tif", {"photometric": "minisblack", "compression": "zlib"}),
        ("other.tif", {"photometric": "minisblack", "byteorder": ">"}),
    ],
)
def test_channels_of_a_tiff_keep_every_bit(tmp_path: Path, name: str, settings: dict[str, str]) -> None:
    given = cell()
    interleaved = settings.get("planarconfig") == "contig"
    tifffile.imwrite(tmp_path / name, np.moveaxis(given, 0, -1) if interleaved else given, **settings)
    (result,) = fill(tmp_path / name, tmp_path / "out")
    assert result.files[0] == tmp_path / "out" / name
    filled = tifffile.imread(tmp_path / "out" / name)
    assert filled.dtype == np.uint16 and filled.shape == ((8, 8, 3) if interleaved else (3, 8, 8))
    filled = np.moveaxis(filled, -1, 0) if interleaved else filled
    expected = pipeline(CELLS).inpaint(given, keep=["actin"])
    assert np.array_equal(filled, expected) and np.array_equal(filled[1], given[1])


def test_thirteen_samples_a_pixel(tmp_path: Path) -> None:
    given = noise(13, 8, 8, high=7066, dtype="uint16")
    tifffile.imwrite(tmp_path / "p.tif", np.moveaxis(given, 0, -1), photometric="minisblack", planarconfig="contig")
    fill(tmp_path / "p.tif", tmp_path / "out", BANDS, ReadOptions(("B02", "B08")))
    filled = np.moveaxis(tifffile.imread(tmp_path / "out" / "p.tif"), -1, 0)
    assert np.array_equal(filled[[1, 7]], given[[1, 7]]) and not np.array_equal(filled[0], given[0])


def test_channels_of_an_ome_tiff_are_matched_by_name_and_others_stay(tmp_path: Path) -> None:
    given = noise(4, 8, 8, low=503, high=1022, dtype="uint16")
    names = ["Golgi", "phase", "DNA", "actin"]
    metadata = {"axes": "CYX", "Channel": {"Name": names}, "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    tifffile.imwrite(tmp_path / "x.ome.tif", given, photometric="minisblack", metadata=metadata)
    fill(tmp_path / "x.ome.tif", tmp_path / "out", request=ReadOptions(("dna", "actin")))
    with tifffile.TiffFile(tmp_path / "out" / "x.ome.tif") as file:
        filled = file.asarray()
        assert file.is_ome and all(f'Name="{name}"' in file.ome_metadata for name in names)
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata
    assert np.array_equal(filled[1:], given[1:]) and not np.array_equal(filled[0], given[0])


def test_a_component_that_no_channel_holds_is_added(tmp_path: Path) -> None:
    given = noise(3, 8, 8, low=503, high=1022, dtype="uint16")
    metadata = {"axes": "CYX", "Channel": {"Name": ["golgi", "phase", "dna"]}}
    tifffile.imwrite(tmp_path / "x.ome.tif", given, photometric="minisblack", metadata=metadata)
    fill(tmp_path / "x.ome.tif", tmp_path / "out", request=ReadOptions())
    with tifffile.TiffFile(tmp_path / "out" / "x.ome.tif") as file:
        filled = file.asarray()
        assert filled.shape == (4, 8, 8) and 'Name="actin"' in file.ome_metadata
    assert np.array_equal(filled[:3], given) and filled[3].min() >= 20 and filled[3].max() <= 3161


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_one_file_a_component(tmp_path: Path, suffix: str) -> None:
    images = {f"cell{number}": cell(seed=number) for number in range(3)}
    for name, image in images.items():
        for component, values in zip(NAMES, image, strict=True):
            path = tmp_path / "in" / component / f"{name}_{component}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, values) if suffix == "tif" else Image.fromarray(values).save(path)
    (tmp_path / "in" / "golgi" / f"cell1_golgi.{suffix}").unlink()
    written = fill(tmp_path / "in", tmp_path / "out")
    assert [result.name for result in written] == list(images)
    read = tifffile.imread if suffix == "tif" else lambda path: np.array(Image.open(path)).astype(np.uint16)
    for name, image in images.items():
        expected = pipeline(CELLS).inpaint(image, keep=["actin"])
        for component, values in zip(NAMES, expected, strict=True):
            filled = read(tmp_path / "out" / component / f"{name}_{component}.{suffix}")
            assert filled.dtype == np.uint16 and np.array_equal(filled, values)
        assert (tmp_path / "out" / "composite" / f"{name}.png").is_file()


def test_any_layout_of_components_is_that_of_the_results(tmp_path: Path) -> None:
    image = cell()
    for component, values in zip(NAMES[:2], image, strict=False):
        path = tmp_path / "in" / "plate1" / f"w3-{component}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, values)
    fill(tmp_path / "in", tmp_path / "out", pattern="plate1/{name}-{component}.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "plate1" / "w3-actin.tif"), image[1])
    assert tifffile.imread(tmp_path / "out" / "plate1" / "w3-golgi.tif").dtype == np.uint16


def test_components_of_another_resolution_come_back_in_their_own(tmp_path: Path) -> None:
    fine, coarse = cell(16, 16), cell(8, 8, seed=1)
    for component, values in (("dna", fine[0]), ("actin", coarse[1]), ("golgi", fine[2])):
        (tmp_path / "in" / component).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "in" / component / f"x_{component}.tif", values)
    hole = np.zeros((1, 16, 16), bool)
    hole[:, 3:7, 2:9] = True
    fill(tmp_path / "in", tmp_path / "out", request=ReadOptions(mask=Mask(Path("m.png"), hole)))
    filled = {name: tifffile.imread(tmp_path / "out" / name / f"x_{name}.tif") for name in NAMES}
    assert filled["actin"].shape == (8, 8) and filled["dna"].shape == (16, 16)
    assert np.array_equal(filled["dna"][~hole[0]], fine[0][~hole[0]])
    touched = hole[0].reshape(8, 2, 8, 2).any(axis=(1, 3))
    assert np.array_equal(filled["actin"][~touched], coarse[1][~touched])
    enlarged = F.interpolate(torch.from_numpy(coarse[None, 1:2].astype(np.float64)), (16, 16), mode="bilinear")[0, 0]
    given = np.stack([fine[0], enlarged.round().numpy().astype(np.uint16), fine[2]])
    expected = pipeline(CELLS).inpaint(given, observed=~hole[0])
    assert np.array_equal(filled["golgi"], expected[2])
    whole = touched & hole[0].reshape(8, 2, 8, 2).all(axis=(1, 3))
    mean = expected[1].astype(float).reshape(8, 2, 8, 2).mean(axis=(1, 3))
    assert np.abs(filled["actin"][whole] - mean[whole]).max() <= 1


def test_components_that_show_other_areas_are_refused(tmp_path: Path) -> None:
    for component, shape in (("dna", (16, 16)), ("actin", (16, 8))):
        (tmp_path / component).mkdir()
        tifffile.imwrite(tmp_path / component / f"x_{component}.tif", np.zeros(shape, np.uint16))
    items = find_inputs(tmp_path, CELLS).items
    with pytest.raises(DataError, match=r"x_actin.tif is 8 wide and 16 high; .*x_dna.tif is 16 and 16"):
        list(inpaint_items(pipeline(CELLS), items, tmp_path / "out", ReadOptions(), lambda path, why: None))


def test_nan_and_nodata_are_filled_in(tmp_path: Path) -> None:
    given = noise(3, 8, 8, low=-5, high=40, dtype="float32")
    given[0, :3] = np.nan
    tifffile.imwrite(tmp_path / "x.tif", given, photometric="minisblack")
    fill(tmp_path / "x.tif", tmp_path / "out", HEIGHTS, ReadOptions())
    filled = tifffile.imread(tmp_path / "out" / "x.tif")
    known = ~np.isnan(given)
    assert filled.dtype == np.float32 and np.isfinite(filled).all()
    assert filled[known].tobytes() == given[known].tobytes()


def test_a_filled_in_value_is_never_the_nodata_value(tmp_path: Path) -> None:
    """It would be absent again for whoever reads the result."""
    rasterio = pytest.importorskip("rasterio")
    given = noise(3, 8, 8, low=1, high=5, dtype="uint16")
    given[0, :4] = 0
    profile = {"driver": "GTiff", "count": 3, "height": 8, "width": 8, "dtype": "uint16", "nodata": 0, "crs": "EPSG:32631"}
    with rasterio.open(tmp_path / "x.tif", "w", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **profile) as file:
        file.write(given)
    flat = DataSpec("flat", tuple(ComponentSpec(name, "intensity", "uint16", 0, 7000, 0, 7000) for name in NAMES), 8, 8)
    fill(tmp_path / "x.tif", tmp_path / "out", flat, ReadOptions())
    with rasterio.open(tmp_path / "out" / "x.tif") as file:
        filled = file.read()
        assert file.nodata == 0 and file.crs.to_epsg() == 32631 and file.transform.c == 5e5
        assert (file.read_masks() == 255).all()
    assert np.array_equal(filled[given > 0], given[given > 0]) and (filled[given == 0] > 0).all()


def test_a_nodata_value_of_the_training_data_means_the_same_in_files_that_do_not_say_so(tmp_path: Path) -> None:
    specs = tuple(replace(each, nodata=0.0, minimum=0.0) for each in CELLS.component_specs)
    spec = replace(CELLS, component_specs=specs)
    given = cell()
    given[2, 1:4] = 0
    tifffile.imwrite(tmp_path / "x.tif", given, photometric="minisblack")
    np.save(tmp_path / "y.npy", given.astype(np.float32))
    (tmp_path / "in").mkdir()
    for name, values in zip(NAMES, given, strict=True):
        tifffile.imwrite(tmp_path / "in" / f"z_{name}.tif", values)
    for source in ("x.tif", "y.npy", "in"):
        fill(tmp_path / source, tmp_path / "out", spec, ReadOptions())
    results = (
        tifffile.imread(tmp_path / "out" / "x.tif"),
        np.load(tmp_path / "out" / "y.npy"),
        np.stack([tifffile.imread(tmp_path / "out" / f"z_{name}.tif") for name in NAMES]),
    )
    for filled in (*results, pipeline(spec).inpaint(given)):
        assert np.array_equal(filled[given > 0], given[given > 0]) and (filled > 0).all()


def test_a_jpeg_comes_back_without_loss(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "x.jpg")
    hole = np.zeros((1, 8, 8), bool)
    hole[:, 2:5] = True
    fill(tmp_path / "x.jpg", tmp_path / "out", COLOUR, ReadOptions(mask=Mask(Path("m.png"), hole)))
    decoded, filled = np.array(Image.open(tmp_path / "x.jpg")), np.array(Image.open(tmp_path / "out" / "x.png"))
    assert np.array_equal(filled[~hole[0]], decoded[~hole[0]])


def test_what_lies_under_transparent_pixels_changes_no_byte(tmp_path: Path) -> None:
    photo = np.concatenate([noise(8, 8, 3), np.full((8, 8, 1), 255, np.uint8)], axis=2)
    photo[2:5, 1:6, 3] = 0
    contents = []
    for name, poison in (("one", 0), ("other", 255)):
        photo[2:5, 1:6, :3] = poison
        (tmp_path / name).mkdir()
        Image.fromarray(photo).save(tmp_path / name / "x.png")
        fill(tmp_path / name / "x.png", tmp_path / f"{name}_out", COLOUR, ReadOptions())
        files = sorted((tmp_path / f"{name}_out").rglob("*.png"))
        contents.append([path.read_bytes() for path in files])
    assert len(contents[0]) == 2 and contents[0] == contents[1]


def test_images_of_many_sizes_in_one_folder(tmp_path: Path) -> None:
    images = {f"i{number}": cell(*size, seed=number) for number, size in enumerate([(8, 8), (8, 8), (20, 13), (5, 8), (8, 8)])}
    (tmp_path / "in").mkdir()
    for name, image in images.items():
        tifffile.imwrite(tmp_path / "in" / f"{name}.tif", image, photometric="minisblack")
    assert [result.name for result in fill(tmp_path / "in", tmp_path / "out")] == list(images)
    for name, image in images.items():
        filled = tifffile.imread(tmp_path / "out" / f"{name}.tif")
        assert np.array_equal(filled, pipeline(CELLS).inpaint(image, keep=["actin"], form="channels-first"))


def test_shapes_of_0_and_1_stay_0_and_1(tmp_path: Path) -> None:
    spec = DataSpec.uniform("shapes", NAMES, 8, 8, "binary")
    shapes = noise(3, 8, 8, high=2)
    for component, values in zip(NAMES[:2], shapes, strict=False):
        (tmp_path / "in" / component).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / "in" / component / f"x_{component}.png")
    fill(tmp_path / "in", tmp_path / "out", spec, ReadOptions())
    filled = [np.array(Image.open(tmp_path / "out" / name / f"x_{name}.png")) for name in NAMES]
    assert np.array_equal(filled[:2], shapes[:2])
    expected = pipeline(spec).inpaint(shapes * np.uint8(255), keep=["dna", "actin"])
    assert np.array_equal(filled[2], expected[2] // 255)


@pytest.mark.parametrize(("figures", "count"), [(None, 5), (0, 0), (2, 2), (16, 5)])
def test_figures_of_the_first_images(tmp_path: Path, figures: int | None, count: int) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        tifffile.imwrite(tmp_path / "in" / f"i{number}.tif", cell(), photometric="minisblack")
    written = fill(tmp_path / "in", tmp_path / "out", batch_size=2, figures=figures)
    drawn = [result.figure for result in written if result.figure is not None]
    assert len(drawn) == count and all(path.is_file() for path in drawn)
    assert len(list(tmp_path.rglob("before_after/*.png"))) == count
