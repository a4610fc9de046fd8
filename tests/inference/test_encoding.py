from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, SHAPES, pipeline, sections
from vqkit.data.splits import ArraySplit
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.rasters import open_raster
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.encoding import decode_codes, encode_items, encode_part, encode_split
from vqkit.inference.postprocess import to_stored
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.storage.code_files import CodesFile

MODEL = pipeline(SHAPES)
IMAGES = sections(5)
CONDITIONS = torch.tensor([[float(value)] for value in (10, 90, torch.nan, 30, 40)])


def test_a_split_is_encoded_in_order_with_all_that_is_known() -> None:
    split = ArraySplit(SHAPES, IMAGES, CONDITIONS, torch.arange(5), [f"n{number}" for number in range(5)])
    counted: list[int] = []
    content = encode_split(MODEL, split, counted.append, batch_size=2)
    assert torch.equal(content.part(slice(None))[0], MODEL.encode(IMAGES)[0])
    assert content.codes[0].dtype == torch.uint8
    assert content.names == ("n0", "n1", "n2", "n3", "n4") and counted == [2, 2, 1]
    assert torch.equal(content.labels, torch.arange(5)) and content.tokenizer == MODEL.digest
    torch.testing.assert_close(content.conditions, CONDITIONS, equal_nan=True)


def test_conditions_are_matched_by_name() -> None:
    width, other = SHAPES.conditions[0], replace(SHAPES.conditions[0], name="other")
    both = ArraySplit(replace(SHAPES, conditions=(other, width)), IMAGES, torch.cat([CONDITIONS * 0, CONDITIONS], dim=1))
    torch.testing.assert_close(encode_split(MODEL, both, lambda count: None).conditions, CONDITIONS, equal_nan=True)
    none = ArraySplit(replace(SHAPES, conditions=()), IMAGES)
    assert encode_split(MODEL, none, lambda count: None).conditions.isnan().all()


def test_a_split_of_other_images_is_refused() -> None:
    with pytest.raises(
        CheckpointError, match=r"photos has r, g, b at 8 x 8; the model was trained on carcass, belt, tread at 8 x 12"
    ):
        encode_split(MODEL, ArraySplit(COLOUR, torch.zeros(2, 3, 8, 8, dtype=torch.uint8)), lambda count: None)


def encoded(source: Path) -> tuple[tuple[str, ...], torch.Tensor]:
    """Names and codes of all images at a path."""
    items = find_inputs(source, SHAPES).items
    parts = list(encode_items(MODEL, items, ReadOptions(), lambda path, reason: None, lambda count: None, 2))
    assert all(len(part.names) <= 2 for part in parts)
    return sum((part.names for part in parts), ()), torch.cat([part.codes[0] for part in parts])


def test_files_are_encoded_by_what_is_in_them(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", IMAGES.numpy())
    Image.fromarray(IMAGES[0, 1].numpy()).save(tmp_path / "s0_belt.png")
    names, codes = encoded(tmp_path / "all.npy")
    assert names == ("all_00000", "all_00001", "all_00002", "all_00003", "all_00004")
    assert torch.equal(codes, MODEL.encode(IMAGES)[0])
    names, codes = encoded(tmp_path / "s0_belt.png")
    assert names == ("s0",) and torch.equal(codes, MODEL.encode(IMAGES[0, 1], keep="belt")[0])


def test_a_part_of_a_split_is_what_the_whole_has_there() -> None:
    split = ArraySplit(SHAPES, IMAGES, CONDITIONS, torch.arange(5), [f"n{number}" for number in range(5)])
    parts = list(encode_part(MODEL, split, range(1, 4), lambda count: None, batch_size=2))
    assert [part.names for part in parts] == [("n1", "n2"), ("n3",)]
    assert torch.equal(torch.cat([part.codes[0] for part in parts]), MODEL.encode(IMAGES[1:4])[0])
    assert torch.equal(torch.cat([part.labels for part in parts]), torch.tensor([1, 2, 3]))
    assert list(encode_part(MODEL, split, range(4, 4), lambda count: None)) == []


def test_codes_are_those_of_whole_tiles(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.zeros((3, 16, 12), np.uint8))
    with pytest.raises(DataError, match=r"12 wide and 16 high; codes are those of 12 x 8 pixels"):
        encoded(tmp_path / "large.npy")


def test_decoding_writes_what_the_codes_stand_for(tmp_path: Path) -> None:
    content = encode_split(MODEL, ArraySplit(SHAPES, IMAGES, CONDITIONS), lambda count: None)
    names = list(decode_codes(MODEL, content, tmp_path, batch_size=2))
    assert names == [f"{number:06d}" for number in range(5)]
    soft = MODEL.decode(content.codes, {"width_px": CONDITIONS[:, 0].tolist()})
    final = to_stored(soft, SHAPES)
    for name, image in zip(names, final, strict=True):
        for component, values in zip(SHAPES.components, image, strict=True):
            with Image.open(tmp_path / component / f"{name}_{component}.png") as picture:
                assert np.array_equal(np.array(picture), values.numpy())


def test_named_conditions_replace_those_in_the_file(tmp_path: Path) -> None:
    content = encode_split(MODEL, ArraySplit(SHAPES, IMAGES, CONDITIONS), lambda count: None)
    list(decode_codes(MODEL, content, tmp_path, {"width_px": 80}))
    with Image.open(tmp_path / "carcass" / "000000_carcass.png") as picture:
        assert (np.array(picture) == 255).all()
    with pytest.raises(ConfigError, match="no condition 'height_px'"):
        list(decode_codes(MODEL, content, tmp_path, {"height_px": 1}))


def test_images_of_one_name_and_of_long_names_are_all_written(tmp_path: Path) -> None:
    names = ("same", "same", "x" * 300, "x" * 301)
    codes = (torch.arange(4).repeat_interleave(6).reshape(4, 2, 3),)
    content = CodesFile(codes, names, torch.full((4,), -1), torch.full((4, 1), torch.nan), MODEL.digest)
    written = list(decode_codes(MODEL, content, tmp_path))
    assert len(set(written)) == 4 and written[0] == "same"
    assert len(list((tmp_path / "belt").iterdir())) == 4


@pytest.mark.parametrize(("dtype", "high", "suffix"), [("uint16", 1000, "png"), ("int16", 1000, "tif"), ("float32", 2.5, "tif")])
def test_decoded_files_are_of_the_type_of_the_training_data(tmp_path: Path, dtype: str, high: float, suffix: str) -> None:
    specs = tuple(ComponentSpec(name, "intensity", dtype, 0, high, 0, high) for name in ("dna", "actin", "golgi"))
    model = pipeline(DataSpec("cells", specs, 8, 8))
    codes = (torch.arange(8).reshape(2, 2, 2),)
    content = CodesFile(codes, ("a", "b/c"), torch.tensor([-1, -1]), torch.zeros(2, 0), model.digest)
    assert list(decode_codes(model, content, tmp_path)) == ["a", "b/c"]
    expected = to_stored(model.decode_unit(codes), model.spec).numpy()
    for row, path in enumerate(("actin/a_actin", "actin/b/c_actin")):
        with open_raster(tmp_path / f"{path}.{suffix}") as raster:
            assert raster.info.dtype == np.dtype(dtype)
            assert np.array_equal(raster.read().values[0], expected[row, 1])
    assert (tmp_path / "composite" / "b" / "c.png").is_file()
