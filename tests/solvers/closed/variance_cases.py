"""Problems with different variances, their Monte Carlo in all d dimensions, and problem texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from solvers.problem import Problem

Array = NDArray[np.float64]

TEXT = """
dimension = {d}
[target]
means = {nu}
weights = {pi}
variances = {u}
[family]
components = {K}
weights = {w}
variances = {v}
learn = ["means", "weights", "variances"]
[flow]
metric = "{metric}"
weights = "{weights}"
[init]
means = {mu}
[time]
end = {end}
save = {save}
"""


def problem(d: int, mu: Array, nu: Array, w: Array, pi: Array, v: Array, u: Array, **options: object) -> Problem:
    """A start in the first coordinates of R^d; options: metric, weights, end, save."""
    values = {"metric": "euclidean", "weights": "softmax", "end": 1.0, "save": 2} | options
    arrays = {"mu": mu, "nu": nu, "w": w, "pi": pi, "v": v, "u": u}
    return Problem.parse(TEXT.format(d=d, K=len(mu), **{n: a.tolist() for n, a in arrays.items()}, **values))


def point(d: int, K: int = 2, L: int = 2, seed: int = 0) -> dict[str, Array]:
    """Means, weights and unequal variances at which nothing is saturated and every term counts."""
    rng = np.random.default_rng([seed, d, K, L])
    axes = min(d, 3)
    # In high dimension densities of different width hardly overlap: variances that differ by 1/√d keep them together.
    spread = min(0.5, 2 / np.sqrt(d))
    return {
        "mu": rng.normal(size=(K, axes)),
        "nu": 1.5 * rng.normal(size=(L, axes)),
        "w": rng.dirichlet(5 * np.ones(K)),
        "pi": rng.dirichlet(5 * np.ones(L)),
        "v": np.exp(spread * np.linspace(-1, 0.7, K)),
        "u": np.exp(spread * np.linspace(0.9, -0.8, L)),
    }


def monte_carlo(
    at: dict[str, Array], d: int, samples: int, rng: np.random.Generator, metric: str = "euclidean"
) -> dict[str, Array]:
    """One unbiased estimate of dμ·μ and dμ·ν, dθ, dlog v and D, from `samples` antithetic pairs a component in R^d."""
    K, L = len(at["mu"]), len(at["nu"])
    mu, nu = np.zeros((K, d)), np.zeros((L, d))
    mu[:, : at["mu"].shape[1]], nu[:, : at["nu"].shape[1]] = at["mu"], at["nu"]
    w, v, u = at["w"], at["v"], at["u"]
    dmu, dlog_v, F = np.zeros((K, d)), np.zeros(K), np.zeros(K)
    vectors, variances = np.concatenate([mu, nu]), np.concatenate([v, u])
    constants = np.log(np.concatenate([w, at["pi"]])) - d / 2 * np.log(2 * np.pi * variances)
    for k in range(K):
        z = rng.standard_normal((samples, d))
        x = mu[k] + np.sqrt(v[k]) * np.concatenate([z, -z])
        square = np.sum(x**2, axis=1)[:, None] - 2 * x @ vectors.T + np.sum(vectors**2, axis=1)
        logits = constants - square / (2 * variances)
        parts = np.exp(np.hstack([log_softmax(logits[:, :K], axis=1), log_softmax(logits[:, K:], axis=1)]))
        pull = parts / variances * np.repeat([1.0, -1.0], [K, L])
        g = pull @ vectors - pull.sum(axis=1)[:, None] * x  # ∇log q − ∇log p
        dmu[k] = -w[k] * g.mean(axis=0)
        dlog_v[k] = -w[k] / 2 * np.mean(np.sum((x - mu[k]) * g, axis=1))
        F[k] = np.mean(logsumexp(logits[:, :K], axis=1) - logsumexp(logits[:, K:], axis=1))
    dtheta = -w * (F - w @ F)
    if metric == "wasserstein":
        dmu, dlog_v = dmu / w[:, None], dlog_v * 4 / (d * w * v)
    gamma = dmu @ mu.T
    return {"s": gamma + gamma.T, "m": dmu @ nu.T, "theta": dtheta, "log_v": dlog_v, "objective": np.array(w @ F)}
