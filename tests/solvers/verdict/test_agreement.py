"""The verdict's own error rates: false alarms under the truth, power against a difference, and rare events."""

import numpy as np
import pytest
from scipy.stats import binomtest, t

from solvers.verdict.agreement import decide, resolution, t_limit
from tests.solvers.verdict.families import family


def test_the_limit_is_the_quantile_of_student():
    # Tables: two-sided 5 % with 31 degrees of freedom is 2.040; with Bonferroni over 5 entries, 1 %: 2.744.
    assert t_limit(0.05, 1, 32) == pytest.approx(2.0395, abs=1e-4)
    assert t_limit(0.05, 5, 32) == pytest.approx(2.7440, abs=1e-4)
    assert 2 * t.sf(t_limit(1e-6, 300, 32), 31) * 300 == pytest.approx(1e-6, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_false_alarm_rate_under_the_truth(correlation):
    """Independent entries are rejected at 1 − (1 − α/E)^E, dependent ones less often."""
    rng, alpha, entries, replicas, repetitions = np.random.default_rng(0), 0.1, 20, 32, 4000
    common = rng.standard_normal((repetitions, replicas, 1)) * np.sqrt(correlation)
    x = common + rng.standard_normal((repetitions, replicas, entries)) * np.sqrt(1 - correlation)
    alarms = sum(not decide("truth", [family(one[:, :10]), family(one[:, 10:])], alpha).agrees for one in x)
    nominal = 1 - (1 - alpha / entries) ** entries
    # Exact binomial interval at 1e-6, the false-alarm probability of this test.
    low, high = binomtest(alarms, repetitions).proportion_ci(1 - 1e-6, method="exact")
    assert low < nominal
    assert correlation or nominal < high
    assert alarms > 0


def test_power_against_a_difference():
    rng, entries, replicas = np.random.default_rng(1), 300, 32
    x = rng.standard_normal((replicas, entries))
    limit = t_limit(1e-6, entries, replicas)
    assert decide("truth", [family(x)], 1e-6).agrees
    x[:, 7] += 1.5 * limit / np.sqrt(replicas) + 1.5
    part = decide("one entry is off", [family(x)], 1e-6)
    assert not part.agrees
    assert part.entries[0].quantity == "x[7]"
    assert [e.deviation for e in part.entries] == sorted((e.deviation for e in part.entries), reverse=True)


@pytest.mark.slow
def test_rare_events_raise_no_false_alarm():
    """Responsibilities 0 or 1 with probability p: without the allowance they are rejected, with it they are not."""
    rng, alpha, replicas, particles, repetitions = np.random.default_rng(2), 0.01, 32, 100, 400
    draws = replicas * particles
    for p in (1e-5, 3e-4, 3e-3, 0.03):
        counts = rng.binomial(particles, p, (repetitions, replicas, 1)) / particles
        alarms = sum(not decide("rare", [family(x, theory=p, draws=draws)], alpha).agrees for x in counts)
        careless = sum(not decide("rare", [family(x, theory=p)], alpha).agrees for x in counts)
        assert alarms == 0
        if p < 1e-3:
            assert careless > 0.1 * repetitions


def test_resolution_is_the_bernstein_bound_on_what_was_never_seen():
    alpha, draws = 1e-3, 1000
    p = resolution(alpha, 1, draws)
    # An event of this probability stays unseen in all draws with probability far below alpha.
    assert (1 - p) ** draws < alpha
    assert resolution(alpha, 1, 2 * draws) == p / 2
    assert resolution(alpha, 10, draws) == resolution(alpha / 10, 1, draws)


def test_deterministic_entries_are_decided_by_the_allowance_alone():
    x = np.full((32, 2), 0.5)
    assert decide("equal", [family(x, theory=0.5)], 1e-6).agrees
    assert decide("within", [family(x, theory=0.5 + 1e-12, allowance=1e-11)], 1e-6).agrees
    beyond = decide("beyond", [family(x, theory=[0.5, 0.5 + 1e-10], allowance=1e-11)], 1e-6)
    assert not beyond.agrees
    assert beyond.entries[0].deviation == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["theory", "estimates", "allowance"])
def test_what_is_not_finite_disagrees(where, bad):
    x, numbers = np.random.default_rng(3).standard_normal((32, 1)), {"theory": 0.0, "allowance": 0.0}
    if where == "estimates":
        x[4] = bad
    else:
        numbers[where] = bad
    assert not decide("nan", [family(x, **numbers)], 1e-6).agrees
