from __future__ import annotations

import numpy as np
import pytest
import torch

from painting import SHAPES
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.observing import as_observed, observe

SHAPE = (2, 3, 8, 12)
PRESENT = torch.ones(SHAPE, dtype=torch.bool)


def test_observed_is_present_and_kept_and_left_by_the_mask() -> None:
    present, mask = PRESENT.clone(), torch.ones(1, 1, 8, 12, dtype=torch.bool)
    present[:, 2], mask[..., :4] = False, False
    known = observe(present, ("carcass",), mask, SHAPES)
    expected = torch.zeros(SHAPE, dtype=torch.bool)
    expected[:, 0, :, 4:] = True
    assert torch.equal(known, expected)
    assert torch.equal(observe(present, (), None, SHAPES), present)


def test_a_kept_component_must_be_present_in_every_image() -> None:
    present = PRESENT.clone()
    present[1, 1] = False
    with pytest.raises(DataError, match="does not hold belt, which is to be kept"):
        observe(present, ("belt",), None, SHAPES)


def test_something_must_be_kept_of_every_image() -> None:
    mask = PRESENT.clone()
    mask[1] = False
    with pytest.raises(DataError, match="Nothing of the image is observed"):
        observe(PRESENT, (), mask, SHAPES)


def test_unknown_components() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tread'"):
        observe(PRESENT, ("tred",), None, SHAPES)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((8, 12), (1, 1, 8, 12)),
        ((3, 8, 12), (1, 3, 8, 12)),
        ((1, 8, 12), (1, 1, 8, 12)),
        ((2, 8, 12), (2, 1, 8, 12)),
        ((8, 12, 3), (1, 3, 8, 12)),
        ((2, 3, 8, 12), (2, 3, 8, 12)),
        ((2, 1, 8, 12), (2, 1, 8, 12)),
        ((2, 8, 12, 3), (2, 3, 8, 12)),
    ],
)
def test_masks_of_every_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5
    known = as_observed(values, SHAPE)
    assert known.shape == expected and int(known.sum()) == int(values.sum())
    assert torch.equal(as_observed(values.numpy().astype(np.int32) * 255, SHAPE), known)
    if shape[-1] == 3:
        assert torch.equal(known.movedim(1, -1).reshape(shape), values)


@pytest.mark.parametrize("shape", [(12, 8), (4, 8, 12), (3, 3, 8, 12), (2, 2, 8, 12), (96,)])
def test_masks_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"has the shape .* the images have"):
        as_observed(torch.ones(shape, dtype=torch.bool), SHAPE)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_one_mask_an_image_is_not_taken_for_one_a_component(count: int) -> None:
    """With as many images as components, either could be meant."""
    values = torch.rand(count, 8, 12, generator=torch.Generator().manual_seed(0)) > 0.5
    if count != 3:
        assert torch.equal(as_observed(values, (count, 3, 8, 12)), values[:, None])
        return
    with pytest.raises(DataError, match=r"for each of the 3 images, or one for each of the 3 components. Give \[3, 1, 8, 12\]"):
        as_observed(values, (3, 3, 8, 12))
    assert torch.equal(as_observed(values[:, None], (3, 3, 8, 12)), values[:, None])
    assert torch.equal(as_observed(values[None], (3, 3, 8, 12)), values[None])


def test_big_endian_masks_of_any_integers() -> None:
    values = (np.arange(96).reshape(8, 12) % 3 == 0).astype(">u2") * 1000
    assert torch.equal(as_observed(values, SHAPE)[0, 0], torch.from_numpy(values > 0))


def test_an_image_without_data_is_said_to_be_one() -> None:
    with pytest.raises(DataError, match="The image holds no data: every pixel is NaN, nodata or transparent"):
        observe(~PRESENT, (), None, SHAPES)


def test_soft_masks_are_refused() -> None:
    with pytest.raises(DataError, match="floating point"):
        as_observed(torch.rand(8, 12), SHAPE)
