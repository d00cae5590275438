"""How fast samplers are walked: the simulation in R^d and the reduced chain, beside the same sampler written in jax.

All walk paths of one sampler in float64 (annealed Langevin, CMCD, two prior components and two modes of different
variances) and accumulate log-weights and mode masses. The unit is the path. Each solver has a process of its own on the
same cores; rounds take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.benchmarks.particles import _in_threads
from tests.benchmarks.turns import Row, compared, ready, take_turns

SOLVERS = {"this": "modecollapse, in R^d", "reduced": "modecollapse, reduced chain", "jax": "jax.jit, in R^d"}
STEPS, HORIZON = 32, 0.5
CASES = ((10, 4096), (50, 2048), (1000, 256))  # d, paths a call
PRIOR = ([[0.7, 0.2], [-0.5, 0.3]], [1.4, 1.1], [0.4, 0.6])
TARGET = ([[0.8, 0.0], [-0.8, 0.0]], [0.8, 1.0], [0.35, 0.65])


def measure(cores: int, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows {d, steps, paths, cores, solver, name, throughput, faster, faster_range, elbo, ...}; throughput in paths a
    second.

    faster is the simulation in R^d; see tests.benchmarks.turns.compared. elbo: what the solver found, to see that all
    do the same.
    """
    rows: list[Row] = []
    rounds, seconds = (2, 0.2) if quick else (5, 1.0)
    for d, paths in CASES[:2] if quick else CASES:
        speeds, elbos = take_turns(SOLVERS, {}, cores, rounds, _prepare, (d, paths, cores, seconds), say)
        for key in speeds:
            row = {"d": d, "steps": STEPS, "paths": paths, "cores": cores, "solver": key, "name": SOLVERS[key]}
            row |= {"elbo": elbos[key], **compared(speeds, key)}
            rows.append(row)
            say(
                f"d = {d}: {row['name']}: {row['throughput']:.3g} paths a second, simulation in R^d faster by "
                f"{row['faster']:.2f}, by processor time {row['faster_cpu']:.2f}; ELBO {row['elbo']:.3f}"
            )
    return rows


def _prepare(key: str, d: int, paths: int, cores: int, seconds: float) -> float:
    """Compile, find how many calls fill the time, and return the ELBO."""
    one = MAKERS[key](d, paths)
    elbo = float(np.mean([np.mean(one(n)) for n in range(4)]))
    ready(_in_threads(one, cores), cores, seconds, paths)
    return elbo


def _vectors(d: int, mixture: Any) -> Any:
    mean, v, w = mixture
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((d, 2)))[0]
    return np.array(mean) @ frame.T, np.array(v), np.array(w)


def _this(d: int, paths: int) -> Callable[[int], Any]:
    from solvers.particles import sampler_compiled
    from solvers.particles.sampler_chain import Mixture, Model
    from solvers.particles.streams import stream_keys

    prior, target = (
        Mixture(mean, v, np.log(w)) for mean, v, w in (_vectors(d, mixture) for mixture in (PRIOR, TARGET))
    )
    model = Model("cmcd", "annealed", "none", STEPS, HORIZON, {"prior": prior, "target": target})

    def one(call: int) -> Any:
        chosen = np.random.default_rng(call).choice(2, size=paths, p=PRIOR[2])
        key = stream_keys(0, (), range(call, call + 1))[0]
        return sampler_compiled.walk(model, key, 0, range(paths), chosen).log_weight

    return one


def _reduced(d: int, paths: int) -> Callable[[int], Any]:
    from solvers.sampler import Mixture, Noise, Sampler, forward

    mixtures = {"prior": Mixture.of(*PRIOR), "target": Mixture.of(*TARGET)}
    sampler = Sampler("cmcd", "annealed", "none", STEPS, HORIZON, d, mixtures)
    return lambda call: forward(sampler, Noise.draw(sampler, paths, np.random.default_rng(call))).log_weight


def _jax(d: int, paths: int) -> Callable[[int], Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    from jax import numpy as jnp

    eta = HORIZON / STEPS
    (mu, v, w), (nu, u, pi) = (tuple(map(jnp.asarray, _vectors(d, mixture))) for mixture in (PRIOR, TARGET))

    def mixture(x: Any, mean: Any, var: Any, weight: Any) -> tuple[Any, Any, Any]:
        square = (x**2).sum(1, keepdims=True) - 2 * x @ mean.T + (mean**2).sum(1)
        terms = jnp.log(weight) - d / 2 * jnp.log(2 * jnp.pi * var) - square / (2 * var)
        r = jax.nn.softmax(terms, axis=1)
        return jax.nn.logsumexp(terms, axis=1), (r / var) @ mean - (r / var).sum(1, keepdims=True) * x, r

    def drift(x: Any, beta: Any) -> Any:
        return beta * mixture(x, nu, u, pi)[1] + (1 - beta) * mixture(x, mu, v, w)[1]

    @jax.jit
    def walk(key: Any) -> Any:
        first, second, third = jax.random.split(key, 3)
        chosen = jax.random.choice(first, 2, (paths,), p=w)
        x = mu[chosen] + jnp.sqrt(v[chosen])[:, None] * jax.random.normal(second, (paths, d))
        log_weight = -mixture(x, mu, v, w)[0]

        def step(carry: Any, at: Any) -> Any:
            x, drifted, log_weight = carry
            n, key = at
            xi = jax.random.normal(key, (paths, d))
            new = x + eta * drifted + jnp.sqrt(2 * eta) * xi
            after = drift(new, (n + 1) / STEPS)  # of the backward kernel here, and of the next move
            back = x - new - eta * after
            return (new, after, log_weight + (xi**2).sum(1) / 2 - (back**2).sum(1) / (4 * eta)), None

        keys = jax.random.split(third, STEPS)
        (x, _, log_weight), _ = jax.lax.scan(step, (x, drift(x, 0.0), log_weight), (jnp.arange(STEPS), keys))
        end, _, modes = mixture(x, nu, u, pi)
        return log_weight + end, modes.mean(0)

    return lambda call: np.asarray(walk(jax.random.key(call))[0])


MAKERS: dict[str, Callable[[int, int], Callable[[int], Any]]] = {"this": _this, "reduced": _reduced, "jax": _jax}
