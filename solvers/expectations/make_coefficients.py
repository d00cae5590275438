"""Makes coefficients.npy, the table behind logistic_normal.py, in arithmetic of 90 digits.

    python -m solvers.expectations.make_coefficients            write the table (half a minute)
    python -m solvers.expectations.make_coefficients --check    recompute it and compare every byte

The same bytes come out everywhere: integers and mpmath numbers only, rounded to doubles at the end.

Patches. Level l is an interval of v + SHIFT, an eighth of an octave; its middle is v₀. On it patch i has its centre at
α₀ = 2iH, so that J'(0) = ½ and J'''(0) = 0 hold exactly by symmetry. PATCHES of them reach as far as J is above 1e-16.

Derivatives at a centre. J''(a) = (1/π) ∫₀^∞ cos(ka) e^{−k²v/2} πk / sinh(πk) dk, the product of the characteristic
functions of the normal and the logistic law. Midpoint sums with nodes k = (m + ½) 2π/P give the antiperiodic sum of
images, Σ_j (−1)^j J''(a + jP), so that integrating twice yields J itself: with E = J − a/2 even and |a|/2 far away,

    E(a) = P/4 − Σ w cos(ka),   w = (2π/P) e^{−k²v/2} / (k sinh(πk)),   |a| < P/2,

up to the tail of J at distance P/2 and more, here below 1e-26. Then D_n = ∂ⁿJ/∂aⁿ for all n at once.

Fit. With c_n = D_n Hⁿ the Taylor series Σ c_n u_n(δ, τ) (u_n: see logistic_normal.py) is cut after TERMS + EXTRA terms,
and the last EXTRA are projected onto the first TERMS, which is more accurate than to cut it after TERMS. The difference
solves the heat equation too, so it is largest on the parabolic boundary |δ| = 1 or τ = −V/2H²: least squares of the
errors of J and its three derivatives at Chebyshev points there. What is left: below 2e-14 max(1, |value|) for v ≤ 1e6.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

from solvers.expectations.logistic_normal import _PATH, FIRST_LEVEL, LEVELS, SHIFT, TERMS

EXTRA = 16
BITS = 320  # fixed point: integers are numbers times 2^BITS; u₂₃ u₃₉ ~ 1e-69 enters the normal equations

# Patches of a level, for the lower and the upper half of each octave of v + SHIFT; relative to v, levels of the upper
# half are narrower. Chosen for 4e-15 of the worst level.
PATCHES = (27, 22, 24, 19, 21, 16, 18, 13, 15, 11, 12, 9, 10, 7, 9, 6, 8, 6, *(7, 6) * 17)

Integers = NDArray[Any]
"""Arrays of Python integers, numbers times 2^BITS."""


def table(levels: range = range(LEVELS)) -> NDArray[np.float64]:
    """The table restricted to these levels, in the layout of logistic_normal.py: all of them make coefficients.npy."""
    head, rows = [], [np.empty((0, TERMS))]
    for level in levels:
        scale, coefficients = patches(level)
        head += [scale, 64.0 * sum(map(len, rows)) + len(coefficients)]
        rows.append(coefficients)
    return np.concatenate([np.array(head), *(part.ravel() for part in rows)])


def patches(level: int) -> tuple[float, NDArray[np.float64]]:
    """1/H and the coefficients (patches, TERMS) of one level."""
    count = PATCHES[level // 4]
    lower, upper = (np.int64(FIRST_LEVEL + l << 49).view(np.float64) - SHIFT for l in (level, level + 1))
    middle = (lower + upper) / 2
    # J < 1e-16 max(1, √v): where its tail is exponential, and where it is Gaussian.
    reach = 37 + upper / 2 if upper < 72.25 else 8.5 * upper**0.5
    scale = float((2 * count - 1) / reach)
    while 0.5 / scale * scale != 0.5:  # J'(0) = ½ also in doubles
        scale = float(np.nextafter(scale, 1e9))
    with mp.workprec(BITS + 50):
        taylor = _taylor(mpf(float(middle)), 1 / mpf(scale), count)
        return scale, fitted(taylor, 1 / max(mpf(1), mpf(float(middle))), mpf(float(upper - lower)), scale)


def fitted(taylor: Integers, first: Any, width: Any, scale: float) -> NDArray[np.float64]:
    """c_n/n! (patches, TERMS) from derivatives c_n = D_n Hⁿ (TERMS + EXTRA, patches); scale = 1/H, width 2V.

    first: the weight of squared errors of the function itself, beside 1 for each of the three derivatives.
    """
    projected = taylor[:TERMS] + (_projection(first, width, scale) @ taylor[TERMS:] >> BITS)
    rows = [[mp.ldexp(int(c), -BITS) / mp.factorial(n) for n, c in enumerate(patch)] for patch in projected.T]
    return np.array(rows, dtype=float)


def _taylor(v: Any, half: Any, count: int) -> Integers:
    """c_n = D_n Hⁿ at a = −2iH: integers (TERMS + EXTRA, count)."""
    farthest = (2 * count - 1) * half
    period = farthest + (75 + v / 2 if v < 36 else 13 * mp.sqrt(v))
    step = 2 * mp.pi / period
    nodes = [(m + mpf(0.5)) * step for m in range(int(min(32, 13 / mp.sqrt(v)) / step) + 1)]
    weighted = [step * mp.exp(-k * k * v / 2) / (k * mp.sinh(mp.pi * k)) for k in nodes]
    powers = []
    for _ in range(TERMS + EXTRA):
        powers.append([fixed(w) for w in weighted])
        weighted = [w * k * half for w, k in zip(weighted, nodes, strict=True)]
    weights = np.array(powers, dtype=object)
    angles = [[mp.cos_sin(k * 2 * i * half) for i in range(count)] for k in nodes]
    cosine, sine = (np.array([[fixed(pair[part]) for pair in row] for row in angles], dtype=object) for part in (0, 1))

    # ∂ⁿ/∂aⁿ of −cos(ka) at a = −α: −cos, −sin, cos, sin of kα, in turn.
    taylor = np.empty((TERMS + EXTRA, count), dtype=object)
    for n, (sign, wave) in enumerate([(-1, cosine), (-1, sine), (1, cosine), (1, sine)]):
        taylor[n::4] = sign * (weights[n::4] @ wave) >> BITS
    taylor[0] += np.array([fixed(period / 4 - i * half) for i in range(count)], dtype=object)  # P/4 + a/2
    taylor[1] += fixed(half / 2)
    return taylor


def _projection(first: Any, width: Any, scale: float) -> Integers:
    """What the terms beyond TERMS add to those before: integers (TERMS, EXTRA)."""
    terms = TERMS + EXTRA
    delta, tau = _parabolic_boundary()
    tau = tau * fixed(width / 4 * mpf(scale) ** 2) >> BITS
    u = [np.array([1 << BITS] * len(delta), dtype=object), delta]
    for n in range(2, terms):
        u.append((delta * u[n - 1] + 2 * tau * u[n - 2] >> BITS) // n)
    # Normal equations for the errors of the function and of three derivatives. Even and odd n do not mix.
    normal = np.zeros((TERMS, terms), dtype=object)
    for m, weight in enumerate([first, *(mpf(scale) ** (2 * m) for m in (1, 2, 3))]):
        shifted = np.array([0 * delta] * m + u[: terms - m], dtype=object)
        normal += (shifted[:TERMS] @ shifted.T >> BITS) * fixed(weight)
    projection = np.zeros((TERMS, EXTRA), dtype=object)
    with mp.workprec(BITS + 100):
        for parity in (0, 1):
            projection[parity::2, parity::2] = _solve(
                normal[parity::2, parity:TERMS:2], normal[parity::2, TERMS + parity :: 2]
            )
    return projection


def _solve(matrix: Integers, right: Integers) -> Integers:
    """matrix⁻¹ right by Cholesky factors of the matrix scaled to unit diagonal; the scale of both cancels."""
    size = range(len(matrix))
    unit = [1 / mp.sqrt(int(matrix[i, i])) for i in size]
    lower = mp.cholesky(mp.matrix([[int(matrix[i, j]) * unit[i] * unit[j] for j in size] for i in size]))
    out = np.empty(right.shape, dtype=object)
    for column in range(right.shape[1]):
        x = [int(right[i, column]) * unit[i] for i in size]
        for i in size:
            x[i] = (x[i] - mp.fsum(lower[i, k] * x[k] for k in range(i))) / lower[i, i]
        for i in reversed(size):
            x[i] = (x[i] - mp.fsum(lower[k, i] * x[k] for k in range(i + 1, len(matrix)))) / lower[i, i]
        out[:, column] = [fixed(x[i] * unit[i]) for i in size]
    return out


@lru_cache(maxsize=1)
def _parabolic_boundary(along: int = 36, beside: int = 16) -> tuple[Integers, Integers]:
    """(δ, τ/τ_max) at Chebyshev points of the side τ = −τ_max and of the two sides δ = ±1."""
    one = 1 << BITS
    x, y = ([fixed(mp.cos(mp.pi * (j + mpf(0.5)) / n)) for j in range(n)] for n in (along, beside))
    delta = [*x, *[one] * beside, *[-one] * beside]
    return np.array(delta, dtype=object), np.array([*[-one] * along, *y, *y], dtype=object)


def fixed(x: Any) -> int:
    return int(mp.nint(mp.ldexp(x, BITS)))


def write_or_check(path: Path, make: Callable[[], NDArray[np.float64]], description: str) -> None:
    """The command: writes the table that `make` computes, or compares it with the file, byte by byte."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="recompute and compare with the file instead of writing")
    check = parser.parse_args().check
    buffer = io.BytesIO()
    np.save(buffer, make())
    if not check:
        path.write_bytes(buffer.getvalue())
    same = path.read_bytes() == buffer.getvalue()
    print(f"{path.name}: {len(buffer.getvalue())} bytes, {'as computed' if same else 'NOT what is computed'}")
    raise SystemExit(not same)


if __name__ == "__main__":
    write_or_check(_PATH, table, "Coefficients of the logistic-normal special function.")
