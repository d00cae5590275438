"""Logits that are affine in a few Gaussian numbers, on a box; their averages on a lattice. See fixed_covariance.py."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.machine.ranks import AVERAGES

__all__ = ["Lattice", "Law"]

Array = NDArray[np.float64]

MARGIN = 2.0
"""How far the box goes beyond the means that are given, in standard deviations."""
CLOSE = 6.0
"""Modes meet where their logits are both so near the largest: log n, and what lies between two points looked at."""


class Law(NamedTuple):
    """Logits base + columns @ ξ, the last of n zero, on the box low … high of ξ (r,)."""

    base: Array
    """(n,)"""
    columns: Array
    """(n, r), F with a row of zeros."""
    inverse: Array
    """(n − 1, r): ξ = (m − base) @ inverse."""
    low: Array
    high: Array

    @classmethod
    def of(cls, means: Array, cov: Array) -> Law:
        variances, axes = np.linalg.eigh(cov)
        kept = variances > AVERAGES * max(1.0, variances[-1])
        roots, axes = np.sqrt(variances[kept]), axes[:, kept]
        base = means.mean(axis=0)
        xi = (means - base) @ (axes / roots)
        columns = np.vstack([axes * roots, np.zeros((1, len(roots)))])
        low, high = xi.min(axis=0) - MARGIN, xi.max(axis=0) + MARGIN
        return cls(np.append(base, 0.0), columns, axes / roots, low, high)

    def logits(self, sides: list[Array], modes: NDArray[np.intp] | slice = slice(None)) -> Array:
        """(modes, points of each side) on the grid with these sides."""
        r = len(sides)
        total = self.base[modes].reshape(-1, *[1] * r)
        for a, side in enumerate(sides):
            shape = [-1, *[1] * r]
            shape[a + 1] = len(side)
            total = total + (self.columns[modes, a, None] * side).reshape(shape)
        return np.asarray(total)

    @property
    def step(self) -> float:
        """Between points that `widest` looks at."""
        return 0.25 if len(self.low) < 3 else 0.5

    def points(self) -> float:
        """Logits that `widest` looks at, about."""
        return float(len(self.base) * np.prod((self.high - self.low + 2 * MARGIN) / self.step))

    def widest(self) -> float:
        """Largest distance between columns of two modes that meet in the box or MARGIN around it."""
        n, step = len(self.base), self.step
        sides = [np.arange(a - MARGIN, b + MARGIN + step, step) for a, b in zip(self.low, self.high, strict=True)]
        meet, rows = np.eye(n), max(1, (1 << 20) // (n * prod(len(side) for side in sides[1:])))
        for first in range(0, len(sides[0]), rows):
            u = self.logits([sides[0][first : first + rows], *sides[1:]]).reshape(n, -1)
            near = u > u.max(axis=0) - CLOSE
            groups = np.unique(np.packbits(near[:, near.sum(axis=0) > 1], axis=0), axis=1)
            near = np.unpackbits(groups, axis=0, count=n)
            meet += np.einsum("ig,jg->ij", near, near, dtype=float)
        i, j = np.nonzero(meet)
        return float(np.sqrt(((self.columns[i] - self.columns[j]) ** 2).sum(axis=1).max()))


class Lattice(NamedTuple):
    """Averages over a Gaussian of that variance at the points of a lattice with these sides."""

    sides: list[Array]
    softmax: Array
    """(n, points of each side)"""
    logsumexp: Array
    variance: float
