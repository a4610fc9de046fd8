from __future__ import annotations

import itertools

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.quantizers.fsq import FSQ, FSQOptions
from vqkit.registry import QUANTIZERS


def fsq(*levels: int) -> FSQ:
    return FSQ(FSQOptions(levels=levels))


@pytest.mark.parametrize("levels", [(3,), (4,), (5, 4), (8, 6, 5), (256, 3)])
def test_every_code_is_reached_and_finds_itself(levels: tuple[int, ...]) -> None:
    quantizer = fsq(*levels)
    indices = torch.arange(quantizer.num_codes).view(1, 1, -1)
    values = quantizer.decode(indices)
    assert len(values[0, :, 0].T.unique(dim=0)) == quantizer.num_codes
    # The feature that lands on a value, by the inverse of the bounding function.
    bounded = (values * quantizer.half_width + quantizer.offset) / quantizer.half_range
    assert torch.equal(quantizer.encode(bounded.atanh() - quantizer.shift), indices)


def test_codes_are_the_grid_of_levels_with_the_first_channel_fastest() -> None:
    steps = {3: [-1.0, 0.0, 1.0], 4: [-1.0, -0.5, 0.0, 0.5]}
    expected = torch.tensor([(first, second) for second, first in itertools.product(steps[4], steps[3])])
    assert torch.equal(fsq(3, 4).decode(torch.arange(12).view(1, 1, 12))[0, :, 0].T, expected)


def test_zero_is_a_code_and_the_outermost_are_reached_by_moderate_features() -> None:
    quantizer = fsq(8, 5)
    assert torch.equal(quantizer.decode(quantizer.encode(torch.zeros(1, 2, 1, 1))), torch.zeros(1, 2, 1, 1))
    for sign, expected in ((-6.0, (-1.0, -1.0)), (6.0, (0.75, 1.0))):
        assert quantizer(torch.full((1, 2, 1, 1), sign)).features.flatten().tolist() == list(expected)


def test_the_gradient_is_that_of_the_bounding_function() -> None:
    quantizer = fsq(8, 5, 3)
    features, probe = torch.randn(2, 3, 4, 5).requires_grad_(), torch.randn(2, 3, 4, 5)
    (gradient,) = torch.autograd.grad(quantizer(features).features, features, probe)
    slope = quantizer.half_range / quantizer.half_width * (1 - torch.tanh(features + quantizer.shift).square())
    torch.testing.assert_close(gradient, (probe * slope).detach())


def test_the_state_dict_is_empty() -> None:
    assert not fsq(8, 5, 5, 5).state_dict()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": [8, 2]}, "at least 3 levels, not 2; .* lfq"),
        ({"levels": [8, 300]}, "at most 256 levels, not 300"),
        ({"levels": [200, 200, 200, 200]}, "200 x 200 x 200 x 200 = 1600000000 codes are more than"),
        ({"levels": []}, "levels"),
        ({"levels": [8, 5, 5, 5], "num_codes": 1024}, r"num_codes: the levels give 8 x 5 x 5 x 5 = 1000 codes, not 1024"),
    ],
)
def test_levels_that_cannot_be_meant_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QUANTIZERS.build("fsq", settings)


def test_a_number_of_codes_that_agrees_with_the_levels_is_accepted() -> None:
    assert QUANTIZERS.build("fsq", {"levels": [8, 5, 5, 5], "num_codes": 1000}).num_codes == 1000
