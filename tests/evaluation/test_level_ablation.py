"""What each level carries alone, against decoding by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.data.splits import ArraySplit
from vqkit.evaluation import level_ablation
from vqkit.interfaces import Codes, DataSpec
from vqkit.models.coding import CodingModel
from vqkit.registry import MODELS

SPEC = DataSpec.uniform("photos", ("r", "g", "b"), 16, 32, "intensity")
CPU = torch.device("cpu")
RESIDUAL = {"name": "residual", "num_quantizers": 3, "inner": {"name": "ema", "num_codes": 16, "dim": 4}}
QUANTIZERS: dict[str, dict[str, Any]] = {
    "ema": {"name": "ema", "num_codes": 16, "dim": 4},
    "fsq": {"name": "fsq", "levels": [4, 4]},
    "residual": RESIDUAL,
    "grouped": {"name": "grouped", "groups": 2, "inner": {"name": "ema", "num_codes": 16, "dim": 4}},
    "groups of residuals": {"name": "grouped", "groups": 2, "inner": RESIDUAL},
}


def build(model: str, quantizer: str, spec: DataSpec = SPEC, **options: Any) -> CodingModel:
    settings = {"hidden": 8, "inner": 4, "blocks": 0, "attention": False, "quantizer": QUANTIZERS[quantizer], **options}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MODELS.build(model, settings, spec).eval()  # type: ignore[return-value]


def random_codes(model: CodingModel, count: int, seed: int = 1) -> Codes:
    drawn = torch.Generator().manual_seed(seed)
    levels = zip(model.code_shapes, model.cardinalities, strict=True)
    return tuple(torch.randint(size, (count, *shape), generator=drawn) for shape, size in levels)


def unknown(count: int) -> Tensor:
    return torch.empty(count, 0)


def photos(count: int) -> ArraySplit:
    return ArraySplit(SPEC, torch.randint(256, (count, 3, 16, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("quantizer", QUANTIZERS)
@pytest.mark.parametrize("name", ["vqvae", "vqvae2"])
@torch.no_grad()
def test_parts_sum_up_to_the_code_vectors(name: str, quantizer: str) -> None:
    model = build(name, quantizer)
    codes = random_codes(model, 3)
    parts = model.level_contributions(codes)
    assert [tuple(part.shape[2:]) for part in parts] == list(model.code_shapes)
    torch.testing.assert_close(model.decode_contributions(parts, unknown(3)), model.decode(codes, unknown(3)))


@torch.no_grad()
def test_a_part_depends_on_its_own_level_alone() -> None:
    model = build("vqvae", "groups of residuals")
    codes, other = random_codes(model, 2), random_codes(model, 2, seed=3)
    for level in range(len(codes)):
        mixed = tuple(codes[number] if number == level else other[number] for number in range(len(codes)))
        torch.testing.assert_close(model.level_contributions(mixed)[level], model.level_contributions(codes)[level])
        assert not torch.equal(model.level_contributions(mixed)[level - 1], model.level_contributions(codes)[level - 1])


@torch.no_grad()
def test_levels_that_training_silenced_are_silenced_as_they_were() -> None:
    for quantizer, zeros in (("ema", True), ("fsq", True), ("residual", False)):
        model = build("vqvae2", quantizer)
        codes = random_codes(model, 4)
        silences = level_ablation.ablation_baselines(model, codes, 4, CPU)
        means = [part.mean(0, keepdim=True) for part in model.level_contributions(codes)]
        torch.testing.assert_close(silences[0], means[0])
        assert bool((silences[-1] == 0).all()) == zeros
        if not zeros:
            torch.testing.assert_close(silences[-1], means[-1])


@torch.no_grad()
def test_means_are_those_over_all_images_at_each_position() -> None:
    model = build("vqvae2", "residual")
    codes = random_codes(model, 10)
    means = level_ablation.ablation_baselines(model, codes, 3, CPU)
    for mean, part in zip(means, model.level_contributions(codes), strict=True):
        torch.testing.assert_close(mean, part.mean(0, keepdim=True))


def test_which_levels_are_kept() -> None:
    two, three = level_ablation.ablation_cases(["top", "bottom"]), level_ablation.ablation_cases("abc")
    assert two == {"all levels": {0, 1}, "top only": {0}, "bottom only": {1}, "none": set()}
    assert list(three) == ["all levels", "a only", "b only", "c only", "all but a", "all but b", "all but c", "none"]
    assert three["all but b"] == {0, 2}


@torch.no_grad()
def test_an_ablated_level_is_its_mean() -> None:
    model, images = build("vqvae2", "ema", level_dropout=0), photos(5)
    codes = random_codes(model, 5)
    top, bottom = model.level_quantizers
    vectors = [top.decode(codes[0]), bottom.decode(codes[1])]  # type: ignore[operator]
    decoded = {
        "all levels": model.decode(codes, unknown(5)),
        "top only": model.mean(model.logits([vectors[0], vectors[1].mean(0).expand(5, -1, -1, -1)], unknown(5))),
        "bottom only": model.mean(model.logits([vectors[0].mean(0).expand(5, -1, -1, -1), vectors[1]], unknown(5))),
        "none": model.mean(model.logits([vector.mean(0).expand(5, -1, -1, -1) for vector in vectors], unknown(5))),
    }
    means = level_ablation.ablation_baselines(model, codes, 2, CPU)
    shares = level_ablation.measure_ablations(model, images, codes, means, 2, CPU)
    truth = images.batch(torch.arange(5)).images / 255
    assert {share.name: share.levels for share in shares} == {
        "all levels": ("top", "bottom"),
        "top only": ("top",),
        "bottom only": ("bottom",),
        "none": (),
    }
    for share in shares:
        errors = (decoded[share.name] - truth).square().flatten(1).mean(1)
        assert share.psnr == pytest.approx(float((-10 * errors.log10()).mean()), abs=1e-4)


@torch.no_grad()
def test_a_useless_level_shows() -> None:
    model, images = build("vqvae2", "ema"), photos(4)
    model.decoder.project.weight[:, :4] = 0  # type: ignore[union-attr, index, operator]
    codes = random_codes(model, 4)
    means = level_ablation.ablation_baselines(model, codes, 4, CPU)
    psnr = {share.name: share.psnr for share in level_ablation.measure_ablations(model, images, codes, means, 4, CPU)}
    assert psnr["top only"] == pytest.approx(psnr["none"])
    assert psnr["bottom only"] == pytest.approx(psnr["all levels"])
    assert psnr["none"] != pytest.approx(psnr["all levels"], abs=1e-3)


def test_the_ablation_measures_images_from_the_whole_split(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = build("vqvae2", "ema"), photos(9)
    codes = random_codes(model, 9)
    seen: list[int] = []
    batch = images.batch
    monkeypatch.setattr(images, "batch", lambda positions: (seen.extend(positions.tolist()), batch(positions))[1])
    monkeypatch.setattr(level_ablation, "IMAGES_MEASURED", 3)
    level_ablation.measure_ablations(model, images, codes, level_ablation.ablation_baselines(model, codes, 4, CPU), 2, CPU)
    assert seen == [0, 4, 8]


def test_the_figure_has_a_row_for_each_level() -> None:
    heights = []
    for quantizer in ("ema", "residual"):
        model, images = build("vqvae2", quantizer), photos(3)
        codes = random_codes(model, 3)
        means = level_ablation.ablation_baselines(model, codes, 4, CPU)
        heights.append(level_ablation.draw_single_levels(model, images, codes, means, CPU).height)
    # Originals, all levels together, and 2 or 6 levels alone, each 16 pixels high, enlarged 8 times, with margins of 8 pixels.
    assert heights == [8 + 4 * 136, 8 + 8 * 136]


def test_the_figure_of_bands_shows_all_components_of_one_image_below() -> None:
    names = ("B02", "B03", "B04", "B08")
    drawn = []
    for components in (("r", "g", "b"), names):
        spec = DataSpec.uniform("scenes", components, 16, 32, "intensity")
        model = build("vqvae2", "ema", spec)
        values = torch.randint(256, (3, len(components), 16, 32), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
        images, codes = ArraySplit(spec, values), random_codes(model, 3)
        drawn.append(
            level_ablation.draw_single_levels(model, images, codes, level_ablation.ablation_baselines(model, codes, 4, CPU), CPU)
        )
    assert drawn[0].height == 8 + 4 * 136
    assert drawn[1].height > 2 * drawn[0].height


def test_one_level_has_no_parts() -> None:
    assert level_ablation.multi_level(build("vqvae", "ema")) is None
    model = build("vqvae", "residual")
    assert level_ablation.multi_level(model) is model
