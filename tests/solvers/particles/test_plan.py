"""Refusals and memory."""

import tracemalloc

import numpy as np
import pytest

from solvers.particles import plan as planning
from solvers.particles.plan import SimulationError, plan
from solvers.particles.replicas import replicas_path, velocities
from solvers.problem import Problem, ProblemError

TEXT = """
dimension = {d}
[target]
separation = 2.0
variances = 0.5
[family]
components = 3
[init]
scale = 0.1
[time]
end = 0.2
save = 2
"""


def problem(d=10):
    return Problem.parse(TEXT.format(d=d), name="case.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"particles": 0}, "particles: is 0; must be at least 1"),
        ({"replicas": 1}, "replicas: is 1; must be at least 2"),
        ({"step": 0.6}, "step: is 0.6; must be > 0 and, for explicit Euler to be stable, at most .* 0.5"),
        ({"step": 0.0}, "step: is 0; must be > 0"),
        ({"step": float("nan")}, "step: is nan; must be > 0"),
    ],
)
def test_refusals_say_what_is_wrong_and_what_is_allowed(options, message):
    with pytest.raises(SimulationError, match=message):
        plan(problem(), **{"particles": 10, "replicas": 4, "step": 0.1, "backend": "numpy"} | options)
    assert issubclass(SimulationError, ProblemError)


def test_the_largest_stable_step_is_accepted():
    plan(problem(), particles=1, replicas=2, step=0.5, backend="numpy")


def test_what_does_not_fit_is_refused_with_the_size_that_would(monkeypatch):
    monkeypatch.setattr(planning, "_available", lambda xp: 2.0**20)
    options = {"particles": 100, "replicas": 4, "step": 0.1, "backend": "numpy"}
    with pytest.raises(
        SimulationError, match=r"case.toml: dimension: 100000 .* GiB; .* enough for dimension (\d+)"
    ) as e:
        plan(problem(100_000), **options)
    fits = int(str(e.value).rsplit(" ", 1)[1])
    assert 100 < fits < 100_000
    plan(problem(fits), **options)
    with pytest.raises(SimulationError):
        plan(problem(fits + 1), **options)


def test_a_real_machine_refuses_the_impossible_before_allocating():
    with pytest.raises(SimulationError, match="dimension: 1000000000000 with 3 components and 2 modes needs"):
        plan(problem(10**12), particles=1, replicas=2, step=0.1, backend="numpy")


def test_fewer_threads_where_memory_is_short(monkeypatch):
    case, options = problem(10_000), {"particles": 100, "replicas": 4, "step": 0.1, "backend": "numpy"}
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)), raising=False)
    many = plan(case, **options)
    monkeypatch.setattr(planning, "_available", lambda xp: 0.6 * many.size / planning.SHARE)
    few = plan(case, **options)
    assert many.workers == 4
    assert 1 <= few.workers < 4
    assert few.size <= 0.6 * many.size
    assert (few.groups, few.block) == (many.groups, many.block)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "particles", "backend"),
    [(2, 30_000, "numba"), (3000, 500, "numba"), (30_000, 100, "numba"), (2, 30_000, "numpy"), (3000, 300, "numpy")],
)
def test_memory_stays_within_the_plan_whatever_the_number_of_particles(d, particles, backend):
    case = problem(d)
    mu, theta = np.zeros((3, d)), np.zeros(3)
    velocities(case, mu, theta, particles=1, replicas=2, backend=backend)  # compiling takes memory too
    for step in (0.2, None):
        cut = plan(case, particles=particles, replicas=2, step=step, backend=backend)
        # A few temporary arrays of d numbers are not counted, nor is Python itself.
        allowance = 1.2 * cut.size + 500_000
        assert allowance < 8 * 2 * 3 * particles * d / 1.5
        tracemalloc.start()
        if step:
            replicas_path(case, mu, theta, particles=particles, replicas=2, step=step, backend=backend)
        else:
            velocities(case, mu, theta, particles=particles, replicas=2, backend=backend)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < allowance


def test_every_replica_is_in_one_group():
    for d, particles, replicas in ((1, 1, 33), (64, 256, 32), (10**5, 1000, 5)):
        cut = plan(problem(d), particles=particles, replicas=replicas, step=0.1, backend="numpy")
        assert [r for group in cut.groups for r in group] == list(range(replicas))
        assert 1 <= cut.block <= particles
        assert 1 <= cut.workers <= len(cut.groups)
