"""How long modes stay lost: the time from which on none is, and survival curves out of one run at all its save times.

A run that has a lost mode at the end has not recovered yet: its lifetime is censored on the right. Recoveries are seen
at save times, so a lifetime is known between the one before and the one that is told.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.machine.short import reduced
from solvers.results.errors import ResultError
from solvers.results.intervals import CONFIDENCE, wilson
from solvers.results.outcomes import lost

if TYPE_CHECKING:  # scipy.stats takes longer to import than many a problem to solve
    from scipy.stats import CensoredData

__all__ = ["REPLICAS", "lifetimes", "lost_modes", "recovered_at", "survival"]

Array = NDArray[np.float64]

#: Of a simulation: how many modes each replica has lost, (sample, replica, time).
REPLICAS = "replica_lost"


def lost_modes(mode_mass: Array, pi: Array) -> NDArray[np.int8]:
    """How many modes have less than half their mass, (...) of mode_mass (..., L); -1 where that is not known."""
    known = reduced(np.logical_and, np.isfinite(mode_mass))
    return np.where(known, reduced(np.add, lost(mode_mass, pi).astype(np.int8)), -1).astype(np.int8)


def recovered_at(count: NDArray[np.int8], times: Array) -> Array:
    """The first save time from which on no mode is lost, (...) of `count` lost modes (..., T) at times (T,).

    0 where none ever was at a save time; nan where some is at the last one, or where a count is not known.
    """
    since = len(times) - np.argmax(count[..., ::-1] > 0, axis=-1)  # one behind the last time with a lost mode
    found = np.where((count > 0).any(-1), times[np.minimum(since, len(times) - 1)], 0.0)
    return np.where((count[..., -1] > 0) | (count < 0).any(-1), np.nan, found)


def lifetimes(run: xr.Dataset) -> CensoredData:
    """Times of recovery of all runs of a result, censored where a mode is lost at the end, for scipy.stats.

    Of a simulation, of all its replicas: `scipy.stats.logrank(lifetimes(run), lifetimes(simulation))`. Runs that failed
    are left out. Raises  ResultError if none is left, or the dataset is no result of runs.
    """
    from scipy.stats import CensoredData

    count = _counts(run).reshape(-1, run.sizes["time"])
    found = recovered_at(count, run["time"].values)
    censored = np.isnan(found)
    return CensoredData.right_censored(np.where(censored, run["time"].values[-1], found), censored)


def survival(run: xr.Dataset, *, confidence: float = CONFIDENCE) -> xr.Dataset:
    """How many runs have a lost mode at each save time, and how many have not recovered for good: one run, one curve.

    Takes
        run: RUN.nc, or SIM.nc, of which every replica is a run. confidence: of the intervals at each time.
    Returns
        Dataset along time: collapsed, P(some mode is lost at t), with its Wilson interval _low, _high; surviving, the
        Kaplan-Meier estimate of P(recovered_at > t), never below the former, with the interval of scipy.stats.ecdf
        (exponential Greenwood; exact binomial as long as no run has recovered, and since all have).
        Replicas of one start are not independent: with several, both intervals are Wilson's for as many runs as starts,
        which is too wide rather than too narrow. Attributes: runs, starts, problem.
    Raises  ResultError if no run is left, or the dataset is no result of runs.
    """
    from scipy.stats import binomtest, ecdf

    count, times = _counts(run), run["time"].values
    starts, total = len(count), count.shape[0] * count.shape[1]
    collapsed = (count > 0).mean((0, 1))
    fitted = ecdf(lifetimes(run)).sf
    surviving = np.asarray(fitted.evaluate(times), dtype=float)
    if total > starts:
        low, high = wilson(surviving, starts, confidence)
    else:
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
            ends: Any = fitted.confidence_interval(confidence, method="log-log")
        low, high = (np.array(end.evaluate(times), dtype=np.float64) for end in ends)
        # Where all or none have recovered, Greenwood's variance is 0 or none.
        for t in np.flatnonzero(np.isnan(low) | np.isnan(high) | np.isin(surviving, (0.0, 1.0))):
            exact = binomtest(round(surviving[t] * total), total).proportion_ci(confidence, method="exact")
            low[t], high[t] = exact.low, exact.high
    at = dict(zip(("collapsed_low", "collapsed_high"), wilson(collapsed, starts, confidence), strict=True))
    values = {"collapsed": collapsed, **at, "surviving": surviving, "surviving_low": low, "surviving_high": high}
    about = {"collapsed": "P(some mode is lost at the time)", "surviving": "P(not recovered for good by the time)"}
    variables = {}
    for name, array in values.items():
        base, _, end = name.partition("_")
        word = {"": "", "low": "lower end of the interval of ", "high": "upper end of the interval of "}[end]
        variables[name] = ("time", array, {"units": "1", "long_name": word + about[base]})
    attributes = {"problem": run.attrs.get("problem", ""), "runs": total, "starts": starts, "confidence": confidence}
    return xr.Dataset(variables, coords={"time": run["time"]}, attrs=attributes)


def _counts(run: xr.Dataset) -> NDArray[np.int8]:
    """Lost modes (start, replica, time) of the starts all of whose runs have a result."""
    if "mode_mass" not in run or "time" not in run.dims or "sample" not in run["mode_mass"].dims:
        raise ResultError("the dataset has no mode_mass along samples and time; must be of RUN.nc or SIM.nc")
    if REPLICAS in run:
        count = run[REPLICAS].transpose("sample", "replica", "time").values
    else:
        count = lost_modes(run["mode_mass"].transpose("sample", "time", "mode").values, _masses(run))[:, None]
    count = count[(count >= 0).all((1, 2))]
    if not len(count):
        raise ResultError("no run of the dataset has reached the last time; there are no lifetimes")
    return np.asarray(count, dtype=np.int8)


def _masses(run: xr.Dataset) -> Array:
    from solvers.problem import Problem

    return np.asarray(Problem.parse(str(run.attrs["problem"]), "problem of the result").target.weights)
