"""The estimator of estimate.py compiled for CPUs: drawn, evaluated and reduced a few particles at a time.

Everything is written as plain loops that LLVM turns into vector instructions: the random numbers of streams.py over
coordinates, with polynomials for log, cos and sin (coefficients of fdlibm, errors below 2e-16 of the result); inner
products and sums of x over coordinates; responsibilities over particles. The loops are few and simple because LLVM
gives up on others: an array read beside the one written is enough, so means are added in a loop of their own.

Sums over particles run in the order of the particles, so neither blocks nor threads change a bit of the result.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit
from numba.extending import intrinsic

from solvers.particles.estimate import Averages, Draws, Mixtures, Report, sources
from solvers.particles.streams import INCREMENTS, MULTIPLIERS, ROUNDS, TILE

_types: Any = numba.types
_M0, _M1, _W0, _W1 = map(np.uint64, (*MULTIPLIERS, *INCREMENTS))
_LOW, _HALF, _DROP = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(12)
_ONE, _MANTISSA, _EXPONENT = np.uint64(1023 << 52), np.uint64((1 << 52) - 1), np.uint64(52)
_ROOT_HALF = np.uint64(0x3FE6A09E667F3BCD)  # the bits of √½: mantissas are taken from there to √2
_SIGN_FROM_BIT_1, _FIRST, _SECOND = np.uint64(62), np.uint64(1), np.uint64(2)
_ROUNDS, _PAIRS = ROUNDS, TILE // 2
_STRETCH = 128 * TILE  # coordinates drawn before they are used: few enough for the first-level cache, means included

CALL_NORMALS = 2**26  # drawn in one call, a tenth of a second: compiled code hears of no Ctrl-C

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


_inline = njit(inline="always", error_model="numpy")
# Functions of one particle at a time: the compiler need not treat those at the end of a block like the others, but
# without contraction of products and sums every way of computing gives the same bits.
_exact = njit(nogil=True, cache=True, error_model="numpy")
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
# Sums over coordinates are cut into vectors: their order is that of the machine's vectors, always the same.
_reordered = njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@_inline
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    for _ in range(_ROUNDS):
        first, second = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
        c0, c1, c2, c3 = (second >> _HALF) ^ c1 ^ k0, second & _LOW, (first >> _HALF) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@_inline
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of a normal positive number."""
    shifted = _bits(x) + (_ONE - _ROOT_HALF)
    exponent = np.float64(np.int64(shifted >> _EXPONENT) - 1023)
    f = _double((shifted & _MANTISSA) + _ROOT_HALF) - 1.0
    s = f / (2.0 + f)
    z = s * s
    tail = _LOG[0] + z * (_LOG[1] + z * (_LOG[2] + z * (_LOG[3] + z * (_LOG[4] + z * (_LOG[5] + z * _LOG[6])))))
    return exponent * _LN2 + (f - s * (f - z * tail))


@_inline
def exp(x):  # type: ignore[no-untyped-def]
    """e^x for x ≤ 0, at least e^−700; nan stays nan."""
    x = _FLUSH if x < _FLUSH else x
    n = np.floor(x * (1.0 / _LN2) + 0.5)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    total = _EXP[13]
    for m in range(12, -1, -1):
        total = total * r + _EXP[m]
    return total * _double(np.uint64(np.int64(n) + 1023) << _EXPONENT)


@_inline
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


@_compiled
def draw(x, row, begin, end, particle, step, source, k0, k1):  # type: ignore[no-untyped-def]
    """Fill x[row, begin:end], whole tiles of coordinates, with normal numbers. From `particle` on: np.uint64."""
    tiles = x[row, begin:end].reshape((end - begin) // TILE, TILE)
    for i in range(tiles.shape[0]):
        for z in range(_PAIRS):
            a, b = _pair(np.uint64(begin // 2 + i * _PAIRS + z), particle, step, source, k0, k1)
            tiles[i, z] = a
            tiles[i, z + _PAIRS] = b


@_compiled
def _place(x, row, begin, end, means, origin, scale, d):  # type: ignore[no-untyped-def]
    """x[row] becomes mean + scale·x between begin and end, 0 beyond d."""
    part, mean = x[row, begin:end], means[origin, begin:end]
    for j in range(part.size):
        part[j] = mean[j] + scale * part[j]
    for j in range(d - begin, part.size):
        part[j] = 0.0


@_reordered
def _dot(x, row, begin, end, y, other):  # type: ignore[no-untyped-def]
    one, two = x[row, begin:end], y[other, begin:end]
    total = 0.0
    for j in range(one.size):
        total += one[j] * two[j]
    return total


@_exact
def _normalise(terms, top, total, count):  # type: ignore[no-untyped-def]
    """top becomes log Σ_a exp(terms_a), terms become exp(terms − that), particle by particle (term, particle)."""
    for p in range(count):
        top[p] = terms[0, p]
        total[p] = 0.0
    for a in range(1, terms.shape[0]):
        for p in range(count):
            top[p] = terms[a, p] if terms[a, p] > top[p] else top[p]
    for a in range(terms.shape[0]):
        for p in range(count):
            terms[a, p] = exp(terms[a, p] - top[p])
        for p in range(count):
            total[p] += terms[a, p]
    for a in range(terms.shape[0]):
        for p in range(count):
            terms[a, p] /= total[p]
    for p in range(count):
        top[p] += log(total[p])


@_compiled
def _add_multiples(total, x, factor, count):  # type: ignore[no-untyped-def]
    """total (width,) += Σ_p factor[p] x[p], in the order of p, four at a time so that total is read less often."""
    fours = count // 4 * 4
    for p in range(0, fours, 4):
        f0, f1, f2, f3 = factor[p], factor[p + 1], factor[p + 2], factor[p + 3]
        x0, x1, x2, x3 = x[p], x[p + 1], x[p + 2], x[p + 3]
        for j in range(total.size):
            total[j] = (((total[j] + f0 * x0[j]) + f1 * x1[j]) + f2 * x2[j]) + f3 * x3[j]
    for p in range(fours, count):
        f0, x0 = factor[p], x[p]
        for j in range(total.size):
            total[j] += f0 * x0[j]


@_exact
def accumulate(  # type: ignore[no-untyped-def]
    means, variances, constants, gram, K, beta, forward, keys, step, first, last, d, x, work, moment, table, scalar
):
    """Add the particles first ≤ n < last of every source and replica to the sums of estimate.py.

    means (replica, A, width), width = d filled up with zeros to whole tiles; A = K + L; variances, constants (replica,
    A): see Mixtures; gram (replica, A, A); keys (replica, 2); x (block, width) and work (2 A + 4, block): scratch;
    moment (replica, source, coefficient, width), table (replica, source, A), scalar (replica, source, 1 + coefficient):
    the log-ratio, then the squares.
    """
    block, width = x.shape
    replicas, A = means.shape[:2]
    terms, dots, square = work[:A], work[A : 2 * A], work[2 * A]
    log_q, log_p, total = work[2 * A + 1], work[2 * A + 2], work[2 * A + 3]
    for g in range(replicas):
        mean, variance, constant = means[g], variances[g], constants[g]
        for s in range(moment.shape[1]):
            origin = K + s if forward else s
            scale = math.sqrt(variance[origin])
            for begin in range(first, last, block):
                count = min(block, last - begin)
                dots[:, :count] = 0.0
                square[:count] = 0.0
                for j in range(0, width, _STRETCH):
                    end = min(j + _STRETCH, width)
                    for p in range(count):
                        particle = np.uint64(begin + p)
                        draw(x, p, j, end, particle, step, np.uint64(origin), keys[g, 0], keys[g, 1])
                        _place(x, p, j, end, mean, origin, scale, d)
                        square[p] += _dot(x, p, j, end, x, p)
                        for a in range(A):
                            dots[a, p] += _dot(x, p, j, end, mean, a)
                for a in range(A):
                    inverse, shift = 1.0 / variance[a], constant[a]
                    for p in range(count):
                        terms[a, p] = (dots[a, p] - 0.5 * square[p]) * inverse + shift
                _normalise(terms[:K], log_q, total, count)
                _normalise(terms[K:], log_p, total, count)
                for p in range(count):
                    scalar[g, s, 0] += log_q[p] - beta * log_p[p]
                for a in range(A):
                    for p in range(count):
                        table[g, s, a] += terms[a, p]
                if forward:
                    for k in range(K):
                        norm = gram[g, k, k]
                        for p in range(count):
                            scalar[g, s, 1 + k] += terms[k, p] * (square[p] - 2.0 * dots[k, p] + norm)
                        _add_multiples(moment[g, s, k], x, terms[k], count)
                else:
                    # slope and (x − μ)·g, from g = slope·x + Σ_a factor_a·terms_a·mean_a
                    slope, along = total, log_q
                    for p in range(count):
                        slope[p] = 0.0
                        along[p] = 0.0
                    for a in range(A):
                        factor = (1.0 if a < K else -beta) / variance[a]
                        shift = gram[g, s, a]
                        for p in range(count):
                            slope[p] -= factor * terms[a, p]
                            along[p] += factor * terms[a, p] * (dots[a, p] - shift)
                    for p in range(count):
                        scalar[g, s, 1] += slope[p] * (square[p] - dots[s, p]) + along[p]
                    _add_multiples(moment[g, s, 0], x, slope, count)


def sample(
    at: Mixtures, forward: bool, draws: Draws, *, particles: int, block: int, report: Report | None = None
) -> Averages:
    """What estimate.py computes, compiled: the same averages from the same random numbers, to rounding.

    Takes
        block: particles held at a time; report: called with the number of particles finished, of all sources and
        replicas, some times a second.
    Returns
        Averages, the same bits for every block.
    """
    replicas, A, d = at.means.shape
    K, drawn_from = at.components, len(sources(at, forward))
    width = -(-d // TILE) * TILE
    means = np.zeros((replicas, A, width))
    means[..., :d] = at.means
    gram = at.gram
    moment = np.zeros((replicas, drawn_from, K if forward else 1, width))
    table, scalar = np.zeros((replicas, drawn_from, A)), np.zeros((replicas, drawn_from, 1 + moment.shape[2]))
    x, work = np.empty((block, width)), np.empty((2 * A + 4, block))
    inputs = means, at.variances, at.constants(gram), gram, K, at.beta, forward, draws.keys, np.uint64(draws.step)
    stretch = block * max(1, CALL_NORMALS // (replicas * drawn_from * width * block))
    for first in range(0, particles, stretch):
        last = min(first + stretch, particles)
        accumulate(*inputs, first, last, d, x, work, moment, table, scalar)
        if report:
            report(replicas * drawn_from * (last - first))
    return Averages(
        moment[..., :d] / particles, table / particles, scalar[..., 0] / particles, scalar[..., 1:] / particles
    )
