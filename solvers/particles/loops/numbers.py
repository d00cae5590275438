"""Random numbers of streams.py, and the functions that everything here is written with, as plain loops.

LLVM turns them into vector instructions: random numbers over coordinates, with polynomials for log, cos and sin
(coefficients of fdlibm, errors below 2e-16 of the result). The loops are simple because LLVM gives up on others.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from solvers.machine.code.entries import entry as kept
from solvers.machine.options import PLAIN
from solvers.particles.streams import INCREMENTS, MULTIPLIERS, ROUNDS, TILE

STRETCH = 128 * TILE  # coordinates drawn before they are used: few enough for the first-level cache, means included

_types: Any = numba.types
_M0, _M1, _W0, _W1 = map(np.uint64, (*MULTIPLIERS, *INCREMENTS))
_LOW, _HALF, _DROP = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(12)
_ONE, _MANTISSA, _EXPONENT = np.uint64(1023 << 52), np.uint64((1 << 52) - 1), np.uint64(52)
_ROOT_HALF = np.uint64(0x3FE6A09E667F3BCD)  # the bits of √½: mantissas are taken from there to √2
_SIGN_FROM_BIT_1, _FIRST, _SECOND = np.uint64(62), np.uint64(1), np.uint64(2)
_ROUNDS, _PAIRS = ROUNDS, TILE // 2

_LN2 = math.log(2.0)
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_SIN = (
    -1.66666666666666324348e-01,
    8.33333333332248946124e-03,
    -1.98412698298579493134e-04,
    2.75573137070700676789e-06,
    -2.50507602534068634195e-08,
    1.58969099521155010221e-10,
)
_COS = (
    4.16666666666666019037e-02,
    -1.38888888888741095749e-03,
    2.48015872894767294178e-05,
    -2.75573143513906633035e-07,
    2.08757232129817482790e-09,
    -1.13596475577881948265e-11,
)
_EXP = tuple(1.0 / math.factorial(n) for n in range(14))
_FLUSH = -700.0  # e^−700 stands for what is smaller: nothing here is added to numbers that small
_QUARTER = math.pi / 2


@intrinsic
def _double(typing: Any, bits: Any) -> Any:
    """The float64 with these bits."""
    return _types.float64(_types.uint64), lambda c, builder, s, args: builder.bitcast(args[0], ir.DoubleType())


@intrinsic
def _bits(typing: Any, number: Any) -> Any:
    """The bits of a float64."""
    return _types.uint64(_types.float64), lambda c, builder, s, args: builder.bitcast(args[0], ir.IntType(64))


inline = njit(inline="always", error_model="numpy")
# Functions of one particle at a time: the compiler need not treat those at the end of a block like the others, but
# without contraction of products and sums every way of computing gives the same bits.
exact = njit(**PLAIN)
compiled = njit(**PLAIN, fastmath={"contract"})
# Sums over coordinates are cut into vectors: their order is that of the machine's vectors, always the same.
reordered = njit(**PLAIN, fastmath={"contract", "reassoc", "nsz"})
# What Python calls: kept in the cache, with all that it needs.
entry = kept(**PLAIN)


@inline
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(_ROUNDS):
        first, second = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
        c0, c1, c2, c3 = (second >> _HALF) ^ c1 ^ k0, second & _LOW, (first >> _HALF) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inline
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of a normal positive number."""
    shifted = _bits(x) + (_ONE - _ROOT_HALF)
    exponent = np.float64(np.int64(shifted >> _EXPONENT) - 1023)
    f = _double((shifted & _MANTISSA) + _ROOT_HALF) - 1.0
    s = f / (2.0 + f)
    z = s * s
    tail = _LOG[0] + z * (_LOG[1] + z * (_LOG[2] + z * (_LOG[3] + z * (_LOG[4] + z * (_LOG[5] + z * _LOG[6])))))
    return exponent * _LN2 + (f - s * (f - z * tail))


@inline
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for x ≤ 0, at least e^−700; nan stays nan."""
    x = _FLUSH if x < _FLUSH else x
    n = np.floor(x * (1.0 / _LN2) + 0.5)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    total = _EXP[13]
    for m in range(12, -1, -1):
        total = total * r + _EXP[m]
    return total * _double(np.uint64(np.int64(n) + 1023) << _EXPONENT)


@inline
def _pair(pair, particle, step, source, k0, k1):  # type: ignore[no-untyped-def]
    """Two standard normal numbers; line by line the definition of streams.py."""
    x0, x1, x2, x3 = philox(pair, particle, step, source, k0, k1)
    r = math.sqrt(-2.0 * log(2.0 - _double((((x0 << _HALF) | x1) >> _DROP) | _ONE)))
    angle = (_double((((x2 << _HALF) | x3) >> _DROP) | _ONE) - 1.5) * _QUARTER
    z = angle * angle
    b = angle + angle * z * (_SIN[0] + z * (_SIN[1] + z * (_SIN[2] + z * (_SIN[3] + z * (_SIN[4] + z * _SIN[5])))))
    a = (1.0 - 0.5 * z) + z * z * (
        _COS[0] + z * (_COS[1] + z * (_COS[2] + z * (_COS[3] + z * (_COS[4] + z * _COS[5]))))
    )
    a = _double(_bits(a) ^ ((x3 & _SECOND) << _SIGN_FROM_BIT_1))
    exchange = (x3 & _FIRST) != 0
    return r * (b if exchange else a), r * (a if exchange else b)


# Rows are passed by their index and cut out inside: a slice passed between functions is counted in memory by atomic
# instructions, which cost as much as drawing ten numbers. Only in slices does LLVM see that no index is negative.


@compiled
def draw(x, row, rows, begin, end, particle, step, source, k0, k1):  # type: ignore[no-untyped-def]
    """Fill x[row : row + rows, begin:end], whole tiles of coordinates, with normal numbers of so many particles, from
    `particle` on. From there on: np.uint64. A call costs as much as 40 numbers."""
    for p in range(rows):
        tiles = x[row + p, begin:end].reshape((end - begin) // TILE, TILE)
        number = particle + np.uint64(p)
        for i in range(tiles.shape[0]):
            for z in range(_PAIRS):
                a, b = _pair(np.uint64(begin // 2 + i * _PAIRS + z), number, step, source, k0, k1)
                tiles[i, z] = a
                tiles[i, z + _PAIRS] = b
