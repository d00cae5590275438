"""Problem files: what is read (what is refused is in test_problem_refusals.py)."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from solvers.problem import Problem, ProblemError
from tests.solvers.problem.problem_text import BASE, edited

EXAMPLES = sorted((Path(__file__).parents[3] / "figures" / "problems").glob("*.toml"))


def test_defaults():
    problem = Problem.parse(BASE)
    assert (problem.dimension, problem.name, problem.text) == (64, "problem", BASE)
    np.testing.assert_array_equal(problem.target.c, [[9, -9], [-9, 9]])
    np.testing.assert_array_equal(problem.target.vectors, [[3], [-3]])
    np.testing.assert_array_equal(problem.target.weights, [0.5, 0.5])
    np.testing.assert_array_equal(problem.target.variances, [1, 1])
    np.testing.assert_array_equal(problem.family.weights, [0.5, 0.5])
    np.testing.assert_array_equal(problem.family.variances, [1, 1])
    assert problem.family.learn == ("means",)
    assert (problem.flow.objective, problem.flow.weights, problem.flow.metric) == ("reverse-kl", "softmax", "euclidean")
    assert problem.flow.temperature == 1.0
    assert (problem.init.scale, problem.init.means, problem.init.overlaps) == (0.125, None, None)
    assert (problem.init.samples, problem.init.seed) == (1, 0)
    np.testing.assert_allclose(problem.time.times, np.linspace(0, 10, 51))
    assert problem.sampler is None


def test_everything_that_can_be_typed():
    problem = Problem.parse("""
dimension = 3
[target]
means = [[3], [-1.0], [0.0, 2.0], []]
weights = [0.1, 0.2, 0.3, 0.4]
variances = [0.5, 0.5, 0.5, 0.5]
[family]
components = 2
weights = [1e-300, 1.0]
variances = 2
learn = ["weights", "means"]
[flow]
objective = "reverse-kl"
weights = "fisher-rao"
metric = "euclidean"
temperature = 1
[init]
means = [[0.1, 0.2, 0.3], []]
seed = 7
[time]
end = 2
save = [0.5, 1, 2.0]
""")
    np.testing.assert_array_equal(problem.target.vectors, [[3, 0], [-1, 0], [0, 2], [0, 0]])
    np.testing.assert_array_equal(problem.target.c, problem.target.vectors @ problem.target.vectors.T)
    np.testing.assert_array_equal(problem.init.means, [[0.1, 0.2, 0.3], [0, 0, 0]])
    assert problem.family.weights[0] == 1e-300
    assert problem.family.learn == ("means", "weights")
    assert problem.flow.weights == "fisher-rao"
    np.testing.assert_array_equal(problem.time.times, [0.5, 1, 2])


def test_overlaps_of_the_target_become_vectors_of_their_rank():
    c = [[9.0, -4.5, -4.5], [-4.5, 9.0, -4.5], [-4.5, -4.5, 9.0]]  # three directions 120° apart: a plane
    problem = Problem.parse(edited(("dimension = 64", "dimension = 2"), ("separation = 3.0", f"overlaps = {c}")))
    assert problem.target.vectors.shape == (3, 2)
    np.testing.assert_allclose(problem.target.vectors @ problem.target.vectors.T, c, atol=1e-12)


def test_a_short_vector_beside_a_long_one_keeps_its_direction():
    problem = Problem.parse(edited(("separation = 3.0", "overlaps = [[1e12, 0.0], [0.0, 1e-12]]")))
    assert problem.target.vectors.shape == (2, 2)


def test_start_by_overlaps():
    overlaps = "overlaps = {s = [[1.0, 0.5], [0.5, 1.0]], m = [[1.0, -1.0], [0.0, 0.0]]}"
    problem = Problem.parse(edited(("scale = 0.125", overlaps)))
    np.testing.assert_array_equal(problem.init.overlaps.s, [[1, 0.5], [0.5, 1]])
    np.testing.assert_array_equal(problem.init.overlaps.m, [[1, -1], [0, 0]])


def test_saving_once_at_the_start():
    assert Problem.parse(edited(("end = 10.0", "end = 0.0"))).time.times.tolist() == [0.0]
    assert Problem.parse(edited(("end = 10.0", "end = 0.0\nsave = [0.0]"))).time.times.tolist() == [0.0]


def test_problems_are_frozen():
    problem = Problem.parse(BASE)
    with pytest.raises(AttributeError):
        problem.dimension = 3  # type: ignore[misc]
    for array in (problem.target.c, problem.target.vectors, problem.family.weights, problem.time.times):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_unreadable_paths(tmp_path):
    for path, reason in [(tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")]:
        with pytest.raises(ProblemError) as refused:
            Problem.load(path)
        assert str(refused.value) == f"{path}: cannot be read ({reason}); must be a problem file in TOML"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"dimension = \xff")
    with pytest.raises(ProblemError, match=r"binary\.toml: not TOML: byte 12 is not UTF-8"):
        Problem.load(binary)
    with pytest.raises(ProblemError, match="cannot be read"):
        Problem.load("null\0byte.toml")


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


SCALARS = st.one_of(
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.booleans(),
    st.text("ab\n\t\"'", max_size=4),
    st.sampled_from([0, 1]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("sm"), inner), max_leaves=9
)
KEYS = {
    "target": ["separation", "means", "overlaps", "weights", "variances"],
    "family": ["components", "weights", "variances", "learn"],
    "flow": ["objective", "weights", "metric", "temperature", "batch"],
    "init": ["scale", "means", "overlaps", "samples", "seed"],
    "time": ["end", "save"],
}


@given(key=st.sampled_from([(section, key) for section, keys in KEYS.items() for key in keys]), value=VALUES)
def test_any_value_gives_a_problem_or_one_message(key, value):
    sections: dict[str, dict[str, Any]] = {
        "target": {"separation": 3.0},
        "family": {"components": 2},
        "flow": {},
        "init": {"scale": 0.125},
        "time": {"end": 10.0},
    }
    section, name = key
    if (section, name) in {("target", "means"), ("target", "overlaps")}:
        sections["target"] = {}
    if (section, name) in {("init", "means"), ("init", "overlaps")}:
        sections["init"] = {}
    sections[section][name] = value
    text = "dimension = 2\n" + "\n".join(f"{name} = {toml(table)}" for name, table in sections.items())
    try:
        problem = Problem.parse(text, "fuzz.toml")
    except ProblemError as error:
        message = str(error)
    else:
        assert np.all(np.isfinite(problem.target.c))
        assert math.isclose(problem.family.weights.sum(), 1)
        return
    assert message.startswith("fuzz.toml: ")
    assert "\n" not in message


def test_there_are_examples_of_each_kind():
    shapes = {path.stem: Problem.load(path) for path in EXAMPLES}
    sizes = {name: (problem.family.components, len(problem.target.c)) for name, problem in shapes.items()}
    assert sizes["two_modes"] == (2, 2)
    assert sizes["three_modes"] == (3, 3)
    assert np.linalg.matrix_rank(shapes["three_modes"].target.c) == 2  # not in line
    assert len(set(shapes["unequal_weights"].target.weights)) == 2
    assert sizes["more_components"][0] > sizes["more_components"][1]
    assert sizes["one_component"][0] == 1
