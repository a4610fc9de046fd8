"""Smooth interpolation against a direct solution of Laplace's equation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vqkit.layers.harmonic import fill_smoothly


def solved(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Laplace's equation in the hole, by one dense linear system."""
    height, width = image.shape
    unknown = [(y, x) for y in range(height) for x in range(width) if not known[y, x]]
    number = {place: i for i, place in enumerate(unknown)}
    matrix, right = np.zeros((len(unknown), len(unknown))), np.zeros(len(unknown))
    for (y, x), row in number.items():
        for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= place[0] < height and 0 <= place[1] < width):
                continue
            matrix[row, row] += 1
            if place in number:
                matrix[row, number[place]] -= 1
            else:
                right[row] += image[place]
    filled = image.copy()
    for place, value in zip(unknown, np.linalg.solve(matrix, right), strict=True):
        filled[place] = value
    return filled


def holes(shape: tuple[int, ...]) -> Tensor:
    """One box in each component, one of them at the border."""
    known = torch.ones(shape, dtype=torch.bool)
    known[0, 0, 4:11, 3:9] = False
    known[0, 1, 0:6, 8:] = False
    known[1, 0, 2, 2] = False
    return known


def test_it_solves_laplaces_equation() -> None:
    images = torch.rand(2, 2, 16, 13, generator=torch.Generator().manual_seed(0))
    known = holes(images.shape)
    exact = np.stack(
        [[solved(images[i, c].double().numpy(), known[i, c].numpy()) for c in range(2)] for i in range(2)],
    )
    assert np.abs(fill_smoothly(images, known, steps=60).numpy() - exact).max() < 1e-4
    # What networks begin with is near enough.
    assert np.abs(fill_smoothly(images, known).numpy() - exact).max() < 2e-2


def test_what_is_known_stays_and_hidden_values_do_not_matter() -> None:
    images = torch.rand(2, 2, 16, 13)
    known = holes(images.shape)
    filled = fill_smoothly(images, known)
    assert torch.equal(filled[known], images[known])
    assert torch.equal(filled, fill_smoothly(torch.where(known, images, torch.nan), known))


def test_a_plane_is_continued_within_its_values() -> None:
    plane = torch.linspace(0, 1, 32).expand(1, 1, 32, 32).clone()
    known = torch.ones_like(plane, dtype=torch.bool)
    known[..., 8:24, 8:24] = False
    assert float((fill_smoothly(plane, known, steps=100) - plane).abs().max()) < 1e-4


def test_a_component_of_which_nothing_is_known_is_zero() -> None:
    images = torch.rand(1, 2, 8, 8)
    known = torch.ones_like(images, dtype=torch.bool)
    known[0, 1] = False
    assert torch.equal(fill_smoothly(images, known)[0, 1], torch.zeros(8, 8))
