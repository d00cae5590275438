"""What the assembled module of solvers.sampler.compiled provides to kernel.py, for readers and checkers of it."""

from __future__ import annotations

from typing import Any

__all__ = [
    "R", "bare", "fixed", "np", "score", "score_adjoint", "start", "start_adjoint", "step", "step_adjoint",
    "weight", "weight_adjoint",
]  # fmt: skip

K: int = 1
"""Components of every mixture, with weight 0 where there are fewer."""
R: int = 1
"""Directions of the span."""

np: Any = None
"""solvers.machine.stack: np.empty is room on the stack."""
bare: Any = None
fixed: Any = None
start: Any = None
start_adjoint: Any = None
score: Any = None
score_adjoint: Any = None
step: Any = None
step_adjoint: Any = None
weight: Any = None
weight_adjoint: Any = None
