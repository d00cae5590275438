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
    """Far-apart modes: log 40 less the entropy of what q holds of them, and the velocity of a mean in a mode."""
    ds = mc.solve(Problem.load(PROBLEMS / "forty_modes.toml"))
    assert ds.attrs["backend"] == "numba"
    assert (ds.status == 0).all()
    assert float(ds["quadrature_error"].max()) < 1e-8
    assert np.allclose(ds["mode_mass"].sum("mode"), 1.0, atol=1e-9)
    assert (np.diff(ds["objective"], axis=1) < 1e-9).all()  # a descent
    # KL(q‖p) of a mixture of four of the modes cannot be less than log 40 − log 4.
    assert float(ds["objective"].min()) > np.log(10) - 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ring_8", "random_16"])
def test_one_component_ends_on_one_mode(name):
    """KL of one Gaussian on one of L modes like it: log L, but for their overlap."""
    text = (PROBLEMS / f"{name}.toml").read_text(encoding="utf-8").replace("samples = 4", "samples = 1")
    ds = mc.solve(Problem.parse(text, name=name), rest=False)
    last = ds.isel(time=-1, sample=0)
    assert (ds.status == 0).all()
    assert float(last["objective"]) == pytest.approx(np.log(MODES[name]), abs=0.02)
    assert float(last["mode_mass"].max()) > 0.98
    first = ds.isel(time=0, sample=0)
    assert float(first["mode_mass"].max()) < 0.9  # control
