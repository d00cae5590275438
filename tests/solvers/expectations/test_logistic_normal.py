"""E σ(a + b z) and E softplus(a + b z) against 30-digit integrals and against identities they satisfy exactly."""

from __future__ import annotations

import tracemalloc

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers.expectations import gaussian_softmax, logistic_normal
from solvers.expectations.logistic_normal import ERROR


def reference(a: float, b: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """(E σ, E softplus) by adaptive integration in z, broken where the logistic turns."""
    with mpmath.workdps(30):
        a, b = mpmath.mpf(a), mpmath.mpf(b)

        def sigma(u: mpmath.mpf) -> mpmath.mpf:
            return 1 / (1 + mpmath.exp(-u)) if u > 0 else mpmath.exp(u) / (1 + mpmath.exp(u))

        def softplus(u: mpmath.mpf) -> mpmath.mpf:
            return max(u, 0) + mpmath.log1p(mpmath.exp(-abs(u)))

        if b == 0:
            return sigma(a), softplus(a)
        turns = [(t - a) / b for t in (-60, -12, -3, 0, 3, 12, 60)]
        breaks = sorted(
            [mpmath.mpf(-13), *(mpmath.mpf(z) for z in (-3, 0, 3)), *(t for t in turns if abs(t) < 12.9), 13]
        )
        return tuple(mpmath.quad(lambda z, f=f: f(a + b * z) * mpmath.npdf(z), breaks) for f in (sigma, softplus))


@pytest.mark.parametrize("b", [0.0, 1e-9, 1.0, 1.4999999, 1.5, 5.0, 20.0, 100.0, 1000.0])
def test_against_integrals(b: float) -> None:
    for a in (-1e-7, 0.3, -2.0, 6.0, 45.0, -1e4):
        expected = reference(a, b)
        for value, exact in zip(logistic_normal(a, b), expected, strict=True):
            assert abs(value - exact) <= 2e-14 * max(1, abs(exact)), (a, b)


@settings(max_examples=12, deadline=None)
@given(a=st.floats(-40, 40), b=st.floats(0, 30))
def test_against_integrals_anywhere(a: float, b: float) -> None:
    expected = reference(a, b)
    for value, exact in zip(logistic_normal(a, b), expected, strict=True):
        assert abs(value - exact) <= 2e-14 * max(1, abs(exact))


def test_small_tails_keep_their_digits() -> None:
    for a, b in ((-45.0, 0.0), (-300.0, 1.0), (-50.0, 1.49)):  # here σ(u) = e^u to 20 digits
        assert logistic_normal(a, b)[0] / np.exp(a + b * b / 2) == pytest.approx(1, abs=1e-12)
        assert logistic_normal(a, b)[1] / np.exp(a + b * b / 2) == pytest.approx(1, abs=1e-12)
    for a, b in ((-40.0, 1.5), (-40.0, 5.0), (-90.0, 9.0)):
        value, exact = logistic_normal(a, b)[0], reference(a, b)[0]
        assert abs(value - exact) < 1e-16


@settings(max_examples=150, deadline=None)
@given(a=st.floats(-1e4, 1e4), b=st.floats(0, 1e3))
def test_reflection_and_bounds(a: float, b: float) -> None:
    (up, above), (down, below) = logistic_normal(a, b), logistic_normal(-a, b)
    assert up + down == pytest.approx(1, abs=1e-15)
    assert above - below == pytest.approx(a, abs=1e-14 * max(1, abs(a), b))
    assert 0 <= up <= 1
    assert above >= max(a, 0)


def test_heat_equation_and_derivative() -> None:
    """∂_a J = E σ and ∂_b J = b ∂_a E σ, also across the change of rule at b = 1.5; fifth-order differences."""
    a, b = np.meshgrid(np.linspace(-6, 6, 25), [0.3, 1.2, 1.5, 4.0])
    step = 2e-3 * np.maximum(1, b)

    def slope(f_of_shift):  # type: ignore[no-untyped-def]
        near, far = f_of_shift(step) - f_of_shift(-step), f_of_shift(2 * step) - f_of_shift(-2 * step)
        return (8 * near - far) / (12 * step)

    in_a = slope(lambda h: logistic_normal(a + h, b)[1])
    curvature = slope(lambda h: logistic_normal(a + h, b)[0])
    in_b = slope(lambda h: logistic_normal(a, b + h)[1])
    np.testing.assert_allclose(in_a, logistic_normal(a, b)[0], atol=2e-11)
    np.testing.assert_allclose(in_b, b * curvature, atol=1e-10)


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
    np.testing.assert_allclose(softmax, np.array([np.exp(0.5), 1]) / (1 + np.exp(0.5)), rtol=1e-15)
    assert logsumexp == pytest.approx(np.log1p(np.exp(0.5)), rel=1e-15)


def test_shapes_and_memory() -> None:
    assert [x.shape for x in logistic_normal(np.zeros((3, 1)), np.ones(4))] == [(3, 4)] * 2
    assert [x.shape for x in logistic_normal(np.zeros((0, 2)), 1.0)] == [(0, 2)] * 2
    assert [np.shape(x) for x in logistic_normal(0.0, 1.0)] == [()] * 2
    a = np.linspace(-10, 10, 100_000)
    tracemalloc.start()
    logistic_normal(a, np.abs(a))
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()
