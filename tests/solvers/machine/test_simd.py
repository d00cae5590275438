"""Functions of math on vectors of lanes, as the walks of samplers call them, against NumPy."""

from math import exp, log, sqrt

import numpy as np
from numba import njit

from solvers.expectations.lanes import elementary  # noqa: F401 (the logarithm of vectors)
from solvers.machine import simd
from solvers.machine.options import PLAIN
from solvers.machine.simd import W, across, rows


@njit(**PLAIN)
def functions(given, found, sums):
    x, y = rows(given), rows(found)
    room = simd.empty(2)
    for n in range(len(x)):
        room[0], room[1] = x[n], 0.0
        y[n, 0], y[n, 1], y[n, 2] = exp(room[0]), log(exp(room[0])), sqrt(max(room[0], room[1]))
        sums[n] = across(x[n])  # type: ignore[call-arg]


def test_functions_of_vectors():
    rng, n = np.random.default_rng(1), 40
    given = np.empty((n, W))
    given[:] = rng.uniform(-700, 709, (n, W)) * np.logspace(-16, 0, n)[:, None]
    given[0], given[1, 3], given[2, :3] = 0.0, np.nan, (-np.inf, -709.0, 709.0)
    found, sums = np.empty((n, 3, W)), np.empty(n)
    functions(given, found, sums)
    expected = np.exp(given)
    expected[given < -708] = 0.0
    # Two units in the last place of a power, and what they make of its logarithm.
    np.testing.assert_allclose(found[:, 0], expected, rtol=5e-16, atol=0)
    some = np.isfinite(given) & (given > -708)
    np.testing.assert_allclose(found[:, 1][some], given[some], rtol=1e-15, atol=1e-15)
    assert np.isnan(found[1, :2, 3]).all()
    assert np.isnan(sums[1])
    known = ~np.isnan(given)
    np.testing.assert_array_equal(found[:, 2][known], np.sqrt(np.maximum(given, 0.0))[known])
    np.testing.assert_allclose(sums[3:], given[3:].sum(1), rtol=0, atol=1e-11)
