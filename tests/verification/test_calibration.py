"""Error rates of the comparison, reduced: false alarms under the truth at their level, power against changed terms."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from solvers.closed import systems
from solvers.verdict import comparison as comparing
from solvers.verdict.entries import ALPHA
from tests.rated import rated
from tests.solvers.verdict.remembered import remembered
from tests.verification.calibration import LEVELS, PARTS, comparison, false_alarms, power
from tests.verification.case import case
from tests.verification.mutations import SYSTEM

FALSE_ALARM = 1e-6  # of each test here
REPETITIONS = 150
SOURCE = systems.read(SYSTEM)
# Few particles: the noise hides what is left of the bias of the step after extrapolation, and costs little.
CHEAP = {"particles": 16, "step": 0.1}


@pytest.fixture(scope="module", autouse=True)
def _simulated_once():
    with remembered():
        yield


@pytest.fixture(scope="module")
def alarms():
    return false_alarms(comparison(case(4, save=3), **CHEAP), range(1, REPETITIONS + 1))


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_truth_is_not_rejected_more_often_than_stated(part, level, alarms):
    count = alarms[part]["verdict"][str(level)]
    assert binom.sf(count - 1, REPETITIONS, level) > FALSE_ALARM


def outside(found, level):
    """Entries whose rate of rejection is not the level, by exact intervals that share out FALSE_ALARM."""
    counts = found["t test"][str(level)]
    confidence = 1 - FALSE_ALARM / len(counts)
    intervals = {name: binomtest(n, REPETITIONS).proportion_ci(confidence) for name, n in counts.items()}
    return [name for name, interval in intervals.items() if not interval.low <= level <= interval.high]


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("level", LEVELS)
def test_single_entries_are_rejected_at_their_level(part, level, alarms):
    assert outside(alarms[part], level) == []


@pytest.mark.slow
def test_a_wrong_theory_is_not(alarms):
    """The negative control: the same intervals notice a theory with one term 10 % off."""
    wrong = systems.load(SOURCE, scale={"dm.Bc/u": 1.1})
    found = false_alarms(comparison(case(4, save=3), wrong, **CHEAP), range(1, REPETITIONS + 1))
    assert all(outside(found[part], 0.05) for part in PARTS)


@pytest.mark.slow
def test_power_grows_with_the_error_of_the_theory(monkeypatch):
    monkeypatch.setattr(comparing, "RESOLVE", 1.0)  # the first look will do
    seeds, simulated, options = range(1, 11), {}, {"particles": 256, "step": 0.1}

    def rejected(factor):
        found = power(case(4, save=3), "means", factor, seeds, simulated=simulated, **options)
        said.extend(found.pop("said"))
        return found

    said = []
    # Of the truth, ten false alarms at 1e-6 each are as good as impossible; 10 % is far beyond the limit.
    assert rejected(1.0) == dict.fromkeys(PARTS, 0)
    assert rejected(1.1) == dict.fromkeys(PARTS, len(seeds))
    assert max(said) < 0.1
    assert pytest.approx(1e-6) == ALPHA


def test_scaling_a_term():
    """By 1 nothing changes, by 0 the term is dropped; what is between is between, for the velocity is linear in it."""
    case_, rng = case(3), np.random.default_rng(0)
    s, m, theta = np.array([[2.0, 0.3], [0.3, 1.5]]), rng.normal(size=(2, 2)), np.array([0.2, -0.1])
    A, B, F = rng.dirichlet([1, 1], 2), rng.dirichlet([1, 1], 2), np.array([0.4, 1.1])
    plain = systems.load(SOURCE)
    values = systems.parameters(case_) | {"s": s, "m": m, "theta": theta, "A": A, "B": B, "F": F}
    known = rated(plain, values)

    def velocity(module):
        ds, dm, dtheta = systems.call(module.velocity, known)
        # Without one of its terms dtheta may be one number for all components.
        return np.concatenate([ds.ravel(), dm.ravel(), np.broadcast_to(dtheta, 2)])

    for term in systems.terms(SOURCE):
        whole, without = velocity(plain), velocity(systems.load(SOURCE, drop=term))
        scaled = {x: systems.load(SOURCE, scale={term: x}) for x in (0.0, 1.0, 1.5)}
        np.testing.assert_array_equal(velocity(scaled[1.0]), whole)
        # The order of additions may differ: rounding.
        np.testing.assert_allclose(velocity(scaled[0.0]), without, rtol=0, atol=1e-14)
        np.testing.assert_allclose(velocity(scaled[1.5]), 1.5 * whole - 0.5 * without, rtol=0, atol=1e-13)
        assert scaled[1.5].SYSTEM.endswith(f" with 1.5 times {term}")
    with pytest.raises(systems.TermError, match=r"scale: ds.X: no such term; allowed are ds.Bm/u"):
        systems.load(SOURCE, scale={"ds.X": 2.0})
