"""SIM.nc: means over replicas, their standard errors, outcomes, and where the simulation's code comes from."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from solvers.particles import flow
from solvers.particles.flow import SimulationError, simulate
from solvers.particles.replicas import replicas_path
from solvers.problem import Batch, Problem
from solvers.problem.starts import starts, vectors

TEXT = """
dimension = 4
[target]
separation = {R}
[family]
components = 2
learn = ["means", "weights"]
[init]
{init}
seed = 1
[time]
end = {end}
save = 3
"""


def problem(init="scale = 0.5\nsamples = 3", R=2.0, end=1.0):
    return Problem.parse(TEXT.format(init=init, R=R, end=end))


def test_means_and_standard_errors_are_those_of_the_replicas():
    case = problem()
    ds = simulate(case, particles=30, replicas=6, step=0.25)
    begin = starts(case)
    mu, _ = vectors(begin.s[2], begin.m[2], case)
    path = replicas_path(case, mu, begin.theta[2], particles=30, replicas=6, step=0.25, key=(2,))
    for name in ("s", "m", "w"):
        values = getattr(path, name)
        assert np.array_equal(ds[name][2], values.mean(0))
        assert np.array_equal(ds[f"{name}_se"][2], values.std(0, ddof=1) / np.sqrt(6))
    assert np.array_equal(ds["objective"][2], path.objective.mean(0))
    np.testing.assert_allclose(ds["mode_mass"].sum("mode"), 1, rtol=1e-12)
    assert np.all(ds["v"] == 1)
    assert np.all(ds["v_se"] == 0)
    assert np.all(ds["status"] == 0)


def test_same_seed_same_bytes():
    first, second = (simulate(problem(), particles=30, replicas=4, step=0.25) for _ in range(2))
    assert all(first[name].values.tobytes() == second[name].values.tobytes() for name in first)


@pytest.mark.parametrize(("means", "collapsed"), [("[[4.0], [-4.0]]", 0), ("[[4.0], [3.8]]", 1)])
def test_outcomes_are_those_of_the_averages(means, collapsed):
    ds = simulate(problem(f"means = {means}", R=4.0), particles=100, replicas=4, step=0.1)
    assert int(ds["collapsed"][0]) == int(ds["aligned"][0]) == collapsed
    assert int(ds["vanished"][0]) == 0


def test_a_run_that_leaves_the_range_of_floats_has_its_status_and_no_numbers(monkeypatch):
    monkeypatch.setattr(flow, "vectors", lambda s, m, problem: (np.full((2, 4), 1e200), None))
    ds = simulate(problem("scale = 0.5"), particles=2, replicas=2, step=0.5)
    assert int(ds["status"][0]) == 2
    assert int(ds["collapsed"][0]) == -1
    assert ds["m"].isnull().all()


def test_progress_counts_all_starts():
    seen = []
    simulate(problem(), particles=2, replicas=2, step=0.5, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize("options", [{"particles": 0}, {"replicas": 1}, {"step": 1.5}])
def test_refusals(options):
    with pytest.raises(SimulationError):
        simulate(problem(), **{"particles": 2, "replicas": 2, "step": 0.5} | options)


def test_a_batch_says_how_many_particles_and_how_long_a_step():
    case = problem()
    case = replace(case, flow=replace(case.flow, batch=Batch(4, 0.3)))
    ds = simulate(case, particles=4, replicas=3, step=0.3)
    assert (ds.attrs["particles"], ds.attrs["step"]) == (4, 0.3)
    with pytest.raises(
        SimulationError, match=r"flow.batch: particles are 5 and step is 0.3; must be its size and step"
    ):
        simulate(case, particles=5, replicas=3, step=0.3)


def test_what_cannot_fit_is_refused_before_any_vector_is_made():
    text = TEXT.format(init="scale = 0.5", R=2.0, end=1.0).replace("dimension = 4", "dimension = 1_000_000_000_000")
    with pytest.raises(SimulationError, match=r"dimension: 1000000000000 .* enough for dimension"):
        simulate(Problem.parse(text), particles=2, replicas=2, step=0.5)


@pytest.mark.slow
def test_loads_nothing_of_the_theory():
    """What is loaded in fact; tests/test_house.py reads the imports."""
    code = "import sys, solvers.particles.flow; print(*[name for name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    foreign = ("theory", "derivations", "sympy", "cupy", "solvers.generated", "solvers.closed", "solvers.expectations")
    assert "solvers.particles.estimate" in loaded
    assert not [name for name in loaded if name.startswith(foreign)]
