"""What a model takes from the training images before the first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.interfaces import DataSpec
from vqkit.layers.linear_start import LinearStart
from vqkit.models.distances import SquaredError
from vqkit.registry import MODELS
from vqkit.training.image_statistics import measure_training_images


def test_weights_are_inverse_variances_with_mean_one() -> None:
    loss = SquaredError(DataSpec.uniform("toy", ("a", "b", "c"), 8, 8, "intensity").component_specs)
    loss.set_variances(torch.tensor([0.01, 0.02, 0.04]))
    weights = loss.component_weights.flatten()
    assert torch.allclose(weights, torch.tensor([100.0, 50.0, 25.0]) / (175 / 3))
    target, logits = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    logits[:, 1:] = 0
    assert float(loss.loss(logits, target)) == pytest.approx(float(weights[0]) / 3)
    # A constant component does not outweigh the others.
    loss.set_variances(torch.tensor([0.0, 0.02, 0.02]))
    assert float(loss.component_weights.max() / loss.component_weights.min()) == pytest.approx(100)


def test_one_wild_pixel_does_not_take_its_component_out_of_the_loss(tmp_path: Path) -> None:
    pixels = torch.rand(40, 8, 8, 3, generator=torch.Generator().manual_seed(0)).numpy()
    weights = []
    for wild in (0.5, 1000.0):
        pixels[5:15, 3, 3, 0] = 0.5
        pixels[7:9, 3, 3, 0] = wild
        np.save(tmp_path / "pixels.npy", pixels)
        data = open_dataset(NamedOptions(name="arrays", path=str(tmp_path / "pixels.npy"), range=[0, 1]))
        model = MODELS.build("vqvae", {"hidden": 16, "inner": 8}, data.spec)
        measure_training_images(model, data.split("train"))
        weights.append(model.likelihood.component_weights.flatten())
    torch.testing.assert_close(*weights, rtol=0.05, atol=0)


def test_a_model_of_shapes_needs_no_statistics() -> None:
    data = open_dataset(NamedOptions(name="tyre", num_train=8, num_val=2, num_test=2))
    model = MODELS.build("vqvae", {"hidden": 16, "inner": 8}, data.spec)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure_training_images(model, data.split("train"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not [module for module in model.modules() if isinstance(module, LinearStart)]
