"""How fast samplers are walked and learned: simulation in R^d and reduced chain, beside the same sampler in jax.

All walk paths of one sampler in float64 (annealed Langevin, CMCD, two prior components and two modes of different
variances). Task "paths": accumulate log-weights and mode masses. Task "gradient": the reverse KL on paths and its
derivatives in means, variances and weights of the prior, the same number of paths from each component; in jax by
`value_and_grad` of the plain loss. The unit is the path. Each solver has a process of its own on the same cores; rounds
take turns. On a GPU they are CUDA kernels and jax on the same GPU, and the reduced chain is also timed with its noise
there already, as it is along learning: NumPy draws that.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from solvers.machine.arrays import backend_module
from tests.benchmarks.particles import _in_threads
from tests.benchmarks.turns import Row, compared, ready, take_turns

SOLVERS = {"this": "modecollapse, in R^d", "reduced": "modecollapse, reduced chain", "jax": "jax.jit, in R^d"}
ON_GPU = SOLVERS | {"kept": "modecollapse, reduced chain, noise kept on the device"}
TASKS = ("paths", "gradient")
STEPS, HORIZON = 32, 0.5
# d, paths a call
CASES = {"cpu": ((10, 4096), (50, 2048), (1000, 256)), "gpu": ((10, 2**17), (50, 2**16), (1000, 2**12))}
PRIOR = ([[0.7, 0.2], [-0.5, 0.3]], [1.4, 1.1], [0.4, 0.6])
TARGET = ([[0.8, 0.0], [-0.8, 0.0]], [0.8, 1.0], [0.35, 0.65])


def measure(cores: int, device: str, *, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows {task, d, steps, paths, cores, device, solver, name, throughput, faster, faster_range, elbo, slope};
    throughput in paths a second; device: cpu, or the name of the GPU.

    faster is the simulation in R^d; see tests.benchmarks.turns.compared. elbo, and of gradients slope, the derivative
    of −elbo in the logarithm of the first variance: what the solver found, to see that all do the same.
    """
    rows: list[Row] = []
    rounds, seconds = (2, 0.2) if quick else (5, 1.0)
    names, hardware = (ON_GPU, _gpu()) if device == "gpu" else (SOLVERS, "cpu")
    cores = 1 if device == "gpu" else cores
    for task, (d, paths) in product(TASKS, CASES[device][:2] if quick else CASES[device]):
        speeds, found = take_turns(names, {}, cores, rounds, _prepare, (task, d, paths, device, cores, seconds), say)
        for key in speeds:
            row = {"task": task, "d": d, "steps": STEPS, "paths": paths, "cores": cores, "device": hardware}
            row |= {"solver": key, "name": names[key], **found[key], **compared(speeds, key)}
            rows.append(row)
            say(
                f"{task}, d = {d}: {row['name']}: {row['throughput']:.3g} paths a second, simulation in R^d faster by "
                f"{row['faster']:.2f}, by processor time {row['faster_cpu']:.2f}; "
                + ", ".join(f"{name} {value:.3f}" for name, value in found[key].items())
            )
    return rows


def _gpu() -> str:
    """Its name. Raises BackendError if there is none."""
    properties = backend_module("cupy").cuda.runtime.getDeviceProperties(0)
    return str(properties["name"].decode())


def _prepare(key: str, task: str, d: int, paths: int, device: str, cores: int, seconds: float) -> dict[str, float]:
    """Compile, find how many calls fill the time, and return what the solver found, averaged over some calls."""
    one = MAKERS[task, key](d, paths, device)
    found = [one(n) for n in range(4)]
    ready(_in_threads(one, cores), cores, seconds, paths)
    return {name: float(np.mean([numbers[name] for numbers in found])) for name in found[0]}


def _vectors(d: int, mixture: Any) -> Any:
    mean, v, w = mixture
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((d, 2)))[0]
    return np.array(mean) @ frame.T, np.array(v), np.array(w)


Maker = Callable[[int, int, str], Callable[[int], dict[str, Any]]]


def _model(d: int) -> Any:
    from solvers.particles.sampler.chain import Model
    from solvers.particles.sampler.mixtures import Mixture

    prior, target = (
        Mixture(mean, v, np.log(w)) for mean, v, w in (_vectors(d, mixture) for mixture in (PRIOR, TARGET))
    )
    return Model("cmcd", "annealed", "none", STEPS, HORIZON, {"prior": prior, "target": target})


def _this(d: int, paths: int, device: str) -> Callable[[int], dict[str, Any]]:
    from solvers.particles.sampler import compiled as sampler_compiled
    from solvers.particles.sampler import device as sampler_device
    from solvers.particles.streams import stream_keys

    model, walk = _model(d), (sampler_device if device == "gpu" else sampler_compiled).walk

    def one(call: int) -> dict[str, Any]:
        chosen = np.random.default_rng(call).choice(2, size=paths, p=PRIOR[2])
        key = stream_keys(0, (), range(call, call + 1))[0]
        return {"elbo": walk(model, key, 0, range(paths), chosen).log_weight.mean()}

    return one


def _this_gradient(d: int, paths: int, device: str) -> Callable[[int], dict[str, Any]]:
    from solvers.particles.sampler import compiled as sampler_compiled
    from solvers.particles.sampler import device as sampler_device
    from solvers.particles.sampler.learn import path_gradient
    from solvers.particles.streams import stream_keys

    model, gradient = _model(d), (sampler_device if device == "gpu" else sampler_compiled).gradient

    def one(call: int) -> dict[str, Any]:
        key = stream_keys(0, (), range(call, call + 1))[0]
        loss, slopes = path_gradient(
            model, paths, lambda model, *path: gradient(model, key, 0, 0, range(paths), *path[:2], of=["prior"])
        )
        return {"elbo": -loss, "slope": slopes["prior"].log_variances[0]}

    return one


def _sampler(d: int) -> Any:
    from solvers.sampler.model import Mixture, Sampler

    mixtures = {"prior": Mixture.of(*PRIOR), "target": Mixture.of(*TARGET)}
    return Sampler("cmcd", "annealed", "none", STEPS, HORIZON, d, mixtures)


def _walker(device: str) -> Any:
    from solvers.sampler.backends import WALKERS

    return WALKERS["cupy" if device == "gpu" else "numba"].within(1)


def _noise(sampler: Any, paths: int, kept: bool) -> Callable[[int], Any]:
    """Of a call: drawn for it, or once for all."""
    from solvers.sampler import Noise

    def drawn(call: int) -> Any:
        return Noise.draw(sampler, paths, np.random.default_rng(call))

    always = drawn(0) if kept else None
    return lambda call: always or drawn(call)


def _reduced(d: int, paths: int, device: str, *, kept: bool = False) -> Callable[[int], dict[str, Any]]:
    sampler, walker = _sampler(d), _walker(device)
    noise = _noise(sampler, paths, kept)
    return lambda call: {"elbo": walker.forward(sampler, noise(call)).log_weight.mean()}


def _reduced_gradient(d: int, paths: int, device: str, *, kept: bool = False) -> Callable[[int], dict[str, Any]]:
    from solvers.sampler.gradients import path_gradient

    sampler, walker = _sampler(d), _walker(device)
    noise = _noise(sampler, paths, kept)

    def one(call: int) -> dict[str, Any]:
        loss, slopes = path_gradient(sampler, noise(call), walker)
        return {"elbo": -loss, "slope": slopes["prior"].log_var[0]}

    return one


def _jax_walk(d: int, paths: int, device: str) -> Any:
    """The sampler as one would write it: (parameters of the prior, components, key) -> log W, modes."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the others need memory of the same GPU
    import jax

    jax.config.update("jax_enable_x64", True)
    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        raise ImportError("jax finds no GPU")
    from jax import numpy as jnp

    eta = HORIZON / STEPS
    nu, u, pi = map(jnp.asarray, _vectors(d, TARGET))

    def mixture(x: Any, mean: Any, var: Any, weight: Any) -> tuple[Any, Any, Any]:
        square = (x**2).sum(1, keepdims=True) - 2 * x @ mean.T + (mean**2).sum(1)
        terms = jnp.log(weight) - d / 2 * jnp.log(2 * jnp.pi * var) - square / (2 * var)
        r = jax.nn.softmax(terms, axis=1)
        return jax.nn.logsumexp(terms, axis=1), (r / var) @ mean - (r / var).sum(1, keepdims=True) * x, r

    def walk(prior: Any, chosen: Any, key: Any) -> Any:
        mu, log_v, theta = prior
        v, w = jnp.exp(log_v), jax.nn.softmax(theta)

        def drift(x: Any, beta: Any) -> Any:
            return beta * mixture(x, nu, u, pi)[1] + (1 - beta) * mixture(x, mu, v, w)[1]

        first, rest = jax.random.split(key)
        x = mu[chosen] + jnp.sqrt(v[chosen])[:, None] * jax.random.normal(first, (paths, d))
        log_weight = -mixture(x, mu, v, w)[0]

        def step(carry: Any, at: Any) -> Any:
            x, drifted, log_weight = carry
            n, key = at
            xi = jax.random.normal(key, (paths, d))
            new = x + eta * drifted + jnp.sqrt(2 * eta) * xi
            after = drift(new, (n + 1) / STEPS)  # of the backward kernel here, and of the next move
            back = x - new - eta * after
            return (new, after, log_weight + (xi**2).sum(1) / 2 - (back**2).sum(1) / (4 * eta)), None

        keys = jax.random.split(rest, STEPS)
        (x, _, log_weight), _ = jax.lax.scan(step, (x, drift(x, 0.0), log_weight), (jnp.arange(STEPS), keys))
        end, _, modes = mixture(x, nu, u, pi)
        return log_weight + end, modes.mean(0)

    mean, v, w = map(jnp.asarray, _vectors(d, PRIOR))
    return walk, (mean, jnp.log(v), jnp.log(w))


def _jax(d: int, paths: int, device: str) -> Callable[[int], dict[str, Any]]:
    walk, prior = _jax_walk(d, paths, device)
    import jax

    @jax.jit
    def run(key: Any) -> Any:
        first, rest = jax.random.split(key)
        log_weight, modes = walk(prior, jax.random.choice(first, 2, (paths,), p=jax.nn.softmax(prior[2])), rest)
        return log_weight.mean(), modes

    def one(call: int) -> dict[str, Any]:
        elbo, _ = jax.block_until_ready(run(jax.random.key(call)))
        return {"elbo": elbo}

    return one


def _jax_gradient(d: int, paths: int, device: str) -> Callable[[int], dict[str, Any]]:
    walk, prior = _jax_walk(d, paths, device)
    import jax
    from jax import numpy as jnp

    chosen = jnp.arange(paths) % 2

    def loss(prior: Any, key: Any) -> Any:
        log_weight, _ = walk(prior, chosen, key)
        return -jax.nn.softmax(prior[2]) @ jnp.stack([log_weight[k::2].mean() for k in range(2)])

    both = jax.jit(jax.value_and_grad(loss))

    def one(call: int) -> dict[str, Any]:
        value, (_, slope, _) = jax.block_until_ready(both(prior, jax.random.key(call)))
        return {"elbo": -value, "slope": slope[0]}

    return one


MAKERS: dict[tuple[str, str], Maker] = {
    ("paths", "this"): _this,
    ("paths", "reduced"): _reduced,
    ("paths", "kept"): partial(_reduced, kept=True),
    ("paths", "jax"): _jax,
    ("gradient", "this"): _this_gradient,
    ("gradient", "reduced"): _reduced_gradient,
    ("gradient", "kept"): partial(_reduced_gradient, kept=True),
    ("gradient", "jax"): _jax_gradient,
}
