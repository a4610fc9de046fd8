"""A training step in several passes over a batch, to save memory: its gradient and its codes are those of the whole batch.

Each process does its share of the batch one part after the other. Random draws belong to the batch and are cut, so each image has
the mask and the noise that it has in one pass. Only dropout differs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from vqkit.core import distributed
from vqkit.errors import ConfigError
from vqkit.interfaces import Batch
from vqkit.interfaces.tasks import StepOutput, Task, TrainingState
from vqkit.quantizers.passes import check_passes, initialise_codes, updates_at_the_end
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.pretraining import SelfSupervisedTask


def check_task(task: Task, passes: int, batch_size: int) -> None:
    """Raise `ConfigError` for a task whose loss is not a mean over the images of a batch, or a batch that has no such parts."""
    if passes == 1:
        return
    parts = passes * distributed.world_size()
    if batch_size % parts:
        raise ConfigError(
            f"The batch size {batch_size} cannot be done in {parts} equal parts (training.accumulate = {passes}).",
            f"Use a multiple of {parts}, such as --batch-size {-(-batch_size // parts) * parts}.",
        )
    why = None
    if isinstance(task, SelfSupervisedTask):
        why = "Pretraining compares all images of a batch"
    elif isinstance(task, AutoencoderTask) and task.model.compares_images:
        why = "This model compares all images of a batch"
    elif isinstance(task, AutoencoderTask) and (task.model.adversaries or len(task.picture_losses)):
        why = "Adversarial and perceptual losses are balanced over a batch"
    if why is not None:
        raise ConfigError(f"{why}, and training.accumulate does one part after the other.", "Leave training.accumulate at 1.")
    check_passes(task)


def backward_in_passes(
    task: Task,
    forward: Callable[[Batch, TrainingState], StepOutput],
    batch: Batch,
    state: TrainingState,
    passes: int,
    precision: Callable[[], AbstractContextManager[Any]],
) -> StepOutput:
    """Add the gradient of the whole batch, part after part; `forward` is the task, as it is wrapped for several processes.

    `precision` gives the context of a forward pass. Returns the means of scalars and the sums of counts. Raises `ConfigError` for
    images with gaps: the mean over their pixels is not the mean of those of the parts.
    """
    if batch.present is not None:
        raise ConfigError(
            "These images have pixels without data, and training.accumulate needs images without gaps.",
            "Leave training.accumulate at 1.",
        )
    parts = [_part(batch, number, passes) for number in range(passes)]

    def look(number: int) -> None:
        with distributed.one_pass(number, passes), precision(), torch.no_grad():
            task(parts[number], state)

    initialise_codes(task, [partial(look, number) for number in range(passes)])
    outputs = []
    with updates_at_the_end(task):
        for number, part in enumerate(parts):
            with distributed.one_pass(number, passes), _synchronised(forward, last=number == passes - 1):
                with precision():
                    output = forward(part, state)
                torch.autograd.backward(output.loss / passes)
            outputs.append(output._replace(loss=output.loss.detach()))
    scalars = {name: torch.stack([each.scalars[name] for each in outputs]).mean(0) for name in outputs[0].scalars}
    counts = {name: torch.stack([each.counts[name] for each in outputs]).sum(0) for name in outputs[0].counts}
    return StepOutput(torch.stack([each.loss for each in outputs]).mean(), scalars, counts)


def _part(batch: Batch, number: int, passes: int) -> Batch:
    return batch.map(lambda tensor: tensor.chunk(passes)[number])


def _synchronised(forward: object, last: bool) -> AbstractContextManager[None]:
    """Sum gradients over the processes in the last pass only."""
    return nullcontext() if last or not isinstance(forward, DistributedDataParallel) else forward.no_sync()
