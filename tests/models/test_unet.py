"""The U-Net: sizes, what it may see, and that it learns."""

from __future__ import annotations

import pytest
import torch
from latent_cases import inputs, spec

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec
from vqkit.models.unet import UNet
from vqkit.registry import MODELS


def unet(data: DataSpec, **options: object) -> UNet:
    torch.manual_seed(0)
    model = MODELS.build("unet", {"hidden": 16, "inner": 8, **options}, data)
    assert isinstance(model, UNet)
    for parameter in model.parameters():  # blocks start at zero
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize(("height", "width", "stride"), [(24, 16, 4), (10, 6, 2), (16, 48, 8)])
def test_any_size_divisible_by_the_stride(height: int, width: int, stride: int) -> None:
    data = spec(height, width, "intensity")
    images, observed, conditions = inputs(data)
    result = unet(data, stride=stride)(images, observed, conditions)
    assert result.logits.shape == images.shape
    assert result.codes == ()


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="divided by 4"):
        unet(spec(18, 16))


@torch.no_grad()
def test_hidden_pixels_do_not_matter_and_conditions_do() -> None:
    data = spec(kind="intensity")
    model = unet(data).eval()
    images, observed, conditions = inputs(data)
    observed = observed.clone()
    observed[:, 1] = False
    first = model.complete(images, observed, conditions)
    assert torch.equal(first, model.complete(torch.where(observed, images, torch.nan), observed, conditions))
    assert not torch.allclose(first, model.complete(images, observed, torch.full_like(conditions, 45.0)))


def test_every_parameter_gets_a_gradient() -> None:
    data = spec(kind="intensity")
    model = unet(data)
    images, observed, conditions = inputs(data)
    conditions[0] = 45.0
    model(images, observed, conditions).total_loss.backward()
    assert [name for name, each in model.named_parameters() if each.grad is None or not bool(each.grad.any())] == []
