"""The reduced chain as the engine derives it: drifts, span, numerical checks, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sympy import Symbol

from theory import NotClosed, target
from theory.configuration import Configuration
from theory.drifts import BETA, CONTROLS, METHODS, REFERENCES, Score, allowed, drifts
from theory.expectations import Gradient
from theory.likelihood_ratio import RatioStep
from theory.mixtures import LogDensity
from theory.path_steps import path_configuration
from theory.quadrature import residual
from theory.reduction import Isotropic, noise_law
from theory.samplers import reduce_chain
from theory.vectors import POINT, Dot, Image

CHAIN = reduce_chain()


@pytest.mark.parametrize("step", CHAIN.steps, ids=lambda step: f"{step.of}, {step.rule.name}")
def test_every_step_holds_numerically(step):
    assert step.residual < Configuration.TOLERANCE


@pytest.mark.parametrize("d", [3, 4])
def test_the_score_is_in_the_span_in_other_dimensions(d):
    """The second step of the derivation in full: ∇log q by central differences against a(x) x + Σ c_k μ_k."""
    before, after = Gradient(LogDensity(Isotropic()), POINT), CHAIN.steps[1].after
    assert residual(before, after, path_configuration(d)) < Configuration.TOLERANCE


def test_the_numerical_check_sees_a_wrong_term():
    weight = next(step for step in CHAIN.steps if step.of == r"\Delta\log W" and step.rule.name == "Orthogonal split")
    for wrong in (weight.after + Symbol("xi1"), weight.after.subs(Symbol("xi1", real=True), 0)):
        if wrong == weight.after + Symbol("xi1"):
            wrong = weight.after + Dot(POINT, POINT) / 10
        assert residual(weight.before, wrong, path_configuration()) > 1e-3
    integral = next(step for step in CHAIN.steps if step.rule.name == "Gaussian integral")
    for wrong in (integral.after * 1.01, integral.after.subs(Symbol("cross", real=True), 0)):
        assert replace(integral, after=wrong).residual > 1e-3


def test_the_numerical_check_sees_a_wrong_likelihood_ratio():
    """The derivative of f forgotten, a loss whose own law is differentiated, and other paths than the sampler's own."""
    steps = {(step.of, step.rule.name): step for step in CHAIN.steps if isinstance(step, RatioStep)}
    ratio = steps[r"\partial E_Q[f]", "Under the integral"]
    variance = steps[r"\partial\,{\textstyle\frac12}\operatorname{Var}_r L", "Own paths"]
    mean = steps[r"\partial E_Q[L]", "Normalisation"]
    score_alone = ratio.after.func(ratio.after.function.args[0], *ratio.after.limits)
    for wrong in (replace(ratio, after=score_alone), replace(variance, own=False), replace(mean, after=variance.after)):
        assert wrong.residual > 1e-2


def test_the_numerical_check_sees_a_kernel_whose_end_moves():
    """∂ log F in a drift is not 0, as it would be if x' moved with it."""
    for step in (step for step in CHAIN.steps if step.rule.name == "Fixed path"):
        assert residual(step.before, 0 * step.after, path_configuration()) > 1e-2
        assert residual(step.before, 1.01 * step.after, path_configuration()) > 1e-4


# Section 7 of the theory, typed in: u(n, x) = 2(∇log p_τ + x) for the exact control, f annealed otherwise.
EQUATIONS = {
    ("dis", "ou", "none"): (-POINT, -POINT),
    ("dis", "ou", "exact"): (POINT + 2 * Score("target", True), -POINT),
    ("dis", "prior", "none"): (Score("prior"), Score("prior")),
    ("mcd", "annealed", "mixture"): (
        BETA * Score("target") + (1 - BETA) * Score("prior"),
        BETA * Score("target") + (1 - BETA) * Score("prior") + Score("control"),
    ),
    ("cmcd", "prior", "mixture"): (Score("prior") + Score("control"), Score("prior") - Score("control")),
    ("dbs", "ou", "mixture"): (POINT + 2 * Score("control", True), POINT + 2 * Score("control_back", True)),
}


@pytest.mark.parametrize("key", EQUATIONS, ids="-".join)
def test_drifts_are_those_of_section_7(key):
    for found, expected in zip(drifts(*key), EQUATIONS[key], strict=True):
        assert (found - expected).expand() == 0


def test_all_combinations_are_there_and_no_others():
    keys = [(m, r, c) for m in METHODS for r in REFERENCES for c in CONTROLS]
    assert {k for k in keys if allowed(*k)} == set(CHAIN.coefficients)
    assert ("dis", "ou", "exact") in CHAIN.coefficients
    with pytest.raises(ValueError, match="has no control exact"):
        drifts("mcd", "ou", "exact")
    with pytest.raises(ValueError, match="not a sampler of this theory"):
        drifts("dis", "brownian", "none")


def test_open_drifts_are_refused_by_name():
    with pytest.raises(NotClosed) as refused:
        reduce_chain(target(precision="S"))
    assert any("S x" in name for name in refused.value.missing)
    with pytest.raises(NotClosed, match="S x"):
        reduce_chain(extra=Image("S", POINT))
    # a coefficient that is a function of x·Sx is as open as a vector outside of the span
    with pytest.raises(NotClosed, match="x·S x"):
        reduce_chain(extra=Dot(POINT, Image("S", POINT)) * POINT)
    assert reduce_chain(extra=Dot(POINT, POINT) * POINT).hash == CHAIN.hash


def test_noise_law():
    m, v, e = Symbol("m", real=True), Symbol("v", positive=True), Symbol("decay", positive=True)
    mean, variance = noise_law()
    assert (mean - e * m).expand() == 0
    assert (variance - (1 + (v - 1) * e**2)).expand() == 0


def test_views():
    assert "rho_new" in CHAIN.emit("text")
    assert r"\varrho'" in CHAIN.emit("latex")
    with pytest.raises(ValueError, match="allowed are"):
        CHAIN.emit("fortran")
