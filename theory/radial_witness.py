"""Numbers for the nodes of theory.radial, from their definitions: the witness of different variances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax, logsumexp, roots_genlaguerre
from sympy import Expr, Integer

from theory.expectations import Expectation
from theory.mixtures import Responsibility
from theory.radial import RadialExpectation, Raised, Slope, SquaredDistance

if TYPE_CHECKING:
    from theory.witness import Witness

__all__ = ["NODES", "evaluate_radial"]

Array = npt.NDArray[np.float64]
Evaluate = Callable[[Expr, "Witness"], Array]

#: Nodes of the chi-square: generalised Gauss–Laguerre.
LAGUERRE = 12
NODES = (RadialExpectation, Raised, Slope, SquaredDistance)


def _chi_square(degrees: int) -> tuple[Array, Array]:
    """Nodes and weights of χ² with `degrees` degrees of freedom."""
    if degrees == 0:
        return np.zeros(1), np.ones(1)
    half, weight = roots_genlaguerre(LAGUERRE, degrees / 2 - 1)
    return 2 * half, weight / weight.sum()


def evaluate_radial(
    expr: Expr, at: Witness, evaluate: Evaluate, gauss: Callable[[int, int], tuple[Array, Array]]
) -> Array:
    """Value of a node at a point; `evaluate` and `gauss` are those of the witness."""
    if isinstance(expr, SquaredDistance):
        assert at.x is not None
        mean = evaluate(expr.args[0], at)
        beyond = np.pad(mean, ((0, 0), (0, at.x.shape[1] - mean.shape[1])))
        square = np.sum((at.x - beyond) ** 2, axis=1, keepdims=True)
        return np.asarray(square - at.symbols["d"] * evaluate(expr.args[1], at))
    if isinstance(expr, Slope):
        mixture, i, j = expr.args
        r_i, r_j = (evaluate(Responsibility(mixture, n), at) for n in (i, j))
        return np.asarray(r_i * (float(at.number(i) == at.number(j)) - r_j))
    if isinstance(expr, Raised):
        # The same average stands in many terms of a sum over its indices.
        values = tuple(sorted((str(s), at.indices[str(s)]) for s in expr.free_symbols if str(s) in at.indices))
        if (expr, values) in at.averages:
            return at.averages[expr, values]
        # Two more coordinates enter by their length √(v χ²_2) only: one of them will do.
        rho, share = _chi_square(2)
        mixture, k = expr.mixture, at.number(expr.component) - 1
        v = np.broadcast_to(at.variances(mixture), len(at.means[mixture.mean_name]))[k]
        total = np.zeros((1, 1))
        for extra, weight in zip(np.sqrt(v * rho), share, strict=True):
            total = total + weight * evaluate(Expectation(mixture, k + 1, expr.integrand), replace(at, beyond=extra))
        at.averages[expr, values] = total
        return total
    assert isinstance(expr, RadialExpectation)
    return _radial(expr, at, evaluate, gauss)


def _radial(
    node: RadialExpectation, at: Witness, evaluate: Evaluate, gauss: Callable[[int, int], tuple[Array, Array]]
) -> Array:
    """By quadrature over the directions of the logits and the χ² of the others."""
    size, d = int(at.symbols[str(node.size)]), int(at.symbols["d"]) + 2 * (node.kind == "slope")
    labels = [Integer(n + 1) for n in range(size)]
    mean = np.array([evaluate(node.mean(n), at).item() for n in labels])
    curvature = np.array([evaluate(node.curvature(n), at).item() for n in labels])
    cov = np.array([[evaluate(node.cov(n, m), at).item() for m in labels] for n in labels])
    values, vectors = np.linalg.eigh(cov)
    kept = values > 1e-12 * max(1.0, values[-1])
    z, weight = gauss(int(kept.sum()), at.NODES + 8)
    linear = z @ (vectors[:, kept] * np.sqrt(values[kept])).T
    total = 0.0
    for rho, share in zip(*_chi_square(d - int(kept.sum())), strict=True):
        square = np.sum(z**2, axis=1, keepdims=True) + rho - at.symbols["d"]
        u = mean + linear + curvature * square
        if node.kind == "logsumexp":
            f = logsumexp(u, axis=1, keepdims=True)
        else:
            r, entries = np.exp(log_softmax(u, axis=1)), [at.number(n) - 1 for n in node.entries]
            f = r[:, [entries[0]]]
            if node.kind == "radius":
                f = f * square
            elif node.kind == "slope":
                f = f * (float(entries[0] == entries[1]) - r[:, [entries[1]]])
        total += share * float((weight.T @ f).item())
    return np.full((1, 1), total)
