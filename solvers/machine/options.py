"""Options of numba, once: every compiled function has these, and what else it has it says beside them."""

from __future__ import annotations

from typing import Any

__all__ = ["FLAGS"]

FLAGS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
"""IEEE arithmetic, division by zero is not an error; other threads run meanwhile."""
