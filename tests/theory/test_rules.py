"""Every rule against numbers in d dimensions, and rules that are wrong on purpose."""

from __future__ import annotations

import pytest
from sympy import Expr, IndexedBase, KroneckerDelta

from theory import ReverseKL, close, gradient_flow, mixture, rules, target
from theory.configuration import Configuration
from theory.derivation import Derivation, WrongRule
from theory.expectations import Expectation, Gradient
from theory.mixtures import LogDensity, Responsibility
from theory.quadrature import residual
from theory.rules import Rule, bottom_up
from theory.sums import index
from theory.vectors import POINT, Dot, Image

Q, P = mixture(), target()
k, j, i, a = (index(letter) for letter in "kjia")
l, n = index("l"), index("n")
X2 = Dot(POINT, POINT)


def e(field: Expr) -> Expectation:
    return Expectation(Q, k, field)


CASES = {
    "linearity": (rules.LINEARITY, e(3 * Q.sum(Responsibility(Q, j) * Dot(POINT, Q.mean(j)), j) - 2 * X2)),
    "linearity collapses a delta": (rules.LINEARITY, Q.sum(KroneckerDelta(j, k) * Q.weight(j) ** 2, j)),
    "bayes": (rules.BAYES, Q.sum(Q.weight(j) * Expectation(Q, j, Responsibility(Q, a) * X2), j)),
    "partition": (rules.PARTITION, e(Q.sum(Responsibility(Q, j) * LogDensity(P), j))),
    "partition outside the expectation": (rules.PARTITION, Q.sum(e(Responsibility(Q, j) * POINT), j)),
    "normalisation": (rules.NORMALISATION, Q.sum(Q.weight(j), j)),
    "stein, vector": (rules.STEIN, e(POINT)),
    "stein, second moment": (rules.STEIN, e(X2)),
    "stein, x·b squared": (rules.STEIN, e(Dot(POINT, Q.mean(j)) ** 2)),
    "stein, fourth moment": (rules.STEIN, e(X2 * Dot(POINT, P.mean(l)))),
    "stein, vector times field": (rules.STEIN, e(POINT * Dot(POINT, P.mean(l)))),
    "stein, responsibility": (rules.STEIN_FIELDS, e(POINT * Responsibility(P, l))),
    "stein, responsibility and x·b": (rules.STEIN_FIELDS, e(Dot(POINT, P.mean(l)) * Responsibility(Q, j))),
    "order of sums": (rules.ORDER_OF_SUMS, P.sum(Q.sum(e(Responsibility(Q, j)) * Dot(Q.mean(j), P.mean(l)), j), l)),
    "linearity, field times a sum": (rules.LINEARITY, e(Responsibility(P, l) * Q.sum(Responsibility(Q, j), j))),
    "partition through another sum": (
        rules.PARTITION,
        Q.sum(P.sum(P.weight(l) * Expectation(P, l, Responsibility(Q, j)), l), j),
    ),
    "gaussian law of a pair": (
        rules.GAUSSIAN_LAW,
        rules.DIFFERENCE.apply(rules.COMMON_SHIFT.apply(e(Responsibility(Q, j) * Responsibility(P, l)))),
    ),
    "reparametrise": (rules.REPARAMETRISE, Gradient(e(Dot(POINT, Q.mean(k)) ** 2), Q.mean(k))),
    "log-sum-exp": (rules.LOG_SUM_EXP, e(Gradient(LogDensity(P), POINT))),
    "log-sum-exp of a responsibility": (rules.LOG_SUM_EXP, e(Gradient(Responsibility(Q, j), Q.mean(k)))),
    "softmax chain": (
        rules.SOFTMAX_CHAIN,
        Gradient(ReverseKL(Q, P).value(), IndexedBase("theta", real=True)[k]),
    ),
    "common shift": (rules.COMMON_SHIFT, e(LogDensity(Q) - LogDensity(P))),
}


@pytest.mark.parametrize("name", CASES)
def test_rule_keeps_the_value(name: str) -> None:
    rule, before = CASES[name]
    after = rule.apply(before)
    assert after != before, "the rule did not match"
    assert residual(before, after) < Configuration.TOLERANCE


@pytest.mark.parametrize("field", [Responsibility(Q, j), LogDensity(P)], ids=["softmax", "log-sum-exp"])
def test_reduction_to_gaussian_logits_keeps_the_value(field: Expr) -> None:
    before = rules.LINEARITY.apply(rules.DIFFERENCE.apply(rules.COMMON_SHIFT.apply(e(field))))
    after = rules.GAUSSIAN_LAW.apply(before)
    assert after != before
    assert residual(before, after) < Configuration.TOLERANCE


def test_projection_puts_expectations_of_x_in_the_span_of_the_means() -> None:
    """d = 4 > rank: the identity must not rely on the means spanning the whole space."""
    at = Configuration.random(d=4, K=2, L=1)
    span = (Q.mean(1), Q.mean(2), P.mean(1))
    for field in (Responsibility(Q, j), LogDensity(P)):
        before = e(field * POINT)
        after = rules.projection(before, span)
        assert residual(before, after, at) < Configuration.TOLERANCE
        # control: without ν in the span the projection is wrong for fields that depend on ν
        wrong = rules.projection(before, span[:2])
        assert residual(before, wrong, at) > 1e-3


def test_a_wrong_rule_fails_where_it_is_applied() -> None:
    """Stein with half of its gradient term: the factor of two that gets lost on paper."""

    def half(expr: Expr) -> Expr:
        def rewrite(node: Expectation) -> Expr:
            return Dot(Q.mean(node.component), Q.mean(node.component)) + Q.variance(k) / 2 * 3

        return bottom_up(expr, rewrite, Expectation)

    wrong = Rule("Half Stein", "", half)
    with pytest.raises(WrongRule, match="Half Stein changed the value by"):
        Derivation(check=True).run("E_k|x|^2", e(X2), (wrong,))


@pytest.mark.slow
def test_every_step_of_the_derivation_holds_numerically() -> None:
    system = close(gradient_flow(ReverseKL(Q, P)))
    worst = {(step.of, step.rule.name): step.residual for step in system.steps}
    assert len(worst) > 20
    assert max(worst.values()) < Configuration.TOLERANCE, worst


def test_the_numerical_check_is_a_value_and_not_zero() -> None:
    """A check that returned 0 for anything would pass every test above."""
    assert residual(e(X2), e(X2) + 1) > 0.1
    assert residual(e(POINT), Q.mean(k)) < 1e-12
    assert residual(e(POINT), Q.mean(j)) > 0.1


@pytest.mark.slow
def test_anisotropic_steps_are_checked_too() -> None:
    anisotropic = target(precision="S")
    flow = gradient_flow(ReverseKL(Q, anisotropic), check=True)
    assert flow.mean.has(Image)
