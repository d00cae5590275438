"""A mixture control that grows with the prior, in the reduced chain and in R^d."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from solvers import ask
from solvers.particles.sampler.begin import model_of, placed
from solvers.particles.sampler.learn import widened
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts
from solvers.sampler import refine
from solvers.sampler.refine import add_component
from solvers.sampler.runs import sampler_of

TEXT = """
dimension = 5
[target]
means = [[2.0], [-2.0]]
[family]
components = {K}
variances = 1.2
weights = {w}
learn = ["means", "weights"]
[init]
means = {means}
[time]
end = {end}
save = 2
[sampler]
method = "{method}"
control = "{control}"
steps = 6
horizon = 0.8
paths = 128
{more}
"""
TWO = {"K": 2, "w": "[0.3, 0.7]", "means": "[[1.0], [-0.5, 0.4]]", "end": 1.0, "method": "dbs", "control": "mixture"}
ONE = {"K": 1, "w": "[1.0]", "means": "[[0.5]]", "end": 30.0, "method": "dis", "control": "mixture"}
GROWN = "[sampler.refine]\nuntil = {until}\nevery = 3.0\nweight = 0.2\nvariance = 1.0\nsource = [[2.2], [-2.2]]"


def begun(text):
    problem = Problem.parse(text)
    begin = starts(problem)
    s, m, theta = (of[0] for of in begin)
    sampler = sampler_of(problem, s, m, theta, problem.family.variances)
    return sampler, model_of(problem, *placed(problem, begin, 0), theta)


def weights(mixture):
    """Of either side's."""
    return np.exp(getattr(mixture, "log_w", getattr(mixture, "log_weights", None)))


@pytest.mark.parametrize(("components", "control"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_controls_begin_as_the_prior_and_grow_up_to_their_size(components, control):
    """Both of DBS; theory and R^d alike. A control of one component begins as the prior's first."""
    more = f"components = {components}\n" + GROWN.format(until=4)
    reduced, full = begun(TEXT.format(**TWO, more=more))
    sides: list[Any] = [reduced, full]
    wider: list[Any] = [
        add_component(reduced, np.zeros(reduced.directions), 0.0, 0.1, 1.0),
        widened(full, np.zeros(5), 0.1, 1.0),
    ]
    for before, after in zip(sides, wider, strict=True):
        assert set(before.controls) == {"control", "control_back"}
        first = weights(before.mixtures["prior"])[:components]
        assert len(weights(after.mixtures["prior"])) == 3
        for name in before.controls:
            old, new = weights(before.mixtures[name]), weights(after.mixtures[name])
            np.testing.assert_allclose(old, first / first.sum())
            assert len(new) == control
            np.testing.assert_allclose(new, np.append(0.9 * old, 0.1) if control > len(old) else old)


@pytest.mark.parametrize(
    ("control", "more", "message"),
    [
        ("exact", "components = 2", 'sampler.components: is 2; a control of components needs control = "mixture"'),
        ("mixture", "components = 2", "sampler.components: is 2; must be <= family.components = 1: it grows with the"),
        ("mixture", "components = 0", "sampler.components: is 0; must be an integer >= 1"),
        (
            "mixture",
            "components = 5\n" + GROWN.format(until=4),
            "sampler.components: is 5; must be <= sampler.refine.until = 4",
        ),
    ],
)
def test_refused(control, more, message):
    with pytest.raises(ProblemError, match=message.replace("(", r"\(")):
        Problem.parse(TEXT.format(**ONE | {"control": control}, more=more))


@pytest.mark.slow
def test_a_control_that_knows_the_new_component_keeps_it():
    """Where the control has one component, what is added to the prior is led to one mode, and the other is lost."""
    lost = {}
    for components in (1, 3):
        text = TEXT.format(**ONE, more=f"components = {components}\n" + GROWN.format(until=3))
        run = ask.solve(Problem.parse(text), runs=2)
        lost[components] = run.replica_lost.values[0, :, -1].tolist()
        assert run.status.item() == 0
    assert lost == {1: [1, 1], 3: [0, 0]}


@pytest.mark.slow
def test_both_sides_agree_past_an_addition(monkeypatch):
    """And a theory whose control does not grow is rejected after it."""
    grown = GROWN.format(until=3).replace("every = 3.0\nweight = 0.2", "every = 0.2\nweight = 0.5")
    given = Problem.parse(TEXT.format(**TWO | {"end": 0.4, "method": "dis"}, more=grown))

    def compared():
        report = ask.compare(given, particles=128, step=0.05, resolve=1.0)
        return next(part for part in report.parts if part.name == "learning")

    part = compared()
    assert part.agrees, part.entries[0]
    assert {entry.time for entry in part.entries} == {0.2, 0.4}  # before the addition, and after it
    add = refine.add_component
    monkeypatch.setattr(refine, "add_component", lambda sampler, *new: add(replace(sampler, components=2), *new))
    assert not compared().agrees
