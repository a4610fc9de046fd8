"""A codebook that moves as one (Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One Linear
Layer")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.quantizers.lookup import LookupOptions, LookupQuantizer
from vqkit.quantizers.sphere import unit
from vqkit.quantizers.unused import beside_used_codes
from vqkit.registry import QUANTIZERS


@QUANTIZERS.register("simvq", "Codebook of fixed random vectors under a learned linear map, for many codes")
class SimVQ(LookupQuantizer):
    """The codes are `basis W^T`: fixed random vectors, float32 [K, D], under one map W, float32 [D, D], that the optimizer trains.

    A codebook loss that reaches a few chosen codes moves W, and with it all codes, so that none is left behind.
    `Quantizer.decode` applies W as well, which the authors' own code does not.
    """

    Options = LookupOptions
    basis: Tensor

    def __init__(self, options: LookupOptions) -> None:
        super().__init__(options)
        self.register_buffer("basis", torch.randn(self.num_codes, self.dim) * self.dim**-0.5)
        self.map = nn.Linear(self.dim, self.dim, bias=False)

    def codebook(self) -> Tensor:
        """See `LookupQuantizer.codebook`."""
        codes: Tensor = self.map(self.basis)
        return unit(codes, 1) if self.on_sphere else codes

    @torch.no_grad()
    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """See `Quantizer.reset_unused_codes`: fixed vectors move beside those whose codes are used."""
        unused, basis = beside_used_codes(self.basis, counts, generator)
        self.basis.copy_(basis)
        return int(unused.sum())
