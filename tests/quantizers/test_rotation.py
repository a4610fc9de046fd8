from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.quantizers.rotation import rotate

rotate_to = pytest.importorskip("vector_quantize_pytorch.vector_quantize_pytorch").rotate_to


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (2, 5, 3, 4), generator=torch.Generator().manual_seed(seed))


def test_the_gradient_is_that_of_the_paper_s_matrix() -> None:
    features, codes, probe = drawn(0).requires_grad_(), drawn(1), drawn(2)
    (gradient,) = torch.autograd.grad(rotate(features, codes), features, probe)
    for image, row, column in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        feature, code = (tensor.detach()[image, :, row, column].double() for tensor in (features, codes))
        source, target = feature / feature.norm(), code / code.norm()
        middle = (source + target) / (source + target).norm()
        rotation = torch.eye(5).double() - 2 * torch.outer(middle, middle) + 2 * torch.outer(target, source)
        scale = code.norm() / feature.norm()
        torch.testing.assert_close(scale * rotation @ feature, code)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(5).double())
        expected = scale * rotation.T @ probe[image, :, row, column].double()
        torch.testing.assert_close(gradient[image, :, row, column].double(), expected, rtol=1e-5, atol=1e-5)


def test_value_and_gradient_equal_the_reference() -> None:
    mine, theirs, codes, probe = drawn(0).requires_grad_(), drawn(0).requires_grad_(), drawn(1), drawn(2)
    rotated = rotate(mine, codes)
    reference = rotate_to(theirs.movedim(1, -1), codes.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(rotated, reference)
    (first,), (second,) = (torch.autograd.grad(value, source, probe) for value, source in ((rotated, mine), (reference, theirs)))
    torch.testing.assert_close(first, second)


def test_the_value_is_the_code_bit_for_bit_and_the_code_gets_no_gradient() -> None:
    codes = drawn(1).requires_grad_()
    rotated = rotate(drawn(0).requires_grad_(), codes)
    assert torch.equal(rotated, codes)
    assert torch.autograd.grad(rotated.sum(), codes, allow_unused=True) == (None,)


def test_a_feature_on_its_code_gets_the_gradient_unchanged() -> None:
    features, probe = drawn(0).requires_grad_(), drawn(2)
    (gradient,) = torch.autograd.grad(rotate(features, features.detach()), features, probe)
    torch.testing.assert_close(gradient, probe)


def test_gradients_of_one_cell_differ_with_the_angle() -> None:
    code = drawn(1, 1, 5, 1, 1).expand(1, 5, 1, 2).contiguous()
    features = (code + drawn(0, 1, 5, 1, 2)).requires_grad_()
    probe = drawn(2, 1, 5, 1, 1).expand(1, 5, 1, 2)
    (gradient,) = torch.autograd.grad(rotate(features, code), features, probe)
    assert not torch.allclose(gradient[..., 0], gradient[..., 1], atol=0.05)


@pytest.mark.parametrize("short", ["feature", "code"])
def test_without_a_direction_the_gradient_passes_unchanged(short: str) -> None:
    features, codes, probe = drawn(0), drawn(1), drawn(2)
    (features if short == "feature" else codes)[0, :, 1, 2] = 0
    features.requires_grad_()
    (gradient,) = torch.autograd.grad(rotate(features, codes), features, probe)
    assert torch.equal(gradient[0, :, 1, 2], probe[0, :, 1, 2])
    assert bool(gradient.isfinite().all())


def test_opposite_directions_are_turned_about() -> None:
    features, probe = drawn(0).requires_grad_(), drawn(2)
    (gradient,) = torch.autograd.grad(rotate(features, -features.detach()), features, probe)
    source = features.detach() / features.detach().norm(dim=1, keepdim=True)
    along = (probe * source).sum(1, keepdim=True)
    torch.testing.assert_close((gradient * source).sum(1, keepdim=True), -along)
