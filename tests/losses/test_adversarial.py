"""The adversarial loss: its adaptive weight, its gradients, and runs with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import typer
from adversarial_task import SPEC, adversarial_task, batch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from small_runs import tiny
from vqkit.cli.train import train_vqvae
from vqkit.config import LossConfig, RunConfig, TrainingConfig, parse_yaml
from vqkit.errors import ConfigError, Interrupted
from vqkit.interfaces import OptimizerGroup, fully_observed
from vqkit.interfaces.picture_losses import Pictures
from vqkit.interfaces.tasks import TrainingState
from vqkit.layers.discriminator import PatchDiscriminator
from vqkit.losses.adversarial import AdversarialLoss
from vqkit.losses.balance import AdaptiveWeight, unbalanced
from vqkit.registry import MODELS
from vqkit.storage import runs
from vqkit.storage.checkpoints import load_model
from vqkit.training.kinds import resolve
from vqkit.training.optimization import GuardedOptimizerStep, build_optimizer, set_learning_rate
from vqkit.training.run import train
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.trainer import Trainer


def test_the_adaptive_weight_is_the_quotient_of_the_gradients() -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    distance, adversarial = (6 * weight).sum(), (torch.tensor([0.0, 2.0]) * weight).sum()
    found = AdaptiveWeight((weight,))(distance, adversarial)
    assert float(found) == pytest.approx(6 * 2**0.5 / (2 + 1e-4))
    assert not found.requires_grad
    assert weight.grad is None
    assert float(AdaptiveWeight((weight,))(distance, 0 * adversarial)) == 1e4  # 84,853 before it is clamped


def test_the_losses_are_those_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    target, expected = torch.rand(2, 3, 2, 16, 24, generator=generator)
    scale = torch.nn.Parameter(torch.ones(1))
    discriminator = PatchDiscriminator(2, (16, 24), 8)
    loss = AdversarialLoss(LossConfig(adversarial=0.3), discriminator, AdaptiveWeight((scale,)))
    distance = F.mse_loss(scale * expected, target)
    added = loss(Pictures(scale * expected, target, distance, 0.0))

    hinge = F.relu(1 - discriminator(target)).mean() / 2 + F.relu(1 + discriminator(expected)).mean() / 2
    torch.testing.assert_close(added.adversarial_losses["discriminator"], hinge)
    other = torch.ones(1, requires_grad=True)
    plain = -discriminator(other * expected).mean()
    (push,) = torch.autograd.grad(plain, other)
    (pull,) = torch.autograd.grad(F.mse_loss(other * expected, target), other)
    balance = (pull.abs() / (push.abs() + 1e-4)).squeeze()
    torch.testing.assert_close(added.monitors["adaptive_weight"], balance, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(added.losses["adversarial"], 0.3 * balance * plain, rtol=1e-3, atol=1e-6)


def test_gradients_land_only_where_they_belong() -> None:
    task = adversarial_task()
    model, loss = task.model, task.picture_losses[0]
    result = model(batch(0).images, torch.ones(4, 2, 16, 24, dtype=torch.bool), torch.empty(4, 0))
    added = loss(Pictures(model.mean(result.logits), batch(0).images, result.reconstruction_loss, 0.0))

    def reached(scalar: Tensor) -> tuple[bool, bool]:
        task.zero_grad(set_to_none=True)
        scalar.backward(retain_graph=True)
        return tuple(  # type: ignore[return-value]
            any(p.grad is not None and bool(p.grad.any()) for p in network.parameters()) for network in (model, loss)
        )

    assert reached(added.losses["adversarial"]) == (True, False)
    assert reached(added.adversarial_losses["discriminator"]) == (False, True)
    assert reached(result.reconstruction_loss) == (True, False)


def test_the_discriminator_trains_before_the_adversarial_loss_is_switched_on() -> None:
    task = adversarial_task(discriminator_start_epoch=2)
    before, after = task(batch(0), TrainingState(5, 1.99)), task(batch(0), TrainingState(5, 2.0))
    assert before.scalars["adversarial"] == before.scalars["adaptive_weight"] == 0
    assert after.scalars["adversarial"] != 0
    assert before.scalars["discriminator"] == after.scalars["discriminator"] > 0
    before.loss.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in task.picture_losses.parameters())


def test_the_recorded_loss_is_the_models() -> None:
    output = adversarial_task()(batch(0), TrainingState(0, 0))
    scalars = output.scalars
    model = sum(scalars[name] for name in ("recon", "vq", "commit", "adversarial"))
    torch.testing.assert_close(scalars["loss"], model)
    torch.testing.assert_close(output.loss.detach(), model + scalars["discriminator"])


def test_without_balance_the_weight_is_the_setting() -> None:
    discriminator = PatchDiscriminator(2, (16, 24), 8)
    images = torch.rand(2, 2, 2, 16, 24)
    loss = AdversarialLoss(LossConfig(adversarial=0.3, adaptive=False), discriminator, unbalanced)
    added = loss(Pictures(images[0], images[1], torch.tensor(7.0), 0.0))
    torch.testing.assert_close(added.losses["adversarial"], -0.3 * discriminator(images[0]).mean())


def test_the_balance_takes_in_every_loss_before_the_adversarial_one() -> None:
    seen: list[Tensor] = []

    class Doubled(AdversarialLoss):
        def forward(self, pictures: Pictures) -> Any:
            seen.append(pictures.distance)
            return super().forward(pictures)

    task = adversarial_task()
    settings = LossConfig(adversarial=1.0)
    first, second = (Doubled(settings, PatchDiscriminator(2, (16, 24), 8), unbalanced) for _ in range(2))
    task = AutoencoderTask(task.model, task.masking, 0, [first, second])
    scalars = task(batch(0), TrainingState(0, 0)).scalars
    torch.testing.assert_close(seen[0], scalars["recon"])
    assert seen[1] != seen[0]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (32, 64), (28, 28), (256, 128)])
@pytest.mark.parametrize("components", [1, 5])
def test_the_discriminator_accepts_images_of_any_size(height: int, width: int, components: int) -> None:
    images = torch.rand(2, components, height, width)
    discriminator = PatchDiscriminator(components, (height, width), 8)
    logits = discriminator(images)
    assert logits.shape[:2] == (2, 1)
    assert min(logits.shape[2:]) >= 4
    # The logits of an image do not depend on the rest of its batch.
    torch.testing.assert_close(discriminator(images[:1]), logits[:1])


@pytest.mark.parametrize(("size", "seen"), [(64, 54), (24, 26)])
def test_the_receptive_field_of_a_logit(size: int, seen: int) -> None:
    discriminator = PatchDiscriminator(1, (size, size), 8)
    for module in discriminator.modules():  # what is normalised sees everything a little: look at the convolutions alone
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda features: features  # type: ignore[method-assign]
    images = torch.rand(1, 1, 4 * size, 4 * size, requires_grad=True)
    logits = discriminator(images)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert images.grad is not None
    assert int(images.grad.any(dim=3).sum()) == seen


def test_each_network_is_clipped_by_itself_and_has_its_own_rate() -> None:
    networks = [torch.nn.Linear(2, 1, bias=False) for _ in range(2)]
    optimizer_groups = [OptimizerGroup(networks[0]), OptimizerGroup(networks[1], lr_scale=0.25)]
    optimizer = build_optimizer(optimizer_groups, TrainingConfig(learning_rate=0.5))
    set_learning_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.025]
    networks[0].weight.grad, networks[1].weight.grad = torch.tensor([[30.0, 40.0]]), torch.tensor([[0.3, 0.4]])
    before = [network.weight.detach().clone() for network in networks]
    norm = GuardedOptimizerStep(optimizer, optimizer_groups, 1.0, torch.device("cpu"))()
    assert float(norm) == 50
    torch.testing.assert_close(networks[0].weight.grad, torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(networks[1].weight.grad, torch.tensor([[0.3, 0.4]]))  # 0.5 is short enough
    for network, start, rate in zip(networks, before, (0.1, 0.025), strict=True):
        torch.testing.assert_close(start - network.weight.detach(), torch.full((1, 2), rate))  # AdamW's first step

    networks[1].weight.grad = torch.tensor([[float("nan"), 1.0]])
    before = [network.weight.detach().clone() for network in networks]
    step = GuardedOptimizerStep(optimizer, optimizer_groups, 1.0, torch.device("cpu"))
    step()
    assert int(step.skipped) == 1
    assert all(torch.equal(network.weight, start) for network, start in zip(networks, before, strict=True))


ADVERSARIAL = {"adversarial": 0.1, "discriminator_start_epoch": 1.0, "discriminator_channels": 8}


def settings(**training: Any) -> dict[str, Any]:
    return {**tiny(steps=8, checkpoint_every=4, **training), "loss": ADVERSARIAL}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a discriminator on the five components of tyre sections; 6 steps an epoch."""
    path = tmp_path_factory.mktemp("runs") / "adversarial"
    train(None, settings(log_every=1), [], path, "auto")
    return path


def test_a_run_records_the_game_and_saves_the_model_alone(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "images_per_second" in row]
    assert all(row["train/adversarial"] == row["train/adaptive_weight"] == 0 for row in steps[:6])
    assert all(row["train/adversarial"] != 0 < row["train/adaptive_weight"] for row in steps[6:])
    assert len({row["train/discriminator"] for row in steps}) == 8
    plain = tiny()["model"]
    options = {name: value for name, value in plain.items() if name != "name"}
    loaded = load_model(run)
    assert loaded.model.state_dict().keys() == MODELS.build("vqvae", options, loaded.model.spec).state_dict().keys()


def test_the_command_line_trains_with_a_discriminator(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(train_vqvae)
    words = ["loss.adversarial=0.1", "loss.discriminator_channels=8", "data.num_train=32", "data.num_val=8", "model.hidden=8"]
    arguments = ["--steps", "3", "--batch-size", "8", "--out", str(tmp_path / "run")]
    for word in words:
        arguments += ["--set", word]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "discriminator" in done.output
    assert parse_yaml((tmp_path / "run" / "run.yaml").read_text(), "run.yaml")["loss"]["adversarial"] == 0.1
    assert load_model(tmp_path / "run").model.spec.name == "tyre"


def test_the_newest_checkpoint_is_the_one_that_is_used(run: Path) -> None:
    assert not (run / "best").exists()
    assert load_model(run).path.parent.name == "step-00000008"


def test_a_resumed_run_ends_where_it_would_have_ended(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer._train_step

    def stop(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        self._stop_requested = self.step == 7

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop)
        with pytest.raises(Interrupted):
            train(None, settings(log_every=1), [], tmp_path / "parts", "auto")
    train(None, settings(log_every=1), [], tmp_path / "parts", "auto")
    for name in ("model", "training"):
        whole, parts = (load_file(runs.checkpoint_directory(each, 8) / f"{name}.safetensors") for each in (run, tmp_path / "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole if not key.startswith("rng"))
    assert any(key.startswith("task.picture_losses.0.discriminator") for key in whole)


def test_a_run_is_not_continued_with_other_losses(run: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.adversarial = 0\.1, not 0\.2"):
        train(None, {}, ["loss.adversarial=0.2"], None, str(run))


def test_the_seed_draws_the_discriminator(tmp_path: Path) -> None:
    def drawn(seed: int) -> Tensor:
        config = resolve(RunConfig.model_validate(settings(seed=seed)))
        return next(iter(Trainer.from_config(config, tmp_path, resume=False).task.optimizer_groups()[1].parameters()))

    torch.manual_seed(1)
    first = drawn(0)
    torch.manual_seed(2)
    assert torch.equal(first, drawn(0))
    assert not torch.equal(first, drawn(1))


def test_a_model_without_last_weights_is_refused_before_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vqkit.interfaces import Autoencoder
    from vqkit.models.coding import CodingModel

    monkeypatch.setattr(CodingModel, "last_weights", Autoencoder.last_weights)
    with pytest.raises(ConfigError, match="VQVAE does not define last_weights") as error:
        train(None, settings(), [], tmp_path / "run", "auto")
    assert "loss.adaptive=false" in error.value.hint
    assert not (tmp_path / "run").exists()


def test_the_last_weights_make_the_logits() -> None:
    for name in ("vqvae", "vqvae2"):
        options = {"hidden": 8, "inner": 8, "quantizer": {"name": "fsq", "levels": (5, 5)}}
        model = MODELS.build(name, options, SPEC)
        images = batch(0).images
        shown = fully_observed(images).clone()
        shown[:, 1] = False
        result = model(images, fully_observed(images), torch.empty(4, 0))
        seen = model(images, shown, torch.empty(4, 0), shown=shown).logits
        for weight in model.last_weights:
            weight.data.fill_(0.01)
        assert not torch.equal(seen[0, 1], model(images, shown, torch.empty(4, 0), shown=shown).logits[0, 1])
        for weight in model.last_weights:
            weight.data.zero_()
        flat = model(images, fully_observed(images), torch.empty(4, 0)).logits
        assert result.logits[0, 0].unique().numel() > 4
        assert flat[0, 0].unique().numel() <= 4  # what is left is the convolution's bias, one of four at a pixel


@pytest.mark.parametrize(
    ("loss", "note"),
    [
        ({"discriminator_lr_scale": 0.2}, r"loss\.discriminator_lr_scale has no effect while loss\.adversarial is 0"),
        ({"perceptual_weights": "vgg.safetensors"}, r"loss\.perceptual_weights has no effect while loss\.perceptual is 0"),
        ({"adversarial": 0.1, "discriminator_start_epoch": 20.0}, "20 epochs end before loss.discriminator_start_epoch = 20"),
    ],
)
def test_settings_without_effect_are_noted(loss: dict[str, Any], note: str) -> None:
    settings = {**tiny(steps=None, epochs=20), "loss": loss}
    with pytest.warns(UserWarning, match=note):
        resolve(RunConfig.model_validate(settings))
