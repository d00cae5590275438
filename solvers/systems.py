"""Generated systems: loading emitted source, choosing the one that a problem asks for, and dropping a term from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from solvers.problem import Problem, ProblemError

__all__ = ["TermError", "for_problem", "load", "parameters", "read", "read_compiled", "terms"]

GENERATED = Path(__file__).parent / "generated"

#: (objective, metric, weights) of a problem file → generated module.
SYSTEMS = {
    ("reverse-kl", "euclidean", "softmax"): "reverse_kl_flow",
    ("reverse-kl", "euclidean", "fisher-rao"): "reverse_kl_fisher_rao",
}

_TERM = re.compile(r"^.*# term (\S+)$", re.MULTILINE)
#: The same line in its parts: sign, expression, mark.
_SIGNED = re.compile(r"^(\s*[+-] )(.*\S)(\s+# term (\S+))$", re.MULTILINE)


class TermError(ProblemError):
    """--drop names a term that the system does not have; the message lists those it has."""


def read(name: str) -> str:
    """Source text of a generated system."""
    return (GENERATED / f"{name}.py").read_text(encoding="utf-8")


def read_compiled(problem: Problem, backend: str = "numba") -> str:
    """Text for numba, or CUDA source for cupy, of the generated system behind a problem."""
    return (GENERATED / f"{_name(problem)}.{ {'numba': 'numba', 'cupy': 'cu'}[backend] }").read_text(encoding="utf-8")


def _name(problem: Problem) -> str:
    flow = problem.flow
    return SYSTEMS[flow.objective, flow.metric, flow.weights]


def terms(source: str) -> tuple[str, ...]:
    """Names of the terms that `drop` accepts, in the order of the source."""
    return tuple(_TERM.findall(source))


def load(source: str, *, drop: str | None = None, scale: Mapping[str, float] | None = None) -> ModuleType:
    """A module from emitted source text: one of ours, or that of a user's own system (`system.emit("numpy")`).

    drop: leave out the line marked `# term NAME`; scale: multiply each line so named by a number. Either makes a
    deliberately wrong theory, whose SYSTEM says so.
    Raises TermError if there is no such term.
    """
    for name in [*([] if drop is None else [drop]), *(scale or {})]:
        if name not in terms(source):
            option = "--drop" if name == drop else "scale"
            raise TermError(f"{option}: {name}: no such term; allowed are {', '.join(terms(source))}")
    changes = [] if drop is None else [f"without {drop}"]
    if drop is not None:
        source = _TERM.sub(lambda line: "" if line.group(1) == drop else line.group(0), source)
    if factors := dict(scale or {}):
        changes += [f"with {factor!r} times {name}" for name, factor in factors.items()]
        source = _SIGNED.sub(
            lambda line: f"{line[1]}{factors[line[4]]!r} * ({line[2]}){line[3]}" if line[4] in factors else line[0],
            source,
        )
    return _execute(source, " and ".join(changes))


@cache
def _execute(source: str, changes: str) -> ModuleType:
    module = ModuleType("solvers.generated.system")
    exec(compile(source, "<emitted system>", "exec"), module.__dict__)
    if changes:
        module.SYSTEM = f"{module.SYSTEM} {changes}"  # type: ignore[attr-defined]
    return module


def for_problem(problem: Problem, *, drop: str | None = None) -> ModuleType:
    """The generated system behind a problem, whole or without one term.

    It defines, on numpy or cupy arrays with any leading batch axes:
        tables(s, m, theta, c, log_pi, v, u, d, expect) -> A (..., K, K), B (..., K, L), F (..., K)
        velocity(A, B, F, s, m, theta, c, v, u) -> ds, dm, dtheta
        objective(F, theta) -> (...)    mode_mass(B, theta) -> (..., L)
    """
    return load(read(_name(problem)), drop=drop)


def parameters(problem: Problem) -> dict[str, Any]:
    """c (L, L), log_pi (L,), v, u, d of a problem, as the generated functions take them."""
    return {
        "c": np.asarray(problem.target.c),
        "log_pi": np.log(problem.target.weights),
        "v": float(problem.family.variances[0]),
        "u": float(problem.target.variances[0]),
        "d": problem.dimension,
    }
