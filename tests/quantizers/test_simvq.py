from __future__ import annotations

import torch

from vqkit.quantizers.lookup import LookupOptions
from vqkit.quantizers.simvq import SimVQ


def build(started: bool = True, **settings: object) -> SimVQ:
    torch.manual_seed(0)
    quantizer = SimVQ(LookupOptions.model_validate({"num_codes": 64, "dim": 4, **settings}))
    quantizer.initialised.fill_(started)
    return quantizer


def features(seed: int) -> torch.Tensor:
    return torch.randn(4, 4, 3, 5, generator=torch.Generator().manual_seed(seed))


def test_codes_are_the_basis_under_the_map() -> None:
    quantizer = build()
    indices = torch.arange(64).view(1, 8, 8)
    codes = quantizer.decode(indices)[0].flatten(1).T
    torch.testing.assert_close(codes, quantizer.basis @ quantizer.map.weight.detach().T)


def test_only_the_map_is_trained_and_one_chosen_code_moves_all() -> None:
    quantizer = build()
    assert [name for name, _ in quantizer.named_parameters()] == ["map.weight"]
    basis, before = quantizer.basis.clone(), quantizer.codebook().detach()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=1.0)
    quantizer(features(0)[:1, :, :1, :1]).codebook_loss.backward()
    optimizer.step()
    assert torch.equal(quantizer.basis, basis)
    assert bool((quantizer.codebook().detach() != before).any(dim=1).all())


def test_training_the_map_spreads_all_codes_over_features_far_away() -> None:
    quantizer = build()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.05)
    # An ellipse far wider than the first codes, which all stand near its centre.
    wide = torch.tensor([12.0, 3.0, 3.0, 3.0]).view(1, 4, 1, 1)
    before = quantizer(wide * features(0))
    for step in range(100):
        optimizer.zero_grad()
        quantizer(wide * features(step)).codebook_loss.backward()
        optimizer.step()
    after = quantizer(wide * features(0))
    assert float(after.codebook_loss.detach()) < 0.3 * float(before.codebook_loss.detach())
    assert len(after.indices.unique()) > 20
    assert float(quantizer.codebook().detach().std(dim=0)[0]) > 3, "codes that were not chosen moved as well"


def test_the_first_batch_gives_codes_the_second_moments_of_its_features() -> None:
    quantizer = build(started=False, num_codes=20_000)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))[0]
    stretched = torch.einsum("ij,bjhw->bihw", turn * torch.tensor([12.0, 3.0, 1.0, 0.1]), features(0)) + 2
    rows = stretched.movedim(1, -1).reshape(-1, 4)
    quantizer.eval()(stretched)
    assert not quantizer.initialised, "only training initialises the map"
    before = quantizer.codebook().detach().clone()
    quantizer.train()(stretched)
    codes = quantizer.codebook().detach()
    assert not torch.equal(before, codes)
    wanted = rows.T @ rows / len(rows)
    torch.testing.assert_close(codes.T @ codes / len(codes), wanted, rtol=0.05, atol=0.02 * float(wanted.diagonal().max()))
    quantizer(features(1))
    assert torch.equal(quantizer.codebook().detach(), codes), "only the first batch does"


def test_a_batch_that_is_not_finite_does_not_initialise_the_map() -> None:
    quantizer = build(started=False)
    before = quantizer.codebook().detach().clone()
    quantizer.train()(features(0).index_fill(0, torch.tensor([1]), torch.nan))
    assert not quantizer.initialised
    assert torch.equal(quantizer.codebook().detach(), before)
    quantizer(features(0))
    assert quantizer.initialised
