"""Does the comparison accept the right theory and reject wrong ones?"""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from solvers.closed import flow, systems
from solvers.particles.flow import SimulationError
from solvers.particles.replicas import replicas_path
from solvers.problem import Problem
from solvers.verdict import comparison as comparing
from solvers.verdict.flow import STARTS, compare
from tests.solvers.verdict.remembered import remembered

# No symmetry, so that every term of the equations matters: v ≠ u, unequal weights, means off the line of the modes.
TEXT = """
dimension = {d}
[target]
means = [[1.8], [-1.5, 1.0]]
weights = [0.6, 0.4]
variances = 1.3
[family]
components = 2
weights = [0.7, 0.3]
variances = 0.8
learn = ["means", "weights"]
[flow]
weights = "{weights}"
[init]
means = [[1.0, 0.8], [-0.2, 1.5]]
seed = {seed}
[time]
end = 2.0
save = 3
"""
PARTICLES = {2: 200, 64: 128, 1000: 128}
TERMS = systems.terms(systems.read("reverse_kl"))


def problem(d=2, weights="softmax", seed=0):
    return Problem.parse(TEXT.format(d=d, weights=weights, seed=seed))


def one_mode(d=1, target="means = [[2.0]]", start="[[-1.0]]", end=2.0):
    return Problem.parse(
        f"dimension = {d}\n[target]\n{target}\n[family]\ncomponents = 1\n[init]\nmeans = {start}\n"
        f"[time]\nend = {end}\nsave = 5"
    )


@pytest.fixture(scope="module", autouse=True)
def _simulated_once():
    with remembered() as patch:
        patch.setattr(comparing, "POINTS", 2)
        patch.setattr(comparing, "RESOLVE", 1.0)  # how much is resolved is the subject of test_power.py
        yield


@pytest.fixture
def by_numpy(monkeypatch):
    """The theory solved by NumPy: a test that is about what is made of a solution does not wait for machine code of a
    shape that no other has. Of the default, which compiles, are the tests of the theory and its terms."""
    solve = flow.solve
    monkeypatch.setattr(flow, "solve", lambda *args, **options: solve(*args, backend="numpy", **options))


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
@pytest.mark.parametrize("d", PARTICLES)
def test_the_theory_agrees(d, weights):
    report = compare(problem(d, weights), particles=PARTICLES[d], step=0.1)
    assert report.agrees, report.to_json()
    assert [part.name for part in report.parts] == ["right-hand side", "trajectory"]
    assert not report.notes  # the test has power
    assert all(entry.resolved < 0.25 for part in report.parts for entry in part.entries)


@pytest.mark.slow
@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("d", PARTICLES)
def test_a_theory_without_one_term_is_rejected(d, term):
    report = compare(problem(d), particles=PARTICLES[d], step=0.1, drop=term)
    assert not report.agrees
    # Without a term of dθ/dt weights are off by a few hundredths at t = 2, which so few particles in 1000 dimensions do
    # not resolve along a trajectory; the right-hand side does.
    resolved = [False] if d == 1000 and term.startswith("dtheta") else [False, False]
    assert [part.agrees for part in report.parts][: len(resolved)] == resolved
    assert report.options["drop"] == term
    assert term in report.system


def test_an_unknown_term_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(comparing, "replicas_path", None)
    with pytest.raises(systems.TermError, match=r"ds\.As/v"):
        compare(problem(), drop="nonsense")


@pytest.mark.slow
def test_many_seeds_agree():
    """The truth is accepted whatever the seed: at 2e-6 each, ten false alarms would be a broken test."""
    assert all(compare(problem(seed=seed), particles=20, step=0.25).agrees for seed in range(10))


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.4, 0.1, 0.025])
def test_the_bias_of_the_step_is_accounted_for(step, by_numpy):
    """K = L = 1, v = u: no noise at all, so the extrapolation and its allowance alone decide."""
    case = one_mode()
    report = compare(case, particles=1, step=step)
    assert report.agrees, report.to_json()
    moved = [entry for entry in report.parts[1].entries if entry.quantity == "m[0,0]"]
    assert all(entry.standard_error < 1e-12 for entry in moved)
    plain = replicas_path(case, np.array([[-1.0]]), np.zeros(1), particles=1, replicas=2, step=step).m[0, 1:, 0, 0]
    by_time = sorted(moved, key=lambda entry: entry.time)
    bias = [abs(euler - entry.theory) for euler, entry in zip(plain, by_time, strict=True)]
    remainder = [abs(entry.simulation - entry.theory) for entry in by_time]
    # The extrapolated bias is of the order of the square of the plain one.
    assert max(remainder) < 2 * step * max(bias)


@pytest.mark.slow
def test_a_start_on_a_separatrix_is_not_compared_once_its_replicas_part(by_numpy):
    """The centre between two modes is unstable: replicas fall to either side, the theory to neither."""
    case = one_mode(target="separation = 3.0", start="[[0.0]]", end=12.0)
    report = compare(case, particles=4, step=0.25)
    assert report.agrees
    assert any("trajectory, start 0: not compared from time" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "components"), [(1, 2), (2, 3)])
def test_loose_tolerances_are_no_disagreement(d, components, by_numpy):
    """Where Gram matrices are rank-deficient, an integrator leaves them by its tolerance."""
    case = Problem.parse(
        f"""
        dimension = {d}
        [target]
        separation = 3.0
        [family]
        components = {components}
        [init]
        scale = 0.5
        seed = 1
        [time]
        end = 8.0
        save = 3
        """
    )
    report = compare(case, particles=20, step=0.25, rtol=1e-3, atol=1e-5)
    assert report.agrees, report.to_json()


def test_a_theory_without_a_solution_is_rejected(monkeypatch):
    solve = flow.solve
    failed = {"status": ("sample", np.array([2], dtype=np.int8))}
    monkeypatch.setattr(flow, "solve", lambda *args, **options: solve(*args, **options).assign(failed))
    report = compare(problem(), particles=10, step=0.25)
    assert not report.agrees
    assert report.broken == ("start 0: the theory has no solution up to the last time (not finite)",)
    assert not report.parts


def test_only_the_first_starts_are_compared(by_numpy):
    text = TEXT.replace("means = [[1.0, 0.8], [-0.2, 1.5]]", "scale = 0.8\nsamples = 6")
    report = compare(Problem.parse(text.format(d=3, weights="softmax", seed=3)), particles=10, step=0.25)
    assert report.options["starts"] == STARTS == 4
    assert {entry.start for part in report.parts for entry in part.entries} == {0, 1, 2, 3}
    assert "the first 4 of 6 starts were compared" in report.notes


def test_without_time_only_the_right_hand_side_is_compared():
    text = TEXT.replace("end = 2.0", "end = 0.0").replace("save = 3", "save = [0.0]")
    report = compare(Problem.parse(text.format(d=3, weights="softmax", seed=3)), particles=10)
    assert report.agrees
    assert [part.name for part in report.parts] == ["right-hand side"]


def test_the_json_report_holds_everything():
    report = compare(problem(), particles=PARTICLES[2], step=0.1, drop=TERMS[0])
    content = json.loads(report.to_json())
    assert content["agrees"] is False
    assert content["alpha"] == pytest.approx(2e-6)
    assert content["problem"] == problem().text
    assert content["options"]["replicas"] == 32
    for part, told in zip(report.parts, content["parts"], strict=True):
        assert len(told["entries"]) == len(part.entries)
        deviations = [entry["deviation"] for entry in told["entries"]]
        assert deviations == sorted(deviations, reverse=True)
        assert told["limit"] == part.limit < deviations[0]


def test_numbers_that_are_not_finite_become_null():
    # No noise but rounding, and a theory without its attraction: off by any number of standard errors.
    report = compare(one_mode(), particles=1, step=0.1, drop="dm.Bc/u")
    assert not report.agrees
    part = report.parts[1]
    assert part.entries[0].deviation > 1e6
    without_rounding = replace(part, entries=(replace(part.entries[0], deviation=np.inf),))
    told = json.loads(replace(report, parts=(report.parts[0], without_rounding)).to_json())
    assert told["parts"][1]["entries"][0]["deviation"] is None


def test_the_table_is_one_screen_of_80_columns():
    text = io.StringIO()
    screen = Console(file=text, width=80)
    screen.print(compare(problem(), particles=PARTICLES[2], step=0.1, drop=TERMS[0]).table())
    lines = text.getvalue().splitlines()
    assert len(lines) < 30
    assert "…" not in text.getvalue()
    assert "DISAGREE" in lines[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replicas": 31}, "replicas: is 31; must be at least 32"),
        ({"step": 0.41}, "step: is 0.41; must be > 0 and at most half the smallest variance, 0.4"),
        ({"step": 0.0}, "step: is 0"),
        ({"particles": 0}, "particles: is 0; must be at least 1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(SimulationError, match=message):
        compare(problem(), **options)


def test_progress_ends_at_one_and_never_falls():
    seen = []
    compare(problem(seed=1), particles=10, step=0.1, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
