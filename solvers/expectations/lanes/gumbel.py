"""Taylor coefficients of H of gumbel_normal.py on a uniform grid. First version: by quadrature, slow."""

from __future__ import annotations

from math import erfc, exp, sqrt
from typing import Any

import numpy as np
from numba import njit

from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS

Array = Any


@njit(**FLAGS)
def taylor_rows(delta: float, first: float, step: float, count: int, degree: int, table: Array, out: Array) -> None:
    """out[n, q] = H⁽ⁿ⁾(first + q step; δ) stepⁿ/n! for n ≤ degree, q < count."""
    b = sqrt(max(delta, 0.0))
    a = np.empty(degree + 1)
    for q in range(count):
        y = first + q * step
        for n in range(degree + 1):
            out[n, q] = 0.0
        for i in range(-36, 37 if b < 1.0 else 156):
            z = 0.25 * i
            if b < 1.0:  # nodes in z: the Taylor series of exp(−A e^{−t}), A = e^{−(y − bz)}
                weight = 0.25 * exp(-0.5 * z * z) / 2.5066282746310002
                large = exp(-(y - b * z))
                a[0] = exp(-large)
                for n in range(degree):
                    total, factor = 0.0, 1.0
                    for k in range(n, -1, -1):
                        total += a[k] * factor
                        factor *= -1.0 / (n - k + 1)
                    a[n + 1] = large * total / (n + 1)
                power = 1.0
            else:  # nodes in the Gumbel variable: that of the normal distribution function
                weight = 0.25 * exp(-z - exp(-z))
                x = (y - z) / b
                a[0] = 0.5 * erfc(-x / 1.4142135623730951)
                density = exp(-0.5 * x * x) / 2.5066282746310002
                before, now = 0.0, density
                for n in range(1, degree + 1):  # φ⁽ⁿ⁾/n! = −(x φ⁽ⁿ⁻¹⁾ + φ⁽ⁿ⁻²⁾)... by factorials
                    a[n] = now / n
                    now, before = -(x * now + before) / n, now
                power = 1.0
            for n in range(degree + 1):
                out[n, q] += weight * a[n] * power
                power *= step if b < 1.0 else step / b


taylor_slow = entry(**FLAGS)(taylor_rows.py_func)
