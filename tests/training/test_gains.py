"""Gains of corrections: by hand, by least squares, and on validation images alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqkit.config import HolesConfig, MaskingConfig
from vqkit.data.subsets import evenly_spaced
from vqkit.interfaces import Batch, DataSpec, Split
from vqkit.models.context import ContextBranch
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import load_model
from vqkit.training import train
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.gains import balanced_keep_sets, branches_with_gains, fit_gains, gains_of
from vqkit.training.tasks.masks import fixed_observed

SPEC = DataSpec.uniform("toy", ("a", "b", "c"), 8, 8, "intensity")


class Images(Split):
    """Random pictures of three components."""

    in_memory = True

    def __init__(self, count: int) -> None:
        super().__init__(SPEC)
        self.images = torch.randint(256, (count, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Batch:
        return Batch(self.images[indices], torch.zeros(len(indices), 0), torch.full((len(indices),), -1))

    def names(self, indices: Tensor) -> list[str]:
        return [str(index) for index in indices.tolist()]


def test_the_gain_minimises_the_squared_error() -> None:
    generator = torch.Generator().manual_seed(1)
    correction, missing = torch.randn(500, generator=generator), torch.randn(500, generator=generator)
    missing = missing + 0.4 * correction
    sums = torch.zeros(3, 1, 2, dtype=torch.float64)
    sums[:, 0, 1] = torch.tensor([float((correction * missing).sum()), float(correction.square().sum()), 500.0])
    found = float(gains_of(sums)[0, 1])
    grid = torch.linspace(0, 1, 1001)
    best = grid[(missing - grid[:, None] * correction).square().sum(dim=1).argmin()]
    assert found == pytest.approx(float(best), abs=2e-3)


def test_gains_are_neither_negative_nor_larger_than_two() -> None:
    sums = torch.tensor([[[-50.0, 90.0, 0.0]], [[20.0, 30.0, 0.0]], [[900.0, 900.0, 0.0]]], dtype=torch.float64)
    gains = gains_of(sums)[0]
    assert float(gains[0]) == 0.0  # harmful
    assert float(gains[1]) == 2.0
    # A case that no mask showed has the gain of its component, and without any it is 1.
    assert float(gains[2]) == pytest.approx(40 / 50)
    assert gains_of(torch.zeros(3, 1, 2, dtype=torch.float64)).tolist() == [[1.0, 1.0]]


def test_a_rare_case_with_small_corrections_has_a_gain_of_its_own() -> None:
    # Corrections of the second case are a hundredth of those of the first, in which they are right.
    sums = torch.tensor([[[1000.0, 0.0]], [[1000.0, 0.1]], [[100.0, 40.0]]], dtype=torch.float64)
    gains = gains_of(sums)[0]
    assert float(gains[0]) == pytest.approx(1.0, abs=1e-3)
    assert float(gains[1]) == pytest.approx(4 / 44, abs=1e-3)  # four images of the component's gain beside forty of its own


@pytest.mark.parametrize("components", [2, 3, 5, 13])
def test_each_component_is_hidden_equally_often_beside_each_number_of_kept_ones(components: int) -> None:
    kept = balanced_keep_sets(components, torch.Generator().manual_seed(0))
    assert len(kept) >= 512
    for count in range(1, components):
        hidden = ~kept[kept.sum(dim=1) == count]
        times = hidden.sum(dim=0)
        assert int(times.min()) >= 16
        assert int(times.max()) <= 2 * int(times.min())
    assert set(kept.sum(dim=1).tolist()) == set(range(1, components))


def test_a_harmful_correction_is_taken_away_and_a_good_one_kept() -> None:
    torch.manual_seed(0)
    model = MODELS.build("vqvae", {"hidden": 16, "inner": 8, "quantizer": {"num_codes": 8, "dim": 4}}, SPEC)
    model(Images(4).images / 255.0, torch.ones(4, 3, 8, 8, dtype=torch.bool), torch.zeros(4, 0))
    model.eval()
    branch = next(each for each in model.modules() if isinstance(each, ContextBranch))
    bias = branch.leave.get_parameter("bias")
    with torch.no_grad():
        # The guess is one half, and so is the mean of the images: a constant correction only does harm.
        bias[:3].copy_(torch.tensor([0.3, 0.0, -0.3]))
    fit_gains(model, Images(40), HolesConfig(kind="components"), 0, torch.device("cpu"))
    assert float(branch.gain[[0, 2], :4].max()) < 0.1  # in the frequent cases
    assert branch.gain.shape == (3, 14)


def test_holes_have_gains_of_their_own_in_a_model_that_learned_components() -> None:
    torch.manual_seed(0)
    model = MODELS.build("vqvae", {"hidden": 16, "inner": 8, "quantizer": {"num_codes": 8, "dim": 4}}, SPEC)
    smooth = Images(30)
    smooth.images = (40 + 5 * torch.arange(8))[None, None, :, None].expand(30, 3, 8, 8).to(torch.uint8)
    model(smooth.images / 255.0, torch.ones(30, 3, 8, 8, dtype=torch.bool), torch.zeros(30, 0))
    model.eval()
    branch = next(each for each in model.modules() if isinstance(each, ContextBranch))
    with torch.no_grad():
        # Right where a component is missing, whose guess is one half, and wrong in a hole, which is continued well.
        branch.leave.get_parameter("bias")[:3].fill_(-0.25)
    fit_gains(model, smooth, HolesConfig(kind="components"), 0, torch.device("cpu"))
    assert float(branch.gain[:, 1:3].min()) > 0.8
    assert float(branch.gain[:, 3:5].max()) < 0.2


@torch.no_grad()
def test_a_gain_is_the_least_squares_one_of_its_case() -> None:
    torch.manual_seed(0)
    model = MODELS.build("vqvae", {"hidden": 16, "inner": 8, "quantizer": {"num_codes": 8, "dim": 4}}, SPEC)
    images = Images(600)
    model(images.images / 255.0, torch.ones(600, 3, 8, 8, dtype=torch.bool), torch.zeros(600, 0))
    model.eval()
    branch = next(each for each in model.modules() if isinstance(each, ContextBranch))
    branch.leave.get_parameter("bias")[:3].copy_(torch.tensor([0.3, -0.2, 0.1]))
    holes = HolesConfig(kind="boxes")
    fit_gains(model, images, holes, 0, torch.device("cpu"))
    chosen = evenly_spaced(600, 512)
    batch = images.batch(chosen).to(torch.device("cpu"), SPEC)
    observed = fixed_observed(batch, holes, 0, 0)
    fitted, unknown = branch.gain.clone(), SPEC.unknown_conditions(512, torch.device("cpu"))
    branch.gain.zero_()
    guess = model.complete(batch.images, observed, unknown)
    branch.gain.fill_(1)
    correction = model.complete(batch.images, observed, unknown) - guess
    for case in (3, 4):  # next to what is observed, and one pixel farther
        here = (branch.cases(observed) == case) & ~observed
        assert int(here.sum()) > 200
        for component in range(3):
            where = here[:, component]
            learned, missed = correction[:, component][where], (batch.images - guess)[:, component][where]
            expected = float((learned * missed).sum() / learned.square().sum())
            assert float(fitted[component, case]) == pytest.approx(min(max(expected, 0), 2), abs=0.05)


def test_the_gains_of_a_run_are_in_its_checkpoints_and_come_from_validation_images(tmp_path: Path) -> None:
    arrays = {name: Images(count).images.numpy() for name, count in (("train", 24), ("val", 12), ("test", 4))}
    import numpy as np

    np.savez(tmp_path / "toy.npz", **arrays)  # type: ignore[arg-type]
    settings = {
        "model": {"name": "vqvae", "hidden": 16, "inner": 8, "quantizer": {"name": "ema", "num_codes": 8, "dim": 4}},
        "data": {"name": "arrays", "path": str(tmp_path / "toy.npz")},
        "masking": {"warmup_epochs": 0},
        "training": {"steps": 6, "batch_size": 8, "learning_rate": 1e-2},
    }
    train(None, settings, [], tmp_path / "run", "auto")
    gains = []
    for name in ("best", "latest"):
        checkpoint = tmp_path / "run" / (tmp_path / "run" / name).read_text().strip()
        model = load_model(checkpoint).model
        branch = next(each for each in model.modules() if isinstance(each, ContextBranch))
        gains.append(branch.gain.clone())
        assert bool((branch.gain <= 2).all()) and bool((branch.gain != 1).any())
        fit_gains(model, _Stored(arrays["val"]), HolesConfig(kind="components"), 0, torch.device("cpu"))
        assert torch.allclose(branch.gain, gains[-1], atol=1e-5)
    # When the run goes on, its validation is that of a run that was not interrupted: without gains.
    again = AutoencoderTask(load_model(tmp_path / "run").model, MaskingConfig(), 0)
    again.load_state_dict(again.state_dict())
    (branch,) = branches_with_gains(again.model)
    assert bool((branch.gain == 1).all())


class _Stored(Images):
    def __init__(self, images: object) -> None:
        super().__init__(1)
        self.images = torch.as_tensor(images)
