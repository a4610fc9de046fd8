"""Evaluation against plain loops over the whole split."""

from __future__ import annotations

import json
import math
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqkit.config import NamedOptions, Settings
from vqkit.core import distributed
from vqkit.core.randomness import generator_for
from vqkit.data import subsets
from vqkit.data.masking import sample_pixels
from vqkit.data.opening import open_dataset
from vqkit.data.splits import ArraySplit
from vqkit.errors import ConfigError, DataError
from vqkit.evaluation import held_out, metrics
from vqkit.evaluation.autoencoder import Evaluation, code_bits, evaluate, level_usage
from vqkit.evaluation.held_out import open_split
from vqkit.evaluation.mask_scenarios import MASK_KINDS, fixed_masks, mask_scenarios
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.interfaces import Autoencoder, Batch, DataSpec, Reconstruction, fully_observed
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded

TYRES = NamedOptions(name="tyre", num_train=8, num_val=2, num_test=21)
FIVE = open_dataset(TYRES).spec
COLOUR = DataSpec.uniform("photos", ("r", "g", "b"), 16, 16, "intensity")
GREY = DataSpec.uniform("digits", ("grey",), 16, 16, "intensity")


class Shade(Autoencoder):
    """A continuous model: what it sees at 60 %, plus 0.1, plus a tenth of the first condition if that is known."""

    Options = Settings

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        conditioned = conditions[:, :1].nan_to_num(0)[:, :, None, None] / 1000 if conditions.shape[1] else torch.zeros(())
        return Reconstruction(0.6 * images * observed + 0.1 + conditioned, torch.zeros(()))

    def mean(self, logits: Tensor) -> Tensor:
        return logits.clamp(0, 1)


def loaded(model: Autoencoder, data: NamedOptions = TYRES) -> Loaded:
    return Loaded(model.eval(), Path("runs/shade/model.safetensors"), "d" * 64, data, {"name": "shade"})


def shade(spec: DataSpec = FIVE) -> Loaded:
    return loaded(Shade(Settings(), spec))


def split_images() -> Tensor:
    split = open_dataset(TYRES).split("test")
    return split.batch(torch.arange(21)).to(torch.device("cpu"), split.spec).images


def names(spec: DataSpec, *arguments: object) -> list[str]:
    return [scenario.name for scenario in mask_scenarios(spec, *arguments)]  # type: ignore[arg-type]


def test_each_component_is_kept_alone_and_left_out_alone() -> None:
    assert names(FIVE) == [
        "full input",
        *(f"keep {name}" for name in FIVE.components),
        *(f"all but {name}" for name in FIVE.components),
    ]


def test_two_components_are_not_measured_twice() -> None:
    assert names(DataSpec.uniform("two", ("a", "b"), 8, 8, "binary")) == ["full input", "keep a", "keep b"]


def test_no_keep_sets_are_none() -> None:
    assert names(COLOUR, [], "boxes") == ["full input", "boxes missing"]


def test_many_components_are_only_left_out() -> None:
    assert names(DataSpec.uniform("many", tuple("abcdefg"), 8, 8, "binary")) == [
        "full input",
        *(f"all but {name}" for name in "abcdefg"),
    ]


def test_pictures_have_boxes_filled_in() -> None:
    assert names(COLOUR) == ["full input", "keep r", "keep g", "keep b", "boxes missing"]
    assert names(GREY) == ["full input", "boxes missing"]
    assert names(GREY, None, "none") == ["full input"]


def test_own_keep_sets_replace_the_default_ones() -> None:
    assert names(FIVE, [["tpc", "bt"], ["fpu"], ["bt", "tpc"]]) == ["full input", "keep bt,tpc", "keep fpu"]
    assert names(COLOUR, [["r"]], "half") == ["full input", "keep r", "half missing"]


def test_a_keep_set_of_nearly_everything_is_named_by_what_is_missing() -> None:
    many = DataSpec.uniform("many", tuple("abcdefgh"), 8, 8, "binary")
    assert names(many, [list("abcdef"), list("abcde"), list("bcdefgh")]) == [
        "full input",
        "all but g,h",
        "keep a,b,c,d,e",
        "all but a",
    ]


def test_keep_sets_of_names_that_hold_commas() -> None:
    bands = DataSpec.uniform("bands", ("B2, blue", "B3, green", "B4"), 8, 8, "intensity")
    assert names(bands, [["B2", "blue"], ["B2, blue"]]) == ["full input", "keep B2, blue"]


@pytest.mark.parametrize(
    ("keeps", "holes", "said"),
    [
        ([["tcp"]], None, "Did you mean 'tpc'"),
        ([FIVE.components], None, "keeps everything"),
        ([[]], None, "keeps nothing"),
        (None, "box", "Did you mean 'boxes'"),
    ],
)
def test_wrong_keep_sets_and_holes_are_refused(keeps: list[list[str]] | None, holes: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        mask_scenarios(FIVE, keeps, holes)


@pytest.mark.parametrize("kind", MASK_KINDS)
def test_a_mask_belongs_to_the_position_of_its_image(kind: str) -> None:
    positions = torch.arange(150)
    whole = fixed_masks(kind, positions, 16, 16)  # type: ignore[arg-type]
    parts = [fixed_masks(kind, part, 16, 16) for part in positions.split(37)]  # type: ignore[arg-type]
    assert whole.shape == (150, 1, 16, 16)
    assert torch.equal(torch.cat(parts), whole)
    scattered = torch.tensor([149, 3, 64, 63, 3])
    assert torch.equal(fixed_masks(kind, scattered, 16, 16), whole[scattered])  # type: ignore[arg-type]
    drawn = [sample_pixels((64, 1, 16, 16), kind, generator_for("evaluation holes", kind, block)) for block in range(3)]
    assert torch.equal(torch.cat(drawn)[:150], whole)
    assert len({tuple(hole.flatten().tolist()) for hole in whole}) > (3 if kind == "half" else 50)
    assert bool((~whole).flatten(1).any(1).all())


def by_hand(keep: list[int], missing: list[int]) -> tuple[float, float, float, list[float], list[float]]:
    """MSE, PSNR, SSIM, IoU and Dice of `Shade` on the test split, image by image."""
    images = split_images()
    squares, psnr, ssim = [], [], []
    iou: list[list[float]] = [[] for _ in missing]
    dice: list[list[float]] = [[] for _ in missing]
    for image in images:
        seen = torch.zeros_like(image)
        seen[keep] = image[keep]
        expected = (0.6 * seen + 0.1).clamp(0, 1)
        error = (expected[missing].double() - image[missing].double()).square()
        squares.append(error)
        psnr.append(-10 * math.log10(float(error.mean())))
        ssim.append(float(metrics.similarity_map(expected[None, missing], image[None, missing]).double().mean()))
        for place, component in enumerate(missing):
            first = set((expected[component] >= 0.5).flatten().nonzero().flatten().tolist())
            second = set((image[component] >= 0.5).flatten().nonzero().flatten().tolist())
            iou[place].append(len(first & second) / len(first | second) if first | second else 1.0)
            dice[place].append(2 * len(first & second) / (len(first) + len(second)) if first or second else 1.0)
    overlaps = [[sum(values) / len(values) for values in each] for each in (iou, dice)]
    return float(torch.stack(squares).mean()), sum(psnr) / 21, sum(ssim) / 21, overlaps[0], overlaps[1]


def test_metrics_are_those_of_a_plain_loop_over_the_images() -> None:
    result = evaluate(shade(), EvaluationRequest(keep_sets=[["group_nc", "bt"]], batch_size=8))
    assert result.images == 21
    for figures, keep, missing in ((result.full, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]), (result.parts[0], [0, 2], [1, 3, 4])):
        mse, psnr, ssim, iou, dice = by_hand(keep, missing)
        assert figures.mse == pytest.approx(mse, rel=1e-6)
        assert figures.psnr == pytest.approx(psnr, rel=1e-6)
        assert figures.ssim == pytest.approx(ssim, abs=1e-6)
        assert list(figures.iou) == [FIVE.components[component] for component in missing]
        assert list(figures.iou.values()) == pytest.approx(iou)
        assert list(figures.dice.values()) == pytest.approx(dice)
        assert figures.mean_iou == pytest.approx(sum(iou) / len(iou))
    assert result.parts[0].missing == ("group_km", "fpu", "tpc")
    variance = float(split_images().double().var(unbiased=False))
    assert result.variance == pytest.approx(variance)
    assert result.relative_error == pytest.approx(result.full.mse / variance)


def without_rate(result: Evaluation) -> dict[str, object]:
    content = result.to_json()
    del content["images_per_second"]
    return content


def test_the_batch_size_changes_nothing() -> None:
    small, large = (evaluate(shade(), EvaluationRequest(mask_kind="boxes", batch_size=size)) for size in (5, 64))
    assert small.parts[-1].mse == pytest.approx(large.parts[-1].mse, rel=1e-9)
    for one, other in zip((small.full, *small.parts), (large.full, *large.parts), strict=True):
        assert (one.mse, one.psnr, one.ssim, one.mean_iou) == pytest.approx((other.mse, other.psnr, other.ssim, other.mean_iou))


def test_holes_are_judged_inside_alone() -> None:
    result = evaluate(shade(), EvaluationRequest(keep_sets=[["bt"]], mask_kind="half", batch_size=8)).parts[-1]
    images, judged = split_images(), ~fixed_masks("half", torch.arange(21), 64, 32).expand(21, 5, 64, 32)
    assert result.mse == pytest.approx(float((0.1 - images[judged]).double().square().mean()), rel=1e-5)
    filled = torch.where(judged, torch.tensor(0.1), images)
    assert result.ssim == pytest.approx(float(metrics.structural_similarity(filled, images, judged).mean()), rel=1e-6)


def test_the_limit_takes_images_from_all_over_the_split() -> None:
    result = evaluate(shade(), EvaluationRequest(batch_size=4, limit=6))
    assert result.images == 6
    chosen = subsets.shuffled_indices(21, 6)
    assert result.variance == pytest.approx(float(split_images()[chosen].double().var(unbiased=False)))


def test_an_image_has_the_same_mask_whatever_the_limit() -> None:
    whole, part = (open_split(shade(), None, "test", limit) for limit in (None, 10))
    scenario = mask_scenarios(FIVE, [], "boxes")[1]
    masks = []
    for images in (whole, part):
        batches = held_out.batches_with_positions(images, 4, "evaluated")
        masks.append(torch.cat([scenario.observed(positions, batch.images.shape) for positions, batch in batches]))
    assert torch.equal(masks[1], masks[0][subsets.shuffled_indices(21, 10)])
    images, judged = split_images()[subsets.shuffled_indices(21, 10)], ~masks[1]
    result = evaluate(shade(), EvaluationRequest(keep_sets=[], mask_kind="boxes", limit=10)).parts[0]
    expected = (0.6 * images * masks[1] + 0.1).clamp(0, 1)
    assert result.mse == pytest.approx(float((expected - images)[judged].double().square().mean()), rel=1e-5)


def test_positions_in_a_subset_of_a_subset_are_those_in_the_whole_split() -> None:
    split = subsets.Subset(subsets.Subset(open_split(shade(), None, "test"), torch.tensor([4, 7, 2, 9])), torch.tensor([3, 1]))
    assert split.positions(torch.tensor([0, 1])).tolist() == [9, 7]


@pytest.mark.parametrize("name", ["limit", "batch_size", "bound_samples"])
def test_requests_refuse_numbers_that_are_too_small(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0; it must be at least 1"):
        EvaluationRequest(**{name: 0})


def test_mixed_positions_are_all_over_and_always_the_same() -> None:
    whole = subsets.shuffled_indices(1000, 1000)
    assert torch.equal(whole.sort().values, torch.arange(1000))
    assert torch.equal(subsets.shuffled_indices(1000, 40), whole[:40])
    assert set((whole[:40] // 100).tolist()) == set(range(10)), "of each tenth of a sorted set some"
    assert torch.equal(subsets.shuffled_indices(3, 8), subsets.shuffled_indices(3, 3)[torch.arange(8) % 3])


def test_conditions_are_unknown_unless_they_are_requested() -> None:
    unknown, conditioned = (evaluate(shade(), EvaluationRequest(keep_sets=[["bt"]], with_conditions=use)) for use in (False, True))
    assert unknown.full.mse == pytest.approx(by_hand([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])[0], rel=1e-6)
    assert conditioned.with_conditions
    assert conditioned.full.mse != pytest.approx(unknown.full.mse, rel=1e-3)


def test_conditions_are_matched_by_name() -> None:
    other = replace(FIVE, conditions=(FIVE.conditions[1], FIVE.conditions[0]))
    batch = Batch(torch.zeros(2, 5, 64, 32), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2))
    assert subsets.align_conditions(batch, other, FIVE).conditions.tolist() == [[2, 1], [4, 3]]
    bare = replace(FIVE, conditions=())
    nothing = batch._replace(conditions=torch.empty(2, 0))
    assert bool(subsets.align_conditions(nothing, bare, FIVE).conditions.isnan().all())
    assert subsets.align_conditions(batch, FIVE, bare).conditions.shape == (2, 0)


def test_use_of_codes_over_the_whole_split() -> None:
    options = {"hidden": 8, "inner": 4, "blocks": 0, "attention": False, "quantizer": {"num_codes": 16, "dim": 4}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build("vqvae", options, FIVE).eval()
    result = evaluate(loaded(model), EvaluationRequest(keep_sets=[["bt"]], batch_size=8))
    images = split_images()
    with torch.inference_mode():
        counts = torch.bincount(model.encode(images, fully_observed(images))[0].flatten(), minlength=16)
    (level,) = result.levels
    assert (level.name, level.num_codes, level.used) == ("codes", 16, int((counts > 0).sum()))
    assert level.usage == pytest.approx(level.used / 16)
    assert level.perplexity == pytest.approx(float(metrics.perplexity(counts)))
    assert level.grid == (16, 8)
    shares = (counts[counts > 0].double() / counts.sum()).tolist()
    entropy = -sum(share * math.log2(share) for share in shares)
    assert (level.uniform_bits, level.entropy_bits) == pytest.approx((128 * 4, 128 * entropy))
    assert result.bits is not None
    assert result.bits.uniform_bits_per_pixel == 128 * 4 / (64 * 32)
    assert result.bits.entropy_bits_per_image == pytest.approx(level.entropy_bits)
    assert result.bits.entropy_bits_per_pixel == pytest.approx(level.entropy_bits / (64 * 32))


def test_the_bits_of_an_image_are_those_of_all_levels() -> None:
    levels = [
        level_usage("top", (1, 2), torch.tensor([3, 1])),
        level_usage("bottom", (2, 4), torch.tensor([2, 2, 2, 2, 0, 0, 0, 0])),
    ]
    bits = code_bits(levels, replace(COLOUR, height=5, width=4))
    entropy = 2 * (2 - 0.75 * math.log2(3)) + 8 * 2
    expected = (2 * 1 + 8 * 3, (2 * 1 + 8 * 3) / 20, entropy, entropy / 20)
    assert astuple(bits) == pytest.approx(expected)


def test_continuous_models_have_no_codes_and_everything_is_json() -> None:
    result = evaluate(shade())
    assert result.levels == ()
    assert result.bits is None
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["full"]["keep"] == list(FIVE.components)
    assert result.images_per_second > 0


def test_the_same_run_twice_gives_the_same_metrics() -> None:
    assert without_rate(evaluate(shade(), EvaluationRequest(mask_kind="free-form"))) == without_rate(
        evaluate(shade(), EvaluationRequest(mask_kind="free-form"))
    )


def test_data_that_do_not_fit_are_refused_by_name() -> None:
    taller = DataSpec.uniform("tall", FIVE.components, 128, 32, "binary")
    with pytest.raises(DataError, match=r"64 x 32 .*128 x 32"):
        evaluate(shade(taller))
    with pytest.raises(DataError, match=r"group_nc.*\(r, g, b\)"):
        evaluate(shade(DataSpec.uniform("photos", ("r", "g", "b"), 64, 32, "intensity")))


def test_an_image_is_not_compared_with_itself() -> None:
    request = EvaluationRequest(keep_sets=[["bt"]], limit=3, split="train")
    for data in (None, "tyre"):
        result = evaluate(shade(), replace(request, data=data))
        assert [floor.name for floor in result.parts[0].floors][:2] == ["mean", "mean-image"]
        assert not [floor.name for floor in result.parts[0].floors if floor.name.startswith("nearest")]
        assert [note for note in result.notes if "fitted to these very images" in note]


def test_without_the_training_images_there_are_no_floors(monkeypatch: pytest.MonkeyPatch) -> None:
    request = EvaluationRequest(data="tyre", keep_sets=[["bt"]], limit=3)
    assert [floor.name for floor in evaluate(shade(), request).parts[0].floors][:2] == ["mean", "mean-image"]
    assert evaluate(shade(), replace(request, floors=False)).parts[0].floors == ()
    gone = shade()._replace(data=NamedOptions(name="arrays", path="gone.npz"))
    monkeypatch.setattr(held_out, "without_measured", lambda data: TYRES)
    result = evaluate(gone, request)
    assert result.parts[0].floors == ()
    assert result.parts[0].mse is not None
    assert [note for note in result.notes if "No simple predictor is measured" in note and "gone.npz" in note]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no split 'tests'.*Did you mean 'test'"):
        evaluate(shade(), EvaluationRequest(split="tests"))


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_positions_are_right_on_every_process(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 16, 16)
    split = ArraySplit(GREY, images)
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    seen = []
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        for positions, batch in held_out.batches_with_positions(split, 2, "evaluated"):
            assert batch.images[:, 0, 0, 0].tolist() == positions.tolist()
            seen += batch.images[:, 0, 0, 0].tolist()
    assert seen == list(range(10))
