"""NumPy's Philox4x64-10 for numba, and what NumPy's own distributions make of it: many generators in one loop.

NumPy's generators are C functions that ask a struct of function pointers for numbers (numpy/random/bitgen.h); its
distributions are C functions of such a struct (its documentation: random, Extending). Here the struct is filled with
functions of this file, so what is drawn are NumPy's numbers to the bit, without a Python object for every generator.
solvers.machine.draws executes a copy of this file.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import njit, types

from solvers.machine.code.entries import callback, entry
from solvers.machine.options import FLAGS

Array = Any

carray: Any = numba.carray  # type: ignore[attr-defined]
_STATE = types.CPointer(types.uint64)
_fill: Any = types.ExternalFunction(
    "random_standard_normal_fill", types.void(_STATE, types.int64, types.CPointer(types.float64))
)
_chisquare: Any = types.ExternalFunction("random_chisquare", types.float64(_STATE, types.float64))

#: Places of a state: counter, key, numbers made and how many of them are given away, half of one and whether there is.
COUNTER, KEY, MADE, GIVEN, HALF, HALVED, STATE = 0, 4, 6, 10, 11, 12, 13
M0, M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
W0, W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
LOW, SHORT = np.uint64(0xFFFFFFFF), np.uint64(32)


@njit(**FLAGS)
def _high(a: Any, b: Any) -> Any:
    """The upper 64 bits of a product of 128."""
    a0, a1, b0, b1 = a & LOW, a >> SHORT, b & LOW, b >> SHORT
    middle = a1 * b0 + (a0 * b0 >> SHORT)
    other = a0 * b1 + (middle & LOW)
    return a1 * b1 + (middle >> SHORT) + (other >> SHORT)


@njit(**FLAGS)
def _next(state: Array) -> Any:
    if state[GIVEN] == np.uint64(4):
        for n in range(COUNTER, KEY):
            state[n] += np.uint64(1)
            if state[n] != np.uint64(0):
                break
        c0, c1, c2, c3 = state[COUNTER], state[COUNTER + 1], state[COUNTER + 2], state[COUNTER + 3]
        k0, k1 = state[KEY], state[KEY + 1]
        for _ in range(10):
            c0, c1, c2, c3 = _high(M1, c2) ^ c1 ^ k0, M1 * c2, _high(M0, c0) ^ c3 ^ k1, M0 * c0
            k0, k1 = k0 + W0, k1 + W1
        state[MADE], state[MADE + 1], state[MADE + 2], state[MADE + 3] = c0, c1, c2, c3
        state[GIVEN] = np.uint64(0)
    number = state[MADE + np.int64(state[GIVEN])]
    state[GIVEN] += np.uint64(1)
    return number


@callback(types.uint64(_STATE), **FLAGS)
def next_uint64(state: Any) -> Any:
    return _next(carray(state, (STATE,)))


@callback(types.uint32(_STATE), **FLAGS)
def next_uint32(state: Any) -> Any:
    """The lower half of a number, and the upper one when asked again."""
    own = carray(state, (STATE,))
    if own[HALVED] == np.uint64(0):
        number = _next(own)
        own[HALF], own[HALVED] = number >> SHORT, np.uint64(1)
        return np.uint32(number & LOW)
    own[HALVED] = np.uint64(0)
    return np.uint32(own[HALF])


@callback(types.float64(_STATE), **FLAGS)
def next_double(state: Any) -> Any:
    return np.float64(_next(carray(state, (STATE,))) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@entry(**FLAGS)
def draw(
    struct: Array, state: Array, chosen: Array, counter: Array, normal: Array, square: Array, freedom: Array
) -> None:
    """Rows of normal (n, a) and square (n, b), chi-squares of these degrees of freedom (b,), drawn in this order by
    a generator each, of the key (state[KEY], chosen[row]) and this counter (4,)."""
    for row in range(len(chosen)):
        for n in range(KEY):
            state[n] = counter[n]
        state[KEY + 1], state[GIVEN], state[HALVED] = chosen[row], np.uint64(4), np.uint64(0)
        _fill(struct.ctypes, normal.shape[1], normal[row].ctypes)
        for n in range(len(freedom)):
            square[row, n] = _chisquare(struct.ctypes, freedom[n])
