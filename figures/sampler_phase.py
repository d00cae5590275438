"""When the learned prior of a diffusion sampler loses a mode: separation R against horizon T, all of it at R exp(-T).

With the exact control, learning the prior is the flow of the closed equations for the noised target, whose separation
is R exp(-T). Colours and lines are that flow, points are priors learned through the chain of the sampler, squares those
learned from simulated paths in R^d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import GUIDE, INTERVAL, MAP, POINT, R_LABEL, collapse_label, letters, looks, with_interval
from figures.files import in_style
from figures.stored import Along, Continuation, Simulate, Stored
from figures.stores import Swept
from solvers.problem.sampler_section import RUNS
from solvers.reopen import problem_of
from solvers.results.errors import ResultError

R, T = "target.separation", "sampler.horizon"
_RANDOM = {"means": None, "scale": 0.5, "seed": 2}
_TWO = {"problem": {"family": {"components": 2}, "init": _RANDOM | {"samples": 400}}}
_COARSE = {"problem": {"sampler": {"steps": 16, "paths": 512}}}
_LOOSE = {"rtol": 1e-3, "atol": 1e-4}  # looser, and where the start contracts errors of the integrator decide

RESULTS: Mapping[str, Stored] = {
    "one": Swept(
        "sampler_phase.toml",
        quick=_COARSE | {"grid": {"target.separation": {"stop": 4.5, "count": 3}, "sampler.horizon": [0.2, 0.5, 0.8]}},
        options=_LOOSE,
    ),
    "two": Swept(
        "sampler_phase.toml",
        changes={
            "problem": {"family": {"components": 2}, "init": _RANDOM | {"samples": 96}, "sampler": {"paths": 128}},
            "grid": {"target.separation": {"start": 2.5, "stop": 6.0, "count": 8}, "sampler.horizon": [0.1, 0.3, 0.6]},
        },
        quick={
            "problem": {"init": {"samples": 48}, "sampler": {"steps": 16, "paths": 64}},
            "grid": {"target.separation": {"count": 2}, "sampler.horizon": [0.1, 0.3]},
        },
        options=_LOOSE,
    ),
    "simulation": Along(
        Simulate(
            "sampler_phase_simulation.toml",
            {"particles": 128, "replicas": 8, "step": 0.1},
            quick={"particles": 128, "replicas": 4, "step": 0.4},
        ),
        grid={R: [1.5, 2.5, 3.5, 4.5], T: [0.1, 0.5, 0.9], "sampler.steps": [32]},
        quick={R: [1.5, 3.0, 4.5], T: [0.2, 0.8], "sampler.steps": [16]},
        keep=("coverage", "coverage_se", "status"),
    ),
    "flow_one": Swept("sampler_phase_closed.toml"),
    "flow_two": Swept("sampler_phase_closed.toml", changes=_TWO),
    "critical": Continuation(
        "one_component.toml",
        {"key": "target.separation", "low": 1.0, "high": 2.0, "step": 0.05, "follow": 0.0, "branches": 1},
        changes={"init": {"means": [[0.0]]}},
    ),
}

PITCHFORK = 2
BESIDE = 0.04  # squares stand to the right of circles


def critical(results: Mapping[str, xr.Dataset]) -> float:
    """R_c: the separation from which on one component does not stay between the modes."""
    kinds = results["critical"]["kind"].values
    found = results["critical"]["parameter"].values[kinds == PITCHFORK]
    if not len(found):
        raise ResultError("critical: must have a pitchfork")
    return float(found[0])


def simulated(results: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """coverage and coverage_se of the simulation, (R, T)."""
    return results["simulation"].isel({"sample": 0, "time": 0, "sampler.steps": 0}).transpose(R, T)


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw the plane of horizon and separation for one component, and P against R exp(-T) for two.

    Takes  one, two: sweeps of samplers in R and T; simulation: some points of the first in R^d; flow_one, flow_two:
        sweeps of the flow in R; critical: a continuation of one component at the centre in R.
    Raises  ResultError if there is no pitchfork on it.
    """
    one, two = results["one"].transpose(R, T), results["two"].transpose(R, T)
    flow, pair, r_c = results["flow_one"], results["flow_two"], critical(results)
    figure = Figure(figsize=(7.0, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    t = np.linspace(0.0, float(one[T].max()) + 0.15, 200)
    r = np.linspace(float(one[R].min()) - 0.25, float(one[R].max()) + 0.25, 200)
    known = flow["mode_mass_distance"].values / np.log(2)
    field = np.interp(r[:, None] * np.exp(-t), flow[R].values, known)
    colours: dict[str, Any] = {"cmap": MAP, "vmin": 0, "vmax": 1}
    image = left.pcolormesh(t, r, field, shading="nearest", rasterized=True, **colours)
    left.plot(t, r_c * np.exp(t), color="white", linestyle="--", marker="")
    at = np.meshgrid(one[T].values, one[R].values)
    share = one["mode_mass_distance"].values / np.log(2)
    left.scatter(*at, c=share, s=26, edgecolors="white", linewidths=0.9, zorder=3, **colours)
    simulation = simulated(results)
    at = np.meshgrid(simulation[T].values + BESIDE, simulation[R].values)
    share = simulation["coverage"].values / np.log(2)
    left.scatter(*at, c=share, s=24, marker="s", edgecolors="white", linewidths=0.9, zorder=3, **colours)
    edges: dict[str, Any] = {"linestyle": "", "markeredgecolor": "white", "markerfacecolor": "none", "markersize": 4.5}
    names = {"o": "reduced chain", "s": f"paths in $\\mathbb{{R}}^{{{problem_of(one).dimension}}}$"}
    keys = [Line2D([], [], marker=marker, label=label, **edges) for marker, label in names.items()]
    left.legend(handles=keys, loc="lower right", bbox_to_anchor=(1.0, 0.07), labelcolor="white", labelspacing=0.2)
    left.set(xlim=(t[0], t[-1]), ylim=(r[0], r[-1]), xlabel="horizon of the sampler $T$ (OU time)", ylabel=R_LABEL)
    left.set_title("prior of one Gaussian")
    left.annotate("$R\\,e^{-T}=R_c$", (0.3, r_c * np.exp(0.3)), (0, -10), textcoords="offset points", color="white")
    figure.colorbar(image, ax=left, label=r"$\mathrm{KL}(\hat\pi\Vert\pi)\,/\log 2$", pad=0.02)
    with_interval(right, pair[R], pair, color="black")
    handles = [Line2D([], [], color="black", marker="", label="closed equations at $R\\,e^{-T}$")]
    for look, horizon in zip(looks(two.sizes[T]), two[T].values, strict=True):
        ds = two.sel({T: horizon})
        errors = [ds["collapsed"] - ds["collapsed_low"], ds["collapsed_high"] - ds["collapsed"]]
        style = {"color": look["color"], "fmt": look["marker"], "label": f"sampler, $T={horizon:g}$"}
        handles.append(
            right.errorbar(two[R].values * np.exp(-horizon), ds["collapsed"], np.maximum(errors, 0), **style, **POINT)
        )
    right.axvline(r_c, **GUIDE)
    right.set(
        xlabel="noised half distance $R\\,e^{-T}$ (mode widths)",
        ylabel=collapse_label(problem_of(two).time.end),
        ylim=(-0.03, 1.03),
    )
    right.set_xlim(left=0.5, right=6.0)
    right.set_title("prior of two Gaussians")
    right.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 0.02))
    right.annotate("$R_c$", (r_c, 0.62), (3, 0), textcoords="offset points", color="0.35")
    letters((left, right))
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    problem, two, run = problem_of(results["one"]), results["two"], results["simulation"].attrs
    options = problem.sampler
    pair = problem_of(two).sampler
    assert options is not None
    assert pair is not None
    sentences = [
        f"Diffusion sampler (DIS, exact control, N = {options.steps} steps, horizon T, d = {problem.dimension}) that "
        f"learns the means of its prior to learning time {problem.time.end:g}; two equal modes at ±R",
        "(a) One Gaussian that begins at distance 1 from the centre: KL of the mode masses of the samples to those of "
        "the target, 1 where one mode has all. "
        f"Colours: the flow of the closed equations at R exp(−T). Circles: learned through the chain from "
        f"{options.paths} paths, drawn anew at every step, mean of {RUNS} runs. Squares, beside them: learned "
        f"from {run['particles']} simulated paths in d dimensions at each Euler step of {run['step']:g}, mean of "
        f"{run['replicas']} replicas. Dashed: R exp(−T) = R_c = {critical(results):.6g}",
        f"(b) Two Gaussians of equal and fixed weight from N(0, {problem_of(two).init.scale:g}² I): probability that "
        f"at learning time {problem_of(two).time.end:g} a mode has less than half its mass. Line: closed equations at "
        f"R exp(−T), {int(results['flow_two']['samples'].max())} "
        "starts. Points: learned through the chain from "
        f"{pair.paths} paths, {int(two['samples'].max())} starts each. Dotted: R_c",
        f"Band and bars: {INTERVAL}",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """R_c; distance of mode masses (nats) of one Gaussian, probability of two: chain, flow at R exp(-T), simulation."""
    out: dict[str, Any] = {"critical": critical(results)}
    for role, name in {"one": "mode_mass_distance", "two": "collapsed"}.items():
        ds, flow = results[role].transpose(R, T), results[f"flow_{role}"]
        noised = ds[R].values[:, None] * np.exp(-ds[T].values)
        out[role] = {
            "R": ds[R].values.tolist(),
            "T": ds[T].values.tolist(),
            "sampler": ds[name].values.tolist(),
            "flow": np.interp(noised, flow[R].values, flow[name].values).tolist(),
        }
    simulation = simulated(results)
    out["simulation"] = {"R": simulation[R].values.tolist(), "T": simulation[T].values.tolist()}
    out["simulation"] |= {name: simulation[name].values.tolist() for name in ("coverage", "coverage_se")}
    return out
