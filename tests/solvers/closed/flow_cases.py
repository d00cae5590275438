"""What the tests of the closed equations share: problems from Python values, and a flow by its definition."""

from __future__ import annotations

import json

import numpy as np
from scipy.integrate import solve_ivp

from solvers.closed import systems
from solvers.closed.flow import velocity
from solvers.problem import Problem


def problem(dimension, target, family, init, time=None, flow=None):
    """The problem whose sections hold these values, numbers, strings, lists or arrays."""

    def section(name, values):
        lines = (f"{key} = {json.dumps(value, default=np.ndarray.tolist)}" for key, value in values.items())
        return "\n".join([f"[{name}]", *lines])

    sections = {"target": target, "family": family, "flow": flow or {}, "init": init, "time": time or {"end": 1.0}}
    text = "\n".join([f"dimension = {dimension}", *(section(*entry) for entry in sections.items())])
    return Problem.parse(text)


def overlaps(mu, nu):
    """s = μ_k·μ_j and m = μ_k·ν_l of rows of vectors, with any leading axes."""
    return mu @ np.swapaxes(mu, -1, -2), mu @ np.swapaxes(nu, -1, -2)


def velocity_at(given, mu, nu, theta=None, drop=None):
    """ds/dt, dm/dt, dtheta/dt of the generated system behind a problem, at vectors mu (..., K, n) and nu (L, n)."""
    theta = np.log(given.family.weights) if theta is None else theta
    theta = np.broadcast_to(theta, mu.shape[:-1])
    s, m = overlaps(mu, nu)
    return velocity(given, systems.for_problem(given, drop=drop), s, m, theta)


def closed(given, mu, nu, theta):
    """Objective and mode masses of the generated system, at vectors and log-weights with any leading axes."""
    module = systems.for_problem(given)
    s, m = overlaps(mu, nu)
    values = systems.evaluate(given, module, s, m, theta)
    return systems.call(module.objective, values), systems.call(module.mode_mass, values)


def flow_by_definition(given, *, rtol=1e-11):
    """The flow of a problem with d = 1 or 2 by its definition: no overlaps, no tables, integrals over x.

    dμ_k/dt = −w_k E_k[∇log q − ∇log p], dθ_k/dt = −w_k (F_k − D), or −(F_k − D) for Fisher–Rao; E_k by the trapezoidal
    rule on x = μ_k + √v z.
    Returns
        mu (T, K, d), w (T, K), D (T,), mode_mass (T, L) at the save times.
    """
    d, K = given.dimension, given.family.components
    (nu, mu), log_pi, learn = _vectors(given), np.log(given.target.weights), given.family.learn
    v, u = given.family.variances[0], given.target.variances[0]
    side = np.arange(-10, 10, 0.02) if d == 1 else np.arange(-7, 7, 0.25)
    z = np.stack(np.meshgrid(*[side] * d), axis=-1).reshape(-1, d)
    weight = np.exp(-(z**2).sum(-1) / 2)
    weight /= weight.sum()

    def logsumexp(terms):
        """Over the last axis; that of SciPy spends most of its time on kinds of arrays that these are not."""
        most = terms.max(-1)
        return most + np.log(np.exp(terms - most[..., None]).sum(-1))

    def mixture(x, means, variance, log_weights):
        square = (x**2).sum(-1)[..., None] - 2 * x @ means.T + (means**2).sum(-1)
        terms = log_weights - square / (2 * variance) - d * np.log(2 * np.pi * variance) / 2
        total = logsumexp(terms)
        share = np.exp(terms - total[..., None])
        return total, share, (share @ means - x) / variance

    def averages(y):
        mu, log_w = y[:-K].reshape(K, d), y[-K:] - logsumexp(y[-K:])
        x = mu[:, None] + np.sqrt(v) * z
        (log_q, _, score_q), (log_p, share, score_p) = mixture(x, mu, v, log_w), mixture(x, nu, u, log_pi)
        return np.exp(log_w), weight @ (score_q - score_p), (log_q - log_p) @ weight, weight @ share

    def rhs(_, y):
        w, g, F, _ = averages(y)
        dtheta = -(w if given.flow.weights == "softmax" else 1.0) * (F - w @ F)
        return np.concatenate([(-w[:, None] * g * ("means" in learn)).ravel(), dtheta * ("weights" in learn)])

    start = np.concatenate([mu.ravel(), np.log(given.family.weights)])
    path = solve_ivp(rhs, (0, given.time.end), start, "LSODA", given.time.times, rtol=rtol, atol=1e-12).y.T
    w, _, F, B = (np.array(column) for column in zip(*map(averages, path), strict=True))
    return path[:, :-K].reshape(-1, K, d), w, (w * F).sum(-1), (w[..., None] * B).sum(-2)


def _vectors(given):
    """nu (L, d) and the mu (K, d) at the start."""
    rows = given.target.vectors, given.init.means
    return (np.pad(a, ((0, 0), (0, given.dimension - a.shape[1]))) for a in rows)
