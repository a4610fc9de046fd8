"""A model whose parts a graph can hold: those that decide by what is in a batch are replaced by equal ones that do not.

Shapes: B images, C components, H x W pixels, D code dimensions, K codes, h x w a grid of codes.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from vqkit.interfaces import Autoencoder, Quantized, Quantizer
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.tabulated_start import TabulatedStart
from vqkit.quantizers.l2_normalize import l2_normalize
from vqkit.quantizers.lookup import LookupQuantizer

Model = TypeVar("Model", bound=nn.Module)


class FixedCodes(Quantizer):
    """The codes of a trained quantizer with a codebook, found with one product and one argmin instead of piece by piece.

    As in `vqkit.quantizers.nearest`, codes and features are shifted by the mean code, and `|e|^2 / 2` is part of the product.
    """

    codes: Tensor
    shift: Tensor
    weights: Tensor
    half_squares: Tensor

    def __init__(self, trained: LookupQuantizer) -> None:
        super().__init__()
        self.num_codes, self.dim, self.commitment_weight = trained.num_codes, trained.dim, trained.commitment_weight
        self.l2_normalized = trained.l2_normalized
        codes = trained.codebook().detach().float()
        shift = codes.mean(dim=0)
        self.register_buffer("codes", codes.clone())
        self.register_buffer("shift", shift)
        self.register_buffer("weights", (shift - codes).T.contiguous())
        self.register_buffer("half_squares", (codes - shift).square().sum(dim=1) / 2)

    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`; without losses."""
        indices = self.encode(features)
        zero = features.new_zeros(())
        return Quantized(self.decode(indices), indices, zero, zero)

    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        features = l2_normalize(features.float(), 1) if self.l2_normalized else features.float()
        distances = (features.permute(0, 2, 3, 1) - self.shift) @ self.weights + self.half_squares
        return distances.argmin(dim=3)

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        return torch.embedding(self.codes, indices).permute(0, 3, 1, 2)


def without_kriging(model: Autoencoder) -> Autoencoder:
    """A copy of a model that fills in holes as its graphs do: see `vqkit.layers.tabulated_start`."""
    copied = copy.deepcopy(model)
    for part in copied.modules():
        if isinstance(part, LinearStart):
            part.kriging = False
    return copied


@torch.no_grad()
def exportable(model: Autoencoder) -> Autoencoder:
    """A copy of a model, on the CPU and for evaluation, that gives the same codes and, up to rounding, the same pictures as it does
    without kriging.

    Raises `DataError` where a part has no such form (see `TabulatedStart`).
    """
    return _replaced(copy.deepcopy(model).cpu().eval()).requires_grad_(False)


def _replaced(module: Model) -> Model:
    for name, part in list(module.named_children()):
        if isinstance(part, LookupQuantizer):
            setattr(module, name, FixedCodes(part))
        elif isinstance(part, LinearStart):
            setattr(module, name, TabulatedStart(part))
        else:
            _replaced(part)
    return module.eval()
