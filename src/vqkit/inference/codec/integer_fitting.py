"""What residuals of whole numbers are expected to be: fitted to the images of a batch, and stored with it.

    x of a pixel  ~  mixture of normal distributions about  e, of widths in proportion to  s
    e = guess + bias + weights . (neighbours W, N, NW, NE, WW and NN of x, the median of W, N and W + N - NW, neighbours of the
        guess, other components; each less the guess), with other weights in each class of s
    s = base + weights . (|x - e| of neighbours and other components, steps between neighbours and of the guess)

`e` is fitted by least squares, which `s` weights from the second round on; `s` by non-negative least squares, so that it is the
mean of |x - e|; the weights of the mixture by expectation maximisation. Values are rounded as they are stored before anything is
coded.

Shapes: N values, F features, M kernels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtr

from vqkit.inference.codec.integer_tables import KERNELS, LEAST_SCALE

Reals = NDArray[np.float64]

_RIDGE = 1e-4
_ROUNDS = 4
_EM_ROUNDS = 40
_SHARE_STEPS = 255


class Scales(NamedTuple):
    """How the scale of a value follows from features: `base`, and non-negative `weights` [F]."""

    base: float
    weights: Reals


def as_stored(values: Reals | float) -> Reals:
    """Numbers as float16 holds them, those that it does not hold cut to its range."""
    most = float(np.finfo(np.float16).max)
    return np.clip(values, -most, most).astype(np.float16).astype(np.float64)


def fit_means(features: Reals, wanted: Reals, precision: Reals) -> Reals:
    """Weights [F] by which features [N, F] give what is wanted [N], each row as important as its precision [N]."""
    weighted = features * precision[:, None]
    products = weighted.T @ features
    products[np.diag_indices_from(products)] += _RIDGE * (np.diag(products) + 1e-9)
    return as_stored(np.linalg.solve(products, weighted.T @ wanted))


def fit_scales(features: Reals, errors: Reals) -> Scales:
    """Scales that are the mean of the absolute errors [N], given features [N, F], by reweighted non-negative least squares."""
    inputs = np.concatenate([np.ones((len(errors), 1)), features], axis=1)
    scales = np.full(len(errors), max(float(errors.mean()), LEAST_SCALE))
    found = np.zeros(inputs.shape[1])
    for _ in range(_ROUNDS):
        weights = 1 / scales
        products = (inputs * weights[:, None]).T @ (inputs * weights[:, None])
        products[np.diag_indices_from(products)] += 1e-9 * (1 + np.trace(products))
        # The normal equations are small: their root stands for all rows.
        root = np.linalg.cholesky(products)
        found = nnls(root.T, np.linalg.solve(root, inputs.T @ (errors * weights**2)))[0]
        scales = np.maximum(inputs @ found, LEAST_SCALE)
    stored = as_stored(found)
    return Scales(float(stored[0]), stored[1:])


def fit_shares(errors: Reals, scales: Reals) -> NDArray[np.uint8]:
    """Shares [M] of the kernels, in units of 1 / 255, with which whole numbers are most probable: `errors` [N], of `scales` [N]."""
    widths = scales[:, None] * KERNELS
    likely = ndtr((errors[:, None] + 0.5) / widths) - ndtr((errors[:, None] - 0.5) / widths) + 1e-12
    shares = np.full(len(KERNELS), 1 / len(KERNELS))
    for _ in range(_EM_ROUNDS):
        joint = likely * shares
        shares = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
    return np.maximum(np.rint(shares * _SHARE_STEPS), 1).astype(np.uint8)


def shares_of(stored: NDArray[np.uint8]) -> Reals:
    """Shares [M] as numbers that sum to 1."""
    return stored / stored.sum(dtype=np.float64)
