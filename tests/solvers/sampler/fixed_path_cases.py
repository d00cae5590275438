"""Paths in R^d whose points are known, and log Q and log P̃ of them as one would write them down; no theory in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from solvers.particles.sampler.chain import Model, _drift
from solvers.particles.sampler.mixtures import Mixture
from tests.solvers.sampler.plain_chain import case, plain

__all__ = ["log_densities", "moved", "walked"]


def walked(key, d, paths, rng):
    """The reduced sampler, its noise and components, the model in R^d, its frame, and points (N+1, path, d)."""
    sampler, full, frame = case(*key, d=d, steps=3, rng=rng)
    sampler = replace(sampler, shares=np.array([0.2, 0.5, 0.3]))
    mixtures = {name: Mixture(mean, v, np.log(w)) for name, (mean, v, w) in full.items()}
    method, reference, control = key
    model = Model(method, reference, control, sampler.steps, sampler.horizon, mixtures, shares=sampler.shares)
    points = []

    def drift(side, n, x):
        if side == "forward":
            points.append(x)
        return _drift(model, model.drifts(n)[side == "backward"], n, x)

    _, end, noise, chosen = plain(sampler, full, paths, rng, frame, drift)
    return sampler, noise, chosen, model, frame, np.array([*points, end])


def log_densities(model, points):
    """log Q and log P̃ (path,) but for the normalisers of the kernels, which are equal."""
    q, p = model.mixtures["prior"].at(points[0]).log_density, model.mixtures["target"].at(points[-1]).log_density
    for n in range(model.steps):
        x, new, eta = points[n], points[n + 1], model.eta[n]
        ahead = new - x - eta * _drift(model, model.drifts(n)[0], n, x)
        back = x - new - eta * _drift(model, model.drifts(n + 1)[1], n + 1, new)
        q, p = q - (ahead**2).sum(1) / (4 * eta), p - (back**2).sum(1) / (4 * eta)
    return q, p


def moved(model, frame, direction, by):
    """The model with every mixture moved along (mean in the plane, log_var, log_w) of `direction`."""
    mixtures = {}
    for name, m in model.mixtures.items():
        mean, log_var, log_w = direction[name]
        mixtures[name] = Mixture(
            m.means + by * mean @ frame.T, m.variances * np.exp(by * log_var), m.log_weights + by * log_w
        )
    return replace(model, mixtures=mixtures)
