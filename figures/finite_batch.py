"""Stochastic gradient descent with finite batches: how far from a mode its noise keeps a component, along time.

Lines are the equations of the steps (flow.batch), points such descents in R^d; dotted is the gradient flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import GUIDE, POINT, interval, letters, looks, simulated
from figures.files import in_style
from figures.stored import Simulate, Solve, Stored
from solvers.reopen import problem_of
from solvers.results.errors import ResultError

_FILE = "finite_batch.toml"
BATCHES = ((8, 0.1), (32, 0.1), (128, 0.1), (32, 0.025))
REPLICAS = 32


def _pair(size: int, step: float) -> dict[str, Stored]:
    changes = {"flow.batch": {"size": size, "step": step}}
    options = {"particles": size, "replicas": REPLICAS, "step": step}
    return {
        f"theory_{size}_{step:g}": Solve(_FILE, changes=changes),
        f"simulation_{size}_{step:g}": Simulate(_FILE, options, changes=changes),
    }


RESULTS: Mapping[str, Stored] = {
    "flow": Solve(_FILE),
    **{role: stored for size, step in BATCHES for role, stored in _pair(size, step).items()},
}

BAR: dict[str, Any] = {"marker": "_", "markersize": 9, "markeredgewidth": 1.2}
EVERY = 5  # save times between two points
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (4, 1.2, 1, 1.2, 1, 1.2)))


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the squared distance of the first component to its mode along time, and at the end against step / size.

    Takes  flow: the gradient flow; theory_N_h, simulation_N_h: descent with batches of N and steps of h.
    Raises  ResultError if the first mode is not the origin, or if a result lacks its batch.
    """
    batches = _batches(results)
    dimension = problem_of(results["flow"]).dimension
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.6, 1.0))
    times = results["flow"]["time"].values
    left.plot(times, _distance(results["flow"]), **GUIDE)
    handles = [Line2D([], [], **GUIDE, label="gradient flow")]
    for (theory, simulation), look, dash in zip(batches, looks(len(batches)), DASHES, strict=True):
        batch, color = problem_of(theory).flow.batch, look["color"]
        assert batch is not None
        left.plot(times, _distance(theory), color=color, linestyle=dash, marker="")
        some = simulation.isel(time=slice(None, None, EVERY))
        bars = interval(some, "s")[0, :, 0, 0]
        left.errorbar(some["time"], _distance(some), bars, fmt=look["marker"], color=color, **POINT)
        label = f"$N={batch.size}$, $h={batch.step:g}$"
        handles.append(Line2D([], [], color=color, linestyle=dash, marker=look["marker"], mfc="white", label=label))
        ratio = batch.step / batch.size
        end = simulation.isel(time=[-1])
        right.errorbar(ratio, _distance(end), interval(end, "s")[0, :, 0, 0], fmt=look["marker"], color=color, **POINT)
    ratios, ends = np.array([_at_end(theory) for theory, _ in batches]).T
    right.plot(ratios, ends, color="black", linestyle="", zorder=4, **BAR)
    along = np.array([0.6 * ratios.min(), 1.7 * ratios.max()])
    right.plot(along, ends[ratios.argmin()] * along / ratios.min(), **GUIDE)
    right.annotate(r"$\propto h/N$", (0.52, 0.62), xycoords="axes fraction", ha="right", color="0.35")
    left.set(yscale="log", xlim=(0, times[-1]), ylim=(0.2 * ends.min(), 2 * _distance(results["flow"])[0]))
    left.set(xlabel="time $t$ (steps × $h$)", ylabel=r"$|\mu_1-\nu_1|^2$ (dimensionless)", title="along descent")
    right.set(xscale="log", yscale="log", xlim=along, xlabel="step / batch size $h/N$", title="at the end")
    letters((left, right))
    handles.append(simulated(label=rf"descent in $\mathbb{{R}}^{{{dimension}}}$"))
    handles.append(Line2D([], [], color="black", linestyle="", **BAR, label="closed equations, in (b)"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    batches, problem = _batches(results), problem_of(results["flow"])
    u, v = problem.target.variances[0], problem.family.variances[0]
    sentences = [
        f"Descent of KL(q‖p) with N fresh samples of each component behind each step of h, d = {problem.dimension}, "
        f"learning {' and '.join(problem.family.learn)}; variances are {v:g} in q and {u:g} in p, so that the noise of "
        "the gradient does not vanish at a mode",
        "(a) Squared distance of the first component to its mode, in units in which a component of q has variance 1. "
        "Lines: closed equations of the steps (flow.batch). Dotted: the gradient flow, which has no noise and reaches "
        "the mode",
        f"Symbols: mean over {batches[0][1].attrs['replicas']} descents in {problem.dimension} dimensions; bars: 95 % "
        "t interval of that mean",
        f"(b) The same at t = {problem.time.end:g} against h/N; dotted: proportional to it, through the lowest line",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Squared distances at a quarter, half and the end of the time axis, with standard errors of the simulated."""
    _batches(results)
    last = results["flow"].sizes["time"] - 1
    at = [last // 4, last // 2, last]
    out: dict[str, Any] = {"time": results["flow"]["time"].values[at].tolist()}
    for role, ds in results.items():
        out[role] = {"distance": _distance(ds)[at].tolist()}
        if "s_se" in ds:
            out[role]["se"] = ds["s_se"][0, at, 0, 0].values.tolist()
    return out


def _distance(ds: xr.Dataset) -> Any:
    """|μ_1 − ν_1|² of the first start, (time,): s_11, for ν_1 is the origin."""
    return ds["s"].values[0, :, 0, 0]


def _at_end(theory: xr.Dataset) -> tuple[float, float]:
    """h/N and the squared distance at the end."""
    batch = problem_of(theory).flow.batch
    assert batch is not None
    return batch.step / batch.size, float(_distance(theory)[-1])


def _batches(results: Mapping[str, xr.Dataset]) -> list[tuple[xr.Dataset, xr.Dataset]]:
    """Theory and simulation of each batch, after a look at all results."""
    for role, ds in results.items():
        problem = problem_of(ds)
        if problem.target.c[0, 0] != 0:
            raise ResultError(f"{role}: target.means: the first must be zero, the origin")
        if (problem.flow.batch is None) != (role == "flow"):
            raise ResultError(f"{role}: must have {'no ' if role == 'flow' else ''}flow.batch")
    return [(ds, results[role.replace("theory", "simulation")]) for role, ds in results.items() if "theory" in role]
