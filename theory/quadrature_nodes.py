"""Nodes and weights of the quadrature rules by which steps are checked."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import roots_genlaguerre

__all__ = ["chi_square", "gauss_hermite"]

Array = npt.NDArray[np.float64]

#: Nodes of the chi-square: generalised Gauss–Laguerre.
LAGUERRE = 12


@cache
def gauss_hermite(dimension: int, nodes: int) -> tuple[Array, Array]:
    """Nodes (n^d, d) and weights (n^d, 1) of the standard normal in R^d."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    w = w / w.sum()
    grid = np.stack([g.ravel() for g in np.meshgrid(*[x] * dimension, indexing="ij")], axis=-1)
    weights = np.prod(np.stack([g.ravel() for g in np.meshgrid(*[w] * dimension, indexing="ij")], axis=-1), axis=-1)
    keep = weights > 1e-20
    return grid[keep], weights[keep, None]


def chi_square(degrees: int) -> tuple[Array, Array]:
    """Nodes and weights of χ² with `degrees` degrees of freedom."""
    if degrees == 0:
        return np.zeros(1), np.ones(1)
    half, weight = roots_genlaguerre(LAGUERRE, degrees / 2 - 1)
    return 2 * half, weight / weight.sum()
