"""Gradients of both sides at the start: what agrees, what is rejected, and what it takes."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.ask import compare
from solvers.particles.plan import SimulationError
from solvers.particles.sampler.velocities import replica_velocities
from solvers.problem import Problem
from solvers.problem.starts import starts
from solvers.sampler.gradients import Slope
from solvers.sampler.learn import Learning
from solvers.sampler.objectives import LEVEL
from solvers.sampler.runs import velocities
from solvers.verdict import gradients as verdict
from solvers.verdict.entries import parts
from solvers.verdict.gradients import beginning, gradients

TEXT = """
dimension = 4
[target]
separation = 2.0
weights = [0.35, 0.65]
[family]
components = 2
variances = {variances}
learn = ["means", "weights"{learn}]
[init]
means = [[0.9, 0.3], [-0.4, 0.8]]
seed = 2
[time]
end = 0.1
save = 2
[sampler]
{sampler}
steps = 4
horizon = 0.8
"""
EXACT = 'method = "dis"\ncontrol = "exact"'
MIXTURE = 'method = "cmcd"\ncontrol = "mixture"'


def problem(sampler, *, variances="1.0", learn=""):
    return Problem.parse(TEXT.format(sampler=sampler, variances=variances, learn=learn))


def gradient(given, resolve=0.2):
    """The part of a comparison that looks at gradients, by itself."""

    def seed(replica, kind):
        return np.random.SeedSequence(7, spawn_key=(replica, kind))

    found, _ = beginning(given, starts(given), 0, 32, 32, "numba", None, resolve, seed)
    return parts({"gradient": found})[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "given",
    [
        problem(EXACT, variances="[0.8, 1.3]", learn=', "variances"'),
        problem(MIXTURE, variances="[0.8, 1.3]", learn=', "variances"'),
    ],
)
def test_gradients_agree_and_larger_ones_do_not(given, monkeypatch):
    """Every group of parameters by itself, half more than what the report says would be noticed; of means, a tenth."""
    right = gradient(given)
    assert right.agrees, right.entries[0]
    noticed = {name: entry.relative for name, entry in right.resolves().items()}
    assert noticed["ds/dt"] < 0.1
    groups = {"mean": ("ds/dt", "dm/dt"), "theta": ("dtheta/dt",), "log_var": ("dlog v/dt",)}
    whole = Learning.slopes
    for group, names in groups.items():
        if group == "log_var" and "variances" not in given.family.learn:
            continue
        more = 1 + max(0.1, 1.5 * min(noticed[name] for name in names))

        def wrong(*arguments, group=group, more=more):
            slopes, schedule = whole(*arguments)
            prior = replace(slopes["prior"], **{group: more * getattr(slopes["prior"], group)})
            return slopes | {"prior": prior}, schedule

        monkeypatch.setattr(Learning, "slopes", wrong)
        found = gradient(given)
        assert not found.agrees, (group, more)
        assert found.entries[0].name in names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "groups"),
    [
        (f'{EXACT}\nlearn = ["steps"]', {"log_eta": "schedule dlog eta/dt"}),
        (
            'method = "cmcd"\nlearn = ["steps", "annealing"]',
            {"log_eta": "schedule dlog eta/dt", "logits": "schedule dbeta/dt"},
        ),
    ],
    ids=["exact", "annealed"],
)
def test_velocities_of_a_schedule_agree_and_larger_ones_do_not(sampler, groups, monkeypatch):
    """With the exact control the prior has another estimate of its own. Half more than what would be noticed is."""
    given, whole, seeds = problem(sampler), Learning.slopes, [np.random.SeedSequence([7, r]) for r in range(32)]

    def look():
        return parts({"gradient": [gradients(given, starts(given), 0, 4096, seeds, "numba", None)]})[0]

    right = look()
    assert right.agrees, right.entries[0]
    for group, name in groups.items():
        more = 1 + 1.5 * right.resolves()[name].relative
        assert more < 3

        def wrong(*arguments, group=group, more=more):
            slopes, schedule = whole(*arguments)
            return slopes, replace(schedule, **{group: more * getattr(schedule, group)})

        monkeypatch.setattr(Learning, "slopes", wrong)
        found = look()
        assert not found.agrees, (group, more)
        assert found.entries[0].name == name


@pytest.mark.slow
def test_a_dropped_component_of_the_gradient_is_seen(monkeypatch):
    whole = Learning.slopes

    def without(*arguments):
        slopes, schedule = whole(*arguments)
        mean = slopes["prior"].mean.copy()
        mean[1] = 0.0
        return slopes | {"prior": Slope(mean, slopes["prior"].log_var, slopes["prior"].theta)}, schedule

    monkeypatch.setattr(Learning, "slopes", without)
    report = compare(problem(EXACT), particles=32, step=0.025, backend="numba", resolve=1.0)
    assert next(part.name for part in report.parts if not part.agrees) == "gradient"


def test_what_is_no_part_of_a_rate_is_refused():
    with pytest.raises(SimulationError, match=r"^resolve: is 0; must be > 0 and at most 1, a part of a rate$"):
        compare(problem(EXACT), resolve=0.0)


OTHERS = {
    "dis": 'method = "dis"\ncontrol = "mixture"\nobjective = "log-variance"',
    "cmcd": 'method = "cmcd"\ncontrol = "mixture"\nobjective = "trajectory-balance"',
    "dbs": 'method = "dbs"\ncontrol = "mixture"\nobjective = "log-variance"\nexplore = 1.3',
}


def compared(given, theory=None, paths=6144):
    """The part of a comparison that looks at gradients, from so many paths of each of 32 replicas; the simulation of
    `given` against the theory of another problem, if there is one."""
    seeds = [np.random.SeedSequence(7, spawn_key=(r,)) for r in range(32)]
    with pytest.MonkeyPatch.context() as patch:
        if theory is not None:
            patch.setattr(verdict, "velocities", lambda _, *rest: velocities(theory, *rest))
        return parts({"gradient": [verdict.gradients(given, starts(given), 0, paths, seeds, "numba", None)]})[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_objectives_agree_and_a_tenth_more_does_not(name, monkeypatch):
    given, sampler = problem(OTHERS[name]), OTHERS[name]
    simulated = replica_velocities(given, starts(given), 0, particles=6144, replicas=32, backend="numba")
    monkeypatch.setattr(verdict, "replica_velocities", lambda *_, **__: simulated)
    right = compared(given)
    assert right.agrees, right.entries[0]
    assert right.resolves()["control ds/dt"].relative < 0.09
    whole = Learning.slopes
    for learned, part in (("control", "mean"), (LEVEL, "theta")):
        if learned == LEVEL and "balance" not in sampler:
            continue

        def wrong(*arguments, learned=learned, part=part):
            slopes, schedule = whole(*arguments)
            more = replace(slopes[learned], **{part: 1.1 * getattr(slopes[learned], part)})
            return slopes | {learned: more}, schedule

        monkeypatch.setattr(Learning, "slopes", wrong)
        found = compared(given)
        assert not found.agrees, learned
        assert found.entries[0].name.startswith("dlog_z_learned/dt" if learned == LEVEL else "control d")


@pytest.mark.slow
def test_another_objective_on_either_side_is_seen():
    """Control: the reverse KL in theory, the log-variance in R^d, for a control in both kernels."""
    given = problem(MIXTURE + '\nobjective = "log-variance"')
    assert not compared(given, problem(MIXTURE), paths=2048).agrees
