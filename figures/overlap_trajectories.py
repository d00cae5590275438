"""Overlaps, weights, mode masses and objective along the flow: theory over simulation, from two starts of one problem.

Lines are the closed equations; points and bands the particles in R^d. The figure's own problem has fixed weights: one
start ends on one mode, an attractor. With learned weights it would leave later, each simulation at a time of its own,
which no mean over them shows. It draws the RUN.nc and SIM.nc of any problem: of one with several starts, a start that
has all modes at the last time beside one that has lost one, where there are both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.stats import t as student

from figures import drawing
from figures.files import in_style
from figures.stored import Simulate, Solve, Stored
from solvers.problem import Problem
from solvers.reopen import problem_of
from solvers.results.errors import ResultError

Array = NDArray[np.float64]

# The problem of the file with weights that stay, to a later time. The seed: far from a basin boundary, where the noise
# of the particles would decide, and means over replicas describe none of them.
_FIXED: dict[str, Any] = {
    "family.learn": ["means"],
    "init.seed": 133,
    "time.end": 100.0,
    "time.save": [0.0, *(float(f"{t:.2g}") for t in np.geomspace(0.1, 100.0, 37))],
}

RESULTS: Mapping[str, Stored] = {
    "theory": Solve("overlap_trajectories.toml", {"rtol": 1e-8, "atol": 1e-10}, changes=_FIXED),
    "simulation": Simulate(
        "overlap_trajectories.toml",
        {"particles": 64, "replicas": 32, "step": 0.02},
        quick={"particles": 64, "replicas": 32, "step": 0.04},
        changes=_FIXED,
    ),
}

STARTS = 2  # at most, side by side
POINTS = 16  # of the simulation, at most, along the time axis
LOGARITHMIC = 10.0  # how many times the median of the save times the last one is, from which on their axis is
CONFIDENCE = 0.95
PROBABILITY = (-0.05, 1.05)
NAMED = 8  # lines of a panel, at most, of which each has a name
GAP, TALL = 0.13, 0.2  # between names of lines, and of levels beside a panel, in heights of it
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)))  # of overlaps with the first, second, ... mode
SHADE = 0.22
LEVEL: dict[str, Any] = {"color": "0.35", "linewidth": 0.6, "linestyle": (0, (1, 2)), "zorder": 0}
POINT: dict[str, Any] = drawing.POINT | {"clip_on": False}


@dataclass(frozen=True)
class Curve:
    """An entry of a variable, in its unit. look: which colour and marker of the style, 0 the first."""

    name: str
    variable: str
    entry: Mapping[str, int] = field(default_factory=dict)
    unit: float = 1.0
    look: int = 0
    dash: Any = "-"

    def of(self, result: xr.Dataset, suffix: str = "") -> Array:
        """(sample, time)"""
        return np.asarray(result[self.variable + suffix].isel(self.entry)) / self.unit

    @property
    def key(self) -> str:
        """Its name in plain text, indices counted from 0 as in the result."""
        return self.variable + (f"[{','.join(map(str, self.entry.values()))}]" if self.entry else "")

    @property
    def style(self) -> Mapping[str, Any]:
        """Its colour and marker."""
        looks = list(matplotlib.rcParams["axes.prop_cycle"])
        return dict(looks[self.look % len(looks)])


@dataclass(frozen=True)
class Row:
    """The panels of one quantity. levels: dotted lines, and their names; beside: not in the panel but beside it."""

    label: str
    curves: Sequence[Curve]
    levels: Mapping[float, str]
    beside: bool = False
    limits: tuple[float, float] | None = None


def rows(problem: Problem) -> tuple[Row, ...]:
    """What is drawn of a problem: overlaps m_kl/R² with R = max_l |ν_l|, weights if learned, mode masses, objective."""
    c, pi, components = problem.target.c, problem.target.weights, range(problem.family.components)
    modes, unit = distinct(c), float(c.diagonal().max()) or 1.0
    overlaps = [
        Curve(f"$m_{{{k + 1}{l + 1}}}$", "m", {"component": k, "mode": l}, unit, k, DASHES[min(i, len(DASHES) - 1)])
        for i, l in enumerate(modes)
        for k in components
    ]
    positions = {float(c[n, l] / unit): rf"$\mu_k=\nu_{n + 1}$" for l in modes for n in range(len(c))}
    weights = [Curve(f"$w_{k + 1}$", "w", {"component": k}, look=k) for k in components]
    masses = [Curve(rf"$\hat\pi_{l + 1}$", "mode_mass", {"mode": l}, look=2 + l) for l in range(len(pi))]
    # KL to the target of the target without mode l, for modes that do not overlap.
    missed = {-float(np.log1p(-mass)): rf"$\log\frac{{1}}{{1-\pi_{l + 1}}}$" for l, mass in enumerate(pi) if mass < 1}
    if len(missed) == 1:
        missed = dict.fromkeys(missed, r"$\log\,2$" if len(pi) == 2 else rf"$\log\frac{{{len(pi)}}}{{{len(pi) - 1}}}$")
    table = [
        Row(
            r"overlap $m_{kl}/R^2$" if len(modes) > 1 else r"overlap $m_{k1}/R^2$",
            overlaps,
            {level: "" if len(modes) > 1 else name for level, name in positions.items()},
        ),
        Row("weight $w_k$", weights, {}, limits=PROBABILITY),
        Row(r"mode mass $\hat\pi_l$", masses, dict.fromkeys(map(float, pi), ""), limits=PROBABILITY),
        Row(r"$D=\mathrm{KL}(q\,\Vert\,p)$ (nats)", [Curve("$D$", "objective", look=3)], missed, beside=True),
    ]
    return tuple(row for row in table if row.curves is not weights or "weights" in problem.family.learn)


def distinct(c: Array) -> list[int]:
    """Modes whose overlaps are drawn: the overlap with the opposite of an earlier one is the same but for its sign."""
    return [l for l in range(len(c)) if not any(np.allclose(c[l], -c[earlier]) for earlier in range(l))]


def drawn(results: Mapping[str, xr.Dataset]) -> list[int]:
    """Which samples are drawn, of those that reached the end in theory and simulation: the first of each outcome.

    Raises  ResultError if there are none.
    """
    reached = np.all([result["status"].values == 0 for result in results.values()], axis=0)
    if not reached.any():
        raise ResultError("no sample reached the last time in both theory and simulation; nothing to draw")
    collapsed = results["theory"]["collapsed"].values
    first = [int(i) for outcome in (0, 1) for i in np.flatnonzero(reached & (collapsed == outcome))[:1]]
    return first if len(first) == STARTS else [int(i) for i in np.flatnonzero(reached)[:STARTS]]


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw one column for each of at most two starts, one row for each quantity of `rows`.

    Takes
        theory: a RUN.nc; simulation: a SIM.nc of the same problem.
    Returns
        Figure, as wide as a journal's page for two starts, as one of its columns for one.
    Raises
        ResultError if the two are not of one problem, or if no start reached the end in both.
    """
    problem, samples = _problem(results), drawn(results)
    theory, replicas = results["theory"], int(results["simulation"].attrs["replicas"])
    table, times = rows(problem), theory["time"].values
    figure = Figure(figsize=(7.0 if len(samples) > 1 else 3.5, 0.5 + 1.35 * len(table)), layout="constrained")
    panels = figure.subplots(len(table), len(samples), sharex=True, sharey="row", squeeze=False)
    logarithmic = times[-1] > LOGARITHMIC * np.median(times)
    if logarithmic:
        panels[0, 0].set_xscale("log")  # of all, for they share it
    for row, across in zip(table, panels, strict=True):
        across[0].set_ylabel(row.label)
        for ax, sample in zip(across, samples, strict=True):
            for curve in row.curves:
                _draw(ax, curve, results, sample)
            for level in row.levels if len(row.levels) <= NAMED else ():
                ax.axhline(level, **LEVEL)
        if row.limits:
            across[0].set_ylim(row.limits)
    for ax, sample in zip(panels[0], samples, strict=True):
        ax.set_title(history(theory, sample))
    for ax in panels[-1]:
        ax.set_xlabel("time of the flow $t$ (dimensionless)")
        ax.set_xlim(times[times > 0][0] if logarithmic else times[0], times[-1] if len(times) > 1 else None)
    # Last, for it needs the limits of the axes.
    for row, across in zip(table, panels, strict=True):
        for ax, sample in zip(across, samples, strict=True):
            _write_names(ax, row, [float(curve.of(theory)[sample, -1]) for curve in row.curves])
    drawing.letters(panels.flat)
    simulated = rf"simulation in $\mathbb{{R}}^{{{problem.dimension}}}$: mean of {replicas} replicas"
    figure.align_ylabels()
    # On axes that are never shown: an empty artist on ours would upset the layout.
    points = Figure().add_subplot().errorbar([], [], [], fmt="o", color="black", label=simulated, **POINT)
    figure.legend(
        handles=[
            Line2D([], [], color="black", label="closed equations"),
            points,
            Patch(color="black", alpha=SHADE, linewidth=0, label=rf"{CONFIDENCE * 100:g} % of single replicas"),
        ],
        loc="outside upper center",
        ncols=3 if len(samples) > 1 else 1,
    )
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    problem, samples, run = _problem(results), drawn(results), results["simulation"].attrs
    modes, dimension, target = distinct(problem.target.c), problem.dimension, problem.target
    level = f"{CONFIDENCE * 100:g} %"
    sentences = [
        f"Gradient flow of KL(q‖p), K = {problem.family.components}, L = {len(target.c)}, d = {dimension}, "
        f"R = max |ν_l| = {np.sqrt(target.c.diagonal().max()):g}, learning {' and '.join(problem.family.learn)}"
        + f" ({drawing.weight_rule(problem)})"
    ]
    for sample in samples:
        theory, simulation = history(results["theory"], sample), history(results["simulation"], sample)
        found = f"{theory}, in theory and simulation" if theory == simulation else f"{theory}; simulation: {simulation}"
        sentences.append(f"Start {sample} (counted from 0): {found}")
    if "weights" in problem.family.learn:
        sentences.append("With learned weights a lost mode may come back later: what is said holds at its t")
    sentences += [
        "Lines: the closed equations",
        f"Points: mean over {run['replicas']} replicas of the stochastic gradient flow in {dimension} dimensions, "
        f"{run['particles']} fresh particles from each component at each Euler step of at most {run['step']:g}",
        f"Error bars: {level} t interval of that mean, often smaller than the symbol, without the bias of the step",
        f"Bands: mean ± {_quantile(run['replicas']):.3g} standard deviations over replicas, where {level} of single "
        "replicas are if normal; those of mode mass and D include the noise of estimating these from the particles",
        "Dotted: overlaps of the modes themselves; their masses π_l; the KL divergence when a mode is missed, "
        "−log(1 − π_l)",
    ]
    if any(len(row.curves) > NAMED for row in rows(problem)):
        sentences.append(f"Of more than {NAMED} lines some have names, the first of those that end near one another")
    if any(len(row.levels) > NAMED for row in rows(problem)):
        sentences.append(f"More than {NAMED} levels of a panel are left out")
    if len(modes) < len(target.c):
        sentences.append("Overlaps with a mode opposite to a drawn one differ in sign only")
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """The curves at a quarter, half and the end of the time axis, in the figure's units, and the outcomes."""
    problem, theory, simulation = _problem(results), results["theory"], results["simulation"]
    last = theory.sizes["time"] - 1
    at = [last // 4, last // 2, last]
    found: dict[str, Any] = {"time": theory["time"].values[at].tolist()}
    for sample in drawn(results):
        of_sample: dict[str, Any] = {"theory": {}, "simulation": {}, "standard error": {}}
        for curve in (curve for row in rows(problem) for curve in row.curves):
            for kind, result, suffix in zip(of_sample, (theory, simulation, simulation), ("", "", "_se"), strict=True):
                of_sample[kind][curve.key] = curve.of(result, suffix)[sample, at].tolist()
        of_sample["theory"]["outcome"] = _outcome(theory, sample)
        of_sample["simulation"]["outcome"] = _outcome(simulation, sample)
        found[f"start {sample}"] = of_sample
    return found


def _problem(results: Mapping[str, xr.Dataset]) -> Problem:
    """The one problem behind both results."""
    theory, simulation = results["theory"], results["simulation"]
    if theory.attrs["problem"] != simulation.attrs["problem"]:
        raise ResultError("theory and simulation are results of different problems; draw two results of one problem")
    return problem_of(theory)


def _quantile(replicas: int) -> float:
    return float(student.ppf((1 + CONFIDENCE) / 2, replicas - 1))


def _outcome(result: xr.Dataset, sample: int) -> str:
    codes = {name: int(result[name][sample]) for name in ("collapsed", "aligned", "vanished")}
    two = result.sizes["mode"] == 2
    if codes["collapsed"] < 1:
        return ("both modes recovered" if two else "all modes recovered") if codes["collapsed"] == 0 else "unknown"
    reasons = [name for name, code in (("aligned", codes["aligned"]), ("a weight vanished", codes["vanished"])) if code]
    return ("collapsed onto one mode" if two else "collapsed") + f" ({', '.join(reasons)})" * bool(reasons)


def history(result: xr.Dataset, sample: int) -> str:
    """The outcome at the last time, and where a mode was lost before, since when none is."""
    end, outcome, since = float(result["time"][-1]), _outcome(result, sample), float(result["recovered_at"][sample])
    if int(result["collapsed"][sample]) == 0 and since > 0:
        return f"{outcome} from t = {since:g} on"
    return f"{outcome} at t = {end:g}"


def _draw(ax: Axes, curve: Curve, results: Mapping[str, xr.Dataset], sample: int) -> None:
    """The line of the theory over the points and the band of the simulation."""
    simulation, replicas = results["simulation"], int(results["simulation"].attrs["replicas"])
    times, color, marker = simulation["time"].values, curve.style["color"], curve.style["marker"]
    there = times > (0 if ax.get_xscale() == "log" else -np.inf)  # t = 0 is nowhere on a logarithmic axis
    times, mean = times[there], curve.of(simulation)[sample][there]
    error = curve.of(simulation, "_se")[sample][there] * _quantile(replicas)
    band = error * np.sqrt(replicas)
    ax.fill_between(times, mean - band, mean + band, color=color, alpha=SHADE, linewidth=0)
    line = curve.of(results["theory"])[sample][there]
    ax.plot(times, line, color=color, linestyle=curve.dash, marker="", label=curve.key)
    at = slice(None, None, max(1, -(-len(times) // POINTS)))
    ax.errorbar(times[at], mean[at], error[at], fmt=marker, color=color, **POINT)


def _write_names(ax: Axes, row: Row, ends: Sequence[float]) -> None:
    """Names of levels, and of curves beside their ends where there are two or more."""
    if row.beside:
        drawing.names_beside(ax, list(row.levels.values()), list(row.levels), most=0, gap=TALL)
    else:
        for level, name in row.levels.items():
            va, offset = ("top", -4) if level > 0 else ("bottom", 4)
            ax.annotate(name, (0.02, level), (0, offset), ("axes fraction", "data"), "offset points", va=va)
    if len(row.curves) > 1:
        names, colors = [curve.name for curve in row.curves], [curve.style["color"] for curve in row.curves]
        drawing.names_beside(ax, names, ends, colors, most=NAMED, gap=GAP)
