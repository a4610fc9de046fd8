from __future__ import annotations

import pytest
import torch

from vqkit.image_io.scales import find_extremes, merged_extremes


@pytest.mark.parametrize("numbers", [[0, 1], [0, 5, 9], [0], [4, 7], [0, 0, 0, 3]])
def test_extremes_of_parts_together_are_those_of_the_whole(numbers: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        drawn = torch.tensor(numbers)[torch.randint(len(numbers), (3, 4), generator=generator)].numpy()
        merged = None
        for part in drawn:
            merged = merged_extremes(merged, find_extremes(part))
        assert merged == find_extremes(drawn)
        assert merged_extremes(merged, None) == merged == merged_extremes(None, merged)
