"""Sums that add up piece by piece, and the intervals that follow from them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, sem

from solvers.sweeps.moments import mean, merged, moments, standard_error, wilson
from tests.limits import ROUNDING


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (1, 1), (420, 10_000), (1, 10**6)])
def test_wilson_is_that_of_scipy(k: int, n: int) -> None:
    low, high = wilson(np.array([n, k, 0.0]))
    expected = binomtest(k, n).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose([low, high], [expected.low, expected.high], rtol=ROUNDING, atol=ROUNDING)
    assert low <= k / n <= high
    # control: the interval p ± z·SE is another one
    half = 1.959963984540054 * np.sqrt(k / n * (1 - k / n) / n)
    assert max(abs(low - (k / n - half)), abs(high - (k / n + half))) > 1e-12


def test_nothing_known_is_nan() -> None:
    nothing = np.zeros(3)
    assert np.isnan([mean(nothing), standard_error(nothing), *wilson(nothing)]).all()
    assert np.isnan(standard_error(np.array([1.0, 5.0, 0.0])))


def test_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(1)
    x = 1e6 + rng.normal(size=1000)  # a large mean: sums of squares would lose it
    x[::50] = np.nan
    parts = np.array([[moments(piece)] for piece in np.split(x, [0, 10, 11, 600])])
    total = merged(parts)[0]
    known = x[~np.isnan(x)]
    # 1000 additions of numbers of 1e6, rounding 1e-16 each
    np.testing.assert_allclose(mean(total), known.mean(), rtol=1e-13)
    np.testing.assert_allclose(standard_error(total), sem(known), rtol=1e-9)
    assert merged(np.full((2, 1, 3), np.nan)).shape == (1, 3)


def test_unknown_outcomes_are_left_out() -> None:
    assert moments(np.array([1, 0, -1, 1], dtype=np.int8))[:2].tolist() == [3.0, 2.0]
