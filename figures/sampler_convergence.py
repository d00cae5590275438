"""ELBO gap and effective sample size of a sampler against its steps N and the components K of its learned prior.

For many steps the gap falls as 1/N to KL(φ‖p_T), the objective of the closed equations on the noised target, for more
components to zero. Lines are the reduced chain, symbols are paths in R^d.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.drawing import GUIDE, POINT, interval, letters, looks, simulated
from figures.files import in_style
from figures.stored import Along, Stored
from figures.stores import IdealFlow, SimulateIdeal, SolveIdeal
from solvers.reopen import problem_of

PROBLEM = "sampler_convergence.toml"
KEEP = ("elbo", "elbo_se", "ess", "ess_se", "status")
N = "sampler.steps"
#: On either side of the middle, so that all modes can be reached; the first K are the start.
STARTS = ([0.4], [-0.4], [1.2], [-1.2], [2.0], [-2.0])
COMPONENTS, DRAWN = (1, 2, 3, 4, 6), (1, 2, 3, 4)
FULL, QUICK = [8, 16, 32, 64, 128, 256, 512], [8, 16, 32, 64, 128]
ABOVE = [8, 32, 128]  # numbers of steps in the panels against K, and of the simulations


def _at(components: int) -> dict[str, Any]:
    return {"family.components": components, "init.means": list(STARTS[:components])}


RESULTS: Mapping[str, Stored] = {
    **{
        f"k{k}": Along(SolveIdeal(PROBLEM, changes=_at(k)), grid={N: FULL}, quick={N: QUICK}, keep=KEEP)
        for k in COMPONENTS
    },
    **{
        f"simulated_k{k}": Along(
            SimulateIdeal(
                PROBLEM,
                {"particles": 4096, "replicas": 32, "step": 0.1},
                quick={"particles": 4096, "replicas": 8, "step": 0.1},
                changes=_at(k),
            ),
            grid={N: ABOVE},
            quick={N: ABOVE},
            keep=KEEP,
        )
        for k in COMPONENTS
    },
    **{f"closed_k{k}": IdealFlow(PROBLEM, changes=_at(k)) for k in COMPONENTS},
}


def plateaus(results: Mapping[str, xr.Dataset]) -> dict[int, float]:
    """KL(φ‖p_T) of every prior: the gap that no number of steps closes, in nats."""
    return {k: float(results[f"closed_k{k}"]["objective"].values[0, -1]) for k in COMPONENTS}


def _curve(ds: xr.Dataset, name: str, replicas: bool) -> tuple[Any, Any]:
    """log Z − ELBO, or the effective sample size, and half its 95 % interval."""
    one = ds.isel(sample=0, time=0)
    error = interval(one, name) if replicas else 2 * one[f"{name}_se"]
    return (-one["elbo"] if name == "elbo" else one["ess"]), error


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw log Z - ELBO and the reverse effective sample size, against steps above and against components below.

    Takes  kK, simulated_kK: a sampler with K components along sampler.steps; closed_kK: the flow that learned them.
    """
    figure = Figure(figsize=(7.0, 4.7), layout="constrained")
    panels = figure.subplots(2, 2)
    against_n(panels[0], results)
    against_k(panels[1], results)
    for left, right in panels:
        left.set_ylabel(r"gap $\log Z-\mathrm{ELBO}$ (nats)")
        right.set(ylabel="effective sample size / paths", ylim=(-0.02, 1.04))
    letters(panels.ravel())
    d = problem_of(results["k1"]).dimension
    handles = [
        Line2D([], [], color="black", marker="", label="reduced chain"),
        simulated(label=f"simulation in $\\mathbb{{R}}^{{{d}}}$"),
        Line2D([], [], **GUIDE, label=r"$\mathrm{KL}(\varphi\Vert p_T)$, closed equations"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def against_n(panels: Any, results: Mapping[str, xr.Dataset]) -> None:
    """A curve for each number of components."""
    left, right = panels
    levels = plateaus(results)
    for look, dash, k in zip(looks(len(DRAWN)), ("--", "-.", (0, (4, 1)), "-"), DRAWN, strict=True):
        for ax, name in zip(panels, ("elbo", "ess"), strict=True):
            _draw(ax, results[f"k{k}"], results[f"simulated_k{k}"], name, look, dash, f"$K={k}$")
        if k != DRAWN[-1]:
            left.axhline(levels[k], **GUIDE)
    steps = results["k4"][N].values
    height = 0.45 * float(-results["k4"]["elbo"].isel(sample=0, time=0)[-1]) * steps[-1]  # below the curves
    left.plot(steps[1:], height / steps[1:], color="0.6", linewidth=0.8, marker="")
    left.annotate("$\\propto 1/N$", (steps[2], height / steps[2]), (-30, -6), textcoords="offset points", color="0.35")
    for ax in panels:
        ax.set(xscale="log", xlabel="steps of the sampler $N$")
        ax.set_xticks(steps, [str(n) for n in steps])
        ax.minorticks_off()
    left.set_yscale("log")
    right.legend(loc="center right", bbox_to_anchor=(1.0, 0.28), labelspacing=0.3)


def against_k(panels: Any, results: Mapping[str, xr.Dataset]) -> None:
    """A curve for each of some numbers of steps."""
    levels = plateaus(results)
    for look, dash, n in zip(looks(len(ABOVE)), ("--", "-.", "-"), ABOVE, strict=True):
        every, sims = (
            xr.concat([results[f"{kind}k{k}"][list(KEEP)] for k in COMPONENTS], "k", combine_attrs="override")
            .assign_coords(k=list(COMPONENTS))
            for kind in ("", "simulated_")
        )  # fmt: skip
        for ax, name in zip(panels, ("elbo", "ess"), strict=True):
            _draw(ax, every.sel({N: n}), sims.sel({N: n}), name, look, dash, f"$N={n}$", "k")
    panels[0].plot(COMPONENTS, [levels[k] for k in COMPONENTS], **GUIDE)
    for ax in panels:
        ax.set(xlabel="components of the prior $K$", xticks=range(1, COMPONENTS[-1] + 1))
    panels[0].set_ylim(bottom=-0.03)
    panels[0].legend(loc="upper right")


def _draw(
    ax: Axes, theory: xr.Dataset, simulation: xr.Dataset, name: str, look: Any, dash: Any, label: str, key: str = N
) -> None:  # fmt: skip
    value, error = _curve(theory, name, replicas=False)
    ax.plot(theory[key], value, color=look["color"], linestyle=dash, marker="", linewidth=1.0)
    ax.fill_between(theory[key], value - error, value + error, color=look["color"], alpha=0.2, linewidth=0)
    value, error = _curve(simulation, name, replicas=True)
    ax.errorbar(simulation[key], value, error, color=look["color"], fmt=look["marker"], **POINT)
    style = {"color": look["color"], "linestyle": dash, "marker": look["marker"], "markerfacecolor": "white"}
    ax.plot([], [], **style, linewidth=1.0, label=label)


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    first, simulation = results["k1"], results["simulated_k1"]
    problem = problem_of(first)
    options = problem.sampler
    assert options is not None
    places = ", ".join(f"{x[0]:g}" for x in sorted(problem.target.vectors.tolist()))
    left = "; ".join(f"{abs(level):.4f} for K = {k}" for k, level in plateaus(results).items())
    sentences = [
        f"Diffusion sampler (DIS, OU reference, exact control) in d = {problem.dimension} of horizon "
        f"{options.horizon:g}, N steps; target: four equal modes of unit width on a line, at {places}. The prior φ, K "
        "equal Gaussians of unit width, was learned by the closed equations of infinitely many steps, to learning time "
        f"{problem.time.end:g}",
        "(a, c) log Z − ELBO. Dotted: KL(φ‖p_T), the objective of the closed equations on the noised target, "
        f"{left}. Grey: slope −1",
        "(b, d) Reverse effective sample size as a fraction, not drawn where the weights are too heavy-tailed to tell",
        f"Lines: {options.paths} paths of the reduced chain, the directions orthogonal to the modes in closed form; "
        "bands: two standard errors",
        f"Symbols: means of {simulation.attrs['replicas']} simulations in d dimensions with "
        f"{simulation.attrs['particles']} paths each; bars: 95 % t intervals",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Gap and effective sample size with standard errors, and the gap that is left at N = ∞, by K."""
    out: dict[str, Any] = {}
    for k, level in plateaus(results).items():
        out[f"k{k}"] = {"plateau": level}
        for role, name in ((f"k{k}", "theory"), (f"simulated_k{k}", "simulation")):
            ds = results[role].isel(sample=0, time=0)
            found = {"steps": ds[N].values.tolist(), "gap": (-ds["elbo"]).values.tolist()}
            found |= {key: ds[key].values.tolist() for key in ("elbo_se", "ess", "ess_se")}
            out[f"k{k}"][name] = found
    out["replicas"] = int(results["simulated_k1"].attrs["replicas"])
    return out
