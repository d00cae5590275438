"""When a sampler decides between two modes: clones of its paths that part on the way, and the speciation time.

Lines are closed equations and derived times, dashed is the reduced chain, symbols are paths in R^d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import norm

from figures.drawing import GUIDE, POINT, R_LABEL, letters, looks, simulated
from figures.files import in_style
from figures.sampler_phase import RESULTS as PHASE
from figures.sampler_phase import critical
from figures.stored import Stored
from figures.stores import Clones
from solvers.reopen import problem_of
from solvers.results.errors import ResultError

SEPARATIONS = (2.0, 4.0, 8.0, 16.0)
_EVERY, _QUICK = list(range(0, 101, 2)), list(range(0, 101, 5))
CURVES = {f"r{r:g}": r for r in SEPARATIONS}
TIMES: dict[str, tuple[str, Any]] = {
    "unstable": ("drift unstable", "--"),
    "covariance": (r"$\frac{1}{2}\log\Lambda$", (0, (1, 1))),
    "double_well": (r"$\tau_S$: double well", "-"),
}
CROSS: dict[str, Any] = {"linestyle": "", "marker": "x", "markersize": 2.6, "markeredgewidth": 0.7, "zorder": 4}
BARS = float(norm.ppf(0.975))  # a 95 % interval, over thousands of pairs

RESULTS: Mapping[str, Stored] = {
    **{
        role: Clones(
            "speciation.toml",
            {"splits": _EVERY, "paths": 32768},
            quick={"splits": _QUICK, "paths": 8192},
            changes={"target.separation": r},
        )
        for role, r in CURVES.items()
    },
    "critical": PHASE["critical"],
}


def decided(ds: xr.Dataset, name: str) -> tuple[float, float]:
    """Noise time at which a curve passes the value that it has where the potential becomes a double well; its error.

    Interpolated between the two splits around the last passage. Raises ResultError if there is none.
    """
    order = np.argsort(ds["tau"].values)
    tau, curve, error = (ds[key].values[order] for key in ("tau", name, f"{name}_se"))
    level = float(ds["decided"])
    above = np.flatnonzero(curve > level)
    if not len(above) or above[-1] + 1 == len(tau):
        raise ResultError(f"{name}: must pass {level:.4g} between two splits")
    i = above[-1]
    slope = (curve[i + 1] - curve[i]) / (tau[i + 1] - tau[i])
    return float(tau[i] + (level - curve[i]) / slope), float(np.max(error[i : i + 2]) / abs(slope))


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the share of clones that end in one mode against time and against R exp(-tau), and the times against R.

    Takes  rR: clones at separation R; critical: a continuation of one component at the centre in R.
    Raises  ResultError if a curve does not fall below the value at the double well, or there is no pitchfork.
    """
    r_c = critical(results)
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    dashes = ("-", (0, (5, 1.5)), "-.", (0, (1, 1)))
    handles = []
    for look, dash, (role, r) in zip(looks(len(CURVES)), dashes, CURVES.items(), strict=True):
        ds, color = results[role], look["color"]
        tau, noised = ds["tau"].values, r * np.exp(-ds["tau"].values)
        left.plot(tau, ds["closed"], color=color, linestyle=dash, marker="")
        middle.plot(noised, ds["closed"], color="0.6", marker="", zorder=1)
        some = slice(None, None, max(1, len(tau) // 20))
        bars = {"color": color, "fmt": look["marker"], "linestyle": "", **POINT}
        for ax, at in ((left, tau), (middle, noised)):
            ax.errorbar(at[some], ds["simulated"][some], BARS * ds["simulated_se"][some], **bars)
            ax.plot(at[some], ds["reduced"][some], **{**CROSS, "color": color})
        time, error = decided(ds, "simulated")
        right.errorbar(r, time, BARS * error, **bars)
        right.plot(r, decided(ds, "reduced")[0], **{**CROSS, "color": color})
        style = {"color": color, "linestyle": dash, "marker": look["marker"], "markerfacecolor": "white"}
        handles.append(Line2D([], [], **style, label=f"$R={r:g}$"))
    level = float(results["r2"]["decided"])
    for name, (label, dash) in TIMES.items():
        times = [float(results[role][name]) for role in CURVES]
        right.plot(SEPARATIONS, times, color="black", linestyle=dash, marker="", linewidth=1.0, label=label)
    wide = np.array([r_c, 1.2 * SEPARATIONS[-1]])
    right.fill_between(wide, np.log(wide / r_c), color="0.85", linewidth=0, zorder=0)
    right.annotate("learned $K=1$\ncollapses", (9.0, 0.55), ha="center", color="0.25")
    right.set(xscale="log", xlim=(1.6, 20.0), ylim=(0, 3.9), xlabel=R_LABEL, ylabel=r"noise time $\tau$ (OU time)")
    right.set_xticks(SEPARATIONS, [f"{r:g}" for r in SEPARATIONS])
    right.minorticks_off()
    right.legend(loc="upper left")
    for place, label in ((1.0, r"$\tau_S$"), (r_c, "$R_c$")):
        middle.axvline(place, **GUIDE)
        middle.annotate(label, (place, 0.53), (3, 0), textcoords="offset points", color="0.25")
    places = (0.1, 0.2, 0.5, 1, 2, 5)
    middle.set(xscale="log", xlim=(0.09, 6.0), xlabel=r"noised half distance $R\,e^{-\tau}$ (mode widths)")
    middle.set_xticks(places, [f"{x:g}" for x in places])
    middle.minorticks_off()
    left.set(xlim=(0.0, 5.0), xlabel=r"noise time of parting $\tau$ (OU time)")
    for ax in (left, middle):
        ax.axhline(level, **GUIDE)
        ax.set_ylim(0.47, 1.03)
    left.set_ylabel("probability of ending in the same mode")
    letters((left, middle, right))
    handles.append(simulated(label=f"simulation in $\\mathbb{{R}}^{{{problem_of(results['r2']).dimension}}}$"))
    handles.append(Line2D([], [], **CROSS, color="black", label="reduced chain"))
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    first = results["r2"]
    problem = problem_of(first)
    options = problem.sampler
    assert options is not None
    sentences = [
        f"Diffusion sampler (DIS, exact control, N = {options.steps} steps, horizon T = {options.horizon:g}) that "
        f"starts from N(0, I) in d = {problem.dimension}; two equal modes of unit width at ±R. Paths are copied when "
        "noise time τ is left, and both copies go on with noise of their own",
        "(a) Probability that they end in the same mode. Lines: closed equations on the noised target, for infinitely "
        "many steps. Crosses: the reduced chain of N steps. Symbols: paths in d dimensions. Dotted: "
        f"{float(first['decided']):.4f}, the value where −log p_τ becomes a double well at the centre, at every R",
        "(b) The same against R exp(−τ): one curve. Dotted: the double well, R exp(−τ) = 1, and R_c = "
        f"{critical(results):.6g}, beyond which a learned Gaussian prior leaves the centre",
        "(c) Noise times at which the drift becomes unstable and −log p_τ a double well, and half the logarithm of the "
        "largest eigenvalue Λ of the covariance. Symbols: where the curves of (a) pass the dotted line. Grey: horizons "
        "at which a prior of one Gaussian, learned, collapses",
        f"Bars: 95 % intervals from {int(first.attrs['paths'])} pairs of clones, those of (c) by interpolation; the "
        "points of one R share half of their paths",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Shares of clones in the same mode with standard errors, predicted times, and those at which they decided."""
    out: dict[str, Any] = {"critical": critical(results)}
    for role in CURVES:
        ds = results[role]
        names = ("tau", "closed", "reduced", "reduced_se", "simulated", "simulated_se")
        out[role] = {name: ds[name].values.tolist() for name in names}
        out[role] |= {name: float(ds[name]) for name in (*TIMES, "decided")}
        out[role] |= {f"{name}_time": decided(ds, name) for name in ("reduced", "simulated")}
    return out
