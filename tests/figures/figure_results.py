"""Results made up for the tests of figures: the shapes and attributes of solved ones, at no cost."""

import json
from typing import Any

import numpy as np
import xarray as xr

from figures.stores import Swept
from solvers import results
from solvers.problem import Problem
from solvers.sweeps.dataset import words
from solvers.sweeps.plan import Axis

TINY = """
dimension = 3
[target]
separation = 2.0
[family]
components = 2
learn = ["means", "weights"]
[init]
scale = 0.5
samples = 2
seed = 3
[time]
end = 1.0
save = 5
"""


def made_up(problem: Problem, *, collapsed=(0, 1, 0), status=None, replicas=32, particles=64):
    """theory and simulation of a problem with curves of no meaning; the simulation is off the theory by 1/100.

    collapsed: of each sample, repeated as needed. status: of the theory's samples, default all 0.
    """
    n, times = problem.init.samples, problem.time.times
    K, L, T = problem.family.components, len(problem.target.c), len(times)
    pi, along = problem.target.weights, np.linspace(0, 1, T)
    collapsed = np.resize(collapsed, n).astype(bool)
    end = np.where(collapsed[:, None], np.eye(L)[0] * 0.98 + 0.02 / L, pi)
    masses = pi + along[None, :, None] * (end - pi)[:, None, :]
    length = problem.target.c.diagonal().max()
    m = length * np.linspace(-1, 1, n * K * L).reshape(n, 1, K, L) * along[None, :, None, None]
    w = np.broadcast_to(problem.family.weights, (n, T, K))
    s = np.broadcast_to(length * np.eye(K), (n, T, K, K))
    objective = np.where(collapsed, 0.7, 0.0)[:, None] + 3 * (1 - along)
    B = np.broadcast_to(end[:, None, :], (n, K, L))
    curves = {"m": m, "s": s, "w": w, "objective": objective, "mode_mass": masses}
    theory = results.run_dataset(
        problem,
        **curves,
        B=B,
        status=np.zeros(n, int) if status is None else np.array(status),
        quadrature_error=np.zeros((n, T)),
        system="a1b2",
        backend="numpy",
        rtol=1e-8,
        atol=1e-10,
    )
    simulation = results.simulation_dataset(
        problem,
        **{name: values + 0.01 for name, values in curves.items()},
        **{f"{name}_se": np.full(values.shape, 0.005) for name, values in curves.items()},
        B=B,
        status=np.zeros(n, int),
        backend="numpy",
        particles=particles,
        replicas=replicas,
        step=0.05,
    )
    return {"theory": theory, "simulation": simulation}


def stand_in(kind, *, share=0.3):
    """A result of the quick tier of `kind`, Swept or Along, with numbers of no meaning: sizes, keys and attributes."""
    if isinstance(kind, Swept):
        sweep = kind._sweep(True)
        coordinates = {axis.key: axis.coordinate for axis in sweep.axes}
        along = np.linspace(0.0, 2 * share, sweep.points).reshape(sweep.shape)
        swept = {"samples": np.full(sweep.shape, 10)}
        for name in sweep.quantities:
            if name == "collapse":
                coordinates["label"] = np.array(words(name), dtype=object)
                parts = along[..., None] * (np.arange(len(words(name))) == words(name).index("aligned_in_transit"))
                swept[name] = parts
                continue
            swept |= {
                name: along,
                f"{name}_low": along * 0.8,
                f"{name}_high": along * 1.1,
                f"{name}_se": along * 0.1,
            }
        attrs = {"problem": sweep.base_text, "grid": json.dumps({axis.key: list(axis.values) for axis in sweep.axes})}
        return xr.Dataset({name: (tuple(coordinates)[: v.ndim], v) for name, v in swept.items()}, coordinates, attrs)
    coordinates = {key: Axis(key, tuple(values)).coordinate for key, values in kind.quick.items()}
    shape = tuple(map(len, coordinates.values()))
    variables: dict[str, Any] = {}
    for name in kind.keep:
        if name in ("collapsed", "aligned", "vanished", "status"):
            samples = 1 if {"elbo", "coverage"} & set(kind.keep) else 10
            values = np.broadcast_to(np.arange(samples) < samples * share, (*shape, samples)).astype(np.int8)
            variables[name] = ((*coordinates, "sample"), values)
        elif name == "replica_collapse":
            values = np.broadcast_to((np.arange(10) < 10 * share)[:, None], (*shape, 10, 2)).astype(np.int8)
            variables[name] = ((*coordinates, "sample", "replica"), values)
        else:
            values = np.linspace(share, 2 * share, int(np.prod(shape))).reshape(*shape, 1, 1)
            variables[name] = ((*coordinates, "sample", "time"), -values if name == "elbo" else values)
    return xr.Dataset(variables, coordinates, {**kind.wanted(True)})
