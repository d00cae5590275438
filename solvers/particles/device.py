"""The estimator on an NVIDIA GPU: kernel.cu, compiled for the mixtures at hand and launched once a step.

Written for cupy arrays, which it never imports: the module comes with the arrays (solvers/machine/arrays.py).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from solvers.machine.arrays import array_module
from solvers.particles.estimate import Averages, Draws, Mixtures, Report, sources
from solvers.particles.sampler.chain import Model
from solvers.particles.streams import TILE
from solvers.problem import Problem

THREADS, WARP = 256, 32
HELD_NUMBERS = 48  # float64 that a thread may hold in registers: x of its pairs of coordinates, and their sums
MOST = 256  # components and modes, or means of a sampler
LISTENING = 16  # steps between two waits for the GPU: launches return at once, and progress shall be true


def refused(problem: Problem) -> str | None:
    """What the kernels cannot do of a problem."""
    options, K, L = problem.sampler, problem.family.components, len(problem.target.weights)
    if options is None:
        if K + L <= MOST:
            return None
        return (
            f"{K} components and {L} modes; a GPU takes at most {MOST} together, as its blocks share the inner "
            "products with all of them"
        )
    if problem.family.diagonal is not None:
        return 'family.covariance = "diagonal"; a GPU takes isotropic components'
    if options.objective != "reverse-kl":
        return f'sampler.objective = "{options.objective}"'
    if options.steered and problem.time.end > 0:
        return "learned steps and annealing have no gradient in R^d there"
    model = Model(options.method, options.reference, options.control, options.steps, options.horizon, {})
    means = (options.refine.until if options.refine else K) + L + len(model.controls) * K
    if means <= MOST:
        return None
    return f"{means} means of prior, target and control; a GPU takes at most {MOST} together"


def source(*names: str) -> str:
    """CUDA text of kernels of this folder, by their paths in it, behind the random numbers that they draw."""
    here = Path(__file__).parent
    return "\n".join((here / name).read_text(encoding="utf-8") for name in ("normals.h", *names))


def constants(K: int, L: int, forward: bool, d: int) -> dict[str, int]:
    """The compile-time constants of the kernel for K components, L modes and d dimensions.

    x is held for as many particles at once as registers allow, 4, 2 or 1; if not for one, drawn twice.
    """
    coefficients = K if forward else 1
    each = -(-(8 * -(-d // TILE)) // THREADS)  # pairs of a thread
    fits = [batch for batch in (4, 2, 1) if 2 * each * (batch + coefficients) <= HELD_NUMBERS]
    return {
        "COMPONENTS": K,
        "MODES": L,
        "FORWARD": int(forward),
        "THREADS": THREADS,
        "WARP": WARP,
        "BATCH": (fits or [4])[0] if K + L <= 16 else 1,
        "HELD": each if fits else 0,
    }


def options(K: int, L: int, forward: bool, d: int) -> tuple[str, ...]:
    """What the compiler is told."""
    return ("-std=c++14", *(f"-D{name}={value}" for name, value in constants(K, L, forward, d).items()))


@lru_cache
def _kernel(xp: Any, told: tuple[str, ...]) -> Any:
    return xp.RawModule(code=source("kernel.cu"), options=told).get_function("particle_sums")


def sample(
    at: Mixtures, forward: bool, draws: Draws, *, particles: int, block: int, report: Report | None = None
) -> Averages:
    """What estimate.py computes, from the same random numbers, to rounding; nothing leaves the device.

    Takes
        block: particles added up by one block of threads; report: called with the number of particles finished, of all
        sources and replicas, every few steps.
    """
    xp = array_module(at.means)
    replicas, A, d = at.means.shape
    K, drawn_from = at.components, len(sources(at, forward))
    pieces = -(-particles // block)
    coefficients = K if forward else 1
    gram = at.gram
    moment = xp.zeros((pieces, replicas, drawn_from, coefficients, d))
    table = xp.empty((pieces, replicas, drawn_from, A))
    scalar = xp.empty((pieces, replicas, drawn_from, 1 + coefficients))
    inputs = (xp.ascontiguousarray(part) for part in (at.means, at.variances, at.constants(gram), gram, draws.keys))
    numbers = np.uint32(draws.step), np.uint32(draws.common), np.float64(draws.sign)
    sizes = np.float64(at.beta), *numbers, np.uint64(particles), np.uint64(block), np.uint64(d)
    launch = _kernel(xp, options(K, A - K, forward, d))
    launch((pieces, drawn_from, replicas), (THREADS,), (*inputs, *sizes, moment, table, scalar))
    moment, table, scalar = (part.sum(0) / particles for part in (moment, table, scalar))
    if report:
        if draws.step % LISTENING == 0:
            xp.cuda.get_current_stream().synchronize()
        report(replicas * drawn_from * particles)
    return Averages(moment, table, scalar[..., 0], scalar[..., 1:])
