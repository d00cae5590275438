"""What `compare` would have noticed: errors of rates, told with every verdict, and drawn for."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest, t

from solvers.closed import systems
from solvers.particles.plan import SimulationError
from solvers.problem import Problem
from solvers.verdict import comparison as comparing
from solvers.verdict.agreement import POWER, detectable, more_needed, t_limit
from solvers.verdict.flow import compare
from tests.solvers.verdict.families import family
from tests.solvers.verdict.remembered import remembered

SOURCE = systems.read("reverse_kl")
# Weights that move from .40 to .34 while both means move: F_k is nearly the same for both components.
SLOW = Problem.parse(
    """
    dimension = 8
    target = {means = [[1.8], [-1.5, 1.0]], weights = [0.6, 0.4]}
    family = {components = 2, weights = [0.4, 0.6], learn = ["means", "weights"]}
    init = {means = [[0.3, 0.4], [0.5, 0.1]]}
    time = {end = 2.0, save = 3}
    """
)


@pytest.fixture(scope="module", autouse=True)
def _simulated_once():
    with remembered():
        yield


@pytest.fixture(autouse=True)
def _rates_only(monkeypatch):
    """The trajectories, which see less, are other tests' subject."""
    monkeypatch.setattr(comparing.Comparison, "runs", lambda *a: None)
    monkeypatch.setattr(comparing.Comparison, "path", lambda *a: ([], []))
    monkeypatch.setattr(comparing, "POINTS", 2)


def scaled(rate, factor):
    """The equations with the rates of the means, or of the weights, multiplied."""
    return systems.load(SOURCE, scale={term: factor for term in systems.terms(SOURCE) if term.startswith(rate)})


def edited(old, new):
    assert old in SOURCE
    return systems.load(SOURCE.replace(old, new))


def test_an_error_of_the_detectable_size_is_rejected_as_often_as_said():
    """Normal estimates, off by so many true standard errors: the share rejected has POWER in its exact interval."""
    rng, replicas, limit = np.random.default_rng(0), 32, t_limit(1e-6, 120, 32)
    off = detectable(limit, replicas)
    x = rng.standard_normal((20_000, replicas)) + off / np.sqrt(replicas)
    rejected = np.abs(x.mean(1)) / (x.std(1, ddof=1) / np.sqrt(replicas)) > limit
    low, high = binomtest(int(rejected.sum()), len(x)).proportion_ci(1 - 1e-6)
    assert low < POWER < high
    assert t.sf(limit, replicas - 1) * 2 * 120 == pytest.approx(1e-6)


def test_the_particles_that_are_needed_resolve_what_was_asked():
    """Noise falls as 1/√n and what rare events hide as 1/n: with as many draws more, the part asked for is reached."""
    noise = np.random.default_rng(1).standard_normal((32, 5))
    first = family(noise, unit=0.5, draws=1e5, allowance=1e-3)
    need = more_needed([first], 0.1, 1e-6)["x"]
    more = family(noise / np.sqrt(need), unit=0.5, draws=1e5 * need, allowance=1e-3)
    assert need > 1
    assert more_needed([more], 0.1, 1e-6)["x"] == pytest.approx(1.0, rel=1e-6)
    assert more_needed([family(noise, unit=0.5, allowance=0.1, draws=1e5)], 0.1, 1e-6)["x"] == np.inf
    assert more_needed([family(noise, unit=0.0, draws=1e5)], 0.1, 1e-6) == {}


WRONG = {
    "dμ/dt 3 % fast": lambda: scaled("d", 1.03),
    "dθ/dt 3 % fast": lambda: scaled("dtheta", 1.03),
    "w to the 1.1 in F": lambda: edited("xp.sum(F * w, axis=-1", "xp.sum(F * w**1.1, axis=-1"),
    "objective 3 % large": lambda: edited("+ xp.sum(F * w, axis=-1)\n", "+ 1.03 * xp.sum(F * w, axis=-1)\n"),
}


@pytest.mark.slow
def test_the_truth_agrees_and_its_report_says_what_would_not_have():
    report = compare(SLOW)
    assert report.agrees
    part = report.parts[0]
    found = part.resolves()
    assert set(found) == {"ds/dt", "dm/dt", "dw/dt", "objective", "mode_mass"}
    assert all(entry.relative <= 0.03 for entry in found.values())
    stored = json.loads(report.to_json())["parts"][0]["resolves"]
    assert stored["dw/dt"]["relative"] == found["dw/dt"].relative
    assert report.options["resolve"] == 0.03


@pytest.mark.slow
@pytest.mark.parametrize("error", WRONG)
def test_an_error_of_three_percent_of_a_rate_is_rejected(error):
    assert not compare(SLOW, system=WRONG[error]()).agrees


@pytest.mark.slow
def test_more_is_drawn_for_less():
    reports = [compare(SLOW, particles=64, resolve=part) for part in (1.0, 0.04)]
    few, many = (report.options["point_particles"] for report in reports)
    assert few == comparing.FIRST_LOOK * 64 < many
    assert all(entry.relative <= 0.04 for entry in reports[1].parts[0].resolves().values())
    assert any(f"{many:,} particles" in note for note in reports[1].notes)


@pytest.mark.slow
def test_what_is_out_of_reach_is_looked_at_no_less_than_by_default(monkeypatch):
    monkeypatch.setattr(comparing, "RESOLVE", 0.08)
    usual, beyond = (compare(SLOW, particles=64, resolve=part) for part in (None, 1e-9))
    assert beyond.options["point_particles"] == usual.options["point_particles"] > comparing.FIRST_LOOK * 64
    assert any("out of reach" in note for note in beyond.notes)
    assert not any("out of reach" in note for note in usual.notes)


def test_what_cannot_be_resolved_is_refused_or_said():
    for part in (0.0, -1.0, 1.5, np.nan):
        with pytest.raises(SimulationError, match=r"^resolve: is .*; must be > 0 and at most 1, a part of a rate$"):
            compare(SLOW, resolve=part)
    at_rest = Problem.parse(
        "dimension = 3\n[target]\nmeans = [[2.0]]\n[family]\ncomponents = 1\n[init]\nmeans = [[2.0]]\n[time]\nend = 1.0"
    )
    report = compare(at_rest)
    assert report.agrees
    assert not any(report.parts[0].resolves().get(name) for name in ("ds/dt", "dm/dt"))
