"""NUMBA_DISABLE_JIT: numba compiles nothing, so what it would compute NumPy does."""

from __future__ import annotations

import os

from solvers.machine.backends import BACKENDS
from solvers.machine.code.notes import say

__all__ = ["switched_off", "usable"]


def switched_off() -> bool:
    """Whether the environment tells numba to compile nothing, as numba reads it, without importing numba."""
    try:
        return bool(int(os.environ.get("NUMBA_DISABLE_JIT", "0")))
    except ValueError:  # numba warns about it and goes on
        return False


def usable(backend: str) -> str:
    """The backend itself, or the one instead of it if it needs numba and that is switched off; said once."""
    instead = BACKENDS[backend].instead if backend in BACKENDS else ""
    if not instead or not switched_off():
        return backend
    say("switch", "NUMBA_DISABLE_JIT", f"NUMBA_DISABLE_JIT is set: numba compiles nothing, the backend is {instead}")
    return instead
