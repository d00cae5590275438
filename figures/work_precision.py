"""Time against error: this solver beside SciPy, diffrax and heyoka on the same starts, in one run of `make bench`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from figures.drawing import letters, looks
from figures.files import in_style
from figures.stored import Stored
from figures.stores import Benchmark

RESULTS: Mapping[str, Stored] = {"benchmark": Benchmark("cpu.json", "work_precision")}

LEFT_OUT = "diffrax-plain"  # diffrax again, as one would write it at first: slower than its curve that is drawn
ERRORS = {"error_max": "of the worst trajectory", "error_p99": "of 99 % of the trajectories"}


def curves(benchmark: xr.Dataset) -> dict[str, xr.Dataset]:
    """Rows of each solver by its name, fewest errors last, with `cost`: processor seconds a trajectory."""
    benchmark = benchmark.isel(row=np.flatnonzero(benchmark["solver"].values != LEFT_OUT))
    ds = benchmark.assign(cost=benchmark["cpu"] / benchmark["trajectories"])
    names = list(dict.fromkeys(ds["name"].values.tolist()))
    return {name: ds.isel(row=np.flatnonzero(ds["name"].values == name)) for name in names}


@in_style
def main(results: Mapping[str, xr.Dataset]) -> Figure:
    """Draw processor time a trajectory against the achieved error, the largest and that of 99 % of the trajectories.

    Takes  benchmark: the rows work_precision of a benchmark.
    """
    found = curves(results["benchmark"])
    figure = Figure(figsize=(7.0, 3.1), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    dashes = ["-", "--", "-.", ":", (0, (4, 1, 1, 1, 1, 1)), (0, (1, 1))]
    cycle = [*looks(5), {"color": "0.45", "marker": "x"}]
    for ax, (error, title) in zip(panels, ERRORS.items(), strict=True):
        for look, dash, (name, ds) in zip(cycle, dashes, found.items(), strict=False):
            # The first is ours: drawn heavier, for it is what one looks for.
            width = 1.9 if name == next(iter(found)) else 1.0
            ax.plot(ds[error].values, ds["cost"].values, linestyle=dash, linewidth=width, label=name, **look)
        label = r"achieved error $|y-y_\mathrm{ref}|/\max(1,|y_\mathrm{ref}|)$"
        ax.set(xscale="log", yscale="log", title=title, xlabel=label)
        ax.invert_xaxis()
        ax.yaxis.set_minor_locator(LogLocator(subs=range(2, 10)))
        ax.yaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("processor time (seconds a trajectory)")
    letters(panels)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def caption(results: Mapping[str, xr.Dataset]) -> str:
    """What is drawn and how it was measured, in one paragraph of plain text."""
    ds = results["benchmark"]
    machine, versions = json.loads(ds.attrs["machine"]), json.loads(ds.attrs["versions"])
    peers = ", ".join(f"{name} {versions[name]}" for name in ("scipy", "diffrax", "heyoka") if name in versions)
    sentences = [
        "Processor time a trajectory against achieved error, K = L = 2, R = 2.5, d = 64, weights learned, t ≤ 50, "
        "many random "
        f"starts at once, on {int(ds['cores'].max())} cores ({machine.get('processor', 'unknown processor')}, "
        f"{machine.get('vectors', 'unknown')} vectors), measured {ds.attrs['date'][:10]}",
        "Error: largest over six states and all save times of a trajectory, against a reference of 1e-12",
        "A point is one setting of tolerance and, of the peers, quadrature rule, chosen together. Compilation "
        "is not in it; "
        "of two ways of writing the diffrax solution the faster one is drawn",
        f"Versions: modecollapse {versions['modecollapse']}, {peers}",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)


def numbers(results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Errors and costs of every curve."""
    return {
        name: {key: ds[key].values.tolist() for key in (*ERRORS, "cost")}
        for name, ds in curves(results["benchmark"]).items()
    }
