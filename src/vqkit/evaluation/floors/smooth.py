"""Holes filled in by smooth interpolation between what is visible around them, solved exactly.

L is the Laplacian of the pixel grid: the sum of the differences of a pixel to its neighbours; the image ends at its borders. In a
hole, u is such that L u = 0 (harmonic: each pixel is the mean of its neighbours) or L L u = 0 (biharmonic: as smooth as a bent
plate; Damelin and Hoang 2018, "On Surface Completion and Image Inpainting by Biharmonic Functions"; what
`skimage.restoration.inpaint_biharmonic` solves), given the values around it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.evaluation.floors.predictors import Known, Predictor


class Smooth(Predictor):
    """Common to both: `means` [C] of the training images, taken where nothing of a component is visible; H x W pixels.

    Everything that is not observed is solved for, what is absent included. Values are kept within what is visible of the component.
    """

    order: int
    """How often the Laplacian is applied."""

    def __init__(self, means: Tensor, height: int, width: int) -> None:
        self._means = means
        laplacian = _laplacian(height, width)
        self._operator = laplacian if self.order == 1 else (laplacian @ laplacian).tocsr()

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        observed = known.observed.flatten(2).cpu().numpy()
        expected = known.images.flatten(2).double().cpu().numpy().copy()
        means = self._means.double().cpu().numpy()
        for values, visible in zip(expected, observed, strict=True):
            alike: dict[bytes, list[int]] = {}  # components with the same hole are solved for together
            for row, mask in enumerate(visible):
                alike.setdefault(mask.tobytes(), []).append(row)
            for rows in alike.values():
                mask = visible[rows[0]]
                if not mask.any():
                    values[rows] = means[rows, None]
                elif not mask.all():
                    values[rows] = self._filled(values[rows], mask)
        return torch.from_numpy(expected).to(known.images).view(known.images.shape)

    def _filled(self, values: NDArray[np.float64], visible: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Values [n, H * W] with all that is not visible (bool [H * W]) solved for."""
        from scipy.sparse.linalg import splu

        hole = np.flatnonzero(~visible)
        rows = self._operator[hole]
        given = np.where(visible, values, 0)
        # The matrix is symmetric and positive definite, for which this ordering keeps the factors sparse.
        matrix = rows[:, hole].tocsc()
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        found = factors.solve(-(rows @ given.T)).T
        ends = values[:, visible]
        given[:, hole] = np.clip(found, ends.min(1, keepdims=True), ends.max(1, keepdims=True))
        return given


class Harmonic(Smooth):
    """Each pixel of a hole is the mean of its neighbours."""

    name = "harmonic"
    order = 1


class Biharmonic(Smooth):
    """The smoothest surface through what is around a hole, slopes included."""

    name = "biharmonic"
    order = 2


def _laplacian(height: int, width: int) -> Any:
    """The Laplacian of a grid, a sparse matrix [H * W, H * W] in which every row sums to 0."""
    from scipy import sparse

    def line(length: int) -> Any:
        diagonal = np.full(length, 2.0)
        diagonal[0] -= 1
        diagonal[-1] -= 1
        return sparse.diags([diagonal, -np.ones(length - 1), -np.ones(length - 1)], [0, 1, -1])

    return sparse.csr_matrix(sparse.kronsum(line(width), line(height)))
