"""How much an adversarial loss counts beside the reconstruction loss.

VQGAN (Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis", eq. 7) weighs it so that both pull equally
hard at the last layer of the decoder: the adversarial loss's own scale, which drifts while the discriminator learns, drops out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.core import distributed

_STABILISER = 1e-4
_LARGEST = 1e4


class AdaptiveWeight:
    """The balancing weight of eq. 7, by the gradients of the global batch: it is the same on all processes.

    `last_weight` is the weight of the decoder's last layer. Not a module, so that the weight stays the model's alone.
    """

    def __init__(self, last_weight: nn.Parameter) -> None:
        self._last_weight = last_weight

    def __call__(self, distance: Tensor, adversarial: Tensor) -> Tensor:
        """The weight of the scalar `adversarial` beside the scalar `distance`: float32 [], in [0, 1e4], without a gradient."""
        # Asking for these gradients leaves `grad` of all parameters alone, and wakes no hook of DistributedDataParallel.
        gradients = torch.stack([self._gradient(distance), self._gradient(adversarial)])
        distributed.all_reduce(gradients)
        wanted, given = (gradients / distributed.world_size()).flatten(1).norm(dim=1)
        return (wanted / (given + _STABILISER)).clamp(0, _LARGEST)

    def _gradient(self, loss: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(loss, self._last_weight, retain_graph=True)
        return gradient.float()


def unbalanced(distance: Tensor, adversarial: Tensor) -> Tensor:
    """The weight 1, whatever the losses."""
    del adversarial
    return torch.ones_like(distance)
