from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from largest_tensor import LargestTensor
from torch import Tensor

from vqkit.quantizers import nearest
from vqkit.quantizers.nearest import nearest_codes


def squared_distances(rows: Tensor, codes: Tensor) -> Tensor:
    """Every distance in float64, without any shortcut: [N, K]."""
    return (rows.double()[:, None] - codes.double()[None]).square().sum(dim=2)


def assert_nearest(rows: Tensor, codes: Tensor, indices: Tensor, tolerance: float = 1e-5) -> None:
    distances = squared_distances(rows, codes)
    assert indices.dtype == torch.int64
    assert indices.shape == (len(rows),)
    chosen = distances.gather(1, indices[:, None])[:, 0]
    scale = distances.mean() if distances.numel() else 1.0
    assert bool((chosen <= distances.amin(dim=1) + tolerance * scale).all())


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    codes=st.sampled_from([2, 3, 63, 64, 65, 128, 200]),
    dim=st.integers(1, 20),
    chunk=st.sampled_from([1, 2**8, 2**20]),
    seed=st.integers(0, 2**31),
)
def test_equals_brute_force_for_any_size(rows: int, codes: int, dim: int, chunk: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features, codebook = torch.randn(rows, dim, generator=generator), torch.randn(codes, dim, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "MIN_CHUNK_ROWS", 1)
        patch.setitem(nearest.CHUNK_DISTANCES, "cpu", chunk)
        assert_nearest(features, codebook, nearest_codes(features, codebook))


@pytest.mark.parametrize("rows", [6, 7, 8, 13])
def test_rows_around_the_end_of_a_chunk(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MIN_CHUNK_ROWS", 1)
    monkeypatch.setitem(nearest.CHUNK_DISTANCES, "cpu", 7 * 128)
    codes = torch.eye(100)
    expected = torch.arange(rows) * 7 % 100
    assert torch.equal(nearest_codes(codes[expected] * 0.9, codes), expected)


def test_every_code_finds_itself() -> None:
    codes = torch.randn(1000, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest_codes(codes, codes), torch.arange(1000))


def test_equal_codes_are_all_right_answers() -> None:
    codes = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).repeat(50, 1)
    assert torch.equal(nearest_codes(codes[:4], codes) % 4, torch.arange(4))


def test_exact_where_features_lie_far_from_the_origin() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = 1000 + torch.randn(256, 8, generator=generator)
    rows = 1000 + torch.randn(500, 8, generator=generator)
    assert torch.equal(nearest_codes(rows, codes), squared_distances(rows, codes).argmin(dim=1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_gets_a_valid_index_and_disturbs_no_other(value: float) -> None:
    codes = torch.eye(65)
    rows = codes[:10].clone()
    rows[3, 2] = value
    indices = nearest_codes(rows, codes)
    assert 0 <= int(indices[3]) < 65
    others = torch.tensor([0, 1, 2, 4, 5, 6, 7, 8, 9])
    assert torch.equal(indices[others], others)


def test_distances_are_never_held_for_more_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MIN_CHUNK_ROWS", 1)
    monkeypatch.setitem(nearest.CHUNK_DISTANCES, "cpu", 2**13)
    rows, codes = torch.randn(1000, 4), torch.randn(512, 4)
    with LargestTensor() as largest:
        nearest_codes(rows, codes)
    assert largest.elements <= max(2**13, rows.numel())
    assert largest.elements < len(rows) * len(codes) / 50


def test_no_rows_give_no_indices() -> None:
    assert nearest_codes(torch.empty(0, 4), torch.randn(8, 4)).shape == (0,)
