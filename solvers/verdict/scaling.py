"""How the gap between theory and simulation shrinks: with particles, with the Euler step, and not with the dimension.

One problem is simulated along three lines through one point (n particles, step h, dimension d). Of each entry of s, m
and w at the last time a run gives the mean over replicas and their standard deviation; the closed equations give the
value they should have. What is expected:

    standard deviation ∝ n^(−1/2)     bias = a h + b h² + O(h³)     neither depends on d, at fixed overlaps and v = u
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import results
from solvers.closed import flow
from solvers.closed.equations import Closed
from solvers.machine.backends import DEFAULT
from solvers.machine.code import usable
from solvers.machine.progress import Progress
from solvers.particles.replicas import replicas_path
from solvers.problem import Problem
from solvers.problem.starts import starts, vectors

__all__ = ["COMMAND", "LINES", "exponent", "line_of", "scaling", "series"]

Array = NDArray[np.float64]

COMMAND = "solvers.verdict.scaling.scaling"
LINES = ("particles", "step", "dimension")


def scaling(
    problem: Problem,
    *,
    particles: Sequence[int] = (),
    steps: Sequence[float] = (),
    dimensions: Sequence[int] = (),
    replicas: int = 64,
    at_particles: int = 64,
    at_step: float = 0.1,
    many: int = 16384,
    backend: str = DEFAULT,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Mean and spread of the simulation's end, beside the theory's, along up to three lines; of the first start.

    Takes
        particles, steps, dimensions: the points of each line; at_particles, at_step and the problem's own dimension:
        where the lines stand still; many: particles on the line of steps, where the bias has to be seen; progress:
        called with the fraction done, from 0 to 1.
    Returns
        line, particles, step, dimension (run); theory, mean, spread (run, entry): the theory's value, mean and standard
        deviation over replicas; entry: labels such as m[0,1].
    Raises
        ProblemError, SimulationError, BackendError.
    """
    d, backend = problem.dimension, usable(backend)
    given = {"particles": particles, "steps": steps, "dimensions": dimensions}
    points = [("particles", n, at_step, d) for n in particles]
    points += [("step", many, h, d) for h in steps]
    points += [("dimension", at_particles, at_step, dimension) for dimension in dimensions]
    work = np.cumsum([0.0, *(n * max(d, 16) / h for _, n, h, d in points)])
    found: dict[str, list[Array]] = {"theory": [], "mean": [], "spread": []}
    labels: list[str] = []
    closed = Closed.of(problem)
    for number, (_, n, h, dimension) in enumerate(points):
        here = replace(problem, dimension=dimension)
        theory = flow.solve(here, closed=replace(closed, problem=here), samples=range(1))
        begin = starts(here, [0])
        mu, _ = vectors(begin.s[0], begin.m[0], here)
        path = replicas_path(
            here, mu, begin.theta[0], particles=n, replicas=replicas, step=h, key=(number,), backend=backend
        )
        last = {name: (theory[name].values[0, -1], getattr(path, name)[:, -1]) for name in ("s", "m", "w")}
        labels = [label for label, _, _ in _entries(last)]
        found["theory"].append(np.array([value for _, value, _ in _entries(last)]))
        ends = np.stack([end for _, _, end in _entries(last)], axis=1)
        found["mean"].append(ends.mean(0))
        found["spread"].append(ends.std(0, ddof=1))
        if progress:
            progress(float(work[number + 1] / work[-1]))
    lines, counts, sizes, in_dimensions = zip(*points, strict=True)
    variables: dict[str, Any] = {name: (("run", "entry"), np.stack(values)) for name, values in found.items()}
    variables |= {
        "line": ("run", list(lines)),
        "particles": ("run", np.array(counts)),
        "step": ("run", np.array(sizes)),
        "dimension": ("run", np.array(in_dimensions)),
    }
    # Options by their names, so that a stored result can be known by them.
    options = {"replicas": replicas, "at_particles": at_particles, "at_step": at_step, "many": many}
    options_of_lines = {name: list(line) for name, line in given.items() if line}
    origin = results.attributes(problem, backend, COMMAND) | {"system": closed.module.SYSTEM}
    return xr.Dataset(variables, {"entry": labels}, origin | options | options_of_lines)


def line_of(found: xr.Dataset, line: str, entry: str) -> tuple[Array, Array, Array, Array]:
    """Of one entry along one line: where (run,), spread over replicas, bias = mean − theory, and its standard error."""
    one = found.sel(run=found["line"] == line, entry=entry)
    spread, bias = one["spread"].values, one["mean"].values - one["theory"].values
    return one[line].values.astype(float), spread, bias, spread / np.sqrt(int(found.attrs["replicas"]))


def exponent(x: Array, y: Array, error: Array, *, correction: bool = False) -> tuple[float, float]:
    """p and its standard error from y = a x^p, or a x^p e^{bx} with `correction`, by least squares of log |y|.

    Takes
        x, y (n,), both not 0, and error (n,), the standard errors of y, small against it.
    """
    columns = [np.ones_like(x), np.log(x), *([x] if correction else [])]
    weight = np.abs(y) / error
    design, wanted = np.stack(columns, axis=1) * weight[:, None], np.log(np.abs(y)) * weight
    covariance = np.linalg.inv(design.T @ design)
    return float((covariance @ design.T @ wanted)[1]), float(np.sqrt(covariance[1, 1]))


def series(x: Array, y: Array, error: Array, powers: Sequence[int]) -> tuple[Array, Array]:
    """Coefficients (powers,) and their standard errors of y = Σ_p c_p x^p, by least squares; x, y, error as above."""
    design = np.stack([x**power for power in powers], axis=1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    return np.asarray(covariance @ design.T @ (y / error)), np.sqrt(np.diagonal(covariance))


def _entries(last: dict[str, tuple[Array, Array]]) -> Iterator[tuple[str, float, Array]]:
    """Label, the theory's value and those of the replicas, of every different entry; weights sum to 1."""
    for name, (value, ends) in last.items():
        for index in np.ndindex(value.shape):
            if (name == "s" and index[0] > index[1]) or (name == "w" and index[0] == value.size - 1):
                continue
            yield f"{name}[{','.join(map(str, index))}]", float(value[index]), ends[:, *index]
