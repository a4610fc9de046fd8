"""The area under the ROC curve against a count of all pairs, and its standard error against the formula of DeLong et al."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.evaluation.auroc import auroc


def psi(usual: float, other: float) -> float:
    return 1.0 if other > usual else 0.5 if other == usual else 0.0


def counted(usual: Tensor, other: Tensor) -> list[list[float]]:
    return [[psi(one, two) for one in usual.tolist()] for two in other.tolist()]


@pytest.mark.parametrize("values", [3, 20, 10_000])
def test_it_is_the_share_of_pairs_in_the_right_order(values: int) -> None:
    generator = torch.Generator().manual_seed(values)
    usual = torch.randint(values, (23,), generator=generator).double()
    other = torch.randint(values, (17,), generator=generator).double() + values // 5
    found, pairs = auroc(usual, other), torch.tensor(counted(usual, other), dtype=torch.float64)
    assert found.area == pytest.approx(float(pairs.mean()), abs=1e-12)
    error = (pairs.mean(dim=1).var() / 17 + pairs.mean(dim=0).var() / 23).sqrt()
    assert found.standard_error == pytest.approx(float(error), abs=1e-12)


def test_its_ends_and_what_has_no_area() -> None:
    low, high = torch.tensor([0.0, 1]), torch.tensor([2.0, 3, 4])
    assert auroc(low, high).area == 1 and auroc(high, low).area == 0 and auroc(low, low).area == 0.5
    assert auroc(low[:1], high).standard_error is None
    with pytest.raises(ValueError, match="no scores of one kind"):
        auroc(low, high[:0])
    with pytest.raises(ValueError, match="not a number"):
        auroc(low, torch.tensor([torch.nan]))


def test_the_standard_error_is_that_of_drawing_other_images() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [auroc(torch.randn(40, generator=generator), 1 + torch.randn(60, generator=generator)) for _ in range(400)]
    spread = torch.tensor([each.area for each in drawn]).std()
    mean = sum(each.standard_error or 0 for each in drawn) / len(drawn)
    assert mean == pytest.approx(float(spread), rel=0.1)
