"""equilibria: its reference numbers, which line is solid, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from figures import equilibria as figure
from figures.stored import PROBLEMS, Continuation
from solvers.equilibria import continuation
from solvers.problem import Problem
from solvers.results.errors import ResultError

REFERENCE = Path(__file__).parent / "reference" / "equilibria.json"


@pytest.fixture(scope="module")
def solved() -> dict[str, xr.Dataset]:
    found = {}
    for label, stored in figure.RESULTS.items():
        assert isinstance(stored, Continuation)
        found[label] = continuation(Problem.load(PROBLEMS / stored.problem), **stored.options)
    return found


@pytest.mark.slow
def test_reference_numbers(solved) -> None:
    """To renew them after a change that is meant to move them: python -m figures, then copy outputs/equilibria.json.

    Equilibria are solved to 1e-12, special points refined to 1e-10; branches may be numbered either way around.
    """
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))["numbers"]
    found = figure.numbers(solved)
    assert found.keys() == reference.keys()
    for (name, *values), (known, *expected) in zip(found["special"], reference["special"], strict=True):
        assert name == known
        np.testing.assert_allclose(values, expected, atol=1e-6)  # positions move like the root of an error in R
        assert values[0] == pytest.approx(expected[0], abs=1e-9)
    for name in found.keys() - {"special", "centre 1", "centre 2"}:
        for quantity, values in found[name].items():
            np.testing.assert_allclose(values, reference[name][quantity], atol=1e-8, err_msg=f"{name}, {quantity}")


@pytest.mark.slow
def test_solid_lines_are_the_stable_parts(solved) -> None:
    drawing = figure.main(solved)
    left, right = drawing.axes
    solid = {label: [] for label in figure.NAMES}
    colors = dict(zip((line.get_color() for line in drawing.legends[0].get_lines()), figure.NAMES, strict=False))
    for line in right.get_lines():
        if line.get_color() in colors:
            solid[colors[line.get_color()]].append((line.get_linestyle() == "-", line.get_ydata()))
    # The largest growth rate is negative all along a solid line; the special point at its end is zero to rounding.
    assert all((y < 1e-9).all() for parts in solid.values() for stable, y in parts if stable)
    assert [stable for stable, _ in solid["recovered"]] == [True]
    assert sorted(stable for stable, _ in solid["pair"]) == [False, True]
    assert not any(stable for stable, _ in solid["centre"])
    assert len(left.texts) >= 3


@pytest.mark.slow
def test_caption_names_the_special_points(solved) -> None:
    text = figure.caption(solved)
    assert "fold at R = 2.2596076" in text
    assert "pitchfork at R = 1.460834" in text


@pytest.mark.slow
def test_other_results_are_refused(solved) -> None:
    other = solved["pair"].assign_attrs(key="target.weights.0")
    with pytest.raises(ResultError, match=r"target\.separation"):
        figure.main(solved | {"pair": other})
