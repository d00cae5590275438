"""A backend is a row of the tables: nobody compares its name, and one more is used by every door without more."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solvers import ask
from solvers.closed.backends import SOLVERS
from solvers.machine.backends import BACKENDS, BY_DEFAULT, BackendError, check, first_of, looked_up
from solvers.particles.engines import ENGINES
from solvers.particles.plan import SimulationError
from solvers.problem import Problem
from solvers.sampler.backends import WALKERS

ROOT = Path(__file__).resolve().parents[3]
TABLES: dict[str, Any] = {"solvers/closed/backends.py": SOLVERS, "solvers/particles/engines.py": ENGINES,
          "solvers/sampler/backends.py": WALKERS}  # fmt: skip
#: Where backends and libraries of arrays are known by name; everything else looks up.
NAMING = {*TABLES, "solvers/machine/backends.py", "solvers/machine/arrays.py"}

FLOW = """
dimension = 4
[target]
separation = 1.5
[family]
components = 2
[init]
means = [[0.9, 0.1], [-0.8, 0.2]]
[time]
end = 0.2
save = [0.0, 0.2]
"""
SAMPLER = FLOW + "[sampler]\nsteps = 3\npaths = 32\n"


def named(tree: ast.AST) -> list[int]:
    """Lines where a name of a backend is compared with something, or is the key of a table."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key]
        elif isinstance(node, ast.MatchValue | ast.Subscript):
            parts = [node.value if isinstance(node, ast.MatchValue) else node.slice]
        else:
            continue
        constants = {c.value for part in parts for c in ast.walk(part) if isinstance(c, ast.Constant)}
        if constants & set(BACKENDS):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(
    "text",
    ['if backend == "cupy": f()', 'x = backend in ("numba", "cupy")', 'y = {"numba": 1}[backend]',
     'ok = asked not in (None, "numpy", *others)', 'z = TABLE["numba"]', 'match b:\n    case "cupy":\n        f()'],
)  # fmt: skip
def test_a_comparison_would_be_seen(text: str) -> None:
    assert named(ast.parse(text))
    assert not named(ast.parse(re.sub("numba|cupy|numpy", "other", text)))


def test_no_backend_is_known_by_its_name() -> None:
    found = {}
    for path in [*(ROOT / "solvers").rglob("*.py"), *(ROOT / "figures").rglob("*.py")]:
        if (name := path.relative_to(ROOT).as_posix()) not in NAMING and (
            lines := named(ast.parse(path.read_text(encoding="utf-8")))
        ):
            found[name] = lines
    assert not found


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_have_all_backends(table: dict[str, object]) -> None:
    assert set(table) == set(BACKENDS)
    assert set(BY_DEFAULT) <= set(table)


class Picky:
    def __init__(self, reason: str | None) -> None:
        self.reason = reason

    def refuse(self, asked: int) -> str | None:
        return self.reason if asked > 3 else None


def test_the_first_that_does_not_refuse() -> None:
    table = {"fast": Picky("large"), "slow": Picky(None)}
    assert [first_of(table, asked, ("fast", "slow")) for asked in (3, 4)] == ["fast", "slow"]
    assert first_of({"fast": Picky("x"), "slow": Picky("y")}, 4, ("fast", "slow")) == "slow", "else the last"
    check(table, "fast", 3)
    with pytest.raises(BackendError, match=r"^fast: large; allowed: slow$"):
        check(table, "fast", 4)
    with pytest.raises(BackendError, match=r"^none: unknown backend; allowed: fast, slow$"):
        looked_up(table, "none")


@pytest.mark.parametrize("text", [FLOW, SAMPLER], ids=["flow", "sampler"])
def test_one_more_row_is_one_more_backend(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mine` does what NumPy does, under a name that no code has seen."""
    monkeypatch.setitem(BACKENDS, "mine", BACKENDS["numpy"])
    for table in TABLES.values():
        monkeypatch.setitem(table, "mine", table["numpy"])
    problem = Problem.parse(text)
    options: dict[str, Any] = {"particles": 8, "replicas": 2, "step": 0.1}
    commands: list[tuple[Any, dict[str, Any]]] = [(ask.solve, {}), (ask.simulate, options)]
    for command, given in commands:
        mine, numpy = (command(problem, backend=name, **given) for name in ("mine", "numpy"))
        assert (mine.attrs["backend"], numpy.attrs["backend"]) == ("mine", "numpy")
        np.testing.assert_array_equal(mine.objective, numpy.objective)
    for table in TABLES.values():  # and where it refuses, that is said with its name
        monkeypatch.setitem(table, "mine", table["numpy"]._replace(refuse=lambda asked: "no"))
    with pytest.raises(BackendError, match=r"^mine: no; allowed: numpy, numba, cupy$"):
        ask.solve(problem, backend="mine")
    with pytest.raises(SimulationError, match=r"^problem: mine: no; allowed: numba, numpy, cupy$"):
        ask.simulate(problem, backend="mine", **options)
