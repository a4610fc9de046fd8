"""The masked VQ-VAE-2: its levels, what each of them is told, what it may see, and where its gradients go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError, DataError
from vqkit.inference.conditioning import code_spec, observed_maps
from vqkit.interfaces import ConditionSpec, DataSpec, fully_observed
from vqkit.models.vqvae2 import VQVAE2
from vqkit.registry import MODELS

CONDITIONS = (ConditionSpec("width_px", 40, 60, 50, 5), ConditionSpec("height_px", 40, 60, 50, 5))
TWO, THREE = ("top", "bottom"), ("level_1", "level_2", "level_3")


def spec(height: int = 32, width: int = 16) -> DataSpec:
    return DataSpec.uniform("toy", ("a", "b", "c"), height, width, "binary", conditions=CONDITIONS)


def tiny(data: DataSpec, **options: object) -> VQVAE2:
    quantizer = {"num_codes": 32, "dim": 8, "reset_every": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build("vqvae2", {"hidden": 16, "inner": 8, "blocks": 1, "quantizer": quantizer, **options}, data)
        assert isinstance(model, VQVAE2)
        for parameter in model.parameters():  # blocks start at zero: without noise many paths would be dead
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.train()(*inputs(data, 8))  # the codebooks start among the features of the first batch
    return model.eval()


def inputs(data: DataSpec, count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, len(data.components), data.height, data.width, generator=generator).round()
    return images, fully_observed(images), data.unknown_conditions(count)


@pytest.mark.parametrize(
    ("height", "width", "options", "grids"),
    [
        (32, 32, {}, ((4, 4), (8, 8))),
        (64, 64, {}, ((8, 8), (16, 16))),
        (64, 32, {}, ((8, 4), (16, 8))),
        (40, 24, {}, ((5, 3), (10, 6))),
        (128, 128, {"stride": 8}, ((8, 8), (16, 16))),
        (256, 256, {"stride": 8, "levels": 3}, ((8, 8), (16, 16), (32, 32))),
        (64, 32, {"levels": 4, "stride": 2}, ((4, 2), (8, 4), (16, 8), (32, 16))),
        (64, 32, {"factor": 4}, ((4, 2), (16, 8))),
    ],
)
def test_any_size_divisible_by_the_coarsest_stride(
    height: int, width: int, options: dict[str, int], grids: tuple[tuple[int, int], ...]
) -> None:
    data = spec(height, width)
    model = tiny(data, hidden=8, **options)
    images, observed, conditions = inputs(data, 2)
    result = model(images, observed, conditions)
    assert result.logits.shape == images.shape
    assert model.code_shapes == grids
    assert model.cardinalities == (32,) * len(grids)
    assert [tuple(level.shape) for level in result.codes] == [(2, *grid) for grid in grids]
    assert all(level.dtype == torch.int64 for level in result.codes)
    assert [tuple(level.shape) for level in model.features(images, observed)] == [(2, 8, *grid) for grid in grids]


@pytest.mark.parametrize(("levels", "names"), [(2, TWO), (3, THREE)])
def test_levels_have_names_by_which_their_codes_are_told_apart(levels: int, names: tuple[str, ...]) -> None:
    data = spec()
    model = tiny(data, levels=levels)
    assert model.level_names == names
    images, observed, _ = inputs(data)
    indices = model.get_code_indices(images)
    assert list(indices) == [f"indices_{name}" for name in names]
    assert all(map(torch.equal, indices.values(), model.encode(images, observed)))
    with pytest.raises(DataError, match="3 x 16 x 16"):
        model.get_code_indices(images[:, :, :16])


@pytest.mark.parametrize("levels", [2, 3])
def test_decoding_the_codes_equals_reconstructing(levels: int) -> None:
    data = spec()
    model = tiny(data, levels=levels)
    images, observed, conditions = inputs(data)
    observed[:, 1, :20] = False
    result = model(images, observed, conditions)
    codes = model.encode(images, observed)
    assert all(map(torch.equal, codes, result.codes))
    assert torch.equal(model.decode(codes, conditions), model.mean(result.logits))
    assert torch.equal(model.decode(codes, conditions), model.reconstruct(images, observed, conditions))


@pytest.mark.parametrize("levels", [2, 3])
def test_every_level_carries_something_of_the_image(levels: int) -> None:
    data = spec()
    model = tiny(data, levels=levels)
    images, observed, conditions = inputs(data)
    codes = model.encode(images, observed)
    decoded = model.decode(codes, conditions)
    for number, level in enumerate(codes):
        assert len(level.unique()) > 4
        others = [*codes]
        others[number] = (level + 1) % 32
        assert not torch.allclose(model.decode(tuple(others), conditions), decoded, atol=1e-4)


@pytest.mark.parametrize("levels", [2, 3])
def test_a_level_is_told_all_coarser_codes_and_no_finer_ones(levels: int) -> None:
    data = spec()
    model = tiny(data, levels=levels)
    images, observed, _ = inputs(data)
    before = model.features(images, observed)
    for changed in range(levels):
        with torch.no_grad():
            codes = model.grid_quantizers[changed].codes
            kept = codes.clone()
            codes.copy_(kept.roll(1, dims=1))  # the codes of this level say something else
            after = model.features(images, observed)
            codes.copy_(kept)
        same = [torch.equal(*features) for features in zip(before, after, strict=True)]
        assert same == [level <= changed for level in range(levels)]


def test_the_finest_of_three_levels_is_told_both_coarser_ones_at_first_hand() -> None:
    data = spec()
    model = tiny(data, levels=3)
    images, observed, _ = inputs(data)
    seen = model.encode_features(images, observed)
    coarser = [
        quantizer.decode(level) for quantizer, level in zip(model.quantizers, model.encode(images, observed)[:2], strict=False)
    ]
    before = model.pre_quantization(2, seen, coarser)
    for changed in range(2):
        others = [codes + (number == changed) for number, codes in enumerate(coarser)]
        assert not torch.allclose(model.pre_quantization(2, seen, others), before, atol=1e-4)


def test_what_is_hidden_cannot_be_seen() -> None:
    data = spec()
    model = tiny(data)
    images, observed, conditions = inputs(data)
    observed[:, 1:] = False
    changed = images.clone()
    changed[:, 1:] = 1 - changed[:, 1:]
    assert torch.equal(model.reconstruct(images, observed, conditions), model.reconstruct(changed, observed, conditions))


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_missing_is_neither_empty_nor_grey_at_any_level(value: float) -> None:
    data = spec()
    model = tiny(data)
    images, observed, _ = inputs(data)
    images[:, 1] = value
    hidden = observed.clone()
    hidden[:, 1] = False
    for known, missing in zip(model.features(images, observed), model.features(images, hidden), strict=True):
        assert not torch.allclose(known, missing)


def test_a_code_of_the_top_depends_on_every_pixel_where_there_is_attention() -> None:
    data = spec(64, 32)
    images, observed, _ = inputs(data, 1)
    for attention in (True, False):
        model = tiny(data, attention=attention)
        pixels = images.clone().requires_grad_()
        top = model.features(pixels, observed)[0]
        gradient = torch.autograd.grad(top[:, :, 0, 0].sum(), pixels)[0]
        assert bool((gradient.abs().amax(dim=1) > 0).all()) is attention


def test_conditions_modulate_the_decoder_and_may_be_unknown() -> None:
    data = spec()
    model = tiny(data)
    images, observed, unknown = inputs(data)
    known = torch.tensor([[45.0, 55.0]]).expand(3, 2)
    one, other = (model.reconstruct(images, observed, each) for each in (unknown, known))
    assert bool(one.isfinite().all())
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("levels", [2, 3])
def test_every_part_of_every_level_gets_a_gradient(levels: int) -> None:
    data = spec(64, 32)
    model = tiny(data, levels=levels, quantizer={"name": "gradient", "num_codes": 32, "dim": 8}).train()
    images, observed, _ = inputs(data)
    conditions = torch.tensor([[45.0, float("nan")], [float("nan"), 55.0], [50.0, 50.0]])
    shown = observed.clone()
    shown[0] = False
    model(images, observed, conditions, shown=shown).total_loss.backward()
    without = [name for name, each in model.named_parameters() if each.grad is None or float(each.grad.abs().sum()) == 0]
    assert without == []


def test_the_reconstruction_alone_teaches_every_encoder() -> None:
    data = spec()
    model = tiny(data, levels=3).train()
    model(*inputs(data)).reconstruction_loss.backward()
    for part in (*model.encoders, *model.contexts, *model.projects):
        assert all(parameter.grad is not None and float(parameter.grad.abs().sum()) > 0 for parameter in part.parameters())


@pytest.mark.parametrize(("levels", "names"), [(2, TWO), (3, THREE)])
def test_losses_are_summed_over_the_levels(levels: int, names: tuple[str, ...]) -> None:
    data = spec(64, 32)
    result = tiny(data, levels=levels, quantizer={"name": "gradient", "num_codes": 32, "dim": 8})(*inputs(data))
    assert list(result.named_losses) == ["recon", "vq", "commit"]
    assert set(result.monitors) == {f"{loss}_{name}" for loss in ("vq", "commit") for name in names}
    for loss in ("vq", "commit"):
        each = torch.stack([result.monitors[f"{loss}_{name}"] for name in names])
        assert bool((each > 0).all())
        torch.testing.assert_close(result.losses[loss], each.sum())


def test_some_training_samples_are_decoded_from_coarse_levels_alone() -> None:
    model = tiny(spec(), levels=3, level_dropout=0.5)
    codes = [torch.ones(400, 2, *shape) for shape in model.grids.values()]
    assert model.apply_level_dropout(codes, torch.Generator()) is codes, "only in training"
    model.train()
    assert model.apply_level_dropout(codes, None) is codes
    given = model.apply_level_dropout(codes, torch.Generator().manual_seed(0))
    kept = torch.stack([level.flatten(1).mean(1) for level in given])  # [levels, samples], each 0 or 1
    assert bool(((kept == 0) | (kept == 1)).all())
    assert bool((kept[0] == 1).all()), "the coarsest level always speaks"
    assert bool((kept[1] >= kept[2]).all()), "a level speaks only if all coarser ones do"
    whole, two, one = (kept.sum(0) == count for count in (3, 2, 1))
    assert 0.4 < float(whole.float().mean()) < 0.6
    assert 0.4 < float(two.sum() / (two.sum() + one.sum())) < 0.6
    again = model.apply_level_dropout(codes, torch.Generator().manual_seed(0))
    assert all(torch.equal(*pair) for pair in zip(given, again, strict=True))


def test_training_without_the_fine_levels_changes_what_the_decoder_gets_and_nothing_else() -> None:
    data = spec()
    images, observed, conditions = inputs(data, 8)
    never, always = (tiny(data, level_dropout=share).train() for share in (0.0, 0.999))
    plain, coarse = (model(images, observed, conditions, torch.Generator().manual_seed(0)) for model in (never, always))
    assert all(torch.equal(*pair) for pair in zip(plain.codes, coarse.codes, strict=True))
    assert plain.losses["commit"] == coarse.losses["commit"]
    alone = never.eval()
    codes = [alone.level_quantizers[0].decode(plain.codes[0]), torch.zeros(8, 8, 8, 4)]  # type: ignore[operator]
    torch.testing.assert_close(coarse.logits, alone.logits(codes, conditions), rtol=1e-4, atol=1e-4)


def test_codebooks_of_the_levels_learn_apart() -> None:
    data = spec()
    model = tiny(data).train()
    top, bottom = model.grid_quantizers
    before = top.codes.clone(), bottom.codes.clone()
    assert not torch.equal(*before)
    model(*inputs(data))
    assert not torch.equal(top.codes, before[0])
    assert not torch.equal(bottom.codes, before[1])
    kept = top.codes.clone(), bottom.codes.clone()
    model.eval()
    model(*inputs(data))
    model.train()
    model.features(*inputs(data)[:2])  # what a prior asks for teaches nothing
    assert torch.equal(top.codes, kept[0])
    assert torch.equal(bottom.codes, kept[1])


def test_several_codes_a_position_are_as_many_levels() -> None:
    data = spec()
    model = tiny(data, quantizer={"name": "residual", "num_quantizers": 2, "inner": {"num_codes": 16, "dim": 8}})
    images, observed, conditions = inputs(data)
    assert model.level_names == ("top_1", "top_2", "bottom_1", "bottom_2")
    assert model.code_shapes == ((4, 2), (4, 2), (8, 4), (8, 4))
    assert model.cardinalities == (16,) * 4
    result = model(images, observed, conditions)
    codes = model.encode(images, observed)
    assert all(map(torch.equal, codes, result.codes))
    assert torch.equal(model.decode(codes, conditions), model.mean(result.logits))
    swapped = codes[1], codes[0], *codes[2:]
    assert not torch.equal(model.decode(swapped, conditions), model.decode(codes, conditions))


@pytest.mark.parametrize("quantizer", ["ema", {"name": "residual", "num_quantizers": 2}])
def test_a_prior_is_told_what_is_seen_on_the_grid_of_each_level(quantizer: object) -> None:
    data = spec()
    model = tiny(data, quantizer=quantizer)
    images, observed, _ = inputs(data)
    told = code_spec(model, ("observed",))
    maps = observed_maps(model, images, observed)
    expected = [(3, channels, *shape) for channels, shape in zip(told.observed_channels, told.shapes, strict=True)]
    assert [tuple(level.shape) for level in maps] == expected
    assert len(expected) == len(model.level_names)


@pytest.mark.parametrize(
    ("height", "width", "options", "sentence", "hint"),
    [
        (36, 16, {}, r"36 x 16 .* cannot be divided by 8, .*coarsest of 2 levels", "multiples of 8; or use a smaller"),
        (48, 40, {"levels": 3}, r"48 x 40 .* divided by 16", "multiples of 16; or use model.levels = 2"),
        (32, 16, {"factor": 8}, r"divided by 32, .*model.factor = 8", "multiples of 32; or"),
    ],
)
def test_a_size_that_does_not_divide_is_refused_with_one_that_does(
    height: int, width: int, options: dict[str, int], sentence: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        MODELS.build("vqvae2", options, spec(height, width))
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 1}, "levels: .*greater than or equal to 2"),
        ({"stride": 6}, "the stride must be a power of two, not 6"),
        ({"factor": 3}, "the factor must be a power of two, not 3"),
        ({"quantizer": {"num_code": 64}}, "num_code"),
    ],
)
def test_settings_that_cannot_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MODELS.options("vqvae2", options)
