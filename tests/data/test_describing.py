from __future__ import annotations

from dataclasses import replace

import torch

from vqkit.data.describing import describe, with_kind
from vqkit.interfaces import DataSpec

GREYS = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 1, 2, 2)
APART = torch.tensor([[255, 0, 0], [0, 0, 255]], dtype=torch.uint8).view(1, 2, 1, 3)


def test_shapes_are_cut_at_half_of_the_range_where_they_are_asked_for() -> None:
    cut = with_kind(GREYS, "binary")
    assert cut.flatten().tolist() == [0, 0, 255, 255]
    assert cut.dtype == torch.uint8
    assert with_kind(GREYS, "auto") is with_kind(GREYS, "intensity") is GREYS


def test_what_images_say_of_themselves() -> None:
    expected = DataSpec.uniform("marks", ("a", "b"), 1, 3, "binary", exclusive=True, classes=("x",))
    assert describe(APART, "auto", "marks", ("a", "b"), (), ("x",)) == expected
    together = APART.clone()
    together[0, 1, 0, 0] = 255
    assert describe(together, "auto", "marks", ("a", "b"), (), ("x",)) == replace(expected, exclusive=False)
    assert describe(APART // 2, "auto", "marks", ("a", "b"), (), ("x",)) == DataSpec.uniform(
        "marks", ("a", "b"), 1, 3, "intensity", classes=("x",)
    )


def test_a_kind_that_was_chosen_stays() -> None:
    chosen = describe(APART, "intensity", "marks", ("a", "b"), ())
    assert (chosen.value_kind, chosen.exclusive) == ("intensity", False)
