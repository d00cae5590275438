"""Simulations judged one by one: outcomes of every replica, and their shares, beside those of the average.

An average over replicas that end differently describes none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.problem import Problem
from solvers.results.intervals import CONFIDENCE, wilson
from solvers.results.lifetimes import REPLICAS, lost_modes, recovered_at
from solvers.results.mechanisms import LABELS, MIXED, collapse, distances, flags, mechanisms
from solvers.results.outcomes import OUTCOMES, UNKNOWN, End, outcomes

__all__ = ["judged", "variables"]

Array = NDArray[np.float64]

_EACH = ("sample", "replica")
_SHARED = {code: name for code, name in LABELS["collapse"].names.items() if 0 <= code <= MIXED}


def judged(
    problem: Problem, *, w: Array, mode_mass: Array, m: Array, s: Array, B: Array
) -> dict[str, NDArray[np.int8]]:
    """What became of n replicas of one start, by name, by the rules for runs.

    Takes
        w (n, K), m (n, K, L), s (n, K, K), B (n, K, L): at the last time; mode_mass (n, T, L). A replica that failed
        has nan; a component that is not there has weight 0 and overlaps of nan.
    Returns
        of OUTCOMES (n,), mechanism (n, L) and collapse (n,), not saying whether at rest; lost (n, T), how many modes.
    """
    there = ~((w == 0) & np.isnan(np.diagonal(s, axis1=-2, axis2=-1)))
    end = End(w, mode_mass[:, -1], B, problem.target.weights, there)
    mechanism = mechanisms(end, distances(s, m, problem.target.c))
    return outcomes(*end) | {
        "mechanism": mechanism,
        "collapse": collapse(mechanism),
        "lost": lost_modes(mode_mass, problem.target.weights),
    }


def variables(problem: Problem, found: Sequence[dict[str, NDArray[np.int8]]]) -> dict[str, xr.Variable]:
    """The variables of SIM.nc from the replicas of every start, in their order.

    replica_collapsed and so on (sample, replica); replica_mechanism (sample, replica, mode); replica_lost (sample,
    replica, time); replica_recovered_at (sample, replica). Shares of the replicas of a start that have a result, with
    Wilson intervals _low and _high: collapsed_share and so on (sample), collapse_share (sample, label),
    mechanism_share (sample, mode, label), which add up over labels.
    """
    codes = {name: np.stack([one[name] for one in found]) for name in found[0]}
    out: dict[str, xr.Variable] = {}
    yes_or_no = {UNKNOWN: "unknown", 0: "no", 1: "yes"}
    for name, outcome in OUTCOMES.items():
        out[f"replica_{name}"] = xr.Variable(_EACH, codes[name], flags(f"{outcome.meaning}, in one replica", yes_or_no))
        out |= _shares(f"{name}_share", ("sample",), codes[name] == 1, codes[name] >= 0, outcome.event)
    for name, dims in (("mechanism", ("mode",)), ("collapse", ())):
        about = LABELS[name].attributes()
        about["long_name"] += ", in one replica"
        out[f"replica_{name}"] = xr.Variable((*_EACH, *dims), codes[name], about)
        hit = codes[name][..., None] == np.array(list(_SHARED))
        meaning = f"{LABELS[name].meaning} is this"
        out |= _shares(f"{name}_share", ("sample", *dims, "label"), hit, codes[name][..., None] >= 0, meaning)
    out["label"] = xr.Variable(("label",), list(_SHARED.values()), {"long_name": "mechanism"})
    about = {"units": "1", "long_name": "modes that have less than half their mass in one replica; -1 unknown"}
    out[REPLICAS] = xr.Variable((*_EACH, "time"), codes["lost"], about)
    about = {"units": "1", "long_name": "first save time from which on no mode is lost in one replica; nan: not yet"}
    out["replica_recovered_at"] = xr.Variable(_EACH, recovered_at(codes["lost"], problem.time.times), about)
    return out


def _shares(
    name: str, dims: tuple[str, ...], hit: NDArray[np.bool_], known: NDArray[np.bool_], meaning: str
) -> dict[str, xr.Variable]:
    """Shares along the second axis, of the replicas that are known, and their intervals."""
    count = known.sum(1)
    with np.errstate(invalid="ignore"):
        share = (hit & known).sum(1) / np.where(count, count, np.nan)
    count = np.broadcast_to(count, share.shape)
    low, high = wilson(share, count)
    interval = f"end of the {CONFIDENCE:.0%} Wilson interval of {name}"
    about = {"": f"share of replicas: {meaning}", "_low": f"lower {interval}", "_high": f"upper {interval}"}
    values = {"": share, "_low": low, "_high": high}
    return {name + end: xr.Variable(dims, values[end], {"units": "1", "long_name": about[end]}) for end in about}
