"""Parts and overlaps against plain loops over pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.evaluation.shape_statistics import connected_parts, have_usual_parts, overlap_share, part_shares


def parts_by_hand(shape: Tensor) -> int:
    """Connected parts of bool [H, W] by filling them one after the other."""
    left = {(row, column) for row, column in shape.nonzero().tolist()}
    count = 0
    while left:
        front = [left.pop()]
        while front:
            row, column = front.pop()
            touching = {pixel for pixel in left if max(abs(pixel[0] - row), abs(pixel[1] - column)) == 1}
            left -= touching
            front.extend(touching)
        count += 1
    return count


def test_parts_are_those_of_a_plain_flood_fill() -> None:
    shapes = torch.rand(6, 3, 9, 7, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.1, 0.25, 0.4])[:, None, None]
    expected = [[parts_by_hand(shape) for shape in image] for image in shapes]
    assert connected_parts(shapes).tolist() == expected
    assert max(map(max, expected)) > 3


def test_corners_connect_and_components_and_images_do_not() -> None:
    shapes = torch.zeros(2, 2, 3, 3, dtype=torch.bool)
    shapes[0, 0] = torch.eye(3, dtype=torch.bool)
    shapes[0, 1, 0, ::2] = True
    shapes[1, 0] = True
    assert connected_parts(shapes).tolist() == [[1, 2], [1, 0]]


def test_overlap_counts_a_pixel_once_however_many_components_claim_it() -> None:
    shapes = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
    shapes[0, :, 0, 0] = True
    shapes[0, :2, 1, 1] = True
    shapes[0, 0, 2] = True
    assert overlap_share(shapes).tolist() == [2 / 20, 0]


def test_shares_of_numbers_of_parts() -> None:
    parts = torch.tensor([[1, 0], [1, 2], [3, 2], [1, 2]])
    assert part_shares(parts).tolist() == [[0, 0.75, 0, 0.25], [0.25, 0, 0.75, 0]]


def test_usual_is_what_enough_other_images_have_in_every_component() -> None:
    shares = torch.tensor([[0.0, 0.75, 0.01, 0.24], [0.25, 0.0, 0.75, 0.0]])
    parts = torch.tensor([[1, 0], [3, 2], [2, 2], [1, 1], [4, 2], [1, 90]])
    assert have_usual_parts(parts, shares, 0.05).tolist() == [True, True, False, False, False, False]
    assert have_usual_parts(parts, shares, 0.01).tolist() == [True, True, True, False, False, False]
