"""J(a, v), E σ and their derivatives: 30-digit integrals, the quadrature oracle, and identities that hold exactly."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.expectations import gaussian_softmax, logistic_normal, softplus_jet
from solvers.expectations.logistic_normal import ERROR, softplus_tail
from tests.limits import ROUNDING
from tests.solvers.expectations.logistic_normal_oracle import corners, errors
from tests.solvers.expectations.logistic_normal_quadrature import quadrature

TIGHT = 1e-14  # measured everywhere; what is promised is ERROR


@pytest.mark.parametrize("b", [0.0, 1e-9, 0.3, 1.0, 1.4999999, 1.5, 5.0, 20.0, 100.0, 1000.0])
def test_against_integrals(b: float) -> None:
    a = np.array([0.0, -1e-7, 0.3, -2.0, 2.5 + b, 6.0, -4 * b, 45.0, -1e4])
    assert errors(softplus_jet(a, b * b), a, np.full(9, b * b)).max() <= TIGHT


@pytest.mark.slow
def test_against_integrals_at_edges_of_patches() -> None:
    alpha, v = corners(np.random.default_rng(0), 40)
    assert errors(softplus_jet(-alpha, v), -alpha, v).max() <= TIGHT


@pytest.mark.slow
def test_against_integrals_beyond_the_patches() -> None:
    """Where the table ends in α; and in v, where the logistic is absorbed in the variance."""
    alpha = np.array([36.9, 37.1, 37.5, 38.5, 41, 51, 72.7, 73.5, 85.1, 8.6e3])
    v = np.array([0, 0, 1, 2, 8, 36, 72, 73, 100, 1e6])
    assert errors(softplus_jet(-alpha, v), -alpha, v).max() <= ROUNDING
    v = np.repeat([2.0**24 - 1, 2.0**24, 2.0**26 - 1, 2.0**26, 1e9, 1e12], 4)
    a = np.sqrt(v) * np.tile([0.0, 1.0, -1.0, -3.0], 6)
    value, *slopes = errors(softplus_jet(a, v), a, v)
    assert (value <= ROUNDING * np.sqrt(v)).all()
    assert np.max(slopes) <= 2e-14


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(a=st.floats(-60, 60), b=st.floats(0, 30))
def test_against_integrals_anywhere(a: float, b: float) -> None:
    assert errors(softplus_jet(a, b * b), a, b * b).max() <= TIGHT


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), y=st.floats(0.01, 12), log_b=st.floats(-3, 3))
def test_against_quadrature(seed: int, y: float, log_b: float) -> None:
    """A hundred points at a time around a random place, in units of the width of the transition."""
    rng = np.random.default_rng(seed)
    b = 10**log_b * rng.uniform(0.5, 1, 100)
    alpha = np.minimum(1e4, y * rng.uniform(0.5, 1, 100) * np.sqrt(b**2 + 3))
    ramp, small = softplus_tail(alpha, b**2, order=2)
    small_exact, ramp_exact = quadrature(alpha, b)
    np.testing.assert_allclose(small, small_exact, rtol=0, atol=3e-14)
    assert (np.abs(ramp - ramp_exact) <= 3e-14 * np.maximum(1, ramp_exact)).all()


def test_small_tails_keep_their_digits() -> None:
    for a, sd in ((-45.0, 0.0), (-300.0, 1.0), (-50.0, 1.49)):  # here σ(u) = e^u to 20 digits
        assert logistic_normal(a, sd)[0] / np.exp(a + sd * sd / 2) == pytest.approx(1, abs=1e-12)
        assert logistic_normal(a, sd)[1] / np.exp(a + sd * sd / 2) == pytest.approx(1, abs=1e-12)
    alpha, b = (x.ravel() for x in np.meshgrid(np.linspace(0, 60, 601), np.linspace(0, 1.49, 40)))
    ramp, small = softplus_tail(alpha, b**2, order=2)
    small_exact, ramp_exact = quadrature(alpha, b)
    np.testing.assert_allclose(small, small_exact, rtol=1e-10)
    np.testing.assert_allclose(ramp, ramp_exact, rtol=1e-10)


@settings(max_examples=150, deadline=None)
@given(a=st.floats(-1e4, 1e4), b=st.floats(0, 1e3))
def test_reflection_and_bounds(a: float, b: float) -> None:
    up, down = softplus_jet(a, b * b), softplus_jet(-a, b * b)
    assert up[0] - down[0] == pytest.approx(a, abs=1e-14 * max(1, abs(a), b))
    assert up[1] + down[1] == pytest.approx(1, abs=ROUNDING)
    assert up[2] == down[2]
    assert up[3] == -down[3]
    assert up[0] >= max(a, 0)
    assert 0 <= up[1] <= 1


def test_symmetric_states_are_exact() -> None:
    """At a = 0 responsibilities are ½ and the curvature has no slope, whatever the variance, to the last bit."""
    v = np.append(0, np.geomspace(1e-6, 1e9, 2000))
    _, sigma, _, third = softplus_jet(np.zeros_like(v), v)
    np.testing.assert_array_equal(sigma, 0.5)
    np.testing.assert_array_equal(third, 0)


def test_heat_equation_and_derivatives() -> None:
    """∂J⁽ᵐ⁾/∂a = J⁽ᵐ⁺¹⁾ and ∂J⁽ᵐ⁾/∂v = J⁽ᵐ⁺²⁾/2, also across edges of patches; differences of fifth order."""
    a, v = np.meshgrid(np.linspace(-6, 6, 25), [0.09, 0.25, 1.5, 2.25, 16.0, 64.0])
    step = 2e-3 * np.maximum(1, np.sqrt(v))
    jet = softplus_jet(a, v)

    def slope(moved, step):
        near, far = (np.array(moved(n * step)) - np.array(moved(-n * step)) for n in (1, 2))
        return (8 * near - far) / (12 * step)

    in_a = slope(lambda h: softplus_jet(a + h, v), step)
    in_v = slope(lambda h: softplus_jet(a, v + h), step)
    np.testing.assert_allclose(in_a[:3], jet[1:], atol=2e-11)
    np.testing.assert_allclose(in_v[:2], np.array(jet[2:]) / 2, atol=2e-11)


def test_pair_of_logits() -> None:
    """n = 2 is the special function of the difference, whatever the two logits are separately."""
    mean = np.array([[0.7, 0.0], [-31.0, 2.0], [1e4, -1e4], [3.0, 3.0]])
    cov = np.array([[2.0, 0.4], [0.4, 1.0]])
    softmax, logsumexp, error = gaussian_softmax(mean, cov, error=True)
    a, b = mean[:, 0] - mean[:, 1], np.sqrt(2.2)
    up, above = logistic_normal(a, b)
    np.testing.assert_allclose(softmax[:, 0], up, rtol=1e-12)
    np.testing.assert_allclose(softmax[:, 1], logistic_normal(-a, b)[0], rtol=1e-12)
    np.testing.assert_allclose(logsumexp, mean[:, 1] + above, rtol=1e-14)
    np.testing.assert_array_equal(softmax.sum(axis=-1), 1)
    np.testing.assert_array_equal(error, ERROR)


def test_coincident_means_with_rounding() -> None:
    softmax, logsumexp = gaussian_softmax([0.5, 0.0], [[-1e-16, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(softmax, np.array([np.exp(0.5), 1]) / (1 + np.exp(0.5)), rtol=ROUNDING)
    assert logsumexp == pytest.approx(np.log1p(np.exp(0.5)), rel=ROUNDING)
    np.testing.assert_array_equal(softplus_jet(0.5, -1e-16), softplus_jet(0.5, 0.0))


def test_without_variance_the_logistic() -> None:
    a = np.linspace(-45, 45, 2001)
    sigma = np.where(a > 0, 1, np.exp(-np.abs(a))) / (1 + np.exp(-np.abs(a)))
    exact = (
        np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a))),
        sigma,
        sigma * (1 - sigma),
        sigma * (1 - sigma) * (1 - 2 * sigma),
    )
    for got, wanted in zip(softplus_jet(a, 0.0), exact, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=ROUNDING, atol=TIGHT)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_values_that_are_no_numbers(order: int) -> None:
    nan = np.array([np.nan, 1.0, np.nan, 50.0, -1e5, 1.0])
    v = np.array([1.0, np.nan, np.nan, np.nan, np.nan, np.inf])
    jet = softplus_jet(nan, v, order=order)
    assert len(jet) == order
    assert np.isnan(jet).all()
    np.testing.assert_array_equal(softplus_jet(np.inf, [0.0, 3.0])[:2], [[np.inf] * 2, [1, 1]])
    np.testing.assert_array_equal(softplus_jet(-np.inf, [0.0, 3.0]), np.zeros((4, 2)))


def test_shapes_and_memory() -> None:
    assert [x.shape for x in logistic_normal(np.zeros((3, 1)), np.ones(4))] == [(3, 4)] * 2
    assert [x.shape for x in logistic_normal(np.zeros((0, 2)), 1.0)] == [(0, 2)] * 2
    assert [np.shape(x) for x in softplus_jet(0.0, 1.0)] == [()] * 4
    a = np.linspace(-10, 10, 100_000)
    logistic_normal(a[:9], 1.0)
    tracemalloc.start()
    logistic_normal(a, np.abs(a))
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
