"""What the tests of the closed equations share: problems from Python values, and an independent flow on a line."""

from __future__ import annotations

import json

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import logsumexp

from solvers import systems
from solvers.flow import velocity
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
    return velocity(given, systems.for_problem(given, drop=drop), *overlaps(mu, nu), theta)


def flow_on_a_line(given, *, rtol=1e-11):
    """The flow of a problem with d = 1 by its definition: no overlaps, no tables, integrals over x.

    dμ_k/dt = −w_k E_k[∇log q − ∇log p], dθ_k/dt = −w_k (F_k − D), or −(F_k − D) for Fisher–Rao, E_k by the trapezoidal
    rule on x = μ_k + √v z.
    Returns
        mu (T, K), w (T, K), D (T,), mode_mass (T, L) at the save times.
    """
    assert given.dimension == 1
    nu, log_pi, learn = given.target.vectors[:, 0], np.log(given.target.weights), given.family.learn
    v, u, K = given.family.variances[0], given.target.variances[0], given.family.components
    z = np.arange(-10, 10, 0.02)
    weight = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()

    def mixture(x, means, variance, log_weights):
        terms = log_weights - (x[..., None] - means) ** 2 / (2 * variance) - np.log(2 * np.pi * variance) / 2
        total = logsumexp(terms, axis=-1)
        share = np.exp(terms - total[..., None])
        return total, share, ((means - x[..., None]) * share).sum(-1) / variance

    def averages(y):
        mu, log_w = y[:K], y[K:] - logsumexp(y[K:])
        x = mu[:, None] + np.sqrt(v) * z
        (log_q, _, score_q), (log_p, share, score_p) = mixture(x, mu, v, log_w), mixture(x, nu, u, log_pi)
        return np.exp(log_w), (score_q - score_p) @ weight, (log_q - log_p) @ weight, weight @ share

    def rhs(_, y):
        w, g, F, _ = averages(y)
        dtheta = -(w if given.flow.weights == "softmax" else 1.0) * (F - w @ F)
        return np.concatenate([-w * g * ("means" in learn), dtheta * ("weights" in learn)])

    start = np.concatenate([given.init.means[:, 0], np.log(given.family.weights)])
    times = given.time.times
    path = solve_ivp(rhs, (0, given.time.end), start, "LSODA", times, rtol=rtol, atol=1e-12).y.T
    rows = [averages(y) for y in path]
    w, _, F, B = (np.array(column) for column in zip(*rows, strict=True))
    return path[:, :K], w, (w * F).sum(-1), (w[..., None] * B).sum(-2)
