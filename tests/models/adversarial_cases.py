"""Small models with a discriminator of their own, and what trains them as the trainer does."""

from __future__ import annotations

import torch
from latent_cases import small, spec
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vqkit.config import MaskingConfig, TrainingConfig
from vqkit.core.distributed import world_size
from vqkit.interfaces import Batch
from vqkit.interfaces.tasks import TrainingState
from vqkit.training.optimization import GuardedOptimizerStep, build_optimizer
from vqkit.training.tasks.autoencoder import AutoencoderTask

NAMES = ("vae-gan", "adversarial-vae")
DATA = spec(16, 24, "intensity")


def task_of(name: str, **options: object) -> AutoencoderTask:
    return AutoencoderTask(small(name, DATA, **options), MaskingConfig(warmup_epochs=0), seed=0)


def batch(step: int, part: slice = slice(None)) -> Batch:
    """A part of the four images of a step."""
    images = torch.rand(4, 3, 16, 24, generator=torch.Generator().manual_seed(step))[part]
    return Batch(images, torch.full((len(images), 2), 50.0), torch.full((len(images),), -1))


def trained(name: str, steps: int, part: slice = slice(None)) -> dict[str, Tensor]:
    """Parameters and recorded scalars after a few steps on a part of every batch."""
    task = task_of(name)
    optimizer = build_optimizer(task.optimizer_groups(), TrainingConfig(learning_rate=1e-3))
    step = GuardedOptimizerStep(optimizer, task.optimizer_groups(), clip_norm=1.0, device=torch.device("cpu"))
    forward = DistributedDataParallel(task) if world_size() > 1 else task
    recorded: dict[str, Tensor] = {}
    for number in range(steps):
        output = forward(batch(number, part), TrainingState(number, 1.0))
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        step()
        recorded |= {f"{name}{number}": value for name, value in output.scalars.items()}
    return {**recorded, **{f"state.{name}": value for name, value in task.state_dict().items()}}
