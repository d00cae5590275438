"""Equilibria: known bifurcations to eight digits, spectra against the flow, basin boundary, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from derivations import stability
from solvers import reopen, results
from solvers.closed import ensembles
from solvers.closed.flow import solve
from solvers.equilibria import NoEquilibrium, basin_boundary, continuation, equilibrium, field
from solvers.equilibria.field import Field
from solvers.machine.arrays import BackendError
from solvers.problem import Problem, ProblemError
from solvers.problem.keys import changed
from tests.solvers.closed.decided import assert_same_outcomes


def problem(
    means: str, R: float = 3.0, K: int = 2, learn: str = '["means"]', weights: str = "[0.5, 0.5]", end: float = 1000.0
) -> Problem:
    """d = 8 lets all of these share the machine code of test_ensembles."""
    return Problem.parse(
        f"""
        dimension = 8
        [target]
        separation = {R}
        weights = {weights}
        [family]
        components = {K}
        learn = {learn}
        [init]
        means = {means}
        [time]
        end = {end}
        save = 51
        """
    )


PAIR = problem("[[3.2], [2.8]]")


def normal_mean(f) -> float:
    """E f(z) by adaptive quadrature."""
    return float(quad(lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * f(z), -10, 10, epsabs=1e-14)[0])


def kappa_0(R: float) -> float:
    return normal_mean(lambda z: 1 / np.cosh(R * z) ** 2)


def special(ds, kind):
    return np.sort(ds["parameter"].values[ds["kind"].values == kind])


@pytest.mark.slow
def test_one_component_leaves_the_centre_in_a_pitchfork() -> None:
    """R_c = 1.46083 of section 6, against κ₀R² = 1 by quadrature, to more than 8 digits; what crosses is stable."""
    ds = continuation(problem("[[0.0]]", R=1.2, K=1), "target.separation", 1.0, 2.0)
    expected = brentq(lambda R: kappa_0(R) * R * R - 1, 1.3, 1.6, xtol=1e-13)
    assert special(ds, 2) == pytest.approx([expected], abs=1e-9)
    assert special(ds, 2) == pytest.approx([1.460834], abs=5e-7)
    assert special(ds, 1).size == special(ds, 3).size == 0
    assert ds["parent"].values.tolist() == [-1, 0, 0]
    centre, up, down = (ds.isel(branch=b, point=slice(0, int(ds["points"][b]))) for b in range(3))
    regular = centre["kind"].values != 2
    before = centre["parameter"].values[regular] < expected
    np.testing.assert_array_equal(centre["stability"].values[regular], np.where(before, 1, -1))
    # On the crossing branches m = R² a with a = E tanh(aR² + Rz), stable, one the mirror image of the other.
    R, m = (float(up[name].isel(point=-1).values.flat[0]) for name in ("parameter", "m"))
    mean = normal_mean(lambda z: np.tanh(m + R * z))
    assert R == 2.0
    assert abs(m) / R**2 == pytest.approx(abs(mean), abs=1e-9)
    assert (up["stability"].values[1:] == 1).all()
    np.testing.assert_allclose(up["m"].values[-1], -down["m"].values[-1], atol=1e-9)


@pytest.mark.slow
def test_the_pair_at_one_mode_ends_in_a_fold() -> None:
    """2.25961 of section 6, against the formulas of the document, which know nothing of this code; split 0.411985."""
    at_3 = equilibrium(PAIR)
    split = np.sqrt(at_3.s[0, 0] - 2 * at_3.s[0, 1] + at_3.s[1, 1])
    assert split == pytest.approx(0.411985, abs=5e-7)
    assert at_3.stability == 1
    ds = continuation(PAIR, "target.separation", 2.0, 3.0, follow=1000.0, branches=1)
    expected = stability.fold(stability.pair_on_the_axis())[0]
    assert special(ds, 1) == pytest.approx([expected], abs=1e-9)
    assert special(ds, 1) == pytest.approx([2.2596076], abs=5e-8)
    assert special(ds, 2).size == special(ds, 3).size == 0
    count = int(ds["points"][0])
    fold = int(np.flatnonzero(ds["kind"].values[0] == 1)[0])
    sides = ds["stability"].values[0, :fold], ds["stability"].values[0, fold + 1 : count]
    assert {frozenset(side.tolist()) for side in sides} == {frozenset({1}), frozenset({-1})}


def test_rates_at_the_centre_and_the_spectrum_modulo_gauge() -> None:
    """Rates of section 6 at R = 3; learned weights add two zeros, of which one is gauge and is left out."""
    expected = [1.146750, 0.646750, 0.0, 0.0, -0.5, -0.5]
    fixed = equilibrium(problem("[[0.0], [0.0]]"), follow=0.0)
    np.testing.assert_allclose(fixed.eigenvalues, expected, atol=5e-7)
    learned = equilibrium(problem("[[0.0], [0.0]]", learn='["means", "weights"]'), follow=0.0)
    np.testing.assert_allclose(learned.eigenvalues, [*expected[:3], 0.0, *expected[3:], np.nan], atol=5e-7)
    assert (fixed.stability, fixed.unstable) == (-1, 2)


def test_a_branch_passes_from_the_tempered_equations_to_those_without_temperature() -> None:
    """At the centre sum and difference of the means grow at β(κ₀R² − 1)/2 and 1/2 more, at every temperature."""
    hot = Problem.parse(problem("[[0.0], [0.0]]").text + "\n[flow]\ntemperature = 1.6")
    ds = continuation(hot, "flow.temperature", 0.8, 2.0, step=0.2, branches=1)
    count = int(ds["points"].values[0])
    T, rates = ds["parameter"].values[0, :count], ds["eigenvalue"].values[0, :count]
    assert T.min() < 1 < T.max()
    together = (kappa_0(3.0) * 9 - 1) / (2 * T)
    np.testing.assert_allclose(rates[:, 0], together + 0.5, atol=1e-9)
    np.testing.assert_allclose(rates[:, 1], together, atol=1e-9)


def test_spectrum_is_the_rate_at_which_the_flow_returns() -> None:
    """The distance to the equilibrium decays with the largest eigenvalue; controls: not with twice or half of it."""
    rest = equilibrium(problem("[[3.0], [-3.0]]", R=1.5))
    run = solve(problem("[[1.501, 0.0], [-1.5, 0.0]]", R=1.5, end=60.0), rtol=1e-12, atol=1e-14)
    distance = np.abs(run["m"].values[0, :, 0, 0] - rest.m[0, 0])
    # Late enough for the other directions to be gone, early enough for distances of 1e-10, above the tolerance 1e-12:
    # that bends the fitted rate by about a percent of it at most.
    late = (run["time"].values > 30) & (run["time"].values < 55)
    rate = np.polyfit(run["time"].values[late], np.log(distance[late]), 1)[0]
    assert rate == pytest.approx(rest.eigenvalues[0], rel=0.02)
    assert rate != pytest.approx(2 * rest.eigenvalues[0], rel=0.02)


@pytest.mark.slow
def test_continuation_in_a_weight_of_the_target() -> None:
    """Unequal modes unfold the pitchfork: K = 1 at R = 2 has two folds, mirror images in π, and no branch point."""
    ds = continuation(
        problem("[[2.0]]", R=2.0, K=1, weights="[0.5, 0.5]"), "target.weights.0", 0.02, 0.98, follow=100.0
    )
    folds = special(ds, 1)
    assert len(folds) == 2
    assert folds.sum() == pytest.approx(1.0, abs=1e-9)
    assert special(ds, 2).size == 0


def test_results_can_be_written_and_opened(tmp_path) -> None:
    ds = continuation(problem("[[0.0]]", R=1.2, K=1), "target.separation", 1.1, 1.3, branches=1)
    results.write(ds, tmp_path / "branches.nc")
    again = reopen.open(tmp_path / "branches.nc")
    assert again.identical(ds)
    assert again.attrs["key"] == "target.separation"
    with pytest.raises(results.ResultError, match="lacks objective_se"):
        reopen.open(tmp_path / "branches.nc", required=("m", "s", "objective_se"))


@pytest.mark.slow
def test_basin_boundary_between_recovery_and_collapse() -> None:
    """The edge state is the saddle on the far side of the fold: one growing direction, and its overlaps."""
    given = problem("[[1.0], [0.5]]", end=3000.0)  # saved every 60, while the edge is left by t = 60
    ends = [[1.0, 0.1, 0.0], [0.5, 0.0, 0.1]], [[1.0, 0.1, 0.0], [-1.5, 0.0, 0.1]]
    ds = basin_boundary(given, *ends, resolution=1e-10)
    low, high = ds["fraction"].values
    assert 0 < high - low <= 1e-10
    assert ds["outcome"].values.tolist() == [1, 0]
    assert (ds["edge_eigenvalue"].values > 1e-6).sum() == 1
    branch = continuation(PAIR, "target.separation", 2.2, 3.0, follow=1000.0, branches=1)
    saddle = branch.isel(branch=0, point=0)
    assert float(saddle["parameter"]) == 3.0
    np.testing.assert_allclose(np.sort(saddle["m"].values[:, 0]), np.sort(ds["edge_m"].values[:, 0]), atol=1e-8)
    with pytest.raises(ProblemError, match="must end differently"):
        basin_boundary(given, ends[0], ends[0])
    with pytest.raises(ProblemError, match=r"first: shape \(1, 1\)"):
        basin_boundary(given, [[1.0]], ends[1])
    with pytest.raises(ProblemError, match="allowed are collapsed"):
        basin_boundary(given, *ends, outcome="tired")


def test_refusals(monkeypatch) -> None:
    with pytest.raises(ProblemError, match=r"target\.width: is no number"):
        changed(PAIR, "target.width", 1.0)
    with pytest.raises(ProblemError, match=r"flow\.objective: is no number"):
        changed(problem("[[0.0], [0.0]]"), "flow.objective", 1.0)
    with pytest.raises(ProblemError, match=r"target\.separation: is 3; must be between 4 and 5"):
        continuation(PAIR, "target.separation", 4.0, 5.0)
    with pytest.raises(ProblemError, match=r"family\.learn"):
        Field.of(problem("[[0.0], [0.0]]", learn="[]"))
    for flow, kind, refused in (
        ("temperature = {start = 2.0, rate = 0.1}", ProblemError, "is a schedule; must be a number"),
        ("batch = {size = 4, step = 0.1}", BackendError, r"flow\.batch is descent"),
    ):
        with pytest.raises(kind, match=refused):
            equilibrium(Problem.parse(f"{PAIR.text}\n[flow]\n{flow}"))
    monkeypatch.setattr(field, "ITERATIONS", 2)
    with pytest.raises(NoEquilibrium, match="2 steps of Newton"):
        equilibrium(problem("[[1.0], [-0.4]]"), follow=0.0)
    with pytest.raises(BackendError, match=r"^numpy: does not stop at equilibria; allowed: numba"):
        solve(PAIR, backend="numpy", stop_at_equilibrium=True)


def test_solve_reports_equilibria_and_their_spectrum() -> None:
    """t = 10⁶ at R = 6: recovered runs rest with rates of −½ and zeros for gauge; a dying weight (1/t) never rests."""
    given = Problem.parse(
        """
        dimension = 8
        target = {separation = 6.0}
        family = {components = 2, learn = ["means", "weights"]}
        init = {scale = 0.3, samples = 40}
        time = {end = 1e6, save = [1e6]}
        """
    )
    run = solve(given, backend="numba", stop_at_equilibrium=True)
    rest, collapsed = run["equilibrium"].values, run["collapsed"].values
    assert set(rest[collapsed == 0]) == {1}
    assert set(rest[run["vanished"].values == 1]) == {0}
    assert 0 < collapsed.sum() < 40
    rates = run["spectrum"].values
    assert np.isnan(rates[rest == 0]).all()
    # The two means lie on the axis: no rotation is left, θ has one.
    np.testing.assert_allclose(rates[rest == 1][:, 0], 0, atol=1e-12)
    np.testing.assert_allclose(rates[rest == 1][:, 1:], -0.5, atol=1e-6)
    plain = solve(given, backend="numba")
    assert "equilibrium" not in plain
    assert_same_outcomes(plain, run, given)
    assert ensembles.NEAR == 100
