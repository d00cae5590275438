"""Numbers for the nodes of theory.radial, from their definitions: where variances differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import log_softmax, logsumexp
from sympy import Expr, Integer

from theory.configuration import Array, Configuration
from theory.expectations import Expectation
from theory.mixtures import Responsibility
from theory.quadrature_nodes import chi_square, gauss_hermite
from theory.radial import RadialExpectation, Raised, Slope, SquaredDistance

__all__ = ["NODES", "evaluate_radial"]

Evaluate = Callable[[Expr, Configuration], Array]

NODES = (RadialExpectation, Raised, Slope, SquaredDistance)


def evaluate_radial(expr: Expr, at: Configuration, evaluate: Evaluate) -> Array:
    """Value of a node at a configuration; `evaluate` is for all other expressions."""
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
        # Two more coordinates enter by their length √(v χ²_2) only: one of them will do.
        rho, share = chi_square(2)
        mixture, k = expr.mixture, at.number(expr.component) - 1
        v = np.broadcast_to(at.variances(mixture), len(at.means[mixture.mean_name]))[k]
        total = np.zeros((1, 1))
        for extra, weight in zip(np.sqrt(v * rho), share, strict=True):
            total = total + weight * evaluate(Expectation(mixture, k + 1, expr.integrand), replace(at, beyond=extra))
        return total
    assert isinstance(expr, RadialExpectation)
    return _radial(expr, at, evaluate)


def _radial(node: RadialExpectation, at: Configuration, evaluate: Evaluate) -> Array:
    """By quadrature over the directions of the logits and the χ² of the others."""
    size, d = int(at.symbols[str(node.size)]), int(at.symbols["d"]) + 2 * (node.kind == "slope")
    labels = [Integer(n + 1) for n in range(size)]
    mean = np.array([evaluate(node.mean(n), at).item() for n in labels])
    curvature = np.array([evaluate(node.curvature(n), at).item() for n in labels])
    cov = np.array([[evaluate(node.cov(n, m), at).item() for m in labels] for n in labels])
    values, vectors = np.linalg.eigh(cov)
    kept = values > 1e-12 * max(1.0, values[-1])
    z, weight = gauss_hermite(int(kept.sum()), at.NODES + 8)
    linear = z @ (vectors[:, kept] * np.sqrt(values[kept])).T
    total = 0.0
    for rho, share in zip(*chi_square(d - int(kept.sum())), strict=True):
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
