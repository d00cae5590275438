"""Whether annealing saves a mode: probability of collapse against the rate at which a start temperature falls to 1.

Lines are the closed equations of the tempered target, points particles in R^d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import GUIDE, INTERVAL, Array, collapse_label, frequency, letters, points, shades
from figures.files import in_style
from figures.stored import Along, Simulate, Solve, Stored
from figures.stores import check_grid
from solvers.reopen import problem_of

_FILE = "annealing.toml"
_WIDE = {"target.separation": 4.0, "init.scale": 0.5}
START, RATE = "flow.temperature.start", "flow.temperature.rate"
_STARTS = [0.5, 1.0, 2.0, 4.0, 16.0, 64.0]
_FULL = {START: _STARTS, RATE: [float(f"{rate:.6g}") for rate in np.geomspace(0.01, 10.0, 19)]}
_QUICK = {START: _STARTS, RATE: [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]}

RESULTS: Mapping[str, Stored] = {
    "small": Along(Solve(_FILE), grid=_FULL, quick=_QUICK),
    "wide": Along(Solve(_FILE, changes=_WIDE), grid=_FULL, quick=_QUICK),
    "simulation": Along(
        Simulate(
            _FILE,
            {"particles": 64, "replicas": 2, "step": 0.05},
            quick={"particles": 16, "replicas": 2, "step": 0.1},
            changes={**_WIDE, "init.samples": 100, "time.end": 40.0, "time.save": [0.0, 40.0]},
        ),
        grid={START: _STARTS, RATE: [0.1, 0.3, 1.0, 3.0]},
        quick={START: _STARTS, RATE: [0.1, 1.0]},
    ),
}

TITLES = {"small": "small starts", "wide": "wide starts, modes further apart"}
MARKERS = "so^Dvp"
DASHES: tuple[Any, ...] = ((0, (1, 1)), "-", (0, (4, 1.2)), "-.", (0, (6, 1, 1, 1, 1, 1)), "-")


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the probability of collapse against the rate, a line for each start temperature, for two problems.

    Takes  small, wide: the closed equations along start temperature and rate; simulation: that of wide at some points.
    Raises  ResultError if a result lacks a key.
    """
    check_grid(results, START, RATE)
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    panels = figure.subplots(1, 2)
    starts = results["wide"][START].values.tolist()
    colors = dict(zip(starts, shades(len(starts)), strict=True))
    for ax, (role, title) in zip(panels, TITLES.items(), strict=True):
        ds, (problem, rates) = results[role], (problem_of(results[role]), results[role][RATE].values)
        top = 0.0
        for start, dash in zip(starts, DASHES, strict=False):
            share, low, high = frequency(ds.sel({START: start}))
            if start == 1:
                ax.plot(rates, share, **GUIDE)  # no schedule at all, and what all others become at high rates
            else:
                ax.fill_between(rates, low, high, color=colors[start], alpha=0.18, linewidth=0)
                ax.plot(rates, share, color=colors[start], linestyle=dash, marker="")
            top = max(top, high.max())
        if role == "wide":
            for start, marker, beside in zip(starts, MARKERS, _beside(len(starts)), strict=False):
                found = results["simulation"].sel({START: start})
                points(ax, found[RATE].values * beside, found, marker=marker, color=colors[start])
                top = max(top, frequency(found)[2].max())
        r, scale = np.sqrt(problem.target.c[0, 0]), problem.init.scale
        ax.set(title=rf"{title}: $R={r:g}$, $\sigma_0={scale:g}$", xscale="log", xlim=(rates[0], rates[-1]))
        ax.set(xlabel="rate of the schedule (1 / unit of time)", ylim=(0, 1.08 * top))
    lines, symbols = (problem_of(results[role]).time.end for role in ("wide", "simulation"))
    panels[0].set_ylabel(collapse_label(lines, symbols))
    letters(panels)
    handles = [
        Line2D(
            [], [], **{**GUIDE, "marker": marker}, markeredgecolor=colors[start], markerfacecolor="white", label="$T=1$"
        )
        if start == 1
        else Line2D(
            [],
            [],
            color=colors[start],
            linestyle=dash,
            marker=marker,
            markerfacecolor="white",
            label=f"$T_0={start:g}$",
        )
        for start, dash, marker in zip(starts, DASHES, MARKERS, strict=False)
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=6,
        title=f"lines: closed equations, $t={lines:g}$; symbols: simulation, $t={symbols:g}$",
    )
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    check_grid(results, START, RATE)
    small, simulation = results["small"], results["simulation"]
    problem, run = problem_of(small), simulation.attrs
    sentences = [
        "Probability that gradient flow of the reverse KL leaves one of two equal modes at ±R with less than half its "
        "mass, where the target is p^(1/T) with T = 1 + (T₀ − 1) exp(−rate t); two components, means learned, "
        f"weights fixed, d = {problem.dimension}, means drawn from N(0, σ₀² I)",
        f"Lines: closed equations at t = {problem.time.end:g}, when the slowest schedule is over, "
        f"{small.sizes['sample']} starts at each point, the same "
        "along rate and T₀. Dotted: no schedule",
        f"Symbols: {simulation.sizes['sample']} starts simulated in {problem_of(simulation).dimension} dimensions to "
        f"t = {problem_of(simulation).time.end:g}, side by side at each rate, "
        f"{run['replicas']} replicas each, every one judged by itself, with {run['particles']} fresh "
        f"particles a component at each step of {run['step']:g}",
        f"Bands and bars: {INTERVAL}",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def _beside(count: int) -> Array:
    """Factors of the rate that put the symbols of one rate side by side."""
    return np.asarray(1.12 ** (np.arange(count) - (count - 1) / 2))


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Probabilities by start temperature and rate, of theory and simulation."""
    check_grid(results, START, RATE)
    out: dict[str, Any] = {}
    for role, ds in results.items():
        at = ds.transpose(START, RATE, ...)
        share, low, high = frequency(at)
        out[role] = {"start": at[START].values.tolist(), "rate": at[RATE].values.tolist(), "collapsed": share.tolist()}
        if role == "simulation":
            out[role] |= {"low": low.tolist(), "high": high.tolist()}
    return out
