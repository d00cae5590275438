"""The closed equations of a problem are read once, and handed down."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from solvers import ask
from solvers.closed import systems
from solvers.closed.equations import Closed
from solvers.problem import Problem

TEXT = """
dimension = 3
[target]
separation = 1.5
[family]
components = 2
[init]
scale = 0.3
[time]
end = 0.2
save = [0.0, 0.2]
"""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each generated text is read from here on; the headers of all are read once a process."""
    systems.derived()
    counted: Counter[str] = Counter()
    text = Path.read_text

    def counting(path: Path, *args: Any, **options: Any) -> str:
        if path.parent == systems.GENERATED:
            counted[path.name] += 1
        return text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", counting)
    return counted


def test_every_text_is_read_once(read: Counter[str]) -> None:
    ask.solve(Problem.parse(TEXT), backend="numba")
    assert read == {"reverse_kl.py": 1, "reverse_kl.numba": 1}
    read.clear()
    ask.solve(Problem.parse(TEXT), backend="numpy", rest=False)
    assert read == {"reverse_kl.py": 1}
    read.clear()
    ask.solve(Problem.parse(TEXT), backend="numpy")  # the compiled one for the Jacobian, whether the runs are at rest
    assert read == {"reverse_kl.py": 1, "reverse_kl.numba": 1}
    read.clear()
    ask.compare(Problem.parse(TEXT), particles=4, replicas=32, step=0.2, backend="numpy", resolve=1.0)
    assert read == {"reverse_kl.py": 1, "reverse_kl.numba": 1}


def test_equations_of_another_kind_have_no_text_of_the_problem() -> None:
    problem = Problem.parse(TEXT)
    whole, without = Closed.of(problem), Closed.of(problem, drop="ds.Bm/u")
    assert (whole.own, without.own) == (True, False)
    assert Closed.of(problem, system=without.module).module is without.module
    assert not Closed.of(problem, system=whole.module).own, "given ones may be any"
    assert whole.module.SYSTEM != without.module.SYSTEM
