"""Deliberate errors in the theory are rejected, each of them, and the theory is not."""

import numpy as np
import pytest

from tests.solvers.verdict.remembered import remembered
from tests.verification import mutations
from tests.verification.case import case
from tests.verification.mutations import MUTATIONS, Mutation, verdict

OPTIONS = {"particles": 256, "step": 0.1}
#: Errors in what is derived from the state and does not move it; trajectories cannot show them.
STATIC = {"wrong factor d", "unweighted masses"}


@pytest.fixture(scope="module", autouse=True)
def _simulated_once():
    with remembered():
        yield


@pytest.mark.slow
def test_the_theory_agrees():
    assert verdict(case(3, save=3), None, **OPTIONS)["agrees"]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.kind)
def test_every_mutation_is_rejected(mutation):
    found = verdict(case(3, save=3), mutation.system(), **OPTIONS)
    assert not found["agrees"]
    assert not found["broken"]
    by_part = {part: one["agrees"] for part, one in found["parts"].items()}
    assert by_part == {"right-hand side": False, "trajectory": mutation.kind in STATIC}


def test_there_are_ten_and_all_differ():
    assert len(MUTATIONS) >= 10
    assert len({mutation.kind for mutation in MUTATIONS}) == len(MUTATIONS)
    assert all(np.any([old != new for old, new in mutation.edits.items()]) for mutation in MUTATIONS)


def test_a_mutation_that_changes_nothing_is_refused():
    with pytest.raises(ValueError, match="the generated source does not contain 'no such text'"):
        Mutation("none", "", {"no such text": ""}).system()
    assert mutations.SYSTEM == "reverse_kl"
