"""The linear guess of `vqkit.layers.linear_start` without decisions that depend on what is in a batch, so that a graph can hold it.

- The guesses from all 2^C sets of kept components are in a table, instead of being solved for when a set is first met.
- Holes are interpolated in whole images instead of windows around them, and every component is treated as if it had one.
- No system of equations is solved, for which ONNX has no operation: holes in which nothing is known are continued smoothly.

Results are equal, up to rounding, to those of a `LinearStart` without kriging.

Shapes: B images, C components, H x W pixels, N pixels of a neighbourhood; unit values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import DataError
from vqkit.layers.harmonic import fill_whole
from vqkit.layers.linear_guess import PatchStatistics, linear_guess
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.spatial_covariance import SpatialCovariance

MOST_COMPONENTS = 13
"""The table of 13 components has 138 MB; each one more doubles their number and the size of each."""


class TabulatedStart(LinearStart):
    """The guess of a trained `LinearStart`, without kriging.

    `rows` float32 [2^C * C, C * N]: in row `s * C + c` the weights of the guess of component c from the set s of kept components,
    whose bit k says whether component k is kept; `constants` float32 [2^C * C]: what is added to it.

    Raises `DataError` for more than `MOST_COMPONENTS` components.
    """

    rows: Tensor
    constants: Tensor
    bits: Tensor
    others: Tensor

    def __init__(self, start: LinearStart) -> None:
        super().__init__(torch.stack([start.lowest.flatten(), start.highest.flatten()], dim=1))
        if self.components > MOST_COMPONENTS:
            raise DataError(
                f"The guess of {self.components} components from every set of others is a table of more than 300 MB.",
                f"A model of intensities with up to {MOST_COMPONENTS} components can be exported, or one with model.context=false.",
            )
        self.steps, self.kriging = start.steps, False
        self.set_statistics(start.statistics, SpatialCovariance(start.covariance_amplitudes))
        on_cpu = PatchStatistics(*(each.cpu() for each in start.statistics))
        rows, constants = [], []
        for number in range(2**self.components):
            kept = torch.tensor([bool(number >> component & 1) for component in range(self.components)])
            how = linear_guess(on_cpu, kept)
            rows.append(how.weights.flatten(1))
            constants.append(how.constants)
        self.register_buffer("rows", torch.cat(rows))
        self.register_buffer("constants", torch.cat(constants))
        self.register_buffer("bits", 2 ** torch.arange(self.components))
        self.register_buffer("others", ~torch.eye(self.components, dtype=torch.bool))

    def forward(self, images: Tensor, observed: Tensor) -> Tensor:
        """See `LinearStart.forward`."""
        given = images.float()
        some = observed.flatten(2).any(dim=2)
        partly = some & ~observed.flatten(2).all(dim=2)
        values = fill_whole(given, observed, self.steps)
        result = self._guess(values, (some * self.bits).sum(dim=1, keepdim=True).expand(-1, self.components))
        missing = (~observed).flatten(2).float()
        covering = (missing @ missing.transpose(1, 2) == 0) & self.others  # [B, C, C]: which are observed in the hole of which
        expected = self._guess(values, (covering * self.bits).sum(dim=2))
        error = fill_whole(values - expected, observed, self.steps)
        corrected = (partly & covering.any(dim=2))[:, :, None, None]
        result = torch.where(corrected, expected + error, result)
        return torch.where(observed, given, result.clamp(self.lowest, self.highest))

    def _guess(self, values: Tensor, sets: Tensor) -> Tensor:
        """The guess [B, C, H, W] of each component from a set of kept ones of its own, numbers int64 [B, C]."""
        height, width = values.shape[2:]
        chosen = sets * self.components + torch.arange(self.components, device=sets.device)
        side = round((self.rows.shape[1] // self.components) ** 0.5)
        padded = F.pad(values, (side // 2,) * 4, mode="replicate")
        shifted = [padded[:, :, row : row + height, column : column + width] for row in range(side) for column in range(side)]
        patches = torch.stack(shifted, dim=2).flatten(3).flatten(1, 2)
        answers = self.rows[chosen] @ patches + self.constants[chosen][:, :, None]
        return answers.view(*answers.shape[:2], height, width)
