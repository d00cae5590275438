"""At rest or in transit: what is known of equilibria, plateaus and dying weights, by either backend."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from solvers import ask
from solvers.closed import systems
from solvers.closed.equations import Closed
from solvers.closed.flow import velocity
from solvers.equilibria import rest
from solvers.equilibria.field import Field
from solvers.equilibria.rest import at_rest
from solvers.problem import Problem
from solvers.results.lifetimes import survival
from solvers.results.mechanisms import LABELS

FOLDER = Path(__file__).parents[3] / "figures" / "problems"


def problem(name: str, end: float, **changes: str) -> Problem:
    """A problem of figures/problems/ to another time, with texts replaced."""
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").replace("end = 15.0", f"end = {end}")
    for old, new in changes.items():
        before = {"learn": 'learn = ["means", "weights"]', "samples": "samples = 2"}[old]
        assert before in text
        text = text.replace(before, new)
    return Problem.parse(text, name)


def words(run: xr.Dataset, name: str) -> list[str]:
    names = LABELS[name].names
    return [names[code] for code in run[name].values.tolist()]


#: Of the statement of what this is for: these starts had "collapsed" at t = 15 and recover later.
KNOWN = [("overlap_trajectories", 1, 150.0), ("two_modes", 0, 100.0), ("unequal_weights", 1, 50.0)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "start", "recovered"), KNOWN)
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_showcases_are_transients(name: str, start: int, recovered: float, backend: str) -> None:
    early = ask.solve(problem(name, 15.0), backend=backend)
    assert early.collapsed.values[start] == 1
    assert words(early, "at_rest")[start] == "in_transit"
    assert words(early, "collapse")[start].endswith("_in_transit")
    assert np.isnan(early.recovered_at.values[start])
    late = ask.solve(problem(name, recovered), backend=backend)
    assert late.collapsed.values.tolist() == [0, 0]
    assert 15.0 < late.recovered_at.values[start] <= recovered
    end = ask.solve(problem(name, 1000.0), backend=backend)
    assert words(end, "at_rest") == ["stable", "stable"]
    assert words(end, "collapse") == ["none_at_rest", "none_at_rest"]


def test_with_fixed_weights_collapse_is_an_attractor() -> None:
    run = ask.solve(problem("two_modes", 1000.0, learn='learn = ["means"]', samples="samples = 100"))
    found = Counter(zip(words(run, "collapse"), words(run, "at_rest"), strict=True))
    assert set(found) == {("aligned_at_rest", "stable"), ("none_at_rest", "stable")}
    assert found["aligned_at_rest", "stable"] == run.collapsed.values.sum() > 5
    assert np.isnan(run.recovered_at.values).sum() == run.collapsed.values.sum()


#: P(some mode is lost at t) of 500 starts of two_modes.toml: at t = 15, 100, 1e3, 1e4, 1e5, measured by a run for each
#: entry, with no lifetimes known.
TABLE = {
    (3.0, "softmax", True): [0.154, 0.058, 0.022, 0.000, 0.000],
    (4.0, "softmax", True): [0.406, 0.208, 0.152, 0.118, 0.074],
    (6.0, "softmax", True): [0.836, 0.598, 0.408, 0.340, 0.310],
    (3.0, "softmax", False): [0.134, 0.134, 0.134, 0.134],
    (4.0, "softmax", False): [0.226, 0.226, 0.226, 0.226],
}
LATER = [15.0, 100.0, 1e3, 1e4, 1e5]


def starts_of(R: float, weights: str, learned: bool, times: list[float]) -> xr.Dataset:
    text = (FOLDER / "two_modes.toml").read_text(encoding="utf-8")
    edits = {"separation = 3.0": f"separation = {R}", "samples = 2": "samples = 500", '"softmax"': f'"{weights}"'}
    edits |= {"end = 15.0": f"end = {times[-1]}", "save = 61": f"save = {[0.0, *times]}"}
    edits |= {} if learned else {'["means", "weights"]': '["means"]'}
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new)
    return ask.solve(Problem.parse(text))


@pytest.mark.slow
@pytest.mark.parametrize(("R", "weights", "learned"), TABLE)
def test_survival_out_of_one_run(R: float, weights: str, learned: bool) -> None:
    """Every column of a table that took five runs a row. Two of 500 starts may be on the other side of a threshold."""
    known = TABLE[R, weights, learned]
    run = starts_of(R, weights, learned, LATER[: len(known)])
    curve = survival(run)
    np.testing.assert_allclose(curve.collapsed.values[1:], known, rtol=0, atol=0.004)
    assert (curve.collapsed_low[1:] <= known).all()
    assert (known <= curve.collapsed_high[1:]).all()
    # From t = 15 on no start loses a mode again, so both curves are one.
    np.testing.assert_allclose(curve.surviving.values[1:], curve.collapsed.values[1:], rtol=0, atol=0.004)
    lost = words(run, "collapse")
    assert all(word.endswith("at_rest") for word in lost) or learned or R > 3
    # The negative control: what is measured at another time is rejected where modes recover.
    assert learned == bool(np.abs(known[0] - curve.collapsed.values[2]) > 0.05)


RESTING = """
dimension = {d}
target.separation = {R}
family = {{components = 2, learn = {learn}}}
flow.weights = "{weights}"
init = {init}
time = {{end = {end}, save = [0.0, {end}]}}
"""


def one(**changes: object) -> xr.Dataset:
    given = {"d": 3, "R": 3.0, "learn": '["means"]', "weights": "softmax", "end": 1000.0} | changes
    return ask.solve(Problem.parse(RESTING.format(**given), "rest"))


@pytest.mark.parametrize(
    ("init", "found"),
    [
        ("{means = [[3.0], [-2.9]]}", "stable"),
        ("{means = [[3.0], [2.0]]}", "stable"),  # a pair at one mode, split along it
        ("{means = [[2.9], [2.9]]}", "saddle"),  # exactly aligned: the split grows
        ("{means = [[0.0], [0.0]]}", "saddle"),  # between the modes
    ],
)
def test_equilibria_are_told_apart_in_all_directions(init: str, found: str) -> None:
    assert words(one(init=init), "at_rest") == [found]


def test_a_start_close_to_a_saddle_is_in_transit_however_slow() -> None:
    """An aligned pair at R = 6: it moves at less than 1e-8 and leaves at ½κR²; the speed of a plateau is no rest."""
    run = one(R=6.0, init="{means = [[6.0], [6.00002]]}", end=40.0)
    assert words(run, "at_rest") == ["in_transit"]
    given = Problem.parse(run.attrs["problem"])
    s, m, w = (run[name].values[:, -1] for name in "smw")
    speed = velocity(given, systems.for_problem(given), s, m, np.log(w))
    assert max(np.abs(part).max() for part in speed[:2]) < 1e-8


def test_a_weight_that_dies_is_in_transit_for_ever() -> None:
    """1/t under softmax, e^(−Δt) under Fisher–Rao, with Δ = 18 + log 2 far from all modes."""
    for weights, end in (("softmax", 1e6), ("fisher-rao", 10.0)):
        run = one(learn='["weights"]', weights=weights, init="{means = [[0.0], [9.0]]}", end=end)
        assert run.w.values[0, -1, 1] < 1e-6
        assert words(run, "at_rest") == ["in_transit"]


def test_what_nothing_here_decides_says_so() -> None:
    text = RESTING.format(d=3, R=3.0, learn='["means"]', weights="softmax", init="{means = [[3.0], [-3.0]]}", end=100.0)
    wide = Problem.parse(text.replace("components = 2,", "components = 2, variances = [1.0, 1.1],"))
    still = Problem.parse(text.replace('["means"]', "[]"))
    for given in (wide, still):
        assert words(ask.solve(given), "at_rest") == ["undecided"]
    # Unasked, nobody knows; a schedule that runs moves everything, one that is over nothing.
    assert words(ask.solve(Problem.parse(text), rest=False), "at_rest") == ["undecided"]
    for rate, found in ((1e-4, "in_transit"), (10.0, "stable")):
        warm = text.replace('weights = "softmax"', f"temperature = {{start = 4.0, rate = {rate}}}")
        assert words(ask.solve(Problem.parse(warm), backend="numpy"), "at_rest") == [found]


def test_failed_runs_stay_unknown() -> None:
    run = one(init="{means = [[3.0], [-3.0]]}")
    failed = run.assign(status=run.status * 0 + 2, at_rest=run.at_rest * 0 - 1)
    assert at_rest(Closed.of(Problem.parse(run.attrs["problem"])), failed).tolist() == [-1]


@pytest.mark.parametrize("end", [50.0, 300.0])
def test_equilibria_that_are_known_change_no_answer(end: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What most runs rest on is found once; Newton's method alone says the same of every run."""
    given = problem("two_modes", end, samples="samples = 400")
    run = ask.solve(given, rest=False)
    alone = at_rest(Closed.of(given), run)
    monkeypatch.setattr(rest, "TOGETHER", 40 * 64)
    asked, newton = [], rest._newton

    def counted(*args):
        asked.append(len(args[1]))
        return newton(*args)

    monkeypatch.setattr(rest, "_newton", counted)
    np.testing.assert_array_equal(at_rest(Closed.of(given), run), alone)
    assert {int(code) for code in alone} <= {0, 1}
    assert sum(asked) < 200 or end < 100  # most runs were spared


def test_states_that_differ_by_a_sign_are_told_apart() -> None:
    field = Field.of(problem("two_modes", 1.0))
    y = np.zeros((5, field.system.size))
    y[0, 0], y[0, field.space.directions] = 3.0, -3.0
    y[1] = -y[0]
    y[2:4], y[4] = y[:2], y[0]
    groups = rest._alike(field, y, np.array([True, True, True, True, False]))
    assert sorted(group.tolist() for group in groups) == [[0, 2], [1, 3]]
