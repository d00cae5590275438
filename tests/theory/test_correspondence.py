"""Samplers that learn as the flow of section 3 does: the identity of the weights, and at which parameters."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.special import logsumexp
from sympy import Symbol

from solvers.closed import systems
from solvers.expectations import gaussian_softmax
from theory import BETA, close, correspondence, gradient_flow, mixture, target
from theory.correspondence import NOISED, PRIOR, NotTheSameFlow, PathIdentity, ideal_control, no_steps, tied_control
from theory.objectives import ReverseKL

FOUND = {"ideal": ideal_control, "tied": tied_control, "no steps": no_steps}


@cache
def found(name):
    """Derived when a test asks for it, not when tests are collected."""
    return FOUND[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUND)
def test_every_step_holds_numerically(name):
    assert found(name).steps
    assert max(step.residual for step in found(name).steps) < 1e-12


def test_the_numerical_check_sees_a_wrong_identity():
    step = found("ideal").steps[-1]
    assert isinstance(step, PathIdentity)
    wrong = PathIdentity(step.of, step.rule, step.before, NOISED(0) + PRIOR(0), step.kernel)
    assert wrong.residual > 1e-2


def test_parameters_are_those_of_section_8():
    s, m, c, v, u = (Symbol(name, real=True) for name in "smcvu")
    e = Symbol("decay", positive=True)
    expected = {"s": s, "m": e * m, "c": e**2 * c, "v": v, "u": 1 + (u - 1) * e**2}
    for name, value in expected.items():
        assert (found("ideal").mapping[name] - value).expand() == 0
    plain = close(gradient_flow(ReverseKL(mixture(), target(), BETA)))
    for name in ("tied", "no steps"):
        assert found(name).flow.hash == plain.hash
        assert all(str(value) == key for key, value in found(name).mapping.items())


def test_a_wrong_noise_law_is_not_the_same_flow(monkeypatch):
    m, v, e = Symbol("m", real=True), Symbol("v", positive=True), Symbol("decay", positive=True)
    monkeypatch.setattr(correspondence, "noise_law", lambda: (e**2 * m, v))
    with pytest.raises(NotTheSameFlow):
        ideal_control()


def test_the_emitted_parameters_give_the_flow_on_the_noised_target():
    """Velocity at `at(...)` against the flow whose target vectors and variance are noised by hand, in R^4."""
    rng = np.random.default_rng(1)
    mu, nu, T, u = rng.standard_normal((3, 4)), rng.standard_normal((2, 4)), 0.6, 1.7
    flow, ours = (systems.load(systems.read(name)) for name in ("reverse_kl", "sampler_ideal_control"))
    theta, log_pi, e = np.log([0.2, 0.5, 0.3]), np.log([0.4, 0.6]), np.exp(-T)

    def velocity(s, m, c, v, u):
        w = np.exp(theta)
        values = {"s": s, "m": m, "c": c, "v": v, "u": u, "d": 4, "beta": 1.0, "theta": theta, "log_pi": log_pi}
        values |= {"expect": gaussian_softmax, "rate_means": w, "rate_weights": w}
        values |= dict(zip(flow.TABLES, systems.call(flow.tables, values), strict=True))
        return systems.call(flow.objective, values), *systems.call(flow.velocity, values)

    noised = e * nu
    by_hand = velocity(mu @ mu.T, mu @ noised.T, noised @ noised.T, 0.8, 1 + (u - 1) * e**2)
    found = velocity(**ours.at(mu @ mu.T, mu @ nu.T, nu @ nu.T, 0.8, u, e))
    for a, b in zip(found, by_hand, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_noised_density_is_the_marginal_of_the_noise():
    """p_τ, by which Bayes' rule reverses the noise: ∫ p(x) N(y; e^{−τ}x, 1 − e^{−2τ}) dx, by quadrature in R."""
    tau, means, v, w = 0.5, np.array([-1.0, 2.0]), np.array([0.4, 1.5]), np.array([0.3, 0.7])
    e = np.exp(-tau)

    def density(x, means, v):
        return np.exp(logsumexp(np.log(w) - 0.5 * np.log(2 * np.pi * v) - (x[:, None] - means) ** 2 / (2 * v), axis=1))

    x, y = np.linspace(-15, 15, 4001), np.linspace(-3, 3, 7)
    kernel = np.exp(-((y[:, None] - e * x) ** 2) / (2 * (1 - e**2))) / np.sqrt(2 * np.pi * (1 - e**2))
    # the trapezoidal rule converges exponentially for Gaussian integrands: rounding is left
    integral = (kernel @ density(x, means, v)) * (x[1] - x[0])
    np.testing.assert_allclose(integral, density(y, e * means, 1 + (v - 1) * e**2), atol=1e-13)


def test_views():
    assert "e^{- 2 T}" in found("ideal").emit("latex")
    assert "decay**2" in found("ideal").emit("text")
    with pytest.raises(ValueError, match="allowed are"):
        found("ideal").emit("cuda")
