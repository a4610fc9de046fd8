"""Every quantizer that vector-quantize-pytorch implements as well, with equal weights and inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.quantizers.ema import EMACodebook, EMAOptions
from vqkit.quantizers.fsq import FSQ, FSQOptions
from vqkit.quantizers.lfq import LFQ, LFQOptions
from vqkit.quantizers.lookup import LookupOptions, LookupQuantizer
from vqkit.quantizers.simvq import SimVQ
from vqkit.registry import QUANTIZERS

vector_quantize_pytorch = pytest.importorskip("vector_quantize_pytorch")

CODES, DIM = 96, 8


def ema_state(codes: Tensor) -> dict[str, Tensor]:
    """An EMA codebook initialised to `codes`, with N = 1 and m = e, as the reference begins."""
    return {"codes": codes, "sums": codes, "counts": torch.ones(len(codes)), "initialised": torch.tensor(True)}


def begin(reference: Any, codes: Tensor) -> None:
    """The same for the reference."""
    inner = reference._codebook
    inner.embed.copy_(codes[None])
    inner.embed_avg.copy_(codes[None])
    inner.cluster_size.fill_(1)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize("estimator", ["straight-through", "rotation"])
def test_ema_indices_values_loss_gradient_and_updates(distance: str, estimator: str) -> None:
    torch.manual_seed(0)
    reference: Any = vector_quantize_pytorch.VectorQuantize(
        dim=DIM, codebook_size=CODES, decay=0.9, eps=1e-3, commitment_weight=1.0, accept_image_fmap=True,
        rotation_trick=estimator == "rotation", use_cosine_sim=distance == "cosine", threshold_ema_dead_code=0,
    )  # fmt: skip
    settings = {"num_codes": CODES, "dim": DIM, "distance": distance, "gradient_estimator": estimator}
    ours = EMACodebook(EMAOptions.model_validate({**settings, "decay": 0.9, "epsilon": 1e-3, "reset_every": 0}))
    start = torch.randn(CODES, DIM)
    start = start / start.norm(dim=1, keepdim=True) if distance == "cosine" else start
    ours.load_state_dict({**ours.state_dict(), **ema_state(start)})
    begin(reference, start)
    for _ in range(3):
        features = torch.randn(4, DIM, 6, 5)
        mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        quantized, indices, loss = reference(theirs)
        output = ours(mine)
        assert torch.equal(output.indices, indices)
        torch.testing.assert_close(output.features, quantized)
        torch.testing.assert_close(output.commitment_loss, loss.squeeze())
        probe = torch.randn_like(features)
        ((output.features * probe).sum() + output.commitment_loss).backward()
        ((quantized * probe).sum() + loss.squeeze()).backward()
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.counts, reference._codebook.cluster_size[0])
        torch.testing.assert_close(ours.sums, reference._codebook.embed_avg[0])
        torch.testing.assert_close(ours.codes, reference._codebook.embed[0])


@pytest.mark.parametrize("estimator", ["straight-through", "rotation"])
def test_simvq(estimator: str) -> None:
    torch.manual_seed(0)
    reference: Any = vector_quantize_pytorch.SimVQ(
        dim=DIM, codebook_size=CODES, channel_first=True, rotation_trick=estimator == "rotation"
    )
    ours = SimVQ(LookupOptions.model_validate({"num_codes": CODES, "dim": DIM, "gradient_estimator": estimator}))
    weight = reference.code_transform.weight.detach()
    ours.load_state_dict({"basis": reference.frozen_codebook, "map.weight": weight, "initialised": torch.tensor(True)})
    features, probe = torch.randn(2, DIM, 4, 5), torch.randn(2, DIM, 4, 5)
    mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    quantized, indices, loss = reference(theirs)
    output = ours(mine)
    assert torch.equal(output.indices, indices)
    torch.testing.assert_close(output.features, quantized)
    our_loss = output.codebook_loss + ours.commitment_weight * output.commitment_loss
    torch.testing.assert_close(our_loss, loss)
    ((output.features * probe).sum() + our_loss).backward()
    ((quantized * probe).sum() + loss).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.map.weight.grad, reference.code_transform.weight.grad)
    torch.testing.assert_close(ours.decode(indices), reference.indices_to_codes(indices))


@pytest.mark.parametrize("levels", [(8, 6, 5), (8, 5, 5, 5), (7, 5, 5, 5, 5), (3, 4)])
def test_fsq(levels: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    reference: Any = vector_quantize_pytorch.FSQ(levels=list(levels))
    ours = FSQ(FSQOptions(levels=levels))
    features, probe = 2 * torch.randn(2, len(levels), 6, 5), torch.randn(2, len(levels), 6, 5)
    mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    quantized, indices = reference(theirs)
    output = ours(mine)
    assert torch.equal(output.indices, indices.long())
    torch.testing.assert_close(output.features, quantized)
    (output.features * probe).sum().backward()
    (quantized * probe).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(ours.decode(indices.long()), reference.indices_to_codes(indices))


def test_lfq(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = vector_quantize_pytorch.lookup_free_quantization
    # Its logarithm is clamped at 1e-5, which is felt in the fifth digit of the entropies; ours are exact.
    monkeypatch.setattr(module, "log", lambda value: value.clamp(min=1e-30).log())
    reference: Any = module.LFQ(dim=6, codebook_size=64, entropy_loss_weight=0.1, commitment_loss_weight=0.25, diversity_gamma=0.7)
    ours = LFQ(LFQOptions(num_codes=64, diversity=0.7))
    features, probe = 0.02 * torch.randn(3, 6, 5, 4), torch.randn(3, 6, 5, 4)
    mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    # Its first channel is the highest bit, ours the lowest.
    quantized, indices, loss = reference(theirs.flip(1))
    output = ours(mine)
    assert torch.equal(output.indices, indices.long())
    torch.testing.assert_close(output.features, quantized.flip(1))
    our_loss = output.codebook_loss + ours.commitment_weight * output.commitment_loss
    torch.testing.assert_close(our_loss, loss, rtol=1e-5, atol=1e-6)
    ((output.features * probe).sum() + our_loss).backward()
    ((quantized.flip(1) * probe).sum() + loss).backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


def test_residual_in_groups() -> None:
    torch.manual_seed(0)
    groups, num_quantizers = 2, 3
    reference: Any = vector_quantize_pytorch.GroupedResidualVQ(
        dim=groups * DIM, groups=groups, num_quantizers=num_quantizers, codebook_size=CODES, decay=0.9, eps=1e-3,
        commitment_weight=1.0,
        rotation_trick=False,
    )  # fmt: skip
    inner = {"num_codes": CODES, "dim": DIM, "decay": 0.9, "epsilon": 1e-3, "reset_every": 0}
    ours = QUANTIZERS.build(
        "grouped", {"groups": groups, "inner": {"name": "residual", "num_quantizers": num_quantizers, "inner": inner}}
    )
    codebooks = [each for each in ours.modules() if isinstance(each, LookupQuantizer)]
    layers = [layer for residual in reference.rvqs for layer in residual.layers]
    for codebook, layer in zip(codebooks, layers, strict=True):
        start = torch.randn(CODES, DIM)
        codebook.load_state_dict({**codebook.state_dict(), **ema_state(start)})
        begin(layer, start)
    for _ in range(2):
        features, probe = torch.randn(4, groups * DIM, 6, 5), torch.randn(4, groups * DIM, 6, 5)
        mine, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        quantized, indices, losses = reference(theirs.flatten(2).mT)
        output = ours(mine)
        assert torch.equal(output.indices, indices.permute(1, 0, 3, 2).reshape(4, groups * num_quantizers, 6, 5))
        torch.testing.assert_close(output.features.flatten(2).mT, quantized)
        # Losses are summed over depths and averaged over groups.
        torch.testing.assert_close(output.commitment_loss, losses.sum() / groups)
        (commitment,) = torch.autograd.grad(output.commitment_loss, mine, retain_graph=True)
        (expected,) = torch.autograd.grad(losses.sum() / groups, theirs, retain_graph=True)
        torch.testing.assert_close(commitment, expected)
        # The reference lets the decoder's gradient pass once for each depth, we let it pass once.
        (value,) = torch.autograd.grad(output.features, mine, probe)
        (thrice,) = torch.autograd.grad(quantized, theirs, probe.flatten(2).mT)
        torch.testing.assert_close(num_quantizers * value, thrice)
        for codebook, layer in zip(codebooks, layers, strict=True):
            torch.testing.assert_close(codebook.codebook(), layer._codebook.embed[0])
