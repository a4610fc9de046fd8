"""What values in files mean: types, ranges, gaps, and what is decided once for the whole training split."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from image_files import by_name, counts, everything, save_components
from PIL import Image

from vqkit.data.components import ComponentDataset
from vqkit.data.files import FileDataset
from vqkit.data.images import ImageFolderDataset
from vqkit.errors import ConfigError, DataError


def components(root: Path, **settings: Any) -> ComponentDataset:
    return ComponentDataset(ComponentDataset.Options(path=str(root), **settings))


def images(root: Path, **settings: Any) -> ImageFolderDataset:
    return ImageFolderDataset(ImageFolderDataset.Options(path=str(root), **settings))


def training_values(dataset: FileDataset, component: int) -> np.ndarray:
    """The present values of a component in the training split."""
    stored, present = everything(dataset.split("train"))
    known = np.ones(stored.shape, bool) if present is None else np.broadcast_to(present.numpy(), stored.shape)
    return stored[:, component][known[:, component]].astype(np.float64)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "int8", "float16", "float32", "float64"])
def test_values_are_those_of_the_files_in_their_type(tmp_path: Path, dtype: str) -> None:
    low = 0 if dtype.startswith("u") else -100
    dna, actin = (counts(12, (6, 5), dtype, low, 120, seed) for seed in (1, 2))
    save_components(tmp_path, {"dna": dna, "actin": actin})
    for memory in (0, 10):
        dataset = components(tmp_path, memory_mb=memory)
        held = by_name(dataset.split("train")) | by_name(dataset.split("val"))
        assert dataset.spec.components == ("actin", "dna")
        assert dataset.spec.stored_dtype == getattr(torch, dtype)
        for number in range(12):
            assert held[f"cell{number}"].dtype == np.dtype(dtype)
            assert np.array_equal(held[f"cell{number}"], np.stack([actin[number], dna[number]]))


def test_ranges_are_those_of_the_training_split_alone(tmp_path: Path) -> None:
    dna = counts(40, (6, 5))
    save_components(tmp_path, {"dna": dna, "actin": dna // 2})
    save_components(tmp_path, {"dna": dna[:4] + 50000, "actin": dna[:4] + 50000}, "test")
    for memory in (0, 10):
        dataset = components(tmp_path, memory_mb=memory)
        for number, spec in enumerate(dataset.spec.component_specs):
            values = training_values(dataset, number)
            assert (spec.low, spec.high) == (np.floor(np.percentile(values, 0.1)), np.ceil(np.percentile(values, 99.9)))
            assert (spec.minimum, spec.maximum) == (values.min(), values.max())
            assert spec.maximum < 5000
        assert len(dataset.split("train")) == 38


def test_float_pictures_share_one_range_however_dark_one_of_them_is(tmp_path: Path) -> None:
    """One picture whose largest value is 1.02 was the only one not to be scaled; one with NaN became black."""
    bright = np.linspace(0, 900, 64, dtype=np.float32).reshape(8, 8)
    for number, picture in enumerate((bright, bright / 900 * 1.02, bright + 1, bright)):
        tifffile.imwrite(tmp_path / f"{number}.tif", picture)
    hole = bright.copy()
    hole[2:4, 3] = np.nan
    for name in ("hole", "hole_again"):
        tifffile.imwrite(tmp_path / f"{name}.tif", hole)
    dataset = images(tmp_path)
    (spec,) = dataset.spec.component_specs
    assert (dataset.spec.value_kind, spec.dtype) == ("intensity", "float32")
    held = by_name(dataset.split("train")) | by_name(dataset.split("val"))
    assert held["1"].max() == np.float32(1.02)
    assert np.array_equal(held["hole"][0], hole, equal_nan=True)
    stored, present = everything(dataset.split("train"))
    assert present is not None
    assert np.array_equal(present.numpy(), ~np.isnan(stored))
    assert int((~present).sum()) in (2, 4)
    assert dataset.notes[1:] == ["2 of 6 train images have pixels without data, such as hole, hole_again."]


def test_files_that_are_absent_are_gaps(tmp_path: Path) -> None:
    dna, actin = list(counts(10, (6, 5))), list(counts(10, (6, 5), seed=1))
    full = components_of(tmp_path / "full", dna, actin)
    gaps = components_of(tmp_path / "gaps", dna, [None if number % 3 == 0 else image for number, image in enumerate(actin)])
    assert full.split("train").batch(torch.arange(3)).present is None
    for memory in (0, 10):
        dataset = components(tmp_path / "gaps", memory_mb=memory)
        split = dataset.split("train")
        stored, present = everything(split)
        assert present is not None
        names = split.names(torch.arange(len(split)))
        expected = [[int(name.removeprefix("cell")) % 3 != 0, True] for name in names]
        assert present.broadcast_to(stored.shape)[:, :, 2, 3].tolist() == expected
        assert (stored[~present.broadcast_to(stored.shape).numpy()] == 0).all()
    assert everything(gaps.split("train"))[1].shape[2:] == (1, 1)
    assert "gaps: no actin in 4" in gaps.notes[0]


def components_of(root: Path, dna: list[Any], actin: list[Any]) -> ComponentDataset:
    save_components(root, {"dna": dna, "actin": actin})
    return components(root)


def test_absent_pixels_change_no_range(tmp_path: Path) -> None:
    dna = counts(10, (6, 5), "int16", 10, 500)
    save_components(tmp_path / "a", {"dna": dna, "actin": dna})
    dna[:, 2, 3] = -999
    save_components(tmp_path / "b", {"dna": dna, "actin": dna})
    dna[:, 2, 3] = 31000
    save_components(tmp_path / "c", {"dna": dna, "actin": dna})
    first, second = components(tmp_path / "b", nodata=-999).spec, components(tmp_path / "c", nodata=31000).spec
    assert [each.low for each in first.component_specs] == [each.low for each in second.component_specs]
    assert [each.maximum for each in first.component_specs] == [each.maximum for each in second.component_specs]
    assert first.component_specs[0].nodata == -999
    stored, present = everything(components(tmp_path / "b", nodata={"dna": -999}).split("train"))
    assert present is not None
    assert bool(present[:, 0].all())
    assert torch.equal(present[:, 1], torch.from_numpy(stored[:, 1] != -999))


def test_images_without_any_data_are_skipped_with_a_note(tmp_path: Path) -> None:
    pictures = counts(10, (6, 5)).astype(np.float32)
    pictures[[2, 7]] = np.nan
    save_components(tmp_path, {"dna": pictures, "actin": pictures})
    dataset = components(tmp_path)
    with pytest.warns(UserWarning, match="2 of 10 train images hold no data at all and are skipped: cell2, cell7"):
        split = dataset.split("train")
    assert len(split) + len(dataset.split("val")) == 8
    assert split.batch(torch.arange(3)).present is None


def test_a_component_that_no_training_image_has_is_refused(tmp_path: Path) -> None:
    pictures = counts(10, (6, 5)).astype(np.float32)
    save_components(tmp_path, {"dna": pictures, "actin": np.full_like(pictures, np.nan)})
    for memory in (0, 10):
        with pytest.raises(DataError, match="The component actin is absent from every training image"):
            _ = components(tmp_path, memory_mb=memory).spec
    assert components(tmp_path, components=("dna",)).spec.components == ("dna",)


def test_several_types_in_one_component_are_refused(tmp_path: Path) -> None:
    dna = counts(6, (6, 5))
    save_components(tmp_path, {"dna": [*dna[:4], *dna[4:].astype(np.float32)], "actin": dna})
    with pytest.raises(DataError, match=r"dna hold values of several types: uint16 in 4 \(.*cell0_dna.npy.*float32 in 2 \(.*cell4"):
        components(tmp_path)
    assert components(tmp_path, components=("actin",)).spec.stored_dtype == torch.uint16


def test_each_component_may_have_a_type_of_its_own(tmp_path: Path) -> None:
    dna, mask = counts(10, (6, 5), "int16", -300, 300), counts(10, (6, 5), "uint8", 0, 2) * np.uint8(255)
    heat = dna.astype(np.float32) / 7
    save_components(tmp_path, {"dna": dna, "mask": mask, "heat": heat})
    dataset = components(tmp_path)
    assert [(each.name, each.kind, each.dtype) for each in dataset.spec.component_specs] == [
        ("dna", "intensity", "int16"),
        ("heat", "intensity", "float32"),
        ("mask", "binary", "uint8"),
    ]
    assert dataset.spec.value_kind == "mixed"
    held = by_name(dataset.split("train"))["cell5"]
    assert held.dtype == np.float32
    assert np.array_equal(held, np.stack([dna[5], heat[5], mask[5]]).astype(np.float32))


def test_shapes_of_one_bit_and_of_eight_are_binary_and_keep_their_values(tmp_path: Path) -> None:
    shapes = counts(10, (6, 5), "uint8", 0, 2)
    save_components(tmp_path / "ones", {"dna": shapes, "actin": 1 - shapes})
    save_components(tmp_path / "bool", {"dna": shapes.astype(bool), "actin": shapes < 1})
    ones, bits = components(tmp_path / "ones"), components(tmp_path / "bool")
    assert (ones.spec.value_kind, bits.spec.value_kind) == ("binary", "binary")
    assert (ones.spec.exclusive, bits.spec.exclusive) == (True, True)
    assert [each.high for each in ones.spec.component_specs] == [1, 1]
    assert np.array_equal(by_name(ones.split("train"))["cell3"][1], shapes[3])
    assert np.array_equal(by_name(bits.split("train"))["cell3"][1], shapes[3] * 255)


def test_a_binary_kind_that_is_asked_for_cuts_at_half_of_the_range(tmp_path: Path) -> None:
    dna = counts(10, (6, 5))
    save_components(tmp_path, {"dna": dna, "actin": dna})
    for memory in (0, 10):
        dataset = components(tmp_path, value_kind={"dna": "binary"}, range={"dna": [0, 4000]}, memory_mb=memory)
        held = by_name(dataset.split("train"))["cell3"]
        assert np.array_equal(held[0], dna[3])
        assert np.array_equal(held[1], np.where(dna[3] >= 2000, 4000, 0))


def test_what_was_fitted_is_kept_when_the_data_change(tmp_path: Path) -> None:
    dna = counts(10, (6, 5))
    save_components(tmp_path, {"dna": dna, "mask": (dna > 2000).astype(np.uint8)})
    first = components(tmp_path)
    recorded = first.fitted_settings
    save_components(tmp_path, {"dna": dna * 3, "mask": np.full(dna.shape, 7, np.uint8)})
    again = components(tmp_path, **recorded)
    assert again.spec == first.spec
    assert components(tmp_path).spec != first.spec
    assert again.fitted_settings == recorded
    assert (recorded["height"], recorded["value_kind"]) == (6, {"dna": "intensity", "mask": "binary"})


def test_transparent_pixels_are_absent_and_stored_white(tmp_path: Path) -> None:
    picture = np.full((6, 5), 90, np.uint8)
    picture[0, 0] = 7
    for number in range(4):
        Image.fromarray(picture).save(tmp_path / f"{number}.png", transparency=7)
    for memory in (0, 10):
        stored, present = everything(images(tmp_path, memory_mb=memory).split("train"))
        assert present is not None
        assert (stored[:, 0, 0, 0] == 255).all()
        assert not present[:, 0, 0, 0].any()
        assert int((~present).sum()) == len(stored)


def test_orientation_is_applied_to_data(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(3):
        picture.save(tmp_path / f"{number}.png", exif=exif)
    dataset = images(tmp_path)
    assert (dataset.spec.height, dataset.spec.width) == (4, 6)
    turned = np.rot90(np.asarray(picture), -1)
    assert np.array_equal(everything(dataset.split("train"))[0][0], np.moveaxis(turned, -1, 0))


def test_channels_of_one_file_are_components_with_their_names(tmp_path: Path) -> None:
    stack = counts(30, (6, 5)).reshape(10, 3, 6, 5)
    for number, image in enumerate(stack):
        names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "Cy5"]}}
        tifffile.imwrite(tmp_path / f"{number}.ome.tif", image, photometric="minisblack", metadata=names)
    dataset = images(tmp_path)
    assert dataset.spec.components == ("DAPI", "GFP", "Cy5")
    chosen = images(tmp_path, components=("Cy5", "DAPI"))
    assert np.array_equal(by_name(chosen.split("train"))["3"], stack[3][[2, 0]])
    assert images(tmp_path, components=("a", "b", "c")).spec.components == ("a", "b", "c")
    with pytest.raises(ConfigError, match=r"names 2 channels; the files in .* have 3") as refused:
        images(tmp_path, components=("a", "GFP"))
    assert "They are named DAPI, GFP, Cy5" in refused.value.hint


def test_named_channels_that_a_file_lacks_are_gaps(tmp_path: Path) -> None:
    stack = counts(20, (6, 5)).reshape(10, 2, 6, 5)
    for number, image in enumerate(stack):
        names = ["DAPI", "GFP"] if number % 2 else ["GFP"]
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(tmp_path / f"{number}.ome.tif", image[: len(names)], photometric="minisblack", metadata=metadata)
    split = images(tmp_path).split("train")
    held = by_name(split)
    present = dict(zip(held, split.batch(torch.arange(len(split))).observed[:, :, 0, 0].tolist(), strict=True))
    assert np.array_equal(held["3"], stack[3])
    assert np.array_equal(held["6"][1], stack[6][0])
    assert (present["3"], present["6"]) == ([True, True], [False, True])


def test_sixteen_bit_stacks_without_names_are_no_colours(tmp_path: Path) -> None:
    for number, stack in enumerate(counts(12, (6, 5)).reshape(4, 3, 6, 5)):
        np.save(tmp_path / f"{number}.npy", stack)
    assert images(tmp_path).spec.components == ("channel_1", "channel_2", "channel_3")


def test_good_files_raise_no_warning_however_they_are_read(tmp_path: Path) -> None:
    dna = counts(10, (6, 5))
    save_components(tmp_path, {"dna": dna, "actin": dna})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for memory in (0, 10):
            components(tmp_path, memory_mb=memory).split("train").batch(torch.arange(4))
