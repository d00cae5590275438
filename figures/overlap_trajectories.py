"""Overlaps, weights, mode masses and objective along the flow: theory over simulation, from two starts of one problem.

Lines are the closed equations, points and bands the particles in R^d. It draws any problem's RUN.nc and SIM.nc: of a
problem with several starts, one that recovers all modes beside one that collapses, where there are both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.stats import t as student

from figures.files import cycle, in_style
from figures.stored import Stored
from solvers.problem import Problem
from solvers.results import problem_of

Array = NDArray[np.float64]

RESULTS = {
    "theory": Stored("solve", "overlap_trajectories.toml", {"rtol": 1e-8, "atol": 1e-10}),
    "simulation": Stored(
        "simulate",
        "overlap_trajectories.toml",
        {"particles": 256, "replicas": 32, "step": 0.01},
        quick={"particles": 128, "replicas": 32, "step": 0.05},
    ),
}

COLUMNS = 2  # starts side by side
POINTS = 16  # of the simulation, along the time axis
CONFIDENCE = 0.95


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw one column for each of at most two starts, with four rows.

    Takes
        theory: a RUN.nc; simulation: a SIM.nc of the same problem, with standard errors over replicas.
    Returns
        Figure of double-column width. Rows: m_kl/R² with R = max_l |ν_l|; w_k; mode masses; objective in nats.
    Raises
        ValueError if the two are not results of one problem, or no start reached the end in both.
    """
    theory, simulation = results["theory"], results["simulation"]
    problem, samples = _problem(theory, simulation), drawn(theory, simulation)
    rows = list(_rows(problem))
    figure = Figure(figsize=(3.5 * len(samples) if len(samples) > 1 else 4.2, 1.45 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(samples), sharex=True, sharey="row", squeeze=False)
    quantile = student.ppf((1 + CONFIDENCE) / 2, simulation.attrs["replicas"] - 1)
    for column, sample in enumerate(samples):
        axes[0, column].set_title(_outcome(theory.isel(sample=sample)))
        for row, ax in zip(rows, axes[:, column], strict=True):
            for curve, style in zip(row.curves, cycle(), strict=False):
                line = curve.of(theory)[sample]
                mean, error = curve.of(simulation)[sample], curve.of(simulation, "_se")[sample] * quantile
                _draw(ax, theory["time"].values, line, mean, error, simulation.attrs["replicas"], style)
            for level in row.levels:
                ax.axhline(level, color="0.45", linewidth=0.7, linestyle=(0, (1, 2)), zorder=0)
    for row, line_of_axes in zip(rows, axes, strict=True):
        line_of_axes[0].set_ylabel(row.label)
        for ax, sample in zip(line_of_axes, samples, strict=True):
            _name_curves(ax, row.curves, [curve.of(theory)[sample, -1] for curve in row.curves])
            _name_levels(ax, row.level_names)
    for number, ax in enumerate(axes.flat):
        ax.text(0.02, 0.94, f"({chr(ord('a') + number)})", transform=ax.transAxes, va="top", fontweight="bold")
    for ax in axes[-1]:
        ax.set_xlabel("time of the flow $t$ (dimensionless)")
        ax.set_xlim(0, theory["time"].values[-1])
    figure.legend(handles=list(_legend(problem, simulation)), loc="outside upper center", ncols=3)
    return figure
