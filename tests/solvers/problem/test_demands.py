"""What is refused before it begins, for want of memory or time, and that the bounds behind it are bounds."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from typer.testing import CliRunner

from solvers import results
from solvers.__main__ import app
from solvers.ask import simulate, solve
from solvers.machine import draws
from solvers.particles import plan as planning
from solvers.problem import Problem, ProblemError, demands

GIB = 2**30


def text(d=8, K=2, flow="", n=1, end=100.0, save=51, sampler=""):
    return f"""
dimension = {d}
[target]
separation = 1.0
[family]
components = {K}
[flow]
{flow}
[init]
scale = 0.1
samples = {n}
[time]
end = {end}
save = {save}
{sampler}"""


def sampler(steps, paths):
    return f"[sampler]\nsteps = {steps}\npaths = {paths}\n"


@pytest.fixture
def machine(monkeypatch):
    """8 GiB and two cores, whatever there is."""
    monkeypatch.setattr(demands, "available_memory", lambda: 8.0 * GIB)
    monkeypatch.setattr(planning, "available_memory", lambda: 8.0 * GIB)
    monkeypatch.setattr(demands, "cores", lambda: 2)


SIMULATE = ("simulate", "--particles", "8", "--replicas", "2")
REFUSED = [
    (text(n=10**9), ("solve",), "init.samples: is 1000000000; must be at most 803698: ", "9.95e+03 GiB"),
    (text(K=10**4), ("solve",), "family.components: is 10000; must be at most 3226: ", "76.8 GiB"),
    (text(n=1000, save=10**7), ("solve",), "time.save: is 10000000; must be at most 41297: ", "1.94e+03 GiB"),
    (text(n=10**9, sampler=sampler(1, 64)), ("solve",), "init.samples: is 1000000000; must be at most 803698: ", "GiB"),
    (text(sampler=sampler(32, 10**9)), ("solve",), "sampler.paths: is 1000000000; must be at most ", "1.24e+03 GiB"),
    (text(sampler=sampler(10**5, 10**5)), ("solve",), "sampler.steps: is 100000; must be at most ", "373 GiB"),
    (text(flow="batch = {size = 4, step = 1e-12}"), ("solve",), "flow.batch.step: is 1e-12; must be from ", "steps"),
    (text(n=10**9), SIMULATE, "init.samples: is 1000000000; must be at most ", "GiB"),
    (text(n=100, save=10**7), SIMULATE, "time.save: is 10000000; must be at most ", "GiB"),
    (text(K=10**4), SIMULATE, "family.components: is 10000; must be less: ", "GiB"),
    (text(), (*SIMULATE, "--step", "1e-12"), "--step: is 1e-12; must be at least ", "1e+14 steps need"),
    (text(), (*SIMULATE, "--step", "1e-8"), "--step: is 1e-08; must be at least ", "a list of 298 GiB"),
    (text(), (*SIMULATE[:3], "--replicas", "1000000000"), "--replicas: is 1000000000; must be less: ", "GiB"),
    (text(), ("simulate", "--particles", "1000000000000"), "--particles: is 1000000000000; must be at least 1 and", ""),
    (text(d=10**6), ("simulate", "--particles", "1000000000"), "--particles: is 1000000000; must be at most ", "days"),
    (
        text(sampler=sampler(1, 64)),
        ("simulate", "--particles", "4000000000"),
        "--particles: is 4000000000; must",
        "GiB",
    ),
    (text(d=10**12), SIMULATE, "dimension: 1000000000000 with 2 components and 2 modes needs", "enough for dimension"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[2].partition(";")[0] + case[1][0])
def test_what_this_machine_cannot_do_is_refused_with_the_size_and_the_key(case, machine, tmp_path, monkeypatch) -> None:
    problem, command, said, size = case
    monkeypatch.chdir(tmp_path)
    Path("p.toml").write_text(problem)
    done = CliRunner().invoke(app, [command[0], "p.toml", "--out", "out.nc", *command[1:]], catch_exceptions=False)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(said if said.startswith("--") else f"p.toml: {said}")
    assert size in done.stderr
    assert len(done.stderr) <= 301
    assert not Path("out.nc").exists()


def test_what_is_told_to_fit_is_accepted_and_one_more_is_not(machine) -> None:
    for n, fits in ((803698, True), (803699, False)):
        problem = Problem.parse(text(n=n))
        assert (demands.memory(problem) <= 8 * GIB) == fits
        if fits:
            demands.check_solve(problem, n)
        else:
            with pytest.raises(ProblemError, match="must be at most 803698"):
                demands.check_solve(problem, n)
    demands.check_solve(Problem.parse(text(n=10**9)), 4096)  # as a worker of a sweep: a piece at a time
    assert demands.memory(Problem.parse(text(n=10**9)), samples=4096, times=1) < GIB


def test_an_integrator_gets_what_the_system_gives(machine) -> None:
    """LSODA for a thousand components would have a Jacobian of 1.8 TiB."""
    demands.check_workspace(Problem.parse(text(K=100)), 64)
    with pytest.raises(ProblemError, match=r"components: is 9999; must be at most \d+: it needs .*e\+0. GiB"):
        demands.check_workspace(Problem.parse(text(K=9999)), 64)


#: What is computed, and how many times the bound its peak may be: arrays on the way (expectations of all save times at
#: once, the content of the file), which a bound for all problems leaves out.
MEASURED = {
    "samples": (text(n=30_000, save=1, end=0.0), "solve", 4),
    "times": (text(n=64, save=600, end=0.01), "solve", 4),
    "paths": (text(sampler=sampler(16, 8000), save=1, end=0.0), "sampler", 4),
    "simulation": (text(K=6, n=1, save=100, end=1.0), "simulate", 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", MEASURED)
def test_bounds_are_below_the_measured_peak_and_near_it(case, tmp_path, monkeypatch) -> None:
    problem, kind, factor = MEASURED[case]
    problem = Problem.parse(problem)
    bounds = []
    monkeypatch.setattr(demands, "_fits", lambda name, at, need: bounds.append(need(at)))
    small = Problem.parse(text(n=draws.MANY, save=1, end=0.0))
    solve(small, backend="numpy")  # so that nothing is imported or compiled on the way
    bounds.clear()
    tracemalloc.start()
    try:
        if kind == "simulate":
            results.write(simulate(problem, particles=1, replicas=32, step=0.01, backend="numpy"), tmp_path / "out.nc")
        else:
            results.write(solve(problem, backend="numpy"), tmp_path / "out.nc")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    bound = max(bounds)
    assert bound > 1e6
    assert bound < peak < factor * bound
