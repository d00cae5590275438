"""Options of numba, once: every compiled function has these, and what else it has it says beside them."""

from __future__ import annotations

from typing import Any

__all__ = ["FLAGS", "INSIDE"]

#: What Python and C call is made by solvers.machine.code.entries alone. Without a wrapper of their own for either, the
#: functions that those call take a quarter less time to compile.
INSIDE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

FLAGS: dict[str, Any] = {"error_model": "numpy", "nogil": True} | INSIDE
"""IEEE arithmetic, division by zero is not an error; other threads run meanwhile."""
