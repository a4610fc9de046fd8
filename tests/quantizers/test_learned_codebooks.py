from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.quantizers.codebook import LearnedCodebook
from vqkit.quantizers.ema import EMACodebook
from vqkit.registry import QUANTIZERS

BOTH = pytest.mark.parametrize("name", ["ema", "gradient"])


def build(name: str, **settings: Any) -> LearnedCodebook:
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(name, {"num_codes": 16, "dim": 4, **settings})
    assert isinstance(quantizer, LearnedCodebook)
    return quantizer


def batch(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (4, 4, 3, 5), generator=torch.Generator().manual_seed(seed))


def started(name: str, codes: Tensor, **settings: Any) -> LearnedCodebook:
    """A codebook that already stands at `codes`, with N = 1 and m = e."""
    quantizer = build(name, num_codes=len(codes), dim=codes.shape[1], **settings)
    state = {"codes": codes, "initialised": torch.tensor(True)}
    if name == "ema":
        state |= {"sums": codes, "counts": torch.ones(len(codes))}
    quantizer.load_state_dict({**quantizer.state_dict(), **state})
    return quantizer


def column(*values: float) -> Tensor:
    """Features of one dimension on a grid of one row: [1, 1, 1, w]."""
    return torch.tensor(values).view(1, 1, 1, -1)


def test_ema_by_hand_for_two_steps() -> None:
    quantizer = started("ema", torch.tensor([[0.0], [10.0]]), decay=0.9, epsilon=0.1, reset_every=0)
    assert isinstance(quantizer, EMACodebook)

    first = quantizer(column(1.0, 2.0, 9.0))
    assert first.indices.flatten().tolist() == [0, 0, 1]
    assert first.features.flatten().tolist() == [0.0, 0.0, 10.0], "features are quantised before the codes move"
    assert float(first.commitment_loss) == pytest.approx((1 + 4 + 1) / 3)
    # N = .9 * 1 + .1 * [2, 1];  m = .9 * [0, 10] + .1 * [3, 9];  sum N = 2.1
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.1, 1.0]))
    torch.testing.assert_close(quantizer.sums.flatten(), torch.tensor([0.3, 9.9]))
    smoothed = torch.tensor([(1.1 + 0.1) / (2.1 + 0.2) * 2.1, (1.0 + 0.1) / (2.1 + 0.2) * 2.1])
    torch.testing.assert_close(quantizer.codes.flatten(), torch.tensor([0.3, 9.9]) / smoothed)

    quantizer(column(8.0))
    # N = .9 * [1.1, 1.0] + .1 * [0, 1];  m = .9 * [.3, 9.9] + .1 * [0, 8];  sum N = 1.99
    torch.testing.assert_close(quantizer.counts, torch.tensor([0.99, 1.0]))
    torch.testing.assert_close(quantizer.sums.flatten(), torch.tensor([0.27, 9.71]))
    smoothed = torch.tensor([(0.99 + 0.1) / (1.99 + 0.2) * 1.99, (1.0 + 0.1) / (1.99 + 0.2) * 1.99])
    torch.testing.assert_close(quantizer.codes.flatten(), torch.tensor([0.27, 9.71]) / smoothed)
    assert int(quantizer.updates) == 2


def test_codes_that_nobody_chooses_stay_bounded() -> None:
    codes = torch.tensor([[0.0, 0.0], [50.0, 50.0], [-80.0, 3.0]])
    quantizer = started("ema", codes, reset_every=0)
    for step in range(1000):
        quantizer(0.1 * batch(step, 2, 2, 2, 2))
    assert bool(quantizer.codes.isfinite().all())
    assert bool((quantizer.codes[1:].norm(dim=1) <= codes[1:].norm(dim=1) * 1.001).all())


def test_the_first_ema_counts_are_one_and_agree_with_the_codes() -> None:
    quantizer = build("ema")
    assert isinstance(quantizer, EMACodebook)
    assert torch.equal(quantizer.counts, torch.ones(16))
    assert torch.equal(quantizer.sums, quantizer.codes)


@BOTH
def test_first_batch_starts_the_codebook_at_its_clusters(name: str) -> None:
    centres = torch.tensor([[5.0, 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]])
    rows = centres.repeat(40, 1) + 0.01 * batch(0, 120, 4)
    features = rows.view(2, 6, 10, 4).permute(0, 3, 1, 2)
    quantizer = build(name, num_codes=12, reset_every=0)
    output = quantizer(features)
    assert bool(quantizer.initialised)
    assert output.commitment_loss.item() < 1e-3
    assert torch.cdist(quantizer.codes.detach(), centres).amin(dim=1).max() < 0.1


def test_a_new_codebook_weighs_its_clusters_as_if_the_means_had_begun_at_zero() -> None:
    quantizer = build("ema", decay=0.9, reset_every=0)
    assert isinstance(quantizer, EMACodebook)
    rows = batch(0).permute(0, 2, 3, 1).reshape(-1, 4)
    quantizer._initialise(rows)
    assert float(quantizer.counts.sum()) == pytest.approx(0.1 * len(rows))
    torch.testing.assert_close(quantizer.sums, quantizer.codes * quantizer.counts[:, None])


@BOTH
def test_without_lloyd_the_codes_are_features_of_the_first_batch(name: str) -> None:
    quantizer = build(name, kmeans_iterations=0)
    features = batch(0)
    # Quantised before anything is learned: each code's own feature is replaced by itself.
    quantized = quantizer(features).features
    rows, chosen = (tensor.permute(0, 2, 3, 1).reshape(-1, 4) for tensor in (features, quantized))
    same = (rows == chosen).all(dim=1)
    assert int(same.sum()) == 16
    assert len(rows[same].unique(dim=0)) == 16


@BOTH
def test_fewer_features_than_codes(name: str) -> None:
    quantizer = build(name, num_codes=40, reset_every=1)
    for step in range(5):
        output = quantizer(batch(step, 1, 4, 2, 3))
    assert bool(output.features.isfinite().all())
    assert bool(quantizer.codes.isfinite().all())


@BOTH
def test_evaluation_moves_nothing(name: str) -> None:
    quantizer = build(name, reset_every=1)
    quantizer(batch(0))
    before = copy.deepcopy(quantizer.state_dict())
    quantizer.eval()
    for step in range(3):
        quantizer(batch(step))
        quantizer.encode(batch(step))
    for key, value in quantizer.state_dict().items():
        assert torch.equal(value, before[key]), key


@BOTH
@pytest.mark.parametrize("training", [True, False])
def test_encode_then_decode_equals_the_forward_value_exactly(name: str, training: bool) -> None:
    quantizer = build(name, num_codes=100, kmeans_iterations=1)
    quantizer(batch(0))
    features = batch(1, 3, 4, 7, 2)
    frozen = copy.deepcopy(quantizer)
    output = quantizer.train(training)(features)
    indices = frozen.encode(features)
    assert torch.equal(indices, output.indices)
    assert torch.equal(frozen.decode(indices), output.features)
    assert output.indices.shape == (3, 7, 2)
    assert output.features.shape == features.shape


@BOTH
def test_the_codebook_loss_is_zero_only_for_ema(name: str) -> None:
    quantizer = build(name)
    quantizer(batch(0))
    output = quantizer(batch(1))
    assert output.commitment_loss.item() > 0
    assert (output.codebook_loss.item() == 0) == (name == "ema")
    assert output.codebook_loss.requires_grad == (name == "gradient")


def test_the_codebook_loss_trains_the_gradient_codebook() -> None:
    quantizer = build("gradient", kmeans_iterations=0, reset_every=0)
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=5.0)
    features = batch(0)
    losses = []
    for _ in range(20):
        loss = quantizer(features).codebook_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_float32_under_autocast(name: str, dtype: torch.dtype) -> None:
    inside, outside = build(name), build(name)
    features = batch(0).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = inside(features)
    reference = outside(features.detach().float())
    assert output.features.dtype == output.commitment_loss.dtype == torch.float32
    assert torch.equal(output.indices, reference.indices)
    assert torch.equal(output.features, reference.features)
    assert torch.equal(inside.codes, outside.codes)
    (output.features.sum() + output.commitment_loss).backward()
    assert features.grad is not None
    assert features.grad.dtype == dtype


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
def test_equal_seeds_give_equal_codebooks_and_leave_the_global_generator_alone(name: str) -> None:
    first, second = build(name, reset_every=2), build(name, reset_every=2)
    state = torch.get_rng_state()
    for step in range(6):
        first(batch(step))
    torch.rand(3)
    for step in range(6):
        second(batch(step))
    assert torch.equal(first.codes, second.codes)
    torch.set_rng_state(state)
    build_state = torch.get_rng_state()
    first(batch(9))
    assert torch.equal(torch.get_rng_state(), build_state)


@BOTH
@pytest.mark.parametrize("saved_after", [0, 1, 3])
def test_resuming_from_saved_state_changes_nothing(name: str, saved_after: int) -> None:
    straight, stopped = build(name, reset_every=2), build(name, reset_every=2)
    for step in range(saved_after):
        straight(batch(step))
        stopped(batch(step))
    torch.manual_seed(99)
    resumed = QUANTIZERS.build(name, stopped.options.model_dump())
    resumed(batch(50))  # a history of its own, which loading must erase
    resumed.load_state_dict(stopped.state_dict())
    for step in range(saved_after, 8):
        expected, got = straight(batch(step)), resumed(batch(step))
        assert torch.equal(expected.indices, got.indices)
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("first", [True, False])
def test_a_batch_that_is_not_finite_does_not_change_an_ema_codebook(first: bool) -> None:
    quantizer, spared = build("ema", reset_every=0), build("ema", reset_every=0)
    bad = batch(0)
    bad[1, 2, 1, 1] = torch.nan
    if not first:
        quantizer(batch(7))
        spared(batch(7))
    assert not bool(quantizer(bad).commitment_loss.isfinite())
    assert bool(quantizer.codes.isfinite().all())
    assert bool(quantizer.initialised) != first
    quantizer(batch(8))
    spared(batch(8))
    assert bool(quantizer.initialised)
    if first:
        assert bool(quantizer.codes.isfinite().all())
    else:
        assert torch.equal(quantizer.codes, spared.codes)


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


@pytest.mark.parametrize("setting", [{"decay": 1.0}, {"num_codes": 1}, {"reset_threshold": 0.0}, {"codes": 3}])
def test_wrong_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="quantizer 'ema'"):
        QUANTIZERS.build("ema", setting)


@pytest.mark.parametrize(("old", "new"), [("restart_every", "reset_every"), ("restart_threshold", "reset_threshold")])
def test_the_former_names_of_options_are_refused_with_the_new_ones(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"no setting '{old}'") as raised:
        QUANTIZERS.build("ema", {old: 1})
    assert f"Did you mean '{new}'?" in (raised.value.hint or "")


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


@BOTH
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler's own, where it hands over to Python
def test_compiled_with_the_network_around_it_nothing_changes_and_nothing_is_compiled_twice(name: str) -> None:
    plain, compiled = (nn.Sequential(nn.Conv2d(4, 4, 1), build(name, reset_every=2)) for _ in range(2))
    compiled.load_state_dict(plain.state_dict())
    torch.compiler.reset()
    call = torch.compile(compiled, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in range(5):
            expected, got = plain(batch(step)), call(batch(step))
            assert torch.equal(expected.indices, got.indices)
            assert torch.equal(expected.features, got.features)
    assert int(compiled[1].updates) == 5
