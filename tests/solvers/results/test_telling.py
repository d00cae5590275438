"""The screen after a run: by which mechanism, at rest or not, and what is shown of a simulation."""

from __future__ import annotations

import numpy as np
import xarray as xr

from solvers import results
from solvers.problem import Problem
from solvers.results.datasets import labels
from solvers.results.replicas import judged, variables
from solvers.results.telling import told

SQUARE = """
dimension = 3
target.means = [[3.0, 3.0], [-3.0, 3.0], [-3.0, -3.0], [3.0, -3.0]]
family = {components = 4, learn = ["means", "weights"]}
init = {scale = 1.0, samples = 4}
time = {end = 20.0, save = [0.0, 10.0, 20.0]}
"""


def square(status: tuple[int, ...] = (0, 0, 0, 0)) -> tuple[Problem, dict[str, np.ndarray]]:
    """Four runs: all modes kept; one component aligned; one dead at the fourth mode; three together, one straddling."""
    problem = Problem.parse(SQUARE, "square.toml")
    a, b, c, d = problem.target.vectors
    mu = np.array([[a, b, c, d], [a, a, b, c], [a, b, c, d], [a, a, a, (b + c) / 2]])
    w = np.array([[0.25] * 4, [0.25] * 4, [0.332, 0.332, 0.332, 0.004], [0.3, 0.25, 0.25, 0.2]])
    apart = ((mu[:, :, None] - problem.target.vectors) ** 2).sum(-1)
    B = np.exp(-apart / 2) / np.exp(-apart / 2).sum(-1, keepdims=True)
    late = np.einsum("nk,nkl->nl", w, B)
    mass = np.stack([np.full((4, 4), 0.25), late, late], axis=1)
    mass[0, 1] = [0.5, 0.5, 0.0, 0.0]  # the first has lost two in between
    once = (mu @ mu.swapaxes(1, 2), mu @ problem.target.vectors.T, w)
    s, m, w = (np.repeat(array[:, None], 3, axis=1) for array in once)
    given = {"s": s, "m": m, "w": w, "mode_mass": mass, "B": B, "status": np.array(status)}
    return problem, given | {"objective": np.repeat([[0.0], [0.3], [0.5], [0.7]], 3, axis=1)}


def run(status: tuple[int, ...] = (0, 0, 0, 0)) -> xr.Dataset:
    problem, given = square(status)
    error = np.full((4, 3), 1e-12)
    return results.run_dataset(
        problem, **given, quadrature_error=error, system="x", backend="numpy", rtol=1e-8, atol=1e-10
    )


def test_by_which_mechanism_is_on_the_screen() -> None:
    ds = run()
    ds = ds.assign(labels(ds.mechanism.values, np.array([1, 1, 0, 2], dtype=np.int8)))
    assert list(told(ds, "run.nc", "my square.toml")) == [
        "run.nc: 4 samples, 3 times from 0 to 20",
        "collapsed 3 of 4 (75.0%) at t = 20, softmax weights: 1 aligned, 1 vanished, 1 mixed",
        "modes     5 of 16 (31.2%) lost: 3 aligned, 1 vanished, 1 straddling",
        "at rest   3 of 4 (2 on a stable equilibrium, 1 on a saddle), 1 in transit; "
        "of the collapsed 1 in transit, and may recover",
        "objective median 0.4 nat, of the collapsed 0.5",
        "lifetimes the longest over by t = 20 (sample 0, counted from 0); 3 not over at t = 20",
        "largest estimated error of an expectation: 1.0e-12",
        "next: python -m solvers simulate 'my square.toml' --out sim.nc; or time.end = 200 in my square.toml: do they "
        "recover?",
    ]
    at_rest = ds.assign(labels(ds.mechanism.values, np.ones(4, dtype=np.int8)))
    assert list(told(at_rest, "run.nc", "square.toml"))[-1] == (
        "next: python -m solvers simulate square.toml --out sim.nc"
    )


def test_modes_that_no_component_is_left_for_are_not_said_to_recover() -> None:
    ds = run()
    ds = ds.assign(labels(ds.mechanism.values, np.array([1, 1, 0, 2], dtype=np.int8)))
    text = ds.attrs["problem"]
    assert 'learn = ["means", "weights"]' in text
    cases = [
        ds.assign_attrs(problem=text.replace('learn = ["means", "weights"]', 'learn = ["means"]')),
        ds.isel(component=slice(3)),  # of four modes
    ]
    for lines in (list(told(case, "run.nc", "square.toml")) for case in cases):
        assert any(line.endswith("of the collapsed 1 in transit, still moving") for line in lines)
        assert lines[-1].endswith("time.end = 200 in square.toml: do they come to rest?")


def test_failed_runs_are_in_no_count() -> None:
    lines = list(told(run((0, 2, 2, 2)), "run.nc", "square.toml"))
    assert lines[1] == "collapsed 0 of 1 (0.0%) at t = 20, softmax weights"
    assert list(told(run((2, 2, 2, 2)), "run.nc", "square.toml"))[1] == "collapsed 0 of 0 at t = 20, softmax weights"


def test_of_a_simulation_it_says_which_are_shown() -> None:
    problem, given = square()
    arrays = {name: given[name] for name in ("s", "m", "w", "mode_mass", "objective")}
    errors = {f"{name}_se": np.zeros_like(array) for name, array in arrays.items()}
    ds = results.simulation_dataset(
        problem, **arrays, **errors, B=given["B"], status=given["status"], backend="numpy", particles=8, replicas=2,
        step=0.1,
    )  # fmt: skip
    pairs = [[0, 0], [1, 1], [2, 0], [3, 3]]  # what became of the two replicas of each start
    each = [
        judged(
            problem, **{name: given[name][pair, -1] for name in ("w", "m", "s")},
            mode_mass=given["mode_mass"][pair], B=given["B"][pair],
        )
        for pair in pairs
    ]  # fmt: skip
    lines = list(told(ds.assign(variables(problem, each)), "sim.nc", "square.toml"))
    assert lines[1:3] == [
        "collapsed 3 of 4 (75.0%) at t = 20, softmax weights, of averages over 2 replicas: "
        "1 aligned, 1 vanished, 1 mixed",
        "          5 of 8 (62.5%) of single replicas: 2 aligned, 2 mixed, 1 vanished",
    ]
    assert not any(line.startswith("at rest") for line in lines)
    assert lines[-1] == "next: python -m solvers compare square.toml"
