"""Mixtures with a variance for each component: rules and derivations against numbers in d dimensions, and refusals."""

from __future__ import annotations

import pytest
from sympy import Expr, Indexed, Symbol

from theory import NotClosed, ReverseKL, close_variances, gradient_flow, mixture, rules, target, variance_flow
from theory.configuration import Configuration
from theory.derivation import Derivation, WrongRule
from theory.expectations import Expectation, Gradient
from theory.mixtures import LogDensity, Responsibility
from theory.parameters import rate
from theory.quadrature import residual
from theory.radial import Raised, Slope, SquaredDistance
from theory.rules import Rule, bottom_up
from theory.sums import index
from theory.system import ClosedSystem
from theory.vectors import POINT, Dot

Q, P = mixture(own_variances=True), target(own_variances=True)
k, j, i = (index(letter) for letter in "kji")
l, n = index("l"), index("n")


def e(field: Expr) -> Expectation:
    return Expectation(Q, k, field)


CASES = {
    "reparametrise": (rules.REPARAMETRISE_WIDTHS, Gradient(e(LogDensity(P)), Q.variance(k))),
    "stein at fixed distance, vector": (rules.RAISED_STEIN, e(Responsibility(Q, j) * POINT)),
    "stein at fixed distance, field": (rules.RAISED_STEIN, e(Responsibility(P, l) * Dot(POINT, P.mean(n)))),
    "square about the mean": (rules.ABOUT_THE_MEAN, e(Responsibility(P, l) * Dot(POINT, POINT))),
    "sums outside": (rules.SUMS_OUTSIDE, e(POINT * Q.sum(Responsibility(Q, j) / Q.variance(j), j))),
    "law, softmax": (rules.RADIAL_LAW, e(Responsibility(Q, j))),
    "law, log-density": (rules.RADIAL_LAW, e(LogDensity(P))),
    "law, radius": (rules.RADIAL_LAW, e(Responsibility(Q, j) * SquaredDistance(Q.mean(k), Q.variance(k)))),
    "law, slope": (rules.RADIAL_LAW, Raised(Q, k, Slope(P, l, n))),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_keeps_the_value(name: str) -> None:
    rule, before = CASES[name]
    after = rule.apply(before)
    assert after != before, "the rule did not match"
    assert residual(before, after) < Configuration.TOLERANCE


def flow() -> ClosedSystem:
    return close_variances(variance_flow(ReverseKL(Q, P)))


@pytest.mark.slow
def test_every_step_holds_numerically() -> None:
    for step in flow().steps:
        assert step.residual < Configuration.TOLERANCE, (step.of, step.rule.name)


def test_the_two_more_dimensions_matter() -> None:
    """Stein at fixed distance with E_k instead of E_k^+ is wrong, and is found out where it is applied."""

    def forgetful(expr: Expr) -> Expr:
        def lower(node: Raised) -> Expr:
            mixture_, one, other = node.integrand.args
            r = Responsibility(mixture_, one)
            delta = Symbol("d") * 0 + (1 if one == other else 0)
            return Expectation(node.mixture, node.component, r * (delta - Responsibility(mixture_, other)))

        found = rules.RAISED_STEIN.apply(expr)
        return bottom_up(found, lower, Raised)

    with pytest.raises(WrongRule, match="forgetful Stein"):
        Derivation(check=True).run("x", e(Responsibility(Q, j) * POINT), [Rule("forgetful Stein", "", forgetful)])


def test_velocities_are_those_of_the_theory() -> None:
    """∂D/∂μ_k = w_k E_k[g] and ∂D/∂v_k = (w_k/2v_k) E_k[(x−μ_k)·g], typed in here; both metrics from these."""
    g = Gradient(LogDensity(Q) - LogDensity(P), POINT)
    arm = POINT - Q.mean(k)
    slope_v = Q.weight(k) / (2 * Q.variance(k)) * e(Dot(arm, g))
    found, w, v = variance_flow(ReverseKL(Q, P)), Q.weight(k), Q.variance(k)
    d = Symbol("d", integer=True, positive=True)
    assert found.powers == {"means": 1, "variances": 1, "weights": 1}
    euclidean, bures = {"means": w, "variances": w}, {"means": 1, "variances": 4 / (d * v)}
    for rates, mean, log_v in ((euclidean, -w * e(g), -v * slope_v), (bures, -e(g), -4 / (d * w) * slope_v)):
        given = {rate(group, k): value for group, value in rates.items()}
        assert residual(mean, found.mean.xreplace(given)) < Configuration.TOLERANCE
        assert residual(log_v, found.log_v.xreplace(given)) < Configuration.TOLERANCE


def test_refusals() -> None:
    with pytest.raises(ValueError, match="one variance: use gradient_flow"):
        variance_flow(ReverseKL(mixture(), target()))


def test_an_anisotropic_target_does_not_close() -> None:
    anisotropic = target(precision="S", own_variances=True)
    with pytest.raises(NotClosed) as refusal:
        close_variances(variance_flow(ReverseKL(Q, anisotropic)))
    assert any("ν" in name and "S" in name for name in refusal.value.missing)


@pytest.mark.parametrize("view", ["numpy", "latex", "text"])
def test_views_exist_and_keep_sums(view: str) -> None:
    system = flow()
    assert view in system.views
    source = system.emit(view)
    assert 20 < len(source.splitlines()) < 400 or view == "latex"
    if view == "numpy":
        assert system.hash in source
    for expr in system.right_hand_sides.values():
        assert not any(str(a.base).startswith("E") for a in expr.atoms(Indexed))


def test_one_variance_and_own_variances_are_different_systems() -> None:
    one = gradient_flow(ReverseKL(mixture(), target()))
    assert not one.objective.q.own_variances
    assert mixture() != Q
    assert Q.variance(k) != mixture().variance(k)
