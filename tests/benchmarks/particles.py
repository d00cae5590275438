"""How fast the particle simulation draws and evaluates, beside the same estimator written in NumPy and in jax.

All estimate, in float64 and from fresh particles of each component, what a step of the reverse KL flow needs: the
gradient in every mean, E_k[log q − log p], and the mode masses. The unit is the particle-dimension: one coordinate of
one particle, drawn, evaluated and reduced. Each solver has a process of its own on the same cores; rounds take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tests.benchmarks.turns import Row, Run, compared, ready, take_turns

K = L = 2
SOLVERS = {
    "this": "modecollapse",
    "normals": "its normals alone",
    "numpy": "NumPy",
    "numpy-threads": "NumPy, a thread a core",
    "jax": "jax.jit",
}
STEPS = 5  # of each replica of this simulation, with as many evaluations; the others repeat one
# (d, particles of each component at each step); as many repetitions as make a timing long enough
CASES = ((64, 1000), (1000, 1000), (10_000, 400))
BLOCK_BYTES = 2**21  # of NumPy's and jax's particles at a time: the fastest of 2**18 to 2**25 for both, or near it


def measure(cores: int, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows {d, particles, cores, solver, name, throughput, faster, faster_range, ...}, in particle-dimensions a second.

    See tests.benchmarks.turns.compared.
    """
    rows: list[Row] = []
    rounds, seconds = (2, 0.2) if quick else (5, 1.0)
    for d, particles in CASES[:2] if quick else CASES:
        speeds, _ = take_turns(
            SOLVERS, {"numpy-threads": 1}, cores, rounds, _prepare, (d, particles, cores, seconds), say
        )
        for key in speeds:
            row: dict[str, Any] = {"d": d, "particles": particles, "cores": cores, "solver": key, "name": SOLVERS[key]}
            row |= compared(speeds, key)
            rows.append(row)
            say(
                f"d = {d}: {row['name']}: {row['throughput'] / 1e6:.0f} million a second, this simulation is faster by "
                f"{row['faster']:.2f}; by processor time {row['throughput_cpu'] / 1e6:.0f} and {row['faster_cpu']:.2f}"
            )
    return rows


def _prepare(key: str, d: int, particles: int, cores: int, seconds: float) -> None:
    """Compile, and find how many evaluations fill the time: a multiple of all cores doing all steps."""
    rng = np.random.default_rng(0)
    mu, nu = (rng.standard_normal((count, d)) / np.sqrt(d) for count in (K, L))
    ready(MAKERS[key](mu, nu, particles, cores), cores * STEPS, seconds, particles * K * d)


def _this(mu: Any, nu: Any, particles: int, cores: int) -> Run:
    from solvers.particles.replicas import replicas_path
    from solvers.problem import Problem

    rows = ", ".join(f"[{', '.join(map(repr, row))}]" for row in nu.tolist())
    problem = Problem.parse(
        f"""
        dimension = {mu.shape[1]}
        target = {{means = [{rows}]}}
        family = {{components = {K}, learn = ["means", "weights"]}}
        init = {{scale = 1.0}}
        time = {{end = {0.05 * (STEPS - 1)}, save = 2}}
        """
    )
    # Evaluations: one a step, and one at the end.
    return lambda count: replicas_path(
        problem, mu, np.zeros(K), particles=particles, replicas=count // STEPS, step=0.05
    )


def _normals(mu: Any, nu: Any, particles: int, cores: int) -> Run:
    """The numbers that the simulation draws, in blocks of the same size, from a compiled loop in as many threads."""
    from numba import njit

    from solvers.particles.engines import ENGINES
    from solvers.particles.loops.numbers import draw
    from solvers.particles.streams import TILE, stream_keys

    tiles = -(-mu.shape[1] // TILE)
    block = max(8, ENGINES["numba"].block_bytes // (tiles * TILE * 8))

    @njit(nogil=True)
    def fill(x, particles, k0, k1):
        for source in range(K):
            for p in range(particles):
                draw(x, p % len(x), 1, 0, x.shape[1], np.uint64(p), np.uint64(0), np.uint64(source), k0, k1)

    def one(replica: int) -> None:
        fill(np.empty((block, tiles * TILE)), particles, *stream_keys(0, (), range(replica, replica + 1))[0])

    return _in_threads(one, cores)


def _in_threads(one: Callable[[int], None], cores: int) -> Run:
    threads = ThreadPoolExecutor(cores)
    return lambda replicas: list(threads.map(one, range(replicas)))


def _numpy_step(mu: Any, nu: Any, particles: int, rng: Any) -> Any:
    """What one would write: draw a block, log-densities by matrix products, softmax, gradient; then the next block."""
    d = mu.shape[1]
    log_w, log_pi = np.log(np.full(K, 1 / K)), np.log(np.full(L, 1 / L))
    mu2, nu2 = (mu**2).sum(1) / 2, (nu**2).sum(1) / 2
    block = max(1, min(particles, BLOCK_BYTES // (8 * d)))
    gradient, log_ratio, mass = np.zeros((K, d)), np.zeros(K), np.zeros((K, L))
    for k in range(K):
        for first in range(0, particles, block):
            x = mu[k] + rng.standard_normal((min(block, particles - first), d))
            # Unit variances: −|x|²/2 is common to all log-densities and leaves q/p and the responsibilities.
            terms_q, terms_p = x @ mu.T - mu2 + log_w, x @ nu.T - nu2 + log_pi
            top_q, top_p = terms_q.max(1, keepdims=True), terms_p.max(1, keepdims=True)
            r, rho = np.exp(terms_q - top_q), np.exp(terms_p - top_p)
            sum_q, sum_p = r.sum(1, keepdims=True), rho.sum(1, keepdims=True)
            r /= sum_q
            rho /= sum_p
            score = (r @ mu - x) - (rho @ nu - x)
            gradient[k] += score.sum(0)
            log_ratio[k] += (top_q - top_p + np.log(sum_q / sum_p)).sum()
            mass[k] += rho.sum(0)
    return gradient / particles, log_ratio / particles, mass / particles


def _numpy(mu: Any, nu: Any, particles: int, cores: int) -> Run:
    rng = np.random.default_rng(0)
    return lambda replicas: [_numpy_step(mu, nu, particles, rng) for _ in range(replicas)]


def _numpy_threads(mu: Any, nu: Any, particles: int, cores: int) -> Run:
    return _in_threads(lambda replica: _numpy_step(mu, nu, particles, np.random.default_rng(replica)), cores)


def _jax(mu: Any, nu: Any, particles: int, cores: int) -> Run:
    import jax

    jax.config.update("jax_enable_x64", True)
    from jax import numpy as jnp

    d = mu.shape[1]
    block = max(1, min(particles, BLOCK_BYTES // (8 * d)))
    while particles % block:  # equal blocks for the scan
        block -= 1
    log_w, log_pi = jnp.log(jnp.full(K, 1 / K)), jnp.log(jnp.full(L, 1 / L))
    mu, nu = jnp.asarray(mu), jnp.asarray(nu)

    def log_density(x: Any, means: Any, log_weights: Any) -> Any:
        terms = x @ means.T - (means**2).sum(1) / 2 + log_weights
        return jax.nn.logsumexp(terms, axis=1), jax.nn.softmax(terms, axis=1)

    def component(mean: Any, key: Any) -> Any:
        def add(sums: Any, key: Any) -> Any:
            x = mean + jax.random.normal(key, (block, d))
            (log_q, r), (log_p, rho) = log_density(x, mu, log_w), log_density(x, nu, log_pi)
            score = (r @ mu - x) - (rho @ nu - x)
            new = score.sum(0), (log_q - log_p).sum(), rho.sum(0)
            return jax.tree.map(jnp.add, sums, new), None

        start = jnp.zeros(d), jnp.zeros(()), jnp.zeros(L)
        sums, _ = jax.lax.scan(add, start, jax.random.split(key, particles // block))
        return jax.tree.map(lambda total: total / particles, sums)

    @jax.jit
    def step(key: Any) -> Any:
        return [component(mu[k], part) for k, part in enumerate(jax.random.split(key, K))]

    def one(replica: int) -> None:
        jax.block_until_ready(step(jax.random.key(replica)))

    return _in_threads(one, cores)


MAKERS: dict[str, Callable[[Any, Any, int, int], Run]] = {
    "this": _this,
    "normals": _normals,
    "numpy": _numpy,
    "numpy-threads": _numpy_threads,
    "jax": _jax,
}
