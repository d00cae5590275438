"""What the screen says of a result: outcomes by mechanism, at rest or not, objective, lifetimes, what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.problem import Problem
from solvers.results.mechanisms import AT_REST, IN_TRANSIT, LABELS, NEUTRAL, SADDLE, STABLE, UNDECIDED
from solvers.results.weights import INDEX_OF, limit

__all__ = ["counted", "told"]

_ON = {STABLE: "on a stable equilibrium", SADDLE: "on a saddle", NEUTRAL: "on a neutral equilibrium"}


def told(ds: xr.Dataset, out: str, source: str) -> Iterator[str]:
    """Lines on a RUN.nc or SIM.nc called `out`, made from a problem file called `source`."""
    problem, times = Problem.parse(str(ds.attrs["problem"]), source), ds["time"].values
    good = ds["status"].values == 0
    replicas = ds.attrs.get("replicas")
    samples = "1 sample" if len(good) == 1 else f"{len(good)} samples"
    yield f"{out}: {samples}, {len(times)} times from {times[0]:g} to {times[-1]:g}"
    rule = f"{problem.flow.weights} weights" if "weights" in problem.family.learn else "fixed weights"
    runs = ds.attrs.get("runs", 1)  # of learning, by paths of the theory
    each_of = "replicas" if replicas else "runs of learning"
    of = "" if (replicas or runs) == 1 else f", of averages over {replicas or runs} {each_of}"
    collapse = ds["collapse"].values[good]
    yield f"collapsed {_share(collapse % 10 > 0)} at t = {times[-1]:g}, {rule}{of}{_by(collapse)}"
    if "replica_collapse" in ds:
        each = ds["replica_collapse"].values
        each = each[each >= 0]
        yield f"          {_share(each % 10 > 0)} of single {each_of}{_by(each)}"
        yield from _torn(ds, each_of)
    if ds.sizes["mode"] > 2:
        modes = ds["mechanism"].values[good].ravel()
        yield f"modes     {_share(modes % 10 > 0, 'lost')}{_by(modes)}"
    asked = replicas is None and problem.sampler is None
    yield from _resting(ds["at_rest"].values[good], collapse, asked=asked, hopeful=_hopeful(problem, ds))
    if good.any():
        objective = ds["objective"].values[good, -1]
        line = f"objective median {np.median(objective):.4g} {ds['objective'].attrs['units']}"
        if (lost := collapse % 10 > 0).any():
            line += f", of the collapsed {np.median(objective[lost]):.4g}"
        yield line
        yield from _lifetimes(ds, good, times[-1])
    if "elbo" in ds and good.any():
        last, error = ds["elbo"].values[good, -1], ds["elbo_se"].values[good, -1]
        spread = "" if len(last) == 1 else f", from {last.min():.4g} to {last.max():.4g} over samples"
        yield f"elbo at the end: {last.mean():.4f}, standard error of one sample {error.mean():.4f}{spread}"
        if "log_z_learned" in ds:
            last, error = ds["log_z_learned"].values[good, -1], ds["log_z_learned_se"].values[good, -1]
            yield f"log Z learned: {last.mean():.4f}, standard error of one sample {error.mean():.4f}"
        yield from _weights(ds, good)
        yield from _schedule(ds, good)
    if steps := ds.attrs.get("learning_steps", 0):
        optimiser, batch, rate = (ds.attrs[name] for name in ("optimiser", "learning_batch", "learning_rate_prior"))
        what = f"{steps} steps of rate {rate:g}, {batch} paths each"
        yield f"learned   by {optimiser}: {what}; the theory is of the flow, and says nothing of this"
    if "equilibrium" in ds:
        yield f"left      {int((ds['equilibrium'] == 1).sum())} of {len(good)} at an equilibrium to 100 tolerances"
    if "quadrature_error" in ds and good.any():
        yield f"largest estimated error of an expectation: {float(ds['quadrature_error'].max()):.1e}"
    yield f"next: {_next(ds, problem, source)}"


def counted(codes: NDArray[np.int8]) -> Counter[str]:
    """How many of the codes of mechanisms are each of them, whether at rest or not, without those that lost nothing."""
    names = LABELS["collapse"].names
    return Counter(names[code % 10] for code in codes.tolist() if code > 0 and code % 10)


def _share(hit: NDArray[np.bool_], word: str = "") -> str:
    text = f"{int(hit.sum())} of {len(hit)}" + (f" ({hit.mean():.1%})" if len(hit) else "")
    return f"{text} {word}".rstrip()


def _by(codes: NDArray[np.int8]) -> str:
    """How often by which mechanism."""
    found = counted(codes)
    return ": " + ", ".join(f"{count} {name}" for name, count in found.most_common()) if found else ""


def _torn(ds: xr.Dataset, each_of: str) -> Iterator[str]:
    """Where an average over replicas is no description of them."""
    collapse: NDArray[np.int8] = ds["replica_collapse"].values
    known = collapse >= 0
    lost = known & (collapse % 10 > 0)
    torn: NDArray[np.bool_] = np.any(lost, axis=1) & np.any(known & ~lost, axis=1)
    if torn.any():
        share = float(lost[torn].sum() / known[torn].sum())
        yield f"          {int(torn.sum())} of {len(torn)} samples end differently in different {each_of}, which lose a"
        yield f"          mode in {share:.0%} of them: see collapsed_share and its interval, not the averages"


def _resting(at_rest: NDArray[np.int8], collapse: NDArray[np.int8], *, asked: bool, hopeful: bool) -> Iterator[str]:
    if not asked or not len(at_rest):
        return
    lost = collapse % 10 > 0
    if (at_rest == UNDECIDED).all():
        yield f"at rest   {AT_REST[UNDECIDED]}: docs/outcomes.md says of what it is"
        return
    found = [f"{int((at_rest == code).sum())} {words}" for code, words in _ON.items() if (at_rest == code).any()]
    moving = int((at_rest == IN_TRANSIT).sum())
    line = f"at rest   {int((at_rest > IN_TRANSIT).sum())} of {len(at_rest)}"
    line += f" ({', '.join(found)})" * bool(found) + f", {moving} in transit" * bool(moving)
    if (lost & (at_rest == IN_TRANSIT)).any():
        line += f"; of the collapsed {int((lost & (at_rest == IN_TRANSIT)).sum())} in transit, "
        line += "and may recover" if hopeful else "still moving"
    yield line


def _hopeful(problem: Problem, ds: xr.Dataset) -> bool:
    """Whether a lost mode may come back: weights are learned, and there are as many components as modes."""
    return "weights" in problem.family.learn and ds.sizes["component"] >= ds.sizes["mode"]


def _lifetimes(ds: xr.Dataset, good: NDArray[np.bool_], end: float) -> Iterator[str]:
    if len(ds["time"]) < 2:
        return
    found = ds["recovered_at"].values
    censored = int((np.isnan(found) & good).sum())
    over = np.where(good & ~np.isnan(found), found, 0.0)
    if over.max(initial=0.0) > 0:
        start = int(np.argmax(over))
        parts = [f"the longest over by t = {over[start]:g} (sample {start}, counted from 0)"]
    elif not censored:
        parts = ["no mode was lost at a save time"]
    else:
        parts = []
    parts += [f"{censored} not over at t = {end:g}"] * bool(censored)
    yield f"lifetimes {'; '.join(parts)}"


def _weights(ds: xr.Dataset, good: NDArray[np.bool_]) -> Iterator[str]:
    """What is a mean over weights, and where it is not known, and why."""
    if "pareto_k" not in ds:  # a file of an older version
        return
    paths = int(ds.attrs["paths_together"])
    for name, by in INDEX_OF.items():
        value, error, k = (ds[of].values[good, -1] for of in (name, f"{name}_se", by))
        there, line = ~np.isnan(value), f"{'log Z' if name == 'log_z' else name} at the end: "
        if there.any():
            line += f"{value[there].mean():.4g}, standard error of one sample {error[there].mean():.2g}"
        if not there.all():
            line += f"; not known in {int((~there).sum())} of {len(there)} samples" if there.any() else "not known"
            line += f": {by} is up to {k[~there].max():.2f}, must be at most {limit(paths):.2f}: docs/samplers.md"
        yield line


def _schedule(ds: xr.Dataset, good: NDArray[np.bool_]) -> Iterator[str]:
    """What was learned of steps and annealing, on average over samples."""
    parts = []
    if "eta" in ds:
        eta = ds["eta"].values[good, -1].mean(0)
        parts.append(f"steps from {eta.min():.3g} to {eta.max():.3g}, horizon {eta.sum():.4g}")
    if "beta" in ds:
        beta = ds["beta"].values[good, -1].mean(0)
        parts.append(f"beta = {beta[len(beta) // 2]:.3g} after {len(beta) // 2} of {len(beta) - 1} steps")
    if parts:
        yield f"schedule  {'learned' if ds['time'].values[-1] > 0 else 'to learn'}: {'; '.join(parts)}"


def _next(ds: xr.Dataset, problem: Problem, source: str) -> str:
    name = shlex.quote(source)
    if ds.attrs.get("system") == "none":
        keys = ['learning.optimiser = "flow"'] * (problem.learning is not None)
        keys += ['family.covariance = "isotropic"'] * (problem.family.diagonal is not None)
        compare = f"python -m solvers compare {name}"
        return f"{' and '.join(keys)} in {source}, and {compare}" if keys else compare
    command = f"python -m solvers simulate {name} --out sim.nc"
    if ((ds["at_rest"].values == IN_TRANSIT) & (ds["collapse"].values % 10 > 0)).any():
        what = "recover" if _hopeful(problem, ds) else "come to rest"
        return f"{command}; or time.end = {10 * problem.time.end:g} in {source}: do they {what}?"
    return command
