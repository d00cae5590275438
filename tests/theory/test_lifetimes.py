"""A dying weight by the engine: the laws typed in, limits against the full tables, floors by other quadratures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from sympy import Integer, Rational, exp, log, simplify, symbols

from derivations import lifetimes
from derivations.lifetimes import FLOOR, LAMBDA, OTHER, RHO, START, TAU, TIME, Y
from derivations.stability import R, flow
from theory.stability import log_odds
from theory.tanh import TanhMean

FISHER_RAO = flow().under(weights=1)


@pytest.mark.parametrize("K", [2, 3, 4])
def test_log_odds_beside_others_whose_ratios_rest(K) -> None:
    """Softmax: w Δ of its own, and w Δ/(K − 1) of each other; Fisher–Rao: Δ and Δ w/(1 − w)."""
    rate, w, gap = log_odds(flow(), K)
    assert simplify(rate + w * gap * Rational(K, K - 1)) == 0
    assert simplify(rate + w * gap) != 0  # control: the others do not stay where they are
    rate, w, gap = log_odds(FISHER_RAO, K)
    assert simplify(rate + gap / (1 - w)) == 0
    with pytest.raises(ValueError, match="K = 1"):
        log_odds(flow(), 1)


@pytest.mark.slow
def test_the_limits_are_those_of_the_paper_and_pencil() -> None:
    near, far = lifetimes.limits()["near"], lifetimes.limits()["far"]
    tanh = TanhMean(1, R * Y, R)
    assert simplify(near[0] - (R * tanh - OTHER)) == 0
    assert near[1] == 0
    assert simplify(far[0] - (R * tanh - Y)) == 0
    assert simplify(far[1] + RHO) == 0
    for limit in (near, far):
        for found, slope in zip(limit[:2], lifetimes.descent(limit), strict=True):
            assert simplify(found - slope) == 0
    assert lifetimes.coinciding(near) == 0
    assert simplify(lifetimes._shown(lifetimes.coinciding(far)) - LAMBDA) == 0
    # A mean that costs something else than it descends is noticed.
    with pytest.raises(ValueError, match="does not descend"):
        lifetimes.descent((near[0], near[1], far[2]))


def test_laws_in_time() -> None:
    gap, w = symbols("Delta w", positive=True)
    assert simplify(lifetimes.power_law(-2 * w**2 * gap) - START / (1 + 2 * gap * START * TIME)) == 0
    assert simplify(lifetimes.power_law(-w * gap) - START * exp(-gap * TIME)) == 0
    found = lifetimes.relaxation(Integer(-2), TAU)
    assert simplify(found - (FLOOR + (log(START) - FLOOR) * exp(-2 * TAU))) == 0


def kl(position):
    """F of a component at y alone: KL(N(y, 1) ‖ ½N(R, 1) + ½N(−R, 1)), on the line, by adaptive quadrature."""
    separation = 3.0

    def integrand(x):
        log_q = -((x - position) ** 2) / 2
        log_p = np.logaddexp(-((x - separation) ** 2) / 2, -((x + separation) ** 2) / 2) - np.log(2)
        return np.exp(log_q) / np.sqrt(2 * np.pi) * (log_q - log_p)

    return quad(integrand, position - 9, position + 9, epsabs=1e-11, limit=200)[0]


def resting():
    def force(y):
        tanh = quad(lambda z: np.tanh(3 * (y + z)) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -9, 9, epsabs=1e-12)[0]
        return y - 3 * tanh

    return brentq(force, 2.0, 3.5)


@pytest.mark.parametrize(("position", "across"), [(0.0, 0.0), (-1.0, 0.5)])
def test_floor_is_what_a_component_alone_costs_more(position, across) -> None:
    """ℓ = D − F of the component alone; across the modes it costs ρ²/2."""
    expected = kl(resting()) - kl(position) - across**2 / 2
    assert lifetimes.floor(3.0, position, across) == pytest.approx(expected, abs=1e-8)
    assert lifetimes.floor(3.0, position, across) != pytest.approx(expected + 1e-3, abs=1e-8)


@pytest.mark.slow
def test_the_exact_turn_is_where_two_integrals_on_the_line_are_equal() -> None:
    """F₂ = F₁ with q = (1 − w)N(Y, 1) + wN(0, 1), by adaptive quadrature; the limits lie above it."""
    other, weight = resting(), np.exp(lifetimes.exact(3.0, 0.0))

    def cost(centre):
        def integrand(x):
            log_q = np.logaddexp(np.log1p(-weight) - (x - other) ** 2 / 2, np.log(weight) - x**2 / 2)
            log_p = np.logaddexp(-((x - 3) ** 2) / 2, -((x + 3) ** 2) / 2) - np.log(2)
            return np.exp(-((x - centre) ** 2) / 2) / np.sqrt(2 * np.pi) * (log_q - log_p)

        return quad(integrand, centre - 9, centre + 9, epsabs=1e-11, limit=200)[0]

    assert cost(0.0) - cost(other) == pytest.approx(0.0, abs=1e-6)
    assert np.log(weight) < lifetimes.floor(3.0, 0.0)
