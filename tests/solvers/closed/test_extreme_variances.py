"""Variances, temperatures and tolerances far out: a status or a message, neither an error nor a hang."""

from __future__ import annotations

import numpy as np
import pytest

from solvers import ask
from solvers.closed import blocks
from solvers.equilibria import NoEquilibrium
from solvers.expectations.quadratic import quadratic_softmax
from solvers.problem import Problem


def problem(u: str = "1.0", v: str = "1.0", flow: str = "", target: str = "separation = 2.0") -> Problem:
    return Problem.parse(
        f"dimension = 3\n[target]\n{target}\nvariances = {u}\n[family]\ncomponents = 2\nvariances = {v}\n"
        f"[flow]\n{flow}\n[init]\nmeans = [[0.3, 0.2], [-0.1, 0.4]]\n[time]\nend = 2.0\nsave = 2\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("u", "v"),
    [("[1e-60, 1.0]", "[1e-60, 1.0]"), ("[1e-20, 1.0]", "[1e-20, 1.0]"), ("1.0", "[1e160, 1.0]"),
     ("[1e308, 1e308]", "[1e308, 1e308]"), ("1e-200", "1.0"), ("[1e-160, 1e160]", "1.0")],
)  # fmt: skip
def test_variances_beyond_float64_are_a_status(u: str, v: str) -> None:
    found = ask.solve(problem(u, v), backend="numpy")
    assert found.status.values[0] != 0
    assert np.isnan(found.objective.values).all()


def test_a_mode_of_any_width_beside_one_of_width_one_leaves_the_right_divergence() -> None:
    """The wide mode has no density where q is: the divergence is that from the other mode, and log 2."""
    wide, wider = (ask.solve(problem(u=u)).objective.values[0] for u in ("[1e20, 1.0]", "[1e160, 1.0]"))
    np.testing.assert_allclose(wide, wider, rtol=1e-9)


def test_nodes_that_all_fall_outside_are_nan() -> None:
    cov = np.array([[1e-30, 0.0], [0.0, 0.0]])
    values = quadratic_softmax(np.zeros(2), cov, np.array([1e60, 0.0]), 3, error=True)
    assert not np.isfinite(values[-1]) or values[0].sum() == pytest.approx(1.0)


@pytest.mark.slow
def test_a_trajectory_that_gets_nowhere_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """At T = 1e-100 steps are 1e-100 long: 200,000 of them took minutes."""
    monkeypatch.setattr(blocks, "FIRST_STEPS", 300)
    assert ask.solve(problem(flow="temperature = 1e-100"), backend="numpy", rest=False).status.values.tolist() == [1]
    assert ask.solve(problem(flow="temperature = 1e-4"), backend="numpy", rest=False).status.values.tolist() == [0]


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize(("name", "value"), [("rtol", 0.5), ("atol", 1.0), ("rtol", float("nan"))])
def test_python_refuses_tolerances_as_the_command_does(name: str, value: float, backend: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: is .*; must be a number "):
        ask.solve(problem(), backend=backend, **{name: value})


def test_an_equilibrium_whose_objective_is_rounding_is_none() -> None:
    with pytest.raises(NoEquilibrium, match="rounding may change it by"):
        ask.equilibria(problem(target="separation = 1e120"))
