"""What features tell, where the answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from vqkit.interfaces import ConditionSpec, DataSpec
from vqkit.pretraining import probes
from vqkit.pretraining.embedding import draw_embedding, write_embedding


def features(count: int, seed: int) -> Tensor:
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


def test_the_deviation_of_features_knows_collapse() -> None:
    assert probes.feature_std(torch.tensor([[1.0, 2], [2, 4], [3, 6]])) == pytest.approx(0, abs=1e-8)
    assert probes.feature_std(torch.tensor([[1.0, 0], [-7, 0]])) == pytest.approx(1)
    assert probes.feature_std(torch.tensor([[1.0, 0], [0, 2]])) == pytest.approx(math.sqrt(0.5))


def test_what_is_linear_is_foretold_and_noise_is_not() -> None:
    train, held_out = 3 + 10 * features(400, 0), 3 + 10 * features(200, 1)
    slope = torch.tensor([1.0, -2, 0, 4, 0.5])
    found = probes.r2_score(train, train @ slope + 7, held_out, held_out @ slope + 7)
    assert found == pytest.approx(1, abs=1e-4)
    noise = probes.r2_score(train, features(400, 2)[:, 0], held_out, features(200, 3)[:, 0])
    assert noise == pytest.approx(0, abs=0.1)


def test_the_ridge_is_the_closed_form_of_its_penalty() -> None:
    train, wanted = features(30, 4).double(), features(30, 5).double()[:, :2]
    rows = (train - train.mean(0)) / train.std(0, correction=0)
    coefficients = torch.zeros(5, 2, dtype=torch.float64, requires_grad=True)
    loss = (rows @ coefficients - (wanted - wanted.mean(0))).square().sum(1).mean() + 1e-3 * coefficients.square().sum()
    hessian = 2 * (rows.T @ rows / 30 + 1e-3 * torch.eye(5, dtype=torch.float64))
    (slope,) = torch.autograd.grad(loss, coefficients)
    expected = rows @ -torch.linalg.solve(hessian, slope) + wanted.mean(0)  # the minimum of a parabola, by one step from 0
    torch.testing.assert_close(probes.ridge(train, wanted, train), expected)


def test_unknown_values_are_left_out() -> None:
    train, held_out = features(100, 0), features(50, 1)
    values, truth = train[:, 0].clone(), held_out[:, 0].clone()
    values[::2], truth[::3] = torch.nan, torch.nan
    assert probes.r2_score(train, values, held_out, truth) == pytest.approx(1, abs=1e-4)
    assert probes.r2_score(train, torch.full((100,), torch.nan), held_out, truth) is None
    assert probes.r2_score(train, values, held_out, torch.full((50,), 2.0)) is None


def test_a_feature_that_never_changes_does_no_harm() -> None:
    train = features(100, 0)
    train[:, 1] = 4.0
    assert probes.r2_score(train, train[:, 0], train, train[:, 0]) == pytest.approx(1, abs=1e-4)


def test_classes_are_known_by_their_neighbours_and_by_a_line() -> None:
    labels = torch.arange(120) % 3
    centres = 4 * torch.eye(5)[:3]
    train, held_out = centres[labels] + 0.3 * features(120, 0), centres[labels[:60]] + 0.3 * features(60, 1)
    for accuracy in (probes.neighbour_accuracy, probes.linear_accuracy):
        assert accuracy(train, labels, held_out, labels[:60]) == 1
        assert accuracy(train, labels, held_out, (labels[:60] + 1) % 3) == 0


def test_neighbours_are_counted_by_direction_not_by_length() -> None:
    train = torch.tensor([[1.0, 0.1], [0.1, 1]]).repeat_interleave(probes.NUM_NEIGHBOURS, 0)
    labels = torch.tensor([0, 1]).repeat_interleave(probes.NUM_NEIGHBOURS)
    held_out = torch.tensor([[100.0, 12], [0.001, 0.01]])
    assert probes.neighbour_accuracy(train, labels, held_out, torch.tensor([0, 1])) == 1


def test_the_plane_is_that_of_the_largest_variance() -> None:
    spread = features(200, 0) * torch.tensor([0.1, 5, 0.1, 2, 0.1]) + 3
    plane, shares = probes.principal_plane(spread)
    centred = spread.double() - spread.double().mean(0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(plane.abs(), (centred @ axes[:2].T).abs())
    assert shares == pytest.approx((values**2 / (values**2).sum())[:2].tolist())
    # The sign is that of the axis's largest coordinate: the second feature grows along the first axis.
    assert torch.corrcoef(torch.stack([plane[:, 0], centred[:, 1]]))[0, 1] > 0.99


@pytest.mark.parametrize("about", ["classes", "conditions", "nothing"])
def test_the_embedding_is_a_picture(about: str, tmp_path: Path) -> None:
    conditions = tuple(ConditionSpec(name, 0, 1, 0, 1) for name in ("age", "size")) if about == "conditions" else ()
    spec = DataSpec.uniform("toy", ("a",), 8, 8, "intensity", False, conditions, ("cat", "dog") if about == "classes" else ())
    values = torch.rand(20, len(conditions), generator=torch.Generator().manual_seed(0))
    values[3:5] = torch.nan
    figure = draw_embedding(features(20, 0), values, torch.arange(20) % 3 - 1, spec)
    titles = [axes.get_title() for axes in figure.axes]
    assert [title for title in titles if title] == list(spec.condition_names)
    legend = figure.axes[0].get_legend()
    assert ([text.get_text() for text in legend.get_texts()] if legend else []) == (
        ["unknown", "cat", "dog"] if about == "classes" else []
    )
    write_embedding(figure, tmp_path / "plane.png")
    with Image.open(tmp_path / "plane.png") as picture:
        assert picture.width > 300
