"""What several figures draw in the same way: letters of panels, ordered colours, probabilities with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.stats import t as student

from solvers.problem import Problem
from solvers.sweeps import moments

Array = NDArray[np.float64]

R_LABEL = "half distance of modes $R$ (mode widths)"
SCALE_LABEL = r"scale of the starts $\sigma_0$ (mode widths)"
INTERVAL = "95 % Wilson interval"
#: Light to dark in greyscale too, and made for the colour-blind.
MAP = "cividis"
GUIDE: dict[str, Any] = {"color": "0.35", "linewidth": 0.8, "linestyle": (0, (1, 1.5)), "marker": ""}
POINT: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 0.8, "elinewidth": 0.8, "zorder": 3}


def collapse_label(*times: float) -> str:
    """The label of an axis of P(collapsed at t): a probability of collapse is one at a time."""
    return f"$P$(collapsed at $t={'$ or $'.join(f'{t:g}' for t in dict.fromkeys(times))}$)"


def weight_rule(problem: Problem) -> str:
    """How the weights of a problem move: `fixed weights`, `softmax weights`, `Fisher–Rao weights`."""
    if "weights" not in problem.family.learn:
        return "fixed weights"
    return "Fisher–Rao weights" if problem.flow.weights == "fisher-rao" else "softmax weights"


def letters(panels: Iterable[Axes]) -> None:
    """Write (a), (b), ... above the left corners of panels."""
    for number, ax in enumerate(panels):
        ax.annotate(f"({chr(ord('a') + number)})", (0, 1), (1, 3), "axes fraction", "offset points")


def names_beside(
    ax: Axes, names: Sequence[str], ends: Sequence[float], colors: Sequence[Any] = (), *, most: int, gap: float
) -> None:
    """Write names to the right of a panel, at what they name; gap: between two of them, in heights of the panel.

    As many as `most` are pushed apart where they would overlap; of more, only those near no earlier one are written.
    """
    low, high = ax.get_ylim()
    shown: list[int] = []
    for i, end in enumerate(ends):
        if len(ends) <= most or all(abs(end - ends[other]) >= gap * (high - low) for other in shown):
            shown.append(i)
    order = sorted(shown, key=lambda i: ends[i])
    heights, least = np.array([ends[i] for i in order]), (high - low) * min(gap, 1 / max(len(order), 1))
    for _ in range(100 if len(ends) <= most else 0):
        for i in range(len(heights) - 1):
            short = max(0.0, least - (heights[i + 1] - heights[i]))
            heights[i : i + 2] += [-short / 2, short / 2]
        heights = np.clip(heights, low, high)
    for height, i in zip(heights, order, strict=True):
        color = {"color": colors[i]} if colors else {}
        ax.annotate(names[i], (1, height), (6, 0), ("axes fraction", "data"), "offset points", va="center", **color)


def shades(count: int) -> list[Any]:
    """Colours of an ordered key, darkest first; the lightest are left out, lest they fade on white."""
    return [matplotlib.colormaps[MAP](0.82 * i / max(count - 1, 1)) for i in range(count)]


def looks(count: int) -> list[dict[str, Any]]:
    """Colour and marker of the first curves of the style."""
    cycle = list(matplotlib.rcParams["axes.prop_cycle"])
    return [dict(cycle[i % len(cycle)]) for i in range(count)]


def with_interval(ax: Axes, at: xr.DataArray, ds: xr.Dataset, name: str = "collapsed", **style: Any) -> None:
    """A line through the probabilities of a sweep, in the band of their intervals."""
    band = ds[f"{name}_low"].values, ds[f"{name}_high"].values
    ax.fill_between(at.values, *band, color=style.get("color"), alpha=0.22, linewidth=0)
    ax.plot(at.values, ds[name].values, **{"marker": "", **style})


def frequency(ds: xr.Dataset, name: str = "collapsed") -> tuple[Array, Array, Array]:
    """Share of the samples with an outcome, and the ends of its interval; samples that failed are left out.

    Of simulations that of their replicas, each judged by itself; those of a start are not independent and count as one.
    """
    each = ds.get(f"replica_{name}")
    known = ds[name] if each is None else each.where(each >= 0).mean("replica").fillna(-1)
    values = np.moveaxis(known.values.astype(float), known.get_axis_num("sample"), -1)
    found = np.empty((3, *values.shape[:-1]))
    for index in np.ndindex(values.shape[:-1]):
        sums = moments.moments(values[index][values[index] >= 0])
        found[(0, *index)] = moments.mean(sums)
        found[(slice(1, None), *index)] = moments.wilson(sums)
    return found[0], found[1], found[2]


def points(ax: Axes, at: Array, ds: xr.Dataset, *, name: str = "collapsed", **style: Any) -> None:
    """The share of simulated starts with an outcome, and its interval."""
    share, low, high = frequency(ds, name)
    errors = np.maximum([share - low, high - share], 0.0)
    ax.errorbar(at, share, errors, **{"linestyle": "", **POINT, **style})


def simulated(**style: Any) -> Line2D:
    """A point of a simulation, for a legend."""
    return Line2D([], [], linestyle="", **{"color": "black", "markerfacecolor": "white", "marker": "o", **style})


def interval(ds: xr.Dataset, name: str, confidence: float = 0.95) -> xr.DataArray:
    """Half the t interval of the mean over the replicas of a simulation."""
    return ds[f"{name}_se"] * float(student.ppf((1 + confidence) / 2, ds.attrs["replicas"] - 1))
