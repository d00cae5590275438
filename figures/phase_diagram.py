"""Where two components with learned weights lose a mode by t = 40, and how: separation against the scale of the starts.

Above a sweep of the closed equations, by mechanism; below how far particles in R^d are from it, in standard errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.drawing import MAP, letters, weight_rule
from figures.files import in_style
from figures.stored import Along, Simulate, Stored
from figures.stores import Swept, check_grid
from solvers.reopen import problem_of
from solvers.results.mechanisms import LABELS

Array = NDArray[np.float64]

RESULTS: Mapping[str, Stored] = {
    "theory": Swept(
        "phase_diagram.toml",
        # The time is that of the simulation: some starts recover later.
        changes={"problem": {"time": {"end": 40.0}}, "output": {"quantities": ["collapsed", "collapse"]}},
        quick={
            "problem": {"init": {"samples": 200}},
            "grid": {"target.separation": {"count": 21}, "init.scale": {"count": 13}},
        },
    ),
    # At points of the sweep.
    "simulation": Along(
        Simulate(
            "collapse_simulation.toml",
            {"particles": 256, "replicas": 2, "step": 0.05},
            quick={"particles": 128, "replicas": 2, "step": 0.1},
            changes={"family.learn": ["means", "weights"]},
        ),
        grid={"target.separation": [1.75, 2.5, 3.5, 4.5, 5.5], "init.scale": [0.01778, 0.05623, 0.1778, 0.5623]},
        quick={"target.separation": [2.0, 3.5, 5.0], "init.scale": [0.02154, 0.1, 0.4642]},
        keep=("replica_collapse", "status"),
    ),
}

R, SCALE = "target.separation", "init.scale"
MECHANISMS = ("aligned", "vanished", "straddling")  # all there are of two components and two modes
PANELS = {
    "collapsed": "a mode is lost",
    "aligned": "= aligned",
    "vanished": "+ vanished",
    "straddling": "+ straddling",
}
MOST = 6.0  # standard errors, the end of the colours


def probability(theory: xr.Dataset, name: str) -> xr.DataArray:
    """P(collapsed at t), or the part of it by one mechanism, at rest or not: (scale, R)."""
    if name == "collapsed":
        return theory[name].transpose(SCALE, R)
    words = [word for word in theory["label"].values.tolist() if word.split("_")[0] == name]
    return theory["collapse"].sel(label=words).sum("label", skipna=True).transpose(SCALE, R)


def share(simulation: xr.Dataset, name: str) -> Array:
    """The same of single replicas of the simulated starts: (scale, R)."""
    codes = simulation["replica_collapse"].transpose(SCALE, R, ...).values
    kinds = {code: word.split("_")[0] for code, word in LABELS["collapse"].names.items()}
    chosen = [code for code, kind in kinds.items() if kind == name or (name == "collapsed" and kind in MECHANISMS)]
    return np.asarray(np.isin(codes, chosen).sum((-2, -1)) / (codes >= 0).sum((-2, -1)))


def difference(theory: xr.Dataset, simulation: xr.Dataset, name: str) -> Array:
    """Simulation minus theory in standard errors of so many starts on both sides: (scale, R), 0 where both are sure.

    Replicas of a start are not independent, so they count as one start.
    """
    expected = probability(theory, name).sel({R: simulation[R], SCALE: simulation[SCALE]}, method="nearest")
    found, n, m = share(simulation, name), simulation.sizes["sample"], int(theory["samples"].max())
    pooled = (n * found + m * expected.values) / (n + m)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return np.asarray(np.divide(found - expected.values, error, out=np.zeros_like(found), where=error > 0))


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw P(collapsed at t) and its parts by mechanism; below, how far simulations are from each.

    Takes  theory: a sweep in separation and scale; simulation: of some points of it.
    Raises  ResultError if a result lacks a key.
    """
    theory, simulation = _checked(results)
    figure = Figure(figsize=(7.0, 4.1), layout="constrained")
    above, below = figure.subplots(2, len(PANELS), sharex=True, sharey=True)
    r, scale = theory[R].values, theory[SCALE].values
    at = np.meshgrid(simulation[R].values, simulation[SCALE].values)
    for top, bottom, (name, title) in zip(above, below, PANELS.items(), strict=True):
        colours: dict[str, Any] = {"cmap": MAP, "vmin": 0, "vmax": 1, "shading": "nearest", "rasterized": True}
        image = top.pcolormesh(r, scale, probability(theory, name).values, **colours)
        # The half cells beyond the outermost points are no results.
        top.set(title=title, yscale="log", xlim=(r[0], r[-1]), ylim=(scale[0], scale[-1]))
        gap = difference(theory, simulation, name)
        marks = bottom.scatter(
            *at, c=gap, s=190, marker="s", cmap="RdBu_r", vmin=-MOST, vmax=MOST, edgecolors="0.6", linewidths=0.4
        )
        for x, y, z in zip(*(values.ravel() for values in (*at, gap)), strict=True):
            color = "white" if abs(z) > 0.6 * MOST else "black"
            bottom.annotate(f"{z:.1f}", (x, y), ha="center", va="center", fontsize=6, color=color)
        for ax in (top, bottom):
            ax.set_xlabel("half distance $R$")
    figure.supylabel(r"scale of the starts $\sigma_0$ (mode widths)", fontsize=8.5)
    figure.colorbar(image, ax=above, label=f"probability at $t={problem_of(theory).time.end:g}$", pad=0.01, aspect=12)
    label = "simulation − theory\n(standard errors)"
    figure.colorbar(marks, ax=below, label=label, pad=0.01, aspect=12)
    letters((*above, *below))
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    theory, simulation = _checked(results)
    problem, run = problem_of(theory), simulation.attrs
    furthest = max(float(np.abs(difference(theory, simulation, name)).max()) for name in PANELS)
    sentences = [
        f"Gradient flow of KL(q‖p) in d = {problem.dimension}, two equal modes at ±R, two components, means drawn from "
        f"N(0, σ₀² I), learning means and {weight_rule(problem)}",
        f"Above: probabilities at t = {problem.time.end:g}, after which some starts recover, over "
        f"{int(theory['samples'].max())} starts at each of {theory['samples'].size} points, from the closed equations, "
        "the same random numbers at all points",
        "(a) Some mode has less than half its mass. (b–d) The part of it by each mechanism; they add up to (a). "
        "The lost mode's component is aligned with the other on the other mode; has vanished, its weight below 0.01 or "
        "too little; is straddling both",
        f"Below: the same of {simulation.sizes['sample']} starts simulated in {problem.dimension} dimensions to t = "
        f"{problem_of(simulation).time.end:g}, {run['replicas']} replicas each, every one judged by itself, minus the "
        f"theory, in standard errors of so many starts; the furthest is {furthest:.1f}. {run['particles']} fresh "
        f"particles a component at each step of {run['step']:g} are noise that the theory has not: where it decides, "
        "the difference is real",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Probabilities at every point, of theory and simulation, and their difference in standard errors."""
    theory, simulation = _checked(results)
    out: dict[str, Any] = {"R": theory[R].values.tolist(), "scale": theory[SCALE].values.tolist()}
    out["t"] = problem_of(theory).time.end
    out["simulated"] = {"R": simulation[R].values.tolist(), "scale": simulation[SCALE].values.tolist()}
    for name in PANELS:
        out[name] = {
            "theory": probability(theory, name).values.tolist(),
            "simulation": share(simulation, name).tolist(),
            "difference": difference(theory, simulation, name).tolist(),
        }
    return out


def _checked(results: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, xr.Dataset]:
    check_grid(results, R, SCALE)
    return results["theory"], results["simulation"]
