"""The linear guess without decisions: as `LinearStart`, for whole components, holes, and both."""

from __future__ import annotations

import pytest
import torch

from vqkit.data.masking import sample_pixels
from vqkit.errors import DataError
from vqkit.layers.linear_guess import measure_patches
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.spatial_covariance import SpatialCovariance
from vqkit.layers.tabulated_start import MOST_COMPONENTS, TabulatedStart


def test_guesses_are_those_of_the_linear_start() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(48, 3, 17, 14, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1)  # 13 x 10: the grids of interpolation have odd sizes
    images = torch.cat([smooth[:, :2], smooth[:, :1] + 0.3 * smooth[:, 2:]], dim=1)
    start = LinearStart(torch.tensor([[0.0, 1.0]] * 3))
    start.set_statistics(measure_patches([(images, None)], 3), SpatialCovariance.unknown(3))
    start.kriging = False
    holes = sample_pixels((48, 3, 13, 10), "mixed", generator)
    holes = torch.where(torch.rand(48, 3, 1, 1, generator=generator) < 0.5, holes, True)  # in some components, or in none
    observed = holes & (torch.rand(48, 3, 1, 1, generator=generator) < 0.7)
    observed[0], observed[1] = True, False
    given, tabulated = start(images, observed), TabulatedStart(start)(images, observed)
    assert (given - images).abs().amax() > 0.05  # there is something to guess
    assert torch.allclose(given, tabulated, rtol=0, atol=5e-6)


def test_a_table_has_its_limits() -> None:
    with pytest.raises(DataError, match="14 components"):
        TabulatedStart(LinearStart(torch.tensor([[0.0, 1.0]] * (MOST_COMPONENTS + 1))))
