"""What a system provides to the kernels, as an example: y₀' = −y₁, y₁' = y₀, multiplied by the one parameter.

solvers.closed.compiled makes a copy of the kernels that imports a system with the same names instead of this module.
Arrays of vectors are float64 (rows, W), a lane a trajectory.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.machine.options import FLAGS
from solvers.machine.simd import load, store

__all__ = ["OUT", "PARAMETERS", "WORK", "N", "fixed", "jacobian", "observables", "rhs"]

Array = Any

N = 2
"""States."""
WORK = 0
"""Scratch rows (the kernels provide WORK + N)."""
OUT = 1
"""Observables."""
PARAMETERS = 1
"""Length of p, without the tables of fixed laws."""


@njit(**FLAGS)
def fixed(p: Array, work: Array) -> None:
    """What depends on parameters only, into `work`: called before any other function uses it."""


@njit(**FLAGS)
def rhs(y: Array, p: Array, dy: Array, work: Array) -> None:
    """dy (N, W) = right-hand side at y (N, W); p (P,) parameters."""
    store(dy, 0, -p[0] * load(y, 1))
    store(dy, 1, p[0] * load(y, 0))


@njit(**FLAGS)
def jacobian(y: Array, p: Array, jac: Array, work: Array) -> None:
    """jac (N, N, W): ∂dy_i/∂y_j at [i, j]."""
    for row, value in enumerate((0.0, -p[0], p[0], 0.0)):
        store(jac, row, value)


@njit(**FLAGS)
def observables(y: Array, p: Array, out: Array, work: Array) -> None:
    """out (OUT, W): here the squared radius."""
    store(out, 0, load(y, 0) * load(y, 0) + load(y, 1) * load(y, 1))
