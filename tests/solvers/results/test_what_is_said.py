"""What a result says of itself is what was done: the objective by its formula, the tolerances that were used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from solvers import ask
from solvers.problem import Problem
from solvers.results.datasets import objective_of
from solvers.sweeps import prepare
from solvers.sweeps.plan import Sweep

TEXT = """
dimension = 3
[target]
separation = 1.0
[family]
components = 2
[flow]
{flow}
[init]
scale = 0.3
[time]
end = 0.1
save = [0.1]
"""
SAMPLER = "[sampler]\nsteps = 2\npaths = 16\n"


@pytest.mark.parametrize(
    ("flow", "more", "formula"),
    [
        ("", "", "KL(q‖p)"),
        ('objective = "forward-kl"', "", "KL(p‖q)"),
        ("temperature = 2.0", "", "E_q[log q − log p / T], T the temperature at the time"),
        ("temperature = {start = 2.0, rate = 1.0}", "", "E_q[log q − log p / T], T the temperature at the time"),
        ("batch = {size = 2, step = 0.1}", "", "KL(q‖p)"),
        ("", SAMPLER, "KL of the sampler's paths from the target's, −elbo"),
    ],
)
def test_an_objective_is_called_what_it_is(flow: str, more: str, formula: str) -> None:
    problem = Problem.parse(TEXT.format(flow=flow) + more)
    assert objective_of(problem) == formula
    runs = [ask.solve(problem, backend="numpy", rest=False)]
    if "batch" in flow:
        runs.append(ask.simulate(problem, replicas=2, backend="numpy"))
    else:
        runs.append(ask.simulate(problem, particles=8, replicas=2, step=0.1, backend="numpy"))
    assert {run.objective.attrs["long_name"] for run in runs} == {f"objective, {formula}"}
    assert formula in runs[1].objective_se.attrs["long_name"]


@pytest.mark.parametrize(
    ("objective", "formula"),
    [
        ("reverse-kl + 0.3 forward-kl", "KL(q‖p) + 0.3 KL(p‖q)"),
        ("0.5 reverse-kl(2)", "0.5 E_q[log q − 2 log p]"),
    ],
)
def test_sums_are_sums_of_formulas(objective: str, formula: str) -> None:
    problem = Problem.parse(TEXT.format(flow=""))
    assert objective_of(replace(problem, flow=replace(problem.flow, objective=objective))) == formula


@pytest.mark.parametrize(
    ("more", "asked", "used"),
    [("", (1e-7, 1e-9), (1e-7, 1e-9)), (SAMPLER, (1e-8, 1e-10), (1e-4, 1e-5)), (SAMPLER, (1e-3, 1e-4), (1e-3, 1e-4))],
)
def test_tolerances_are_those_that_were_used(more: str, asked: tuple[float, float], used: tuple[float, float]) -> None:
    run = ask.solve(
        Problem.parse(TEXT.format(flow="") + more), rtol=asked[0], atol=asked[1], backend="numpy", rest=False
    )
    assert (run.attrs["rtol"], run.attrs["atol"]) == used
    grid = '[grid]\n"target.separation" = [1.0, 2.0]\n[output]\nquantities = ["objective"]\n'
    problem = TEXT.format(flow="").replace("\n[", "\n[problem.").replace("\ndimension", "\n[problem]\ndimension")
    sweep = Sweep.parse(problem + more.replace("[sampler]", "[problem.sampler]") + grid)
    assert tuple(prepare.tolerances(sweep, *asked).values()) == used


def test_finer_tolerances_change_nothing_where_they_are_not_used() -> None:
    problem = Problem.parse(TEXT.format(flow="") + SAMPLER)
    fine, used = (
        ask.solve(problem, rtol=rtol, atol=atol, backend="numpy") for rtol, atol in ((1e-9, 1e-11), (1e-5, 1e-7))
    )
    assert fine.identical(used)
