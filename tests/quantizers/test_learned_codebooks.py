"""Learned codebooks: initialisation, EMA and gradient updates, gradients, precision, and saved state."""

from __future__ import annotations

import copy

import pytest
import torch
from codebooks import BOTH, batch, build, column, started
from torch import nn

from vqkit.errors import ConfigError
from vqkit.quantizers.ema import EMACodebook
from vqkit.registry import QUANTIZERS


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


def test_codes_that_are_not_chosen_stay_bounded() -> None:
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


def test_an_initialised_codebook_has_the_ema_of_one_batch_started_at_zero() -> None:
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
def test_evaluation_changes_no_state(name: str) -> None:
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
    resumed(batch(50))  # a history of its own, which loading must replace
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


@pytest.mark.parametrize("setting", [{"decay": 1.0}, {"num_codes": 1}, {"reset_threshold": 0.0}, {"codes": 3}])
def test_wrong_settings_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="quantizer 'ema'"):
        QUANTIZERS.build("ema", setting)


@pytest.mark.parametrize(("old", "new"), [("restart_every", "reset_every"), ("restart_threshold", "reset_threshold")])
def test_the_former_names_of_options_are_refused_with_the_new_ones(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"no setting '{old}'") as raised:
        QUANTIZERS.build("ema", {old: 1})
    assert raised.value.hint == f"Its name is '{new}' now."


@BOTH
@pytest.mark.skipif(torch.__version__ < (2, 9), reason="torch 2.6 to 2.8 recompile after every call of an excluded method")
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler's own, where it hands over to Python
def test_compilation_with_a_network_changes_nothing_and_compiles_once(name: str) -> None:
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
