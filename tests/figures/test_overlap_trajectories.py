"""overlap_trajectories: what it draws, of which starts, legibly for any problem; and its reference numbers."""

import json
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Annotation
from scipy.stats import t as student

from figures import overlap_trajectories as figure
from figures.files import STYLE
from figures.stored import PROBLEMS
from solvers.closed import flow
from solvers.problem import Problem
from solvers.results.errors import ResultError
from tests.figures.figure_results import TINY, made_up
from tests.figures.legible import drawn_whole

REFERENCE = Path(__file__).parent / "reference" / "overlap_trajectories.json"


@pytest.fixture(scope="module")
def stored():
    return figure.RESULTS["theory"]


@pytest.fixture(scope="module")
def solved(stored):
    """The theory as the figure draws it, and a made-up simulation."""
    problem = stored.load_problem()
    return made_up(problem) | {"theory": flow.solve(problem, **stored.options)}


def test_reference_numbers(solved):
    """To renew them after a change that is meant to move them: python -m figures, then copy outputs/NAME.json."""
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))["numbers"]
    found = figure.numbers(solved)
    assert found.keys() == reference.keys()
    assert found["time"] == reference["time"]
    for start in ("start 0", "start 1"):
        expected = reference[start]["theory"]
        assert found[start]["theory"].keys() == expected.keys()
        assert found[start]["theory"].pop("outcome") == expected.pop("outcome")
        for name, values in found[start]["theory"].items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-7, err_msg=f"{start}, {name}")


def test_reference_has_one_start_of_each_outcome_and_a_simulation_that_follows():
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))["numbers"]
    outcomes = [reference[start]["theory"]["outcome"] for start in ("start 0", "start 1")]
    assert outcomes == ["both modes recovered", "collapsed onto one mode (aligned)"]
    for start in ("start 0", "start 1"):
        theory, simulation, error = (reference[start][kind] for kind in ("theory", "simulation", "standard error"))
        assert simulation.pop("outcome") == theory.pop("outcome")
        for name, values in theory.items():
            # Six standard errors of 32 replicas, and the bias of the step, which they do not contain.
            allowed = 6 * np.array(error[name]) + 0.01
            assert np.all(np.abs(np.subtract(simulation[name], values)) <= allowed), (start, name)


def test_lines_points_and_bands_are_the_stored_numbers():
    results = made_up(Problem.parse(TINY), replicas=8)
    panels = figure.main(results).axes
    times, quantile = results["theory"]["time"].values, student.ppf(0.975, 7)
    # Rows m/R², w, mode mass, D; columns the recovered and the collapsed start.
    expected = {0: ("m", {"component": 0, "mode": 0}, 4.0), 2: ("w", {"component": 0}, 1.0), 6: ("objective", {}, 1.0)}
    for first, (name, entry, unit) in expected.items():
        for sample, panel in enumerate(panels[first : first + 2]):
            theory, mean, error = (
                results[kind][name + suffix].isel(sample=sample, **entry).values / unit
                for kind, suffix in (("theory", ""), ("simulation", ""), ("simulation", "_se"))
            )
            line = panel.get_lines()[0]
            np.testing.assert_array_equal(line.get_xydata(), np.stack([times, theory], 1))
            points, _, (bars,) = panel.containers[0]
            np.testing.assert_array_equal(points.get_xydata(), np.stack([times, mean], 1))
            np.testing.assert_allclose(bars.get_segments()[0][:, 1], mean[0] + np.array([-1, 1]) * error[:1] * quantile)
            band = panel.collections[0].get_paths()[0].get_extents()
            spread = error * quantile * np.sqrt(8)
            np.testing.assert_allclose([band.y0, band.y1], [np.min(mean - spread), np.max(mean + spread)])


def test_a_recovered_start_is_drawn_beside_a_collapsed_one():
    problem = Problem.parse(TINY.replace("samples = 2", "samples = 4"))
    assert figure.drawn(made_up(problem, collapsed=[1, 1, 0, 0])) == [2, 0]
    assert figure.drawn(made_up(problem, collapsed=[1, 1, 0, 0], status=[2, 0, 0, 0])) == [2, 1]
    assert figure.drawn(made_up(problem, collapsed=[1])) == [0, 1]
    assert figure.drawn(made_up(problem, collapsed=[0, 1], status=[0, 2, 1, 2])) == [0]
    with pytest.raises(ResultError, match="no sample reached the last time"):
        figure.main(made_up(problem, status=[2] * 4))


def test_results_of_different_problems_are_refused():
    results = made_up(Problem.parse(TINY)) | {"theory": made_up(Problem.parse(TINY + "# other\n"))["theory"]}
    with pytest.raises(ResultError, match="different problems"):
        figure.main(results)


def test_caption_says_what_is_drawn():
    text = figure.caption(made_up(Problem.parse(TINY), replicas=8, particles=77))
    for part in (
        "K = 2, L = 2, d = 3, R = max |ν_l| = 2",
        "learning means and weights (softmax weights)",
        "Start 0 (counted from 0): both modes recovered at t = 1, in theory and simulation.",
        "Start 1 (counted from 0): collapsed onto one mode (aligned) at t = 1, in theory and simulation.",
        "a lost mode may come back later",
        "mean over 8 replicas",
        "77 fresh particles",
        "step of at most 0.05",
        "mean ± 2.36 standard deviations",
    ):
        assert part in text


def test_a_mode_that_came_back_is_said_with_its_time():
    results = made_up(Problem.parse(TINY))
    results["theory"]["recovered_at"][0] = 0.75
    assert "Start 0 (counted from 0): both modes recovered from t = 0.75 on" in figure.caption(results)
    assert figure.main(results).axes[0].get_title() == "both modes recovered from t = 0.75 on"


def test_long_plateaus_have_a_logarithmic_axis():
    assert figure.main(made_up(Problem.parse(TINY))).axes[0].get_xscale() == "linear"
    spread = TINY.replace("end = 1.0\nsave = 5", "end = 1000.0\nsave = [0.0, 0.1, 1.0, 10.0, 100.0, 1000.0]")
    drawing = figure.main(made_up(Problem.parse(spread)))
    assert {ax.get_xscale() for ax in drawing.axes} == {"log"}
    assert drawing.axes[0].get_xlim() == (0.1, 1000.0)


PLAIN = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PROBLEMS.glob("*.toml"))}
ODD = {
    "one mode": TINY.replace("separation = 2.0", "means = [[1.0]]"),
    "mode at the origin": TINY.replace("separation = 2.0", "means = [[0.0], [1.0]]"),
    "one time": TINY.replace("end = 1.0\nsave = 5", "end = 0.0\nsave = 1"),
    "large dimension": TINY.replace("dimension = 3", "dimension = 1000000"),
    "six components": TINY.replace("components = 2", "components = 6"),
    "twelve weights": TINY.replace(
        "separation = 2.0",
        f"means = {[[float(x)] for x in range(12)]}\nweights = {[n / 78 for n in range(1, 13)]}",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("text", [*PLAIN.values(), *ODD.values()], ids=[*PLAIN, *ODD])
def test_nothing_is_clipped_and_no_names_overlap(text):
    drawing = figure.main(made_up(Problem.parse(text)))
    renderer = drawn_whole(drawing)
    for panel in drawing.axes:
        names = [child for child in panel.get_children() if isinstance(child, Annotation) and child.get_text()]
        boxes = {name: name.get_window_extent(renderer) for name in (*names, panel.title) if name.get_text()}
        for (one, box), (other, another) in combinations(boxes.items(), 2):
            # Boxes hold some white around the letters: 4 points of 8 may coincide.
            shared = min(box.y1, another.y1) - max(box.y0, another.y0)
            apart = box.x1 <= another.x0 or another.x1 <= box.x0
            assert apart or shared <= 4 * drawing.dpi / 72, (one.get_text(), other.get_text())


def test_of_many_lines_some_have_names_and_the_caption_says_so():
    """Names stand where their lines end, of the first of lines that end near one another; of few, all have one."""
    for text, few in ((TINY, True), (PLAIN["grid_9"], False)):
        results = made_up(Problem.parse(text))
        assert ("Of more than 8 lines some have names" in figure.caption(results)) is not few
        table, panels = figure.rows(Problem.parse(text)), figure.main(results).axes
        for row, panel in zip(table[:-1], panels[::2], strict=False):
            written = {note.get_text(): note.xy[1] for note in panel.texts if isinstance(note, Annotation)}
            ends = {curve.name: curve.of(results["theory"])[figure.drawn(results)[0], -1] for curve in row.curves}
            found = [name for name in ends if name in written]
            if len(ends) <= figure.NAMED:
                assert found == list(ends)
                continue
            assert found[0] == next(iter(ends))
            low, high = panel.get_ylim()
            for name, end in ends.items():
                if name in written:
                    assert written[name] == pytest.approx(end)
                else:
                    assert min(abs(end - written[other]) for other in found) < figure.GAP * (high - low)


def test_colours_differ_in_greyscale():
    with matplotlib.rc_context(fname=STYLE):
        looks = list(matplotlib.rcParams["axes.prop_cycle"])
    grey = [np.dot(to_rgb(look["color"]), [0.299, 0.587, 0.114]) for look in looks]
    assert all(abs(one - other) > 0.1 for one, other in combinations(grey, 2))
    assert len({look["marker"] for look in looks}) == len(looks)
