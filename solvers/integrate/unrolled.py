"""Linear combinations with constant coefficients, written out: sums stay in registers and zeros cost nothing.

A loop over stages and coefficients that numba compiles keeps its sums in memory, waits for every store, and tests every
coefficient for zero: a fifth of the time of an explicit step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numba import njit

from solvers.machine.options import FLAGS

__all__ = ["define", "weighted_sum"]


def weighted_sum(weights: Iterable[float], row: str = "j") -> str:
    """The expression Σ_l weights_l k_l, where k_l are rows l N + row of the array `k`."""
    terms = [f"{float(w)!r} * load(k, {l} * N + {row})" for l, w in enumerate(weights) if w]
    return " + ".join(terms).replace("+ -", "- ")


def define(name: str, arguments: str, body: list[str], scope: dict[str, Any]) -> Any:
    """The compiled function of that name with these lines as its body; `scope` is where it finds other names."""
    text = "\n".join([f"def {name}({arguments}):", *(f"    {line}" for line in body)])
    found: dict[str, Any] = {}
    exec(compile(text, f"<{name}>", "exec"), scope, found)
    return njit(**FLAGS)(found[name])
