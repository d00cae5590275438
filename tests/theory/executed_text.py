"""The text emitted for numba, executed as plain Python on floats; tangents of expectations by central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from solvers.expectations import gaussian_softmax

__all__ = ["Executed"]

Array = npt.NDArray[np.float64]


class Executed:
    """Right-hand side, Jacobian and observables of an emitted text at K, L, in R coordinates.

    parameters: by name as in the text, without the prefix P_. driven: how many parameters are states.
    """

    def __init__(self, text: str, parameters: Mapping[str, Any], K: int, L: int, R: int, driven: int = 0) -> None:
        sizes = {"K": K, "L": L, "R": R, "DRIVEN": driven}
        scope: dict[str, Any] = sizes | {
            "njit": lambda **_: lambda function: function,
            "FLAGS": {},
            "load": lambda rows, row: float(rows[row]),
            "store": _store,
            "driven_or_given": lambda work, row, p, place: float(work[row] if driven else p[place]),
            "logarithm": math.log,
            "divergence": lambda a, b: (a / b - 1 - math.log(a / b)) / 2,
            "mobility": lambda w, _, power: w**power,
            "SLOPES": lambda n: n,
            "PAIR_SLOPES": lambda n: n,
            "weights": lambda work: self._weights(work),
            "expect": lambda work, *rows: self._expect(work, *rows[:6]),
            "expect_fixed": lambda work, p, law, *rows: self._expect(work, *rows[:6]),
            "expect_pairs": lambda work, *rows: self._expect(work, *rows[:7]),
            "expect_tangent": self._tangent,
            "expect_pairs_tangent": self._tangent,
        }
        exec(compile(text, "<emitted for numba>", "exec"), scope)
        self.scope = scope
        self.p = np.zeros(scope["PARAMETERS"])
        for name, value in parameters.items():
            if f"P_{name.upper()}" in scope:
                flat = np.ravel(value)
                start = scope[f"P_{name.upper()}"]
                self.p[start : start + len(flat)] = flat
        self.laws: dict[int, tuple[int, int, Array, Array]] = {}

    def rhs(self, y: Array) -> Array:
        out, work = np.zeros(self.scope["N"]), self._work()
        self.scope["fixed"](self.p, work)
        self.scope["rhs"](y, self.p, out, work)
        return out

    def jacobian(self, y: Array) -> Array:
        """∂(right-hand side)/∂y; as in integrators after the right-hand side at y, which leaves the rates in work."""
        n = self.scope["N"]
        out, work = np.zeros(n * n), self._work()
        self.scope["fixed"](self.p, work)
        self.scope["rhs"](y, self.p, np.zeros(n), work)
        self.scope["jacobian"](y, self.p, out, work)
        return out.reshape(n, n)

    def objective(self, y: Array) -> float:
        out, work = np.zeros(self.scope["OUT"]), self._work()
        self.scope["fixed"](self.p, work)
        self.scope["observables"](y, self.p, out, work)
        return float(out[0])

    def _work(self) -> Array:
        return np.full(self.scope["WORK"] + self.scope["N"], np.nan)  # what is read before it is written shows

    def _weights(self, work: Array) -> None:
        K, theta = self.scope["K"], self.scope["R_THETA"]
        log_w = work[theta : theta + K] - np.logaddexp.reduce(work[theta : theta + K])
        work[self.scope["R_LOG_W"] :][:K], work[self.scope["R_W"] :][:K] = log_w, np.exp(log_w)

    def _expect(
        self, work: Array, count: int, n: int, mean: int, cov: int, softmax: int, lse: int, pairs: int | None = None
    ) -> None:
        means, covariance = work[mean:][: count * n].reshape(count, n), work[cov:][: n * n].reshape(n, n).copy()
        self.laws[softmax] = (count, n, means.copy(), covariance)
        r, values, second = gaussian_softmax(means, covariance[None], moments=True)
        work[softmax:][: count * n], work[lse:][:count] = r.ravel(), values
        if pairs is not None:
            work[pairs:][: count * n * n] = second.ravel()

    def _tangent(self, work: Array, count: int, n: int, *rows: int) -> None:
        _, softmax, d_mean, d_cov, d_softmax, d_lse, *others = rows
        parts = [d_softmax, d_lse, *others[1:]]
        _, _, mean, cov = self.laws[softmax]
        d_mean_, d_cov_ = work[d_mean:][: count * n].reshape(count, n), work[d_cov:][: n * n].reshape(n, n)
        h = 1e-3

        def at(f: Callable[..., Any], t: float) -> Any:
            return f(mean + t * d_mean_, (cov + t * d_cov_)[None], moments=True)

        values = [at(gaussian_softmax, n_ * h) for n_ in (-2, -1, 1, 2)]
        for part, row in enumerate(parts):
            slope = (values[0][part] - 8 * values[1][part] + 8 * values[2][part] - values[3][part]) / (12 * h)
            work[row:][: slope.size] = slope.ravel()


def _store(rows: Array, row: int, value: float) -> None:
    rows[row] = value
