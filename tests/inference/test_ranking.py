"""Consensus against plain loops over pairs of answers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painting import COLOUR, SHAPES
from vqkit.errors import ConfigError
from vqkit.inference.ranking import expected_errors, parse_rank, shape_distances
from vqkit.interfaces import ComponentSpec, DataSpec

MIXED = DataSpec(
    "mixed", (ComponentSpec("shape", "binary"), ComponentSpec("stain", "intensity"), ComponentSpec("light", "intensity")), 6, 5
)
GENERATOR = torch.Generator().manual_seed(3)


def answers(spec: DataSpec, count: int) -> tuple[Tensor, Tensor]:
    """Answers to three images, of which the last misses nothing of its first component, and where they are missing."""
    shape = (3, count, len(spec.components), spec.height, spec.width)
    drawn = torch.rand(shape, generator=GENERATOR)
    drawn = torch.where(spec.binary[:, None, None], (drawn > 0.6).float(), drawn)
    missing = torch.rand(3, *shape[2:], generator=GENERATOR) > 0.4
    missing[2, 0] = False
    return drawn, missing


def distance(first: Tensor, second: Tensor, missing: Tensor, spec: DataSpec) -> float:
    if spec.value_kind != "binary":
        return float((first.double() - second.double())[missing].square().mean())
    found = []
    for one, other, where in zip(first > 0.5, second > 0.5, missing, strict=True):
        if bool(where.any()):
            either = int((one | other)[where].sum())
            found.append(1 - int((one & other)[where].sum()) / either if either else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("spec", [SHAPES, COLOUR, MIXED], ids=lambda spec: spec.value_kind)
@pytest.mark.parametrize("count", [2, 7])
def test_the_expected_error_is_half_of_that_to_the_others_and_half_of_that_to_one_pass(spec: DataSpec, count: int) -> None:
    drawn, missing = answers(spec, count)
    one_pass = answers(spec, 1)[0][:, 0]
    found = expected_errors(drawn, one_pass, missing, spec)
    for image in range(3):
        for answer in range(count):
            own = drawn[image, answer]
            errors = [distance(own, drawn[image, other], missing[image], spec) for other in range(count) if other != answer]
            from_one_pass = distance(own, one_pass[image], missing[image], spec)
            expected = sum(errors) / len(errors) / 2 + from_one_pass / 2
            assert float(found[image, answer]) == pytest.approx(expected, rel=1e-5)


def test_what_is_observed_does_not_count() -> None:
    drawn, missing = answers(COLOUR, 4)
    changed = torch.where(missing[:, None], drawn, torch.rand(drawn.shape, generator=GENERATOR))
    one_pass = drawn[:, 0]
    found = expected_errors(drawn, one_pass, missing, COLOUR)
    torch.testing.assert_close(found, expected_errors(changed, one_pass, missing, COLOUR))


def test_a_single_answer_has_no_expected_error_and_nothing_missing_none_either() -> None:
    drawn, missing = answers(SHAPES, 3)
    assert bool(expected_errors(drawn[:, :1], drawn[:, 0], missing, SHAPES).isnan().all())
    for spec, (given, where) in ((SHAPES, (drawn, missing)), (COLOUR, answers(COLOUR, 3))):
        assert expected_errors(given, given[:, 0], torch.zeros_like(where), spec).eq(0).all()


def test_empty_shapes_agree() -> None:
    shapes = torch.zeros(1, 2, 1, 4, 4, dtype=torch.bool)
    judged = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    assert shape_distances(shapes, judged).eq(0).all()
    shapes[0, 1, 0, 0] = True
    assert shape_distances(shapes, judged).tolist() == [[[[0, 1], [1, 0]]]]


def test_the_answer_with_the_least_expected_squared_error_is_near_the_mean_of_the_others_and_one_pass() -> None:
    drawn, missing = answers(COLOUR, 9)
    mean, one_pass = drawn.mean(dim=1, keepdim=True), drawn[:, 3:4] + 0.1

    def distances(image: Tensor) -> Tensor:
        return ((drawn - image) * missing[:, None]).flatten(2).square().sum(dim=2)

    # The mean squared distance to the others is 9 / 8 of that to the mean of all, up to a number that is the same for all.
    expected = distances(mean) * 9 / 8 + distances(one_pass)
    assert torch.equal(expected_errors(drawn, one_pass[:, 0], missing, COLOUR).argmin(dim=1), expected.argmin(dim=1))


def test_ways_of_ranking_have_names() -> None:
    assert parse_rank("consensus") == "consensus"
    with pytest.raises(ConfigError, match="ranked by 'best'"):
        parse_rank("best")
