"""Turned training images."""

from __future__ import annotations

import pytest
import torch

from vqkit.data.augmentation import Augmentation, turn
from vqkit.interfaces import Batch


@pytest.mark.parametrize("size", [(6, 6), (6, 4)])
def test_each_image_is_turned_by_its_own_number_of_quarters(size: tuple[int, int]) -> None:
    images = torch.rand(4, 2, *size)
    turns = torch.arange(4) if size[0] == size[1] else torch.tensor([0, 2, 2, 0])
    turned = turn(images, turns)
    for number in range(4):
        assert torch.equal(turned[number], images[number].rot90(int(turns[number]), (-2, -1)))


def test_images_and_what_is_present_of_them_are_turned_alike() -> None:
    images = torch.rand(200, 1, 5, 5)
    batch = Batch(images, torch.zeros(200, 0), torch.full((200,), -1), present=images > 0.3)
    varied = Augmentation(turn=True).apply(batch, torch.Generator().manual_seed(0))
    assert varied.present is not None
    assert torch.equal(varied.present, varied.images > 0.3)
    same = (varied.images == images).flatten(1).all(dim=1)
    assert 0.15 < float(same.float().mean()) < 0.35  # a quarter is turned by nothing
    # Only training images are.
    assert Augmentation(turn=True).of("val") == Augmentation()


def test_images_that_are_not_square_keep_their_size() -> None:
    images = torch.rand(50, 1, 6, 4)
    batch = Batch(images, torch.zeros(50, 0), torch.full((50,), -1))
    varied = Augmentation(turn=True).apply(batch, torch.Generator().manual_seed(0)).images
    assert varied.shape == images.shape
    half = (varied == images.rot90(2, (-2, -1))).flatten(1).all(dim=1)
    assert bool((half | (varied == images).flatten(1).all(dim=1)).all())
    assert 0.3 < float(half.float().mean()) < 0.7
