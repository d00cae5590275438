"""What finitely many steps cost a diffusion sampler: ELBO gap and effective sample size against N, for K = 1 and 2.

The prior is one Gaussian between the modes, or one at each noised mode. For many steps the gap falls as 1/N to the
objective of the closed equations at R exp(-T), which is drawn dotted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import GUIDE, POINT, letters, looks
from figures.files import in_style
from figures.stored import Along, Solve, Stored
from solvers.results import problem_of

R, HORIZONS = 3.0, (1.0, 1.5)
KEEP = ("elbo", "elbo_se", "ess", "ess_se", "status")
N = "sampler.steps"
QUICK = {N: [4, 8, 16, 32, 64]}


def _start(components: int, horizon: float) -> dict[str, Any]:
    """The prior: at the centre, or at the noised modes."""
    noised = R * math.exp(-horizon)
    return {"family.components": components, "init.means": [[noised], [-noised]] if components == 2 else [[0.0]]}


def _role(components: int, horizon: float) -> str:
    return f"k{components}_t{horizon:g}"


CURVES = {_role(k, t): (k, t) for k in (1, 2) for t in HORIZONS}

RESULTS: Mapping[str, Stored] = {
    **{
        role: Along(
            Solve("sampler_convergence.toml", changes=_start(k, t) | {"sampler.horizon": t, "sampler.paths": 8192}),
            grid={N: [4, 8, 16, 32, 64, 128, 256, 512]},
            quick=QUICK,
            keep=KEEP,
        )
        for role, (k, t) in CURVES.items()
    },
    **{
        f"{role}_closed": Solve(
            "equilibria_centre.toml",
            changes=_start(k, t) | {"target.separation": R * math.exp(-t), "time": {"end": 0.0, "save": [0.0]}},
        )
        for role, (k, t) in CURVES.items()
    },
}


def plateaus(results: Mapping[str, xr.Dataset]) -> dict[str, float]:
    """KL(φ‖p_T) of every prior: the gap that no number of steps closes, in nats."""
    return {role: float(results[f"{role}_closed"]["objective"].values[0, 0]) for role in CURVES}


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw log Z - ELBO, and the reverse effective sample size, against the number of steps.

    Takes  kK_tT: samplers along sampler.steps; kK_tT_closed: the closed equations at their noised target.
    """
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    handles = []
    levels = plateaus(results)
    for look, (role, (k, t)) in zip(looks(len(CURVES)), CURVES.items(), strict=True):
        ds = results[role].isel(sample=0, time=0)
        steps, name = ds[N].values, f"$K={k}$, $T={t:g}$"
        style = {"color": look["color"], "fmt": look["marker"], "linestyle": "-" if k == 2 else "--", "linewidth": 1.0}
        handles.append(left.errorbar(steps, -ds["elbo"], 2 * ds["elbo_se"], **POINT, **style, label=name))
        right.errorbar(steps, ds["ess"], 2 * ds["ess_se"], **POINT, **style)
        if k == 1:
            left.axhline(levels[role], **GUIDE)
    steps = results[_role(2, HORIZONS[0])][N].values
    last = results[_role(2, HORIZONS[0])].isel(sample=0, time=0)
    slope = 0.4 * float(-last["elbo"][-1]) * steps[-1] / steps  # below the curves
    left.plot(steps[1:], slope[1:], color="0.6", linewidth=0.8, marker="")
    left.annotate("$\\propto 1/N$", (steps[2], slope[2]), (-26, -8), textcoords="offset points", color="0.35")
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set_xlabel("steps of the sampler $N$")
        ax.set_xticks(steps, [str(n) for n in steps])
        ax.minorticks_off()
    left.set(yscale="log", ylabel=r"gap $\log Z-\mathrm{ELBO}$ (nats)")
    right.set(ylabel="effective sample size / paths", ylim=(0, 1.02))
    letters((left, right))
    handles.append(Line2D([], [], **GUIDE, label=r"$\mathrm{KL}(\varphi\Vert p_T)$, closed equations"))
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    problem = problem_of(results[_role(1, HORIZONS[0])])
    options = problem.sampler
    assert options is not None
    sentences = [
        f"Diffusion sampler (DIS, OU reference, exact control) in d = {problem.dimension}, two equal modes at ±{R:g}, "
        "horizon T, N steps; prior φ of unit width: one Gaussian at the origin (K = 1) or one at each noised "
        "mode (K = 2)",
        "(a) log Z − ELBO. Dotted: KL(φ‖p_T), the objective of the closed equations at R exp(−T); it is 0 for "
        "K = 2 at the "
        "noised modes. Grey: slope −1",
        "(b) Reverse effective sample size as a fraction",
        f"Bars: two standard errors from {options.paths} paths of the reduced chain, often smaller than the "
        "symbol; the "
        "directions orthogonal to the modes in closed form",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Gap and effective sample size with standard errors, and the gap that is left at N = ∞."""
    levels = plateaus(results)
    out: dict[str, Any] = {}
    for role in CURVES:
        ds = results[role].isel(sample=0, time=0)
        out[role] = {"steps": ds[N].values.tolist(), "plateau": levels[role], "gap": (-ds["elbo"]).values.tolist()}
        out[role] |= {name: ds[name].values.tolist() for name in ("elbo_se", "ess", "ess_se")}
    return out
