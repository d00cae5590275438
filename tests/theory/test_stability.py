"""Linearisation at points of symmetry: the known rates, the pair at one mode, its fold, dying weights."""

from __future__ import annotations

import numpy as np
import pytest
from sympy import Integer, Matrix, Rational, Symbol, expand, simplify, zeros

from derivations import stability
from derivations.stability import KAPPA, KAPPA0, UNIT, A, R, U, V
from solvers.closed import systems
from solvers.expectations import gaussian_softmax
from solvers.problem import Problem
from theory import ReverseKL, close, gradient_flow, mixture, target
from theory.stability import NotBlock, Path, in_coordinates, linearise, named, vanishing_weight
from theory.tanh import TanhMean, numbers, with_tanh

SOFTMAX = close(gradient_flow(ReverseKL(mixture(), target())))
FISHER_RAO = SOFTMAX.under(weights=1)
FIXED = SOFTMAX.held("theta")
HALF = Rational(1, 2)


def rates_at_centre(components):
    return [named(rate, {2: 1 - KAPPA0}) for rate in stability.at_centre(components).spectrum]


@pytest.mark.slow
def test_rates_at_the_centre_are_those_of_the_theory() -> None:
    """Section 6 of the theory, typed in: sum ½(κ₀R² − 1), difference ½κ₀R², across −½ and 0, weights 0."""
    expected = [(KAPPA0 * R**2 - 1) / 2, KAPPA0 * R**2 / 2, -HALF, 0, 0, 0]
    for found, typed in zip(rates_at_centre(2), expected, strict=True):
        assert simplify(found.subs(UNIT) - typed) == 0
    one = rates_at_centre(1)
    assert simplify(one[0].subs(UNIT) - (KAPPA0 * R**2 - 1)) == 0
    # Numbers of section 6, to the digits printed there.
    at = UNIT | {KAPPA0: stability.kappa_0(3.0), R: 3.0}
    rates = [float(rate.subs(at)) for rate in rates_at_centre(2)[:2]]
    np.testing.assert_allclose(rates, [0.646750, 1.146750], atol=5e-7)
    assert stability.critical_separation(one[0]) == pytest.approx(1.460834, abs=5e-7)
    exponent = stability.escape_exponent(*rates_at_centre(2)[:2])
    assert float(exponent.subs(at)) == pytest.approx(0.77310, abs=5e-6)
    # control: the rates of one component are twice those of each of two
    assert simplify(one[0] - rates_at_centre(2)[0]) != 0


@pytest.mark.slow
@pytest.mark.parametrize("v", [1.0, 0.7])
def test_jacobian_is_that_of_the_generated_source(v: float) -> None:
    """The formulas against central differences of the paper's velocity with the solvers' tables, at a generic point.

    The differences with h = 1e-4 are off by h² times a third derivative (of order R⁴) and by rounding 1e-14/h.
    """
    separation, means, theta = 1.3, np.array([[0.4, 0.3], [-0.2, 0.5]]), np.array([0.2, -0.3])
    given = Problem.parse(
        f"""
        dimension = 2
        target = {{separation = {separation}, weights = [0.3, 0.7]}}
        family = {{components = 2, variances = {v}}}
        init = {{scale = 1.0}}
        time = {{end = 1.0}}
        """
    )
    equations = in_coordinates(SOFTMAX, 2, [(R, 0), (-R, 0)])
    y0 = np.concatenate([means.T.ravel(), theta])
    point = {y: Symbol(y.name + "_", real=True) for y in equations}
    weights = {Symbol("pi1", real=True, positive=True): 0.3, Symbol("pi2", real=True, positive=True): 0.7}
    rows = linearise(equations, point | weights | {U: 1}).jacobian[:4, :]
    found = numbers(list(rows), [*point.values(), R, V])(*y0, separation, v)
    module, nu = systems.for_problem(given), np.array([[separation, 0.0], [-separation, 0.0]])

    def velocity(y):
        mu, logs = y[:4].reshape(2, 2).T, y[4:]
        parameters = systems.parameters(given)
        A_kj, B_kl, _ = module.tables(mu @ mu.T, mu @ nu.T, logs, **parameters, expect=gaussian_softmax)
        w = np.exp(module.log_weights(logs))[:, None]
        return (w * ((mu - A_kj @ mu) / v - (mu - B_kl @ nu))).T.ravel()

    columns = [(velocity(y0 + h) - velocity(y0 - h)) / 2e-4 for h in np.eye(6) * 1e-4]
    np.testing.assert_allclose(np.reshape(found, (4, 6)), np.transpose(columns), atol=1e-6)


@pytest.mark.slow
def test_two_components_at_one_mode() -> None:
    """Coinciding at aν: sum ½(κR² − 1), difference ½κR² > 0; weak split 2R√κ; exact split and fold of section 6."""
    pair, path = stability.coinciding_pair(), stability.pair_on_the_axis()
    with pytest.raises(NotBlock):  # before a is the position of rest
        _ = pair.spectrum
    jacobian = pair.jacobian.applyfunc(lambda e: named(e, {1: A, 2: 1 - KAPPA}))
    assert simplify(jacobian[0, 0].subs(UNIT) - (KAPPA * R**2 - 1) / 2) == 0
    assert simplify(jacobian[1, 1].subs(UNIT) - KAPPA * R**2 / 2) == 0
    assert (jacobian - Matrix.diag(*jacobian.diagonal())) == zeros(6, 6)
    _, _, split = stability.weak_split(path)
    assert simplify(split - 2 * R * KAPPA**HALF) == 0
    assert stability.centre_shift(path) == 0
    _, kappa = stability.aligned(3.0)
    assert float(split.subs({R: 3.0, KAPPA: kappa})) == pytest.approx(0.3934, abs=5e-5)
    (_, at_35), (_, at_3) = stability.split_pairs(path, (3.5, 3.0))
    assert at_3 == pytest.approx(0.411985, abs=5e-7)
    assert at_35 == pytest.approx(0.190748, abs=5e-7)
    assert stability.fold(path)[0] == pytest.approx(2.2596076, abs=5e-8)


def test_a_family_that_the_flow_leaves_is_refused() -> None:
    """Two means at y and 0 do not stay there."""
    equations = in_coordinates(FIXED, 2, [(Integer(2),), (-Integer(2),)])
    first, second = equations
    with pytest.raises(NotBlock, match="leaves"):
        Path.of(equations, {first: A, second: 0 * A}, (A,))


@pytest.mark.parametrize("K", [2, 3, 4])
def test_a_small_weight_under_softmax_and_fisher_rao(K: int) -> None:
    """dw/dt = −K/(K−1) Δ w² under softmax, −Δ w under Fisher–Rao."""
    rate, w, excess = vanishing_weight(SOFTMAX, K)
    assert expand(rate + Rational(K, K - 1) * excess * w**2) == 0
    rate, w, excess = vanishing_weight(FISHER_RAO, K)
    assert expand(rate + excess * w) == 0


def test_a_weight_alone_does_not_vanish() -> None:
    with pytest.raises(ValueError, match="K = 1: a weight can only vanish beside another"):
        vanishing_weight(SOFTMAX, 1)


def test_moments_of_tanh() -> None:
    """Symmetries, numbers without spread, and the value against Gauss–Hermite where that is accurate (β small)."""
    x = Symbol("x", positive=True)
    assert TanhMean(3, 0, x) == 0
    assert TanhMean(3, -x, 1) == -TanhMean(3, x, 1)
    assert TanhMean(0, x, 1) == 1
    assert with_tanh(TanhMean(2, Integer(1), Integer(0))) == TanhMean(2, 1, 0)
    z, weight = np.polynomial.hermite_e.hermegauss(120)
    expected = weight @ np.tanh(0.7 + 0.4 * z) ** 3 / weight.sum()
    # 120 nodes reach rounding: the nearest pole is at Im z = π/0.8.
    assert numbers([TanhMean(3, x, Rational(2, 5))], [x])(0.7)[0] == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match="no value for x"):
        numbers([x], [])
    with pytest.raises(ValueError, match="different laws"):
        named(TanhMean(1, x, 1) + TanhMean(1, x, 2), {1: A})
