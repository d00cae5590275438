"""The sampler in all d dimensions, as one would write it down: a few lines of NumPy, nothing from the theory.

What the reduced chain is compared with: path by path, since it also gives the reduced noise of its own paths, not only
in law. It is written here once more, beside solvers/particles/sampler/chain.py, on purpose: squares are those of x − μ,
and a mistake there cannot hide here.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from solvers.closed import systems
from solvers.sampler import Mixture, Noise, Sampler
from solvers.sampler.model import chain_module

#: Every method with its references and controls.
KEYS = sorted(chain_module().DRIFTS)


def in_dimensions(keys, most, *others):
    """Parameters "key" and "d": all keys at d = most, and at the others two of them that differ in everything.

    A method is a table of drifts; what the directions beside the plane add is the same for all.
    """
    few = [("dbs", "annealed", "mixture"), ("dis", "ou", "exact")]
    pairs = [(key, most) for key in keys] + [(key, d) for d in others for key in few]
    return [pytest.param(key, d, id=f"{'-'.join(key)}-{d}") for key, d in pairs]


#: Mixtures with means in a plane: their coordinates, variances, weights.
PLANE = {
    "prior": ([[0.7, 0.2], [-0.5, 0.3]], [1.4, 1.1], [0.4, 0.6]),
    "target": ([[0.8, 0.0], [-0.8, 0.0]], [0.8, 1.0], [0.35, 0.65]),
    "control": ([[0.5, 0.1], [-0.6, 0.1]], [1.1, 0.9], [0.5, 0.5]),
    "control_back": ([[0.4, -0.2], [-0.7, 0.3]], [1.2, 1.0], [0.3, 0.7]),
}


def without_cross_term():
    """ϱ' = (1 + ηa)² ϱ + 2η (ξ₁² + χ²): the term 2 (1 + ηa) √(2ηϱ) ξ₁ forgotten."""
    source, square = systems.read("sampler_chain"), "+ along**2"
    assert source.count(square) == 1
    return systems.load(source.replace(square, "+ grow**2 * rho + 2 * eta * xi1**2"))


def log_density(x, mean, v, w):
    d = x.shape[1]
    square = ((x[:, None, :] - mean) ** 2).sum(-1)
    return logsumexp(np.log(w) - 0.5 * d * np.log(2 * np.pi * v) - square / (2 * v), axis=1)


def score(x, mean, v, w):
    square = ((x[:, None, :] - mean) ** 2).sum(-1)
    r = softmax(np.log(w) - 0.5 * x.shape[1] * np.log(v) - square / (2 * v), axis=1)
    return np.einsum("nk,nkd->nd", r / v, mean - x[:, None, :])


def plain(sampler, mixtures, paths, rng, frame, drift=None):
    """log W (n,), x_N (n, d) and the reduced noise of the same paths. mixtures: name -> (mean (K, d), v, w).

    drift(side, n, x), side "forward" or "backward": by default that of the sampler's method.
    """
    d, N = sampler.dimension, sampler.steps
    shares = np.full(N, 1 / max(N, 1)) if sampler.shares is None else sampler.shares
    etas, betas = sampler.horizon * shares, sampler.annealing
    log_w, noises = np.zeros(paths), []

    def noised(name, n):
        (mean, v, w), e = mixtures[name], np.exp(-sum(etas[n:]))
        return e * mean, 1 + (v - 1) * e**2, w

    def of_method(side, n, x):
        beta, method, ou = n / N if betas is None else betas[n], sampler.method, sampler.reference == "ou"
        if ou:
            f = -x
        elif sampler.reference == "prior":
            f = score(x, *mixtures["prior"])
        else:
            f = beta * score(x, *mixtures["target"]) + (1 - beta) * score(x, *mixtures["prior"])

        def u(name):
            if sampler.control == "none":
                return 0.0
            if sampler.control == "exact":
                return 2 * (score(x, *noised("target", n)) + x)
            return 2 * (score(x, *noised(name, n)) + x) if ou else score(x, *mixtures[name])

        if side == "forward":
            return f + (0.0 if method == "mcd" else u("control"))
        return f + {"dis": lambda: 0.0, "mcd": lambda: u("control"), "cmcd": lambda: -u("control"),
                    "dbs": lambda: u("control_back")}[method]()  # fmt: skip

    def reduce(xi, x):
        inside = xi @ frame
        xi_, x_ = xi - inside @ frame.T, x - (x @ frame) @ frame.T
        length = np.linalg.norm(x_, axis=1)
        along = (xi_ * x_).sum(1) / np.where(length > 1e-12, length, 1.0)
        return inside, along, np.maximum((xi_**2).sum(1) - along**2, 0.0)

    drift = drift or of_method
    mean, v, w = mixtures["prior"]
    chosen = rng.choice(len(w), p=w, size=paths)
    z = rng.standard_normal((paths, d))
    x = mean[chosen] + np.sqrt(np.broadcast_to(v, len(w))[chosen])[:, None] * z
    noises.append(reduce(z, np.zeros_like(z)))
    log_w -= log_density(x, mean, v, w)
    for n in range(N):
        xi, eta = rng.standard_normal((paths, d)), etas[n]
        noises.append(reduce(xi, x))
        new = x + eta * drift("forward", n, x) + np.sqrt(2 * eta) * xi
        back = x - new - eta * drift("backward", n + 1, new)
        log_w += (xi**2).sum(1) / 2 - (back**2).sum(1) / (4 * eta)
        x = new
    log_w += log_density(x, *mixtures["target"])
    xi, xi1, chi2 = (np.stack(parts) for parts in zip(*noises, strict=True))
    noise = Noise(xi, xi1, chi2, rng.random(paths))
    return log_w, x, noise, chosen


def case(method, reference, control, *, d=5, steps=6, horizon=0.6, varied=True, rng, module=None):
    """A sampler with means in a plane, and the same mixtures in d dimensions, with the frame of that plane."""
    frame = np.linalg.qr(rng.standard_normal((d, 2)))[0]
    data = {name: (mean, np.array(v) if varied else np.ones(len(v)), w) for name, (mean, v, w) in PLANE.items()}
    reduced = {name: Mixture.of(*numbers) for name, numbers in data.items()}
    full = {name: (np.array(mean) @ frame.T, var, np.array(w)) for name, (mean, var, w) in data.items()}
    extra = {} if module is None else {"module": module}
    return Sampler(method, reference, control, steps, horizon, d, reduced, **extra), full, frame


def uneven(sampler):
    """The same with steps of different lengths, and β_n not on a line."""
    N = sampler.steps
    shares = np.linspace(1.6, 0.5, N)
    return replace(sampler, shares=shares / shares.sum(), annealing=(np.arange(N + 1) / N) ** 1.4)
