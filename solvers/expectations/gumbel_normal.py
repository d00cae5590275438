"""H(y, δ) = E exp(−e^{−(y − √δ z)}), z ~ N(0, 1), and its y-derivatives: the distribution function of a Gumbel variable
plus a normal one of variance δ. First version: by quadrature, slow."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=1)
def gumbel_coefficients() -> NDArray[np.float64]:
    """The table, flat, read-only: what compiled code takes as its argument."""
    table: NDArray[np.float64] = np.zeros(1)
    table.setflags(write=False)
    return table


def gumbel_normal(y: Any, delta: Any, *, order: int = 4) -> tuple[Any, ...]:
    """The first `order` ≤ 4 of H, H', H'', H''' at y and that variance δ ≥ 0 of the normal part; both broadcast."""
    from solvers.expectations.lanes.gumbel import taylor_slow

    y, delta = np.broadcast_arrays(np.asarray(y, dtype=float), np.asarray(delta, dtype=float))
    out = np.empty((order, y.size))
    column = np.empty((order, 1))
    for i, (place, variance) in enumerate(zip(y.ravel(), delta.ravel(), strict=True)):
        taylor_slow(variance, place, 1.0, 1, order - 1, gumbel_coefficients(), column)
        out[:, i] = column[:, 0] * [1, 1, 2, 6][:order]
    return tuple(out.reshape(order, *y.shape))
