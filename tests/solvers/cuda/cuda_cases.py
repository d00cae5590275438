"""Problems for the CUDA tests, and their systems."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.closed import ensembles
from solvers.closed.equations import Closed
from solvers.closed.span import Span
from solvers.problem import Problem
from solvers.problem.starts import starts

MODES = {
    2: "[[2.5], [-2.5]]",
    3: "[[2.0], [-1.0, 1.0], [0.0, -2.0]]",
    5: "[[2.0], [-1.0, 1.0], [0.0, -2.0, 1.0], [1.0, 1.0, 1.0], [0.0, 3.0, 0.0, 3.0]]",
}


def problem(
    K: int = 2,
    L: int = 2,
    weights: str = "softmax",
    samples: int = 20,
    end: float = 10.0,
    v: float = 1.0,
    u: float = 1.0,
    d: int = 8,
    scale: float = 0.3,
    save: int = 11,
) -> Problem:
    return Problem.parse(
        f"""
        dimension = {d}
        [target]
        means = {MODES[L]}
        variances = {u}
        [family]
        components = {K}
        variances = {v}
        learn = ["means", "weights"]
        [flow]
        weights = "{weights}"
        [init]
        scale = {scale}
        samples = {samples}
        [time]
        end = {end}
        save = {save}
        """
    )


def compiled_start(case: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64], Any]:
    """States (n, N), parameters, and the span behind them."""
    s, m, theta = starts(case)
    space = Span.of(case, s, m)
    y0 = np.concatenate([space.coordinates(s, m).reshape(len(s), -1), theta], axis=1)
    return y0, ensembles.parameters(Closed.of(case), space), space
