"""Objectives of one's own where every component has a variance of its own, or learns it: by equations and particles.

The objective is an integral over a grid in d = 1 and 2 (tests/theory/direct_objectives.py), its slopes in means,
log-weights and log-variances are finite differences of that. Neither the engine nor the particles know of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers import ask, reopen
from solvers.closed import systems
from solvers.machine.backends import BackendError
from solvers.particles.replicas import velocities
from solvers.problem import Problem, ProblemError
from solvers.sweeps.plan import Sweep
from solvers.sweeps.run import run
from tests.theory import direct_objectives as direct

Point = direct.Problem

TEXT = """
dimension = {d}
[target]
means = {nu}
weights = {pi}
variances = {u}
[family]
components = 2
weights = {w}
variances = {v}
learn = ["means", "weights", "variances"]
[flow]
objective = "{objective}"
{more}
[init]
means = {mu}
[time]
end = 0.4
save = 2
"""

SWEEP = """
base = "p.toml"
[grid]
"flow.parameters.lam" = [-3.0, 0.4]
[output]
quantities = ["objective"]
"""


def given(objective: str, at: Point, more: str = "") -> Problem:
    arrays = {"nu": at.nu, "pi": at.pi, "u": at.u, "w": at.w, "v": at.v, "mu": at.mu}
    lists = {name: array.tolist() for name, array in arrays.items()}
    return Problem.parse(TEXT.format(d=at.mu.shape[1], objective=objective, more=more, **lists), "p.toml")


def squares_over_widths(at: Point) -> float:
    """Σ_k w_k |μ_k|²/v_k."""
    return float(at.w @ (np.sum(at.mu**2, axis=1) / at.v))


#: Text, further lines of [flow], and the objective typed in.
CASES: dict[str, tuple[str, str, Callable[[Point], float]]] = {
    "widths": (
        "reverse-kl + lam sum(w v) - 0.1 sum(log(v)) + 0.05 sum(v v')", "parameters = {lam = 0.4}",
        lambda at: direct.reverse(at) + float(0.4 * at.w @ at.v - 0.1 * at.log_v.sum() + 0.05 * at.v.sum() ** 2),
    ),
    "moments": (
        "0.5 reverse-kl + 0.1 E(x.x) + 0.2 sum(w mu.mu/v) + 0.05 sum(w pi mu.nu/u)", "",
        lambda at: 0.5 * direct.reverse(at) + 0.1 * direct.second_moment(at) + 0.2 * squares_over_widths(at)
        + 0.05 * float(at.w @ at.mu @ at.nu.T @ (at.pi / at.u)),
    ),
    "forward": ("forward-kl", "", direct.forward),
    "jeffreys": (
        "0.5 reverse-kl + lam forward-kl", "parameters = {lam = 0.7}",
        lambda at: 0.5 * direct.reverse(at) + 0.7 * direct.forward(at),
    ),
    "tempered": ("reverse-kl", "temperature = 1.6", lambda at: direct.reverse(at, 1 / 1.6)),
    "two temperatures": (
        "lam reverse-kl + 0.3 reverse-kl(2)", "temperature = 0.7\nparameters = {lam = 0.5}",
        lambda at: 0.5 * direct.reverse(at, 1 / 0.7) + 0.3 * direct.reverse(at, 2),
    ),
}  # fmt: skip
#: The slopes and the tables' quadrature leave some 1e-8; a term that is twice what it is, or half, 1e-3 and more.
NEAR = 1e-7


class Slopes:
    """What the objective, typed in, says at a point; and how far the equations of a problem are from it."""

    def __init__(self, problem: Problem, at: Point, value: Callable[[Point], float]) -> None:
        self.problem, self.at, self.source, self.value = problem, at, systems.source(problem), value(at)
        self.mean, self.theta, self.log_v = direct.slopes(value, at)
        # The tables, which take the time, have no terms: they are those of the equations whatever is scaled.
        module = systems.load(self.source)
        self.values = systems.evaluate(problem, module, at.mu @ at.mu.T, at.mu @ at.nu.T, at.theta, at.log_v)

    def worst(self, scale: dict[str, float] | None = None) -> float:
        """The largest error of velocities and objective, of the equations with some terms times a number."""
        at, module = self.at, systems.load(self.source, scale=scale)
        ds, dm, dtheta, dlog_v = systems.call(module.velocity, self.values)
        gamma = -self.mean @ at.mu.T
        errors = (
            ds - gamma - gamma.T,
            dm + self.mean @ at.nu.T,
            dtheta - dtheta.mean() + self.theta,
            dlog_v + self.log_v,
            systems.call(module.objective, self.values) - self.value,
        )
        return max(float(np.abs(error).max()) for error in errors)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_flow_descends_the_objective(case: str, d: int) -> None:
    text, more, value = CASES[case]
    at = Point.random(d, K=2, own=True)
    problem = given(text, at, more)
    slopes = Slopes(problem, at, value)
    assert slopes.worst() < NEAR
    # Controls: a factor of two in any term is seen, but for a constant in θ.
    for name in systems.terms(slopes.source, problem):
        assert slopes.worst({name: 2.0}) > 1e-4, name


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_particles_descend_the_same(case: str) -> None:
    """The right-hand side of `compare`: unbiased, so the slopes lie within the spread of the replicas."""
    text, more, value = CASES[case]
    at = Point.random(2, K=2, own=True)
    slopes = Slopes(given(text, at, more), at, value)
    found = velocities(slopes.problem, at.mu, at.theta, particles=400, replicas=64, backend="numpy")

    def apart(factor: float) -> float:
        """The largest deviation in standard errors, if log-variances moved so many times as fast."""
        worst = 0.0
        for got, wanted in (
            (found.dmu, -slopes.mean),
            (found.dtheta - found.dtheta.mean(1, keepdims=True), -slopes.theta),
            (found.dv / at.v, -factor * slopes.log_v),
            (found.objective, np.array(slopes.value)),
        ):
            error = got.std(0, ddof=1) / np.sqrt(len(got))
            worst = max(worst, float(((np.abs(got.mean(0) - wanted) - 1e-9) / error).max()))
        return worst

    # 64 replicas, 9 entries: beyond 6.5 errors of a t law with 63 degrees of freedom once in 10⁷.
    assert apart(1.0) < 6.5
    assert apart(2.0) > 6.5


@pytest.mark.slow
def test_a_file_is_compared() -> None:
    """A regulariser of the variances: agreement; without its pull on them, none."""
    text, more, _ = CASES["widths"]
    problem = given(text, Point.random(2, K=2, own=True), more)
    assert len([line for line in problem.text.splitlines() if line]) <= 20
    options: dict[str, Any] = {"particles": 64, "backend": "numpy", "step": 0.02, "resolve": 1.0}
    assert ask.compare(problem, **options).agrees
    assert not ask.compare(problem, **options, drop="dlog_v.lam*vw").agrees


@pytest.mark.slow
def test_a_file_is_swept(tmp_path: Path) -> None:
    text, more, _ = CASES["widths"]
    short = given(text, Point.random(1, K=2, own=True), more).text.replace("end = 0.4", "end = 0.05")
    problem = Problem.parse(short, "p.toml")
    (tmp_path / "p.toml").write_text(problem.text, encoding="utf-8")
    (tmp_path / "s.toml").write_text(SWEEP, encoding="utf-8")
    run(Sweep.load(tmp_path / "s.toml"), tmp_path / "s.zarr", workers=1)
    swept = reopen.open(tmp_path / "s.zarr")["objective"].values
    one = ask.solve(Problem.parse(problem.text.replace("lam = 0.4", "lam = -3.0"), "p.toml"))
    assert swept[0] == float(one["objective"][0, -1])
    assert swept[0] < 0 < swept[1]  # only divergences are known not to be below zero


def test_backends_that_cannot_say_so() -> None:
    text, more, _ = CASES["widths"]
    for backend in ("numba", "cupy"):
        with pytest.raises(BackendError, match=f"{backend}: variances that differ or are learned; allowed: numpy"):
            ask.solve(given(text, Point.random(1, K=2, own=True), more), backend=backend)


REFUSED = {
    "reverse-kl + 0.1 v E(x.x)": ("", 'flow.objective: is "reverse-kl + 1/10 v E(x.x)"; v outside of sum( ) is the'),
    "reverse-kl + E(x.x)/v": ("", "v outside of sum( ) is the one variance of q"),
    "reverse-kl + E(log(x.x))": ("", "the equations do not close on the overlaps: they also need"),
    "0.5 reverse-kl + sum(w v)": ("batch = {size = 4, step = 0.1}", "for the flow, not for the steps of flow.batch"),
    "reverse-kl": (
        "batch = {size = 4, step = 0.1}",
        "no equations are derived for reverse-kl with batch and variances",
    ),
    "forward-kl": ("temperature = 2.0", "no equations are derived for forward-kl with temperature and variances"),
    "forward-kl + sum(w v)": ("temperature = 2.0", "has no reverse-kl that flow.temperature could temper"),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_close_is_refused_by_name(text: str) -> None:
    more, said = REFUSED[text]
    with pytest.raises(ProblemError) as refused:
        ask.solve(given(text, Point.random(1, K=2, own=True), more))
    assert said in str(refused.value)
    assert str(refused.value).startswith("p.toml: flow")
