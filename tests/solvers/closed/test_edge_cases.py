"""Solving at the edges of what a problem file can ask: right, finite, and without a warning, which is an error here."""

from functools import partial

import numpy as np
import pytest

from solvers.closed import blocks, flow
from tests.limits import ROUNDING
from tests.solvers.closed.flow_cases import flow_by_definition, overlaps, problem

solve = partial(flow.solve, backend="numpy")

BOTH = ["means", "weights"]
LOPSIDED = {"separation": 3.0, "weights": [0.6, 0.4]}
FISHER_RAO = {"weights": "fisher-rao"}


def family(K, **values):
    weights = np.arange(1, K + 1) / (K * (K + 1) / 2)
    return {"components": K, "weights": weights, **values}


def at(*x):
    return {"means": [[value] for value in x]}


def until(end, save=9):
    return {"end": end, "save": save}


def solved(given, **options):
    """The solution, checked to be complete and finite, with weights and mode masses that sum to one."""
    ds = solve(given, **options)
    assert (ds.status == 0).all()
    assert all(np.isfinite(ds[name]).all() for name in ds.data_vars if name != "recovered_at")
    np.testing.assert_array_equal(np.isnan(ds["recovered_at"]), ds["collapsed"] == 1)
    for name in ("w", "mode_mass"):
        assert ds[name].values.sum(-1) == pytest.approx(1, abs=1e-12)
    return ds


def same(a, b, scale=1.0):
    """Two solutions have the same trajectories, within the tolerances of the integrator."""
    for name, size in (("s", scale), ("m", scale), ("w", 1.0), ("objective", max(1.0, scale)), ("mode_mass", 1.0)):
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=2e-6 * size, err_msg=name)


ON_A_LINE = {
    "one component, one mode": ({"means": [[1.5]], "variances": 2.0}, family(1, variances=0.5), at(-1.0)),
    "one component": (LOPSIDED, family(1), at(0.1)),
    "one component with weights to learn": (LOPSIDED, family(1, learn=BOTH), at(-0.4)),
    "one mode": ({"means": [[1.5]]}, family(2, learn=BOTH), at(-1.0, 2.0)),
    "more components than modes": (LOPSIDED, family(3, learn=BOTH, variances=0.8), at(-1.0, 2.0, 0.3)),
    "more modes than components": ({"means": [[-4.0], [0.5], [3.0]]}, family(2), at(-0.3, 0.8)),
    "weights only": (LOPSIDED, family(3, learn=["weights"]), at(-2.5, 2.0, 0.3)),
    "means only": (LOPSIDED, family(2, learn=["means"]), at(-0.5, 0.4)),
    "narrow components": (LOPSIDED, family(2, learn=BOTH, variances=0.01), at(-1.0, 0.3)),
    "narrow components in one broad mode": ({"means": [[0.2]]}, family(3, variances=0.01), at(-0.3, 0.1, 0.4)),
    "broad components": (LOPSIDED, family(2, learn=BOTH, variances=25.0), at(-1.0, 0.3)),
    "far modes": ({"separation": 20.0, "weights": [0.6, 0.4]}, family(2, learn=BOTH), at(-0.1, 0.3)),
    "coincident means": (LOPSIDED, family(2), at(0.4, 0.4)),
    "coincident means and modes": ({"means": [[1.0], [1.0], [-2.0]]}, family(3, learn=BOTH), at(0.4, 0.4, 0.4)),
    "everything at the origin": ({"separation": 0.0}, family(2, learn=BOTH, variances=0.5), at(0.0, 0.0)),
    "a weight of 1e-12": (LOPSIDED, family(2, learn=BOTH) | {"weights": [1 - 1e-12, 1e-12]}, at(-0.5, 0.4)),
}


def check(given):
    """Against the flow by its definition, in one or two dimensions."""
    ds = solved(given).isel(sample=0)
    mu, w, objective, mode_mass = flow_by_definition(given)
    s, m = overlaps(mu, np.pad(given.target.vectors, ((0, 0), (0, mu.shape[-1] - given.target.vectors.shape[1]))))
    scale = max(1.0, np.abs(given.target.c).max(), s.max())
    np.testing.assert_allclose(ds.m, m, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(ds.s, s, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(ds.w, w, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(ds.mode_mass, mode_mass, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ds.objective, objective, rtol=1e-6, atol=1e-6)
    return ds


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["softmax", "fisher-rao"])
@pytest.mark.parametrize("name", ON_A_LINE)
def test_against_the_definition_in_one_dimension(name, metric):
    target, of, init = ON_A_LINE[name]
    check(problem(1, target, of, init, until(12.0), {"weights": metric}))


@pytest.mark.slow
def test_components_that_repel_each_other_stay_in_their_space():
    """q narrower than p: three components on a line, or four in a plane, would spread out further if they could.

    Errors in the overlaps must not take them there, in however many dimensions: also along a line in R^64.
    """
    line, end = {"means": [[-0.3], [0.2], [0.9]]}, until(60.0)
    of = {"components": 3, "variances": 0.25}
    on_line = check(problem(1, {"means": [[0.0]]}, of, line, end))
    in_space = solved(problem(64, {"means": [[0.0]]}, of, line, end)).isel(sample=0)
    same(in_space.assign(objective=in_space.objective - 63 / 2 * (0.25 - 1 - np.log(0.25))), on_line)
    plane = {"means": [[-0.3, 0.1], [0.2, 0.4], [0.3, -0.5], [0.1, 0.2]]}
    in_plane = check(problem(2, {"means": [[0.1, 0.0]]}, {"components": 4, "variances": 0.4}, plane, end))
    assert np.linalg.eigvalsh(in_plane.s.values[-1])[1] < 1e-9
    # Control: with a third dimension to go to, they do so, and gain by it.
    plane["means"][0] += [1e-3]
    spread = solved(problem(3, {"means": [[0.1, 0.0]]}, {"components": 4, "variances": 0.4}, plane, end)).isel(sample=0)
    assert spread.objective.values[-1] - (0.4 - 1 - np.log(0.4)) / 2 < in_plane.objective.values[-1] - 0.01


@pytest.mark.parametrize("d", [1, 3, 10**6])
@pytest.mark.parametrize(("v", "u"), [(1.0, 1.0), (0.01, 1.0), (3.0, 0.5)])
def test_one_component_relaxes_to_one_mode_exponentially(d, v, u):
    mu, nu = 2.0, -1.5
    target, of = {"means": [[nu]], "variances": u}, {"components": 1, "variances": v}
    ds = solved(problem(d, target, of, at(mu), until(5.0))).isel(sample=0)
    away = (mu - nu) * np.exp(-ds.time.values / u)
    assert ds.m.values[:, 0, 0] == pytest.approx(nu * (nu + away), abs=1e-6)
    assert ds.s.values[:, 0, 0] == pytest.approx((nu + away) ** 2, abs=1e-6)
    objective = away**2 / (2 * u) + d / 2 * (v / u - 1 - np.log(v / u))
    assert ds.objective.values == pytest.approx(objective, rel=1e-12, abs=1e-6)


@pytest.mark.parametrize("R", [20.0, 100.0])
def test_components_far_apart_relax_each_to_its_mode(R):
    """Logits up to ±2e4: no component feels another mode or component, so μ_k − ν_k shrinks at the rate w_k."""
    w, nu = np.array([0.3, 0.7]), R * np.array([[1.0, 0.0], [-1.0, 0.0]])
    mu = np.array([[0.8 * R, 3.0], [-1.1 * R, -2.0]])
    of = {"components": 2, "weights": w}
    ds = solved(problem(64, {"separation": R, "weights": [0.4, 0.6]}, of, {"means": mu}, until(10.0))).isel(sample=0)
    mu = nu + (mu - nu) * np.exp(-np.multiply.outer(ds.time.values, w))[..., None]
    np.testing.assert_allclose(ds.m, mu @ nu.T, rtol=0, atol=1e-6 * R**2)
    np.testing.assert_allclose(ds.s, mu @ mu.mT, rtol=0, atol=1e-6 * R**2)
    objective = (w * (np.log(w / [0.4, 0.6]) + ((mu - nu) ** 2).sum(-1) / 2)).sum(-1)
    np.testing.assert_allclose(ds.objective, objective, rtol=1e-6, atol=1e-6 * R)
    np.testing.assert_allclose(ds.mode_mass, np.tile(w, (len(mu), 1)), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_far_modes_from_the_middle():
    given = problem(64, {"separation": 20.0}, {"components": 2}, {"scale": 0.125, "samples": 24}, until(150.0))
    ds = solved(given)
    collapsed = ds.collapsed.values == 1
    assert 0 < collapsed.sum() < 24
    # Of a collapsed pair the difference across the axis decays only algebraically, and costs its fourth power.
    assert ds.objective.values[:, -1] == pytest.approx(np.log(2) * collapsed, abs=1e-4)
    assert np.diff(ds.objective.values, axis=1).max() < 1e-8 * 20.0**2 * 10


def test_a_weight_falls_to_1e_12():
    """Fisher–Rao, one mode, means fixed and far apart: log w₁/w₂ relaxes at rate 1 to the difference of the costs."""
    near, far = 20.0, np.sqrt(20.0**2 + 2 * 12 * np.log(10))
    of = {"components": 2, "learn": ["weights"], "weights": [0.3, 0.7]}
    given = problem(3, {"means": [[0.0]]}, of, {"means": [[near], [0.0, -far]]}, until(40.0), FISHER_RAO)
    ds = solved(given).isel(sample=0)
    start, end = np.log(0.3 / 0.7), 12 * np.log(10)
    ratio = end + (start - end) * np.exp(-ds.time.values)
    assert np.log(ds.w.values[:, 0] / ds.w.values[:, 1]) == pytest.approx(ratio, abs=1e-6)
    assert ds.w.values[-1, 1] == pytest.approx(1e-12, rel=1e-5)
    assert ds.objective.values[-1] == pytest.approx(near**2 / 2, abs=1e-6)
    assert ds.vanished == 1


@pytest.mark.parametrize("learn", [["means"], BOTH])
def test_a_component_of_no_weight_neither_moves_nor_matters(learn):
    target, init = {"means": [[2.0, 1.0], [-2.0]], "variances": 1.3}, [[0.5, 0.2], [-1.0, 0.4, 2.0]]
    of = {"components": 2, "weights": [1 - 1e-12, 1e-12], "learn": learn}
    two = solved(problem(4, target, of, {"means": init}, until(10.0))).isel(sample=0)
    one = solved(problem(4, target, {"components": 1}, {"means": init[:1]}, until(10.0))).isel(sample=0)
    assert two.s.values[:, 1, 1] == pytest.approx(5.16, abs=1e-9)
    same(two.isel(component=[0], component_other=[0]), one)


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("v", [1.0, 0.6])
def test_coincident_components_are_one_that_moves_more_slowly(K, v):
    """K components of weight 1/K at one point stay together: they follow the flow of K = 1 at 1/K of its speed."""
    target, start = {"means": [[2.0], [-1.0, 1.0], [0.0, -1.5]], "weights": [0.5, 0.3, 0.2]}, [0.3, 0.2, 0.1]

    def run(K, end):
        given = problem(5, target, {"components": K, "variances": v}, {"means": [start] * K}, until(end))
        return solved(given).isel(sample=0)

    several, one = run(K, 2.0 * K), run(1, 2.0)
    for k in range(K):
        same(several.isel(component=[k], component_other=[k]), one.assign(w=one.w / K))
        np.testing.assert_allclose(several.s[:, k, 0], one.s[:, 0, 0], rtol=0, atol=2e-6)


def test_coincident_modes_are_one_of_their_mass():
    of, init = family(2, learn=BOTH), {"means": [[0.5, 0.2], [-1.0, 0.4, 0.3]]}
    means = [[2.0, 1.0], [-2.0], [2.0, 1.0]]
    three, two = {"means": means, "weights": [0.3, 0.5, 0.2]}, {"means": means[:2], "weights": [0.5, 0.5]}
    a, b = (solved(problem(3, target, of, init, until(10.0))) for target in (three, two))
    assert a.m.values[..., 2] == pytest.approx(a.m.values[..., 0], abs=1e-6)
    assert a.mode_mass.values[..., 2] == pytest.approx(0.4 * b.mode_mass.values[..., 0], abs=1e-6)
    first = a.isel(mode=[0, 1])
    first["mode_mass"] = a.mode_mass.isel(mode=[0, 1]) + np.stack([a.mode_mass[..., 2], 0 * a.mode_mass[..., 2]], -1)
    same(first, b)


def test_starts_of_scale_zero_stay_at_the_centre():
    ds = solved(problem(7, {"separation": 3.0}, {"components": 2}, {"scale": 0.0, "samples": 3}, until(50.0)))
    assert np.abs(ds.m.values).max() == np.abs(ds.s.values).max() == 0.0
    assert ds.mode_mass.values == pytest.approx(0.5, abs=ROUNDING)


@pytest.mark.parametrize("time", [until(3.0), {"end": 0.0, "save": [0.0]}, {"end": 3.0, "save": [1.0, 2.5]}])
@pytest.mark.parametrize("learn", [[], ["means"]])
def test_what_is_not_learned_and_has_no_time_stays(learn, time):
    of = {"components": 2, "weights": [0.25, 0.75], "learn": learn}
    init = {"scale": 0.5, "samples": 3}
    ds = solved(problem(6, LOPSIDED, of, init, time))
    start = solved(problem(6, LOPSIDED, of, init, {"end": 0.0, "save": [0.0]}))
    assert ds.time.values.tolist() == list(problem(6, LOPSIDED, of, init, time).time.times)
    assert (ds.w.values == ds.w.values[:, :1]).all()
    stays = not learn or time["end"] == 0
    for name in ("m", "s"):
        assert (ds[name].values == start[name].values).all() == stays
    # Functions of these, evaluated for more times at once.
    for name in ("objective", "mode_mass"):
        assert np.allclose(ds[name], start[name], rtol=ROUNDING, atol=ROUNDING) == stays


@pytest.mark.slow
def test_only_weights_move_when_only_weights_are_learned():
    of = {"components": 3, "learn": ["weights"]}
    ds = solved(problem(4, LOPSIDED, of, {"scale": 1.0, "samples": 4}, until(400.0), FISHER_RAO))
    assert (ds.m.values == ds.m.values[:, :1]).all()
    assert (ds.s.values == ds.s.values[:, :1]).all()
    assert np.abs(ds.w.values[:, -1] - ds.w.values[:, 0]).max(-1).min() > 0.01
    assert (np.diff(ds.objective.values, axis=1) < 1e-9).all()


@pytest.mark.slow
def test_metastable_states_are_waited_out(monkeypatch):
    """R = 6: a collapsed pair lives for ever as far as t = 1e4 is concerned, and its last stages are slow and stiff."""
    calls, velocity = [], blocks.velocity

    def counted(*arguments, **options):
        calls.append(1)
        return velocity(*arguments, **options)

    monkeypatch.setattr(blocks, "velocity", counted)
    given = problem(64, {"separation": 6.0}, {"components": 2}, {"scale": 0.125, "samples": 24}, until(1e4))
    ds = solved(given)
    assert 100 < len(calls) < 3000  # half of that, give or take a sixth with the BLAS
    collapsed = ds.collapsed.values == 1
    assert 0 < collapsed.sum() < 24
    assert ds.objective.values[:, -1] == pytest.approx(np.log(2) * collapsed, abs=1e-6)
    # With trainable weights the two weights of a collapsed pair go on competing.
    learning = {"components": 2, "learn": BOTH}
    calls.clear()
    ds = solved(problem(64, {"separation": 6.0}, learning, {"scale": 0.125, "samples": 6}, until(1e4)))
    assert 100 < len(calls) < 10_000
    collapsed = ds.collapsed.values == 1
    assert ds.objective.values[:, -1] == pytest.approx(np.log(2) * collapsed, abs=1e-3)
