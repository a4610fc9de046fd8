"""The EMA codebook against vector-quantize-pytorch, with equal weights and inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqkit.quantizers.ema import EMACodebook, EMAOptions

vector_quantize_pytorch = pytest.importorskip("vector_quantize_pytorch")


def test_indices_values_loss_gradient_and_updates_agree() -> None:
    torch.manual_seed(0)
    codes, dim = 96, 8
    reference: Any = vector_quantize_pytorch.VectorQuantize(
        dim=dim, codebook_size=codes, decay=0.9, eps=1e-3, commitment_weight=1.0, accept_image_fmap=True, rotation_trick=False,
        threshold_ema_dead_code=0,
    )  # fmt: skip
    ours = EMACodebook(EMAOptions(num_codes=codes, dim=dim, decay=0.9, epsilon=1e-3, restart_every=0))
    start = torch.randn(codes, dim)
    state = {"codes": start, "sums": start, "counts": torch.ones(codes), "initialised": torch.tensor(True)}
    ours.load_state_dict({**ours.state_dict(), **state})
    inner = reference._codebook
    inner.embed.copy_(start[None])
    inner.embed_avg.copy_(start[None])
    inner.cluster_size.fill_(1)
    for _ in range(3):
        features = torch.randn(4, dim, 6, 5)
        mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        quantized, indices, loss = reference(theirs)
        output = ours(mine)
        assert torch.equal(output.indices, indices)
        torch.testing.assert_close(output.features, quantized)
        torch.testing.assert_close(output.commitment_loss, loss.squeeze())
        probe = torch.randn_like(features)
        ((output.features * probe).sum() + output.commitment_loss).backward()
        ((quantized * probe).sum() + loss.squeeze()).backward()
        torch.testing.assert_close(mine.grad, theirs.grad)
        torch.testing.assert_close(ours.counts, inner.cluster_size[0])
        torch.testing.assert_close(ours.sums, inner.embed_avg[0])
        torch.testing.assert_close(ours.codes, inner.embed[0])
