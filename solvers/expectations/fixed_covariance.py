"""E softmax and E logsumexp of three and more logits whose covariance does not move, as polynomials on cells.

The logits of the target's modes have a covariance C = F Fᵀ that no trajectory changes, and means that are affine in
vectors of the span, m = m₀ + F ξ. With r ≤ 3 columns of F the averages are smooth functions of r numbers,

    Φ(ξ) = E f(m₀ + F (ξ + z)),   f the softmax or logsumexp,   z standard normal in R^r,

made here once, on a box of ξ, instead of by a quadrature at every step of every trajectory:

1. f on a lattice. Its step follows from the nearest poles of f, where two modes meet. Where it has to be fine, sums with
   a Gaussian of variance SMOOTHED leave a lattice of a third of a standard deviation.
2. What is left of the Gaussian, axis by axis, and polynomials of it on cells: solvers/expectations/cells.py.
3. The table is compared with direct sums on another lattice at points of the box. Its error is the largest difference;
   a table that misses the tolerance is made once more, with smaller cells, and else not used.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from math import ceil, pi, prod, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.cells import ERROR, Cells, look_up, sizes
from solvers.expectations.quadrature import LOOSEST, TIGHTEST, digits
from solvers.machine.ranks import AVERAGES

__all__ = ["DIRECTIONS", "fixed_covariance"]

Array = NDArray[np.float64]

DIRECTIONS = 3
"""Most columns of F."""
MARGIN = 3.0
"""How far the box goes beyond the means that are given, in standard deviations."""
ROOM = 1 << 25
"""Most numbers of a table, and of any array on the way to it: 256 MB."""
LOGITS = 1 << 28
"""Most logits that are computed, if 2^r modes matter at a point."""
SMOOTHED = 0.2
"""Variance of the first Gaussian, of 1."""
CLOSE = 6.0
"""Modes meet where their logits are both so near the largest: log n, and what lies between two points looked at."""
SMALLEST = 35.0
"""Modes whose logits are nowhere so near the largest are left out."""
CHECKED = 1 << 25
"""About so many logits are spent on the comparison with direct sums; at 6 to 64 points."""


def fixed_covariance(means: Array, cov: Array, tolerance: float) -> Array:
    """The table of cells.py for logits with that covariance (n − 1, n − 1), and a last one that is zero.

    means (points, n − 1): the box holds these, which differ by F ξ, and MARGIN around them.
    tolerance: of both averages, in units of max(1, |value|), as in solvers.expectations.

    Returns the table, read-only, for it is kept; table[ERROR] is its largest measured error. Empty where there is none:
    not finite, no column of F or more than DIRECTIONS, or it takes more than ROOM or LOGITS, or misses the tolerance.
    """
    means, cov = np.ascontiguousarray(means, dtype=float), np.ascontiguousarray(cov, dtype=float)
    return _kept(means.tobytes(), cov.tobytes(), len(cov), min(max(tolerance, TIGHTEST), LOOSEST))


@lru_cache(maxsize=8)
def _kept(means: bytes, cov: bytes, size: int, tolerance: float) -> Array:
    points, matrix, table = np.frombuffer(means).reshape(-1, size), np.frombuffer(cov).reshape(size, size), np.empty(0)
    if np.isfinite(points).all() and np.isfinite(matrix).all():
        law = Law.of(points, matrix)
        for share in (0.5, 0.05) if 0 < law.columns.shape[1] <= DIRECTIONS else ():
            found = _Maker(law, tolerance).table(share)
            if len(found) == 0 or found[ERROR] <= tolerance:
                table = found
                break
    table.flags.writeable = False
    return table


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

    def logits(self, sides: list[Array], modes: Array | slice = slice(None)) -> Array:
        """(modes, points of each side) on the grid with these sides."""
        r = len(sides)
        total = self.base[modes].reshape(-1, *[1] * r)
        for a, side in enumerate(sides):
            shape = [-1, *[1] * r]
            shape[a + 1] = len(side)
            total = total + (self.columns[modes, a, None] * side).reshape(shape)
        return np.asarray(total)

    def widest(self) -> float:
        """Largest distance between columns of two modes that meet in the box or MARGIN around it."""
        n, step = len(self.base), 0.25 if len(self.low) < 3 else 0.5
        sides = [np.arange(a - MARGIN, b + MARGIN + step, step) for a, b in zip(self.low, self.high, strict=True)]
        meet, rows = np.zeros((n, n)), max(1, (1 << 20) // (n * prod(len(side) for side in sides[1:])))
        for first in range(0, len(sides[0]), rows):
            u = self.logits([sides[0][first : first + rows], *sides[1:]]).reshape(n, -1)
            near = (u > u.max(axis=0) - CLOSE).astype(np.float32)
            meet += near @ near.T
        i, j = np.nonzero(meet)
        return float(np.sqrt(((self.columns[i] - self.columns[j]) ** 2).sum(axis=1).max()))


class Lattice(NamedTuple):
    """Averages over a Gaussian of that variance at the points of a lattice with these sides."""

    sides: list[Array]
    softmax: Array
    """(n, points of each side)"""
    logsumexp: Array
    variance: float


class _Maker:
    """Tables of one law for one tolerance."""

    def __init__(self, law: Law, tolerance: float) -> None:
        self.law, self.tolerance = law, tolerance
        self.n, self.r = law.columns.shape
        self.D = digits(tolerance)
        self.radius = sqrt(2 * self.D + 4)
        self.pole = pi / max(law.widest(), 0.4)

    def step(self, variance: float) -> float:
        """Largest step of a lattice for f and a Gaussian of that variance, see `_step` of quadrature.py."""
        c = min(self.pole, sqrt(2 * self.D * variance))
        return 2 * pi * c / (self.D + c * c / (2 * variance))

    def table(self, share: float) -> Array:
        """share: of the tolerance, for the polynomials."""
        size = sizes(self.n, self.law.low, self.law.high, share * self.tolerance, ROOM)
        lattice = None if size is None else self.lattice(size.half)
        if size is None or lattice is None:
            return np.empty(0)
        table = Cells(self.law, self.tolerance, self.radius, size).table(lattice, ROOM)
        if len(table):
            table[ERROR] = self.error(table)
        return table

    def lattice(self, half: float) -> Lattice | None:
        """For cells of half that width; None if it is too large."""
        # Aliasing of the second sum: e^{−D} where s (1 − s) (2π/step)²/2 = D, s the variance of the first.
        step = 2 * pi * sqrt(SMOOTHED * (1 - SMOOTHED) / (2 * self.D))
        parts = ceil(step / self.step(SMOOTHED))
        if self.step(1.0) > step / 2:
            step, parts = self.step(1.0), 1
        low = self.law.low - self.radius
        counts = [ceil(x / step) + 1 for x in self.law.high + 2 * half + self.radius - low]
        if self.n * prod(counts) > ROOM or min(self.n, 2**self.r) * prod(counts) * parts**self.r > LOGITS:
            return None
        if parts == 1:
            sides = [a + step * np.arange(count) for a, count in zip(low, counts, strict=True)]
            softmax = np.zeros((self.n, *counts))
            p, top, kept = _softmax(self.law.logits(sides))
            softmax[kept] = p
            return Lattice(sides, softmax, top, 0.0)
        return self.smoothed(low, step, parts, counts)

    def smoothed(self, low: Array, step: float, parts: int, counts: list[int]) -> Lattice:
        """The lattice from `low` on, from one that is finer by `parts`, in tiles of whole steps."""
        group, wide = (32, 12, 8)[self.r - 1], ceil(self.radius * sqrt(SMOOTHED) / step)
        tiles = [-(-(count + 2 * wide) // group) for count in counts]
        shape = [tile * group + 2 * wide for tile in tiles]
        softmax, logsumexp = np.zeros((self.n, *shape)), np.zeros(shape)
        fine = np.arange(group * parts) * (step / parts)
        apart = step * np.arange(-wide, group + wide)[:, None] - fine
        kernel = np.exp(-(apart**2) / (2 * SMOOTHED)) * (np.abs(apart) < step * (wide + 0.5 / parts))
        # Symmetric, and normalised over all tiles: linear functions stay what they are.
        kernel /= np.exp(-((step / parts * np.arange(-wide * parts, wide * parts + 1)) ** 2) / (2 * SMOOTHED)).sum()
        thin = fine[:: max(1, parts // 2)]
        slack = min(SMALLEST, self.r * np.ptp(self.law.columns, axis=0).max() * (thin[1] - thin[0]))
        for tile in itertools.product(*map(range, tiles)):
            begin = [a + (t * group - wide) * step for a, t in zip(low, tile, strict=True)]
            u = self.law.logits([b + thin for b in begin]).reshape(self.n, -1)
            modes = np.flatnonzero((u - u.max(axis=0)).max(axis=1) > -SMALLEST - slack)
            p, top, kept = _softmax(self.law.logits([b + fine for b in begin], modes))
            window = tuple(slice(t * group, (t + 1) * group + 2 * wide) for t in tile)
            softmax[(modes[kept], *window)] += along(p, [kernel] * self.r, 1)
            logsumexp[window] += along(top, [kernel] * self.r, 0)
        whole = tuple(slice(2 * wide, tile * group) for tile in tiles)  # which all tiles have reached
        sides = [a + step * np.arange(tile * group - 2 * wide) for a, tile in zip(low, tiles, strict=True)]
        return Lattice(sides, softmax[(slice(None), *whole)], logsumexp[whole], SMOOTHED)

    def error(self, table: Array) -> float:
        """The largest difference to direct sums at points of the box, in units of max(1, |value|)."""
        radius = self.radius + 1.0
        side = np.arange(-radius, radius, 0.83 * self.step(1.0))
        square = np.sum(np.meshgrid(*[side**2] * self.r, indexing="ij"), axis=0)
        inside = square < radius**2
        weight = np.exp(-square[inside] / 2)
        weight /= weight.sum()
        points = int(np.clip(CHECKED // (self.n * inside.size), 6, 64))
        xi = np.random.default_rng(0).uniform(self.law.low, self.law.high, (points, self.r))
        found = look_up(table, self.law.base[:-1] + xi @ self.law.columns[:-1].T)
        worst = 0.0
        for at, row in zip(xi, found, strict=True):
            p, top, kept = _softmax(self.law.logits([x + side for x in at])[:, inside])
            exact = np.zeros(self.n + 1)
            exact[:-1][kept], exact[-1] = p @ weight, top @ weight
            worst = max(worst, float(np.max(np.abs(row - exact) / np.maximum(1.0, np.abs(exact)))))
        return worst


def along(values: Array, matrices: list[Array], first: int) -> Array:
    """Each matrix applied along its axis, the first along axis `first`."""
    for axis, matrix in enumerate(matrices, first):
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    return values


def _softmax(u: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Softmax of the modes that matter and logsumexp along the first axis, and which modes these are."""
    top = u.max(axis=0)
    u = u - top
    kept = u.reshape(len(u), -1).max(axis=1) > -SMALLEST
    u = np.exp(u[kept])
    norm = u.sum(axis=0)
    return u / norm, top + np.log(norm), kept
