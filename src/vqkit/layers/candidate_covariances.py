"""Covariances that differ in direction and smoothness, and how well each of them explains what is around a hole.

Along an edge pixels are alike over larger distances than across it, and some images are smoother than others. One covariance for
all images (`vqkit.layers.spatial_covariance`) is an average over that. Here there are J candidates, stretched by a factor s in one
of several directions, with kernels that are as rough as the average or smoother:

    R_j(d) = constant + sum over scales l of a_l k_j(|S_j d| / l)
    k_j(q) = exp(-q)    or    (1 + q') exp(-q') with q' = sqrt(3) q / 0.35

with d the offset of two pixels and S_j a rotation after which lengths are divided by sqrt(s) along one axis and multiplied by it
along the other. A hole is filled in with the average of their predictions. At a pixel p of the hole a candidate weighs

    w_j(p) ~ prior_j exp(0.3 log p_j(x) + 0.18 n sum_i v_i(p) log p_j(x_i | x without x_i))
    v_i(p) ~ exp(-|p - i| / 2)

with x the n pixels around the hole, i among them, and logarithms averaged over the components. So candidates that predict pixels
near p from the others weigh more at p. The amplitude of a candidate is the likeliest one for x. Gaussian fields are a rough model
of images, hence the powers below 1; these, the kernels and the stretch were chosen on boxes in photographs.

Averaging over models: Hoeting et al. 1999, "Bayesian Model Averaging: A Tutorial". Kernels: Rasmussen and Williams 2006, "Gaussian
Processes for Machine Learning", section 4.2.1; densities of pixels given all others: there, section 5.4.2. The weights that change
from pixel to pixel are ours.

Shapes: C components, of which c are filled in together, n pixels around a hole, m in it, J candidates; unit values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.layers.spatial_covariance import RIDGE, SCALES, SHARED, SpatialCovariance

_STRETCHES, _DIRECTIONS = (1.0, 2.0), 6
_SMOOTHER = 0.35
"""Scale of the smoother kernel in that of the exponential one."""
_POWER, _LOCAL_POWER, _NEAR = 0.3, 0.18, 2.0
"""Of the likelihood of all pixels, of that of single ones, and the distance in pixels over which these matter."""
_ALIKE = 0.1
"""Components are filled in together where their correlations differ by less."""
_LEAST_AMPLITUDE = 1e-6
"""Of a candidate, as a share of the variance, where everything around a hole is the same."""


class CandidateCovariances:
    """The candidates for every component of a covariance.

    `covariance`: a copy of it. `groups`: components whose correlations are alike, and which share candidates and weights.
    """

    def __init__(self, covariance: SpatialCovariance) -> None:
        self.covariance = SpatialCovariance(covariance.amplitudes.clone())
        shares = covariance.amplitudes / covariance.variance[:, None]
        self.groups = _groups(SpatialCovariance(shares))
        self._deviation = covariance.variance.sqrt()
        self._shares = [shares[group].mean(dim=0) for group in self.groups]
        self._tables: dict[tuple[int, int], Tensor] = {}

    def shared_by(self, components: list[int]) -> list[list[int]]:
        """Those of some components that share candidates and weights, together."""
        parts = [[each for each in group if each in components] for group in self.groups]
        return [part for part in parts if part]

    def expected(self, components: list[int], centred: Tensor, around: Tensor, hole: Tensor) -> Tensor:
        """Values float64 [c, m] at the places `hole` int64 [m, 2], less their mean, of components that share candidates.

        `centred` float64 [c, n]: those at the places `around` int64 [n, 2].
        """
        group = next(number for number, members in enumerate(self.groups) if components[0] in members)
        places = torch.cat([around, hole])
        reach = int((places.amax(dim=0) - places.amin(dim=0)).max()) + 1
        size = 1 << (reach - 1).bit_length()
        table = self._table(group, size)
        among = table[:, _offsets(around, around, size)]
        among.diagonal(dim1=1, dim2=2).add_(float(self._shares[group][0]) + RIDGE)
        factor = torch.linalg.cholesky(among)
        inverse = torch.cholesky_inverse(factor)
        deviation = self._deviation[components][:, None]
        weighted = inverse @ (centred / deviation).T
        predictions = table[:, _offsets(hole, around, size)] @ weighted
        scores = _scores(factor, inverse, weighted, centred / deviation, torch.cdist(hole.double(), around.double()))
        weights = (scores + _log_priors(scores)[:, None]).softmax(dim=0)
        return torch.einsum("jm,jmc->cm", weights, predictions) * deviation

    def _table(self, group: int, size: int) -> Tensor:
        """Correlations [J, (2 size - 1)^2] by offset; remembered."""
        if (group, size) not in self._tables:
            self._tables[group, size] = _candidates(self._shares[group], size)
        return self._tables[group, size]


def _scores(factor: Tensor, inverse: Tensor, weighted: Tensor, values: Tensor, distances: Tensor) -> Tensor:
    """The logarithms of weights, less those of the prior, [J, m].

    `factor`, `inverse` [J, n, n]: of correlations; `values` [c, n]; `weighted` [J, n, c]: inverse @ values; `distances` [m, n].
    """
    count = values.shape[1]
    amplitude = (weighted * values.T).sum(dim=1) / count + _LEAST_AMPLITUDE
    determinant = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    whole = -0.5 * (count * amplitude.log() + determinant[:, None]).mean(dim=1)
    precision = inverse.diagonal(dim1=1, dim2=2)[..., None] / amplitude[:, None]
    surprise = (weighted / amplitude[:, None]).square() / precision
    single = 0.5 * (precision.log() - surprise).mean(dim=2)
    near = (-distances / _NEAR).softmax(dim=1)
    return _POWER * whole[:, None] + _LOCAL_POWER * count * (single @ near.T)


def _log_priors(candidates: Tensor) -> Tensor:
    """Of J candidates as `_candidates` lists them: each stretch of each kernel is as likely, and so are its directions."""
    row = [-math.log(1 if stretch == 1 else _DIRECTIONS) for stretch, _ in _shapes()]
    return torch.tensor(2 * row, dtype=candidates.dtype, device=candidates.device)


def _shapes() -> list[tuple[float, float]]:
    """Stretches and their directions, in radians."""
    steps = [math.pi * step / _DIRECTIONS for step in range(_DIRECTIONS)]
    return [(stretch, angle) for stretch in _STRETCHES for angle in (steps if stretch != 1 else steps[:1])]


def _candidates(shares: Tensor, size: int) -> Tensor:
    """Correlations [J, (2 size - 1)^2] by offsets below `size`; `shares` [L + 2] of the nugget, the scales and the constant."""
    steps = torch.arange(1 - size, size, dtype=torch.float64, device=shares.device)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    scales = torch.tensor(SCALES, dtype=torch.float64, device=shares.device)
    rough, smooth = [], []
    for stretch, angle in _shapes():
        along = columns * math.cos(angle) + rows * math.sin(angle)
        across = rows * math.cos(angle) - columns * math.sin(angle)
        distances = torch.hypot(along / math.sqrt(stretch), across * math.sqrt(stretch)).flatten()[:, None] / scales
        rough.append((-distances).exp() @ shares[1:-1])
        scaled = distances * (math.sqrt(3) / _SMOOTHER)
        smooth.append(((1 + scaled) * (-scaled).exp()) @ shares[1:-1])
    return torch.stack(rough + smooth) + shares[-1] + SHARED


def _groups(correlation: SpatialCovariance) -> list[list[int]]:
    """Components whose correlations at all distances are near those of the first of them."""
    curves = correlation.between(torch.tensor([1.0, 2, 4, 8, 16, 32], dtype=torch.float64, device=correlation.amplitudes.device))
    groups: list[list[int]] = []
    for component in range(len(curves)):
        for group in groups:
            if float((curves[component] - curves[group[0]]).abs().max()) < _ALIKE:
                group.append(component)
                break
        else:
            groups.append([component])
    return groups


def _offsets(one: Tensor, other: Tensor, size: int) -> Tensor:
    """Indices [p, q] into a table by offset, of places int64 [p, 2] and [q, 2]."""
    rows, columns = (one[:, None] - other[None] + size - 1).unbind(dim=2)
    return rows * (2 * size - 1) + columns
