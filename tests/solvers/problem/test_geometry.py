"""Named shapes of targets and their scale: Gram matrices typed in, what is refused, and sweeps over all of it."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from solvers.machine.chance import Stream, generator
from solvers.problem import Problem, ProblemError
from solvers.problem.geometry import SHAPES
from solvers.problem.keys import changed
from solvers.problem.starts import starts
from solvers.sweeps.plan import Sweep
from tests.solvers.problem.problem_text import edited


def of(target, dimension=64, *, components=2):
    """A problem with this [target]."""
    size, many = f"dimension = {dimension}", f"components = {components}"
    return Problem.parse(
        edited(("separation = 3.0", target), ("dimension = 64", size), ("components = 2", many)), "file.toml"
    )


def shape(name, separation=1.0, **keys):
    more = "".join(f"\n{key} = {value}" for key, value in keys.items())
    return f'shape = "{name}"\nseparation = {separation}{more}'


ROOT3, GOLDEN = math.sqrt(3), (1 + math.sqrt(5)) / 2
# c = ν_i·ν_l at separation 1: the nearest two modes are 2 apart.
GRAMS = {
    "pair": (shape("pair"), [[1, -1], [-1, 1]]),
    "square": (shape("square"), [[2, 0, -2, 0], [0, 2, 0, -2], [-2, 0, 2, 0], [0, -2, 0, 2]]),
    # |ν|² = 4/3 at sides of 2, cos 120° = −½
    "triangle": (
        shape("polygon", modes=3),
        [[4 / 3, -2 / 3, -2 / 3], [-2 / 3, 4 / 3, -2 / 3], [-2 / 3, -2 / 3, 4 / 3]],
    ),
    # A hexagon's radius is its side: 4 cos(60° n)
    "hexagon": (shape("polygon", modes=6), [[[4, 2, -2, -4, -2, 2][(i - l) % 6] for l in range(6)] for i in range(6)]),
    # Four corners of a regular tetrahedron of edge 2: 3/2 and −1/2
    "simplex": (shape("simplex", modes=4), [[1.5 if i == l else -0.5 for l in range(4)] for i in range(4)]),
    "orthogonal": (shape("orthogonal", modes=3), [[2, 0, 0], [0, 2, 0], [0, 0, 2]]),
    # Two rows of three: (−2, ∓1), (0, ∓1), (2, ∓1)
    "grid": (
        shape("grid", modes=6),
        [
            *([5, 1, -3, 3, -1, -5], [1, 1, 1, -1, -1, -1], [-3, 1, 5, -5, -1, 3]),
            *([3, -1, -5, 5, 1, -3], [-1, -1, -1, 1, 1, 1], [-5, -1, 3, -3, 1, 5]),
        ],
    ),
    "grid of a prime": (shape("grid", modes=3), [[4, 0, -4], [0, 0, 0], [-4, 0, 4]]),
}


@pytest.mark.parametrize(("target", "gram"), GRAMS.values(), ids=GRAMS)
def test_gram_matrices(target, gram) -> None:
    np.testing.assert_allclose(of(target).target.c, gram, atol=1e-14)
    wide = of(target.replace("separation = 1.0", "separation = 2.5") + "\nscale = 2")
    np.testing.assert_allclose(wide.target.c, 25 * np.array(gram), atol=25e-14)


def test_a_pentagon_by_the_golden_ratio() -> None:
    c = of(shape("polygon", modes=5)).target.c
    # side 2, diagonal 2φ: |ν_i − ν_l|² = 2 c_ii − 2 c_il
    square = 2 * c[0, 0] - 2 * c[0]
    np.testing.assert_allclose(square, [0, 4, 4 * GOLDEN**2, 4 * GOLDEN**2, 4], atol=1e-13)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("modes", [2, 3, 4, 5, 6, 8, 12, 30])
def test_separation_is_half_the_smallest_distance(name, modes) -> None:
    if SHAPES[name].fixed not in (None, modes) or modes < SHAPES[name].least:
        return
    for dimension in (64, max(SHAPES[name].room(modes), 1)):
        problem = of(shape(name, 1.7, modes=modes), dimension)
        assert problem.target.vectors.shape[0] == modes == len(problem.target.weights)
        assert problem.target.vectors.shape[1] <= dimension
        assert pdist(problem.target.vectors).min() / 2 == pytest.approx(1.7, rel=1e-9)  # 30 on a line: far beside near
        assert starts(problem).m.shape == (1, 2, modes)


def test_a_pair_is_what_separation_alone_says() -> None:
    pair, alone = of(shape("pair", 3.0)), of("separation = 3.0")
    np.testing.assert_array_equal(pair.target.vectors, alone.target.vectors)
    for one, other in zip(starts(pair), starts(alone), strict=True):
        np.testing.assert_array_equal(one, other)


def test_scale_multiplies_means_and_overlaps_by_its_square() -> None:
    np.testing.assert_array_equal(of("separation = 1.5\nscale = 2").target.vectors, [[3], [-3]])
    means = of("means = [[1.0], [0.0, 2.0]]\nscale = 3")
    np.testing.assert_array_equal(means.target.vectors, [[3, 0], [0, 6]])
    np.testing.assert_array_equal(means.target.c, [[9, 0], [0, 36]])
    overlaps = of("overlaps = [[1.0, 0.5], [0.5, 1.0]]\nscale = 3")
    np.testing.assert_array_equal(overlaps.target.c, [[9, 4.5], [4.5, 9]])
    np.testing.assert_allclose(overlaps.target.vectors @ overlaps.target.vectors.T, overlaps.target.c, atol=1e-12)
    assert of("overlaps = [[0.0]]\nscale = 1e200").target.c == 0
    assert not of("means = [[1.0], [2.0]]\nscale = 0").target.c.any()


def test_random_modes_are_the_same_for_a_seed_at_every_separation() -> None:
    one = of(shape("random", modes=5, seed=7)).target.vectors
    np.testing.assert_array_equal(of(shape("random", 4.0, modes=5, seed=7)).target.vectors, 4 * one)
    np.testing.assert_array_equal(of(shape("random", modes=5)).target.c, of(shape("random", modes=5, seed=0)).target.c)
    assert not np.allclose(of(shape("random", modes=5, seed=8)).target.vectors, one)
    # and have random numbers of their own
    drawn = [generator(7, 0, stream).standard_normal(20) for stream in Stream]
    assert len({float(numbers[0]) for numbers in drawn}) == len(Stream)


@pytest.mark.parametrize(("modes", "dimension"), [(2, 3), (4, 3)])
def test_random_modes_have_independent_isotropic_directions(modes, dimension) -> None:
    """cos² of the angle between two has mean 1/d; six standard errors of 600 seeds are 2e-9 of false alarm.

    In two dimensions more, the control, it has not. Two modes are drawn by Bartlett's triangle, four plainly.
    """

    def mean(d):
        found = []
        for seed in range(600):
            c = of(shape("random", modes=modes, seed=seed), d).target.c
            found.append(c[0, 1] ** 2 / (c[0, 0] * c[1, 1]))
        return np.mean(found), np.std(found) / math.sqrt(len(found))

    for d, agrees in ((dimension, True), (dimension + 2, False)):
        average, error = mean(d)
        assert (abs(average - 1 / dimension) < 6 * error) == agrees


def test_random_modes_of_huge_dimensions_are_nearly_a_simplex() -> None:
    c = of(shape("random", modes=4), 10**12).target.c
    np.testing.assert_allclose(c, 2 * np.eye(4), atol=1e-4)  # orthogonal and equally long to d^(−1/2)


REFUSED = [
    ('shape = "par"\nseparation = 1.0', 4, 'shape: is "par"; allowed: "pair", "square", "polygon", "simplex", "grid"'),
    ('shpe = "pair"', 4, 'shpe: unknown key; did you mean "shape"?'),
    ('shape = "pair"', 4, "separation: missing; must be a number >= 0, half the smallest distance between modes"),
    ('shape = "simplex"\nseparation = 1.0', 4, "modes: missing; must be an integer >= 2 with target.shape"),
    (shape("polygon", modes=2), 4, 'modes: is 2; must be an integer >= 3 with target.shape = "polygon"'),
    (shape("pair", modes=3), 4, 'modes: is 3; must be 2 or left out with target.shape = "pair"'),
    (shape("square", modes=9), 4, 'modes: is 9; must be 4 or left out with target.shape = "square"'),
    (shape("grid", modes=1), 4, "modes: is 1; must be an integer >= 2"),
    (shape("grid", modes=4.0), 4, "modes: is 4.0; must be an integer >= 2"),
    (shape("grid", modes=10**6), 4, "modes: is 1000000; must be an integer >= 2 and <= 1000"),
    (shape("simplex", modes=4), 2, "modes: is 4; must fit dimension = 2, and 4 modes with target.shape"),
    (shape("orthogonal", modes=4), 3, "modes: is 4; must fit dimension = 3, and 4 modes with target.shape"),
    (shape("square"), 1, 'shape: is "square"; must fit dimension = 1, and 4 modes'),
    (shape("polygon", modes=3), 1, 'shape: is "polygon"; must fit dimension = 1'),
    (shape("grid", modes=4), 1, 'shape: is "grid"; must fit dimension = 1'),
    (shape("square", seed=1), 4, 'seed: is 1; must be left out with target.shape = "square", only "random" has one'),
    (shape("random", modes=3, seed=-1), 4, "seed: is -1; must be an integer >= 0"),
    ("separation = 1.0\nmodes = 2", 4, "modes: is 2; must be left out without target.shape"),
    ("means = [[1.0]]\nseed = 2", 4, "seed: is 2; must be left out without target.shape"),
    ("separation = 1.0\nscale = -1", 4, "scale: is -1; must be a number >= 0"),
    ("separation = 1e150\nscale = 1e10", 4, "scale: is 10000000000; its overlaps exceed the range of float64"),
    ("overlaps = [[1.0]]\nscale = 1e200", 4, "scale: is 1e+200; its overlaps exceed the range of float64"),
    (shape("orthogonal", 1e200, modes=2), 4, "separation: is 1e+200; its overlaps exceed the range of float64"),
    (shape("square") + "\nweights = [0.5, 0.5]", 4, "weights: has 2 entries, must have 4, one per mode"),
    (shape("square") + "\nvariances = [1.0]", 4, "variances: has 1 entries, must be a number or have 4, one per mode"),
]


@pytest.mark.parametrize(("target", "dimension", "message"), REFUSED)
def test_refusals(target, dimension, message) -> None:
    with pytest.raises(ProblemError) as refused:
        of(target, dimension)
    assert str(refused.value).startswith("file.toml: target." + message)
    assert "\n" not in str(refused.value)


def test_a_shape_beside_means_is_one_geometry_too_many() -> None:
    with pytest.raises(
        ProblemError, match="target: has means and shape; must have exactly one of separation, means, ov"
    ):
        of('shape = "pair"\nmeans = [[1.0]]')


SWEEP = """
[problem]
dimension = 8
target = {shape = "simplex", modes = 3, separation = 2.0}
family = {components = 2}
init = {scale = 0.1}
time = {end = 1.0}
[grid]
"""


def test_sweeps_vary_all_of_it() -> None:
    keys = {
        "target.separation": "{start = 1.0, stop = 2.0, count = 3}",
        "target.scale": "[0.5, 1.0]",
        "target.modes": "[2, 3, 9]",
        "target.shape": '["simplex", "random"]',
    }
    sweep = Sweep.parse(SWEEP + "\n".join(f'"{key}" = {values}' for key, values in keys.items()))
    problems = {index: sweep.problem(index) for index in np.ndindex(sweep.shape)}
    assert {len(problem.target.weights) for problem in problems.values()} == {2, 3, 9}
    for (i, j, _, _), problem in problems.items():
        assert pdist(problem.target.vectors).min() / 2 == pytest.approx([1, 1.5, 2][i] * [0.5, 1][j])


@pytest.mark.parametrize(
    ("grid", "target", "message"),
    [
        ('"target.modes" = [3, 12]', "", r"\(target.modes = 12\): target.modes: is 12; must fit dimension = 8"),
        ('"target.modes" = [3, 4]', ", weights = [0.2, 0.3, 0.5]", "target.weights: has 3 entries, must have 4, one"),
        ('"target.modes" = [3, 4]', ", variances = [1, 1, 1]", "target.variances: has 3 entries, must be a number"),
        ('"target.shape" = ["simplex", "pair"]', "", "target.modes: is 3; must be 2 or left out"),
        ('"target.modes" = {start = 2.0, stop = 4.0, count = 3}', "", "target.modes: is 2.0; must be an integer"),
    ],
)  # fmt: skip
def test_points_that_are_none_are_named(grid, target, message) -> None:
    with pytest.raises(ProblemError, match=message):
        Sweep.parse(SWEEP.replace("separation = 2.0", "separation = 2.0" + target) + grid)


def test_continuations_follow_scale_and_separation() -> None:
    problem = of(shape("square", 1.0) + "\nscale = 1.0")
    np.testing.assert_allclose(changed(problem, "target.scale", 2.0).target.c, 4 * problem.target.c)
    np.testing.assert_allclose(changed(problem, "target.separation", 2.0).target.c, 4 * problem.target.c)
