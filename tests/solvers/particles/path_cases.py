"""Paths in R^d: every method with its references and controls, and models of them."""

import numpy as np

from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.mixtures import Mixture
from solvers.particles.streams import stream_keys

KEYS = [
    (method, reference, control)
    for method in ("dis", "mcd", "cmcd", "dbs")
    for reference in ("ou", "prior", "annealed")
    for control in ("none", "exact", "mixture")
    if not (method == "dis" and reference == "annealed")
    and not (control == "exact" and (method, reference) != ("dis", "ou"))
]
STREAM = stream_keys(0, (99,), range(1))[0]


def mixture(rng, K, d, wide):
    w = 0.5 + rng.random(K)
    return Mixture(wide * rng.standard_normal((K, d)), 0.8 + 0.6 * rng.random(K), np.log(w / w.sum()))


def uneven(steps):
    """Shares of the steps in the horizon and β_n, that no step shares with another; none where there is no choice."""
    if steps < 2:
        return None, None
    shares = np.linspace(1.6, 0.5, steps)
    return shares / shares.sum(), (np.arange(steps + 1) / steps) ** 1.4


def model(key: tuple[str, str, str], *, d, steps=5, horizon=0.6, wide=1.0, seed=0):
    rng = np.random.default_rng(seed)
    sizes = {"prior": 2, "target": 2, "control": 3, "control_back": 2}
    mixtures = {name: mixture(rng, K, d, wide) for name, K in sizes.items()}
    return Model(*key, steps, horizon, mixtures, None, *uneven(steps))
