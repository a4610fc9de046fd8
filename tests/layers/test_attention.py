"""Attention starts as the identity, equals the fused kernel, and gives the same step by step as in one pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.layers import attention
from vqkit.layers.attention import AttentionCache, CausalSelfAttention, SelfAttention, number_of_heads


def randomize_output(layer: SelfAttention | CausalSelfAttention) -> None:
    """Initialise the output layer, which starts at zero, to random weights."""
    torch.manual_seed(0)
    torch.nn.init.normal_(layer.out.weight, std=0.1)


def fused(layer: SelfAttention | CausalSelfAttention, tokens: Tensor, causal: bool) -> Tensor:
    """Attention with two heads of 64 channels on tokens [B, P, 128], by the fused kernel of torch."""
    query, key, value = (part.unflatten(2, (2, 64)).transpose(1, 2) for part in layer.project(layer.norm(tokens)).chunk(3, dim=2))
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(1, 2).flatten(2)
    return tokens + layer.out(mixed)


def test_attention_starts_as_the_identity() -> None:
    x = torch.randn(2, 64, 6, 4)
    assert torch.equal(SelfAttention(64)(x), x)
    tokens = torch.randn(2, 24, 64)
    assert torch.equal(CausalSelfAttention(64)(tokens), tokens)


def test_attention_equals_the_fused_kernel() -> None:
    layer = SelfAttention(128)
    randomize_output(layer)
    x = torch.randn(2, 128, 6, 4)
    expected = fused(layer, x.flatten(2).transpose(1, 2), causal=False).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [9, 1, 4])  # memory for all, and memory that has to grow
def test_causal_attention_equals_the_fused_kernel_in_one_pass_and_step_by_step(positions: int) -> None:
    layer = CausalSelfAttention(128)
    randomize_output(layer)
    tokens = torch.randn(2, 9, 128)
    expected = fused(layer, tokens, causal=True)
    torch.testing.assert_close(layer(tokens), expected, rtol=1e-4, atol=1e-5)
    cache = AttentionCache(positions)
    with torch.no_grad():
        steps = torch.stack([layer.step(token, cache) for token in tokens.unbind(dim=1)], dim=1)
    torch.testing.assert_close(steps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("channels", "head_width", "heads"), [(128, 64, 2), (32, 64, 1), (96, 40, 2), (90, 20, 3)])
def test_heads_have_equal_widths_close_to_the_requested_one(channels: int, head_width: int, heads: int) -> None:
    assert number_of_heads(channels, head_width) == heads


def test_many_positions_give_the_same_without_scores_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = SelfAttention(32)
    randomize_output(layer)
    x = torch.randn(2, 32, 32, 32)

    def run() -> tuple[Tensor, list[Tensor], int]:
        """Output, gradients, and the size of the largest tensor that is kept for the backward pass."""
        sizes = [0]
        layer.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(lambda kept: (sizes.append(kept.numel()), kept)[1], lambda kept: kept):
            output = layer(x)
        output.square().sum().backward()
        return output, [parameter.grad for parameter in layer.parameters() if parameter.grad is not None], max(sizes)

    output, gradients, kept = run()
    monkeypatch.setattr(attention, "FUSED_POSITIONS", 10_000)
    expected, expected_gradients, kept_with_scores = run()
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-3, atol=1e-2)
    assert kept < 2 * 1024 * 1024 <= kept_with_scores
