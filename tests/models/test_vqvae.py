"""The masked VQ-VAE: shapes, what it may see, and where its gradients go."""

from __future__ import annotations

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.interfaces import ConditionSpec, DataSpec, fully_observed
from vqkit.models.vqvae import VQVAE
from vqkit.registry import MODELS

CONDITIONS = (ConditionSpec("width_px", 40, 60, 50, 5), ConditionSpec("height_px", 40, 60, 50, 5))


def spec(height: int = 24, width: int = 16, kind: str = "binary", components: tuple[str, ...] = ("a", "b", "c")) -> DataSpec:
    return DataSpec.uniform("toy", components, height, width, kind, conditions=CONDITIONS if kind == "binary" else ())  # type: ignore[arg-type]


def tiny(data: DataSpec, **options: object) -> VQVAE:
    torch.manual_seed(0)
    settings = {"hidden": 16, "inner": 8, "blocks": 1, "quantizer": {"num_codes": 32, "dim": 8}, **options}
    model = MODELS.build("vqvae", settings, data)
    assert isinstance(model, VQVAE)
    for parameter in model.parameters():  # blocks start at zero: without noise many paths would be dead
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


def inputs(data: DataSpec, count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, len(data.components), data.height, data.width, generator=generator).round()
    observed = fully_observed(images)
    return images, observed, data.unknown_conditions(count)


@pytest.mark.parametrize(("height", "width", "stride"), [(24, 16, 4), (64, 32, 4), (10, 6, 2), (16, 48, 8)])
def test_any_size_divisible_by_the_stride(height: int, width: int, stride: int) -> None:
    data = spec(height, width)
    model = tiny(data, stride=stride)
    result = model(*inputs(data))
    assert result.logits.shape == (3, 3, height, width)
    assert model.code_shapes == ((height // stride, width // stride),)
    assert result.codes[0].shape == (3, *model.code_shapes[0])
    assert result.codes[0].dtype == torch.int64


@pytest.mark.parametrize(
    ("height", "width", "stride", "hint"),
    [
        (24, 12, 8, "multiples of 8; or use model.stride = 4."),
        (30, 50, 4, "multiples of 4; or use model.stride = 2."),
        (25, 25, 4, "multiples of 4; or use a data set"),
    ],
)
def test_a_size_that_does_not_divide_names_sizes_and_strides_that_do(height: int, width: int, stride: int, hint: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{height} x {width} .* cannot be divided by {stride}, .*model.stride = {stride}"
    ) as error:
        tiny(spec(height, width), stride=stride)
    assert hint in str(error.value.hint)


def test_a_stride_must_be_a_power_of_two() -> None:
    with pytest.raises(ConfigError, match="power of two, not 6"):
        tiny(spec(), stride=6)


def test_what_is_hidden_cannot_be_seen() -> None:
    data = spec()
    model = tiny(data).eval()
    images, observed, conditions = inputs(data)
    observed[:, 1:] = False
    changed = images.clone()
    changed[:, 1:] = 1 - changed[:, 1:]
    assert torch.equal(model.reconstruct(images, observed, conditions), model.reconstruct(changed, observed, conditions))


def test_missing_is_not_empty() -> None:
    data = spec()
    model = tiny(data).eval()
    images, observed, _ = inputs(data)
    images[:, 1] = 0
    hidden = observed.clone()
    hidden[:, 1] = False
    assert not torch.allclose(model.features(images, observed)[0], model.features(images, hidden)[0])


def test_conditions_modulate_the_decoder_and_may_be_unknown() -> None:
    data = spec()
    model = tiny(data).eval()
    images, observed, unknown = inputs(data)
    known = torch.tensor([[45.0, 55.0]]).expand(3, 2)
    partly = torch.tensor([[45.0, float("nan")]]).expand(3, 2)
    results = [model.reconstruct(images, observed, each) for each in (unknown, known, partly)]
    assert all(result.isfinite().all() for result in results)
    assert not torch.allclose(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


def test_decoding_the_codes_equals_reconstructing() -> None:
    data = spec()
    model = tiny(data).eval()
    images, observed, conditions = inputs(data)
    result = model(images, observed, conditions)
    codes = model.encode(images, observed)
    assert torch.equal(codes[0], result.codes[0])
    torch.testing.assert_close(model.decode(codes, conditions), model.mean(result.logits), rtol=0, atol=1e-6)
    assert torch.equal(model.decode(codes, conditions), model.reconstruct(images, observed, conditions))


def test_each_loss_reaches_only_what_it_should() -> None:
    data = spec()
    model = tiny(data, quantizer={"name": "gradient", "num_codes": 32, "dim": 8})
    losses = model(*inputs(data)).named_losses
    codebook = {id(parameter) for parameter in model.quantizer.parameters()}

    def reached(name: str) -> set[str]:
        model.zero_grad()
        losses[name].backward(retain_graph=True)
        parts = set()
        for label, part in (("encoder", model.encoder), ("decoder", model.decoder), ("codebook", model.quantizer)):
            if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()):
                parts.add(label)
        return parts

    assert codebook
    assert reached("recon") == {"encoder", "decoder"}
    assert reached("vq") == {"codebook"}
    assert reached("commit") == {"encoder"}


def test_likelihoods_by_value_kind() -> None:
    assert tiny(spec()).likelihood.name == "bernoulli"
    assert tiny(spec(kind="intensity")).likelihood.name == "mse"
    data = spec(kind="intensity")
    images, observed, conditions = inputs(data)
    for name, expected in (("l1", torch.nn.functional.l1_loss), ("mse", torch.nn.functional.mse_loss)):
        model = tiny(data, likelihood=name, reconstruction_weight=1.0)
        result = model(images, observed, conditions)
        torch.testing.assert_close(result.reconstruction_loss, expected(result.logits, images))
        assert 0 <= model.mean(result.logits).min() <= model.mean(result.logits).max() <= 1


def test_options_are_complete_after_checking() -> None:
    options = MODELS.options("vqvae", {"quantizer": {"num_codes": 64}})
    quantizer = options.model_dump()["quantizer"]
    assert quantizer["name"] == "ema"
    assert quantizer["num_codes"] == 64
    assert quantizer["decay"] == 0.99
    with pytest.raises(ConfigError, match="num_code"):
        MODELS.options("vqvae", {"quantizer": {"num_code": 64}})


@pytest.mark.parametrize("likelihood", ["bernoulli", "mse", "l1", "huber"])
def test_the_first_images_are_grey(likelihood: str) -> None:
    data = spec(kind="intensity", components=("r", "g", "b"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build("vqvae", {"hidden": 16, "inner": 8, "likelihood": likelihood}, data)
    first = model.eval().reconstruct(*inputs(data)).detach()
    assert abs(float(first.mean()) - 0.5) < 0.1


def test_fsq_is_not_driven_to_where_nothing_comes_back_from() -> None:
    # Bright pictures: a decoder that begins with black ones pushes all features in one direction.
    data = spec(16, 16, "intensity", ("grey",))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build("vqvae", {"hidden": 16, "inner": 8, "quantizer": {"name": "fsq", "levels": [8, 5, 5]}}, data)
    patches = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images = 0.4 + 0.2 * patches.repeat_interleave(4, 2).repeat_interleave(4, 3)
    observed, unknown = fully_observed(images), torch.empty(64, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        result = model(images, observed, unknown)
        optimizer.zero_grad()
        result.total_loss.backward()
        optimizer.step()
    assert len(result.codes[0].unique()) > 10
    assert float((model.mean(result.logits.detach()) - images).square().mean()) < 0.5 * float(images.var())
