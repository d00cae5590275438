"""Makes gumbel_coefficients.npy, the table behind gumbel_normal.py, as make_coefficients.py makes its own.

    python -m solvers.expectations.make_gumbel_coefficients            write the table (a minute)
    python -m solvers.expectations.make_gumbel_coefficients --check    recompute it and compare every byte

Levels are those of make_coefficients.py in δ + SHIFT. On each, patches of half-width R have their centres SPACING R
apart, from where H is 1e-21 to where its tail takes over, and half a cell of a grid further; see gumbel_normal.py.

Derivatives at a centre. H' has the characteristic function Γ(1 − ik) e^{−δk²/2}. Midpoint sums with nodes
k = (m + ½) 2π/P give the antiperiodic sum of images, Σ_j (−1)^j H'(y + jP), so that

    H(y) = ½ + Re Σ w e^{−iky}/(−ik),   w = (2/P) Γ(1 − ik) e^{−δk²/2},

up to the tails of H at a distance of a period less the reach, here below 1e-40. Derivatives bring powers of −ik.
The fit to a patch is that of make_coefficients.py.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, lgamma, log, sqrt
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from solvers.expectations.gumbel_normal import (
    _PATH,
    FIRST_LEVEL,
    HALF_CELL,
    HEADER,
    LEVELS,
    RADIUS,
    SHIFT,
    SPACING,
    TAIL,
)
from solvers.expectations.logistic_normal import TERMS
from solvers.expectations.make_coefficients import BITS, EXTRA, Integers, fitted, fixed, write_or_check

DIGITS = 92.0
"""Sums over nodes may neglect e^−DIGITS, 1e-40."""


def table(levels: range = range(LEVELS)) -> NDArray[np.float64]:
    """The table restricted to these levels, in the layout of gumbel_normal.py."""
    head, rows = [], [np.empty((0, TERMS))]
    for level in levels:
        row = len(levels) * HEADER + sum(map(len, rows)) * TERMS
        header, coefficients = patches(level)
        head += [*header, float(row), *[0.0] * (HEADER - 5)]
        rows.append(coefficients)
    return np.concatenate([np.array(head), *(part.ravel() for part in rows)])


def patches(level: int) -> tuple[list[float], NDArray[np.float64]]:
    """[first centre, 1/R, number of patches, terms of the tail] and the coefficients (patches, TERMS) of one level."""
    lower, upper = (float(np.int64(FIRST_LEVEL + l << 49).view(np.float64)) - SHIFT for l in (level, level + 1))
    middle = (lower + upper) / 2
    scale = 1 / (round(256 * sqrt(RADIUS[0] ** 2 + RADIUS[1] ** 2 * lower)) / 256)
    low, (high, terms) = lowest(upper), highest(upper)
    count = ceil(((high - low) * scale + HALF_CELL) / SPACING)
    first = low + 0.5 * SPACING / scale
    with mp.workprec(BITS + 50):
        centres = [mpf(first) + i * mpf(SPACING) / mpf(scale) for i in range(count)]
        taylor = _taylor(mpf(middle), 1 / mpf(scale), centres)
        return [first, scale, float(count), float(terms)], fitted(taylor, mpf(1), mpf(upper - lower), scale)


def lowest(delta: float) -> float:
    """Where H is 1e-21, from below: a normal variable −z and a Gumbel one share what it takes, z²/2 + z/√δ = 48.4."""
    b = sqrt(delta)
    z = 96.8 / (1 / b + sqrt(1 / delta + 96.8))
    return -ceil(32 * (b * z + log(z / b))) / 32


def highest(delta: float) -> tuple[float, int]:
    """Where the tail takes over, and how many terms it has: the next one is 1e-15 in all three derivatives there."""
    found = [(((k + 1) ** 2 * delta / 2 + 34.5 + 3 * log(k + 1) - lgamma(k + 2)) / (k + 1), k) for k in range(TAIL + 1)]
    if delta > 100:  # Chernoff's bound is below 1e-16
        found.append((2 + 8.5 * sqrt(delta + 2), 0))
    reach, terms = min(found)
    return ceil(32 * reach) / 32, terms


def _taylor(delta: Any, radius: Any, centres: list[Any]) -> Integers:
    """c_n = D_n Rⁿ at the centres: integers (TERMS + EXTRA, count)."""
    tail = DIGITS + delta / 2 if delta < 184 else 13.6 * mp.sqrt(delta)
    period = mp.ceil(centres[-1] - centres[0] + 2 * radius + tail)
    room = mp.pi / 2 - radius
    highest = 2 * DIGITS / (room + mp.sqrt(room**2 + 2 * DIGITS * delta))
    weights = [
        gamma * mp.exp(-delta * k * k / 2) for k, gamma in _nodes(int(period), int(highest * period / (2 * mp.pi)) + 2)
    ]
    nodes = [k for k, _ in _nodes(int(period), len(weights))]
    powers: list[list[list[int]]] = [[], []]
    scaled = [w / k for w, k in zip(weights, nodes, strict=True)]
    for _ in range(TERMS + EXTRA):
        powers[0].append([fixed(w.real) for w in scaled])
        powers[1].append([fixed(w.imag) for w in scaled])
        scaled = [w * k * radius for w, k in zip(scaled, nodes, strict=True)]
    real, imaginary = (np.array(part, dtype=object) for part in powers)
    angles = [[mp.cos_sin(k * y) for y in centres] for k in nodes]
    cosine, sine = (np.array([[fixed(pair[part]) for pair in row] for row in angles], dtype=object) for part in (0, 1))
    # (−i)^{n−1} (u + iv)(cos − i sin), the real part: with p + iq = (u + iv)(cos − i sin), in turn −q, p, q, −p.
    taylor = np.empty((TERMS + EXTRA, len(centres)), dtype=object)
    for n in range(4):
        u, v = real[n::4], imaginary[n::4]
        p, q = (u, v) if n % 2 else (v, -u)
        sign = -1 if n in (0, 3) else 1
        taylor[n::4] = sign * (p @ cosine + q @ sine) >> BITS
    taylor[0] += 1 << BITS - 1
    return taylor


@lru_cache(maxsize=64)
def _nodes(period: int, count: int) -> list[tuple[Any, Any]]:
    """k and (2/P) Γ(1 − ik), in fifty digits, which is what the sums need."""
    with mp.workprec(180):
        nodes = [(m + mpf(0.5)) * 2 * mp.pi / period for m in range(count)]
        return [(k, 2 * mp.gamma(mp.mpc(1, -k)) / period) for k in nodes]


if __name__ == "__main__":
    write_or_check(_PATH, table, "Coefficients of the distribution function of Gumbel plus normal.")
