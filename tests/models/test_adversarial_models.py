"""Models with a discriminator of their own: what each loss is, what it trains, and that runs with them resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from adversarial_cases import NAMES, task_of
from latent_cases import inputs, seeded, small, spec
from safetensors.torch import load_file
from torch import nn

from small_runs import TINY, tiny
from vqkit.config import TrainingConfig
from vqkit.errors import ConfigError, Interrupted
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.losses.gan import GANLoss
from vqkit.models.adversarial_vae import AdversarialVAE, code_distance
from vqkit.models.gaussian import Gaussian
from vqkit.models.vae_gan import VAEGAN
from vqkit.storage import runs
from vqkit.training.optimization import build_optimizer
from vqkit.training.run import train
from vqkit.training.trainer import Trainer

GROUPS = {
    "encoder": ("encoder", "head"),
    "decoder": ("latent_projection", "decoder"),
    "scale": ("likelihood",),
    "generator": ("generator",),
    "discriminator": ("discriminator",),
}
REACHED = {
    "vae-gan": {
        "recon": {"encoder", "decoder", "scale"},
        "kl": {"encoder"},
        "adversarial": {"decoder"},
        "discriminator": {"discriminator"},
    },
    "adversarial-vae": {
        "recon": {"encoder", "decoder", "scale"},
        "kl": {"encoder"},
        "adversarial": {"generator"},
        "code": {"generator"},
        "discriminator": {"discriminator"},
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_trains_what_it_should_and_nothing_else(name: str) -> None:
    data = spec(kind="intensity")
    model = small(name, data)
    result = model(*inputs(data), seeded())
    scalars = {**result.named_losses, **result.adversarial_losses}
    assert scalars.keys() == REACHED[name].keys()
    parameters = dict(model.named_parameters())
    assert {label.split(".")[0] for label in parameters} <= {part for parts in GROUPS.values() for part in parts}
    for loss, scalar in scalars.items():
        gradients = torch.autograd.grad(scalar, list(parameters.values()), retain_graph=True, allow_unused=True)
        moved = {label.split(".")[0] for label, each in zip(parameters, gradients, strict=True) if each is not None and each.any()}
        assert {group for group, parts in GROUPS.items() if moved & set(parts)} == REACHED[name][loss], loss


@pytest.mark.parametrize("name", NAMES)
def test_the_vae_inside_is_the_vae(name: str) -> None:
    data = spec()
    plain, model = small("vae", data, shake=0), small(name, data, shake=0)
    assert all(torch.equal(value, model.state_dict()[label]) for label, value in plain.state_dict().items())
    images, observed, conditions = inputs(data)
    losses, expected = (each(images, observed, conditions, seeded(4)).named_losses for each in (model, plain))
    assert torch.equal(losses["recon"], expected["recon"]) and torch.equal(losses["kl"], expected["kl"])


@torch.no_grad()
def test_the_losses_of_the_vae_gan_by_hand() -> None:
    data = spec()
    model = small("vae-gan", data, adversarial=0.3, gradient_penalty=0.7)
    assert isinstance(model, VAEGAN)
    images, observed, conditions = inputs(data)
    result = model(images, observed, conditions, seeded(4))
    noise = seeded(4)
    first, second = (torch.randn(3, 1, 6, 1, 1, generator=noise)[:, 0] for _ in range(2))
    latents = torch.cat([model.posterior(model.features(images, observed)).rsample(first), second])
    fake = model.logits(latents, conditions.repeat(2, 1)).sigmoid()
    of_real, of_fake = model.discriminator(images), model.discriminator(fake)
    one, zero = torch.ones_like, torch.zeros_like
    fooled = F.binary_cross_entropy_with_logits(of_fake, one(of_fake))
    discriminator_loss = F.binary_cross_entropy_with_logits(of_real, one(of_real)) + F.binary_cross_entropy_with_logits(
        of_fake, zero(of_fake)
    )
    torch.testing.assert_close(result.losses["adversarial"], 0.3 * fooled)
    directions = torch.randn(3, 3, *images.shape[1:], generator=noise)  # of each image: the real one, and two fake ones
    risen = [
        model.discriminator(each + 0.05 * directions[:, number]) - model.discriminator(each)
        for number, each in enumerate((images, fake[:3], fake[3:]))
    ]
    torch.testing.assert_close(
        result.adversarial_losses["discriminator"], discriminator_loss / 2 + 0.7 / 2 * (torch.cat(risen) / 0.05).square().mean()
    )


def test_the_penalty_is_the_mean_square_of_the_slopes() -> None:
    torch.manual_seed(0)
    slopes = nn.Linear(12, 1)
    images = torch.rand(4000, 3, 2, 2)

    def discriminator(given: torch.Tensor) -> torch.Tensor:
        return slopes(given.flatten(1))

    plain, penalised = (
        GANLoss("non-saturating", weight).discriminator_loss(discriminator, images, images, seeded()) for weight in (0.0, 2.0)
    )
    torch.testing.assert_close(penalised - plain, slopes.weight.square().sum(), rtol=0.05, atol=0)
    assert torch.equal(
        plain, GANLoss("non-saturating", 2.0).discriminator_loss(discriminator, images, images)
    )  # outside of training nothing is drawn


@torch.no_grad()
def test_the_losses_of_the_adversarial_vae_by_hand() -> None:
    data = spec()
    model = small("adversarial-vae", data, code_weight=3.0)
    assert isinstance(model, AdversarialVAE)
    images, observed, conditions = inputs(data)
    result = model(images, observed, conditions, seeded(4))
    noise = seeded(4)
    drawn, latents, details = (torch.randn(3, 1, 6, 1, 1, generator=noise)[:, 0] for _ in range(3))
    fake = (model.logits(latents, conditions) + model.generator(latents, details, conditions)).sigmoid()
    seen = model.posterior(model.features(fake, torch.ones_like(observed)))
    weights = (-2 * seen.std.log()).softmax(dim=1)
    distance = (weights * (latents - seen.mean) ** 2 / 2).sum(dim=1).mean()
    torch.testing.assert_close(result.losses["code"], 3 * distance)
    torch.testing.assert_close(result.losses["adversarial"], -model.discriminator(fake).mean())
    # What is filled in is of the same draw as the VAE's and of no noise.
    found = model.posterior(model.features(images, observed)).rsample(drawn)
    added = model.generator(found, torch.zeros_like(found), conditions)
    torch.testing.assert_close(result.logits, model.logits(found, conditions) + added)


@pytest.mark.parametrize("kind", ["binary", "intensity"])
@torch.no_grad()
def test_an_untrained_generator_adds_nothing_to_the_vae(kind: Literal["binary", "intensity"]) -> None:
    data = spec(kind=kind)
    model, vae = small("adversarial-vae", data, shake=0).eval(), small("vae", data, shake=0).eval()
    assert torch.equal(model.reconstruct(*inputs(data)), vae.reconstruct(*inputs(data)))


def test_an_encoder_that_is_sure_of_one_dimension_asks_for_that_one() -> None:
    latents = torch.zeros(2, 2, 1, 1)
    mean = torch.tensor([[3.0, 1.0]]).view(1, 2, 1, 1).expand(2, 2, 1, 1)
    log_variance = torch.tensor([[-14.0, 14.0], [0.0, 0.0]]).view(2, 2, 1, 1).requires_grad_()
    distance = code_distance(latents, Gaussian(mean, log_variance))
    torch.testing.assert_close(distance, torch.tensor([4.5, 2.5]), rtol=0, atol=1e-5)
    assert not distance.requires_grad  # nothing is gained by being less sure


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_has_one_learner_at_its_own_rate(name: str) -> None:
    task = task_of(name, discriminator_lr_scale=0.25)
    optimizer_groups = task.optimizer_groups()
    counted = [id(parameter) for group in optimizer_groups for parameter in group.parameters()]
    assert len(counted) == len(set(counted)) == len(list(task.model.parameters()))
    assert [group.network for group in optimizer_groups] == [task.model, *(group.network for group in task.model.adversaries)]
    optimizer = build_optimizer(optimizer_groups, TrainingConfig(learning_rate=1.0))
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for label, parameter in task.model.named_parameters():
        assert rates[id(parameter)] == {"discriminator": 0.25, "generator": 0.1}.get(label.split(".")[0], 1.0), label
    assert not task.has_best


@torch.no_grad()
def test_samples_of_the_adversarial_vae_differ_in_what_its_latents_leave_open() -> None:
    data = spec()
    model = small("adversarial-vae", data).eval()
    assert isinstance(model, AdversarialVAE)
    latents, noise = torch.randn(2, 1, 6, 1, 1, generator=seeded())
    conditions = torch.full((1, 2), float("nan"))
    plain, other = (model.generator(latents, each, conditions) for each in (0 * noise, noise))
    assert not torch.allclose(plain, other, atol=1e-3)


def test_a_generator_has_no_bound() -> None:
    data = spec()
    model = small("adversarial-vae", data)
    assert isinstance(model, GenerativeAutoencoder)
    images, _, conditions = inputs(data)
    with pytest.raises(ConfigError, match="whose generator has no likelihood") as error:
        model.bound(images, conditions, 2, seeded())
    assert "such as vae" in error.value.hint


def settings(name: str, **training: Any) -> dict[str, Any]:
    model = {"name": name, "hidden": 8, "inner": 4, "latent_dim": 4, "discriminator_channels": 8}
    data = {**TINY["data"], "num_train": 20, "num_val": 2}
    return {**tiny(steps=3, batch_size=8, checkpoint_every=2, **training), "model": model, "data": data}


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_where_it_would_have_ended(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(None, settings(name), [], tmp_path / "whole", "auto")
    step = Trainer._train_step

    def stop(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        self._stop_requested = self.step == 1

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop)
        with pytest.raises(Interrupted):
            train(None, settings(name), [], tmp_path / "parts", "auto")
    train(None, settings(name), [], tmp_path / "parts", "auto")
    for kind in ("model", "training"):
        whole, parts = (
            load_file(runs.checkpoint_directory(tmp_path / each, 3) / f"{kind}.safetensors") for each in ("whole", "parts")
        )
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole if not key.startswith("rng"))
    assert not (tmp_path / "whole" / "best").exists()  # no error of pixels says which checkpoint draws best


def test_two_discriminators_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the model 'vae-gan' has one of its own"):
        train(None, {**settings("vae-gan"), "loss": {"adversarial": 0.1}}, [], tmp_path / "run", "auto")
    assert not (tmp_path / "run").exists()
