"""How often two components lose a mode: against the separation for d = 4 ... 10⁶, and from small starts.

Lines are sweeps of the closed equations, points are particles in R^d, at the same t. Dotted are the powers of
the scale that the two growth rates at the centre predict.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import (
    GUIDE,
    INTERVAL,
    R_LABEL,
    SCALE_LABEL,
    collapse_label,
    frequency,
    letters,
    looks,
    points,
    shades,
    simulated,
    with_interval,
)
from figures.files import in_style
from figures.stored import Along, Continuation, Simulate, Solve, Stored
from figures.stores import Swept, check_grid
from solvers.reopen import problem_of

_BOTH: dict[str, list[Any]] = {"family.learn": [["means"], ["means", "weights"]]}
_FULL = _BOTH | {"dimension": [16, 64, 1024], "target.separation": [2.0, 2.5, 3.0, 4.0, 5.0, 6.0]}
_QUICK = _BOTH | {"dimension": [64], "target.separation": [2.5, 3.5, 5.0]}

RESULTS: Mapping[str, Stored] = {
    "theory": Swept(
        "collapse_probability.toml",
        changes={"problem": {"time": {"end": 40.0}}},  # that of the simulation: with learned weights modes come back
        quick={
            "problem": {"init": {"samples": 200}},
            "grid": {"target.separation": {"count": 21}, "dimension": [4, 16, 64, 1024, 1000000]},
        },
    ),
    "same": Along(Solve("collapse_simulation.toml"), grid=_FULL, quick=_QUICK),
    "simulation": Along(
        Simulate(
            "collapse_simulation.toml",
            {"particles": 32, "replicas": 2, "step": 0.05},
            quick={"particles": 32, "replicas": 2, "step": 0.1},
        ),
        grid=_FULL,
        quick=_QUICK,
    ),
    "small": Swept(
        "small_starts.toml",
        quick={
            "problem": {"init": {"samples": 1000}},
            "grid": {"init.scale": {"start": 0.001, "stop": 1.0, "count": 10}},
        },
    ),
    "rates": Continuation(
        "equilibria_centre.toml",
        {"key": "target.separation", "low": 2.0, "high": 4.5, "step": 0.1, "follow": 0.0, "branches": 1},
    ),
}

SMALL = 0.12  # scales up to which the power is drawn
KINDS = {'["means"]': "weights fixed", '["means", "weights"]': "weights learned (softmax)"}
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1)), "-.", (0, (6, 1, 1, 1, 1, 1)), "-")
R, D, LEARN, SCALE = "target.separation", "dimension", "family.learn", "init.scale"


def exponents(results: Mapping[str, xr.Dataset]) -> dict[float, float]:
    """By separation: the power of the scale with which collapse becomes rare.

    The difference of the means grows at the largest rate λ₁ at the centre, their sum at λ₂. A start collapses where the
    sum has become large before the difference has, a share σ₀^{λ₁/λ₂ − 1} of small starts.
    """
    branch = results["rates"].isel(branch=0)
    count = int(branch["points"])
    along, rate = branch["parameter"].values[:count], branch["eigenvalue"].values[:count, :2]
    order = np.argsort(along)
    first, second = (np.interp(results["small"][R].values, along[order], rate[order, i]) for i in (0, 1))
    return {float(r): float(a / b - 1) for r, a, b in zip(results["small"][R].values, first, second, strict=True)}


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw P against R with weights fixed and learned, and P against the scale of the starts.

    Takes  theory, small: sweeps; simulation: simulations at some of their points; same: the closed equations from
        their starts and to their time; rates: a continuation at the centre.
    Raises  ResultError if a result lacks a key.
    """
    theory, simulation, small = _checked(results)
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    panels = figure.subplots(1, 3)
    dimensions = theory[D].values.tolist()
    colors = dict(zip(dimensions, shades(len(dimensions)), strict=True))
    dashes = dict(zip(dimensions, itertools.cycle(DASHES), strict=False))
    for ax, (learn, name) in zip(panels, KINDS.items(), strict=False):
        for d in dimensions:
            with_interval(ax, theory[R], theory.sel({D: d, LEARN: learn}), color=colors[d], linestyle=dashes[d])
        for d, marker in zip(simulation[D].values.tolist(), "so^D", strict=False):
            style = {"color": colors.get(d, "black"), "marker": marker}
            points(ax, simulation[R].values, simulation.sel({D: d, LEARN: learn}), **style)
        ax.set(
            title=f"{name}, $t={problem_of(theory).time.end:g}$",
            ylim=(-0.03, 1.03),
            xlim=(theory[R].values[0], theory[R].values[-1]),
        )
        ax.set_xlabel(R_LABEL)
    panels[0].set_ylabel(collapse_label(problem_of(theory).time.end))
    last, scale = panels[2], small[SCALE].values
    powers = exponents(results)
    for look, (r, power) in zip(looks(len(powers)), powers.items(), strict=True):
        at = small.sel({R: r})
        at["collapsed"] = at["collapsed"].where(at["collapsed"] > 0)  # 0 is nowhere on a logarithmic axis
        with_interval(last, small[SCALE], at, label=f"$R={r:g}$", markersize=2.6, **look)
        # At the height that fits the small starts best, each with the weight of its count.
        reach = scale <= SMALL
        share = at["collapsed"].values[reach]
        known = share > 0
        if known.any():
            height = np.average(np.log(share[known] / scale[reach][known] ** power), weights=share[known])
            last.plot(scale[reach], np.exp(height) * scale[reach] ** power, **GUIDE)
    last.set(xscale="log", yscale="log", title=f"weights fixed, $t={problem_of(small).time.end:g}$", xlabel=SCALE_LABEL)
    last.set_ylim(bottom=max(0.3 * np.nanmin(small["collapsed"].where(small["collapsed"] > 0)), 1e-5), top=1.0)
    last.set_xlim(scale[0], scale[-1])
    last.legend(loc="lower right")
    letters(panels)
    handles = [
        Line2D([], [], color=colors[d], linestyle=dashes[d], marker="", label=f"$d={_power(d)}$") for d in dimensions
    ]
    for d, marker in zip(simulation[D].values.tolist(), "so^D", strict=False):
        handles.append(simulated(marker=marker, color=colors.get(d, "black"), label=f"simulation, $d={_power(d)}$"))
    handles.append(Line2D([], [], **GUIDE, label=r"$P\propto\sigma_0^{\lambda_1/\lambda_2-1}$"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4 if len(handles) > 8 else 3)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    theory, simulation, small = _checked(results)
    start = problem_of(theory).init
    run = simulation.attrs
    found = "; ".join(f"{power:.4f} at R = {r:g}" for r, power in exponents(results).items())
    sentences = [
        "Probability that under gradient flow of KL(q‖p) one of two equal modes at ±R has less than half its mass at "
        "t; two "
        "components, means drawn from N(0, σ₀² I)",
        f"(a, b) Weights fixed, and learned by softmax: lines and symbols at t = {problem_of(theory).time.end:g}; with "
        "learned weights lost modes may come back later. Lines: closed equations, "
        f"σ₀ = {start.scale:g}, {int(theory['samples'].max())} starts a point, the same along R",
        "Why P jumps at d = 10⁶: starts are √d σ₀ = 100 from the origin. With fixed weights both components choose a "
        "mode before they meet, independently: P = ½ where a pair at one mode is stable, beyond R = 2.26. With learned "
        "weights the one that begins further out loses its weight on the way, and the other, alone, must choose beyond "
        "R = 1.46",
        f"Open symbols: {simulation.sizes['sample']} starts simulated in d dimensions to t = "
        f"{problem_of(simulation).time.end:g}, {run['replicas']} replicas each, every one judged by itself, with "
        f"{run['particles']} fresh particles a component at each step of {run['step']:g}; near a basin boundary their "
        "noise decides",
        f"(c) Weights fixed, t = {problem_of(small).time.end:g}, d = {problem_of(small).dimension}, "
        f"{int(small['samples'].max())} starts a point; dotted: powers "
        "of σ₀ from "
        f"the growth rates of difference and sum of the means at the centre, {found}; only their heights are fitted",
        f"Bands and bars: {INTERVAL}",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Probabilities by panel, simulated ones beside, and the predicted and fitted powers."""
    theory, simulation, small = _checked(results)
    out: dict[str, Any] = {"R": theory[R].values.tolist(), "dimension": theory[D].values.tolist()}
    for learn, name in KINDS.items():
        at = theory["collapsed"].sel({LEARN: learn}).transpose(D, R)
        share, low, high = frequency(simulation.sel({LEARN: learn}))
        out[name] = {
            "theory": at.values.tolist(),
            "same": frequency(results["same"].sel({LEARN: learn}))[0].tolist(),
            "simulation": share.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
        }
    out["simulated"] = {"R": simulation[R].values.tolist(), "dimension": simulation[D].values.tolist()}
    out["small"] = {"scale": small[SCALE].values.tolist(), "exponents": list(exponents(results).values())}
    out["small"]["theory"] = small["collapsed"].transpose(R, SCALE).values.tolist()
    return out


def _power(d: int) -> str:
    """A dimension; of large ones, their power of ten or two."""
    if d >= 10000:
        for base in (10, 2):
            power = round(np.log(d) / np.log(base))
            if base**power == d:
                return f"{base}^{{{power}}}"
    return str(d)


def _checked(results: Mapping[str, xr.Dataset]) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    check_grid({role: results[role] for role in ("theory", "same", "simulation")}, R, D, LEARN)
    check_grid({"small": results["small"]}, R, SCALE)
    return results["theory"], results["simulation"], results["small"]
