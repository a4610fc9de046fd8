"""A small task with a discriminator, and what trains it as the trainer does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vqkit.config import LossConfig, MaskingConfig, TrainingConfig
from vqkit.core.distributed import world_size
from vqkit.interfaces import Batch, DataSpec
from vqkit.interfaces.tasks import TrainingState
from vqkit.layers.discriminator import PatchDiscriminator
from vqkit.losses.adversarial import AdversarialLoss
from vqkit.losses.balance import AdaptiveWeight
from vqkit.registry import MODELS
from vqkit.training.optimization import GuardedOptimizerStep, build_optimizer
from vqkit.training.tasks.autoencoder import AutoencoderTask

SPEC = DataSpec.uniform("toy", ("r", "g"), 16, 24, "intensity")
MODEL = {"hidden": 8, "inner": 8, "blocks": 1, "attention": False, "quantizer": {"name": "fsq", "levels": (5, 5)}}


def adversarial_task(**settings: object) -> AutoencoderTask:
    """A tiny VQ-VAE, whose codes do not jump, and a discriminator with 8 channels."""
    torch.manual_seed(0)
    model = MODELS.build("vqvae", MODEL, SPEC)
    config = LossConfig.model_validate({"adversarial": 0.5, "discriminator_channels": 8, **settings})
    discriminator = PatchDiscriminator(2, (16, 24), config.discriminator_channels)
    loss = AdversarialLoss(config, discriminator, AdaptiveWeight(model.last_weights))
    return AutoencoderTask(model, MaskingConfig(warmup_epochs=0), seed=0, picture_losses=[loss])


def batch(step: int, part: slice = slice(None)) -> Batch:
    """A part of the four images of a step."""
    images = torch.rand(4, 2, 16, 24, generator=torch.Generator().manual_seed(step))[part]
    return Batch(images, torch.empty(len(images), 0), torch.full((len(images),), -1))


def trained(steps: int, part: slice = slice(None)) -> dict[str, Tensor]:
    """State of the task and recorded scalars after a few steps on a part of every batch."""
    task = adversarial_task()
    optimizer = build_optimizer(task.optimizer_groups(), TrainingConfig(learning_rate=1e-2))
    step = GuardedOptimizerStep(optimizer, task.optimizer_groups(), clip_norm=1.0, device=torch.device("cpu"))
    forward = DistributedDataParallel(task) if world_size() > 1 else task
    recorded: dict[str, Tensor] = {}
    for number in range(steps):
        output = forward(batch(number, part), TrainingState(number, 1.0))
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        recorded[f"norm{number}"] = step()
        recorded |= {f"{name}{number}": value for name, value in output.scalars.items()}
    return {**recorded, **{f"state.{name}": value for name, value in task.state_dict().items()}}
