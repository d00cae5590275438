"""Sweep files: grids over any keys of a problem, and the one message for what cannot be swept."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts
from solvers.sweeps.plan import Sweep
from solvers.sweeps.prepare import layout
from tests.limits import ROUNDING
from tests.solvers.sweeps.sweep_cases import ROOT, SMALL, sweep

RANGE = '"target.separation" = {start = 1.0, stop = 4.0, count = 4}'


def test_every_point_is_the_problem_with_its_keys_replaced() -> None:
    plan = sweep()
    assert plan.shape == (4, 2)
    problem = plan.problem((3, 1))
    assert problem.target.c[0, 0] == 16.0
    assert problem.family.learn == ("means", "weights")
    again = Problem.parse(plan.problem_text((3, 1)))
    np.testing.assert_array_equal(again.target.c, problem.target.c)
    # the base itself is left alone
    assert plan.problem((0, 0)).family.learn == ("means",)
    assert plan.base["target"] == {"separation": 3.0}


def test_values_of_a_grid() -> None:
    grid = """
    "target.separation" = {start = 1, stop = 2.0, count = 3}
    "init.scale" = {start = 0.01, stop = 1.0, count = 3, spacing = "log"}
    dimension = {start = 4, stop = 64, count = 3, spacing = "log"}
    "flow.weights" = ["softmax", "fisher-rao"]
    "init.samples" = [5, 50]
    """
    plan = sweep(SMALL[: SMALL.index(RANGE)] + grid)
    values = {axis.key: axis.values for axis in plan.axes}
    assert values["target.separation"] == (1.0, 1.5, 2.0)
    np.testing.assert_allclose(values["init.scale"], [0.01, 0.1, 1.0], rtol=ROUNDING)
    assert values["dimension"] == (4, 16, 64)
    assert plan.axes[3].coordinate.tolist() == ["softmax", "fisher-rao"]
    assert plan.axes[1].coordinate.dtype == np.float64
    assert plan.starts == 3 * 3 * 3 * 2 * 55
    # the unit of a problem with 50 starts holds many points, yet there is work for many workers
    assert np.prod(layout(plan).block) == 108 // 64


def test_a_key_may_lead_into_a_list() -> None:
    """The other weights of a list make up for the one that is varied."""
    base = SMALL[: SMALL.index("[grid]")].replace("separation = 3.0", "separation = 3.0\nweights = [0.5, 0.5]")
    plan = sweep(base + '[grid]\n"target.weights.0" = [0.2, 0.4]\n')
    np.testing.assert_allclose(
        [plan.problem((i,)).target.weights for i in (0, 1)], [[0.2, 0.8], [0.4, 0.6]], rtol=ROUNDING
    )
    for key, message in {
        "target.weights.2": "2 is no entry of the list; must be from 0 to 1",
        "target.weights.x": "x is",
    }.items():
        with pytest.raises(ProblemError, match=rf"sweep\.toml \({key} = 0\.2\): {key}: {message}"):
            sweep(base + f'[grid]\n"{key}" = [0.2]\n')


def test_values_that_belong_together_are_tables() -> None:
    """Keys of one section varied together, along one dimension of the result."""
    plan = sweep(
        SMALL[: SMALL.index("[grid]")] + "[grid]\ninit = [{scale = 0.5, samples = 40}, {scale = 0.1, samples = 90}]\n"
    )
    assert [plan.problem((i,)).init.samples for i in (0, 1)] == [40, 90]
    assert plan.starts == 130
    assert plan.axes[0].coordinate.tolist() == ['{"scale": 0.5, "samples": 40}', '{"scale": 0.1, "samples": 90}']


def test_a_base_file_is_found_beside_the_sweep(tmp_path) -> None:
    (tmp_path / "base.toml").write_text(
        "dimension = 8\n[target]\nseparation = 3.0\n[family]\ncomponents = 2\n[init]\nscale = 0.5\n[time]\nend = 1.0\n"
    )
    (tmp_path / "sweep.toml").write_text(f'base = "base.toml"\n[grid]\n{RANGE}\n')
    plan = Sweep.load(tmp_path / "sweep.toml")
    assert plan.base_text == (tmp_path / "base.toml").read_text()
    with pytest.raises(ProblemError, match=r"none.toml: cannot be read \(No such file or directory\)"):
        Sweep.load(tmp_path / "none.toml")


def test_starts_are_common_along_the_grid() -> None:
    """The same random numbers, scaled: m is linear in the separation, s does not know it."""
    plan = sweep()
    one, three = (starts(plan.problem((i, 0)), range(10)) for i in (0, 2))
    np.testing.assert_allclose(three.m, 3 * one.m, rtol=1e-14)
    np.testing.assert_array_equal(three.s, one.s)
    # kept numbers are those drawn afresh
    np.testing.assert_array_equal(starts(plan.problem((0, 0)), range(10)).s, one.s)
    np.testing.assert_array_equal(starts(plan.problem((0, 0)), [3, 7]).s, one.s[[3, 7]])


REFUSED = {
    "an invalid value": (
        ("start = 1.0", "start = -1.0"),
        'sweep.toml (target.separation = -1, family.learn = ["means"]): target.separation: is -1; must be',
    ),
    "an unknown key": (
        ('"target.separation"', '"target.seperation"'),
        'target.seperation: unknown key; did you mean "separation"?',
    ),
    "a key below a number": (
        ('"target.separation"', '"dimension.x"'),
        "dimension.x: dimension is 8 in the problem; must be a table or a list",
    ),
    "a key without quotes": (('"target.separation" =', "target.separation ="), 'quote "target.separation"'),
    "two ways to give a target": (
        ('"target.separation" = {start = 1.0, stop = 4.0, count = 4}', '"target.means" = [[[1.0], [2.0]]]'),
        "target: has separation and means; must have exactly one",
    ),
    "a part of another key": (("[grid]", '[grid]\n"target" = [{separation = 1.0}]'), "is part of target"),
    "a value twice": ((RANGE, '"init.seed" = [1, 1]'), 'sweep.toml: grid."init.seed": has 1 twice'),
    "an empty list": ((RANGE, '"init.seed" = []'), 'grid."init.seed": is []; must be a list of values or'),
    "a single count": (("count = 4", "count = 1"), 'grid."target.separation".count: is 1; must be an integer from 2'),
    "no stop": (("stop = 4.0, ", ""), 'grid."target.separation".stop: missing'),
    "an unknown spacing": (
        ("count = 4", 'count = 4, spacing = "sqrt"'),
        'spacing: is "sqrt"; allowed: "linear", "log"',
    ),
    "a spacing that is a list": (
        ("count = 4", 'count = 4, spacing = ["log"]'),
        'spacing: is ["log"]; allowed: "linear", "log"',
    ),
    "a logarithm of zero": (
        ("start = 1.0, stop = 4.0, count = 4", 'start = 0, stop = 4.0, count = 4, spacing = "log"'),
        "must be > 0 with logarithmic spacing",
    ),
    "an infinite value": ((RANGE, '"init.scale" = [1.0, inf]'), 'grid."init.scale": has inf; numbers must be finite'),
    "no grid": ((SMALL[SMALL.index("[grid]") :], ""), "grid: missing; must be a table of keys"),
    "no problem": ((SMALL[: SMALL.index("[grid]")], ""), "base: the file has neither base nor problem"),
    "an unknown section": (("[grid]", "[girds]"), 'girds: unknown key; did you mean "grid"?'),
    "quantities that are no list": (
        ("[grid]", '[output]\nquantities = "collapsed"\n[grid]'),
        "must be a list of names",
    ),
    "an unknown refinement": (
        ("[grid]", '[refine]\nquantity = "lost"\n[grid]'),
        'refine.quantity: is "lost"; must be one of',
    ),
    "no levels": (("[grid]", "[refine]\nlevels = 0\n[grid]"), "refine.levels: is 0; must be an integer from 1 to 20"),
    "nothing to refine": (("count = 4", "count = 2"), None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_file_key_and_value(name: str) -> None:
    edit, message = REFUSED[name]
    edits = [edit]
    if message is None:
        edits.append(("[grid]", "[refine]\n[grid]"))
        message = "refine: no key of the grid has three numbers or more"
    with pytest.raises(ProblemError) as error:
        sweep(SMALL, *edits)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", sorted((ROOT / "figures" / "sweeps").glob("*.toml")), ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_the_code_are_valid(path) -> None:
    plan = Sweep.load(path)
    assert plan.points > 1
