"""Equilibria along a parameter: pseudo-arclength continuation, folds and branch points, branch switching, results.

A point u = (z, λ) of a branch has velocity zero; the next is predicted along the tangent and corrected by Newton's
method on the velocity, the gauge and the arclength. Source: Keller (1977); Allgower and Georg, Numerical
Continuation Methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers import results
from solvers.closed import ensembles
from solvers.equilibria.point import STABILITY, Equilibrium, equilibrium
from solvers.equilibria.steps import Curve, Point
from solvers.machine.progress import Progress
from solvers.problem import Problem, ProblemError

__all__ = ["KINDS", "STABILITY", "continuation"]

Array = NDArray[np.float64]

KINDS = {0: "regular", 1: "fold", 2: "pitchfork", 3: "branch point that is no pitchfork", 4: "where the branch starts"}
COMMAND = "solvers.equilibria.continuation"
#: Two special points are the same if parameter and overlaps differ by less.
SAME = 1e-5


def continuation(
    problem: Problem,
    key: str,
    low: float,
    high: float,
    *,
    sample: int = 0,
    follow: float = 0.0,
    step: float = 0.05,
    points: int = 400,
    branches: int = 8,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Branches of equilibria along a number of the problem, from the equilibrium of one of its starts.

    Takes
        key: dotted key of the parameter, for instance "target.separation" or "target.weights.0"; the branch starts at
        its value in the problem and is followed both ways between low and high. sample, follow: see `equilibrium`.
        step: largest arclength of a step. points: at most so many on each side of a start. branches: at most so many,
        the first one included; others are those that cross it at branch points, and so on.
    Returns
        Dataset with dimensions branch, point (padded with nan), direction, component, component_other, mode: parameter,
        s, m, w, objective (nats), mode_mass, eigenvalue (largest first, modulo gauge), unstable (number of positive
        ones), stability (keys of STABILITY, −2 padding), kind (keys of KINDS, −1 padding), and for each branch its
        number of points and the `parent` whose branch point it starts at (−1: none). Special points are refined to
        1e-10 in the parameter; two of them within one step can be missed.
    Raises
        ProblemError for a key that is not there; NoEquilibrium if the start leads to none.
    Use
        solvers.results.write(ds, path) and solvers.reopen.open(path).
    """
    first = equilibrium(problem, sample=sample, follow=follow)
    curve = Curve(first.field, key, (low, high), step=step, points=points)
    if not low <= curve.value <= high:
        raise ProblemError(f"{problem.name}: {key}: is {curve.value:g}; must be between {low:g} and {high:g}")
    found: list[tuple[list[Point], int]] = []
    queue: list[tuple[list[Point], int]] = [(curve.both_ways(first.z), -1)]
    known: list[Point] = []
    while queue and len(found) < branches:
        branch, parent = queue.pop(0)
        found.append((branch, parent))
        for point in branch:
            if point.kind in (2, 3) and not any(_same(curve, point, other) for other in known):
                known.append(point)
                for side in (1, -1):
                    crossing = curve.cross(point, side)
                    if len(crossing) > 1:
                        queue.append((crossing, len(found) - 1))
        if progress:
            progress(len(found) / max(branches, 1))
    asked = {"key": key, "low": low, "high": high, "sample": sample, "follow": follow, "step": step}
    return _dataset(curve, found, asked | {"points": points, "branches": branches})


def _same(curve: Curve, one: Point, other: Point) -> bool:
    if abs(one.parameter - other.parameter) > SAME:
        return False
    field = curve.field(one.parameter)
    pairs = zip(field.overlaps(one.z), field.overlaps(other.z), strict=True)
    return all(np.abs(a - b).max() < SAME for a, b in pairs)


def _dataset(curve: Curve, found: list[tuple[list[Point], int]], asked: dict[str, Any]) -> xr.Dataset:
    problem = curve.reference.problem
    longest = max(len(branch) for branch, _ in found)
    K, L, n = problem.family.components, len(problem.target.weights), len(found[0][0][0].z)
    shapes: dict[str, tuple[tuple[str, ...], tuple[int, ...], str, str]] = {
        "parameter": ((), (), "of the problem", asked["key"]),
        "s": (("component", "component_other"), (K, K), "length²", "overlap μ_k·μ_j"),
        "m": (("component", "mode"), (K, L), "length²", "overlap μ_k·ν_l"),
        "w": (("component",), (K,), "1", "weight of component k"),
        "objective": ((), (), "nat", "objective"),
        "mode_mass": (("mode",), (L,), "1", "mass of q on mode l"),
        "eigenvalue": (("direction",), (n,), "1", "growth rates of small deviations, largest first, without gauge"),
    }
    values = {name: np.full((len(found), longest, *shape), np.nan) for name, (_, shape, _, _) in shapes.items()}
    codes = {
        "unstable": (-1, "number of growing deviations, -1 where the branch has ended"),
        "stability": (-2, "; ".join(f"{code} {text}" for code, text in STABILITY.items())),
        "kind": (-1, ", ".join(f"{code} {text}" for code, text in KINDS.items())),
    }
    marks = {name: np.full((len(found), longest), blank, dtype=np.int8) for name, (blank, _) in codes.items()}
    for b, (branch, _) in enumerate(found):
        for i, point in enumerate(branch):
            at = Equilibrium.of(curve.field(point.parameter), point.z)
            parts = (point.parameter, at.s, at.m, at.w, at.objective, at.mode_mass, at.eigenvalues)
            for name, part in zip(shapes, parts, strict=True):
                values[name][b, i] = part
            for name, code in (("unstable", at.unstable), ("stability", at.stability), ("kind", point.kind)):
                marks[name][b, i] = code
    variables: dict[str, Any] = {
        name: (("branch", "point", *dims), values[name], {"units": units, "long_name": meaning})
        for name, (dims, _, units, meaning) in shapes.items()
    }
    for name, (_, meaning) in codes.items():
        variables[name] = (("branch", "point"), marks[name], {"units": "1", "long_name": meaning})
    for name, numbers in (("points", [len(b) for b, _ in found]), ("parent", [parent for _, parent in found])):
        variables[name] = (("branch",), np.array(numbers, dtype=np.int32), {"units": "1", "long_name": name})
    system = curve.reference.closed.module.SYSTEM
    attributes = results.attributes(problem, ensembles.BACKEND, COMMAND) | {"system": system} | asked
    return xr.Dataset(variables, attrs=attributes)
