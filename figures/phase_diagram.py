"""Where two components with learned weights lose a mode, and how: separation against the scale of the starts.

Colours are a sweep of the closed equations, circles in the same colours are particles in R^d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from figures.drawing import MAP, R_LABEL, SCALE_LABEL, frequency, letters
from figures.files import in_style
from figures.stored import Along, Simulate, Stored
from figures.stores import Swept, check_grid
from solvers.reopen import problem_of

RESULTS: Mapping[str, Stored] = {
    "theory": Swept(
        "phase_diagram.toml",
        changes={"problem": {"time": {"end": 40.0}}},  # that of the simulation: some starts recover later
        quick={
            "problem": {"init": {"samples": 200}},
            "grid": {"target.separation": {"count": 21}, "init.scale": {"count": 13}},
        },
    ),
    "simulation": Along(
        Simulate(
            "collapse_simulation.toml",
            {"particles": 32, "replicas": 2, "step": 0.05},
            quick={"particles": 32, "replicas": 2, "step": 0.1},
            changes={"family.learn": ["means", "weights"]},
        ),
        grid={"target.separation": [1.8, 2.5, 3.5, 4.5, 5.5], "init.scale": [0.018, 0.056, 0.18, 0.56]},
        quick={"target.separation": [2.0, 3.5, 5.0], "init.scale": [0.02, 0.1, 0.5]},
        keep=("collapsed", "aligned", "vanished", "status"),
    ),
}

R, SCALE = "target.separation", "init.scale"
PANELS = {
    "collapsed": "a mode is lost",
    "aligned": "... by means at one mode",
    "vanished": "a weight vanishes",
}


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the probabilities of collapse, of collapse with aligned means, and of a vanishing weight.

    Takes  theory: a sweep in separation and scale; simulation: of some points of it.
    Raises  ResultError if a result lacks a key.
    """
    theory, simulation = _checked(results)
    figure = Figure(figsize=(7.0, 2.75), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    r, scale = theory[R].values, theory[SCALE].values
    for ax, (name, title) in zip(panels, PANELS.items(), strict=True):
        image = ax.pcolormesh(
            r, scale, theory[name].transpose(SCALE, R).values, cmap=MAP, vmin=0, vmax=1, shading="nearest",
            rasterized=True,
        )  # fmt: skip
        share = frequency(simulation.transpose(SCALE, R, ...), name)[0]
        at = np.meshgrid(simulation[R].values, simulation[SCALE].values)
        ax.scatter(*at, c=share, s=34, cmap=MAP, vmin=0, vmax=1, edgecolors="white", linewidths=0.9, zorder=3)
        ax.set(title=title, yscale="log", xlabel=R_LABEL)
        # The half cells beyond the outermost points are no results.
        ax.set(xlim=(r[0], r[-1]), ylim=(scale[0], scale[-1]))
    panels[0].set_ylabel(SCALE_LABEL)
    figure.colorbar(image, ax=panels, label="probability", pad=0.01, aspect=18)
    letters(panels)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    theory, simulation = _checked(results)
    problem, run = problem_of(theory), simulation.attrs
    sentences = [
        f"Gradient flow of KL(q‖p) in d = {problem.dimension}, two equal modes at ±R, two components, means drawn from "
        "N(0, σ₀² I), weights learned",
        f"Colours: probabilities over {int(theory['samples'].max())} starts at each of "
        f"{theory['samples'].size} points, "
        f"from the closed equations at t = {problem.time.end:g}, the same random numbers at all points",
        "(a) Some mode has less than half its mass. (b) So it does, and both components of weight ≥ 0.01 are "
        "at one mode. "
        "(c) A weight is below 0.01",
        f"Circles: the same of {simulation.sizes['sample']} starts simulated in {problem.dimension} dimensions to t = "
        f"{problem_of(simulation).time.end:g}, {run['replicas']} replicas each with {run['particles']} fresh "
        "particles a "
        f"component at each step of {run['step']:g}; one share has a standard error of up to "
        f"{0.5 / np.sqrt(simulation.sizes['sample']):.2g}",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Probabilities at every point, of theory and simulation."""
    theory, simulation = _checked(results)
    out: dict[str, Any] = {"R": theory[R].values.tolist(), "scale": theory[SCALE].values.tolist()}
    out["simulated"] = {"R": simulation[R].values.tolist(), "scale": simulation[SCALE].values.tolist()}
    for name in PANELS:
        share = frequency(simulation.transpose(SCALE, R, ...), name)[0]
        out[name] = {"theory": theory[name].transpose(SCALE, R).values.tolist(), "simulation": share.tolist()}
    return out


def _checked(results: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, xr.Dataset]:
    check_grid(results, R, SCALE)
    return results["theory"], results["simulation"]
