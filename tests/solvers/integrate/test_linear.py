"""Triangular factors in lanes, and vector operations."""

import numpy as np
import pytest

from solvers.integrate.linear import factorise, solve
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, fabs, larger, load, select, some, store
from tests.limits import ROUNDING


@entry(**FLAGS)
def solved(matrix, x, swap):
    n = len(x)
    swapped = factorise(matrix, n, swap)
    solve(matrix, n, swap, swapped, x)
    return swapped


@pytest.mark.slow
def test_lanes_are_solved_and_exchange_rows_on_their_own():
    n, rng = 7, np.random.default_rng(0)
    matrix, right = rng.normal(size=(n, n, W)), rng.normal(size=(n, W))
    matrix[:, :, ::2] += 30 * np.eye(n)[:, :, None]  # even lanes need no exchange
    matrix[0, 0, 1] = 0.0
    x, swap = right.copy(), np.zeros((n, W), dtype=np.int64)
    assert solved(matrix.copy(), x, swap)
    expected = np.stack([np.linalg.solve(matrix[:, :, z], right[:, z]) for z in range(W)], axis=1)
    assert x == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert np.array_equal(swap[:, ::2], np.broadcast_to(np.arange(n)[:, None], (n, W // 2)))
    tame, alone = np.repeat(matrix[:, :, :1], W, axis=2), np.repeat(right[:, :1], W, axis=1)
    assert not solved(tame.copy(), alone, swap)
    assert np.array_equal(alone[:, 0], x[:, 0])  # the company of lanes with exchanges changes no bit


@entry(**FLAGS)
def operate(a, out):
    x, y = load(a, 0), load(a, 1)  # type: ignore[call-arg]  # numba hands over the first argument itself
    store(out, 0, x + 2 * y - 1)
    store(out, 1, -x * y / 3.0)
    z = 0.5 * x
    z += y
    z -= x
    z *= y
    store(out, 2, z)
    store(out, 3, larger(x, y))
    store(out, 4, fabs(x))
    store(out, 5, select((x < y) | ~(x <= 0.5), 1.0, x))
    store(out, 6, select((x == x) & (x != y) & (y >= -10) & (x > -10.0), x, 7))
    store(out, 7, 3)
    return some(x > 2.5), some(x > 1e3)


def test_vectors_do_what_numpy_does_lane_by_lane():
    a = np.zeros((2, W))
    a[0], a[1] = np.linspace(-3, 3, W), np.cos(np.arange(W))
    a[0, 2] = a[1, 5] = np.nan
    x, y = a
    out = np.empty((8, W))
    assert operate(a, out) == (True, False)
    expected = [
        x + 2 * y - 1,
        -x * y / 3,
        (0.5 * x + y - x) * y,
        np.maximum(x, y),
        np.abs(x),
        np.where((x < y) | ~(x <= 0.5), 1.0, x),
        np.where((x == x) & (x != y) & (y >= -10) & (x > -10.0), x, 7),
        np.full(W, 3.0),
    ]
    assert out == pytest.approx(np.array(expected), nan_ok=True, rel=ROUNDING, abs=ROUNDING)
