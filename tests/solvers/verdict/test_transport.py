"""Distances between samples: against formulas and brute force, and what they say of priors that lost a mode."""

import sys

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from typer.testing import CliRunner

import modecollapse as mc
from solvers import ask
from solvers.__main__ import app
from solvers.problem import Problem
from solvers.results.errors import ResultError
from solvers.verdict import transport as module
from solvers.verdict.transport import divergence, squared_w2, transport

TEXT = """
dimension = {d}
[target]
separation = 3.0
weights = [0.4, 0.6]
[family]
components = 2
learn = []
weights = {weights}
[init]
means = {means}
[time]
end = 0.0
[sampler]
method = "mcd"
steps = 0
paths = 64
"""
EXACT = {"weights": [0.4, 0.6], "means": [[3.0], [-3.0]]}
COLLAPSED = {"weights": [0.5, 0.5], "means": [[-3.0], [-3.0]]}


def problem(prior, d=6):
    return Problem.parse(TEXT.format(d=d, **prior), "p.toml")


def solved(prior, d=6, draws=160):
    """Samples of the prior itself: the sampler has no steps."""
    return ask.solve(problem(prior, d), backend="numpy", draws=draws)


def test_one_dimension_is_a_matter_of_quantiles():
    """W2² = ∫ (F⁻¹ − G⁻¹)², sorted against sorted; another pairing costs more."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(40), 3.0 + 2.0 * rng.standard_normal(40) ** 3
    quantiles = np.mean((np.sort(x) - np.sort(y)) ** 2)
    assert squared_w2(x[:, None], y[:, None]) == pytest.approx(quantiles, rel=1e-10)
    assert np.mean((np.sort(x) - y) ** 2) > 1.1 * quantiles
    # sets of different sizes: quantile functions on their common refinement
    few = rng.standard_normal(10)
    at = (np.arange(40) + 0.5) / 40
    steps = np.mean((np.sort(few)[(at * 10).astype(int)] - np.sort(y)) ** 2)
    assert squared_w2(few[:, None], y[:, None]) == pytest.approx(steps, rel=1e-10)


def test_translations_rotations_and_a_set_itself():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 3))
    shift = np.array([2.0, -1.0, 0.5])
    assert squared_w2(x, x) == pytest.approx(0.0, abs=1e-12)
    assert squared_w2(x, x + shift) == pytest.approx(shift @ shift, rel=1e-12)
    assert divergence(x, x + shift, 0.5) == pytest.approx(shift @ shift, abs=1e-5)
    assert divergence(x, x + 1e6 * shift, 0.5) == pytest.approx(1e12 * shift @ shift, rel=1e-12)


@pytest.mark.parametrize("epsilon", [0.3, 2.0, 50.0])
def test_the_divergence_of_two_points_by_brute_force(epsilon):
    """A plan between two sets of two points has one free number."""
    x, y = np.array([[0.0, 0.0], [1.0, 0.5]]), np.array([[0.2, 1.0], [2.0, -1.0]])

    def regularised(a, b):
        cost = ((a[:, None] - b) ** 2).sum(-1)

        def value(p):
            plan = np.array([[p, 0.5 - p], [0.5 - p, p]])
            return (plan * cost).sum() + epsilon * xlogy(plan, plan / 0.25).sum()

        return minimize_scalar(value, bounds=(0.0, 0.5), method="bounded", options={"xatol": 1e-12}).fun

    expected = regularised(x, y) - (regularised(x, x) + regularised(y, y)) / 2
    assert divergence(x, y, epsilon) == pytest.approx(expected, abs=1e-5)
    assert divergence(x, y, epsilon) != pytest.approx(regularised(x, y), abs=1e-2)  # control: it is debiased


def test_small_epsilon_is_the_squared_distance_and_large_that_of_the_means(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((20, 2)), 1.0 + 0.5 * rng.standard_normal((20, 2))
    assert divergence(x, y, 0.05) == pytest.approx(squared_w2(x, y), rel=0.05)
    means = float(((x.mean(0) - y.mean(0)) ** 2).sum())
    assert divergence(x, y, 1e5) == pytest.approx(means, abs=1e-3)
    # where the kernel is beyond float64 its logarithms do
    plain = divergence(x, y, 0.5)
    monkeypatch.setattr("ot.bregman.sinkhorn_knopp", lambda a, b, *_, **__: (np.full((len(a), len(b)), np.nan), {}))
    assert divergence(x, y, 0.5) == pytest.approx(plain, rel=1e-6)
    monkeypatch.setattr("ot.bregman.sinkhorn_log", lambda a, b, *_, **__: (np.outer(a, b) * 1.01, {}))
    assert np.isnan(divergence(x, y, 0.5))  # and where both fail there is no number


@pytest.mark.slow
def test_exact_samples_are_within_the_floor_and_a_lost_mode_is_far_above():
    """Of exact samples the distance has the law of a floor, so t with 15 degrees of freedom, were it normal: beyond 6
    in one of 40,000. A collapsed prior is beyond that in every distance."""
    good, bad = (transport(solved(prior), floors=16) for prior in (EXACT, COLLAPSED))
    for name in ("w2", "sinkhorn"):
        scale = good[f"{name}_floor_sd"] * np.sqrt(1 + 1 / 16)
        assert (np.abs(good[name] - good[f"{name}_floor"]) < 6 * scale).all()
        assert ((bad[name] - bad[f"{name}_floor"]) > 6 * scale).all()
    # 0.4 of the mass has to go 6 far
    lost = np.sqrt(0.4 * 36)
    assert bad["w2"].sel(space="reduced").item() == pytest.approx(lost, rel=0.2)
    assert bad["w2"].sel(space="full").item() == pytest.approx(lost, rel=0.2)
    assert good["w2"].sel(space="reduced").item() < 0.3 * lost
    assert good.attrs["epsilon"] == pytest.approx(0.1 * (6 + 0.96 * 9))  # 5 % of twice the trace of the covariance
    assert (good.attrs["draws"], good.attrs["floors"]) == (160, 16)
    assert good["w2"].attrs["units"] == "length"
    assert good["sinkhorn_floor"].attrs["units"] == "length²"


def test_the_reduced_floor_does_not_grow_with_the_dimension():
    floors = [transport(solved(EXACT, d, 100), floors=2)["w2_floor"].values[0] for d in (10, 1000)]
    assert floors[1][0] < 1.5 * floors[0][0]
    assert floors[1][1] > 5 * floors[0][1]  # in R^d itself


@pytest.mark.slow
def test_a_simulation_replica_by_replica():
    sim = ask.simulate(problem(COLLAPSED), particles=8, replicas=3, step=0.1, draws=160)
    found = transport(sim, most=150)
    assert found["w2"].dims == ("sample", "replica", "space")
    assert found["w2"].shape == (1, 3, 1)
    assert found.attrs["draws"] == 150
    assert (found["w2"] > found["w2_floor"] + 6 * found["w2_floor_sd"]).all()
    # replicas are judged by themselves: half of them at one mode, half at the other, have all lost one
    sim["x"].values[0, 0] *= -1
    assert (transport(sim, most=150)["w2"] > found["w2_floor"] + 6 * found["w2_floor_sd"]).all()


def test_what_failed_has_no_distance():
    ds = solved(EXACT, draws=20)
    both = xr.concat([ds, ds * np.nan], dim="sample", data_vars="minimal").assign_attrs(ds.attrs)
    found = transport(both, floors=2)
    assert np.isfinite(found["w2"].values[0]).all()
    assert np.isnan(found["w2"].values[1]).all()


def test_refusals_by_name():
    ds = solved(EXACT, draws=20)
    with pytest.raises(ResultError, match=r"^transport: the dataset has no samples; write them with --samples$"):
        transport(ask.solve(problem(EXACT), backend="numpy"))
    for name, value in (("most", 1), ("floors", 1), ("most", 2.5), ("epsilon", 0.0), ("epsilon", float("nan"))):
        with pytest.raises(ResultError, match=f"^transport: {name}: is "):
            transport(ds, **{name: value})
    assert mc.transport is transport


@pytest.mark.slow
def test_on_the_screen_and_without_the_extra(tmp_path, monkeypatch):
    path, out = tmp_path / "p.toml", str(tmp_path / "run.nc")
    path.write_text(problem(EXACT).text)
    command = ["solve", str(path), "--out", out, "--samples", "40", "--backend", "numpy"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "samples   40 of x_N, points of R^d\n" in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("distances to the target")]
    assert [line.partition(", 40 samples: W2 ")[0] for line in lines] == [
        "distances to the target in (x_parallel, |x_perp|)", "distances to the target in R^d",
    ]  # fmt: skip
    assert all("floor" in line and "Sinkhorn (epsilon 1.46)" in line for line in lines)
    assert done.stdout.splitlines()[-1].startswith("next: ")
    monkeypatch.setitem(sys.modules, "ot", None)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0  # the samples are there
    assert f"no distances to the target: {module.EXTRA}\n" in done.stdout
    assert "install modecollapse[transport]" in module.EXTRA
    with pytest.raises(ResultError, match="needs POT, which is not installed"):
        mc.transport(mc.open(out))
