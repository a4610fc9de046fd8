from __future__ import annotations

import torch

from vqkit.quantizers.lookup import LookupOptions
from vqkit.quantizers.simvq import SimVQ


def build(**settings: object) -> SimVQ:
    torch.manual_seed(0)
    return SimVQ(LookupOptions.model_validate({"num_codes": 64, "dim": 4, **settings}))


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
    assert float(quantizer.codebook().detach().std(dim=0)[0]) > 3, "codes that nobody chose moved as well"
