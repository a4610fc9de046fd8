"""SimCLR (Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", section 2.1).

    view 1 ─┐                                        ┌─ z1 ─┐
            ├─ encoder ── mean ── projector ─────────┤      ├─ cosines of all 2 N views ── which is the same image?
    view 2 ─┘             [B,F]             [B,P]    └─ z2 ─┘          [2N,2N]

The loss (NT-Xent) is the cross-entropy of identifying, for each view i, the other view j of its image among the views of all images
of the global batch:

    - log( exp(cos(z_i, z_j) / temperature) / sum_{k != i} exp(cos(z_i, z_k) / temperature) )

Where we depart from the paper: smaller batches, a small projector, and AdamW instead of LARS.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vqkit.interfaces import EncoderPart
from vqkit.interfaces.methods import LossOutput, PretrainingMethod, View
from vqkit.pretraining.method import Projector, ProjectorOptions, gathered_features
from vqkit.registry import METHODS


class SimCLROptions(ProjectorOptions):
    """Settings of SimCLR."""

    temperature: float = Field(
        0.5, gt=0, description="Temperature of the softmax over cosines; lower values put more weight on hard negatives."
    )


@METHODS.register("simclr")
class SimCLR(PretrainingMethod):
    """SimCLR; see the module docstring for the loss."""

    Options = SimCLROptions

    def __init__(self, options: SimCLROptions, encoder: EncoderPart) -> None:
        super().__init__()
        self._temperature = options.temperature
        self.projector = Projector(encoder.channels, options.hidden, options.dim)

    def forward(self, encoder: EncoderPart, first: View, second: View, progress: float) -> LossOutput:
        """See `PretrainingMethod.forward`. Monitors: contrastive_accuracy, the share of views whose
        most similar view is the other view of the same image."""
        del progress
        one, other = (self.projector(rows) for rows in gathered_features(encoder, first, second))
        logits, partners = similarities(one, other, self._temperature)
        accuracy = (logits.argmax(dim=1) == partners).float().mean()
        return LossOutput(F.cross_entropy(logits, partners), {"contrastive_accuracy": accuracy})


def similarities(one: Tensor, other: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits [2N, 2N]: cosines of all pairs of projections float32 [N, P] of both views, divided by the temperature, -inf on the
    diagonal; and the index of the other view of the same image (the positive), int64 [2N].
    """
    rows = F.normalize(torch.cat([one, other]), dim=1)
    with torch.autocast(rows.device.type, enabled=False):
        logits = rows @ rows.T / temperature
    numbers = torch.arange(len(rows), device=rows.device)
    return logits.fill_diagonal_(-torch.inf), (numbers + len(one)) % len(rows)
