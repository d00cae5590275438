"""Lifetimes of lost modes and survival curves: typed in by hand, against binomial counts, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binomtest, logrank

import modecollapse as mc
from solvers.results.errors import ResultError
from solvers.results.intervals import wilson
from solvers.results.lifetimes import lifetimes, lost_modes, recovered_at, survival

TIMES = np.array([0.0, 1.0, 10.0, 100.0])
TEXT = "dimension = 2\ntarget.separation = 3.0\nfamily.components = 2\ninit.scale = 1.0\ntime.end = 100.0\n"


def test_recovered_at_is_the_first_save_time_with_all_modes_to_the_end() -> None:
    cases = {(0, 0, 0, 0): 0.0, (1, 0, 0, 0): 1.0, (0, 1, 0, 0): 10.0, (1, 0, 1, 0): 100.0, (2, 1, 1, 0): 100.0}
    for count, time in cases.items():
        assert recovered_at(np.array(count, dtype=np.int8), TIMES) == time
    for count in ((0, 0, 0, 1), (1, 1, 1, 1), (0, -1, 0, 0), (-1, -1, -1, -1)):
        assert np.isnan(recovered_at(np.array(count, dtype=np.int8), TIMES))
    assert lost_modes(np.array([[0.24, 0.76], [0.26, 0.74], [np.nan, 1.0]]), np.array([0.5, 0.5])).tolist() == [
        1,
        0,
        -1,
    ]


def of(*counts: tuple[int, ...]) -> xr.Dataset:
    """A result of runs with these lost modes: 1 the second, 0 none, -1 a run that failed."""
    lost = np.array(counts)[..., None] == [[1, 1]]
    mass = np.where(lost, [0.9, 0.1], 0.5)
    mass = np.where(np.array(counts)[..., None] < 0, np.nan, mass)
    return xr.Dataset({"mode_mass": (("sample", "time", "mode"), mass)}, {"time": TIMES}, {"problem": TEXT})


def ends(curve: xr.Dataset, name: str, at: int) -> tuple[float, float]:
    """The interval of a curve at one time."""
    return float(curve[f"{name}_low"][at]), float(curve[f"{name}_high"][at])


def test_curves_are_counts_where_nothing_is_censored_before_the_end() -> None:
    run = of((0, 0, 0, 0), (1, 1, 0, 0), (0, 1, 0, 1), (1, 1, 1, 1), (-1, -1, -1, -1))
    curve = mc.survival(run)
    np.testing.assert_allclose(curve.collapsed, [0.5, 0.75, 0.25, 0.5])
    np.testing.assert_allclose(curve.surviving, [0.75, 0.75, 0.5, 0.5])  # one of them was lost again
    assert (curve.attrs["runs"], curve.attrs["starts"]) == (4, 4)
    assert (curve.surviving_low <= curve.surviving).all()
    assert (curve.surviving <= curve.surviving_high).all()
    assert ends(curve, "collapsed", 1) == tuple(map(float, wilson(0.75, 4)))


def test_intervals_are_those_of_a_library_and_never_missing() -> None:
    """Sixty of a hundred recover at t = 1; the exact interval of 60 of 100 is .497 to .697. At the ends, exact too."""
    rows = [(1, 0, 0, 0)] * 60 + [(1, 1, 1, 1)] * 40
    curve = survival(of(*rows))
    np.testing.assert_allclose(curve.surviving, [1.0, 0.4, 0.4, 0.4])
    exact = binomtest(40, 100).proportion_ci(method="exact")
    assert float(curve.surviving_low[-1]) == pytest.approx(exact.low, abs=0.02)
    assert float(curve.surviving_high[-1]) == pytest.approx(exact.high, abs=0.02)
    assert ends(curve, "surviving", 0) == pytest.approx((0.025 ** (1 / 100), 1.0))
    assert np.isfinite(curve.to_dataarray()).all()
    narrow = survival(of(*rows), confidence=0.5)
    assert (narrow.surviving_low > curve.surviving_low)[1:].all()
    assert (narrow.collapsed_high < curve.collapsed_high)[1:].all()
    everyone = survival(of((1, 0, 0, 0), (1, 0, 0, 0)))
    assert everyone.surviving.values.tolist() == [1, 0, 0, 0]
    assert float(everyone.surviving_high[-1]) == pytest.approx(1 - 0.025 ** (1 / 2))


def test_replicas_are_runs_and_starts_are_what_is_independent() -> None:
    run = of((1, 1, 0, 0), (1, 1, 1, 1))
    counts = np.array([[[1, 1, 0, 0]] * 3, [[1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]], dtype=np.int8)
    sim = run.assign(replica_lost=(("sample", "replica", "time"), counts))
    curve = survival(sim)
    np.testing.assert_allclose(curve.surviving, [1, 5 / 6, 2 / 6, 2 / 6])
    assert (curve.attrs["runs"], curve.attrs["starts"]) == (6, 2)
    assert ends(curve, "surviving", -1) == pytest.approx(tuple(map(float, wilson(1 / 3, 2))))
    assert lifetimes(sim).num_censored() == 2


def test_a_log_rank_test_takes_them_and_tells_other_lifetimes() -> None:
    early, late = [(1, 0, 0, 0)] * 30 + [(1, 1, 1, 1)] * 10, [(1, 1, 1, 0)] * 30 + [(1, 1, 1, 1)] * 10
    assert logrank(lifetimes(of(*early)), lifetimes(of(*early))).pvalue == 1
    assert logrank(lifetimes(of(*early)), lifetimes(of(*late))).pvalue < 1e-3


def test_what_has_no_lifetimes_is_refused() -> None:
    with pytest.raises(ResultError, match="no run of the dataset has reached the last time"):
        survival(of((-1, -1, -1, -1)))
    with pytest.raises(ResultError, match=r"must be of RUN\.nc or SIM\.nc"):
        survival(xr.Dataset({"collapsed": ("x", [0.5])}))
