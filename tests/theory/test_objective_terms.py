"""Objectives, metrics, temperature and batches by the engine: formulas of the theory typed in, sums, and refusals."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sympy import Expr, IndexedBase, Matrix, Rational, S, Symbol, expand, lambdify

from derivations.catalogue import entry
from solvers.closed import systems
from solvers.expectations import gaussian_softmax
from tests.rated import rated
from theory import BETA, AlphaDivergence, ForwardKL, NotClosed, ReverseKL, close, gradient_flow, mixture, target
from theory.configuration import Configuration
from theory.expectations import Expectation, Gradient
from theory.mixtures import LogDensity, Responsibility
from theory.objectives import annealing
from theory.parameters import RATE, rate
from theory.quadrature import residual
from theory.sums import Sigma, index
from theory.system import ClosedSystem
from theory.vectors import POINT

Q, P = mixture(), target()
k, j, i, l, n = (index(letter) for letter in "kjiln")
s, m, c, A, B, PL = (IndexedBase(name, real=True) for name in ("s", "m", "c", "A", "B", "P"))
w, pi = Q.weights, P.weights
K, L = (Symbol(name, integer=True, positive=True) for name in "KL")
v, u = Symbol("v", positive=True), Symbol("u", positive=True)


@cache
def plain() -> ClosedSystem:
    """This and the next are derived when a test asks for them, not when tests are collected."""
    return close(gradient_flow(ReverseKL(Q, P))).under()


@cache
def tempered() -> ClosedSystem:
    return close(gradient_flow(ReverseKL(Q, P, BETA))).under()


@cache
def forward() -> ClosedSystem:
    return close(gradient_flow(ForwardKL(Q, P))).under()


def same(system: ClosedSystem, derived: Expr, typed: Expr, at: dict[Symbol, int]) -> bool:
    """Equality by algebra at K = 3, L = 2, tables being free symbols."""
    concrete = system.at(3, 2)
    concrete._tables, concrete.learned = {}, False
    return bool(expand(concrete.write_out(derived, at) - concrete.write_out(typed, at)) == 0)


def test_tempered_means_of_section_3() -> None:
    """dμ_k/dt = −w_k( Σ_j A_kj μ_j − (1−β) μ_k − β Σ_l B_kl ν_l ) for unit variances."""
    drift = Sigma(A[k, j] * s[j, i], (j, 1, K)) - (1 - BETA) * s[k, i] - BETA * Sigma(B[k, l] * m[i, l], (l, 1, L))
    unit = tempered().gamma.subs({v: 1, u: 1})
    assert same(tempered(), unit, -w[k] * drift, {k: 1, i: 3})
    assert not same(tempered(), unit, -w[k] * drift.subs(BETA, 1), {k: 1, i: 3})
    assert same(tempered(), tempered().gamma.subs(BETA, 1), plain().gamma, {k: 2, i: 3})


def test_wasserstein_divides_by_the_weight() -> None:
    """dμ_k/dt = −(1/w_k) ∂D/∂μ_k, and the weights do not see the metric."""
    for objective in (ReverseKL(Q, P), ForwardKL(Q, P)):
        flow = close(gradient_flow(objective))
        flat, curved = flow.under(), flow.under(means=1)
        assert same(flat, flat.gamma, w[k] * curved.gamma, {k: 2, i: 1})
        assert same(flat, flat.equations["m"], w[k] * curved.equations["m"], {k: 2, l: 1})
        assert flat.equations["theta"] == curved.equations["theta"]


def test_the_power_of_the_weight_in_a_slope_is_found() -> None:
    """Averages under q carry w_k, averages under p do not; of a sum, what both carry."""
    both = gradient_flow(ReverseKL(Q, P) + ForwardKL(Q, P))
    powers = [gradient_flow(o).powers for o in (ReverseKL(Q, P), ForwardKL(Q, P))]
    assert [set(found.values()) for found in (*powers, both.powers)] == [{1}, {0}, {0}]


@pytest.mark.parametrize("objective", [ReverseKL(Q, P, BETA), ForwardKL(Q, P)], ids=["reverse", "forward"])
def test_fisher_rao_is_the_natural_gradient_on_the_simplex(objective) -> None:
    """dw_k/dt = −w_k (∂D/∂w_k − Σ_j w_j ∂D/∂w_j) by definition, θ_k = log w_k: the slope in θ_k over w_k."""
    value, flow = objective.value(), gradient_flow(objective)
    natural = -(Gradient(value, w[k]) - Q.sum(w[j] * Gradient(value, w[j]), j))
    rated = flow.theta.xreplace({rate("weights", k): w[k] ** (flow.powers["weights"] - 1)})
    assert residual(natural, rated) < Configuration.TOLERANCE
    assert residual(natural, 1.1 * rated) > 0.01


def test_forward_kl_of_section_3() -> None:
    """dμ_k/dt = Σ_l π_l E_l[r_k (x−μ_k)]/v, by quadrature in R³; dθ_k/dt = E_p[r_k] − w_k, by algebra."""
    typed = P.sum(P.weight(l) * Expectation(P, l, Responsibility(Q, k) * (POINT - Q.mean(k)) / v), l)
    flow = gradient_flow(ForwardKL(Q, P))
    assert residual(flow.mean, typed * rate("means", k)) < Configuration.TOLERANCE
    assert residual(flow.mean, typed * rate("means", k) * 2) > 0.01
    assert same(forward(), forward().equations["theta"], Sigma(pi[l] * PL[l, k], (l, 1, L)) - w[k], {k: 2})
    natural = close(flow).under(weights=1)
    assert same(natural, natural.equations["theta"], Sigma(pi[l] * PL[l, k], (l, 1, L)) / w[k] - 1, {k: 2})


def test_finite_batches_of_section_3() -> None:
    """E_k|g|² by quadrature: g = ∇log q − β∇log p at a sample, its scores by central differences."""
    flow = gradient_flow(ReverseKL(Q, P, BETA), batch=True)
    g = (Q.sum(Responsibility(Q, j) * (Q.mean(j) - POINT), j)) / v - BETA * (
        P.sum(Responsibility(P, l) * (P.mean(l) - POINT), l)
    ) / u
    from theory.vectors import Dot

    assert flow.square is not None
    assert residual(flow.square, Expectation(Q, k, Dot(g, g))) < Configuration.TOLERANCE
    assert residual(flow.square, Expectation(Q, k, Dot(g, g)) + 0.1) > 0.01
    with pytest.raises(ValueError, match="samples come from p"):
        gradient_flow(ForwardKL(Q, P), batch=True)


@pytest.mark.slow
def test_a_weighted_sum_of_two_objectives_closes() -> None:
    """What a user types: from here ..."""
    mixed = ReverseKL(mixture(), target()) + Rational(1, 3) * ForwardKL(mixture(), target())
    system = close(gradient_flow(mixed))
    module = systems.load(system.emit("numpy"))
    # ... to here.
    parts = [close(gradient_flow(o)) for o in (ReverseKL(Q, P), ForwardKL(Q, P))]
    rng = np.random.default_rng(2)
    mu, nu = rng.normal(size=(3, 4)), rng.normal(size=(2, 4))
    values = {"s": mu @ mu.T, "m": mu @ nu.T, "c": nu @ nu.T, "theta": rng.normal(size=3), "d": 4, "v": 0.8, "u": 1.3}
    values |= {"log_pi": np.log([0.4, 0.6]), "expect": gaussian_softmax}

    def evaluated(module: ModuleType) -> list[np.ndarray]:
        known = rated(module, values, "wasserstein")
        value = systems.call(module.objective, known)
        return [*systems.call(module.velocity, known), value]

    whole, (first, second) = evaluated(module), (evaluated(systems.load(p.emit("numpy"))) for p in parts)
    for a, b, total in zip(first, second, whole, strict=True):
        np.testing.assert_allclose(total, a + b / 3, atol=1e-9)
        assert np.abs(total - a).max() > 1e-3
    for view in ("latex", "text", "numba"):
        assert len(system.emit(view)) > 1000
    with pytest.raises(ValueError, match="view 'cuda': allowed are latex, text, numpy, numba"):
        system.emit("cuda")


@pytest.mark.slow
def test_other_divergences_are_refused_with_what_they_need() -> None:
    for alpha, ratio in ((Rational(1, 2), "exp(log p/2 - log q/2)"), (S(2), "exp(-log p + log q)")):
        flow = gradient_flow(AlphaDivergence(Q, P, alpha))
        with pytest.raises(NotClosed, match="functions of the states, but") as refused:
            close(flow)
        assert refused.value.missing == [f"E[{ratio}]", *(f"E[{ratio}*{x}]" for x in ("r", "x", "rho"))]
    means = [step for step in gradient_flow(AlphaDivergence(Q, P)).derivation.steps if "mu" in step.of]
    assert len(means) >= 4
    assert max(step.residual for step in means) < Configuration.TOLERANCE


def test_schedule_as_an_equation() -> None:
    """β(t) = 1/(1 + (T(0) − 1) e^{−rate t}), integrated from the derived equation."""
    assert expand(annealing() - RATE * BETA * (1 - BETA)) == 0
    rhs = lambdify([BETA, RATE], annealing())
    end = solve_ivp(lambda _, y: rhs(y, 0.3), (0, 5), [1 / 4], rtol=1e-11, atol=1e-13).y[0, -1]
    assert end == pytest.approx(1 / (1 + 3 * np.exp(-1.5)), abs=1e-9)


VALUES = {
    "s11": 0.9, "s12": 0.2, "s22": 1.1, "m11": 0.7, "m12": -0.3, "m21": -0.5, "m22": 0.4,
    "theta1": 0.2, "theta2": -0.3, "c11": 1.2, "c12": -0.4, "c22": 0.8, "pi1": 0.35, "pi2": 0.65,
    "v": 0.8, "u": 1.3, "d": 5.0, "beta": 0.6, "step": 0.2, "size": 4.0,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "metric"), [("reverse_kl", {"weights": 1}), ("forward_kl", {"means": 1})])
def test_written_out_jacobian_equals_finite_differences(name: str, metric: dict[str, float]) -> None:
    system = entry(name).system.under(**metric)
    concrete = system.at(2, 2)
    assert {x.name for x in Matrix(list(concrete.equations.values())).free_symbols} <= set(VALUES)
    column = concrete.states[1]
    derived = concrete.evaluate(Matrix([rhs.diff(column) for rhs in concrete.equations.values()]), VALUES, 150).ravel()

    def at(x: float) -> np.ndarray:
        values = VALUES | {column.name: VALUES[column.name] + x}
        return concrete.evaluate(Matrix(list(concrete.equations.values())), values, 150).ravel()

    # fourth-order differences: truncation h⁴ ~ 1e-12, rounding 1e-15/h ~ 1e-12
    slope = np.dot([1, -8, 8, -1], [at(f * 1e-3) for f in (-2, -1, 1, 2)]) / 12e-3
    np.testing.assert_allclose(derived, slope, atol=1e-9)
    assert np.abs(derived).max() > 0.01


@pytest.mark.slow
def test_written_out_batches_equal_the_emitted_code() -> None:
    system = entry("finite_batch").system
    concrete, module = system.at(2, 2), systems.load(systems.read("finite_batch"))
    ds = [concrete.evaluate(concrete.equations[state], VALUES).item() for state in concrete.states[:3]]
    both = {name: np.array([[VALUES[f"{name}{a}{b}"] for b in (1, 2)] for a in (1, 2)]) for name in ("m",)}
    both |= {
        x: np.array([[VALUES[x + "11"], VALUES[x + "12"]], [VALUES[x + "12"], VALUES[x + "22"]]]) for x in ("s", "c")
    }
    values = (
        VALUES | both | {"theta": np.array([0.2, -0.3]), "log_pi": np.log([0.35, 0.65]), "expect": gaussian_softmax}
    )
    emitted = systems.call(module.velocity, rated(module, values))[0]
    np.testing.assert_allclose(ds, emitted[[0, 0, 1], [0, 1, 1]], atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "finite_batch"])
def test_every_step_holds_numerically(name: str) -> None:
    """Steps that the plain flow has as well are left to its own test."""
    known = {(step.before, step.after) for step in plain().steps}
    others = {"finite_batch": tempered}
    known |= {(step.before, step.after) for step in others[name]().steps} if name in others else set()
    steps = [step for step in entry(name).system.steps if (step.before, step.after) not in known]
    assert len(steps) >= 5
    assert max(step.residual for step in steps) < Configuration.TOLERANCE


def test_log_densities_of_either_mixture_lead_to_tables() -> None:
    assert [table.name for table in forward().tables] == ["B", "P", "O", "PP", "G"]
    assert {str(f) for f in forward().tables[-1].source.atoms(LogDensity)} == {"log p", "log q"}
    assert forward().parameters == ()
    assert tempered().parameters == ("beta",)
    assert entry("finite_batch").system.parameters == ("beta", "step", "size")
