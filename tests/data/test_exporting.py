"""Exported files hold the images as they are: every value in its type, gaps as gaps, under names that differ."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.config import NamedOptions
from vqkit.data.exporting import export, file_names, first_indices
from vqkit.data.opening import open_dataset
from vqkit.data.splits import ArraySplit
from vqkit.data.tyre import COMPONENTS, TyreDataset
from vqkit.image_io.layouts import find_images
from vqkit.image_io.pictures import composite
from vqkit.image_io.rasters import open_raster
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.interfaces.components import DTYPES

Absent = Literal["nothing", "components", "pixels", "both"]


def tyres() -> TyreDataset:
    return TyreDataset(TyreDataset.Options(num_train=3, num_val=3, num_test=3))


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_components_are_exported_in_their_layout(tmp_path: Path) -> None:
    split = tyres().split("test")
    written = export(split, "test", 2, tmp_path)
    expected = [f"{name}/test_0000{number}_{name}.png" for name in COMPONENTS for number in (0, 1)]
    files = files_below(tmp_path)
    assert files == sorted([*expected, "composite/test_00000.png", "composite/test_00001.png", "performances.csv"])
    assert sorted(written) == sorted(tmp_path / file for file in files)
    batch = split.batch(torch.arange(2))
    shown = composite(split.spec.to_unit(batch.images), split.spec)
    for number in (0, 1):
        for component, name in enumerate(COMPONENTS):
            picture = Image.open(tmp_path / name / f"test_0000{number}_{name}.png")
            assert np.array_equal(np.asarray(picture), batch.images[number, component].numpy())
        painted = np.asarray(Image.open(tmp_path / "composite" / f"test_0000{number}.png").convert("RGB"))
        assert np.array_equal(painted, shown[number].permute(1, 2, 0).numpy())


def test_colour_pictures_are_exported_as_they_are(tmp_path: Path) -> None:
    images = torch.randint(256, (3, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = ArraySplit(DataSpec.uniform("photos", ("r", "g", "b"), 4, 5, "intensity"), images, names=["a", "b", "c"])
    written = export(split, "val", 99, tmp_path)
    assert [path.name for path in written] == ["a.png", "b.png", "c.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), images[1].permute(1, 2, 0).numpy())


def test_holes_of_colour_pictures_are_transparent(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 3, 4, 5), generator=generator, dtype=torch.uint8)
    present = torch.rand(2, 1, 4, 5, generator=generator) < 0.5
    spec = DataSpec.uniform("photos", ("r", "g", "b"), 4, 5, "intensity")
    assert [path.name for path in export(ArraySplit(spec, images, present=present), "val", 2, tmp_path)] == [
        "000000.png",
        "000001.png",
    ]
    picture = np.asarray(Image.open(tmp_path / "000001.png"))
    hole = present[1, 0].numpy()
    assert np.array_equal(picture[..., 3], hole * 255)
    assert np.array_equal(picture[hole][:, :3], images[1].permute(1, 2, 0).numpy()[hole])


def transparent_pictures(folder: Path, count: int = 40) -> None:
    """Pictures in colour of which the last has a corner that is fully transparent."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        values = torch.randint(255, (8, 8, 4), generator=generator, dtype=torch.uint8).numpy()
        values[..., 3] = 255
        values[:3, :3, 3] = 0 if number == count - 1 else 255
        Image.fromarray(values).save(folder / f"p{number}.png")


def test_pictures_with_transparency_are_opened_again_as_the_same_set(tmp_path: Path) -> None:
    transparent_pictures(tmp_path / "pictures")
    first = open_dataset(str(tmp_path / "pictures"))
    for name in ("train", "val"):
        export(first.split(name), name, 99, tmp_path / "out")  # type: ignore[arg-type]
    assert files_below(tmp_path / "out") == sorted(f"p{number}.png" for number in range(40))
    second = open_dataset(str(tmp_path / "out"))
    assert second.spec.is_colour
    one, other = (dataset.split("train").batch(torch.arange(38)) for dataset in (first, second))
    assert torch.equal(one.observed, other.observed) and not bool(one.observed.all())
    assert torch.equal(one.images[one.observed], other.images[other.observed])


def test_gaps_of_single_channels_are_kept_and_the_colours_stay_in_order(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(6):
        generator = torch.Generator().manual_seed(number)
        values = torch.randint(1, 255, (8, 8, 3), generator=generator, dtype=torch.uint8).numpy()
        values[:2, :, 1] = 0
        Image.fromarray(values).save(tmp_path / "pictures" / f"p{number}.png")
    first = open_dataset(NamedOptions(name=str(tmp_path / "pictures"), nodata={"g": 0.0}))
    export(first.split("train"), "train", 99, tmp_path / "out")
    second = open_dataset(str(tmp_path / "out"))
    assert second.spec.components == ("r", "g", "b")
    assert (tmp_path / "out" / "g").is_dir()


def stored(dtypes: tuple[str, ...], absent: Absent, nodata: float | None = None) -> ArraySplit:
    """Six images of components in every bit pattern of their types, without NaN and infinity."""
    generator = torch.Generator().manual_seed(0)
    components = tuple(ComponentSpec(f"c{number}", dtype=dtype, nodata=nodata) for number, dtype in enumerate(dtypes))
    spec = DataSpec("stored", components, 5, 11)
    parts = []
    for dtype in dtypes:
        width = 11 * DTYPES[dtype].itemsize
        part = torch.randint(256, (6, 1, 5, width), generator=generator, dtype=torch.uint8).view(DTYPES[dtype]).numpy().copy()
        part[~np.isfinite(part)] = 0.25
        part[part == nodata] = 9
        parts.append(part.astype(np.result_type(*dtypes)))
    shapes = {"components": (6, len(dtypes), 1, 1), "pixels": (6, 1, 5, 11), "both": (6, len(dtypes), 5, 11)}
    shape = shapes.get(absent)
    present = None if shape is None else torch.rand(shape, generator=generator) < 0.6
    images = np.concatenate(parts, axis=1)
    if present is not None and images.dtype.kind == "f":
        images[~present.expand(images.shape).numpy()] = np.nan
    return ArraySplit(spec, torch.from_numpy(images), names=[f"a/{number}" for number in range(6)], present=present)


@pytest.mark.parametrize("absent", ["nothing", "components", "pixels", "both"])
@pytest.mark.parametrize("dtypes", [*((name,) * 2 for name in DTYPES), ("uint8", "float32"), ("uint16", "uint8")])
def test_values_and_gaps_of_every_type_are_read_as_they_were(tmp_path: Path, dtypes: tuple[str, ...], absent: Absent) -> None:
    split = stored(dtypes, absent)
    export(split, "train", 6, tmp_path)
    batch = split.batch(torch.arange(6))
    found = {image.name: image for image in find_images(tmp_path).splits["train"]}
    for values, present, name in zip(batch.images.numpy(), batch.observed.numpy(), split.names(torch.arange(6)), strict=True):
        for number, component in enumerate(split.spec.components):
            member = found[name].members.get(component) if name in found else None
            assert (member is not None) == present[number].any()
            if member is None:
                continue
            assert member.path.suffix == (
                ".png" if dtypes[number] in ("uint8", "uint16") and absent in ("nothing", "components") else ".tif"
            )
            with open_raster(member.path) as raster:
                read = raster.read()
            shown = np.ones((1, 5, 11), bool) if read.present is None else read.present
            assert np.array_equal(shown[0], present[number])
            assert read.values.dtype == np.dtype(dtypes[number])
            assert np.array_equal(read.values[0][present[number]], values[number][present[number]].astype(dtypes[number]))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_value_that_means_no_data_is_kept(tmp_path: Path, dtype: str) -> None:
    split = stored((dtype,), "pixels", nodata=7)
    first, *_ = export(split, "train", 6, tmp_path)
    with open_raster(first) as raster:
        info, read = raster.info, raster.read()
    present = split.batch(torch.arange(1)).observed[0].numpy()
    assert info.nodata == 7 and read.present is not None
    assert np.array_equal(read.present, present)
    assert (read.values[~present] == 7).all()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/b_1", "a_b/1"], ["a/b_1", "a_b/1"]),
        (["x", "x", "X", "x_2"], ["x", "x_2", "X_3", "x_2_2"]),
        (["../x", "/etc/x", "a//b", ".."], ["_/x", "etc/x", "a/b", "_"]),
        ([".hidden/x", "a:b\\c", "", "c\n"], ["_hidden/x", "a_b_c", "_", "c_"]),
    ],
)
def test_names_are_paths_below_the_directory_and_differ(names: list[str], expected: list[str]) -> None:
    assert file_names(names) == expected


def test_long_names_are_shortened_and_stay_different(tmp_path: Path) -> None:
    names = ["x" * 400 + end for end in "ab"] + ["é" * 180]
    spec = DataSpec.uniform("set", ("grey",), 4, 4, "intensity")
    written = export(ArraySplit(spec, torch.zeros(3, 1, 4, 4, dtype=torch.uint8), names=names), "train", 3, tmp_path)
    assert len(set(written)) == 3 and all(path.is_file() and len(path.name.encode()) < 220 for path in written)


def test_no_more_indices_than_images() -> None:
    assert first_indices(tyres().split("val"), 2).tolist() == [0, 1]
    assert first_indices(tyres().split("val"), 9).tolist() == [0, 1, 2]


@pytest.mark.parametrize("absent", ["nothing", "components", "pixels", "both"])
@pytest.mark.parametrize(
    "dtypes", [("uint8",), ("uint16", "uint16"), ("int16", "int16", "int16"), ("float32",), ("uint8", "float32")]
)
def test_an_export_of_an_export_is_the_same(tmp_path: Path, dtypes: tuple[str, ...], absent: Absent) -> None:
    export(stored(dtypes, absent), "train", 6, tmp_path / "first")
    opened = open_dataset(str(tmp_path / "first"))
    assert [each.dtype for each in opened.spec.component_specs] == list(dtypes)
    splits = [opened.split(name) for name in ("train", "val")]  # type: ignore[arg-type]
    for split in splits:
        export(split, "train", 6, tmp_path / "second")
    first, second = (files_below(tmp_path / folder) for folder in ("first", "second"))
    assert first == second
    for name in (name for name in first if not name.startswith("composite/")):
        with open_raster(tmp_path / "first" / name) as before, open_raster(tmp_path / "second" / name) as after:
            expected, read = before.read(), after.read()
        assert read.values.dtype == expected.values.dtype and read.values.tobytes() == expected.values.tobytes(), name
        assert np.array_equal(read.present, expected.present), name  # None where everything is
