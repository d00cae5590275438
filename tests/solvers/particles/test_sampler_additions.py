"""Given candidates in simulations: where they are, what is compared past the additions, and what that rejects."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from solvers import ask
from solvers.ask import compare, simulate
from solvers.particles.sampler.begin import placed
from solvers.particles.sampler.simulation import replica_curves
from solvers.problem import Problem
from solvers.problem.starts import starts, vectors
from solvers.sampler import refine
from solvers.sampler.runs import sampler_of
from solvers.sampler.solve import traced
from solvers.verdict import sampler as compare_sampler
from solvers.verdict.additions import Choices, choice_part, comparable, in_space

TEXT = """
dimension = {d}
[target]
means = [[2.0, 0.5], [-1.5, 1.5], [0.0, -2.5]]
[family]
components = 1
learn = {learn}
[init]
{init}
[time]
end = {end}
save = [{end}]
[sampler]
steps = 2
horizon = 0.3
control = "exact"
paths = 64
refine = {{every = {every}, until = 3, source = {source}, weight = {weight}, variance = 1.0}}
"""


@pytest.fixture(scope="module", autouse=True)
def _simulated_once():
    """Simulations know nothing of the theory, so each is run once for all the theories it is compared with."""
    known = {}

    def remembered(*arguments, progress=None, **options):
        # Of the problem all arrays, and which points are added; equal bytes are equal simulations.
        key = pickle.dumps((arguments, sorted(options.items())))
        if key not in known:
            known[key] = replica_curves(*arguments, progress=progress, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_sampler, "replica_curves", remembered)
        yield


OUTSIDE = [[2.5, 0.0], [-2.0, 1.0, 0.5], [0.0, -2.0, 0.0, 1.0]]  # two of them off the span of the modes
INSIDE = [[2.5, 0.0], [-2.0, 1.0], [0.0, -2.0]]


def problem(init, source, *, learn='["weights"]', end=1.0, every=0.3, weight=0.1, d=7):
    text = TEXT.format(d=d, init=init, source=source, learn=learn, end=end, every=every, weight=weight)
    return Problem.parse(text, "p.toml")


@pytest.mark.parametrize(
    ("init", "source"),
    [
        ("means = [[0.3, 0.1, 0.2, 0.0, 0.4]]", OUTSIDE),
        ("scale = 0.5", INSIDE),
        ("overlaps = {s = [[0.5]], m = [[0.55, 0.15, -0.75]]}", INSIDE),
    ],
)
def test_given_points_have_the_overlaps_that_the_file_says(init, source):
    """Means stay, so that overlaps at the end are those of candidates with the start, the modes and each other."""
    given = problem(init, source)
    ds = simulate(given, particles=32, replicas=2, step=0.5)
    run = ask.solve(given, backend="numpy")
    assert (ds.w.values[0, -1] > 0).all()
    for name in ("m", "s"):
        np.testing.assert_allclose(ds[name], run[name], atol=1e-9)  # rounding
    points = np.array([row + [0.0] * (7 - len(row)) for row in source])
    assert set(np.round(np.diagonal(ds.s.values[0, -1])[1:], 9)) <= set(np.round((points**2).sum(1), 9))


def test_a_start_placed_by_its_overlaps_alone_would_not_do():
    """The negative control: vectors of R^d with the right overlaps among themselves, turned off the candidates."""
    given = problem("means = [[0.3, 0.1, 0.2, 0.0, 0.4]]", OUTSIDE)
    begin, point = starts(given), np.pad(OUTSIDE[1], (0, 4))
    (right, nu), (turned, _) = placed(given, begin, 0), vectors(begin.s[0], begin.m[0], given)
    np.testing.assert_allclose(right @ nu.T, turned @ nu.T)
    assert right[0] @ point == pytest.approx(-0.6 + 0.1 + 0.1)
    assert abs(turned[0] @ point - right[0] @ point) > 0.05


LEARNING = {"learn": '["means", "weights"]', "end": 1.5, "every": 0.5, "weight": 0.2, "d": 4}
START = "means = [[0.6, 0.3, 0.1]]"
OPTIONS = {"particles": 64, "step": 0.125, "rtol": 1e-3}


def named_parts(report):
    return {part.name: part for part in report.parts}


@pytest.mark.slow
def test_comparison_goes_past_additions():
    """Components correspond, and what replicas would have added is counted and tested."""
    report = compare(problem(START, OUTSIDE, **LEARNING), **OPTIONS)
    assert report.agrees, [part.entries[0] for part in report.parts]
    learning, choice = named_parts(report)["learning"], named_parts(report)["choice"]
    assert {entry.time for entry in learning.entries} == {0.5, 1.0, 1.5}
    named = {entry.quantity for entry in learning.entries if entry.time == 1.5}
    assert {"m[2,2]", "s[1,2]", "w[2]", "ess", "ess_forward"} <= named
    assert {entry.quantity for entry in learning.entries if entry.quantity.startswith("margin")} == {
        "margin[0]", "margin[1]", "margin[2]",
    }  # fmt: skip
    assert [entry.quantity for entry in choice.entries] == ["share[1]", "share[2]"]
    assert any("would have added them: theory 32, 32; simulation 32, 32" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.parametrize(("wrong", "seen"), [({"weight": 0.35}, "w["), ({"variance": 1.3}, "v[")])
def test_comparison_rejects_other_additions(wrong, seen, monkeypatch):
    add = refine.add_component

    def added(sampler, x, rho, weight, variance):
        return add(sampler, x, rho, **{"weight": weight, "variance": variance} | wrong)

    monkeypatch.setattr(refine, "add_component", added)
    report = compare(problem(START, OUTSIDE, **LEARNING), **OPTIONS)
    worst = named_parts(report)["learning"].entries[0]
    assert not report.agrees
    assert worst.quantity.startswith(seen)
    assert worst.time > 0.5  # not before the first addition


@pytest.mark.slow
def test_comparison_rejects_other_choices(monkeypatch):
    """A theory that adds where log p is largest, whatever the prior has already."""
    density = refine._log_density

    def without_prior(sampler, name, x, rho):
        found = density(sampler, name, x, rho)
        return found if name == "target" else found | {"lse": np.zeros(len(x))}

    monkeypatch.setattr(refine, "_log_density", without_prior)
    report = compare(problem(START, OUTSIDE, **LEARNING), **OPTIONS)
    assert not report.agrees
    assert named_parts(report)["learning"].entries[0].quantity.startswith("margin")


def test_shares():
    """Choices that differ are rejected where they are decided, and only told where they are not."""
    rng = np.random.default_rng(1)
    theory = rng.normal([4.0, 6.0], 1.0, (32, 1, 2))
    for shift, agrees in ((0.0, True), (-8.0, False)):
        of = Choices(0, np.array([1.0]), (2,), theory, rng.normal([4.0 + shift, 6.0], 1.0, (32, 1, 2)))
        part = choice_part([of], 1e-6)
        assert part.agrees == agrees
        assert part.entries[0].quantity == "share[2]"
    # No test where the noise of either side is as large as the margin: its shares are those of that noise.
    open_ = Choices(0, np.array([1.0]), (2,), theory, rng.normal([4.0, 6.0], 6.0, (32, 1, 2)))
    assert choice_part([open_], 1e-6) is None
    assert "a matter of chance, and not tested, at time 1" in open_.note()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [{}, {"weight": 0.5}])
def test_comparison_with_candidates_that_are_drawn(wrong, monkeypatch):
    """The points that one run of the theory found, off the span of all before, are added in R^d too."""
    add = refine.add_component

    def added(sampler, x, rho, weight, variance):
        return add(sampler, x, rho, **{"weight": weight, "variance": variance} | wrong)

    monkeypatch.setattr(refine, "add_component", added)
    # Systems of three sizes, not worth compiling.
    monkeypatch.setattr(compare_sampler, "traced", partial(traced, backend="numpy"))
    given = problem("scale = 0.5", '"mala"', **LEARNING | {"d": 6, "end": 1.0})
    report = compare(given, **OPTIONS | {"particles": 128})
    assert report.agrees == (not wrong), [part.entries[0] for part in report.parts]
    assert list(named_parts(report)) == ["gradient", "learning"]
    assert {entry.time for entry in named_parts(report)["learning"].entries} == {0.5, 1.0}
    assert "compared with the additions of one run of the theory; what replicas would have added is not tested" in (
        report.notes
    )


def test_points_of_the_reduced_chain_in_space():
    """Gram rows are those of the reduced sampler as it grows, also where no direction is left."""
    rng = np.random.default_rng(3)
    given = problem("means = [[0.6, 0.3, 0.1]]", '"mala"', d=5)
    s, m, theta = (of[0] for of in starts(given))
    start = wide = sampler_of(given, s, m, theta, np.ones(1))
    added = []
    for rho in (1.3, 0.7, 0.0):  # three directions and two more are five
        added.append((rng.standard_normal(wide.directions), rho))
        wide = refine.add_component(wide, *added[-1], 0.1, 1.0)
    mu, nu = vectors(s, m, given)
    points = np.vstack([mu, in_space(start, mu, nu, added)])
    prior, target = (wide.mixtures[name].mean for name in ("prior", "target"))
    np.testing.assert_allclose(points @ points.T, prior @ prior.T, atol=1e-12)
    np.testing.assert_allclose(points @ nu.T, prior @ target.T, atol=1e-12)


def test_other_rules_are_compared_up_to_the_first_addition():
    given = problem("scale = 0.5", INSIDE, **LEARNING)
    given = replace(given, time=replace(given.time, times=np.array([0.25, 0.5, 1.5])))
    whole, _ = comparable(given)
    assert whole.time.times.tolist() == [0.25, 0.5, 1.0, 1.5]
    options = given.sampler
    stalled = replace(given, sampler=replace(options, refine=replace(options.refine, rule="stalled")))
    short, note = comparable(stalled)
    assert short.time.times.tolist() == [0.25, 0.5]
    assert short.sampler.refine is None
    assert note.startswith("compared up to the first addition, time 0.5")
