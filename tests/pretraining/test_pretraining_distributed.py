"""Two processes with half of each batch are one process with the whole of it, for every method."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from processes import start_group
from vqkit.config import NamedOptions, ViewsConfig
from vqkit.core.distributed import world_size
from vqkit.data.splits import ArraySplit
from vqkit.interfaces import Batch, DataSpec
from vqkit.interfaces.tasks import TrainingState
from vqkit.registry import METHODS, MODELS
from vqkit.training.tasks.pretraining import SelfSupervisedTask

SPEC = DataSpec.uniform("toy", ("r", "g"), 16, 24, "intensity")
NAMES = ("barlow-twins", "simclr", "byol")


def task_of(name: str) -> SelfSupervisedTask:
    torch.manual_seed(0)
    encoder = MODELS.build("vqvae", {"hidden": 8, "inner": 8}, SPEC).encoder_part
    method = METHODS.build(name, {"hidden": 8, "dim": 4}, encoder)
    split = ArraySplit(SPEC, torch.zeros(1, 2, 16, 24, dtype=torch.uint8))
    return SelfSupervisedTask(encoder, NamedOptions(name="vqvae"), method, ViewsConfig(kind="boxes"), (split, split), seed=0)


def batch(step: int, part: slice) -> Batch:
    """A part of the six images of a step."""
    images = torch.rand(6, 2, 16, 24, generator=torch.Generator().manual_seed(step))[part]
    return Batch(images, torch.empty(len(images), 0), torch.full((len(images),), -1))


def trained(part: slice = slice(None)) -> dict[str, Tensor]:
    """Losses, gradients and at last the state of each task, of three steps on a part of every batch.

    Steps of gradient descent: AdamW would make much of the rounding of gradients that are zero, such as a projection's mean's.
    """
    recorded: dict[str, Tensor] = {}
    for name in NAMES:
        task = task_of(name)
        learning = [parameter for group in task.optimizer_groups() for parameter in group.parameters()]
        optimizer = torch.optim.SGD(learning, lr=1e-3)
        forward = DistributedDataParallel(task) if world_size() > 1 else task
        for number in range(3):
            output = forward(batch(number, part), TrainingState(number, 1.0, number / 3))
            optimizer.zero_grad(set_to_none=True)
            output.loss.backward()
            recorded[f"{name}.loss{number}"] = output.scalars["loss"]
            recorded[f"{name}.gradient{number}"] = torch.cat([parameter.grad.flatten() for parameter in learning])  # type: ignore[union-attr]
            optimizer.step()
        recorded |= {f"{name}.state.{key}": value for key, value in task.state_dict().items()}
    return recorded


def worker(rank: int, folder: str) -> None:
    save_file(trained(slice(3 * rank, 3 * rank + 3)), f"{folder}/{rank}.safetensors")


def test_two_processes_equal_one(tmp_path: Path) -> None:
    start_group(worker, tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for key, expected in trained().items():
        assert torch.equal(first[key], second[key]), key  # every process judges all images
        joined = (first[key] + second[key]) / 2
        # Rounding grows where features hardly differ between images, so it is judged by the largest value of a tensor.
        difference, largest = float((joined - expected).abs().max()), float(expected.abs().max())
        assert difference <= 3e-4 * max(largest, 0.1), key
