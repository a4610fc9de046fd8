"""AdamW, its learning rate schedule, guarded optimizer steps, and the exponential moving average (EMA) of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.config import TrainingConfig
from vqkit.interfaces import OptimizerGroup


def learning_rate(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Learning rate of a step (0-based): linear warm-up to the peak, then half a cosine down to `final_lr_scale` of it."""
    warmup = min(config.warmup_steps, total_steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, total_steps - warmup)
    low = config.final_lr_scale
    return config.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))


def build_optimizer(optimizer_groups: Sequence[OptimizerGroup], config: TrainingConfig) -> torch.optim.AdamW:
    """Fused AdamW; weights with two or more dimensions decay, biases and scales do not.

    One for all networks: its steps are those of an optimizer for each of them, because it treats every parameter by itself.
    """
    groups: list[dict[str, Any]] = []
    for group in optimizer_groups:
        trainable = group.parameters()
        groups += [
            {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay, "lr_scale": group.lr_scale},
            {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0, "lr_scale": group.lr_scale},
        ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)
    set_learning_rate(optimizer, config.learning_rate)
    return optimizer


def set_learning_rate(optimizer: torch.optim.AdamW, rate: float) -> None:
    """Set the learning rate of each network: `rate` times its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's moments and step counts as named tensors: `<parameter number>.<name>`."""
    states = optimizer.state_dict()["state"].items()
    return {f"{index}.{name}": value for index, state in states for name, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        index, key = name.split(".")
        parameter = parameters[int(index)]
        # The fused kernel needs moments in the memory format of their parameter, which may be channels-last.
        like = torch.empty_like(parameter) if value.shape == parameter.shape else torch.empty_like(value)
        optimizer.state[parameter][key] = like.detach().copy_(value)


class GuardedOptimizerStep:
    """Clip the gradient of each network and step, or do nothing when a gradient is not finite.

    The decision is made on the device (the fused optimizer skips the step when `found_inf` is 1), without synchronisation.
    `skipped` counts the skipped steps, `skipped_in_row` those since the last step that was taken: int64 [].
    """

    def __init__(
        self, optimizer: torch.optim.AdamW, optimizer_groups: Sequence[OptimizerGroup], clip_norm: float, device: torch.device
    ) -> None:
        self._optimizer = optimizer
        self._networks = [group.parameters() for group in optimizer_groups]
        self._clip_norm = clip_norm
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped_in_row = torch.zeros((), dtype=torch.int64, device=device)

    def __call__(self) -> Tensor:
        """Take the step; returns the norm of the first network's gradient before clipping, float32 []."""
        norms = torch.stack([nn.utils.clip_grad_norm_(parameters, self._clip_norm) for parameters in self._networks])
        not_finite = ~norms.isfinite().all()
        self._optimizer.found_inf = not_finite.to(torch.float32)  # type: ignore[attr-defined]
        self._optimizer.grad_scale = None  # type: ignore[attr-defined]
        self._optimizer.step()
        self.skipped += not_finite
        self.skipped_in_row += 1
        self.skipped_in_row *= not_finite
        return norms[0]


class ModelEMA:
    """An exponential moving average of the trainable weights, used for validation and inference.

    `average` holds it by parameter name; it is empty when `decay` is 0, and then every method does nothing.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad} if decay else {}
        self.average = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after a step. The decay is smaller at first, so that the initial weights are soon forgotten."""
        if self.average:
            decay = min(self._decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.average.values()), [self._weights[name].detach() for name in self.average], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights with their average; a second call undoes it."""
        for name, average in self.average.items():
            weight = self._weights[name]
            kept = weight.detach().clone()
            weight.copy_(average)
            average.copy_(kept)

    @torch.no_grad()
    def load(self, average: Mapping[str, Tensor]) -> None:
        """Restore `average`."""
        for name, value in average.items():
            self.average[name].copy_(value)
