"""All integrators give the same outcome labels: 256 starts here, ten thousand in `make bench`."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from solvers.problem import Problem
from tests.benchmarks.agreement import LABELS, METHODS, REFERENCE, differences, end_states, text
from tests.solvers.closed.decided import assert_same_outcomes

pytestmark = pytest.mark.slow

STARTS = 256
EQUAL = dict.fromkeys(LABELS, 0)


@pytest.fixture(scope="module")
def reference() -> xr.Dataset:
    return end_states(REFERENCE, text(STARTS), STARTS)


def test_starts_end_in_different_ways(reference: xr.Dataset) -> None:
    assert not reference["status"].any()
    assert all(0 < (reference[label] == 1).sum() < STARTS for label in ("collapsed", "aligned", "vanished"))


@pytest.mark.parametrize("name", [name for name in METHODS if name != REFERENCE])
def test_every_decided_label_is_that_of_the_automatic_choice(name: str, reference: xr.Dataset) -> None:
    run = end_states(name, text(STARTS), STARTS)
    assert_same_outcomes(run, reference, Problem.parse(text(STARTS)))
    found = differences(run, reference)
    # At rtol 1e-8 and over this time errors of either method grow up to a thousandfold on the way past a saddle.
    assert found["distance"]["max"] < 1e-5


def test_another_separation_has_other_labels_and_a_failed_start_no_state(reference: xr.Dataset) -> None:
    """Control: the same comparison sees R = 2.9, and nan."""
    found = differences(end_states(REFERENCE, text(STARTS, separation=2.9), STARTS), reference)
    assert found["labels"]["collapsed"] > 0
    assert found["distance"]["median"] > 0.01
    failed = reference.copy(deep=True)
    failed["w"][3], failed["status"][3] = np.nan, 2
    found = differences(failed, reference)
    assert found["labels"] == EQUAL | {"status": 1}
    assert found["distance"]["max"] == np.inf
