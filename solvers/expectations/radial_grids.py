"""Nodes for expectations over y ~ N(0, I_r) and ϱ ~ χ²_N, chosen by the logits U_j = m_j + F_j·y + g_j (|y|² + ϱ − d).

The chi-square is integrated in t, ϱ = N e^{√(2/N) t}: its log-density N/2 (s − e^s), s = √(2/N) t, is entire, near a
standard normal's for large N and decays at least exponentially for every N ≥ 2; it is taken from its logarithm and
normalised by the sum of the weights, so nothing over- or underflows. What is handed out is the excess ϱ − N, of order
√N; the log-density, less its top, is −N h(ϱ/N), h(x) = (x − 1 − log x)/2: no digit is lost at any N.

Up to three dimensions: the trapezoidal rule. Moving the line of integration up by c costs e^{−2πc/h} and gains e^{c²/2}
(Gaussian) or cos(√(2/N) c)^{−N/2} (chi-square); the poles of the softmax stop it at c = π/b for a difference of logits
of slope b. Slopes grow outwards (by 2 g y and by e^s) where the density falls; b is the largest slope, each weighed by
the share of digits that are still needed there. Steps aim at errors e^{−D} and come in levels. From N = LARGE on, y and
t are turned to the principal axes of the logits, so that one axis is steep and the others are not. Grids larger than
MAX_NODES are coarsened, and the error estimate shows it.

More dimensions: REPLICATES sets of scrambled Sobol points, ϱ by its inverse distribution function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.divergence import near_one

__all__ = ["MAX_NODES", "Grid", "grids"]

Array = NDArray[np.float64]

MAX_NODES = 1 << 18
"""Most nodes of a grid."""
POINTS, REPLICATES = 1 << 12, 8
"""Sobol points of one replicate, antipodes included, and the number of replicates."""
LARGE = 64
"""Degrees of freedom from which t is turned together with y."""

_TAIL = 6.0  # the axis of t stops where the log-density has fallen by this more than by D
_LEVEL = 1.2  # ratio of successive slopes that steps are made for
_NARROW = 0.4  # slope below which the Gaussian alone sets the step
_T_QUANTILE = 3.5  # Student, REPLICATES − 1 degrees of freedom, two-sided 1 %


@dataclass(frozen=True)
class Grid:
    """Nodes: y (r, p), the excess ϱ − N (p,) or None where there is no ϱ, and weights (p,).

    turned: zeta are (y, t) before an element's own rotation, which then decides the weights.
    replicate: one of several sets of random points, to be averaged.
    """

    zeta: Array
    weight: Array
    degrees: int
    excess: Array | None = None
    turned: bool = False
    replicate: bool = False
    quantile: float = _T_QUANTILE / np.sqrt(REPLICATES)

    @property
    def size(self) -> int:
        return len(self.weight)

    def points(self, turn: Array, low: int, high: int) -> tuple[Array, Array, Array]:
        """y (b, r, p), ϱ − N (b, p), weights (b, p) of nodes low..high, for b rotations (b, size, size) of (y, t)."""
        zeta, weight = self.zeta[:, low:high], self.weight[low:high]
        if not self.turned:
            excess = np.zeros(zeta.shape[1]) if self.excess is None else self.excess[low:high]
            y, excess, weight = (np.broadcast_to(a, (len(turn), *a.shape)) for a in (zeta, excess, weight))
            return y, excess, weight
        both = np.matmul(turn, zeta)
        t = both[:, -1]
        square = np.sum(both[:, :-1] ** 2, axis=1)
        return both[:, :-1], chi_square(t, self.degrees), np.exp(log_density(t, self.degrees) - square / 2)


def chi_square(t: Array, degrees: int) -> Array:
    """ϱ − N, ϱ = N e^{√(2/N) t}."""
    return np.asarray(degrees * np.expm1(np.sqrt(2.0 / degrees) * t))


def log_density(t: Array, degrees: int) -> Array:
    """log of the density of t, less its value at the top, t = 0."""
    s = np.sqrt(2.0 / degrees) * t
    near, e = abs(s) < 0.25, np.expm1(s)
    return np.asarray(-degrees * np.where(near, near_one(e, np.tanh(np.where(near, s, 0.0) / 2)), (e - s) / 2))


def grids(
    factor: Array, g: Array, degrees: int, D: float, *, error: bool
) -> Iterator[tuple[NDArray[np.int64], Array, list[Grid]]]:
    """Elements of a batch that share nodes, their rotations, and the grids: the first gives the value.

    factor (B, n−1, r) with orthogonal columns, g (B, n−1), N = degrees: at least 2, or less where there is no ϱ. D: see
    quadrature.digits.
    Further grids are for the error estimate, or replicates to be averaged.
    """
    count, _, rank = factor.shape
    with_rho = degrees >= 2
    size = rank + with_rho
    turn = np.broadcast_to(np.eye(size), (count, size, size))
    if size > 3:
        yield np.arange(count), turn, [_sobol(rank, degrees, copy) for copy in range(REPLICATES)]
        return
    columns = np.concatenate([factor, g[:, :, None] * np.sqrt(2.0 * degrees)], axis=2) if with_rho else factor
    turned = with_rho and degrees >= LARGE
    if turned:
        _, turn = np.linalg.eigh(np.matmul(np.swapaxes(columns, 1, 2), columns))
    along = np.matmul(columns, turn)
    slopes = along.max(axis=1, initial=0.0) - along.min(axis=1, initial=0.0)
    bend = g.max(axis=1, initial=0.0) - g.min(axis=1, initial=0.0)
    # max over y of 2 y (1 − y²/2D): how much of the slope 2 g y of g y² matters
    slopes[:, : size if turned else rank] += (4 / 3 * np.sqrt(2 * D / 3) * bend)[:, None]
    if with_rho:
        slopes[:, slice(None) if turned else slice(rank, None)] *= _steepening(degrees, D)
    levels = np.ceil(np.log(np.maximum(slopes, _NARROW)) / np.log(_LEVEL)).astype(np.int64)
    kinds, which = np.unique(levels, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        chosen = np.flatnonzero(which.ravel() == number)
        shifts = range(1 + (size if error else 0))
        nodes = [_grid(rank, degrees, tuple(map(int, kind)), shift, D) for shift in shifts]
        yield chosen, turn[chosen], nodes


@lru_cache(maxsize=64)
def _grid(rank: int, degrees: int, levels: tuple[int, ...], shift: int, D: float) -> Grid:
    """The trapezoidal rule with one step an axis; shift i moves axis i by half a step."""
    size = len(levels)
    if size == 0:
        return Grid(np.zeros((0, 1)), np.ones(1), degrees)
    with_rho, turned = degrees >= 2, degrees >= LARGE
    radius = np.sqrt(2 * D + 5)
    low, high = np.full(size, -radius), np.full(size, radius)
    if with_rho:
        ends = _ends(degrees, D)
        if turned:  # any axis may be that of t, in either sense
            low[:], high[:] = -max(-ends[0], ends[1], radius), max(-ends[0], ends[1], radius)
        else:
            low[-1], high[-1] = ends
    steps = np.array([
        _step(_LEVEL**level, degrees if with_rho and (turned or axis == size - 1) else 0, D)
        for axis, level in enumerate(levels)
    ])  # fmt: skip
    for _ in range(size):  # where an axis is left with less than one step, the others make up for it
        many = (high - low) / steps
        wide = many > 1
        with np.errstate(over="ignore"):
            excess = np.prod(many[wide]) / MAX_NODES
        if not excess > 1:
            break
        steps[wide] *= excess ** (1 / wide.sum())
    sides = [
        (np.arange(np.ceil(a / h) - 1, np.floor(b / h) + 2) + 0.5 * (axis == shift - 1)) * h
        for axis, (a, b, h) in enumerate(zip(low, high, steps, strict=True))
    ]
    zeta = np.stack([side.ravel() for side in np.meshgrid(*sides, indexing="ij")])
    if turned:
        # a ball as wide as t needs; the weights follow from where the rotation puts the nodes
        inside = np.sum(zeta**2, axis=0) < (high[0] + steps.max()) ** 2
        return Grid(zeta[:, inside], np.ones(int(inside.sum())), degrees, turned=True)
    square = np.sum(zeta[:rank] ** 2, axis=0)
    log_weight = -square / 2
    if with_rho:
        log_weight = log_weight + log_density(zeta[-1], degrees)
    inside = (square < radius**2) & (log_weight > -D - _TAIL - 2)
    zeta, log_weight = zeta[:, inside], log_weight[inside]
    excess = chi_square(zeta[-1], degrees) if with_rho else None
    return Grid(zeta[:rank], np.exp(log_weight), degrees, excess=excess)


@lru_cache(maxsize=4096)
def _step(slope: float, degrees: int, D: float) -> float:
    """Largest step whose aliasing error is about e^{−D}; degrees 0: a Gaussian direction."""
    limit = np.pi / slope if slope > _NARROW else np.inf
    if degrees:
        limit = min(limit, 0.999 * np.pi / 2 / np.sqrt(2 / degrees))
    c = np.linspace(0.0, min(limit, np.sqrt(2 * D)), 400)[1:]
    gain = -degrees / 2 * np.log1p(-2 * np.sin(np.sqrt(0.5 / degrees) * c) ** 2) if degrees else c**2 / 2
    return float(np.max(2 * np.pi * c / (D + gain)))


@lru_cache(maxsize=1024)
def _ends(degrees: int, D: float) -> tuple[float, float]:
    """Where the density of t has fallen by e^{−D − _TAIL}."""
    tail = D + _TAIL

    def excess(t: float) -> float:
        return float(log_density(np.array(t), degrees)) + tail

    from scipy.optimize import brentq  # slow to import, and for few problems

    reach = np.sqrt(degrees / 2)
    return float(brentq(excess, -(2 * tail + 2) / degrees * reach - 40, 0.0)), float(brentq(excess, 0.0, 40.0))


@lru_cache(maxsize=1024)
def _steepening(degrees: int, D: float) -> float:
    """max over t of e^s (1 + log-density / D): slopes in t grow like e^s, where fewer digits are needed."""
    t = np.linspace(0.0, _ends(degrees, D)[1], 2000)
    return float(np.max(np.exp(np.sqrt(2 / degrees) * t) * (1 + log_density(t, degrees) / D)))


@lru_cache(maxsize=64)
def _sobol(rank: int, degrees: int, copy: int) -> Grid:
    """One replicate: POINTS normal points of mean zero and unit covariance, with their antipodes, and χ² beside."""
    from scipy.special import gammaincinv, ndtri  # slow to import, both, for rules that few problems need
    from scipy.stats import qmc

    uniform = qmc.Sobol(rank + (degrees >= 2), scramble=True, rng=copy).random(POINTS // 2)
    uniform = np.clip(uniform, 1e-12, 1 - 1e-12)
    z = ndtri(uniform[:, :rank])
    variances, axes = np.linalg.eigh(z.T @ z / len(z))
    z = z @ (axes / np.sqrt(variances)) @ axes.T
    excess: Array | None = None
    if degrees >= 2:
        share = uniform[:, -1]
        rho = np.asarray(2 * gammaincinv(degrees / 2, np.concatenate([share, 1 - share])), dtype=np.float64)
        excess = rho * (degrees / rho.mean()) - degrees
    points = np.concatenate([z, -z]).T
    return Grid(points, np.ones(points.shape[1]), degrees, excess=excess, replicate=True)
