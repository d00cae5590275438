"""How long two components with learned weights keep a mode lost: survival against log t, for three rules of weights.

Lines are closed equations, points particles in R^d of which every replica is judged by itself. Beside them lifetimes
predicted from one early state against those of the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.stats import logrank

from figures.drawing import GUIDE, INTERVAL, POINT, letters, shades, simulated
from figures.files import in_style
from figures.stored import Along, Simulate, Solve, Stored
from figures.stores import Lifetimes
from solvers.reopen import problem_of
from solvers.results.errors import ResultError
from solvers.results.lifetimes import lifetimes, survival

R, RULE = "target.separation", "flow.weights"
#: By name: what the problem is changed to. Fixed weights move by no rule.
RULES: Mapping[str, dict[str, Any]] = {
    "fixed": {"family.learn": ["means"]},
    "softmax": {"flow.weights": "softmax"},
    "fisher-rao": {"flow.weights": "fisher-rao"},
}
SIMULATED = 4.0
STARTS = "init.samples"  # that are simulated; those after them are compared with
AT = 15.0  # when lifetimes are predicted
TABLE = (15.0, 100.0, 1e3, 1e4, 1e5)
_SHORT = [0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 65.0, 80.0, 100.0, 125.0, 150.0, 200.0, 250.0, 300.0]
_DENSE = {"init.samples": 100, "time.save": [0.0, *np.round(np.geomspace(AT, 1e5, 300), 9).tolist()]}


def _theory(rule: str) -> Along:
    kept = ("mode_mass", "status")
    return Along(Solve("lifetimes.toml", changes=RULES[rule]), {R: [3.0, 4.0, 5.0, 6.0]}, {R: [3.0, 4.0]}, keep=kept)


def _simulation(rule: str) -> Along:
    ends = {R: SIMULATED, "time.end": _SHORT[-1], "time.save": _SHORT}
    run = Simulate("lifetimes.toml", {"particles": 32, "replicas": 2, "step": 0.1}, changes=RULES[rule] | ends)
    return Along(run, {STARTS: [80]}, {STARTS: [8]}, keep=("replica_lost", "mode_mass", "status"))


RESULTS: Mapping[str, Stored] = {
    **{rule: _theory(rule) for rule in RULES},
    **{f"{rule} simulated": _simulation(rule) for rule in RULES},
    "single": Along(
        Lifetimes("lifetimes.toml", {"time": AT}, changes=_DENSE),
        {R: [3.0, 4.0, 5.0], RULE: ["softmax", "fisher-rao"]},
        {R: [3.0], RULE: ["softmax", "fisher-rao"]},
        keep=("dying", "turned_at", "recovered_at", "measured_turned_at", "measured_recovered_at"),
    ),
}
TITLES = {"fixed": "weights fixed", "softmax": "softmax weights", "fisher-rao": "Fisher–Rao weights"}


def curves(ds: xr.Dataset) -> dict[float, xr.Dataset]:
    """By separation: P(collapsed at t) of the runs along time."""
    return {float(r): survival(ds.sel({R: r})) for r in ds[R].values}


def replicas(results: Mapping[str, xr.Dataset], rule: str) -> xr.Dataset:
    """The simulation of a rule: every replica of every start."""
    return results[f"{rule} simulated"].isel({STARTS: 0})


def same(results: Mapping[str, xr.Dataset], rule: str) -> xr.Dataset:
    """P(collapsed at t) by the closed equations of the starts that were simulated."""
    run = replicas(results, rule)
    at = results[rule].sel({R: SIMULATED}).isel(sample=slice(run.sizes["sample"]))
    return survival(at.sel(time=run["time"].values[run["time"].values >= 5]))


def pairs(
    single: xr.Dataset, event: str = "recovered_at"
) -> dict[str, dict[float, np.ndarray[Any, np.dtype[np.float64]]]]:
    """By rule and separation: (n, 2) predicted and measured times of the starts for which there is a prediction."""
    out: dict[str, dict[float, Any]] = {}
    for rule in single[RULE].values:
        for r in single[R].values:
            at = single.sel({R: r, RULE: rule})
            known = at["dying"].values == 0
            both = np.stack([at[event].values[known], at[f"measured_{event}"].values[known]], axis=-1)
            out.setdefault(str(rule), {})[float(r)] = both
    return out


def errors(both: Any) -> dict[str, float | int]:
    """Of (n, 2) predicted and measured times: how many are finite in both, later than the run in both, in one alone;
    median and largest relative error of the first."""
    finite = np.isfinite(both)
    seen = both[finite.all(1)]
    off = np.abs(seen[:, 0] / seen[:, 1] - 1)
    return {
        "starts": len(seen),
        "later": int((~finite).all(1).sum()),
        "one_alone": int((finite.sum(1) == 1).sum()),
        "median": float(np.median(off)) if len(off) else float("nan"),
        "largest": float(off.max(initial=0.0)),
    }


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw P(collapsed at t) for each rule of weights, and predicted against measured lifetimes.

    Takes  fixed, softmax, fisher-rao: the closed equations along R; with "simulated": particles; single: lifetimes.
    Raises  ResultError if a result lacks R.
    """
    _check(results)
    figure = Figure(figsize=(7.0, 5.4), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    every = sorted({float(r) for rule in RULES for r in results[rule][R].values})
    colors = dict(zip(every, shades(len(every)), strict=True))
    for ax, (rule, title) in zip(panels, TITLES.items(), strict=False):
        for r, curve in curves(results[rule]).items():
            _line(ax, curve, color=colors[r])
        at = survival(replicas(results, rule))
        shown = at.sel(time=at["time"] >= 5)
        bars = np.abs([shown["collapsed"] - shown["collapsed_low"], shown["collapsed_high"] - shown["collapsed"]])
        style = {**POINT, "color": colors.get(SIMULATED, "black"), "marker": "o", "linestyle": ""}
        ax.errorbar(shown["time"].values, shown["collapsed"].values, bars, **style)
        alike = same(results, rule)
        ax.plot(alike["time"], alike["collapsed"], **GUIDE | {"color": style["color"], "linewidth": 1.2})
        ax.set(xscale="log", xlim=(5, 1e5), ylim=(-0.03, 1.03), title=title, xlabel="time $t$")
        ax.set_ylabel("$P$(collapsed at $t$)")
    _scatter(panels[3], results["single"], colors)
    letters(panels)
    handles = [Line2D([], [], color=colors[r], marker="", label=f"$R={r:g}$") for r in every]
    color = colors.get(SIMULATED, "black")
    handles.append(simulated(color=color, label=f"simulation, $R={SIMULATED:g}$"))
    handles.append(Line2D([], [], **GUIDE | {"color": color, "linewidth": 1.2}, label="its starts"))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _line(ax: Axes, curve: xr.Dataset, **style: Any) -> None:
    seen = curve.sel(time=curve["time"] >= 5)
    ax.fill_between(seen["time"], seen["collapsed_low"], seen["collapsed_high"], alpha=0.2, linewidth=0, **style)
    ax.plot(seen["time"], seen["collapsed"], marker="", **style)


def _scatter(ax: Axes, single: xr.Dataset, colors: Mapping[float, Any]) -> None:
    for (rule, found), marker in zip(pairs(single).items(), "s^", strict=False):
        for r, both in found.items():
            seen = both[np.isfinite(both).all(1)]
            ax.plot(
                seen[:, 1], seen[:, 0], marker=marker, linestyle="", markersize=3, color=colors[r], fillstyle="none"
            )
        ax.plot([], [], marker=marker, linestyle="", color="black", fillstyle="none", markersize=3, label=TITLES[rule])
    ax.plot([AT, 1e5], [AT, 1e5], **GUIDE)
    ax.set(xscale="log", yscale="log", xlabel="recovered at $t$, full equations", title="single starts")
    ax.set_ylabel(f"predicted from the state at $t={AT:g}$")
    ax.legend(loc="upper left")


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was made, in one paragraph of plain text."""
    _check(results)
    problem, run = problem_of(results["softmax"]), replicas(results, "softmax")
    told = errors(np.concatenate([both for found in pairs(results["single"]).values() for both in found.values()]))
    sentences = [
        "How long a mode stays lost: two components, two equal modes at ±R, "
        f"d = {problem.dimension}, means drawn from N(0, {problem.init.scale:g}² I)",
        "(a) to (c) Share of starts that have less than half of its mass on some mode at time t, by how weights are "
        f"learned; lines: closed equations, {results['softmax'].sizes['sample']} starts, one run a line; bands: "
        f"{INTERVAL}",
        f"Points: {run.sizes['sample']} of these starts simulated in {problem.dimension} dimensions to "
        f"t = {float(run['time'][-1]):g} at R = {SIMULATED:g}, {run.attrs['replicas']} replicas of each judged one by "
        f"one, with {run.attrs['particles']} fresh particles a component at each step of {run.attrs['step']:g}; "
        "bars: the interval of as many runs as starts; dotted: closed equations from these starts",
        "With fixed weights collapse is for ever; with learned ones it ends, late",
        f"(d) When no mode is lost any more, predicted from the state at t = {AT:g} by the equations of the dying "
        "component alone, the other at rest, against the full equations; dotted: equality",
        f"{told['starts']} starts; relative error {told['median']:.1g} in the median, {told['largest']:.1g} at most; "
        f"{told['later']} more were predicted to recover later than the runs end, and did not before; "
        f"{told['one_alone']} were predicted wrongly to recover before the end or not",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """P(collapsed at t) by rule and R, of simulations, log-rank tests between them, and errors of predictions."""
    _check(results)
    out: dict[str, Any] = {"time": list(TABLE)}
    for rule in RULES:
        found = curves(results[rule])
        out[rule] = {f"{r:g}": curve["collapsed"].sel(time=list(TABLE)).values.tolist() for r, curve in found.items()}
        at = survival(replicas(results, rule))
        out[f"{rule} same starts"] = same(results, rule)["collapsed"].values.tolist()
        out[f"{rule} simulated"] = {
            name: at[name].values.tolist() for name in ("time", "collapsed", "collapsed_low", "collapsed_high")
        }
    out["logrank"] = {rule: {f"{r:g}": _test(results, rule, r) for r in results[rule][R].values} for rule in RULES}
    for event in ("recovered_at", "turned_at"):
        out[event] = {
            rule: {f"{r:g}": errors(both) for r, both in found.items()}
            for rule, found in pairs(results["single"], event).items()
        }
    return out


def _test(results: Mapping[str, xr.Dataset], rule: str, r: float) -> float:
    """p of the log-rank test between the first replica of each simulated start, at SIMULATED, and the closed equations
    from other starts at R = r."""
    run = replicas(results, rule)
    whole = results[rule].sel({R: r})
    same = whole.isel(sample=slice(run.sizes["sample"], None)).sel(time=run["time"].values)
    return float(logrank(lifetimes(run.isel(replica=slice(0, 1))), lifetimes(same)).pvalue)


def _check(results: Mapping[str, xr.Dataset]) -> None:
    for name in (*RULES, "single"):
        if R not in results[name].dims:
            raise ResultError(f"{name}: must have the key {R} on its grid")
