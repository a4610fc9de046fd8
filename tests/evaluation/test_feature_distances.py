"""FID and LPIPS with networks that are written here: no weights, no network connection, no extra."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from vqkit.config import NamedOptions, Settings
from vqkit.core.torchvision_import import import_torchvision
from vqkit.errors import ConfigError, DataError
from vqkit.evaluation import feature_distances
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.feature_distances import FeatureDistances
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.interfaces import Autoencoder, DataSpec, Reconstruction
from vqkit.storage.checkpoints import Loaded

COLOUR = DataSpec.uniform("photos", ("r", "g", "b"), 32, 40, "intensity")
GREY = DataSpec.uniform("digits", ("grey",), 32, 40, "intensity")
CPU = torch.device("cpu")


class Corners(nn.Module):
    """A network whose features are the mean of red, the deviation of green and the mean of the left half of blue, of 255."""

    num_features = 3

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        red, green, blue = (images.double() / 255).unbind(1)
        return torch.stack([red.mean((1, 2)), green.std((1, 2)), blue[:, :, : blue.shape[2] // 2].mean((1, 2))], 1)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """FID on the features of `Corners`, and a mean squared error in the place of LPIPS."""
    import_torchvision()  # torchmetrics imports it
    from torchmetrics import MeanSquaredError
    from torchmetrics.image.fid import FrechetInceptionDistance

    monkeypatch.setattr(feature_distances, "fid_metric", lambda: FrechetInceptionDistance(feature=Corners()))
    monkeypatch.setattr(feature_distances, "lpips_metric", MeanSquaredError)


def pictures(count: int, channels: int = 3, seed: int = 0) -> Tensor:
    levels = torch.rand(count, channels, 1, 1, generator=torch.Generator().manual_seed(seed))
    return levels * torch.rand(count, channels, 32, 40, generator=torch.Generator().manual_seed(seed + 1))


def frechet(first: Tensor, second: Tensor) -> float:
    """Heusel et al. 2017, equation 6, of features float64 [N, D]."""
    means = [each.mean(0).numpy() for each in (first, second)]
    covariances = [np.cov(each.numpy(), rowvar=False) for each in (first, second)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    return float(np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root))


@pytest.mark.parametrize("channels", [1, 3])
def test_both_by_hand(channels: int, networks: None) -> None:
    images, answers = pictures(40, channels), 0.8 * pictures(40, channels, seed=5) + 0.1
    distances = FeatureDistances(GREY if channels == 1 else COLOUR, 40, True, True, CPU)
    for part in torch.arange(40).split(9):
        distances.add(images[part], answers[part])
    result = distances.result()
    features = [Corners()((each * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)) for each in (images, answers)]
    assert result["fid"] == pytest.approx(frechet(*features), rel=1e-6)
    assert result["fid"] > 1e-3
    assert result["lpips"] == pytest.approx(float((images - answers).square().mean()), rel=1e-5)


def test_images_that_come_back_are_at_no_distance(networks: None) -> None:
    distances = FeatureDistances(COLOUR, 30, True, True, CPU)
    distances.add(pictures(30), pictures(30))
    assert distances.result() == pytest.approx({"fid": 0, "lpips": 0}, abs=1e-7)


def test_what_lies_beyond_the_range_is_clipped(networks: None) -> None:
    wide, answers = 1.5 * pictures(30) - 0.25, 1.5 * pictures(30, seed=5) - 0.25
    beyond, within = (FeatureDistances(COLOUR, 30, True, True, CPU) for _ in range(2))
    beyond.add(wide, answers)
    within.add(wide.clamp(0, 1), answers.clamp(0, 1))
    assert beyond.result() == within.result()


def test_only_what_is_asked_for_is_made(monkeypatch: pytest.MonkeyPatch, networks: None) -> None:
    monkeypatch.setattr(feature_distances, "fid_metric", lambda: pytest.fail("nobody asked for FID"))
    distances = FeatureDistances(COLOUR, 30, False, True, CPU)
    distances.add(pictures(30), pictures(30) / 2)
    assert list(distances.result()) == ["lpips"]


@pytest.mark.parametrize(
    ("spec", "count", "wanted", "said"),
    [
        (
            DataSpec.uniform("cells", ("dna", "actin"), 64, 64, "intensity"),
            9,
            (True, False),
            r"'cells' has 2 components \(dna, actin\)",
        ),
        (DataSpec.uniform("tyre", tuple("abcde"), 64, 32, "binary"), 9, (False, True), "colour and grey images"),
        (COLOUR, 1, (True, False), "only one image"),
        (DataSpec.uniform("MNIST", ("grey",), 28, 28, "intensity"), 9, (False, True), r"at least 31 pixels per side, not 28 x 28"),
    ],
)
def test_images_that_cannot_be_shown_are_refused(spec: DataSpec, count: int, wanted: tuple[bool, bool], said: str) -> None:
    with pytest.raises(DataError, match=said):
        FeatureDistances(spec, count, *wanted, CPU)
    FeatureDistances(spec, count, False, False, CPU)


def test_the_smallest_side_is_the_smallest_that_alexnet_takes() -> None:
    import_torchvision()
    from torchvision.models import alexnet

    layers = alexnet().features[:-1]  # LPIPS stops before the last pooling
    smallest = torch.zeros(1, 3, feature_distances.SMALLEST_SIDE, 40)
    assert layers(smallest).numel()
    with pytest.raises(RuntimeError, match="too small"):
        layers(smallest[:, :, 1:])


class Unused(Autoencoder):
    """A model that must not be asked: what is missing has to show before."""

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
        raise AssertionError("measured already")

    def mean(self, logits: Tensor) -> Tensor:
        return logits


class Dimmed(Unused):
    """Gives back images at 80 %."""

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        return Reconstruction(0.8 * images * observed, torch.zeros(()))


def photos(folder: Path, model: type[Autoencoder]) -> Loaded:
    """A model of the 24 test images in an array."""
    images = (pictures(24) * 255).round().to(torch.uint8).numpy()
    np.savez(folder / "photos.npz", train=images, test=images)
    data = NamedOptions(name="arrays", path=str(folder / "photos.npz"))
    return Loaded(model(Settings(), COLOUR), Path("model.safetensors"), "d" * 64, data, {"name": "dimmed"})


def test_without_the_extra_one_sentence_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_torchvision()
    import torchmetrics.image.fid

    monkeypatch.setattr(torchmetrics.image.fid, "_TORCH_FIDELITY_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"torch-fidelity, which is not installed.*pip install 'vqkit\[fid\]'"):
        evaluate(photos(tmp_path, Unused), EvaluationRequest(fid=True))


def test_without_weights_one_sentence_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "urlopen", refuse)
    with pytest.raises(ConfigError, match=r"behind LPIPS are not available: Name or service not known\.") as raised:
        evaluate(photos(tmp_path, Unused), EvaluationRequest(lpips=True))
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in str(raised.value.hint)


@pytest.mark.parametrize("wanted", ["fid", "lpips"])
def test_a_torchvision_that_does_not_fit_is_said_first(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise ConfigError("torchvision cannot be imported.", "Install another.")

    monkeypatch.setattr(feature_distances, "import_torchvision", refuse)
    with pytest.raises(ConfigError, match="torchvision cannot be imported"):
        evaluate(photos(tmp_path, Unused), EvaluationRequest(**{wanted: True}))  # type: ignore[arg-type]


def test_evaluate_measures_reconstructions_from_full_input(tmp_path: Path, networks: None) -> None:
    results = [evaluate(photos(tmp_path, Dimmed), EvaluationRequest(fid=True, lpips=True, batch_size=size)) for size in (5, 64)]
    images = (pictures(24) * 255).round() / 255
    features = [Corners()((each * 255).round().to(torch.uint8)) for each in (images, 0.8 * images)]
    for result in results:
        assert result.distances["fid"] == pytest.approx(frechet(*features), rel=1e-5)
        assert result.distances["lpips"] == pytest.approx(result.full.mse, rel=1e-5)
    assert json.loads(json.dumps(results[0].to_json()))["distances"] == results[0].distances
    assert evaluate(photos(tmp_path, Dimmed)).distances == {}
