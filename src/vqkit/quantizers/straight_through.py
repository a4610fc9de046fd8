"""The gradient of a step that has none: the straight-through estimator and the two losses of a codebook, in closed form.

van den Oord et al. 2017, "Neural Discrete Representation Learning", section 3.2. Both losses are means over all N x D
numbers, so that their weights mean the same for every code dimension and image size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _StraightThrough(torch.autograd.Function):
    """See `straight_through`. One pass each way; what is kept in between is `z - e` of each row, and the indices."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, codes: Tensor, rows: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.embedding(codes, indices)
        difference = rows - chosen
        flat = difference.view(-1)
        loss = torch.dot(flat, flat) / flat.numel()
        ctx.save_for_backward(difference, indices)
        ctx.features = features.shape, features.dtype
        ctx.num_codes = len(codes)
        ctx.set_materialize_grads(False)
        return to_grid(chosen, features.shape), loss, loss.clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, from_features: Tensor | None, from_codebook: Tensor | None, from_commitment: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        difference, indices = ctx.saved_tensors
        shape, dtype = ctx.features
        to_features = from_features
        if ctx.needs_input_grad[0] and from_commitment is not None:
            pull = to_grid(difference, shape)
            scale = from_commitment * (2 / difference.numel())
            to_features = pull * scale if from_features is None else torch.addcmul(from_features, pull, scale)
        to_codes = None
        if ctx.needs_input_grad[1] and from_codebook is not None:
            to_codes = sum_by_code(difference, indices, ctx.num_codes).mul_(from_codebook * (-2 / difference.numel()))
        return None if to_features is None else to_features.to(dtype), to_codes, None, None


_apply: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]] = _StraightThrough.apply


def straight_through(features: Tensor, codes: Tensor, rows: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Replace features by their codes, with a gradient.

    `features` [B, D, h, w] of any float type; `codes` float32 [K, D]; `rows` float32 [B*h*w, D], the same features without a
    gradient; `indices` int64 [B*h*w], the code of each row. Returns

    - the codes float32 [B, D, h, w], exactly; their gradient goes to `features` unchanged and never to `codes`,
    - the codebook loss `mean (sg(z) - e)^2`, whose gradient goes only to `codes`,
    - the commitment loss `mean (z - sg(e))^2`, whose gradient goes only to `features`.
    """
    return _apply(features, codes, rows, indices)


def pass_through(features: Tensor, values: Tensor) -> Tensor:
    """The values float32 [...], exactly, whose gradient goes unchanged to the features [...] of any float type.

    What is left of `straight_through` where there is no codebook, or where its losses are made elsewhere. A feature that is not
    finite makes its value NaN, so that it shows in the loss.
    """
    features = features.float()
    return values.detach() + (features - features.detach())


def to_rows(features: Tensor) -> Tensor:
    """Features [B, D, h, w] of any float type as contiguous float32 rows [B*h*w, D] without gradient; a view where possible."""
    return features.detach().permute(0, 2, 3, 1).reshape(-1, features.shape[1]).contiguous().float()


def to_grid(rows: Tensor, shape: torch.Size) -> Tensor:
    """Rows [B*h*w, D] as features of the given shape [B, D, h, w], channels-last; always a view."""
    batch, dim, height, width = shape
    return rows.view(batch, height, width, dim).permute(0, 3, 1, 2)


def sum_by_code(rows: Tensor, indices: Tensor, num_codes: int) -> Tensor:
    """Sum of the rows [N, D] of each code: float32 [K, D]. Deterministic, on GPUs as well, and in the order of the rows."""
    return torch.ops.aten.embedding_dense_backward(rows, indices, num_codes, -1, False)


def count_by_code(indices: Tensor, num_codes: int) -> Tensor:
    """How many of the indices int64 [N] name each code: float32 [K], without waiting for a GPU as `bincount` would."""
    ones = torch.ones((), device=indices.device).expand(len(indices))
    return torch.zeros(num_codes, device=indices.device).scatter_add_(0, indices, ones)
