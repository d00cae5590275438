"""A problem is what was asked: nothing in it can be written to, and a run leaves it as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers.problem import Problem

PROBLEMS = sorted((Path(__file__).resolve().parents[3] / "figures" / "problems").glob("*.toml"))
TEXT = """
dimension = 5
[target]
{target}
[family]
components = 2
variances = [0.8, 1.2]
[flow]
temperature = {{start = 2.0, rate = 1.0}}
[init]
{init}
[time]
end = 1.0
save = {save}
"""
REFINED = """
dimension = 4
[target]
means = [[3.0], [0.0, 3.0], [-3.0]]
[family]
components = 1
learn = ["means"]
[init]
means = [[0.0]]
[time]
end = 1.5
save = [0.0, 1.5]
[sampler]
steps = 2
paths = 32
refine = {every = 0.5, until = 3, source = [[3.0], [0.0, 3.0], [-3.0]]}
"""
WAYS = (
    ("separation = 2.0", "scale = 0.3", "3"),
    ("means = [[1.0, 0.5], [-1.0]]\nweights = [0.3, 0.7]", "means = [[0.1], [0.2, 0.3]]", "[0.0, 0.5]"),
    (
        "overlaps = [[1.0, 0.0], [0.0, 1.0]]",
        "overlaps = {s = [[1.0, 0.0], [0.0, 1.0]], m = [[0.0, 0.0], [0.0, 0.0]]}",
        "2",
    ),
)


def parts(value: Any, path: str = "problem") -> Iterator[tuple[str, Any]]:
    """Everything in a value, with how one gets there."""
    yield path, value
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from parts(getattr(value, field.name), f"{path}.{field.name}")
    elif isinstance(value, tuple | list):
        for n, item in enumerate(value):
            yield from parts(item, f"{path}[{n}]")


def writable(value: Any) -> list[str]:
    """Where something can be written to."""
    found = []
    for path, part in parts(value):
        open_class = dataclasses.is_dataclass(part) and not part.__dataclass_params__.frozen
        open_array = isinstance(part, np.ndarray) and part.flags.writeable
        if open_class or open_array or isinstance(part, list | dict | set | bytearray):
            found.append(path)
    return found


def test_what_is_open_would_be_seen() -> None:
    @dataclasses.dataclass(frozen=True)
    class Open:
        scores: list[float]
        array: Any
        others: tuple[Any, ...]

    assert writable(Open([], np.zeros(2), ({},))) == ["problem.scores", "problem.array", "problem.others[0]"]


@pytest.mark.parametrize("path", PROBLEMS, ids=lambda path: path.stem)
def test_problems_of_figures_are_frozen(path: Path) -> None:
    assert not writable(Problem.load(path))


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_every_way_to_say_it_is_frozen(way: int) -> None:
    target, init, save = WAYS[way]
    assert not writable(Problem.parse(TEXT.format(target=target, init=init, save=save)))
    assert not writable(Problem.parse(REFINED))


def contents(problem: Problem) -> list[tuple[str, Any]]:
    return [
        (path, value.tobytes() if isinstance(value, np.ndarray) else value)
        for path, value in parts(problem)
        if not dataclasses.is_dataclass(value)
    ]


@pytest.mark.slow
def test_runs_leave_a_problem_as_it_was() -> None:
    """Additions laid down, whose scores a run used to write into the problem, are values of the run."""
    from solvers.particles.sampler.simulation import replica_curves
    from solvers.problem.starts import starts
    from solvers.sampler.solve import traced

    plain = Problem.parse(REFINED)
    assert plain.sampler is not None
    assert plain.sampler.refine is not None
    refine = dataclasses.replace(plain.sampler.refine, laid=(2, 0))
    problem = dataclasses.replace(plain, sampler=dataclasses.replace(plain.sampler, refine=refine))
    before = contents(problem)
    (_, (once,)), (_, (again,)) = (traced(problem, backend="numpy") for _ in range(2))
    assert [addition.scores.shape for addition in once] == [(3,), (3,)]
    # Rows 2 and 0 of the given points, whatever the scores say; the same from a second run, which adds to no record.
    np.testing.assert_allclose([a.x @ a.x + a.rho for a in once], [9.0, 9.0], rtol=1e-12)
    np.testing.assert_allclose(once[0].x, -once[1].x[: len(once[0].x)], atol=1e-12)
    for one, two in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.scores, two.scores)
    assert traced(plain, backend="numpy")[1] == ((),), "nobody asked"
    found = replica_curves(problem, starts(problem), 0, particles=16, replicas=2, step=0.25, backend="numpy")
    assert found.scores.shape == (2, 2, 3)
    assert contents(problem) == before
