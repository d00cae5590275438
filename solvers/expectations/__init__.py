"""Expectations of softmax and log-sum-exp of Gaussian logits: all that the closed equations ask of quadrature."""

from __future__ import annotations

from typing import Any

import numpy as np

from solvers.expectations.logistic_normal import ERROR, logistic_normal, softplus_jet, softplus_tail
from solvers.expectations.quadrature import TIGHTEST, softmax_of_differences
from solvers.machine.arrays import array_module

__all__ = ["gaussian_softmax", "logistic_normal", "softplus_jet"]

#: Covariances of two probabilities that sum to one, in units of the variance.
APART = ((1.0, -1.0), (-1.0, 1.0))


def gaussian_softmax(
    mean: Any, cov: Any, *, moments: bool = False, error: bool = False, tolerance: float = TIGHTEST
) -> tuple[Any, ...]:
    """E softmax(U) and E logsumexp(U) for U ~ N(mean, cov).

    A smooth deterministic function of (mean, cov): nodes are fixed, nothing is drawn.

    Args
        mean (..., n)    means of the n logits; numpy or cupy, any finite size (evaluated stably at ±1e4).
        cov (..., n, n)  their covariance, singular or not; leading dimensions broadcast against those of mean, and a
                         covariance shared that way is factored once. Only differences of logits are random as far as
                         softmax is concerned, so a reference logit that is identically zero costs nothing.
        moments          also return second moments, E softmax_i(U) softmax_j(U), by the same rules.
        error            also return the error estimate (up to three times the work for n > 2).
        tolerance        error that will do, in units of max(1, |value|): rules for n > 2 get cheaper with it. Another
                         tolerance is another rule, so keep it while results are compared or integrated.
    Returns
        softmax (..., n), rows summing to one to rounding; logsumexp (...);
        with moments: (..., n, n), symmetric, rows summing to softmax to rounding;
        with error: (...) estimate of the largest of these errors, each in units of max(1, |value|).
    Errors
        n = 2: 1e-13. Else by the number of independent Gaussian directions among the differences: one or two: the
        tolerance, 1e-11 at best, while nodes suffice; three: that up to a standard deviation of logit differences of 2
        (1e-11), 3 (1e-9), 4 (1e-7), 6 (1e-5) or 10 (1e-3), 1e-6 at 6 at best, degrading beyond; four and more: 1e-8
        to 1e-6, up to 1e-3 for many means in few dimensions or on few modes (solvers/expectations/factors.py), and
        where Sobol points are left (solvers/expectations/quadrature.py).
    Raises  ValueError if the shapes do not fit.
    Source  theory.md, section 4.
    """
    xp = array_module(mean, cov)
    mean, cov = xp.asarray(mean, dtype=float), xp.asarray(cov, dtype=float)
    n = mean.shape[-1] if mean.ndim else 0
    if n == 0 or cov.shape[-2:] != (n, n):
        raise ValueError(f"mean {mean.shape} and cov {cov.shape}: need (..., n) and (..., n, n), n ≥ 1")
    last = mean[..., -1]
    differences = mean[..., :-1] - last[..., None]
    across = cov[..., :-1, -1]
    spread = cov[..., :-1, :-1] - across[..., :, None] - across[..., None, :] + cov[..., -1:, -1:]
    second: list[Any] = []
    if n == 1:
        above = xp.zeros(np.broadcast_shapes(mean.shape[:-1], cov.shape[:-2]))
        softmax, estimate = xp.ones((*above.shape, 1)), above
        second = [softmax[..., None]]
    elif n == 2:
        a, variance = xp.broadcast_arrays(differences[..., 0], spread[..., 0, 0])
        ramp, small, *slope = softplus_tail(xp.abs(a), variance, order=2 + moments)
        pair = (xp.where(a > 0, 1 - small, small), xp.where(a > 0, small, 1 - small))
        softmax, above, estimate = xp.stack(pair, axis=-1), xp.maximum(a, 0) + ramp, xp.full_like(ramp, ERROR)
        # E σ(1 − σ) = E σ': what a probability has in common with the other is not in its square.
        second = [softmax[..., None] * xp.eye(2) - s[..., None, None] * xp.asarray(APART) for s in slope]
    else:
        softmax, above, *second, estimate = softmax_of_differences(
            differences, spread, moments=moments, error=error, tolerance=tolerance
        )
    return softmax, last + above, *second[: int(moments)], *([estimate] if error else [])
