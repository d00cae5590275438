"""Options of numba, once: every compiled function has these, and what else it has it says beside them."""

from __future__ import annotations

from typing import Any

__all__ = ["FLAGS", "INSIDE", "PLAIN"]

PLAIN: dict[str, Any] = {"error_model": "numpy", "nogil": True}
"""IEEE arithmetic, division by zero is not an error; other threads run meanwhile."""

#: Without wrappers for Python and C, functions take a quarter less time to compile. Python may call none of them: what
#: it calls is made by solvers.machine.code.entries, which leaves this out.
INSIDE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

FLAGS: dict[str, Any] = PLAIN | INSIDE
"""Of the functions that only compiled code calls, and of an `entry`."""
