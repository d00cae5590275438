"""Coverage of six modes while a prior learns: one Gaussian, ten from the beginning, and ten added one by one.

Each line is a start of the theory, symbols are simulations in R^d from the same starts. Beside them are the masses on
the six modes at the end, sorted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

from figures.drawing import GUIDE, POINT, letters, looks, simulated
from figures.files import in_style
from figures.stored import Simulate, Solve, Stored
from solvers.reopen import problem_of
from solvers.results.outcomes import COLLAPSED_BELOW, mode_mass_distance

Array = NDArray[np.float64]

_OPTIONS = {"rtol": 1e-3, "atol": 1e-4}  # the gradient is that of some hundred paths


def _fixed(components: int) -> dict[str, Any]:
    sampler = {"method": "cmcd", "steps": 0, "paths": 600}
    return {"family.components": components, "family.variances": 1.0, "sampler": sampler}


_PARTICLES = {"particles": 600, "replicas": 4, "step": 0.2}
_QUICK = {"particles": 600, "replicas": 2, "step": 0.4}
_CHANGES: Mapping[str, dict[str, Any]] = {"one": _fixed(1), "fixed": _fixed(10), "growing": {}}

RESULTS: Mapping[str, Stored] = {
    **{role: Solve("refinement.toml", _OPTIONS, changes=changes) for role, changes in _CHANGES.items()},
    **{
        f"simulated_{role}": Simulate("refinement.toml", _PARTICLES, quick=_QUICK, changes=changes)
        for role, changes in _CHANGES.items()
    },
}
EVERY = 4  # save points between the symbols of simulations
LABELS = {"one": "$K=1$", "fixed": "$K=10$ from the beginning", "growing": "growing, $K=1$ to 10"}


def distance(result: xr.Dataset) -> Array:
    """KL(π̂‖π) in nats, (sample, time)."""
    return mode_mass_distance(result["mode_mass"].values, problem_of(result).target.weights)


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the distance of mode masses along learning, and the masses at the end.

    Takes  one, fixed, growing: samplers that learn the prior of one target; simulated_one, ...: the same in R^d.
    """
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1.0))
    for number, (look, (role, label)) in enumerate(zip(looks(len(LABELS)), LABELS.items(), strict=True)):
        ds, color = results[role], look["color"]
        dash = ("--", "-.", "-")[number]
        for i, curve in enumerate(distance(ds)):
            left.plot(
                ds["time"], curve, color=color, linestyle=dash, marker="", linewidth=1.0, label=label if not i else None
            )
        simulation = results[f"simulated_{role}"].isel(time=slice(EVERY, None, EVERY))
        for curve, error in zip(simulation["coverage"].values, simulation["coverage_se"].values, strict=True):
            left.errorbar(simulation["time"], curve, error, color=color, fmt=look["marker"], linestyle="", **POINT)
        masses = -np.sort(-ds["mode_mass"].values[:, -1], axis=-1)
        ranks = np.arange(masses.shape[1]) + 1
        for i, row in enumerate(masses):
            offset = (number - 1) * 0.22 + (i - (len(masses) - 1) / 2) * 0.03
            right.plot(
                ranks + offset, row, color=color, marker=look["marker"], linestyle="", markerfacecolor="white",
                markeredgewidth=0.8,
            )  # fmt: skip
    problem = problem_of(results["growing"])
    pi = problem.target.weights
    options = problem.sampler
    assert options is not None
    assert options.refine is not None
    added = options.refine.every * np.arange(1, options.refine.until)
    top = left.get_ylim()[1]
    left.plot(
        added, np.full(len(added), top), color="black", linestyle="", marker="v", clip_on=False, label="component added"
    )
    left.set(xlabel="time of learning $t$ (dimensionless)", ylabel=r"$\mathrm{KL}(\hat\pi\Vert\pi)$ (nats)")
    left.set(xlim=(0, 1.02 * float(results["growing"]["time"].values[-1])), ylim=(-0.03, top))
    right.axhline(float(pi[0]), **GUIDE)
    right.axhline(COLLAPSED_BELOW * float(pi[0]), **GUIDE)
    right.set_yscale("symlog", linthresh=0.01)
    right.set(
        xlabel="modes by mass", ylabel=r"mass $\hat\pi_l$ at the end", xticks=range(1, len(pi) + 1), ylim=(-0.001, 1.2)
    )
    right.annotate(r"$\pi_l$", (1, float(pi[0])), (4, 0), ("axes fraction", "data"), "offset points", va="center")
    right.annotate(
        r"$\pi_l/2$",
        (1, COLLAPSED_BELOW * float(pi[0])),
        (4, 0),
        ("axes fraction", "data"),
        "offset points",
        va="center",
    )
    letters((left, right))
    handles = [
        *left.get_legend_handles_labels()[0],
        simulated(label=f"simulation in $\\mathbb{{R}}^{{{problem.dimension}}}$"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, columnspacing=1.4)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    growing, run = results["growing"], results["simulated_growing"].attrs
    problem = problem_of(growing)
    options = problem.sampler
    assert options is not None
    assert options.refine is not None
    lost = {role: int((results[role]["collapsed"].values == 1).sum()) for role in LABELS}
    sentences = [
        "Prior of a sampler without steps (log weights of the prior itself), learned by the reverse KL with means and "
        f"weights, d = {problem.dimension}; target: six equal modes on a ring of radius "
        f"{problem.target.c[0, 0] ** 0.5:g}; "
        f"{growing.sizes['sample']} starts",
        "(a) KL of the mode masses to those of the target, a line a start. Growing: every "
        f"{options.refine.every:g} units of time a component of weight {options.refine.weight:g} where log p "
        "− log φ is "
        f"largest among {options.refine.candidates} points of short MALA chains; the first one has variance "
        f"{problem.family.variances[0]:g}, the others 1",
        f"Symbols: means of {run['replicas']} simulations from each start, {run['particles']} paths in d dimensions at "
        f"each Euler step of {run['step']:g} and, freed of bias, behind each symbol; bars: standard errors",
        "(b) Mode masses at the end of the theory, largest first",
        "Some mode has less than half its mass in " + ", ".join(f"{lost[role]} ({role})" for role in LABELS)
        + f" of {growing.sizes['sample']} starts",
        f"Masses are averages over {options.paths} samples",
    ]  # fmt: skip
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Distance of mode masses at a quarter, half and the end, masses at the end, starts that lost a mode; simulated."""
    out: dict[str, Any] = {}
    for role in LABELS:
        ds = results[role]
        last = ds.sizes["time"] - 1
        at = [last // 4, last // 2, last]
        out[role] = {
            "time": ds["time"].values[at].tolist(),
            "distance": distance(ds)[:, at].tolist(),
            "mode_mass": ds["mode_mass"].values[:, -1].tolist(),
            "collapsed": ds["collapsed"].values.tolist(),
        }
        simulation = results[f"simulated_{role}"].isel(time=at)
        out[f"simulated_{role}"] = {
            "distance": simulation["coverage"].values.tolist(),
            "distance_se": simulation["coverage_se"].values.tolist(),
        }
    return out
