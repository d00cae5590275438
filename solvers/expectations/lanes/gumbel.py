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
from math import exp, frexp, isfinite, ldexp
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from solvers.expectations.gumbel_normal import HALF_CELL, HEADER, HIGHEST, SHIFT, SPACING, gumbel_coefficients
from solvers.expectations.logistic_normal import TERMS
from solvers.machine import stack
from solvers.machine.instructions import BLOCK, LANES, Lanes, Short
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, empty, load, select, some, store

__all__ = ["DEGREES", "gumbel_table", "taylor_rows"]

Array = Any

DEGREES = range(4, 17)
"""Those that taylor_rows can do."""
_GROUP = 4  # points of a cell that are evaluated together
_ROOM = 16  # numbers in a row of a rule: DEGREES.stop − 2 points, to a whole number of groups
_STOP = DEGREES.stop
_RULE = (1 + _ROOM) * _ROOM
_FACTORS = sum((TERMS - 1 - k) // 2 for k in range(TERMS))


@lru_cache(maxsize=1)
def gumbel_table() -> NDArray[np.float64]:
    """What taylor_rows takes, flat, read-only: the coefficients of H, and a rule for each degree.

    A rule is a row of nodes and _ROOM rows of the matrix from values of H'' there to p_n/((n + 1)(n + 2)).
    """
    table = np.concatenate([gumbel_coefficients(), *(_rule(degree).ravel() for degree in DEGREES)])
    table.setflags(write=False)
    return table


def _rule(degree: int) -> NDArray[np.float64]:
    rule, points = np.zeros((1 + _ROOM, _ROOM)), degree - 1
    order = np.arange(points)
    angles = np.pi * (order + 0.5) / points
    rule[0, :points] = 0.5 * np.cos(angles)
    # Values to coefficients of Chebyshev polynomials in 2x, these to powers of x; no system of equations is solved.
    chebyshev = np.cos(np.outer(order, angles)) * np.where(order == 0, 1, 2)[:, None] / points
    powers = np.zeros((points, points))
    for n in order:
        powers[: n + 1, n] = np.polynomial.chebyshev.cheb2poly([0] * n + [1])
    rule[1 : 1 + points, :points] = (2.0**order / ((order + 1) * (order + 2)))[:, None] * (powers @ chebyshev)
    return rule


@intrinsic
def _whole(typing: Any, x: Any) -> Any:
    """x rounded towards zero."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return Lanes(builder, W).call("trunc", Lanes(builder, W).real(args[0])).value

    return x(x), emit


@intrinsic
def _gather_rows(typing: Any, table: Any, start: Any, out: Any) -> Any:
    """out[n] = table[start + n] lane by lane, n < TERMS; `start` a vector of whole numbers, out vectors."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, out = (context.make_array(signature.args[n])(context, builder, args[n]).data for n in (0, 2))
        lanes, place = Lanes(builder, LANES), ir.IntType(64)
        out = builder.bitcast(out, ir.DoubleType().as_pointer())
        index = Lanes(builder, W).real(args[1]).short().value
        for z in range(0, W, LANES):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), list(range(z, z + LANES)))
            part = Short(lanes, builder.shuffle_vector(index, index, mask))
            for n in range(0, TERMS, BLOCK):
                for m, column in enumerate(lanes.gather_block(table, part + n)):
                    lanes.store(column, out, place((n + m) * W + z))
        return context.get_dummy_value()

    return types.void(table, start, out), emit


@njit(**FLAGS)
def _inside(position: Any, reach: float, level: Any, degree: int, table: Array, factors: Array, block: Array) -> None:
    """block[n] = a_n for points at these positions, in R from the first centre; reach = h/R, level = (patches, row)."""
    patches, row = level
    index = position * (1.0 / SPACING) + 0.5
    index = _whole(select(index > 0.0, select(index < patches - 0.5, index, patches - 0.5), 0.0))
    x = position - SPACING * index
    c = empty(TERMS)
    _gather_rows(table, row + TERMS * index, c)
    place = 0
    for k in range(TERMS):
        total = c[k]
        for j in range(1, (TERMS - 1 - k) // 2 + 1):
            total += factors[place] * c[k + 2 * j]
            place += 1
        c[k] = total
    value, slope = c[TERMS - 1], 0.0 * x
    for k in range(TERMS - 2, -1, -1):
        slope = slope * x + value
        value = value * x + c[k]
    block[0], block[1] = value, reach * slope
    for k in range(2, TERMS):
        c[k] = c[k] * (reach * reach * (k * (k - 1)))

    rule, points = table.size - (_STOP - degree) * _RULE, degree - 1
    f = empty(_ROOM)
    for i in range(0, points, _GROUP):
        x0, x1 = x + reach * table[rule + i], x + reach * table[rule + i + 1]
        x2, x3 = x + reach * table[rule + i + 2], x + reach * table[rule + i + 3]
        f0 = f1 = f2 = f3 = c[TERMS - 1]
        for k in range(TERMS - 2, 1, -1):
            f0, f1, f2, f3 = f0 * x0 + c[k], f1 * x1 + c[k], f2 * x2 + c[k], f3 * x3 + c[k]
        f[i], f[i + 1], f[i + 2], f[i + 3] = f0, f1, f2, f3
    # Nodes are symmetric: even powers take sums of values, odd ones differences.
    for i in range(points // 2):
        f[i], f[points - 1 - i] = f[i] + f[points - 1 - i], f[i] - f[points - 1 - i]
    for n in range(points):
        rule += _ROOM
        if n % 2 == 0:
            total = table[rule] * f[0]
            for i in range(1, (points + 1) // 2):
                total += table[rule + i] * f[i]
        else:
            total = table[rule] * f[points - 1]
            for i in range(1, points // 2):
                total += table[rule + i] * f[points - 1 - i]
        block[n + 2] = total


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
    place = 0
    for k in range(TERMS):
        factor = 1.0
        for j in range(1, (TERMS - 1 - k) // 2 + 1):
            factor *= tau * ((k + 2 * j) * (k + 2 * j - 1)) / j
            factors[place] = factor
            place += 1
    low = centre - 0.5 * SPACING / scale
    high = low + patches * SPACING / scale - HALF_CELL / scale
    points, a, tails = stack.empty(W), empty(_STOP), empty(_STOP)
    for z in range(W):
        points[z] = first + step * z
    grid = load(points, 0)
    for block in range(blocks):
        y = grid + step * (W * block)
        below, above = y < low, y >= high
        _inside((y - centre) * scale, step * scale, (patches, row), degree, table, factors, a)
        if some(above):
            _tail(select(above, y, high), delta, step, terms, degree, tails)
            for n in range(degree + 1):
                a[n] = select(above, tails[n], a[n])
        for n in range(degree + 1):
            store(out, n * columns + block, select(below, 0.0, a[n]))
