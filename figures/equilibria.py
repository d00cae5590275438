"""Equilibria of two components with equal, fixed weights against the separation of two modes, and how stable they are.

Left the positions of the two means along the line of the modes, right the largest growth rate of a small deviation;
solid where all deviations decay. Special points are those that the continuation found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from figures.files import in_style
from figures.stored import Continuation, Stored
from solvers.results.errors import ResultError

Array = NDArray[np.float64]

_ALONG = {"key": "target.separation", "low": 1.0, "high": 4.0, "step": 0.05}

RESULTS: Mapping[str, Stored] = {
    "centre": Continuation("equilibria_centre.toml", _ALONG | {"follow": 0.0, "branches": 3}),
    "pair": Continuation("equilibria_pair.toml", _ALONG | {"follow": 1000.0, "branches": 1}),
    "recovered": Continuation("equilibria_recovered.toml", _ALONG | {"follow": 0.0, "branches": 1}),
}

NAMES = {
    "recovered": "one component at each mode",
    "pair": "pair at one mode, and the edge to it",
    "centre": "components coincide",
}
SPECIAL = {1: ("s", "fold"), 2: ("o", "pitchfork")}
SPLIT = (0, (4, 2))
ZERO: dict[str, Any] = {"color": "0.35", "linewidth": 0.6, "linestyle": (0, (1, 2)), "zorder": 0}


def pieces(branch: xr.Dataset) -> Iterator[tuple[slice, bool]]:
    """The parts of a branch on which its stability does not change, and whether they are stable; ends are shared."""
    count = int(branch["points"])
    stable = branch["stability"].values[:count] == 1
    regular = branch["kind"].values[:count] % 4 == 0
    # A special point is neutral itself: it takes the side of its neighbour and ends both.
    for i in np.flatnonzero(~regular):
        stable[i] = stable[max(i - 1, 0)]
    changes = np.flatnonzero(np.diff(stable)) + 1
    for start, stop in zip([0, *changes], [*changes, count], strict=True):
        yield slice(max(start - 1, 0), stop), bool(stable[start])


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the branches of three continuations in the separation R.

    Takes  centre, pair, recovered: results of solvers.equilibria.continuation for two modes.
    Raises  ResultError if a result has another target than two modes, or another key.
    """
    _check(results)
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    looks = list(matplotlib.rcParams["axes.prop_cycle"])
    colors = {label: looks[i]["color"] for i, label in enumerate(NAMES)}
    for label, color in colors.items():
        for number in range(results[label].sizes["branch"]):
            _draw(left, right, results[label].isel(branch=number), color)
    for ax in (left, right):
        ax.set_xlabel("half the distance between the modes $R$ (mode widths)")
        ax.set_xlim(results["pair"].attrs["low"], results["pair"].attrs["high"])
        ax.axhline(0, **ZERO)
    left.set_ylabel(r"position of the means $m_{k1}/R^2$")
    right.set_ylabel(r"largest growth rate (1/time of the flow)")
    for kind, name, parameter, positions, rate in special(results):
        marker: dict[str, Any] = {"marker": SPECIAL[kind][0], "linestyle": "", "color": "black", "zorder": 4}
        left.plot([parameter] * len(positions), positions, **marker)
        right.plot([parameter], [rate], **marker)
        offset = (8, 5) if kind == 1 else (8, -11)
        text = f"{name} $R={parameter:.6g}$"
        left.annotate(text, (parameter, min(positions)), offset, textcoords="offset points")
    for letter, ax in zip("ab", (left, right), strict=True):
        ax.annotate(f"({letter})", (0, 1), (1, 3), "axes fraction", "offset points")
    handles = [Line2D([], [], color=colors[label], marker="", label=name) for label, name in NAMES.items()]
    handles.append(Line2D([], [], color="black", marker="", label="stable"))
    handles.append(Line2D([], [], color="black", marker="", linestyle=SPLIT, label="unstable"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    _check(results)
    found = "; ".join(f"{name} at R = {parameter:.8g}" for _, name, parameter, _, _ in special(results))
    sentences = [
        "Equilibria of the gradient flow of KL(q‖p), two components of equal fixed weight and unit width, target of "
        "two equal modes at ±R of unit width",
        "Followed by pseudo-arclength continuation with the exact Jacobian",
        f"Special points: {found}",
        "Solid: every deviation decays, also those off the line of the modes; dashed: they do not",
        "(a) Overlap of each mean with the first mode in units of R². (b) Largest eigenvalue without rotations",
        "The pair at the other mode is the mirror image of the one drawn",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Special points, and both ends of every branch: separation, overlaps, largest growth rate."""
    out: dict[str, Any] = {
        "special": [[name, parameter, *positions, rate] for _, name, parameter, positions, rate in special(results)]
    }
    for label in NAMES:
        for number in range(results[label].sizes["branch"]):
            branch = results[label].isel(branch=number)
            ends = [0, int(branch["points"]) - 1]
            out[f"{label} {number}"] = {
                "R": branch["parameter"].values[ends].tolist(),
                "m": branch["m"].values[ends, :, 0].tolist(),
                "rate": branch["eigenvalue"].values[ends, 0].tolist(),
            }
    return out


def special(results: Mapping[str, xr.Dataset]) -> list[tuple[int, str, float, list[float], float]]:
    """Kind, name, separation, positions of the means, largest growth rate of folds and pitchforks."""
    out = []
    for label in NAMES:
        result = results[label]
        for b, i in zip(*np.nonzero(np.isin(result["kind"].values, list(SPECIAL))), strict=True):
            kind, at = int(result["kind"][b, i]), float(result["parameter"][b, i])
            positions = (result["m"][b, i].values[:, 0] / at**2).tolist()
            out.append((kind, SPECIAL[kind][1], at, positions, float(result["eigenvalue"][b, i, 0])))
    return out


def _draw(left: Axes, right: Axes, branch: xr.Dataset, color: str) -> None:
    separation, rate = branch["parameter"].values, branch["eigenvalue"].values[:, 0]
    positions = branch["m"].values[..., 0] / separation[:, None] ** 2
    for part, stable in pieces(branch):
        style: dict[str, Any] = {"color": color, "marker": "", "linestyle": "-" if stable else SPLIT}
        for k in range(positions.shape[1]):
            left.plot(separation[part], positions[part, k], **style)
        right.plot(separation[part], rate[part], **style)


def _check(results: Mapping[str, xr.Dataset]) -> None:
    for label in NAMES:
        if results[label].sizes["mode"] != 2 or results[label].attrs["key"] != "target.separation":
            raise ResultError(f"{label}: must be a continuation of two modes in target.separation")
