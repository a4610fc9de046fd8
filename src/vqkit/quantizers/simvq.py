"""A codebook under one learned linear map (Zhu et al. 2024, "Addressing Representation Collapse in Vector Quantized Models with One
Linear Layer")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.layers.mirrored_buffer import MirroredBuffer
from vqkit.quantizers.dead_codes import reset_dead_codes
from vqkit.quantizers.lookup import LookupOptions, LookupQuantizer
from vqkit.registry import QUANTIZERS


@QUANTIZERS.register("simvq")
class SimVQ(LookupQuantizer):
    """The codes are `basis W^T`: fixed random vectors, float32 [K, D], under one map W, float32 [D, D], that the optimizer trains.

    The codebook loss of the few chosen codes changes W and thereby all codes, so that no code becomes dead. `Quantizer.decode`
    applies W as well, unlike the authors' implementation.

    Where we depart from the paper: on the first training batch W is set so that the codes have the second moments of the features
    (see `_initialise`). With the usual random initialisation of W most codes are far from all features, and it takes thousands of
    steps to rotate them there. The buffer `initialised`, saved with the model, records that the first batch has been seen.
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
        return self._normalized(self.map(self.basis))

    @property
    def is_initialised(self) -> bool:
        """See `LookupQuantizer.is_initialised`."""
        return self._initialised.read()

    @torch.no_grad()
    def _initialise(self, rows: Tensor) -> None:
        """On the first training batch whose features are all finite: W = sqrt(D E[z z^T]), since the basis has E[c c^T] = I / D."""
        if self._initialised.read():
            return
        moments = torch.cat([rows.T @ rows, torch.full_like(rows[:1].T, len(rows))], dim=1)
        distributed.all_reduce(moments)
        second = moments[:, :-1] / moments[:, -1:]
        if not bool(second.isfinite().all()):
            return
        # In float64, and from one process: eigenvectors of nearly equal eigenvalues differ between machines.
        values, vectors = torch.linalg.eigh(self.dim * second.double())
        self.map.weight.copy_((vectors * values.clamp_min(0).sqrt()) @ vectors.T)
        distributed.broadcast(self.map.weight.detach())
        self._initialised.write(True)

    @torch.no_grad()
    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """See `Quantizer.reset_unused_codes`; what is replaced are the fixed vectors of the dead codes."""
        dead, basis = reset_dead_codes(self.basis, counts, generator)
        self.basis.copy_(basis)
        return int(dead.sum())
