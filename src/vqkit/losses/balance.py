"""The weight of an adversarial loss relative to the reconstruction loss.

VQGAN (Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis", eq. 7) chooses it so that the gradients of both
at the last layer of the decoder have equal norms, whatever the scale of the adversarial loss, which drifts during training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vqkit.core import distributed

_STABILISER = 1e-4
_LARGEST = 1e4


class AdaptiveWeight:
    """The adaptive weight of eq. 7, from the gradients of the global batch, so that it is the same on all processes.

    `last_weights` are those of the decoder's last layers. Not a module, so that they are registered in the model only.
    """

    def __init__(self, last_weights: Sequence[nn.Parameter]) -> None:
        self._last_weights = tuple(last_weights)

    def __call__(self, distance: Tensor, adversarial: Tensor) -> Tensor:
        """The weight of the scalar `adversarial` relative to the scalar `distance`: float32 [] in [0, 1e4], without gradient."""
        # `torch.autograd.grad` accumulates nothing into `grad` and triggers no hooks of DistributedDataParallel.
        gradients = torch.stack([self._gradient(distance), self._gradient(adversarial)])
        distributed.all_reduce(gradients)
        target_norm, norm = (gradients / distributed.world_size()).norm(dim=1)
        return (target_norm / (norm + _STABILISER)).clamp(0, _LARGEST)

    def _gradient(self, loss: Tensor) -> Tensor:
        """The gradient of a loss at all last layers together, float32 [N]; 0 at one that the batch did not use."""
        gradients = torch.autograd.grad(loss, self._last_weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([each.float().flatten() for each in gradients])


def unbalanced(distance: Tensor, adversarial: Tensor) -> Tensor:
    """The weight 1, whatever the losses."""
    del adversarial
    return torch.ones_like(distance)
