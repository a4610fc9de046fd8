"""A codebook that moves as one (Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One Linear
Layer")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.layers.mirrored_buffer import MirroredBuffer
from vqkit.quantizers.lookup import LookupOptions, LookupQuantizer
from vqkit.quantizers.sphere import unit
from vqkit.quantizers.unused import beside_used_codes
from vqkit.registry import QUANTIZERS


@QUANTIZERS.register("simvq")
class SimVQ(LookupQuantizer):
    """The codes are `basis W^T`: fixed random vectors, float32 [K, D], under one map W, float32 [D, D], that the optimizer trains.

    A codebook loss that reaches a few chosen codes moves W, and with it all codes, so that none is left behind.
    `Quantizer.decode` applies W as well, which the authors' own code does not.

    Where we depart from the paper: on the first training batch W is set so that the codes have the second moments of the features
    (`_start`). From the usual random W most codes lie where no feature ever comes, and it takes thousands of steps to turn them
    there. `initialised`, saved with the model, says whether that has happened.
    """

    Options = LookupOptions
    basis: Tensor
    initialised: Tensor

    def __init__(self, options: LookupOptions) -> None:
        super().__init__(options)
        self.register_buffer("basis", torch.randn(self.num_codes, self.dim) * self.dim**-0.5)
        self._initialised = MirroredBuffer(self, "initialised", False)
        self.map = nn.Linear(self.dim, self.dim, bias=False)

    def codebook(self) -> Tensor:
        """See `LookupQuantizer.codebook`."""
        codes: Tensor = self.map(self.basis)
        return unit(codes, 1) if self.on_sphere else codes

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        """On the first training batch whose features are all finite: W = sqrt(D E[z z^T]), as the basis has E[c c^T] = I / D."""
        if self._initialised.read():
            return
        moments = torch.cat([rows.T @ rows, torch.full_like(rows[:1].T, len(rows))], dim=1)
        distributed.all_reduce(moments)
        second = moments[:, :-1] / moments[:, -1:]
        if not bool(second.isfinite().all()):
            return
        # In double precision and on one process: the eigenvectors of nearly equal values are not the same everywhere.
        values, vectors = torch.linalg.eigh(self.dim * second.double())
        self.map.weight.copy_((vectors * values.clamp_min(0).sqrt()) @ vectors.T)
        distributed.broadcast(self.map.weight.detach())
        self._initialised.write(True)

    @torch.no_grad()
    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """See `Quantizer.reset_unused_codes`: fixed vectors move beside those whose codes are used."""
        unused, basis = beside_used_codes(self.basis, counts, generator)
        self.basis.copy_(basis)
        return int(unused.sum())
