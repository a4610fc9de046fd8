"""The encoder of every model, apart from it: the same features, by the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import Autoencoder, DataSpec
from vqkit.models.latent import LatentModel
from vqkit.models.vqvae import VQVAE
from vqkit.models.vqvae2 import VQVAE2
from vqkit.registry import MODELS

SPEC = DataSpec.uniform("toy", ("a", "b"), 16, 24, "intensity")
NAMES = tuple(name for name in MODELS.entries() if name != "unet")  # its encoder is no part of its own
OPTIONS: dict[str, dict[str, Any]] = {name: {"hidden": 8, "inner": 8} for name in NAMES}
OPTIONS["vqvae"] |= {"quantizer": {"dim": 4}}
OPTIONS["vqvae2"] |= {"levels": 3, "stride": 2, "quantizer": {"dim": 4}}


def built(name: str) -> Autoencoder:
    torch.manual_seed(0)
    model: Autoencoder = MODELS.build(name, OPTIONS[name], SPEC).eval()
    return model


def batch() -> tuple[Tensor, Tensor]:
    images = torch.rand(2, 2, 16, 24, generator=torch.Generator().manual_seed(0))
    return images, images > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_its_features_are_those_of_the_model(name: str) -> None:
    model = built(name)
    features = model.encoder_part(*batch())
    assert features.shape[1] == model.encoder_part.channels
    if isinstance(model, VQVAE):
        assert torch.equal(model.encoder.project(features), model.encode_features(*batch())[0])
    elif isinstance(model, VQVAE2):
        assert torch.equal(features, model.encode_features(*batch())[0])
    else:
        assert isinstance(model, LatentModel)
        assert torch.equal(features, model.features(*batch()))


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_are_the_model_s_own(name: str) -> None:
    model = built(name)
    own = {id(parameter) for parameter in model.encoder_part.parameters()}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    assert len(names) == len(own)
    prefix = "encoders." if name == "vqvae2" else "encoder."
    assert {each for each in dict(model.named_parameters()) if each.startswith(prefix)} - names == (
        {"encoder.project.weight", "encoder.project.bias"} if name == "vqvae" else set()
    )
    assert all(each.startswith(prefix) for each in names)


def test_models_with_one_grid_can_take_each_other_s_weights() -> None:
    parts = {name: built(name).encoder_part for name in NAMES if name != "vqvae2"}
    for part in parts.values():
        assert part.settings == parts["vae"].settings
        part.load_state_dict(parts["vqvae"].state_dict())
    assert built("vqvae2").encoder_part.settings["levels"] == 3 and parts["vae"].settings["levels"] == 1


def test_a_model_without_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VQVAE, "encoder_part", Autoencoder.encoder_part)
    with pytest.raises(ConfigError, match="The model VQVAE does not define encoder_part"):
        _ = built("vqvae").encoder_part
