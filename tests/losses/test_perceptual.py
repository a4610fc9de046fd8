"""The perceptual loss: the distance by hand, its weights from a file or from torchvision, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from small_runs import tiny
from vqkit.config import RunConfig
from vqkit.errors import ConfigError
from vqkit.interfaces.picture_losses import Pictures
from vqkit.losses.perceptual import PerceptualLoss
from vqkit.losses.vgg import VGGFeatures, load_vgg
from vqkit.storage import runs
from vqkit.storage.checkpoints import read_tensors
from vqkit.training.kinds import resolve
from vqkit.training.run import train
from vqkit.training.trainer import Trainer

CPU = torch.device("cpu")
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Numbers of the convolutions between two halvings; a ReLU follows each, and a pooling each group."""
WIDTHS = (64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights of VGG-16's features."""
    generator, drawn, before = torch.Generator().manual_seed(0), {}, 3
    for stage, width in zip(STAGES, WIDTHS, strict=True):
        for number in stage:
            drawn[f"{number}.weight"] = torch.randn(width, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
            drawn[f"{number}.bias"] = 0.1 * torch.randn(width, generator=generator)
            before = width
    return drawn


@pytest.fixture(scope="module")
def file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.safetensors"
    save_file(weights, path)
    return path


def by_hand(one: Tensor, other: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The distance of two colour images, written out."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    total = torch.zeros(())
    maps = [(images - mean[:, None, None]) / deviation[:, None, None] for images in (one, other)]
    for stage in STAGES:
        maps = maps if stage == STAGES[0] else [F.max_pool2d(x, 2) for x in maps]
        for number in stage:
            maps = [F.relu(F.conv2d(x, weights[f"{number}.weight"], weights[f"{number}.bias"], padding=1)) for x in maps]
        total = total + (F.normalize(maps[0], dim=1) - F.normalize(maps[1], dim=1)).pow(2).sum(1).mean()
    return total


def distance(expected: Tensor, target: Tensor, features: VGGFeatures, weight: float = 1.0) -> Tensor:
    return PerceptualLoss(weight, features)(Pictures(expected, target, torch.zeros(()), 0.0)).losses["perceptual"]


def test_the_distance_is_that_of_the_features(weights: dict[str, Tensor], file: Path) -> None:
    one, other = torch.rand(2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    features = load_vgg(str(file), CPU)
    expected = by_hand(one, other, weights)
    assert expected > 0.05
    torch.testing.assert_close(distance(one, other, features, weight=3.0), 3 * expected, rtol=1e-4, atol=1e-5)
    assert distance(one, one, features) == 0


def test_grey_is_taken_as_colour_of_equal_parts(weights: dict[str, Tensor]) -> None:
    one, other = torch.rand(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    features = VGGFeatures(weights, "the test", CPU)
    expected = by_hand(one.expand(-1, 3, -1, -1), other.expand(-1, 3, -1, -1), weights)
    torch.testing.assert_close(distance(one, other, features), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_the_pictures_alone_and_stays_finite(weights: dict[str, Tensor]) -> None:
    features = VGGFeatures(weights, "the test", CPU)
    images = torch.zeros(2, 3, 16, 16, requires_grad=True)
    loss = PerceptualLoss(1.0, features)
    loss(Pictures(images, torch.rand(2, 3, 16, 16), torch.zeros(()), 0.0)).losses["perceptual"].backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
    assert bool(images.grad.any())
    assert not loss.state_dict()
    assert not list(loss.parameters())
    assert not features(torch.rand(1, 3, 16, 16))[-1].requires_grad


def test_weights_of_the_whole_network_will_do(weights: dict[str, Tensor]) -> None:
    whole = {**{f"features.{name}": value.half() for name, value in weights.items()}, "classifier.0.bias": torch.zeros(4)}
    images = torch.rand(1, 3, 16, 16)
    found, expected = (VGGFeatures(each, "the test", CPU)(images)[-1] for each in (whole, weights))
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_weights_of_something_else_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.safetensors")
    with pytest.raises(ConfigError, match=r"There is no file .*nothing\.safetensors") as error:
        load_vgg(missing, CPU)
    assert "loss.perceptual_weights=FILE.safetensors" in error.value.hint
    (tmp_path / "words.safetensors").write_text("not tensors")
    with pytest.raises(ConfigError, match=r"words\.safetensors cannot be read"):
        load_vgg(str(tmp_path / "words.safetensors"), CPU)
    for name, wrong in (("other", {"0.weight": weights["0.weight"]}), ("thin", {**weights, "0.bias": torch.zeros(7)})):
        save_file(wrong, tmp_path / f"{name}.safetensors")
        with pytest.raises(ConfigError, match=rf"{name}\.safetensors does not hold the features of VGG-16"):
            load_vgg(str(tmp_path / f"{name}.safetensors"), CPU)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torchvision's weights, and no network."""

    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    return tmp_path / "hub" / "checkpoints"


def test_torchvisions_weights_come_from_its_cache(weights: dict[str, Tensor], cache: Path) -> None:
    cache.mkdir(parents=True)
    torch.save({f"features.{name}": value for name, value in weights.items()}, cache / "vgg16-397923af.pth")  # noqa: TID251
    images = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(load_vgg(None, CPU)(images)[0], VGGFeatures(weights, "the test", CPU)(images)[0])


def test_without_a_network_there_is_a_hint(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be downloaded: Name or service not known\. Name a file") as error:
        load_vgg(None, CPU)
    assert str(cache.parent) in error.value.message
    assert "loss.perceptual_weights=FILE.safetensors" in error.value.hint
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04 half an archive"])
def test_a_damaged_cache_is_no_traceback(content: bytes, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "vgg16-397923af.pth").write_bytes(content)
    with pytest.raises(ConfigError, match=r"torchvision's weights of VGG-16 in .*hub are damaged"):
        load_vgg(None, CPU)


def test_without_torchvision_there_is_a_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    for path in (None, str(file)):
        with pytest.raises(ConfigError, match="torchvision cannot be imported"):
            load_vgg(path, CPU)


def photographs(folder: Path) -> Path:
    """Sixteen random colour images of 16 x 16 as an array file."""
    images = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_file({"images": images}, folder / "photographs.safetensors")
    return folder / "photographs.safetensors"


def settings(data: dict[str, Any], **loss: Any) -> dict[str, Any]:
    config = tiny(steps=2, batch_size=4, log_every=1)
    return {**config, "data": data, "loss": loss}


def test_a_run_uses_and_records_it_and_saves_nothing_of_it(file: Path, tmp_path: Path) -> None:
    data = {"name": "arrays", "path": str(photographs(tmp_path))}
    config = settings(data, perceptual=0.5, perceptual_weights=str(file), adversarial=0.1, discriminator_channels=8)
    trainer = Trainer.from_config(resolve(RunConfig.model_validate(config)), tmp_path / "run", resume=False)
    before = trainer.task.optimizer_groups()
    assert len(before) == 2  # model and discriminator
    train(None, config, [], tmp_path / "run", "auto")
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert text.count("train/perceptual") == 3
    tensors, _ = read_tensors(runs.checkpoint_directory(tmp_path / "run", 2) / "training.safetensors", CPU)
    assert all(".discriminator." in name for name in tensors if name.startswith("task."))
    state = trainer.task.state_dict()
    assert all(name.startswith(("model.", "picture_losses.1.discriminator.")) for name in state)


def test_five_components_and_tiny_pictures_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="those of 'tyre' have 5 components") as error:
        train(None, settings(tiny()["data"], perceptual=1, perceptual_weights=str(file)), [], tmp_path / "run", "auto")
    assert "loss.adversarial" in error.value.hint
    save_file({"images": torch.zeros(20, 1, 8, 16, dtype=torch.uint8)}, tmp_path / "small.safetensors")
    data = {"name": "arrays", "path": str(tmp_path / "small.safetensors")}
    with pytest.raises(ConfigError, match=r"at least 16 x 16 pixels; those of 'small' are 8 x 16"):
        train(None, settings(data, perceptual=1, perceptual_weights=str(file)), [], tmp_path / "run", "auto")
    assert not (tmp_path / "run").exists()
