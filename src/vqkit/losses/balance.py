"""The weight of an adversarial loss relative to the reconstruction loss.

VQGAN (Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis", eq. 7) chooses it so that the gradients of both
at the last layer of the decoder have equal norms, whatever the scale of the adversarial loss, which drifts during training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.core import distributed

_STABILISER = 1e-4
_LARGEST = 1e4


class AdaptiveWeight:
    """The adaptive weight of eq. 7, from the gradients of the global batch, so that it is the same on all processes.

    `last_weight` is the weight of the decoder's last layer. Not a module, so that `last_weight` is registered in the model only.
    """

    def __init__(self, last_weight: nn.Parameter) -> None:
        self._last_weight = last_weight

    def __call__(self, distance: Tensor, adversarial: Tensor) -> Tensor:
        """The weight of the scalar `adversarial` relative to the scalar `distance`: float32 [] in [0, 1e4], without gradient."""
        # `torch.autograd.grad` accumulates nothing into `grad` and triggers no hooks of DistributedDataParallel.
        gradients = torch.stack([self._gradient(distance), self._gradient(adversarial)])
        distributed.all_reduce(gradients)
        target_norm, norm = (gradients / distributed.world_size()).flatten(1).norm(dim=1)
        return (target_norm / (norm + _STABILISER)).clamp(0, _LARGEST)

    def _gradient(self, loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, self._last_weight, retain_graph=True)
        return gradient.float()


def unbalanced(distance: Tensor, adversarial: Tensor) -> Tensor:
    """The weight 1, whatever the losses."""
    del adversarial
    return torch.ones_like(distance)
