"""How probable a pixel is, given what a decoder says about it.

bernoulli: the logit of a pixel being set; for shapes, where a pixel is set or not.
mse, l1, huber: the pixel's value itself, with squared, absolute or Huber distance (a Gaussian or Laplace density of
fixed width up to constants; no bits per dimension can be derived from them).
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from vqkit.interfaces import DataSpec

Likelihood = Literal["bernoulli", "mse", "l1", "huber"]
LikelihoodChoice = Literal["auto", "bernoulli", "mse", "l1", "huber"]


def choose(choice: LikelihoodChoice, spec: DataSpec) -> Likelihood:
    """The likelihood that fits the data's value kind, unless one was chosen."""
    if choice != "auto":
        return choice
    return "bernoulli" if spec.value_kind == "binary" else "mse"


def middle(kind: Likelihood) -> float:
    """The logit whose expected pixel is 1/2."""
    return 0.0 if kind == "bernoulli" else 0.5


def distance(kind: Likelihood, logits: Tensor, target: Tensor) -> Tensor:
    """Mean negative log-likelihood (up to constants) of target pixels [B, C, H, W] in [0, 1]: a float32 scalar."""
    logits = logits.float()
    if kind == "bernoulli":
        return F.binary_cross_entropy_with_logits(logits, target)
    if kind == "l1":
        return F.l1_loss(logits, target)
    if kind == "huber":
        return F.huber_loss(logits, target, delta=0.1)
    return F.mse_loss(logits, target)


def mean(kind: Likelihood, logits: Tensor) -> Tensor:
    """The expected pixel, float32 in [0, 1]."""
    return logits.float().sigmoid() if kind == "bernoulli" else logits.float().clamp(0, 1)
