"""How far samples of x_N are from samples of the target: W2 and the Sinkhorn divergence, each beside its floor.

    W2²(X, Y) = min over couplings of E|x − y|²
    OT_ε(X, Y) = min over couplings P of E_P|x − y|² + ε KL(P‖X ⊗ Y),   S_ε = OT_ε(X, Y) − [OT_ε(X, X) + OT_ε(Y, Y)]/2

Samples of one law are apart too, in many dimensions by more than most samplers: the floor is the same distance between
two independent sets of target samples of equal size. A sampler whose distance is within the scatter of floors cannot be
told from the target by so many samples.

Laws that are invariant under rotations about a span of means are as far apart in W2 as those of (x_∥, |x_⊥|):
directions of x_⊥ can be matched at no cost. There the floor does not grow with d.

Source  Cuturi (2013); Feydy et al. (2019); Flamary et al., POT, JMLR 22 (2021), which computes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.machine.chance import Stream, generator
from solvers.problem import Problem
from solvers.results.errors import ResultError

__all__ = ["EXTRA", "divergence", "squared_w2", "told", "transport"]

Array = NDArray[np.float64]

EXTRA = "transport: needs POT, which is not installed; install modecollapse[transport]"
MOST, FLOORS = 500, 8
#: On the screen: samples, starts and replicas, a second or two in all.
MOST_SHOWN, RUNS_SHOWN = 250, 4
#: Of the mean squared distance between two samples of the target: the default of ε.
PART = 0.05
ITERATIONS, BY_LOGARITHMS, STOP = 5_000, 1_000, 1e-5  # those by logarithms take thirty times as long
UNSOLVED = 1e-3  # part of the mass that a plan may leave where it should not be

_ABOUT = {
    "w2": ("length", "2-Wasserstein distance between samples of x_N and of the target"),
    "sinkhorn": ("length²", "debiased Sinkhorn divergence between samples of x_N and of the target"),
}
_SPACES = {"reduced": "(x_parallel, |x_perp|)", "full": "R^d"}


def transport(ds: xr.Dataset, *, most: int = MOST, floors: int = FLOORS, epsilon: float | None = None) -> xr.Dataset:
    """Distances between the samples of a RUN.nc or SIM.nc, written by --samples, and as many of the target.

    Takes
        most: samples of a set, the first so many; the time grows as the cube. floors: independent pairs of sets of
        target samples behind each floor, at least 2. epsilon: of the Sinkhorn divergence, in length²; default PART of
        the mean squared distance between two samples of the target.
    Returns
        w2 (sample, [replica,] space), length, and sinkhorn, length²; w2_floor (sample, space) the mean over pairs, and
        w2_floor_sd their standard deviation, likewise of sinkhorn. space: "reduced" for (x_∥, |x_⊥|), of RUN.nc, and
        "full" for R^d, where there are points. nan for what has no samples. Attributes draws, floors, epsilon.
    Raises
        ResultError for a dataset without samples, for numbers that do not do, and where POT is not installed: it is
        the extra `transport`.
    """
    problem = Problem.parse(str(ds.attrs["problem"]), "problem of the result")
    spaces = [name for name, has in (("reduced", "rho" in ds), ("full", "x" in ds)) if has]
    if not spaces:
        raise ResultError("transport: the dataset has no samples; write them with --samples")
    for name, value, least in (("most", most, 2), ("floors", floors, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ResultError(f"transport: {name}: is {value}; must be an integer >= {least}")
    epsilon = PART * _mean_square(problem) if epsilon is None else epsilon
    if not 0 < epsilon < np.inf:
        raise ResultError(f"transport: epsilon: is {epsilon}; must be a number > 0")
    _library()
    found = [_of_start(ds.isel(sample=n), problem, n, spaces, most, floors, epsilon) for n in range(ds.sizes["sample"])]
    out = {}
    for name, (units, meaning) in _ABOUT.items():
        runs = ("sample", "replica", "space") if "replica" in ds["log_weight"].dims else ("sample", "space")
        about = {"units": units, "long_name": meaning}
        out[name] = xr.Variable(runs, np.array([one[name] for one in found]), about)
        pairs = f"the same between two sets of target samples, {floors} pairs"
        for end, what in (("_floor", f"mean of {pairs}"), ("_floor_sd", f"standard deviation of {pairs}")):
            about = {"units": units, "long_name": what}
            out[name + end] = xr.Variable(("sample", "space"), np.array([one[name + end] for one in found]), about)
    draws = min(most, ds.sizes["draw"])
    attributes = {"problem": ds.attrs["problem"], "draws": draws, "floors": floors, "epsilon": float(epsilon)}
    return xr.Dataset(out, {"space": ("space", spaces, {"long_name": "where distances are measured"})}, attributes)


def told(ds: xr.Dataset) -> Iterator[str]:
    """Lines for the screen on the samples of a result: of its first starts and replicas."""
    few = ds.isel({name: slice(RUNS_SHOWN) for name in ("sample", "replica") if name in ds.sizes})
    few = few.isel(sample=few["status"].values == 0)
    where = " of each replica" if "replica" in ds["log_weight"].dims else ""
    yield f"samples   {ds.sizes['draw']} of x_N{where}, {'points of R^d' if 'x' in ds else 'x_parallel and rho'}"
    if not few.sizes["sample"] or few.sizes["draw"] < 2:
        return
    try:
        found = transport(few, most=MOST_SHOWN)
    except ResultError as error:
        yield f"          no distances to the target: {error}"
        return
    for space in found["space"].values:
        at = found.sel(space=space)
        parts = []
        for name, title in (("w2", "W2"), ("sinkhorn", f"Sinkhorn (epsilon {found.attrs['epsilon']:.3g})")):
            values = at[name].values[np.isfinite(at[name].values)]
            spread = f"{values.mean():.3g}" if len(values) == 1 else f"{values.min():.3g} to {values.max():.3g}"
            floor, sd = float(at[f"{name}_floor"].mean()), float(at[f"{name}_floor_sd"].mean())
            parts.append(f"{title} {spread if len(values) else 'nan'}, floor {floor:.3g} ± {sd:.1g}")
        yield f"distances to the target in {_SPACES[str(space)]}, {found.attrs['draws']} samples: {'; '.join(parts)}"


def squared_w2(x: Array, y: Array) -> float:
    """W2² of two sets of points (n, d), (n', d), all of equal weight. Raises ResultError without POT."""
    ot = _library()
    (x, y), apart = _centred(x, y)
    return float(max(ot.emd2(_equal(x), _equal(y), _squares(x, y), numItermax=10**7), 0.0)) + apart


def divergence(x: Array, y: Array, epsilon: float) -> float:
    """S_ε of two sets of points, epsilon in units of |x|²; nan where the iterations do not converge. Raises ResultError
    without POT."""
    (x, y), apart = _centred(x, y)
    return _regularised(x, y, epsilon) - (_regularised(x, x, epsilon) + _regularised(y, y, epsilon)) / 2 + apart


def _of_start(
    ds: xr.Dataset, problem: Problem, n: int, spaces: list[str], most: int, floors: int, epsilon: float
) -> dict[str, Any]:
    """Distances by name, of all replicas of a start, and their floors, one a space."""
    several = "replica" in ds["log_weight"].dims
    runs = ds if several else ds.expand_dims("replica")
    found = [_points(runs.isel(replica=r), problem, most) for r in range(runs.sizes["replica"])]
    out: dict[str, Any] = {name + end: [] for name in _ABOUT for end in ("", "_floor", "_floor_sd")}
    for space in spaces:
        points = [one[space] for one in found]
        there = next((x for x in points if x is not None), None)
        apart = [_NONE if x is None else _distances(x.points, _target(problem, x, n, 0), epsilon) for x in points]
        between = [_NONE if there is None else _floor(problem, there, n, k, epsilon) for k in range(floors)]
        for c, name in enumerate(_ABOUT):
            out[name].append([row[c] for row in apart])
            out[f"{name}_floor"].append(np.mean([row[c] for row in between]))
            out[f"{name}_floor_sd"].append(np.std([row[c] for row in between], ddof=1))
    for name in _ABOUT:
        out[name] = np.array(out[name]).T if several else np.array(out[name])[:, 0]
    return out


#: The distances of sets that are not there.
_NONE = (float("nan"),) * len(_ABOUT)


def _distances(x: Array, y: Array, epsilon: float) -> tuple[float, ...]:
    """Those of _ABOUT, in its order."""
    return float(np.sqrt(squared_w2(x, y))), divergence(x, y, epsilon)


def _floor(problem: Problem, like: _Set, start: int, pair: int, epsilon: float) -> tuple[float, ...]:
    """The same between the two sets of a pair."""
    one, other = (_target(problem, like, start, 2 * pair + side) for side in (1, 2))
    return _distances(one, other, epsilon)


class _Set(NamedTuple):
    """points (n, ·) of x_N, and where the modes (L, ·) are to them. reduced: whether the last column is |x_⊥|, which
    the modes do not have."""

    points: Array
    modes: Array
    reduced: bool


def _points(run: xr.Dataset, problem: Problem, most: int) -> dict[str, _Set | None]:
    """By space; None for a run without a result. A run has the directions that are not nan."""
    found: dict[str, _Set | None] = {}
    good = bool(np.isfinite(run["log_weight"].values).all())
    if "x" in run:
        found["full"] = _Set(run["x"].values[:most], problem.target.vectors, False) if good else None
    if "rho" in run:
        modes = run["mode_parallel"].values
        there = np.asarray(np.isfinite(modes).all(0))
        points = np.column_stack([run["x_parallel"].values[:, there], np.sqrt(run["rho"].values)])
        found["reduced"] = _Set(points[:most], modes[:, there], True) if good else None
    return found


def _target(problem: Problem, like: _Set, start: int, number: int) -> Array:
    """As many samples of the target, in the same coordinates; the set of this number, the same for all replicas."""
    target, (count, size), width = problem.target, like.points.shape, like.modes.shape[1]
    rng = generator(problem.init.seed, start, Stream.TRANSPORT, number)
    chosen = rng.choice(len(target.weights), size=count, p=target.weights)
    spread = np.sqrt(target.variances)[chosen, None]
    found = spread * rng.standard_normal((count, size))
    found[:, :width] += like.modes[chosen]
    if like.reduced:
        across = problem.dimension - width
        found[:, -1:] = spread * np.sqrt(rng.chisquare(max(across, 1), (count, 1))) * (across > 0)
    return np.asarray(found)


def _mean_square(problem: Problem) -> float:
    """E|x − x'|² of two samples of the target: twice the trace of its covariance."""
    pi, vectors = problem.target.weights, problem.target.vectors
    centred = vectors - pi @ vectors
    return 2 * float(pi @ (problem.dimension * problem.target.variances + (centred**2).sum(1)))


def _library() -> Any:
    try:
        import ot
    except ImportError:
        raise ResultError(EXTRA) from None
    return ot


def _equal(x: Array) -> Array:
    return np.full(len(x), 1 / len(x))


def _centred(x: Array, y: Array) -> tuple[tuple[Array, Array], float]:
    """Both sets around their means, and |difference of means|²: of every coupling E|x − y|² has just that less."""
    a, b = x.mean(0), y.mean(0)
    return (x - a, y - b), float(((a - b) ** 2).sum())


def _squares(x: Array, y: Array) -> Array:
    """|x_i − y_j|²."""
    found = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.asarray(np.maximum(found, 0.0))


def _regularised(x: Array, y: Array, epsilon: float) -> float:
    """OT_ε, by scaling the kernel where it is in the range of float64, else by its logarithms.

    The value is that of the dual problem, which an unfinished iteration misses at second order only.
    """
    ot, a, b, squares = _library(), _equal(x), _equal(y), _squares(x, y)
    options = {"stopThr": STOP, "warn": False, "log": True}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of POT, for what is asked here
        plan, log = ot.bregman.sinkhorn_knopp(a, b, squares, epsilon, numItermax=ITERATIONS, **options)
        if not _solved(plan, a, b):
            plan, log = ot.bregman.sinkhorn_log(a, b, squares, epsilon, numItermax=BY_LOGARITHMS, **options)
        if not _solved(plan, a, b):
            return float("nan")
        log_u, log_v = (log[f"log_{name}"] if f"log_{name}" in log else np.log(log[name]) for name in "uv")
    return epsilon * float(a @ (log_u - np.log(a)) + b @ (log_v - np.log(b)) + 1 - plan.sum())


def _solved(plan: Array, a: Array, b: Array) -> bool:
    off = np.abs(plan.sum(1) - a).sum() + np.abs(plan.sum(0) - b).sum()
    return bool(np.isfinite(plan).all() and off <= UNSOLVED)
