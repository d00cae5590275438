"""H of gumbel_normal.py along uniform grids: for every point a polynomial around it, good to half a step on both sides.

A sum over the nodes of a rule, all moved by the same amount, is then one power series in that amount with rows for
coefficients: no exponential, no index, no division.

Coefficients are those of the Taylor series, economised: the Taylor series of degree N is 2^N times less accurate at the
ends of the cell. On the cell of y_q, with H and H' at its centre,

    H(y_q + x h) ≈ Σ_{n≤N} a_n xⁿ,   |x| ≤ ½,   a_0 = H, a_1 = h H',   a_{n+2} = h² p_n / ((n + 1)(n + 2)),

where Σ p_n xⁿ is the polynomial that is H'' at N − 1 Chebyshev points. These values come from one patch: at one δ it is
one polynomial, Σ_k a_k x^k with a_k = Σ_j c_{k+2j} τʲ/(k! j!), as u_n = Σ_j x^{n−2j} τʲ/((n − 2j)! j!).
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, factorial, frexp, isfinite, ldexp, lgamma, log, pi, sqrt
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from solvers.expectations.gumbel_normal import (
    HALF_CELL,
    HEADER,
    HIGHEST,
    RADIUS,
    SHIFT,
    SPACING,
    gumbel_coefficients,
)
from solvers.expectations.logistic_normal import TERMS
from solvers.machine import stack
from solvers.machine.instructions import BLOCK, LANES, Lanes, Short
from solvers.machine.options import FLAGS, PLAIN
from solvers.machine.simd import W, empty, load, select, some, store

__all__ = ["DEGREES", "degree_for", "gumbel_table", "largest_step", "taylor_rows"]

Array = Any

DEGREES = range(4, 17)
"""Those that taylor_rows can do."""
_FIRST, _STOP = DEGREES.start, DEGREES.stop
_PAIRS = 8  # most pairs of points in a cell, ±t around its centre
_RULE = (1 + 2 * _PAIRS) * _PAIRS
_STARTS = [0, *np.cumsum([TERMS - 2 * j for j in range(1, TERMS // 2)]).tolist()]  # of the factors of τʲ⁺¹
_FACTORS = _STARTS[-1]


@lru_cache(maxsize=1)
def gumbel_table() -> NDArray[np.float64]:
    """What taylor_rows takes, flat, read-only: the coefficients of H, a rule for each degree, and (k + 2j)!/(k! j!).

    A rule is a row of _PAIRS nodes t and 2 _PAIRS rows of weights, by which sums (even n) and differences (odd n) of
    the values of H'' at ±t give p_n/((n + 1)(n + 2)). A node at the centre is a pair too, and the number of pairs
    even: those that are added have t = 0 and no weight.
    """
    orders = [(j, k) for j in range(1, TERMS // 2) for k in range(TERMS - 2 * j)]
    factors = [factorial(k + 2 * j) / (factorial(k) * factorial(j)) for j, k in orders]
    table = np.concatenate([gumbel_coefficients(), *(_rule(degree).ravel() for degree in DEGREES), factors])
    table.setflags(write=False)
    return table


def _rule(degree: int) -> NDArray[np.float64]:
    points = degree - 1
    order = np.arange(points)
    angles = np.pi * (order + 0.5) / points
    # Values to coefficients of Chebyshev polynomials in 2x, these to powers of x; no system of equations is solved.
    chebyshev = np.cos(np.outer(order, angles)) * np.where(order == 0, 1, 2)[:, None] / points
    powers = np.zeros((points, points))
    for n in order:
        powers[: n + 1, n] = np.polynomial.chebyshev.cheb2poly([0] * n + [1])
    weights = (2.0**order / ((order + 1) * (order + 2)))[:, None] * (powers @ chebyshev)
    pairs = points // 2
    rule = np.zeros((1 + 2 * _PAIRS, _PAIRS))
    rule[0, :pairs], rule[1 : 1 + points, :pairs] = 0.5 * np.cos(angles[:pairs]), weights[:, :pairs]
    if points % 2:
        rule[1 : 1 + points : 2, pairs] = weights[::2, pairs] / 2
    return rule


@intrinsic
def _whole(typing: Any, x: Any) -> Any:
    """x rounded towards zero."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return Lanes(builder, W).call("trunc", Lanes(builder, W).real(args[0])).value

    return x(x), emit


@intrinsic
def _gather(typing: Any, table: Any, start: Any, factors: Any, out: Any) -> Any:
    """out[k] = Σ_j F_kj table[start + k + 2j] lane by lane, k < TERMS; `start` a vector of whole numbers, out vectors.

    factors: F_kj for j > 0, those of one j after those of the last; F_k0 = 1.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, factors, out = (context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 2, 3))
        lanes, place = Lanes(builder, LANES), ir.IntType(64)
        out = builder.bitcast(out, ir.DoubleType().as_pointer())
        index = Lanes(builder, W).real(args[1]).short().value
        for z in range(0, W, LANES):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(z, z + LANES)))
            part = Short(lanes, builder.shuffle_vector(index, index, mask))
            row = [column for n in range(0, TERMS, BLOCK) for column in lanes.gather_block(table, part + n)]
            for k, total in enumerate(row):
                for j, n in enumerate(range(k + 2, TERMS, 2)):
                    total = row[n].times_plus(lanes.spread(factors, _STARTS[j] + k), total)
                lanes.store(total, out, place(k * W + z))
        return context.get_dummy_value()

    return types.void(table, start, factors, out), emit


@njit(**PLAIN)
def largest_step(delta: float) -> float:
    """The largest step of a grid at that δ ≥ 0: what is left of a patch on both sides of a cell's centre."""
    return 2 * HALF_CELL * sqrt(RADIUS[0] ** 2 + RADIUS[1] ** 2 * delta)


@njit(**PLAIN)
def degree_for(delta: float, step: float, digits: float) -> int:
    """The smallest degree for which H, step H' and step² H'' have errors below 10^−digits; DEGREES.stop if none has.

    A bound, for step ≤ largest_step(δ); errors of patches and rounding, up to 1e-12 of H'', are not in it.
    Interpolation of H'' at N − 1 Chebyshev points errs by less than 2 (h/4)^{N−1} max |H⁽ᴺ⁺¹⁾| / (N − 1)!, and H' and
    H, integrated from the centre, by h/2 and h²/8 of that. With n = N + 1 the characteristic function of H' bounds its
    derivatives: since |Γ(1 + ik)|² = πk/sinh πk, and k² ≥ 2ck − c² for any c,

        |H⁽ⁿ⁾| ≤ (1/π) ∫ |Γ(1 + ik)| kⁿ⁻¹ e^{−δk²/2} dk ≤ 1.1 (2/π)^½ Γ(n + ½) e^{δc²/2} (π/2 + δc)^{−n−½},

    where 1.1 is for small k, and c = (n − ½)/(π/2 + δc) the best choice: the radius of convergence, in effect, is
    π/2 + δc.
    """
    for degree in range(_FIRST, _STOP):
        n = degree + 1
        c = 2 * (n - 0.5) / (0.5 * pi + sqrt(0.25 * pi * pi + 4 * delta * (n - 0.5)))
        derivative = 0.5 * log(2 / pi) + lgamma(n + 0.5) + 0.5 * delta * c * c - (n + 0.5) * log(0.5 * pi + delta * c)
        bound = log(2.2) + 2 * log(step) + (degree - 1) * log(0.25 * step) + derivative - lgamma(float(degree))
        if bound <= -digits * log(10.0):
            return degree
    return _STOP


@njit(**FLAGS)
def _inside(position: Any, reach: float, level: Any, degree: int, table: Array, factors: Array, block: Array) -> None:
    """block[n] = a_n for points at these positions, in R from the first centre; reach = h/R, level = (patches, row)."""
    patches, row = level
    index = position * (1.0 / SPACING) + 0.5
    index = _whole(select(index > 0.0, select(index < patches - 0.5, index, patches - 0.5), 0.0))
    x = position - SPACING * index
    c = empty(TERMS)
    _gather(table, row + TERMS * index, factors, c)
    value, slope = c[TERMS - 1], 0.0 * x
    for k in range(TERMS - 2, -1, -1):
        slope = slope * x + value
        value = value * x + c[k]
    block[0], block[1] = value, reach * slope
    for k in range(2, TERMS):
        c[k] = c[k] * (reach * reach * (k * (k - 1)))

    rule, pairs = table.size - _FACTORS - (_STOP - degree) * _RULE, (degree + 2) // 4 * 2
    sums, differences = empty(_PAIRS), empty(_PAIRS)
    for i in range(0, pairs, 2):
        far, near = reach * table[rule + i], reach * table[rule + i + 1]
        f0 = f1 = f2 = f3 = c[TERMS - 1]
        for k in range(TERMS - 2, 1, -1):
            f0, f1, f2, f3 = (
                f0 * (x + far) + c[k], f1 * (x - far) + c[k], f2 * (x + near) + c[k], f3 * (x - near) + c[k],
            )  # fmt: skip
        sums[i], differences[i], sums[i + 1], differences[i + 1] = f0 + f1, f0 - f1, f2 + f3, f2 - f3
    for n in range(2, degree + 1, 2):
        even, odd = rule + (n - 1) * _PAIRS, rule + n * _PAIRS
        e0, e1 = table[even] * sums[0], table[even + 1] * sums[1]
        o0, o1 = table[odd] * differences[0], table[odd + 1] * differences[1]
        for i in range(2, pairs, 2):
            e0, e1 = e0 + table[even + i] * sums[i], e1 + table[even + i + 1] * sums[i + 1]
            o0, o1 = o0 + table[odd + i] * differences[i], o1 + table[odd + i + 1] * differences[i + 1]
        block[n], block[n + 1] = e0 + e1, o0 + o1


@njit(**FLAGS)
def _tail(y: Any, delta: float, step: float, terms: float, degree: int, block: Array) -> None:
    """block[n] = coefficients of 1 − Σ_k (−1)^{k+1} e^{−ky + k²δ/2}/k! where y is beyond the patches."""
    block[0] = 1.0 + 0.0 * y
    for n in range(1, degree + 1):
        block[n] = 0.0 * y
    weight = 1.0
    for k in range(1, int(terms) + 1):
        weight *= -1.0 / k
        part = weight * exp(0.5 * k * k * delta - k * y)
        for n in range(degree + 1):
            block[n] += part
            part *= -k * step / (n + 1.0)


@njit(**FLAGS)
def taylor_rows(delta: float, first: float, step: float, count: int, degree: int, table: Array, out: Array) -> None:
    """out[n, q] = a_n of the cell around y_q = first + q step, for n ≤ degree and q < count.

    delta: δ ≥ 0, beyond HIGHEST and nan give nan; a negative one, as rounding leaves, counts as zero. step: at most
    largest_step(δ); degree: of DEGREES; neither is checked. table: gumbel_table(). out (> degree, columns), C-ordered,
    columns a multiple of W: they are written up to the next multiple of W from `count`, as if the grid went on.

    Source  theory.md, section 15.
    """
    columns, blocks = out.shape[1] // W, (count + W - 1) // W
    if not (delta <= HIGHEST and isfinite(first)):
        for n in range(degree + 1):
            for block in range(blocks):
                store(out, n * columns + block, np.nan)
        return
    delta = max(delta, 0.0)
    mantissa, exponent = frexp(delta + SHIFT)
    eighth = int(16.0 * mantissa) - 8
    head = ((exponent + 3) * 8 + eighth) * HEADER
    centre, scale, patches, terms, row = table[head], table[head + 1], table[head + 2], table[head + 3], table[head + 4]
    tau = 0.5 * (delta + SHIFT - ldexp(0.5 + (eighth + 0.5) / 16.0, exponent)) * scale * scale
    factors = stack.empty(_FACTORS)
    power, place, known = 1.0, 0, table.size - _FACTORS
    for j in range(1, TERMS // 2):
        power *= tau
        for _ in range(TERMS - 2 * j):
            factors[place] = power * table[known + place]
            place += 1
    low = centre - 0.5 * SPACING / scale
    high = low + patches * SPACING / scale
    points, a, tails = stack.empty(W), empty(_STOP + 1), empty(_STOP)
    for z in range(W):
        points[z] = first + step * z
    grid = load(points, 0)
    for block in range(blocks):
        y = grid + step * (W * block)
        below, above = y < low, y >= high
        if some(~(below | above)):
            _inside((y - centre) * scale, step * scale, (patches, row), degree, table, factors, a)
        if some(above):
            _tail(select(above, y, high), delta, step, terms, degree, tails)
        for n in range(degree + 1):
            store(out, n * columns + block, select(below, 0.0, select(above, tails[n], a[n])))
