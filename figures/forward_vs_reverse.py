"""One problem, one word changed: two components lose a mode under the reverse KL, cover both under the forward KL.

Lines are the closed equations, points particles in R^d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import GUIDE, POINT, interval, letters, looks, simulated
from figures.files import in_style
from figures.stored import Simulate, Solve, Stored
from solvers.reopen import problem_of
from solvers.results.errors import ResultError

_FILE = "forward_vs_reverse.toml"
_FORWARD = {"flow.objective": "forward-kl"}
_SIMULATION = {"particles": 64, "replicas": 32, "step": 0.02}

RESULTS: Mapping[str, Stored] = {
    "reverse": Solve(_FILE),
    "reverse_simulation": Simulate(_FILE, _SIMULATION),
    "forward": Solve(_FILE, changes=_FORWARD),
    "forward_simulation": Simulate(_FILE, _SIMULATION, changes=_FORWARD),
}

TITLES = {"reverse": r"reverse, $\mathrm{KL}(q\Vert p)$", "forward": r"forward, $\mathrm{KL}(p\Vert q)$"}
LOST = 1  # the mode that the components begin away from
EVERY = 4  # save times between two points


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the overlaps of both components with a mode for each objective, and the mass on the other mode for both.

    Takes  reverse, forward: the closed equations; reverse_simulation, forward_simulation: the same in R^d.
    Raises  ResultError if a result has another objective than its name says, or other sizes than two and two.
    """
    _check(results)
    figure = Figure(figsize=(7.0, 2.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for ax, (role, title) in zip(panels, TITLES.items(), strict=False):
        for k, (look, dash) in enumerate(zip(looks(2), ("-", "--"), strict=True)):
            _draw(ax, results, role, "m", {"component": k, "mode": 0}, look, dash)
        for level in (1, -1):
            ax.axhline(level, **GUIDE)
        ax.set(title=title, ylim=(-1.2, 1.2))
    panels[0].set_ylabel(r"overlap $\mu_k\cdot\nu_1/R^2$")
    for (role, title), look, dash in zip(TITLES.items(), looks(4)[2:], ("-", "--"), strict=True):
        _draw(panels[2], results, role, "mode_mass", {"mode": LOST}, look, dash)
        end = float(results[role]["mode_mass"][0, -1, LOST])
        where = (0.97, end), (0, 5), ("axes fraction", "data"), "offset points"
        panels[2].annotate(title, *where, ha="right", color=look["color"])
    panels[2].axhline(float(problem_of(results["reverse"]).target.weights[LOST]), **GUIDE)
    panels[2].set(title="the other mode", ylabel=r"mass $\hat\pi_2$", ylim=(-0.02, 0.62))
    for ax in panels:
        ax.set(xlabel="time $t$ (dimensionless)", xlim=(0, float(results["reverse"]["time"][-1])))
    letters(panels)
    (first, second) = looks(2)
    handles = [
        Line2D([], [], color=first["color"], marker="", label="closed equations, component 1"),
        Line2D([], [], color=second["color"], marker="", linestyle="--", label="component 2"),
        simulated(label=rf"simulation in $\mathbb{{R}}^{{{problem_of(results['reverse']).dimension}}}$"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    _check(results)
    problem, run = problem_of(results["reverse"]), results["reverse_simulation"].attrs
    masses = [float(results[role]["mode_mass"][0, -1, LOST]) for role in TITLES]
    sentences = [
        f"Gradient flow of two components with the same start and target, R = {np.sqrt(problem.target.c[0, 0]):g}, "
        f"d = {problem.dimension}, learning {' and '.join(problem.family.learn)}; the problems differ in "
        "flow.objective alone",
        "(a, b) Overlaps of the means with the first mode; dotted: those of the two modes",
        f"(c) Mass of q on the second mode, at the end {masses[0]:.3g} (reverse) and {masses[1]:.3g} (forward); dotted:"
        " that of p",
        f"Lines: the closed equations. Points: mean over {run['replicas']} replicas in {problem.dimension} dimensions, "
        f"{run['particles']} fresh particles a component at each Euler step of {run['step']:g}; bars: 95 % t interval "
        "of that mean, without the bias of the step, often smaller than the symbol",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Overlaps (units of R²) and masses at a quarter, half and the end of the time axis, and who collapsed."""
    _check(results)
    last = results["reverse"].sizes["time"] - 1
    at = [last // 4, last // 2, last]
    out: dict[str, Any] = {"time": results["reverse"]["time"].values[at].tolist()}
    for role, ds in results.items():
        overlaps = ds["m"][0, at, :, 0].values / problem_of(ds).target.c[0, 0]
        masses = ds["mode_mass"][0, at, LOST].values
        out[role] = {"m": overlaps.tolist(), "mode_mass": masses.tolist(), "collapsed": int(ds["collapsed"][0])}
        if "m_se" in ds:
            out[role]["mode_mass_se"] = ds["mode_mass_se"][0, at, LOST].values.tolist()
    return out


def _check(results: Mapping[str, xr.Dataset]) -> None:
    for role, ds in results.items():
        problem, objective = problem_of(ds), f"{role.partition('_')[0]}-kl"
        if problem.flow.objective != objective:
            raise ResultError(f"{role}: flow.objective is {problem.flow.objective}; must be {objective}")
        if (problem.family.components, len(problem.target.c)) != (2, 2):
            raise ResultError(f"{role}: must have two components and two modes")


def _draw(
    ax: Axes, results: Mapping[str, xr.Dataset], role: str, name: str, at: Mapping[str, int], look: Any, dash: str
) -> None:
    """A line of the theory of the first start over the points of the simulation; overlaps in units of R²."""
    theory, simulation = results[role], results[f"{role}_simulation"]
    unit = problem_of(theory).target.c[0, 0] if name == "m" else 1.0
    line = theory[name].isel({"sample": 0, **at}).values / unit
    ax.plot(theory["time"], line, color=look["color"], linestyle=dash, marker="")
    some = simulation.isel(sample=0, time=slice(None, None, EVERY))
    mean, bars = some[name].isel(at).values / unit, interval(some, name).isel(at).values / unit
    ax.errorbar(some["time"], mean, bars, fmt=look["marker"], color=look["color"], **POINT)
