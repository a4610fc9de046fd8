"""Dead codes are reset: in training to features of the batch, and over a whole data set to copies of used codes."""

from __future__ import annotations

import pytest
import torch
from codebooks import BOTH, batch, build, column, started

from vqkit.errors import ConfigError
from vqkit.quantizers.ema import EMACodebook


@BOTH
def test_dead_codes_are_reset_with_all_their_state(name: str) -> None:
    codes = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [0.0, 1000.0]])
    quantizer = started(name, codes, reset_every=6)
    for step in range(5):
        quantizer(batch(step, 2, 2, 3, 3))
    assert quantizer.recent.tolist() == [5 * 18, 0, 0]
    assert bool((quantizer.codes[1:].norm(dim=1) > 900).all()), "nothing is reset before its time"
    last = batch(5, 2, 2, 3, 3)
    quantizer(last)
    rows = last.permute(0, 2, 3, 1).reshape(-1, 2)
    assert quantizer.recent.tolist() == [0, 0, 0], "a reset restarts the counts"
    assert bool((quantizer.codes[0].norm() < 1) & (rows != quantizer.codes[0]).any(dim=1).all()), "a code in use stays"
    for code in (1, 2):
        assert bool((rows == quantizer.codes[code]).all(dim=1).any()), "a dead code is now a feature of the batch"
    assert not torch.equal(quantizer.codes[1], quantizer.codes[2])
    if isinstance(quantizer, EMACodebook):
        torch.testing.assert_close(quantizer.counts[1:], torch.full((2,), 1 - quantizer.options.decay))
        torch.testing.assert_close(quantizer.sums, quantizer.codes * quantizer.counts[:, None], rtol=1e-3, atol=1e-3)
    # The next line of a wrong implementation would undo it: e = m / N with an old m.
    quantizer(last)
    assert bool((quantizer.codes.norm(dim=1) < 10).all())


@pytest.mark.parametrize(("uses", "is_dead"), [(1, True), (2, False)])
def test_a_code_is_dead_below_a_fraction_of_the_mean_use(uses: int, is_dead: bool) -> None:
    quantizer = started("gradient", torch.tensor([[0.0], [100.0]]), reset_every=1, reset_threshold=0.15)
    features = column(*[0.1 * step for step in range(20 - uses)], *[100.5] * uses)
    quantizer(features)  # 20 uses, a mean of 10: dead below 1.5
    assert (float(quantizer.codes[1].detach()) != 100.0) == is_dead


@BOTH
def test_codes_in_use_are_not_reset(name: str) -> None:
    codes = torch.eye(4) * 10
    quantizer = started(name, codes, reset_every=1)
    for step in range(10):
        features = codes.repeat(3, 1).view(3, 2, 2, 4).permute(0, 3, 1, 2) + 0.01 * batch(step, 3, 4, 2, 2)
        quantizer(features)
    assert bool(((quantizer.codes.detach() - codes).norm(dim=1) < 0.1).all())


def test_resets_wait_until_codes_could_have_been_chosen_often_enough() -> None:
    codes = torch.tensor([[0.0], [100.0], [200.0], [300.0]])
    quantizer = started("gradient", codes, reset_every=1)
    for step in range(3):
        quantizer(batch(step, 1, 1, 3, 4))  # 12 uses, a mean of 3 a step
        assert torch.equal(quantizer.codes.detach(), codes)
        assert quantizer.recent.sum().item() == 12 * (step + 1)
    quantizer(batch(3, 1, 1, 3, 4))
    assert bool((quantizer.codes < 10).all())
    assert quantizer.recent.sum().item() == 0


def test_resets_split_the_worst_cells_and_not_the_outliers_of_good_ones() -> None:
    codes = torch.tensor([[0.0], [1000.0], [-9000.0]])
    # A wide cell of 60 features around 0 (squared error 60 x 400), a tight one around 1000 with an outlier (squared error 900).
    wide, tight = [20.0, -20.0] * 30, [1000.0] * 29 + [1030.0]
    halves = 0
    for seed in range(50):
        quantizer = started("gradient", codes, reset_every=1)
        quantizer.seed.fill_(seed)
        quantizer(column(*wide, *tight))
        halves += int(abs(float(quantizer.codes[2].detach())) == 20.0)
    assert halves >= 45


def test_resets_avoid_features_that_are_already_represented() -> None:
    codes = torch.tensor([[0.0, 0.0], [500.0, 500.0], [-500.0, 500.0]])
    quantizer = started("gradient", codes, reset_every=1)
    features = torch.zeros(1, 2, 10, 10)
    features[0, :, 4, 4] = torch.tensor([3.0, 4.0])
    quantizer(features)
    expected = torch.tensor([[0.0, 0.0], [3.0, 4.0], [-500.0, 500.0]])
    # The first dead code takes the one feature that lies on no code; for the other there is none.
    assert torch.equal(quantizer.codes.detach(), expected)


@BOTH
def test_a_reset_on_a_batch_that_is_not_finite_uses_only_finite_features(name: str) -> None:
    codes = torch.tensor([[0.0, 0.0], [1000.0, 0.0], [0.0, 1000.0]])
    quantizer = started(name, codes, reset_every=1, reset_threshold=1.0)
    features = batch(0, 2, 2, 5, 5)
    features[0, 0, 0, 0], features[1, 1, 1, 1] = torch.nan, torch.inf
    quantizer(features)
    assert bool(quantizer.codes.isfinite().all())
    assert bool((quantizer.codes.norm(dim=1) < 10).all())


@BOTH
def test_never_chosen_codes_become_noisy_copies_of_chosen_ones(name: str) -> None:
    quantizer = build(name)
    quantizer(batch(0))
    codes = quantizer.codes.detach().clone()
    counts = torch.zeros(16, dtype=torch.int64)
    counts[[2, 5]] = torch.tensor([1000, 3])
    assert quantizer.reset_unused_codes(counts, torch.Generator().manual_seed(0)) == 14
    dead = counts == 0
    torch.testing.assert_close(quantizer.codes[[2, 5]].detach(), codes[[2, 5]])
    away = (quantizer.codes.detach()[dead] - codes[2]).norm(dim=1)
    assert int(((away > 0) & (away < 0.1)).sum()) >= 13, "nearly all copy the code that has nearly all of the use"
    assert len(quantizer.codes.detach().unique(dim=0)) == 16
    if isinstance(quantizer, EMACodebook):
        torch.testing.assert_close(quantizer.counts[dead], torch.full((14,), 1 - quantizer.options.decay))
        torch.testing.assert_close(quantizer.sums[dead], quantizer.codes[dead] * quantizer.counts[dead, None])


@BOTH
def test_one_use_is_enough_to_stay(name: str) -> None:
    quantizer = build(name)
    quantizer(batch(0))
    codes = quantizer.codes.detach().clone()
    assert quantizer.reset_unused_codes(torch.ones(16, dtype=torch.int64), torch.Generator()) == 0
    assert torch.equal(quantizer.codes.detach(), codes)


def test_without_any_use_there_is_nothing_to_reset_to() -> None:
    with pytest.raises(ConfigError, match="none to copy"):
        build("ema").reset_unused_codes(torch.zeros(16, dtype=torch.int64), torch.Generator())


@BOTH
def test_resets_raise_usage_on_features_that_drift(name: str) -> None:
    def used(reset_every: int) -> int:
        quantizer = build(name, num_codes=64, reset_every=reset_every)
        chosen = []
        for step in range(150):
            # An encoder whose features widen and move as it learns: codes of the first batch are soon all in one corner.
            progress = min(step / 60, 1)
            indices = quantizer((0.1 + progress) * batch(step, 8, 4, 4, 4) + 6 * progress).indices
            chosen.append(indices.flatten())
        return len(torch.cat(chosen[-20:]).unique())

    assert used(10) >= 60
    assert used(0) < 40
