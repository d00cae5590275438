"""The gradient in the prior by the law of the starts: with the exact control, where the prior is in no drift.

    ∂D/∂μ_k = α_k E_k[(−log W − b) (x_0 − μ_k)/v_k],     ∂D/∂log v_k = α_k E_k[(−log W − b) (|x_0 − μ_k|²/v_k − d)/2]

Every path has a partner with the opposite z = (x_0 − μ_k)/√v_k and the same noise on its way, so that what is even in z
cancels in the first, and most of what the way adds. b is the mean of −log W over the other pairs of the component.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from solvers.particles.engines import Engine
from solvers.particles.sampler.chain import Bars, Model

__all__ = ["by_starts"]

Array = NDArray[np.float64]


def by_starts(
    model: Model, key: NDArray[np.uint64], source: int, chosen: NDArray[np.intp], weights: Array, *, engine: Engine,
    threads: int,
) -> tuple[Array, dict[str, Bars]]:  # fmt: skip
    """log W (path,), and the derivatives of Σ_i weights_i (−log W_i) in the prior, in the mean over starts.

    chosen (path,): components in turn, 0, 1, ..., K − 1, 0, ...: paths i and i + K are partners. weights (path,): equal
    for equal components. source: of random numbers, so that no other gradient of this key has them.
    """
    prior, n, d = model.mixtures["prior"], len(chosen), model.dimension
    K = len(prior.variances)
    begin = replace(model, steps=0, control="none", shares=None, annealing=None)  # its paths end where they start
    first = np.flatnonzero(np.arange(n) // K % 2 == 0)
    paired = first[first + K < n]
    log_weight, z, pair = np.empty(n), np.empty((n, d)), np.empty(n, dtype=np.intp)
    for some, mirrored in ((first, False), (paired, True)):
        paths, of = range(len(some)), some + K * mirrored
        walked = engine.walk(model, key, source, paths, chosen[some], mirrored=mirrored, threads=threads)
        log_weight[of] = walked.log_weight
        starts = engine.walk(begin, key, source, paths, chosen[some], mirrored=mirrored, ends=True, threads=threads).end
        z[of] = (starts - prior.means[chosen[some]]) / np.sqrt(prior.variances[chosen[some]])[:, None]
        pair[of] = np.arange(len(some))
    loss = -log_weight
    in_pair, in_component = np.bincount(pair)[pair], np.bincount(chosen)[chosen]
    others = in_component - in_pair
    total = np.bincount(chosen, weights=loss)[chosen] - np.bincount(pair, weights=loss)[pair]
    above = weights * (loss - np.divide(total, others, out=np.zeros(n), where=others > 0))
    one = np.eye(K)[chosen]
    means = one.T @ (above[:, None] * z) / np.sqrt(prior.variances)[:, None]
    widths = one.T @ (above * (np.einsum("nd,nd->n", z, z) - d)) / 2
    return log_weight, {"prior": Bars(means, widths, np.zeros(K))}
