"""Many small systems of linear equations that may be singular, by compiled code. No numba at import."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from solvers.machine.code import package

__all__ = ["shortest"]

Array = NDArray[np.float64]


def shortest(matrices: Array, right: Array, cut: float) -> Array:
    """x (m, n), the shortest of all that come nearest to matrices (m, n, n) x = right (m, n): pinv(matrices) right.

    cut: singular values up to this part of the largest are zero. All must be finite. Errors are those of NumPy's pinv,
    some roundings times the largest ratio of singular values that are none; it takes a tenth of its time.
    """
    compiled, n = _compiled(), matrices.shape[-1]
    count, width = 2 * n * n + 3 * n, int(compiled.W)
    raw, x = np.empty(count * width + 8), np.empty(right.shape)
    start = -raw.ctypes.data % 64 // 8  # rows on cache lines
    area = raw[start : start + count * width].reshape(count, width)
    compiled.shortest(np.ascontiguousarray(matrices), np.ascontiguousarray(right), cut, x, area)
    return x


@cache
def _compiled() -> ModuleType:
    here = Path(__file__).parents[1]
    text = (here / "integrate" / "least.py").read_text(encoding="utf-8")
    beside = tuple(here / "machine" / f"{name}.py" for name in ("simd", "instructions", "stack", "options"))
    return package((("least", text),), beside=beside)["least"]
