"""What weights can tell: the index of their tail, when they tell nothing, and errors where that is known otherwise."""

import numpy as np
import pytest

from solvers.results.weights import (
    ess_error,
    ess_forward_error,
    index_of,
    known,
    known_ess,
    limit,
    log_z_error,
    pareto_k,
)
from tests.limits import ROUNDING

ERRORS = (log_z_error, ess_error, ess_forward_error)


def quantiles(n):
    return (np.arange(n) + 0.5) / n


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.1])
@pytest.mark.parametrize("n", [200, 1000, 20_000])
def test_index_of_pareto_weights(k, n):
    """W = (1 − p)^{−k} at equally spaced p. ArviZ draws k̂ of M numbers to ½, as ten more of that index would."""
    found, error = pareto_k(-k * np.log1p(-quantiles(n)))
    M = int(3 * np.sqrt(n)) if n > 225 else n // 5
    expected = (M * k + 10 * 0.5) / (M + 10)
    assert abs(found - expected) < 2 * error
    assert error == pytest.approx((1 + found) / np.sqrt(M), rel=ROUNDING)
    # control: another index would be seen
    assert abs(pareto_k(-(k + 0.6) * np.log1p(-quantiles(n)))[0] - expected) > (2 * error if n > 200 else error)


def test_bounded_weights_have_a_negative_index():
    assert pareto_k(np.log1p(quantiles(5000)))[0] < -0.5


def test_the_limit():
    assert limit(100) == pytest.approx(0.5, rel=ROUNDING)
    assert limit(10**6) == limit(4096) == 0.7
    assert limit(1) == -np.inf


def test_weights_that_are_equal():
    for log_w in (np.zeros(100), np.full(400, -7.3), np.full(400, 1e5), 1e-13 * np.sin(np.arange(400))):
        assert pareto_k(log_w)[0] == -np.inf
        assert all(error(log_w) < 1e-12 for error in ERRORS)


def test_of_which_nothing_is_known():
    ninety_nine = 0.1 * np.sin(np.arange(99.0))
    few, one = np.sin(np.arange(24.0)), np.r_[ninety_nine, 5.0]  # e⁵ is more than 99
    assert pareto_k(few)[0] == pareto_k(one)[0] == np.inf
    rare = np.r_[np.zeros(500), 1.0, 2.0]  # equal but for two
    assert pareto_k(rare)[0] == np.inf
    assert np.isfinite(pareto_k(np.sin(np.arange(25.0)))[0])
    assert np.isfinite(pareto_k(np.r_[ninety_nine, 4.0])[0])


def test_what_is_given_and_what_is_not():
    assert known((1.0, 0.1), 0.7, 4096) == known_ess((1.0, 0.1), 0.7, 4096) == (1.0, 0.1)
    for k in (0.71, np.inf):
        assert np.isnan(known((-18804.0, 1.0), k, 4096)).all()
        assert np.isnan(known_ess((0.3, 0.1), k, 4096)).all()
        value, error = known_ess((1e-9, np.inf), k, 4096)  # small, whatever the tail
        assert value == 1e-9
        assert error == pytest.approx(20 * 1e-9 / 1.96, rel=1e-3)
    assert index_of((0.3, 0.1), 0.2, 2) == (0.6, 0.2)
    assert index_of((0.3, 0.1), np.inf)[0] == np.inf


@pytest.mark.parametrize("by", [-1e4, 3.0, 1e4])
def test_a_factor_changes_nothing(by):
    log_w = np.random.default_rng(0).standard_normal(1000)
    assert pareto_k(log_w + by)[0] == pytest.approx(pareto_k(log_w)[0], abs=1e-9)
    for error in ERRORS:
        assert error(log_w + by) == pytest.approx(error(log_w), rel=1e-8)


def test_errors_of_light_tails_are_those_of_the_delta_method():
    """Normal log-weights of standard deviation σ = 0.1: log Z to σ/√n, both effective sample sizes to √2 σ²/√n."""
    n, sigma = 100_000, 0.1
    log_w = sigma * np.random.default_rng(1).standard_normal(n)
    assert log_z_error(log_w) == pytest.approx(sigma / np.sqrt(n), rel=0.05)
    for error in (ess_error, ess_forward_error):
        assert np.sqrt(2) * sigma**2 < error(log_w) * np.sqrt(n) < 1.3 * np.sqrt(2) * sigma**2


def test_errors_grow_with_what_was_not_drawn():
    """Of W² without a mean the error is infinite; that of W is larger than its deviation says."""
    heavy = -0.6 * np.log1p(-quantiles(4096))
    w = np.exp(heavy - heavy.max())
    assert ess_error(heavy) == np.inf
    assert 1.5 * w.std() / w.mean() / np.sqrt(len(w)) < log_z_error(heavy) < np.inf


@pytest.mark.parametrize("spread", [1e-9, 1e-5, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("n", [2, 30, 226, 3000])
def test_no_spread_of_weights_is_too_much(spread, n):
    """Warnings are errors. Ties in the tail are no fault either."""
    log_w = spread * np.random.default_rng(2).standard_normal(n)
    for values in (log_w, np.round(log_w / spread) * spread, np.where(np.arange(n) % 3, log_w, -spread)):
        k, _ = pareto_k(values)
        assert not np.isnan(k)
        assert all(error(values) >= 0 for error in ERRORS)
        if spread > 10 and n > 30:
            assert k > limit(n)
