"""Plans: what is said before a long solution, and that short ones wait for none."""

import numpy as np
import pytest

from solvers import ask
from solvers.closed.plan import LONG
from solvers.machine.backends import BackendError
from solvers.problem import Problem
from tests.solvers.closed.plan_cases import FIVE, SAMPLER, TWO


def test_a_plan_says_rule_error_time_and_memory():
    plan = ask.plan(Problem.parse(TWO))
    assert (plan.starts, plan.backend, plan.rules) == (5, "numba", {"2 logits": "special functions"})
    assert 0 < plan.error < 1e-12
    assert plan.cheapest == plan.rtol == 1e-8
    mean, low, high = plan.seconds
    assert 0 < low < mean < high < LONG
    text = str(plan)
    assert "5 starts on numba: about " in text
    assert "expectations: 2 logits: special functions; errors up to 1e-13" in text
    assert "rtol" not in text
    assert ask.plan(Problem.parse(TWO), long=LONG) is None


def test_a_plan_knows_the_rtol_that_loses_nothing():
    """Five modes in four directions: the series is the limit, a hundredth of the tolerance what is asked of it."""
    given = Problem.parse(FIVE)
    plan = ask.plan(given, backend="numpy")
    assert plan.backend == "numpy"
    assert plan.rules["5 logits"].startswith("independent logits, or given a factor")
    assert 1e-8 < plan.error < 1e-4
    assert plan.rtol < plan.cheapest <= 100 * plan.error * (1 + 1e-9)
    assert f"rtol: 1e-08 is finer than these; {plan.cheapest:.1g} loses nothing" in str(plan)
    run = ask.solve(given, backend="numpy")
    assert np.nanmax(run.quadrature_error) <= 1.1 * plan.error
    again = ask.plan(given, backend="numpy", rtol=plan.cheapest)
    assert again.error <= plan.error * (1 + 1e-9)
    # Negative control: at that tolerance there is nothing to gain.
    assert again.cheapest < 3 * plan.cheapest


def test_samplers_are_refused():
    with pytest.raises(BackendError, match="--dry-run: is for flows"):
        ask.plan(Problem.parse(SAMPLER))
