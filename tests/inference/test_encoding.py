from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, SHAPES, pipeline, sections
from vqkit.data.splits import ArraySplit
from vqkit.errors import CheckpointError, ConfigError
from vqkit.image_io.reading import ReadOptions, find_items
from vqkit.inference.encoding import decode_codes, encode_items, encode_split
from vqkit.inference.postprocess import to_stored

MODEL = pipeline(SHAPES)
IMAGES = sections(5)
CONDITIONS = torch.tensor([[float(value)] for value in (10, 90, torch.nan, 30, 40)])


def test_a_split_is_encoded_in_order_with_all_that_is_known() -> None:
    split = ArraySplit(SHAPES, IMAGES, CONDITIONS, torch.arange(5), [f"n{number}" for number in range(5)])
    counted: list[int] = []
    content = encode_split(MODEL, split, counted.append, batch_size=2)
    assert torch.equal(content.codes[0], MODEL.encode(IMAGES)[0])
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


def test_files_are_encoded_by_what_is_in_them(tmp_path: Path) -> None:
    np.save(tmp_path / "all.npy", IMAGES.numpy())
    Image.fromarray(IMAGES[0, 1].numpy()).save(tmp_path / "s0_belt.png")
    content = encode_items(MODEL, find_items(tmp_path, SHAPES), ReadOptions(), lambda path, reason: None, lambda count: None, 2)
    assert content.names == ("all_00000", "all_00001", "all_00002", "all_00003", "all_00004", "s0_belt")
    assert torch.equal(content.codes[0][:5], MODEL.encode(IMAGES)[0])
    assert torch.equal(content.codes[0][5:], MODEL.encode(IMAGES[0, 1], keep="belt")[0])


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
