"""The gradient in the prior by the law of the starts: with the exact control, where the prior is in no drift.

With z = (x_0 − μ_k)/√v_k and L = −log W, of paths that start in component k,

    ∂D/∂μ_k = α_k E_k[L z]/√v_k,     ∂D/∂log v_k = α_k E_k[L (|z|² − d)/2],     ∂D/∂α_k = E_k L

(with a variance for each coordinate ∂D/∂log v_ki = α_k E_k[L (z_i² − 1)/2]).
What L owes to z is regressed on polynomials of second degree in z, whose share of the means is known, and only the rest
is averaged: a control variate. Paths are fitted by the other half of them, so that nothing is biased.
Source: Glasserman, Monte Carlo Methods in Financial Engineering (2004), section 4.1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from solvers.particles.engines import Engine
from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.mixtures import Bars
from solvers.problem.gram import span

__all__ = ["by_starts", "enough"]

Array = NDArray[np.float64]

FOR_EACH = 4  # paths behind every coefficient of a fit, at least: with p coefficients its noise is that of p/4 more
BLOCK_BYTES = 2**24  # of starts held together


def enough(model: Model, paths: int) -> bool:
    """Whether so many paths tell the slope of L in every component: the noise of what is left does not know it."""
    terms: int = _basis(model).shape[1] + 2
    return paths // len(model.mixtures["prior"].variances) >= 2 * FOR_EACH * terms


def by_starts(
    model: Model, key: NDArray[np.uint64], source: int, chosen: NDArray[np.intp], weights: Array, *, engine: Engine,
    threads: int,
) -> tuple[Array, dict[str, Bars]]:  # fmt: skip
    """log W (path,) less what was fitted, which leaves its mean in every component, and the derivatives of
    Σ_i weights_i (−log W_i) in the prior, in the mean over starts.

    chosen (path,): components in turn, 0, 1, ..., K − 1, 0, ... weights (path,): equal for equal components. source: of
    random numbers, so that no other gradient of this key has them.
    """
    prior, n, d = model.mixtures["prior"], len(chosen), model.dimension
    K, basis = len(prior.variances), _basis(model)
    loss = -engine.walk(model, key, source, range(n), chosen, threads=threads).log_weight
    begin = replace(model, steps=0, control="none", shares=None, annealing=None)  # its paths end where they start
    block = max(1, BLOCK_BYTES // (8 * d))

    def started(s: slice) -> Array:
        """z of some paths."""
        x = engine.walk(begin, key, source, range(n)[s], chosen[s], ends=True, threads=threads).end
        return (x - prior.means[chosen[s]]) / prior.spread(chosen[s])

    blocks = [slice(first, min(first + block, n)) for first in range(0, n, block)]
    held = started(blocks[0]) if len(blocks) == 1 else None  # else drawn twice
    y, square = np.empty((n, basis.shape[1])), np.empty(n)
    for s in blocks:
        z = started(s) if held is None else held
        y[s], square[s] = z @ basis, np.einsum("nd,nd->n", z, z) - d
    terms = _Terms(y, square, basis, n // K // 2)
    curvature = prior.sharing(terms.curvature, np.ones(terms.curvature.shape))
    fitted, middle, slopes, widths = np.empty(n), np.empty(n), np.zeros((K, d)), np.zeros(prior.variances.shape)
    half = np.arange(n) // K % 2
    for k in range(K):
        rows = [np.flatnonzero((chosen == k) & (half == side)) for side in (0, 1)]
        for own, other in (rows, rows[::-1]):
            fit, share = terms.fit(other, loss), len(own) / (len(own) + len(other))
            fitted[own], middle[own] = terms.values[own] @ fit, fit[0]
            slopes[k] += share * (basis @ fit[1 : 1 + len(basis.T)])
            widths[k] += share * (fit @ curvature)
    total, one = np.bincount(chosen, weights=weights, minlength=K), np.eye(K)[chosen]
    slopes, widths, above = total[:, None] * slopes, (widths.T * total).T, one * (weights * (loss - fitted))[:, None]
    for s in blocks:
        z = started(s) if held is None else held
        slopes += above[s].T @ z
        widths += above[s].T @ (prior.sharing(z, z) - d * K // prior.variances.size) / 2
    return fitted - middle - loss, {"prior": Bars(slopes / prior.spread(np.arange(K)), widths, np.zeros(K))}


def _basis(model: Model) -> Array:
    """Orthonormal directions (d, R) of all means: L depends on where a path starts in them, and on |z|."""
    return span(np.vstack([model.mixtures[name].means for name in ("prior", "target")]))[1]


class _Terms:
    """Polynomials of z: 1, its coordinates y in the span of the means and, as there are paths for it, all of second
    degree in y and the rest of |z|²; else |z|² alone, or none. All but the first have mean 0.

    basis (d, R): y = z @ basis. values (path, term). curvature (term, d): E[term · (z_i² − 1)/2], exact for standard
    normal z, as E[term · y] is.
    """

    def __init__(self, y: Array, square: Array, basis: Array, paths: int) -> None:
        d, R = basis.shape
        a, b = np.triu_indices(R)
        pure = a == b
        products, of_products = np.zeros((len(y), 0)), np.zeros((0, d))
        if paths >= FOR_EACH * (2 + R + len(a)):
            products, of_products = y[:, a] * y[:, b] - pure, (basis[:, a] * basis[:, b]).T
        squares = pure[: len(of_products)]
        rest, of_rest = square - products[:, squares].sum(1), 1 - of_products[squares].sum(0)
        self.values = np.column_stack([np.ones(len(y)), y, products, rest])
        self.curvature = np.vstack([np.zeros((1 + R, d)), of_products, of_rest])
        self.slopes = paths >= FOR_EACH * len(self.curvature)

    def fit(self, paths: NDArray[np.intp], loss: Array) -> Array:
        """Coefficients (term,) by least squares of these paths."""
        found = np.zeros(len(self.curvature))
        if self.slopes:
            found = np.linalg.lstsq(self.values[paths], loss[paths], rcond=None)[0]
        else:
            found[0] = loss[paths].mean()
        return found
