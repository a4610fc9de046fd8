"""Tests of all quantizers: indices, exact decoding, gradients, precision, saved state and memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, FIXED, batch, build, started
from largest_tensor import LargestTensor
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.interfaces import Quantizer
from vqkit.quantizers.lookup import LookupQuantizer
from vqkit.quantizers.nearest import MIN_CHUNK_ROWS
from vqkit.registry import QUANTIZERS

EVERY = pytest.mark.parametrize("case", CASES)


def test_every_registered_quantizer_has_a_case() -> None:
    own = {name for name, entry in QUANTIZERS.entries().items() if entry.part.__module__.startswith("vqkit.")}
    assert own == {case.name for case in CASES.values()}


@EVERY
@pytest.mark.parametrize("training", [True, False])
def test_encode_then_decode_equals_the_forward_value_exactly(case: str, training: bool) -> None:
    quantizer = started(case).train(training)
    features = batch(7, 3, 6, 7, 2)
    frozen = copy.deepcopy(quantizer)
    output = quantizer(features)
    indices = frozen.encode(features)
    assert torch.equal(indices, output.indices)
    assert torch.equal(frozen.decode(indices), output.features)
    assert output.features.shape == features.shape


@EVERY
def test_indices_have_the_promised_shape_and_range(case: str) -> None:
    quantizer = started(case)
    num_quantizers = CASES[case].num_quantizers
    assert quantizer.num_quantizers == num_quantizers
    assert quantizer.dim == 6
    indices = quantizer.encode(batch(7, 50, 6, 7, 2))
    assert indices.shape == ((50, 7, 2) if num_quantizers == 1 else (50, num_quantizers, 7, 2))
    assert indices.dtype == torch.int64
    assert int(indices.min()) >= 0
    assert int(indices.max()) < quantizer.num_codes
    levels = indices.unbind(1) if num_quantizers > 1 else [indices]
    assert all(len(level.unique()) > 0.5 * min(quantizer.num_codes, 64) for level in levels), "nearly all codes occur"


@EVERY
def test_each_term_reaches_only_what_it_should(case: str) -> None:
    quantizer = started(case)
    features = batch(7).requires_grad_()
    output = quantizer(features)
    targets = [features, *quantizer.parameters()]

    def reached(term: Tensor) -> set[str]:
        if not term.requires_grad:
            return set()
        gradients = torch.autograd.grad(term, targets, retain_graph=True, allow_unused=True, materialize_grads=True)
        names = ["features"] + ["parameters"] * (len(targets) - 1)
        return {name for name, gradient in zip(names, gradients, strict=True) if bool(gradient.abs().sum() > 0)}

    assert reached((output.features * batch(8)).sum()) == {"features"}
    assert reached(output.commitment_loss) == (set() if "fsq" in case else {"features"})
    assert reached(output.codebook_loss) == ({CASES[case].trains} - {""})
    if CASES[case].trains == "parameters":
        gradients = torch.autograd.grad(output.codebook_loss, list(quantizer.parameters()))
        assert all(bool(gradient.abs().sum() > 0) for gradient in gradients), "every depth and group is trained"


@EVERY
def test_float32_under_autocast(case: str) -> None:
    inside, outside = build(case), build(case)
    features = batch(0).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = inside(features)
        decoded = inside.eval().decode(output.indices)
        again = inside.encode(features)
    reference = outside(features.detach().float())
    assert {output.features.dtype, output.codebook_loss.dtype, output.commitment_loss.dtype, decoded.dtype} == {torch.float32}
    assert torch.equal(output.indices, reference.indices)
    assert torch.equal(output.features, reference.features)
    assert torch.equal(output.codebook_loss, reference.codebook_loss)
    assert torch.equal(output.commitment_loss, reference.commitment_loss)
    outside.eval()
    assert torch.equal(decoded, outside.decode(output.indices))
    assert torch.equal(again, outside.encode(features.detach().float()))
    (output.features.sum() + output.commitment_loss).backward()
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16


@EVERY
def test_evaluation_changes_no_state_and_draws_no_random_numbers(case: str) -> None:
    quantizer = started(case).eval()
    before = copy.deepcopy(quantizer.state_dict())
    state = torch.get_rng_state()
    first = quantizer(batch(3))
    quantizer.encode(batch(4))
    assert torch.equal(quantizer(batch(3)).features, first.features)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


@EVERY
def test_a_saved_quantizer_is_the_same_in_another_process(case: str, tmp_path: Path) -> None:
    quantizer = started(case).eval()
    save_file(quantizer.state_dict(), tmp_path / "state.safetensors")
    other = build(case, seed=99).eval()
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    indices = quantizer.encode(batch(3))
    assert torch.equal(other.encode(batch(3)), indices)
    assert torch.equal(other.decode(indices), quantizer.decode(indices))


@EVERY
def test_a_feature_that_is_not_a_number_shows_in_what_is_given_back(case: str) -> None:
    quantizer = started(case).eval()
    features = batch(3)
    features[1, 2, 1, 1] = torch.nan
    features[2, 0, 0, 3] = torch.nan
    output = quantizer(features)
    assert 0 <= int(output.indices.min()) <= int(output.indices.max()) < quantizer.num_codes
    assert not bool(output.commitment_loss.isfinite() & output.features.isfinite().all())
    assert torch.equal(quantizer.encode(features), output.indices)


@pytest.mark.parametrize("case", [case for case in CASES if case not in FIXED])
def test_never_chosen_codes_become_noisy_copies_of_chosen_ones(case: str) -> None:
    quantizer = started(case)
    num_quantizers, num_codes = quantizer.num_quantizers, quantizer.num_codes
    counts = torch.zeros(num_quantizers, num_codes, dtype=torch.int64)
    counts[:, 2], counts[:, 5] = 1000, 1
    codebooks = [module for module in quantizer.modules() if isinstance(module, LookupQuantizer)]
    before = [codebook.codebook().detach().clone() for codebook in codebooks]
    reset = quantizer.reset_unused_codes(counts if num_quantizers > 1 else counts[0], torch.Generator().manual_seed(0))
    assert reset == num_quantizers * (num_codes - 2)
    assert len(codebooks) == num_quantizers
    for codebook, codes in zip(codebooks, before, strict=True):
        now = codebook.codebook().detach()
        torch.testing.assert_close(now[[2, 5]], codes[[2, 5]])
        distances = (now - codes[2]).norm(dim=1)
        assert int((distances < 0.2 * codes.std()).sum()) >= num_codes - 3
        assert len(now.unique(dim=0)) == num_codes


@pytest.mark.parametrize("case", FIXED)
def test_fixed_codes_cannot_be_reset(case: str) -> None:
    quantizer = build(case)
    counts = torch.zeros(quantizer.num_quantizers, quantizer.num_codes, dtype=torch.int64)
    with pytest.raises(ConfigError, match="fixed and cannot be reset"):
        quantizer.reset_unused_codes(counts if quantizer.num_quantizers > 1 else counts[0], torch.Generator())


@pytest.mark.parametrize("case", ["ema-cosine", "gradient-cosine", "simvq", "fsq", "lfq", "residual", "grouped"])
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # the compiler's own, where it hands over to Python
def test_compiled_with_the_network_around_it_nothing_changes(case: str) -> None:
    def network() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(6, 6, 1), build(case))

    torch.compiler.reset()
    plain, compiled = network(), network()
    call = torch.compile(compiled, backend="eager")
    for step in range(2):
        features = batch(step)
        expected, got = plain(features), call(features)
        assert torch.equal(expected.indices, got.indices)
        assert torch.equal(expected.features, got.features)
        for output, parts in ((expected, plain), (got, compiled)):
            parts.zero_grad()
            ((output.features * batch(9)).sum() + output.commitment_loss + output.codebook_loss).backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


MANY, ROWS = 2**16, 1024
LARGE: dict[str, dict[str, Any]] = {
    "ema": {"num_codes": MANY, "dim": 4, "kmeans_iterations": 1, "reset_every": 1},
    "gradient": {"num_codes": MANY, "dim": 4, "kmeans_iterations": 0, "distance": "cosine", "gradient_estimator": "rotation"},
    "simvq": {"num_codes": MANY, "dim": 4},
    "fsq": {"levels": [16, 16, 16, 16]},
    "lfq": {"num_codes": MANY},
    "residual": {"num_quantizers": 2, "inner": {"num_codes": MANY, "dim": 4, "kmeans_iterations": 0}},
    "grouped": {"groups": 2, "inner": {"name": "lfq", "num_codes": MANY}},
}


@pytest.mark.parametrize("name", LARGE)
def test_memory_does_not_grow_with_codes_times_features(name: str) -> None:
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(name, LARGE[name])
    assert isinstance(quantizer, Quantizer)
    assert quantizer.num_codes == MANY
    features = batch(0, 1, quantizer.dim, 32, ROWS // 32).requires_grad_()
    with LargestTensor() as largest:
        output = quantizer(features)
        (output.features.sum() + output.codebook_loss + output.commitment_loss).backward()
        quantizer.decode(quantizer.eval().encode(features))
    learned = name not in ("fsq", "lfq", "grouped")
    assert largest.elements <= (MIN_CHUNK_ROWS * MANY if learned else 8 * MANY)
    assert largest.elements < ROWS * MANY / 7
