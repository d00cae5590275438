"""What emitted systems find in scope: softmax weights and expectations of up to two logits."""

import numpy as np
import pytest
from scipy.special import log_softmax as scipy_log_softmax

from solvers.expectations import gaussian_softmax
from solvers.expectations.lanes.expectations import expect, expect_tangent, log_softmax
from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.machine.simd import W
from tests.limits import ROUNDING


@entry(**FLAGS)
def weigh(work, n):
    log_softmax(work, n, 0, n, 2 * n)


@entry(**FLAGS)
def evaluate(work, slopes):
    """Rows: mean 0, 1; covariance 2–5; softmax 6, 7; lse 8; slopes 9, 10; changes of mean 11, 12 and of covariance
    13–16; changes of softmax 17, 18 and of lse 19."""
    expect(work, 1, 2, 0, 2, 6, 8, 9, slopes)
    if slopes:
        expect_tangent(work, 1, 2, 9, 6, 11, 13, 17, 19)


@pytest.mark.parametrize("n", [1, 2, 5, 16])
def test_softmax(n):
    theta = np.random.default_rng(n).normal(size=(n, W)) * np.resize([0, 1e-3, 0.3, 1, 5, 30, 300, 1e4], W)
    work = np.zeros((3 * n, W))
    work[:n] = theta
    weigh(work, n)
    expected = scipy_log_softmax(theta, axis=0)
    np.testing.assert_allclose(work[n : 2 * n], expected, rtol=ROUNDING, atol=ROUNDING)
    # A logarithm that is off by so much is a weight that is, relatively.
    error = ROUNDING * (1 + np.abs(expected)) * np.exp(expected)
    assert np.all(np.abs(work[2 * n :] - np.exp(expected)) <= error + 1e-300)
    work[0, 0] = np.nan
    weigh(work, n)
    assert np.isnan(work[2 * n :, 0]).all()
    assert np.isfinite(work[2 * n :, 1:]).all()


@pytest.mark.slow
def test_expectations_and_their_changes():
    rng = np.random.default_rng(0)
    mean, variance = rng.normal(size=W) * 3, rng.exponential(size=W) * np.logspace(-2, 2, W)
    d_mean, d_variance = rng.normal(size=(2, W))

    def exact(step):
        logits = np.stack([mean + step * d_mean, np.zeros(W)], axis=1)
        cov = np.zeros((W, 2, 2))
        cov[:, 0, 0] = variance + step * d_variance
        softmax, lse = gaussian_softmax(logits, cov)
        return np.concatenate([softmax.T, lse[None]])

    work = np.zeros((20, W))
    work[0], work[2], work[11], work[13] = mean, variance, d_mean, d_variance
    evaluate(work, False)
    assert work[6:9] == pytest.approx(exact(0.0), rel=1e-12, abs=1e-13)
    evaluate(work, True)
    assert work[6:9] == pytest.approx(exact(0.0), rel=1e-12, abs=1e-13)
    h = 1e-4 * variance.min()
    assert work[17:20] == pytest.approx((exact(h) - exact(-h)) / (2 * h), rel=1e-6, abs=1e-7)


@entry(**FLAGS)
def evaluate_one(work):
    expect(work, 1, 1, 0, 1, 2, 3, 4, True)
    expect_tangent(work, 1, 1, 4, 2, 0, 1, 5, 6)


def test_a_single_logit_is_certain():
    work = np.full((7, W), np.nan)
    evaluate_one(work)
    assert np.array_equal(work[[2, 3, 5, 6]], np.repeat([[1.0], [0.0], [0.0], [0.0]], W, axis=1))
