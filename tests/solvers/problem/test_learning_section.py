"""The section [learning]: what it becomes, what it refuses, and who refuses a problem that has it."""

import numpy as np
import pytest
from typer.testing import CliRunner

from solvers import ask
from solvers.__main__ import app
from solvers.problem import Problem, ProblemError, demands

TEXT = """
dimension = 4
target = {{separation = 2.0}}
family = {{components = 2, learn = ["means"]}}
init = {{scale = 0.1}}
time = {{end = {end}}}
{sampler}
learning = {learning}
"""
SAMPLER = 'sampler = {paths = 64, steps = 4, control = "exact"}'
MIXTURE = 'sampler = {paths = 64, steps = 4, control = "mixture"}'


def problem(learning, end=6.0, sampler=SAMPLER):
    return Problem.parse(TEXT.format(learning=learning, end=end, sampler=sampler), "p.toml")


def test_time_is_that_of_the_flow_unless_steps_are_given():
    found = problem('{optimiser = "sgd", rate = 0.01}').learning
    assert (found.optimiser, found.rate, found.rate_prior, found.batch, found.steps) == ("sgd", 0.01, 0.01, None, 600)
    assert [found.done(t, 6.0) for t in (0.0, 1.0, 6.0)] == [0, 100, 600]
    found = problem('{optimiser = "adam", rate = 0.01, batch = 32, steps = 50}').learning
    assert (found.batch, found.steps) == (32, 50)
    assert [found.done(t, 6.0) for t in (0.0, 1.0, 3.0, 6.0)] == [0, 8, 25, 50]
    # A learned control has the first rate, the prior the second; time goes by the first where there is a control.
    both = '{optimiser = "sgd", rate = 0.02, rate_prior = 0.01}'
    found = problem(both, sampler=MIXTURE).learning
    assert (found.rate_of("prior"), found.rate_of("control"), found.steps) == (0.01, 0.02, 300)
    assert problem(both).learning.steps == 600
    assert problem('{optimiser = "adam", rate_prior = 0.01}').learning.rate_of("prior") == 0.01
    for nothing in (
        problem('{optimiser = "adam", rate = 0.01}', end=0.0).text,
        problem(both).text.replace('["means"]', "[]"),
    ):
        assert Problem.parse(nothing).learning.steps == 0


@pytest.mark.parametrize("learning", ["{}", '{optimiser = "flow"}'])
def test_the_flow_is_the_default(learning):
    assert problem(learning).learning is None


REFUSED = [
    ('{optimiser = "adma"}', 'learning.optimiser: is "adma"; allowed: "flow", "sgd", "adam"'),
    ('{optimizer = "adam"}', 'learning.optimizer: unknown key; did you mean "optimiser"?'),
    ('{optimiser = "adam"}', 'learning.rate: missing; must be a number > 0 with optimiser = "adam"'),
    ('{optimiser = "adam", rate = 0}', "learning.rate: is 0; must be a number > 0"),
    ('{optimiser = "adam", rate = 0.1, rate_prior = -1}', "learning.rate_prior: is -1; must be a number > 0"),
    ('{optimiser = "adam", rate = 0.1, batch = 1}', "learning.batch: is 1; must be >= 2: learning starts as many"),
    ('{optimiser = "adam", rate = 0.1, batch = 2.0}', "learning.batch: is 2.0; must be an integer >= 1"),
    ('{optimiser = "sgd", rate = 0.1, steps = 0}', "learning.steps: is 0; must be an integer >= 1"),
    ('{optimiser = "sgd", rate = 1e-9}', "learning.rate: is 1e-09; must be at least 6e-08, for at most 100,000,000"),
    ("{rate = 0.1}", 'learning.rate: is 0.1; must be left out with optimiser = "flow"'),
    ("{steps = 10}", 'learning.steps: is 10; must be left out with optimiser = "flow"'),
    ("3", "learning: is 3; must be a table"),
]


@pytest.mark.parametrize(("learning", "message"), REFUSED)
def test_refusals(learning, message):
    with pytest.raises(ProblemError) as refused:
        problem(learning)
    assert str(refused.value).startswith(f"p.toml: {message}")
    assert "\n" not in str(refused.value)


def test_what_else_does_not_fit():
    with pytest.raises(ProblemError, match=r"^p\.toml: learning: is given without a \[sampler\]; must be left out"):
        problem("{}", sampler="")
    with pytest.raises(ProblemError, match=r"learning\.steps: is 4; must be left out where nothing is learned"):
        problem('{optimiser = "adam", rate = 0.1, steps = 4}', end=0.0)


SGD = '{optimiser = "sgd", rate = 0.1, batch = 16}'
OF_THE_FLOW = 'learning.optimiser: is "sgd"; must be "flow", which the theory is of'


def test_the_theory_refuses_other_optimisers(tmp_path):
    path, out = tmp_path / "p.toml", tmp_path / "out"
    path.write_text(problem(SGD).text)
    for command in (["solve", str(path), "--out", str(out)], ["compare", str(path)]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"{path}: {OF_THE_FLOW}")
        assert done.stderr.count("\n") == 1
    sweep = tmp_path / "s.toml"
    sweep.write_text(f'base = "{path.name}"\n[grid]\n"target.separation" = [1.0, 2.0]\n')
    done = CliRunner().invoke(app, ["sweep", str(sweep), "--out", str(out), "--workers", "1"])
    assert (done.exit_code, OF_THE_FLOW in done.stderr) == (2, True)
    assert not out.exists()
    # control: the flow is solved
    assert ask.solve(problem("{}", end=0.0), backend="numpy").status == 0


def test_simulations_refuse_steps_that_are_not_theirs_and_rates_that_are_unstable(tmp_path):
    with pytest.raises(ProblemError, match=r"^step: is 0\.1; must be left out: steps are those of learning\.optimiser"):
        ask.simulate(problem(SGD), step=0.1)
    path = tmp_path / "p.toml"
    path.write_text(problem(SGD).text)
    done = CliRunner().invoke(app, ["simulate", str(path), "--out", str(tmp_path / "out"), "--step", "0.1"])
    assert (done.exit_code, done.stderr.partition(";")[0]) == (2, "--step: is 0.1")
    with pytest.raises(ProblemError, match=r"^p\.toml: learning\.rate: is 1\.5; must be, for the steps to be stable"):
        ask.simulate(problem('{optimiser = "sgd", rate = 1.5}'))
    with pytest.raises(ProblemError, match=r"^p\.toml: learning\.rate_prior: is 1\.5; must be"):
        ask.simulate(problem('{optimiser = "sgd", rate = 0.1, rate_prior = 1.5}', sampler=MIXTURE))


def test_simulations_that_take_too_long_are_refused_by_their_steps(monkeypatch):
    monkeypatch.setattr(demands, "available_memory", lambda: 2.0**40)  # not what is asked here
    options = {"particles": 10**6, "replicas": 32, "step": 0.05}
    demands.check_simulation(problem(SGD), **options)
    with pytest.raises(ProblemError, match=r"^p\.toml: learning\.steps: is 100000000; must be at most"):
        demands.check_simulation(problem('{optimiser = "adam", rate = 0.1, steps = 100000000}'), **options)
    assert np.isclose(demands.steps(problem(SGD), 0.05), 60)
