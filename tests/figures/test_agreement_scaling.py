"""agreement_scaling: it reads power laws off what is stored, draws them legibly, and its reference obeys the theory."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from figures import agreement_scaling as figure
from figures.stored import PROBLEMS, Scaling
from solvers import results
from solvers.problem import Problem
from tests.figures.legible import drawn_whole

REFERENCE = Path(__file__).parent / "reference" / "agreement_scaling.json"
LABELS = ["s[0,0]", "s[0,1]", "m[0,1]", "w[0]"]


def made_up(stored, quick=False):
    """A scaling that obeys the laws to the digit: spread 0.2 n^(−1/2), bias 0.1 h, and 1e-4 d at v ≠ u."""
    options = dict((quick and stored.quick) or stored.options)
    problem = Problem.load(PROBLEMS / stored.problem)
    points = [("particles", n, 0.1, 16) for n in options.get("particles", ())]
    points += [("step", options["many"], h, 16) for h in options.get("steps", ())]
    points += [("dimension", 64, 0.1, d) for d in options["dimensions"]]
    line, n, h, d = (np.array(column) for column in zip(*points, strict=True))
    bias = 1e-4 * d if "unequal" in stored.problem else 0.1 * h
    fields = {"theory": np.ones(len(points)), "mean": 1 + bias, "spread": 0.2 / np.sqrt(n)}
    return xr.Dataset(
        {name: (("run", "entry"), np.repeat(values[:, None], len(LABELS), 1)) for name, values in fields.items()}
        | {"line": ("run", line), "particles": ("run", n), "step": ("run", h), "dimension": ("run", d)},
        {"entry": LABELS},
        results.attributes(problem, "numba", "solvers.verdict.scaling.scaling")
        | {"system": "a1b2", "replicas": 64, "at_particles": 64, "at_step": 0.1, **options},
    )


@pytest.fixture(scope="module")
def made():
    return {role: made_up(stored) for role, stored in figure.RESULTS.items()}


def test_exponents_of_exact_power_laws(made):
    found = figure.numbers(made)
    for entry in figure.ENTRIES:
        assert found["exponents"]["particles"][entry][0] == pytest.approx(-0.5)
        assert found["exponents"]["step"][entry][0] == pytest.approx(1.0)
        assert found["exponents"]["dimension"][entry][0] == pytest.approx(0.0, abs=1e-12)
    assert found["growth"][0] == pytest.approx(1e-4)


def test_reference_obeys_the_theory():
    """To renew it: python -m figures agreement_scaling, then copy outputs/NAME.json, and the picture into docs."""
    found = json.loads(REFERENCE.read_text(encoding="utf-8"))["numbers"]
    for line, expected in {"particles": -0.5, "step": 1.0, "dimension": 0.0}.items():
        for entry, (value, width) in found["exponents"][line].items():
            # width is 1.96 standard errors; 2.6 of it are 5.1, a false alarm of 3e-7 each.
            assert abs(value - expected) < 2.6 * width, (line, entry)
            assert width < 0.2
    assert found["growth"][0] > 5 * found["growth"][1] > 0


@pytest.mark.parametrize("quick", [False, True])
def test_nothing_is_clipped(quick):
    drawing = figure.main({role: made_up(stored, quick) for role, stored in figure.RESULTS.items()})
    drawn_whole(drawing)


def test_caption_says_what_is_drawn(made):
    text = figure.caption(made)
    for part in ("64 replicas", "exponents s[0,1] -0.500 ±", "16384 particles", "(1.00e-04 ±", "v ≠ u"):
        assert part in text


def test_a_scaling_is_stored_and_known_again(tmp_path):
    small = Scaling("agreement_scaling.toml", {"steps": [0.5, 0.25], "many": 4, "replicas": 2})
    path = tmp_path / "a.nc"
    made = small.make(path, quick=False, progress=None)
    assert made.attrs["command"] == "solvers.verdict.scaling.scaling"
    assert small.load(path, quick=False).identical(made)
    other = Scaling("agreement_scaling.toml", {"steps": [0.5, 0.1], "many": 4, "replicas": 2})
    assert other.load(path, quick=False) is None
