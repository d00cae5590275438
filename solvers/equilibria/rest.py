"""Where trajectories rest at their last time: on a stable equilibrium, on a saddle, or nowhere yet.

A small speed proves nothing. A plateau may be left after a time exponential in R², and a weight that dies under softmax
moves as 1/t for ever. So Newton's method says how far the equilibrium is, and its spectrum, in all directions of R^d,
whether a run could stay there. Every equation is taken in units of its own derivatives: those of a component of weight
w are of order w, and would else be zero beside the others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.closed import ensembles
from solvers.closed.equations import Closed, Task
from solvers.equilibria.field import Field
from solvers.equilibria.point import stability_of
from solvers.integrate.singular import shortest
from solvers.integrate.tolerances import of_expectations
from solvers.machine.code.switch import switched_off
from solvers.machine.cores import cores
from solvers.machine.pieces import in_order
from solvers.machine.ranks import DERIVATIVES
from solvers.machine.short import reduced
from solvers.problem import Problem, Schedule
from solvers.results.datasets import labels
from solvers.results.mechanisms import IN_TRANSIT, NEUTRAL, SADDLE, STABLE, UNDECIDED

__all__ = ["DISTANCE", "at_rest", "settled"]

Array = NDArray[np.float64]
Codes = NDArray[np.int8]

#: A run rests on an equilibrium that it is closer to than this: means in units of max(1, the largest), log-weights as
#: they are. On one that deviations grow from it must be at the tolerance itself, else it is leaving.
DISTANCE, LEAVING = 1e-3, 1e-6
#: What is left of a velocity at an equilibrium, in units of its own derivatives.
LEFT = 1e-9
ITERATIONS, POLISH = 12, 3
#: Runs whose Jacobians are in memory at a time, in numbers.
TOGETHER = 2**17
#: Equilibria that are remembered.
FREQUENT = 8


def settled(closed: Closed, ds: xr.Dataset) -> xr.Dataset:
    """A result of closed equations with at_rest, and what it says of mechanisms, filled in."""
    return ds.assign(labels(ds["mechanism"].values, at_rest(closed, ds)))


def at_rest(closed: Closed, ds: xr.Dataset) -> Codes:
    """On what each run of a result rests at its last time, (n,): a key of results.mechanisms.AT_REST.

    STABLE, NEUTRAL, SADDLE: Newton's method finds an equilibrium within DISTANCE (saddles: LEAVING); no deviation
    grows, none that can be told from one that neither grows nor decays, some grows. IN_TRANSIT: there is none so near.
    UNDECIDED: nothing here decides it, of samplers, finite batches, problems that learn nothing, and equations that are
    not compiled (variances of their own, more than 64 components or modes). The code a run had, where it has failed.
    """
    codes = np.array(ds["at_rest"].values, dtype=np.int8)
    good = np.flatnonzero(ds["status"].values == 0)
    steady = _steady(closed)
    if steady is None or not len(good):
        codes[good] = IN_TRANSIT if _anneals(closed.problem) else UNDECIDED
        return codes
    try:
        codes[good] = _of_runs(Field.of(steady.problem, closed=steady), ds, good)
    except np.linalg.LinAlgError:  # overlaps or derivatives beyond the range of float64
        codes[good] = UNDECIDED
    return codes


def _of_runs(field: Field, ds: xr.Dataset, good: NDArray[np.intp]) -> Codes:
    """Codes of these runs. What the first of them rest on is known to the others, of which most are there too."""
    s, m, w = (ds[name].values[:, -1][good] for name in "smw")
    with np.errstate(divide="ignore"):
        theta = np.log(w)
    size = max(1, TOGETHER // field.system.size**2)
    first = -(-size // 4)

    def part(n: int) -> Codes:
        rows = slice(first + n * size, first + (n + 1) * size)
        return _beside(field, s[rows], m[rows], theta[rows], known, ds.attrs)

    codes, known = _newton(field, s[:first], m[:first], theta[:first], ds.attrs)
    return np.concatenate([codes, *in_order(part, -(-max(0, len(good) - first) // size), cores())])


def _newton(field: Field, s: Array, m: Array, theta: Array, about: dict[str, float]) -> tuple[Codes, Array]:
    """Codes of runs by Newton's method, and the stable equilibria that most of them rest on, as rows of `_said`."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x = field.space.coordinates(s, m).reshape(len(s), -1)
        y = np.concatenate([x, theta, np.tile(ensembles.driven(field.problem), (len(s), 1))], axis=1)
        codes = _codes(field, y, about)
        alike = sorted(_alike(field, y, codes == STABLE), key=len, reverse=True)
        return codes, _said(*_parts(field, y[[some[0] for some in alike[:FREQUENT]]]))


def _beside(field: Field, s: Array, m: Array, theta: Array, known: Array, about: dict[str, float]) -> Codes:
    """Codes of runs, by Newton's method where they are not on a stable equilibrium that is known."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inside = m @ field.space.inverse
        said = _said(inside, s - inside @ inside.mT, theta)
        off, codes = np.empty(said.shape[1:]), np.full(len(s), IN_TRANSIT, dtype=np.int8)
        # Inner products outside the span of the modes are squares of lengths.
        off[:, : inside.shape[2] + 1], off[:, inside.shape[2] + 1 :] = LEAVING, LEAVING * DISTANCE
        for equilibrium in known:
            near = np.abs(said - equilibrium) <= off
            codes[reduced(np.logical_and, near.reshape(len(s), -1))] = STABLE
        left = np.flatnonzero(codes != STABLE)
    if len(left):
        codes[left] = _newton(field, s[left], m[left], theta[left], about)[0]
    return codes


def _anneals(problem: Problem) -> bool:
    schedule = problem.flow.temperature
    return isinstance(schedule, Schedule) and schedule.rate > 0


def _steady(closed: Closed) -> Closed | None:
    """The equations once a schedule is over; None where runs cannot be asked, or where a schedule still moves them."""
    problem = closed.problem
    if not problem.family.learn or switched_off():
        return None
    if ensembles.refused_on_cpu(Task(closed)):
        return None
    schedule, end = problem.flow.temperature, float(problem.time.times[-1])
    if isinstance(schedule, Schedule):
        if schedule.rate and abs(problem.flow.at(end) - 1) > LEFT:
            return None
        problem = replace(problem, flow=replace(problem.flow, temperature=1.0 if schedule.rate else schedule.start))
        closed = Closed.of(problem)
    return closed


def _codes(field: Field, y: Array, about: dict[str, float]) -> Codes:
    """Codes (n,) of states y (n, N) of the compiled system."""
    means, moving = field.K * field.space.directions, field.moving
    # Units of lengths and of log-weights.
    unit = np.ones(y.shape)
    unit[:, :means] = np.maximum(1.0, np.abs(y[:, :means]).max(axis=1, initial=0.0))[:, None]
    unit, start = unit[:, moving], y[:, moving].copy()
    codes = np.full(len(y), IN_TRANSIT, dtype=np.int8)
    left = np.flatnonzero(np.isfinite(y).all(axis=1))
    known: dict[bytes, int] = {}
    for _ in range(ITERATIONS):
        if not len(left):
            break
        f, slope = field.system.derivatives(y[left], field.parameters, of_expectations(float(about["rtol"])))
        f, slope = f[:, moving], slope[:, moving][:, :, moving] * unit[left][:, None]  # per unit of each state
        own = np.abs(slope).max(axis=2)
        own = np.where(own > 0, own, 1.0)
        f, slope = f / own, slope / own[..., None]
        # No equilibrium is nearer than the velocity over the largest derivative; nor where nothing is finite.
        near = np.isfinite(slope).all(axis=(1, 2)) & (np.abs(f) <= 2 * DISTANCE * len(moving)).all(axis=1)
        left, f, slope = left[near], f[near], slope[near]
        step = shortest(slope, f, DERIVATIVES)
        y[np.ix_(left, moving)] -= step * unit[left]
        gone = np.abs((y[np.ix_(left, moving)] - start[left]) / unit[left]).max(axis=1, initial=0.0)
        # Where derivatives are zero the velocity must be, too.
        rest = np.abs(f - (slope @ step[..., None])[..., 0]).max(axis=1, initial=0.0) <= LEFT
        done = np.abs(step).max(axis=1, initial=0.0) <= LEAVING
        for some in _alike(field, y[left], done & rest):
            stability = _stability(field, y[left[some[0]]], known)
            far = gone[some] > (LEAVING if stability < 0 else DISTANCE)
            codes[left[some]] = np.where(far, IN_TRANSIT, {1: STABLE, 0: NEUTRAL, -1: SADDLE}[stability])
        left = left[~done & (gone <= 2 * DISTANCE)]
    return codes


def _alike(field: Field, y: Array, which: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Those of the states y (n, N), in groups of places where one is the other but for a rotation."""
    places = np.flatnonzero(which)
    if not len(places):
        return []
    rows = _components(field, y[places]).reshape(len(places), -1)
    # Equal rows have equal sums of their bits times odd numbers, others have not. Sorting rows takes ten times as long.
    bits = rows.view(np.uint64)
    bits = bits ^ bits >> np.uint64(32)  # in the highest bits alone, as signs are, sums would cancel
    odd = np.random.default_rng(0).integers(0, 2**63, bits.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    _, group = np.unique((bits * odd).sum(axis=1), return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    return np.split(places[order], np.flatnonzero(np.diff(group.ravel()[order])) + 1)


def _parts(field: Field, y: Array) -> tuple[Array, Array, Array]:
    """Of states (n, N): components in the directions of the modes, inner products outside, log-weights."""
    means, inside = field.K * field.space.directions, field.space.modes.shape[1]
    x = y[:, :means].reshape(len(y), field.K, field.space.directions)
    outside = x[..., inside:]
    return x[..., :inside], outside @ outside.mT, y[:, means : means + field.K]


def _said(inside: Array, outside: Array, theta: Array) -> Array:
    """What is said of each component but for rotations, (n, K, ...)."""
    apart = theta - reduced(np.maximum, theta)[:, None]
    return np.concatenate([inside, apart[..., None], np.sort(outside, axis=2)], axis=2)


def _components(field: Field, y: Array) -> Array:
    """The same of states (n, N), rounded."""
    return np.round(_said(*_parts(field, y)), 5) + 0.0


def _stability(field: Field, y: Array, known: dict[bytes, int]) -> int:
    """A key of STABILITY for a state (N,) at an equilibrium; of one that is in `known` but for names of components
    and rotations, what is there."""
    rows = _components(field, y[None])[0]
    key = rows[np.lexsort(rows.T)].tobytes()
    if key not in known:
        y, z = y.copy(), y[field.moving]
        for _ in range(POLISH):
            f, slope = (a[0] for a in field.system.derivatives(y[None], field.parameters))
            f, slope = f[field.moving], slope[np.ix_(field.moving, field.moving)]
            y[field.moving] = z = z - np.linalg.lstsq(slope, f, rcond=DERIVATIVES)[0]
        gauge = field.gauge(z)
        across = np.linalg.svd(gauge, full_matrices=True)[2][len(gauge) :].T if len(gauge) else np.eye(len(z))
        known[key] = stability_of(np.linalg.eigvals(across.T @ slope @ across).real)[0]
    return known[key]
