"""BYOL (Grill et al. 2020, "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", section 3.1).

    view 1 ── encoder ── mean ── projector ── predictor ── p1 ─┐
                 │                   │                         ├─ 2 - 2 cos(p1, z2), and with the views exchanged
    view 2 ── target encoder ─ mean ─ target projector ──── z2 ─┘

The target networks are exponential moving averages (EMA) of the online networks. No gradient reaches them, and they are not part of
the saved encoder. Their momentum increases from its initial value to 1 on a cosine schedule (equation in section 3.2 of the paper).
The EMA is updated at the beginning of the next step, after the optimizer has updated the online networks. Where we depart from the
paper: small projectors, and AdamW instead of LARS.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqkit.interfaces import EncoderPart
from vqkit.interfaces.methods import LossOutput, PretrainingMethod, View
from vqkit.pretraining.method import Projector, ProjectorOptions, gathered_features
from vqkit.registry import METHODS


class BYOLOptions(ProjectorOptions):
    """Settings of BYOL."""

    momentum: float = Field(
        0.996, ge=0, le=1, description="Initial momentum of the target networks' EMA; it increases to 1 over the run."
    )


@METHODS.register("byol")
class BYOL(PretrainingMethod):
    """BYOL; see the module docstring for the loss."""

    Options = BYOLOptions

    def __init__(self, options: BYOLOptions, encoder: EncoderPart) -> None:
        super().__init__()
        self._momentum = options.momentum
        self.projector = Projector(encoder.channels, options.hidden, options.dim)
        self.predictor = Projector(options.dim, options.hidden, options.dim)
        self.target_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def forward(self, encoder: EncoderPart, first: View, second: View, progress: float) -> LossOutput:
        """See `PretrainingMethod.forward`. Monitors: momentum."""
        momentum = momentum_at(self._momentum, progress)
        self._update_target(encoder, momentum)
        predictions = [self.predictor(self.projector(rows)) for rows in gathered_features(encoder, first, second)]
        with torch.no_grad():
            targets = [self.target_projector(rows) for rows in gathered_features(self.target_encoder, second, first)]
        loss = torch.stack([distances(*pair).mean() for pair in zip(predictions, targets, strict=True)]).sum()
        return LossOutput(loss, {"momentum": loss.new_tensor(momentum)})

    @torch.no_grad()
    def _update_target(self, encoder: EncoderPart, momentum: float) -> None:
        """Update the EMA of the online networks."""
        pairs: list[tuple[nn.Module, nn.Module]] = [(self.target_encoder, encoder), (self.target_projector, self.projector)]
        for target, online in pairs:
            torch._foreach_lerp_(list(target.parameters()), [each.detach() for each in online.parameters()], 1 - momentum)


def momentum_at(first: float, progress: float) -> float:
    """Momentum at a step: 1 - (1 - first) (cos(pi progress) + 1) / 2, where `progress` is the completed share of the run."""
    return 1 - (1 - first) * (math.cos(math.pi * progress) + 1) / 2


def distances(predictions: Tensor, targets: Tensor) -> Tensor:
    """2 - 2 cos of each row of [B, P] and its target, float32 [B]: the squared distance of the l2-normalised vectors."""
    return 2 - 2 * F.cosine_similarity(predictions, targets, dim=1)
