"""How the gap between theory and simulation shrinks: with particles, with the Euler step, and not with the dimension.

Points are particle simulations; lines are fits of the power laws that theory and simulation must obey if they agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

from figures.files import in_style
from figures.stored import Scaling, Stored
from solvers.reopen import problem_of
from solvers.verdict.scaling import exponent, line_of, series

Array = NDArray[np.float64]

_DIMENSIONS = [4, 16, 64, 256, 1024, 4096]
_PARTICLES, _STEPS = [16, 64, 256, 1024, 4096], [0.4, 0.2, 0.1, 0.05, 0.025]
_QUICK: dict[str, Any] = {"particles": _PARTICLES[:4], "steps": _STEPS, "dimensions": _DIMENSIONS[:5], "many": 2048}

RESULTS: Mapping[str, Stored] = {
    "equal": Scaling(
        "agreement_scaling.toml",
        {"particles": _PARTICLES, "steps": _STEPS, "dimensions": _DIMENSIONS, "many": 16384},
        quick=_QUICK,
    ),
    "unequal": Scaling(
        "agreement_scaling_unequal.toml",
        {"dimensions": _DIMENSIONS},
        quick={"dimensions": _DIMENSIONS[:5]},
    ),
}

#: Drawn of the entries: those whose bias is largest, and one of each kind.
ENTRIES = ("s[0,1]", "m[0,1]", "w[0]")
NAMES = {"s[0,1]": "$s_{12}$", "m[0,1]": "$m_{12}$", "w[0]": "$w_1$", "s[0,0]": "$s_{11}$"}
GROWS = "s[0,0]"  # of the problem with v ≠ u: the squared length of a mean, to which noise in all d directions adds
CONFIDENCE = 0.95
GUIDE: dict[str, Any] = {"color": "0.45", "linewidth": 0.8, "linestyle": (0, (4, 2)), "marker": "", "zorder": 0}


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw three panels: spread over particles, bias over the step, spread and bias over the dimension.

    Takes
        equal: a scaling along all three lines; unequal: one along the dimension, of a problem with v ≠ u.
    Returns
        Figure, as wide as a journal's page.
    """
    equal = results["equal"]
    figure = Figure(figsize=(7.0, 2.75), layout="constrained")
    panels = figure.subplots(1, 3)
    looks = list(matplotlib.rcParams["axes.prop_cycle"])
    for look, entry in zip(looks, ENTRIES, strict=False):
        n, spread, _, _ = line_of(equal, "particles", entry)
        _points(panels[0], n, spread, _of_spread(equal, spread), look, NAMES[entry])
        h, _, bias, error = line_of(equal, "step", entry)
        _points(panels[1], h, np.abs(bias), error, look, NAMES[entry])
        d, spread, _, _ = line_of(equal, "dimension", entry)
        _points(panels[2], d, spread, _of_spread(equal, spread), look, NAMES[entry])
        _guide(panels[0], n, spread_at(equal, "particles", entry))
        _guide(panels[1], h, abs(series(h, bias, error, (1, 2))[0][0]) * h)
        panels[2].axhline(float(np.exp(np.log(spread).mean())), **GUIDE)
    d, _, bias, error = line_of(results["unequal"], "dimension", GROWS)
    (_, growth), _ = series(d, bias, error, (0, 1))
    shown = bias > error  # of both signs below; a logarithmic axis has one
    grey = {"color": "0.3", "marker": "x"}
    _points(panels[2], d[shown], bias[shown], error[shown], grey, f"bias of {NAMES[GROWS]}, $v\\neq u$")
    _guide(panels[2], d[shown], growth * d[shown])
    panels[0].set_ylabel("standard deviation of a run")
    panels[1].set_ylabel("|simulation − closed equations|")
    panels[2].set_ylabel("standard deviation, or bias")
    for ax, label in zip(
        panels, ("particles $n$ a component and step", "Euler step $h$", "dimension $d$"), strict=True
    ):
        ax.set(xscale="log", yscale="log", xlabel=label)
    panels[1].set_xticks(h, [f"{step:g}" for step in h])
    panels[1].minorticks_off()
    panels[0].annotate(r"$\propto n^{-1/2}$", (0.93, 0.9), xycoords="axes fraction", ha="right")
    panels[1].annotate(r"$\propto h$", (0.07, 0.9), xycoords="axes fraction")
    panels[2].set_ylim(top=panels[2].get_ylim()[1] * 12)
    for number, ax in enumerate(panels):
        ax.annotate(f"({chr(ord('a') + number)})", (0, 1), (1, 3), "axes fraction", "offset points")
    panels[0].legend(loc="lower left", handlelength=1)
    panels[2].legend(loc="upper left", handlelength=1, ncols=2, columnspacing=0.8)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    run, found = results["equal"].attrs, numbers(results)
    problem = problem_of(results["equal"])

    def told(line: str) -> str:
        rows = found["exponents"][line]
        return ", ".join(f"{entry} {rows[entry][0]:.3f} ± {rows[entry][1]:.3f}" for entry in ENTRIES)

    sentences = [
        f"State at t = {problem.time.end:g} of the gradient flow of KL(q‖p), K = L = 2, weights learned, one start",
        f"Points: {run['replicas']} replicas of the particle simulation; bars: one standard error",
        f"(a) Standard deviation of a run against the particles, h = {run['at_step']:g}, d = {problem.dimension}; "
        f"fitted exponents {told('particles')}",
        f"(b) Distance of the mean of all replicas from the closed equations against the Euler step, {run['many']} "
        f"particles; exponents at h → 0, fitted with a correction of second order, {told('step')}; dashed: a h, from "
        "the fit a h + b h²",
        f"(c) Standard deviation against the dimension at the same overlaps, {run['at_particles']} particles, "
        f"h = {run['at_step']:g}, v = u; fitted exponents {told('dimension')}",
        "Crosses: where v ≠ u the gradient noise fills all d directions and the squared length of a mean grows by an "
        f"amount proportional to h d/n, here ({found['growth'][0]:.2e} ± {found['growth'][1]:.1e}) d: noise of the "
        "simulation, and no failure of the theory",
        f"Intervals: {CONFIDENCE * 100:g} %",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Exponents of the drawn entries along each line, and growth with d at v ≠ u; with half their 95 % intervals."""
    equal = results["equal"]
    width = float(norm.isf((1 - CONFIDENCE) / 2))
    exponents: dict[str, dict[str, list[float]]] = {"particles": {}, "step": {}, "dimension": {}}
    for entry in ENTRIES:
        for line in exponents:
            x, spread, bias, error = line_of(equal, line, entry)
            if line == "step":
                fit = exponent(x, bias, error, correction=True)
            else:
                fit = exponent(x, spread, _of_spread(equal, spread))
            exponents[line][entry] = [fit[0], width * fit[1]]
    x, _, bias, error = line_of(results["unequal"], "dimension", GROWS)
    growth, growth_error = series(x, bias, error, (0, 1))
    return {"exponents": exponents, "growth": [float(growth[1]), width * float(growth_error[1])]}


def spread_at(found: xr.Dataset, line: str, entry: str) -> Array:
    """The power law −1/2 through the middle of the points of a line."""
    x, spread, _, _ = line_of(found, line, entry)
    return np.asarray(np.exp(np.mean(np.log(spread * np.sqrt(x)))) / np.sqrt(x))


def _of_spread(found: xr.Dataset, spread: Array) -> Array:
    """The standard error of a standard deviation over replicas, if they are normal."""
    return np.asarray(spread / np.sqrt(2 * (int(found.attrs["replicas"]) - 1)))


def _points(ax: Axes, x: Array, y: Array, error: Array, look: Mapping[str, Any], name: str) -> None:
    filled: dict[str, Any] = {} if look["marker"] == "x" else {"markerfacecolor": "white"}
    ax.errorbar(
        x, y, error, fmt=look["marker"], color=look["color"], label=name, elinewidth=0.8, markeredgewidth=0.8, **filled
    )


def _guide(ax: Axes, x: Array, y: Array) -> None:
    """A dashed line: a power law, straight on logarithmic axes."""
    ax.plot(x, y, **GUIDE)
