"""Objectives of one's own: algebra, refusals, and equations that agree with differences of integrals typed in."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sympy import Float, Rational, Symbol, exp

import theory
from solvers.closed import systems
from solvers.expectations import gaussian_softmax
from solvers.expectations.quadratic import centred_softmax
from tests.rated import rated
from tests.theory.direct_objectives import (
    Problem,
    entropy_of_weights,
    forward,
    reverse,
    second_moment,
    slopes,
    squares,
)
from tests.theory.executed_text import Executed
from theory import (
    BETA,
    AlphaDivergence,
    ClosedSystem,
    ForwardKL,
    NotClosed,
    Regulariser,
    ReverseKL,
    close,
    close_variances,
    gradient_flow,
    mixture,
    objective,
    target,
    variance_flow,
)
from theory.mixtures import LogDensity
from theory.objectives import average
from theory.quadrature import residual
from theory.vectors import POINT, Dot, Mean

Case = tuple[ClosedSystem, Callable[[Problem], float]]

Q, P = mixture(), target()
NUMBERS = {"beta": 0.6, "lam": 0.37, "bb": 0.7}


def away(at: Problem) -> float:
    """Σ_kl w_k π_l |μ_k − ν_l|²."""
    return float(at.w @ np.sum((at.mu[:, None] - at.nu) ** 2, axis=-1) @ at.pi)


def repulsion(at: Problem) -> float:
    """Σ_kj w_k w_j exp(−|μ_k − μ_j|²/2)."""
    return float(at.w @ np.exp(-np.sum((at.mu[:, None] - at.mu) ** 2, axis=-1) / 2) @ at.w)


#: Text → the same typed in, at the numbers above.
OBJECTIVES: dict[str, Callable[[Problem], float]] = {
    "0.5 reverse-kl + 0.5 forward-kl": lambda at: 0.5 * reverse(at, 0.6) + 0.5 * forward(at),
    "reverse-kl(2) - lam forward-kl": lambda at: reverse(at, 2) - 0.37 * forward(at),
    "lam reverse-kl + 0.2 reverse-kl(bb)": lambda at: 0.37 * reverse(at, 0.6) + 0.2 * reverse(at, 0.7),
    "reverse-kl + lam sum(w mu.mu) + 0.1 sum(w log(w)) - 0.05 E(x.x)": lambda at: (
        reverse(at, 0.6) + 0.37 * squares(at) + 0.1 * entropy_of_weights(at) - 0.05 * second_moment(at)
    ),
    "reverse-kl/lam + sum(w mu.mu)^2 - sum(w w' mu.mu')/10 + sum(w mu.mu) sum(w log(w))/10 + sum((mu.mu)^2)/8": lambda at: (  # noqa: E501
        reverse(at, 0.6) / 0.37 + squares(at) ** 2 - 0.1 * np.sum((at.w @ at.mu) ** 2)
        + 0.1 * squares(at) * entropy_of_weights(at) + np.sum(np.sum(at.mu**2, axis=1) ** 2) / 8
    ),
    "forward-kl + lam sum(w pi (mu.mu - 2 mu.nu + nu.nu)) - 0.1 sum(log(w))": lambda at: (
        forward(at) + 0.37 * away(at) - 0.1 * float(np.sum(np.log(at.w)))
    ),
    "0.3 reverse-kl + lam sum(w w' exp(-(mu.mu - 2 mu.mu' + mu'.mu')/2)) + 0.1 sum(w sqrt(1 + mu.mu))": lambda at: (
        0.3 * reverse(at, 0.6) + 0.37 * repulsion(at) + 0.1 * at.w @ np.sqrt(1 + np.sum(at.mu**2, axis=1))
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=OBJECTIVES)
def case(request: pytest.FixtureRequest) -> Case:
    return close(gradient_flow(objective(request.param))), OBJECTIVES[request.param]


def numbers(at: Problem) -> dict[str, object]:
    values = {"s": at.mu @ at.mu.T, "m": at.mu @ at.nu.T, "c": at.nu @ at.nu.T, "theta": at.theta, "v": at.v, "u": at.u}
    return values | {"log_pi": np.log(at.pi), "d": at.mu.shape[1], "expect": gaussian_softmax} | NUMBERS


#: Quadrature of the expectations and of the integrals, and differences, leave some 1e-8; a wrong term 1e-3 and more.
NEAR = 1e-7


def worst(at: Problem, found: tuple[np.ndarray, ...], slope: tuple[np.ndarray, ...]) -> float:
    """The largest error of ds, dm, dθ (and dlog v) against slopes of the objective."""
    means, theta, log_v = slope
    gamma = -means @ at.mu.T
    expected = (gamma + gamma.T, -means @ at.nu.T, -theta, *([-log_v] if len(log_v) else []))
    return max(float(np.max(np.abs(a - b))) for a, b in zip(found, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2])
def test_equations_are_the_slopes_of_the_objective(case: Case, d: int) -> None:
    system, typed = case
    at = Problem.random(d)
    source = system.emit("numpy")
    module = systems.load(source)
    known = rated(module, numbers(at))
    slope = slopes(typed, at)
    assert systems.call(module.objective, known) == pytest.approx(typed(at), abs=NEAR)
    assert worst(at, systems.call(module.velocity, known), slope) < NEAR
    # the control: any term left out is seen, but for a constant in θ
    names = systems.terms(source)
    assert len(names) == len(set(names))
    gauge = {name for name in names if f"# term {name} gauge" in source}
    for name in {n for n in names if "#" in n or "lam" in n} - gauge:
        wrong = systems.load(source, drop=name)
        assert worst(at, systems.call(wrong.velocity, known), slope) > 1e-4, name


@pytest.mark.parametrize("d", [1, 2])
def test_compiled_text_says_the_same_with_its_jacobian(case: Case, d: int) -> None:
    system, typed = case
    if "exp" in system.objective:
        assert "numba" not in system.views
        assert "cuda" not in system.views
        return
    at = Problem.random(d, K=2)
    means, theta, _ = slopes(typed, at)
    parameters = numbers(at) | {"nu": at.nu, "pi": at.pi, "log_v": at.log_v, "log_u": np.log(at.u), "rate": 0.2}
    parameters |= {"learn_means": 1, "learn_weights": 1}
    parameters |= {f"power_{group}": power for group, power in system.powers.items()}
    text = Executed(system.emit("numba"), parameters, 2, 2, d, len(system.driven))
    y = np.concatenate([at.mu.ravel(), at.theta, [1 / 0.6] * len(system.driven)])
    rhs = text.rhs(y)
    np.testing.assert_allclose(rhs[: len(y) - len(system.driven)], -np.append(means, theta), atol=NEAR)
    assert text.objective(y) == pytest.approx(typed(at), abs=NEAR)
    h = 1e-3
    moved = ([text.rhs(y + n * h * e) for n in (-2, -1, 1, 2)] for e in np.eye(len(y)))
    columns = [np.dot([1, -8, 8, -1], values) / (12 * h) for values in moved]
    np.testing.assert_allclose(text.jacobian(y), np.transpose(columns), atol=NEAR)
    assert np.abs(columns).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2])
def test_a_variance_for_each_component_beside_a_regulariser(d: int) -> None:
    text = "0.5 reverse-kl + lam sum(w v) + 0.1 sum(log(v)) - 0.1 E(x.x) + 0.2 sum(w mu.mu/v)"
    own = {"own_variances": True}
    system = close_variances(variance_flow(objective(text, mixture(**own), target(**own), beta=Rational(1))))

    def typed(at: Problem) -> float:
        squares_ = np.sum(at.mu**2, axis=1)
        rest = 0.37 * at.w @ at.v + 0.1 * np.sum(at.log_v) - 0.1 * second_moment(at) + 0.2 * at.w @ (squares_ / at.v)
        return float(0.5 * reverse(at) + rest)

    at, module = Problem.random(d, K=2, own=True), systems.load(system.emit("numpy"))
    known = rated(module, numbers(at) | {"expect": centred_softmax})
    slope = slopes(typed, at)
    assert systems.call(module.objective, known) == pytest.approx(typed(at), abs=NEAR)
    assert worst(at, systems.call(module.velocity, known), slope) < NEAR
    wrong = systems.load(system.emit("numpy"), drop="dlog_v.lam*vw")
    assert worst(at, systems.call(wrong.velocity, known), slope) > 1e-3


def test_metrics_divide_the_same_slopes() -> None:
    at = Problem.random(1)
    text, typed = "reverse-kl + 0.3 forward-kl + lam sum(mu.mu)", lambda at: (
        reverse(at, 0.6) + 0.3 * forward(at) + 0.37 * float(np.sum(at.mu**2))
    )  # fmt: skip
    module = systems.load(close(gradient_flow(objective(text))).emit("numpy"))
    means, theta, none = slopes(typed, at)
    found = systems.call(module.velocity, rated(module, numbers(at), "wasserstein", "fisher-rao"))
    assert worst(at, found, (means / at.w[:, None], theta / at.w, none)) < NEAR
    assert worst(at, found, (means, theta, none)) > 1e-2


def test_steps_that_a_regulariser_adds_hold_numerically() -> None:
    """Against quadrature in R³; steps of the plain flow, and the derivatives, are left to other tests."""
    system = close(gradient_flow(objective("reverse-kl - 0.1 E(x.x) + sum(w pi mu.nu)^2")))
    steps = [s for s in system.steps if s.rule.name in ("Gram closure", "Stein") and not s.of.startswith("F")]
    assert len(steps) >= 4
    assert max(step.residual for step in steps) < 1e-7
    assert residual(steps[-1].before, 1.01 * steps[-1].after) > 1e-3


def test_numbers_are_exact_and_sums_are_normal() -> None:
    forward_, reverse_ = ForwardKL(Q, P), ReverseKL(Q, P)
    ways: list[Any] = [
        0.3 * forward_,
        forward_ * 0.3,
        Rational(3, 10) * forward_,
        forward_ * Fraction(3, 10),
        forward_ * Float("0.3"),
    ]
    ways += [np.float64(0.3) * forward_, 3 * forward_ / 10, 0.1 * (forward_ + 2 * forward_), -(-0.3 * forward_)]
    assert {one.parts for one in ways} == {((Rational(3, 10), forward_),)}
    assert reverse_ + forward_ == forward_ + reverse_
    assert sum([reverse_, forward_]) == reverse_ + forward_
    assert (reverse_ - forward_ * Symbol("lam")).name == "reverse-kl - lam forward-kl"
    assert (reverse_ + forward_ - reverse_).name == "forward-kl"
    for factor in (float("nan"), float("inf"), Symbol("lam") / 0):
        with pytest.raises(ValueError, match="must be a finite"):
            factor * forward_
    for other in (forward_, "2", 1j, True, None):
        with pytest.raises(TypeError, match="must be"):
            forward_ * other
    with pytest.raises(TypeError, match="unsupported operand"):
        forward_ + 1
    with pytest.raises(ZeroDivisionError):
        forward_ / 0
    with pytest.raises(ValueError, match="nothing is left"):
        forward_ - forward_
    with pytest.raises(ValueError, match="rational expression of parameters"):
        forward_ * exp(Symbol("lam"))
    for name in ("K", "beta_", "w", "lambda", "gamma", "d_x"):
        if name != "beta_":
            with pytest.raises(ValueError, match=f"parameter '{name}'"):
                forward_ * Symbol(name)


def test_a_parameter_is_one_in_every_language() -> None:
    system = close(gradient_flow(ReverseKL(Q, P, BETA) * Symbol("scale") + 0.5 * ReverseKL(Q, P, Symbol("cold"))))
    assert system.parameters == ("beta", "cold", "scale")
    assert '"d", "beta", "cold", "scale",)' in system.emit("numpy")
    for view in ("numba", "cuda"):
        text = system.emit(view)
        assert "P_SCALE" in text
        assert "P_COLD" in text


@pytest.mark.slow
def test_identity_is_of_the_equations() -> None:
    """β as a number, as the temperature and as a parameter are three systems; a name makes no difference."""
    found = [close(gradient_flow(ReverseKL(Q, P, beta))) for beta in (1, 2, BETA, Symbol("cold"))]
    assert len({system.hash for system in found}) == 4
    assert [system.objective for system in found] == ["reverse-kl", "reverse-kl(2)", "reverse-kl", "reverse-kl(cold)"]
    says = {(system.objective, system.parameters) for system in found}
    assert len(says) == 4
    k = Q.indices(1)[0]
    named = [Regulariser(Q, P, Q.sum(Dot(Q.mean(k), Q.mean(k)), k), called) for called in ("", "spread")]
    assert len({close(gradient_flow(ReverseKL(Q, P) + o)).hash for o in named}) == 1
    with pytest.raises(ValueError, match="must be printable"):
        Regulariser(Q, P, named[0].function, 'x"\n')


def test_roles_and_limits_are_refused_by_name() -> None:
    must = "must be the family mixture\\(\\) and then the target target\\(\\)"
    for kind in (ReverseKL, ForwardKL, AlphaDivergence):
        with pytest.raises(ValueError, match=f"{kind.__name__}: q and p are swapped; {must}"):
            kind(P, Q)
        with pytest.raises(ValueError, match=f"{kind.__name__}: q and p are both q; {must}"):
            kind(Q, Q)
    with pytest.raises(ValueError, match="q, p are q, int; must be"):
        ReverseKL(Q, 3)
    for alpha, name in ((1, "ReverseKL"), (1.0, "ReverseKL"), (0, "ForwardKL")):
        with pytest.raises(ValueError, match=f"must be neither 0 nor 1: there it is {name}"):
            AlphaDivergence(Q, P, alpha)
    for beta in (0, -1.5):
        with pytest.raises(ValueError, match="must be above 0"):
            ReverseKL(Q, P, beta)
    with pytest.raises(ValueError, match="its mixtures are others"):
        ReverseKL(Q, P) + ReverseKL(mixture(own_variances=True), target(own_variances=True))
    with pytest.raises(ValueError, match=r"finite batches of reverse-kl \+ sum\(w mu.mu\): what is added"):
        gradient_flow(objective("reverse-kl + sum(w mu.mu)"), batch=True)


def test_regularisers_that_are_none_are_refused() -> None:
    (k,) = Q.indices(1)
    with pytest.raises(ValueError, match="is a vector"):
        Regulariser(Q, P, Q.sum(Q.mean(k), k))
    with pytest.raises(ValueError, match="is a function of x"):
        Regulariser(Q, P, Dot(POINT, POINT))
    with pytest.raises(ValueError, match="the index k is free"):
        Regulariser(Q, P, Q.weight(k))
    with pytest.raises(ValueError, match="has log-densities or responsibilities"):
        Regulariser(Q, P, average(Q, LogDensity(Q)))
    assert ReverseKL(Q, P, Symbol("beta")) == ReverseKL(Q, P, BETA)
    for text, missing in (("log(x.x)", "log"), ("exp(x.x)", "exp"), ("1/x.x", "1/")):
        with pytest.raises(NotClosed, match="no table is for them") as refused:
            close(gradient_flow(objective(f"reverse-kl + E({text})")))
        assert any(missing in name for name in refused.value.missing)
    strange = Regulariser(Q, P, Q.sum(Q.weight(k) * Dot(Q.mean(k), Mean("eta", 1)), k))
    with pytest.raises(NotClosed, match="also need"):
        close(gradient_flow(ReverseKL(Q, P) + strange))


@pytest.mark.slow
def test_what_the_documentation_types_closes() -> None:
    """The Python of docs/theory.md on objectives of one's own, as it stands there."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")
    section = text.split("## An objective of your own")[1].split("## What does not close")[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    scope = vars(theory) | {"Symbol": Symbol, "Dot": Dot, "POINT": POINT, "average": average, "q": Q, "p": P}
    for block in blocks:
        exec(compile(block, "theory.md", "exec"), scope)
    read, squares = scope["objective"]("reverse-kl + lam sum(w mu.mu)"), scope["squares"]
    assert close(gradient_flow(read)).hash == close(gradient_flow(ReverseKL(Q, P, BETA) + scope["lam"] * squares)).hash
    e_x2 = Regulariser(Q, P, average(Q, Dot(POINT, POINT)))
    assert close(gradient_flow(e_x2)).hash == close(gradient_flow(objective("E(x.x)"))).hash
