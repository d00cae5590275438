"""Example problems of eight to forty modes: what is known of them without solving."""

from pathlib import Path

import numpy as np
import pytest

import modecollapse as mc
from solvers.problem import Problem

PROBLEMS = Path(__file__).parents[3] / "figures" / "problems"
MODES = {"forty_modes": 40, "forty_modes_50": 40, "grid_25": 25, "grid_9": 9, "ring_8": 8, "random_16": 16}


@pytest.mark.parametrize("name", MODES)
def test_problems_load(name):
    problem = Problem.load(PROBLEMS / f"{name}.toml")
    assert len(problem.target.weights) == MODES[name]


@pytest.mark.slow
def test_forty_modes_in_the_plane():
    """A descent, to no less than four components on four of forty modes have: log 40 − log 4."""
    ds = mc.solve(Problem.load(PROBLEMS / "forty_modes.toml"), rest=False)
    assert ds.attrs["backend"] == "numba"
    assert (ds.status == 0).all()
    assert float(ds["quadrature_error"].max()) < 1e-8
    assert np.allclose(ds["mode_mass"].sum("mode"), 1.0, atol=1e-9)
    assert (np.diff(ds["objective"], axis=1) < 1e-9).all()  # a descent
    assert float(ds["objective"].min()) > np.log(10) - 1e-6


@pytest.mark.slow
def test_one_component_ends_on_one_mode_of_a_ring():
    """KL of one Gaussian on one of eight modes like it: log 8, but for their overlap."""
    ds = mc.solve(Problem.load(PROBLEMS / "ring_8.toml"), rest=False)
    last = ds.isel(time=-1, sample=0)
    assert (ds.status == 0).all()
    assert float(last["objective"]) == pytest.approx(np.log(8), abs=0.02)
    assert float(last["mode_mass"].max()) > 0.98
    first = ds.isel(time=0, sample=0)
    assert float(first["mode_mass"].max()) < 0.9  # control
