"""What the module that solvers.sampler.compiled assembles provides to kernel.py and kernel_adjoint.py, for readers."""

from __future__ import annotations

from typing import Any

__all__ = [
    "STEERED", "K", "R", "W", "across", "bare", "fixed", "np", "rows", "score", "score_adjoint", "score_slope", "start",
    "start_adjoint", "step", "step_adjoint", "step_slope", "weight", "weight_adjoint", "weight_slope",
]  # fmt: skip

K: int = 1
"""Components of every mixture, with weight 0 where there are fewer."""
R: int = 1
"""Directions of the span."""
W: int = 1
"""Paths at once."""
STEERED: bool = False
"""Whether the gradient has derivatives in the schedule as well."""

np: Any = None
"""solvers.machine.simd or solvers.machine.stack: np.empty is room on the stack for vectors, or numbers."""
across: Any = None
"""The sum over lanes."""
rows: Any = None
"""An array (..., W) as one of vectors, or of numbers."""
bare: Any = None
fixed: Any = None
start: Any = None
start_adjoint: Any = None
score: Any = None
score_adjoint: Any = None
score_slope: Any = None
step: Any = None
step_adjoint: Any = None
step_slope: Any = None
weight: Any = None
weight_adjoint: Any = None
weight_slope: Any = None
