"""Exponential, logarithm and divergence of vectors, and scratch rows for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic, overload

from solvers.expectations.divergence import SERIES, TERMS
from solvers.machine.instructions import LANES, Lanes, exponential
from solvers.machine.options import FLAGS
from solvers.machine.simd import Floats, W, fabs, select

__all__ = ["decay", "divergence", "logarithm", "vectors"]

Array = Any

assert W % LANES == 0

_HALF_ROOT = 0x3FE6A09E667F3BCD  # the bits of √½
_WHOLE = 0x433 << 52 | 1 << 51  # the bits of 1.5 · 2^52: an integer added to them is one added to the double


@intrinsic
def decay(typing: Any, x: Any) -> Any:
    """e^x for x ≤ 0, to two units in the last place."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return exponential(Lanes(builder, W).real(args[0])).value

    return x(x), emit


@intrinsic
def _octave(typing: Any, x: Any) -> Any:
    """e of x = m 2^e with √½ ≤ m < √2, as a double; x positive and normal."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        power = Lanes(builder, W).real(args[0]).bits() - _HALF_ROOT >> 52
        return ((power + _WHOLE).double() - 6755399441055744.0).value

    return x(x), emit


@intrinsic
def _mantissa(typing: Any, x: Any) -> Any:
    """m of x = m 2^e with √½ ≤ m < √2; x positive and normal."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = Lanes(builder, W).real(args[0]).bits()
        return (bits - ((bits - _HALF_ROOT >> 52) << 52)).double().value

    return x(x), emit


@njit(**FLAGS)
def logarithm(x: Any) -> Any:
    """log x to 2e-16 max(1, |log x|), x positive and normal; nan stays nan."""
    m = _mantissa(x)
    ratio = (m - 1.0) / (m + 1.0)
    square = ratio * ratio
    series = square * (1.0 / 21.0) + 1.0 / 19.0
    for n in range(17, 0, -2):
        series = series * square + 1.0 / n
    # The bits of nan would pass for a number.
    return _octave(x) * 0.6931471805599453 + 2.0 * ratio * series + 0.0 * x


@overload(math.log, strict=False)
def _logarithm(x: Any) -> Any:
    return (lambda x: logarithm(x)) if x == Floats() else None


@njit(**FLAGS)
def divergence(above: Any, below: Any) -> Any:
    """h(above/below), as solvers.expectations.divergence has it; nan stays nan."""
    e, r = (above - below) / below, (above - below) / (above + below)
    near = fabs(r) < SERIES
    square = select(near, r * r, 0.0 * r)
    series = square * (1.0 / (2 * TERMS + 3))
    for n in range(TERMS, 0, -1):
        series = (series + 1.0 / (2 * n + 1)) * square
    return 0.5 * select(near, r * (e - 2.0 * series), e - logarithm(above / below))


@njit(**FLAGS)
def vectors(rows: int) -> Array:
    """Zeros (rows, W), every row on one cache line: a load across two costs twice."""
    raw = np.zeros(rows * W + 8)
    start = (-raw.ctypes.data % 64) // 8
    return raw[start : start + rows * W].reshape(rows, W)
