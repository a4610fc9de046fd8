"""Rates against plain sums of logarithms, and distortions against `vqkit.evaluation.autoencoder`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from painting import Blocks, Counting, pipeline
from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.errors import ConfigError
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.code_rates import ConditioningCase, RateMeter, conditioning_cases, conditioning_of, uniform_rate, unigram_rate
from vqkit.evaluation.held_out import batches_with_positions
from vqkit.evaluation.mask_scenarios import mask_scenarios
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.inference.conditioning import code_spec
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import CodeSpec, DataSpec, fully_observed
from vqkit.storage.checkpoints import Loaded

TYRES = NamedOptions(name="tyre", num_train=8, num_val=2, num_test=11)
TEST = open_dataset(TYRES).split("test")
DATA = DataSpec.uniform("pictures", ("grey",), 8, 8, "intensity")
TWO_LEVELS = CodeSpec(("top", "bottom"), ((1, 2), (2, 4)), (4, 16))


def sampler(*kinds: str) -> Sampler:
    pipe = pipeline(TEST.spec)
    return Sampler(Counting(code_spec(pipe.tokenizer, kinds), 0.1).eval(), pipe, Path("runs/prior/model.safetensors"))


def measured(
    chosen: Sampler, keeps: list[list[str]] | None = None, holes: str | None = None, batch_size: int = 4, conditions: bool = False
) -> RateMeter:
    meter = RateMeter(chosen, conditioning_cases(chosen.prior.spec, chosen.spec, keeps, holes, conditions), conditions)
    for positions, batch in batches_with_positions(TEST, batch_size, "evaluated"):
        meter.add(positions, batch.to(torch.device("cpu"), TEST.spec))
    return meter


def images() -> Tensor:
    return TEST.batch(torch.arange(11)).images / 255


def codes_of(observed: Tensor) -> Tensor:
    return Blocks(TEST.spec).encode(images(), observed)[0]


def counting_nats(codes: Tensor, first: Tensor) -> float:
    """Mean nats a code of a `Counting` prior of sharpness 0.1, whose first code is most probably `first` [N], one by one."""
    total = 0.0
    for row, start in zip(codes.flatten(1).tolist(), first.tolist(), strict=True):
        wanted = [start, *((code + 1) % 16 for code in row[:-1])]
        for code, most_probable in zip(row, wanted, strict=True):
            scores = [-0.1 * (each - most_probable) ** 2 for each in range(16)]
            total += math.log(sum(math.exp(score) for score in scores)) - scores[code]
    return total / codes.numel()


def test_an_unconditional_rate_is_the_models_own_likelihood() -> None:
    (nothing,) = measured(sampler()).rates()
    assert nothing.name == "unconditional"
    assert nothing.nll_per_code == pytest.approx(math.log(16))
    assert nothing.bits_per_image == pytest.approx(16 * 8 * 4)
    assert nothing.bits_per_pixel == pytest.approx(16 * 8 * 4 / (64 * 32))
    assert nothing.levels == {"blocks": pytest.approx(math.log(16))}


def test_a_prior_conditioned_on_metadata_gets_the_true_values() -> None:
    conditioned, nothing = measured(sampler("metadata")).rates()
    width = TEST.batch(torch.arange(11)).conditions[:, 0]
    assert (conditioned.name, nothing.name) == ("conditional", "unconditional")
    expected = counting_nats(codes_of(fully_observed(images())), (width * 0.15).round())
    assert conditioned.nll_per_code == pytest.approx(expected, rel=1e-5)
    assert nothing.nll_per_code == pytest.approx(math.log(16))


def test_a_prior_that_sees_parts_is_shown_each_of_them() -> None:
    kept, other, _ = measured(sampler("observed"), [["group_nc"], ["tpc", "bt"]]).rates()
    codes = codes_of(fully_observed(images()))
    for rate, keep in ((kept, [0]), (other, [2, 4])):
        observed = torch.zeros_like(images()).bool()
        observed[:, keep] = True
        apart = -0.1 * (torch.arange(16) - codes_of(observed)[..., None]).double() ** 2
        nll = -apart.log_softmax(-1).gather(-1, codes[..., None])
        assert rate.nll_per_code == pytest.approx(float(nll.mean()), rel=1e-5)
    assert (kept.name, other.name) == ("keep group_nc", "keep bt,tpc")
    assert kept.nll_per_code != pytest.approx(other.nll_per_code, rel=1e-2)


def test_conditions_beside_an_observed_part_are_optional() -> None:
    chosen = sampler("observed", "metadata")
    batch = TEST.batch(torch.arange(3)).to(torch.device("cpu"), TEST.spec)
    scenario = mask_scenarios(TEST.spec, [["bt"]])[1]
    conditioned, hidden = (
        conditioning_of(chosen, ConditioningCase("keep bt", conditions, scenario), torch.arange(3), batch)
        for conditions in (True, False)
    )
    assert torch.equal(conditioned.values, batch.conditions)
    assert bool(hidden.values.isnan().all())
    assert torch.equal(conditioned.observed[0], hidden.observed[0])
    assert not bool(conditioned.dropped.any() or hidden.dropped.any())


def test_the_batch_size_changes_no_rate() -> None:
    chosen = sampler("observed")
    few, many = (measured(chosen, holes="boxes", batch_size=size).rates() for size in (3, 64))
    for one, other in zip(few, many, strict=True):
        assert one.nll_per_code == pytest.approx(other.nll_per_code)
    assert few[-2].name == "boxes missing"


@pytest.mark.parametrize("conditions", [False, True])
def test_distortion_is_that_of_the_tokenizer_from_full_input(conditions: bool) -> None:
    distortion = measured(sampler(), conditions=conditions).distortion()
    loaded = Loaded(Blocks(TEST.spec), Path("runs/blocks/model.safetensors"), "d" * 64, TYRES, {})
    full = evaluate(loaded, EvaluationRequest(keep_sets=[["bt"]], with_conditions=conditions)).full
    figures = distortion.mse, distortion.psnr, distortion.ssim, distortion.mean_iou
    assert figures == pytest.approx((full.mse, full.psnr, full.ssim, full.mean_iou))
    assert distortion.iou == pytest.approx(full.iou)


def test_distortion_of_intensities_has_no_overlaps() -> None:
    pipe = pipeline(DATA)
    meter = RateMeter(Sampler(Counting(code_spec(pipe.tokenizer, ())), pipe, Path("prior")), [], False)
    assert (meter.distortion().iou, meter.distortion().mean_iou) == ({}, None)


def test_levels_count_by_their_number_of_codes() -> None:
    uniform = uniform_rate(TWO_LEVELS, DATA)
    assert uniform.levels == pytest.approx({"top": math.log(4), "bottom": math.log(16)})
    assert uniform.bits_per_image == pytest.approx(2 * 2 + 8 * 4)
    assert uniform.nll_per_code == pytest.approx((2 * math.log(4) + 8 * math.log(16)) / 10)
    assert uniform.bits_per_pixel == pytest.approx(36 / 64)


def test_unigram_is_the_cost_of_held_out_codes_by_smoothed_training_frequencies() -> None:
    training = (torch.tensor([5, 0, 1, 0]), torch.tensor([100, *[0] * 15]))
    held_out = (torch.tensor([2, 1, 0, 1]), torch.tensor([3, 1, *[0] * 14]))
    top = (2 * math.log(10 / 6) + math.log(10 / 1) + math.log(10 / 1)) / 4
    bottom = (3 * math.log(116 / 101) + math.log(116)) / 4
    assert unigram_rate(training, held_out, TWO_LEVELS, DATA).levels == pytest.approx({"top": top, "bottom": bottom})


def test_the_conditioning_cases_of_a_prior() -> None:
    conditioned = [case.name for case in conditioning_cases(sampler("observed").prior.spec, TEST.spec, None, None, False)]
    assert conditioned[:2] == ["keep group_nc", "keep group_km"]
    assert conditioned[-2:] == ["all but tpc", "unconditional"]
    with pytest.raises(ConfigError, match="Did you mean 'tpc'"):
        conditioning_cases(sampler("observed").prior.spec, TEST.spec, [["tcp"]], None, False)
    both = conditioning_cases(sampler("observed", "metadata").prior.spec, TEST.spec, [["tpc"]], None, True)
    assert [case.conditions for case in both] == [True, False]
