"""What is generated is what backends take: the same set, counted from the files and from the backends."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from solvers.closed import backends, systems
from solvers.closed.equations import Closed, Task
from solvers.problem import Problem, ProblemError

SOLVERS = Path(systems.__file__).parents[1]

#: Each of the ways in which equations differ.
ANY = {
    "objective": ("reverse-kl", "forward-kl"),
    "variances": ("1.0", "[0.5, 1.5]"),
    "temperature": ("1.0", "2.0"),
    "batch": ("", "batch = {size = 4, step = 0.1}"),
}
TEXT = """
dimension = 8
[target]
separation = 3.0
[family]
components = 2
variances = {variances}
[flow]
objective = "{objective}"
temperature = {temperature}
{batch}
[init]
scale = 0.3
[time]
end = 1.0
"""


def files_of(problem: Problem) -> set[str]:
    """The generated texts behind a problem, by asking each backend whether it takes the problem."""
    if systems.is_own(problem):  # derived when asked for
        return set()
    try:
        name = systems.name(problem)
    except ProblemError:
        return set()
    task = Task(Closed.of(problem))
    return {f"{name}.{solver.view}" for solver in backends.SOLVERS.values() if solver.refuse(task) is None}


def test_what_is_generated_is_what_backends_take() -> None:
    taken: set[str] = set()
    for values in itertools.product(*ANY.values()):
        taken |= files_of(Problem.parse(TEXT.format(**dict(zip(ANY, values, strict=True)))))
    # Samplers name their texts in the code.
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted(SOLVERS.rglob("*.py")))
    taken |= {f"{name}.py" for name in re.findall(r'systems\.read\("(\w+)"\)', code)}
    taken |= set(re.findall(r'systems\.read_text\("([\w.]+)"\)', code))
    generated = {path.name for path in systems.GENERATED.glob("*") if path.is_file()} - {"__init__.py"}
    assert generated == taken
    assert {"reverse_kl.cu", "forward_kl.numba", "sampler_chain.cu", "finite_batch.py"} <= taken


def test_an_unreachable_text_would_be_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in systems.GENERATED.glob("*"):
        if path.is_file():
            (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "finite_batch.cu").write_text("// nobody asks for this\n")
    monkeypatch.setattr(systems, "GENERATED", tmp_path)
    with pytest.raises(AssertionError):
        test_what_is_generated_is_what_backends_take()
