"""Outcomes of simulations against the theory's from the same starts: counts, intervals, and a reduced comparison."""

import numpy as np
import pytest
import xarray as xr

from solvers.results.outcomes import OUTCOMES
from solvers.verdict.outcomes import compare_outcomes, exact_interval, tally
from tests.verification.outcomes import case

FALSE_ALARM = 1e-6


@pytest.fixture(scope="module")
def found():
    return compare_outcomes(case(10, "softmax", 30), particles=128, step=0.1)


@pytest.mark.slow
def test_decided_rows_agree_and_proportions_too(found):
    counts = tally(found)
    # Of what is decided, nothing differs: an outcome whose noise is two standard deviations away is decided wrongly by
    # one of 30 rows with probability 1e-2 at most, so one exception would be no scandal and two would.
    assert all(of["differ"] <= 1 for of in counts.values())
    assert all(of["decided"] >= 15 for of in counts.values())
    assert all(of["mcnemar"] > FALSE_ALARM for of in counts.values())
    # Both outcomes occur, or there would be nothing to tell apart.
    assert 5 < counts["collapsed"]["theory"] < 25
    assert counts["collapsed"]["sensitive"] > 0


@pytest.mark.slow
def test_outcomes_of_other_starts_do_not_agree(found):
    """The negative control: each row of the theory beside the simulation of the next start."""
    rolled = found.assign(theory=found["theory"].roll(sample=1))
    assert tally(rolled)["collapsed"]["differ"] >= 5


@pytest.mark.slow
def test_a_theory_that_never_collapses_is_rejected_by_proportions(found):
    never = found.assign(theory=xr.zeros_like(found["theory"]))
    of = tally(never)["collapsed"]
    assert of["only_theory"] == 0
    assert of["mcnemar"] == pytest.approx(2 * 0.5 ** of["only_simulation"])
    assert of["mcnemar"] < 1e-2


def test_counts_by_hand():
    theory = np.array([1, 1, 0, 0, 0, -1, 1])
    simulation = np.array([[1, 1], [0, 1], [1, 1], [1, 0], [0, 0], [1, 1], [-1, 1]])
    sensitive = np.array([0, 1, 0, 0, 0, 0, 0])
    made = xr.Dataset(
        {
            "theory": (("sample", "outcome"), theory[:, None]),
            "simulation": (("sample", "replica", "outcome"), simulation[..., None]),
            "sensitive": (("sample", "outcome"), sensitive[:, None]),
        },
        coords={"outcome": ["collapsed"]},
    )
    of = tally(made)["collapsed"]
    # The last two rows failed on one side.
    assert (of["rows"], of["theory"], of["simulation"]) == (5, 2, 3)
    assert (of["only_theory"], of["only_simulation"], of["mcnemar"]) == (1, 2, 1.0)
    assert (of["sensitive"], of["decided"], of["differ"], of["replicas_differ"]) == (1, 4, 2, 2)


def test_exact_intervals():
    # Tables of Clopper and Pearson: none of 10 at 95 %, and the rule of three for large samples.
    assert exact_interval(0, 10, 0.95) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert exact_interval(5, 10, 0.95) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert exact_interval(0, 3000, 0.95)[1] == pytest.approx(3.689 / 3000, rel=1e-3)
    assert exact_interval(0, 0, 0.95) == (0.0, 1.0)
    assert tuple(OUTCOMES) == ("collapsed", "aligned", "vanished")
