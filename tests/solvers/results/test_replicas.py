"""Simulations judged replica by replica: an average of runs that end differently describes none of them."""

from __future__ import annotations

import numpy as np
import pytest

import modecollapse as mc
from solvers import reopen, results
from solvers.particles.flow import simulate
from solvers.particles.replicas import replicas_path
from solvers.problem import Problem
from solvers.problem.starts import starts, vectors
from solvers.results.mechanisms import LABELS
from solvers.results.replicas import judged, variables

HALVES = Problem.parse(
    """
    dimension = 4
    target.separation = 3.0
    family = {components = 2, learn = ["means"]}
    init = {means = [[0.4, 0.1], [0.2, -0.1]]}
    time = {end = 12.0, save = [0.0, 4.0, 8.0, 12.0]}
    """
)


@pytest.mark.slow
def test_single_replicas_are_those_of_the_simulation_and_shares_add_up(tmp_path) -> None:
    """Close to a separatrix eight particles a step decide where a run ends, and the average is in the middle."""
    options = {"particles": 8, "replicas": 20, "step": 0.1}
    ds = simulate(HALVES, **options)
    begin = starts(HALVES)
    mu = vectors(begin.s[0], begin.m[0], HALVES)[0]
    path = replicas_path(HALVES, mu, begin.theta[0], **options, key=(0,))
    mass = (path.w[..., None] * path.mode_mass).sum(-2)
    lost = mass < 0.25
    np.testing.assert_array_equal(ds.replica_lost.values[0], lost.sum(-1))
    np.testing.assert_array_equal(ds.replica_collapsed.values[0], lost[:, -1].any(-1))
    np.testing.assert_array_equal(ds.replica_mechanism.values[0] > 0, lost[:, -1])
    share = float(ds.collapsed_share[0])
    assert 0.3 < share < 0.9
    assert ds.collapsed_share_low[0] < share < ds.collapsed_share_high[0]
    # The average says of all of them what is true of some: its mode masses are those of no replica.
    least = mass[:, -1].min(-1)
    assert 0.15 < ds.mode_mass.values[0, -1].min() < 0.35
    assert not ((least > 0.15) & (least < 0.35)).any()
    assert share == pytest.approx(1 - float(ds.collapse_share.sel(label="none")[0]))
    np.testing.assert_allclose(ds.collapse_share.sum("label"), 1)
    np.testing.assert_allclose(ds.mechanism_share.sum("label"), 1)
    np.testing.assert_allclose(ds.mechanism_share.sel(label="none").values[0], 1 - lost[:, -1].mean(0))
    assert (ds.collapse_share_low <= ds.collapse_share).all()
    assert (ds.collapse_share <= ds.collapse_share_high).all()
    np.testing.assert_array_equal(np.isnan(ds.replica_recovered_at.values[0]), ds.replica_collapsed.values[0] == 1)
    results.write(ds, tmp_path / "sim.nc")
    curve = mc.survival(reopen.open(tmp_path / "sim.nc"))
    np.testing.assert_allclose(curve.collapsed, (lost.any(-1)).mean(0))
    assert float(curve.surviving[-1]) == pytest.approx(share)


def test_replicas_that_agree_have_the_outcome_of_the_average() -> None:
    """The negative control: far from a separatrix all shares are 0 or 1, as the average says."""
    text = HALVES.text.replace("[[0.4, 0.1], [0.2, -0.1]]", "[[3.0], [3.0]]")
    ds = simulate(Problem.parse(text), particles=64, replicas=4, step=0.1)
    assert ds.collapsed_share.values.tolist() == ds.collapsed.values.tolist() == [1]
    assert ds.collapse_share.sel(label="aligned").values.tolist() == [1]
    assert [LABELS["collapse"].names[code] for code in ds.collapse.values] == ["aligned"]
    assert [LABELS["at_rest"].names[code] for code in ds.at_rest.values] == ["undecided"]


def test_failed_replicas_are_in_no_share_and_absent_components_have_not_vanished() -> None:
    nan = np.nan
    w = np.array([[1.0, 0.0], [0.5, 0.5], [nan, nan]])
    B = np.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[nan, nan]] * 2])
    mass = np.tile((w[..., None] * B).sum(1)[:, None], (1, 4, 1))
    m = np.array([[[9.0, -9.0], [nan, nan]], [[9.0, -9.0], [-9.0, 9.0]], [[nan, nan]] * 2])
    s = np.array([[[9.0, nan], [nan, nan]], [[9.0, -9.0], [-9.0, 9.0]], [[nan, nan]] * 2])
    found = judged(HALVES, w=w, mode_mass=mass, m=m, s=s, B=B)
    assert found["vanished"].tolist() == [0, 0, -1]
    assert [LABELS["collapse"].names[code] for code in found["collapse"].tolist()] == ["unfound", "none", "unknown"]
    shares = variables(HALVES, [found])
    assert shares["collapsed_share"].values.tolist() == [0.5]
    assert shares["collapse_share"].values.tolist() == [[0.5, 0, 0, 0, 0.5, 0]]
    nobody = variables(HALVES, [{name: np.full_like(codes, -1) for name, codes in found.items()}])
    assert np.isnan(nobody["collapsed_share"].values).all()
    assert np.isnan(nobody["collapse_share_high"].values).all()
