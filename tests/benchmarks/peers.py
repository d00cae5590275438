"""The other solvers, written as their documentation would, each given what makes it fast here.

A solver has a `name`, a `ladder` of settings from loose to tight, `versions()`, and `prepare(setting, cores)`, which
compiles and returns a function from y0 (n, 6) to paths (n, T, 6). Imports stay inside: a worker process sets its cores
before any of these libraries counts them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from typing import Any, ClassVar

import numpy as np

from tests.benchmarks.case import RULES, STATES, TIMES, Array, R, Rule, combine, right_hand_side

Setting = dict[str, Any]
Run = Callable[[Array], Array]


def rungs(*tolerances: float) -> list[Setting]:
    """One setting for each rule: the loosest tolerance of the integrator whose error is about the rule's (measured)."""
    return [{"rtol": rtol, "rule": error} for error, rtol in zip(RULES, tolerances, strict=True)]


def padded(y0: Array, size: int) -> Array:
    """y0 with its last row repeated until `size` divides the number of rows."""
    return np.concatenate([y0, np.repeat(y0[-1:], -len(y0) % size, axis=0)])


class Solver:
    """What all have in common."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    ladder: ClassVar[list[Setting]]
    #: False: as the documentation has it, slower than another entry; reported, and not what ratios are claimed of
    fastest: ClassVar[bool] = True

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def versions(self) -> dict[str, str]:
        return {package: version(package) for package in self.packages}

    def prepare(self, setting: Setting, cores: int) -> Run:
        raise NotImplementedError

    def cpu_seconds(self) -> float:
        """Processor time used so far, by all threads and helpers."""
        return time.process_time()

    def close(self) -> None:
        """End helper processes."""


class SciPy(Solver):
    """solve_ivp with DOP853, one trajectory after another; one process a core."""

    name = "SciPy DOP853, loop"
    packages = ("numpy", "scipy")
    ladder = rungs(2e-5, 1e-6, 1e-7, 1e-8, 3e-9, 1e-9, 4e-10, 1e-10, 1e-11)
    fastest = False
    block = 1

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.elsewhere = 0.0
        self.pool: ProcessPoolExecutor | None = None

    def prepare(self, setting: Setting, cores: int) -> Run:
        if self.pool is None:
            self.pool = ProcessPoolExecutor(cores, mp_context=get_context("spawn"))
        pool, block = self.pool, self.block

        def run(y0: Array) -> Array:
            tasks = [(y0[i : i + max(block, 8)], block, setting) for i in range(0, len(y0), max(block, 8))]
            results = list(pool.map(_scipy_task, tasks))
            self.elsewhere += sum(seconds for _, seconds in results)
            return np.concatenate([paths for paths, _ in results])

        return run

    def cpu_seconds(self) -> float:
        return super().cpu_seconds() + self.elsewhere

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown()


class SciPyBlocks(SciPy):
    """The same with 64 trajectories stacked to one system, so that NumPy works on long arrays."""

    name = "SciPy DOP853, blocks of 64"
    ladder = rungs(2e-6, 1e-7, 1e-8, 1.5e-9, 1e-9, 2e-10, 6e-11, 2e-11, 2e-12)
    fastest = True
    block = 64


def _scipy_task(task: tuple[Array, int, Setting]) -> tuple[Array, float]:
    from scipy.integrate import solve_ivp

    begin = time.process_time()
    y0, block, setting = task
    velocity, out = right_hand_side(RULES[setting["rule"]]), np.full((len(y0), len(TIMES), len(STATES)), np.nan)
    for i in range(0, len(y0), block):
        shape = y0[i : i + block].T.shape
        solution = solve_ivp(  # type: ignore[call-overload]
            lambda _, y, shape=shape: velocity(y.reshape(shape)).ravel(),
            (TIMES[0], TIMES[-1]),
            y0[i : i + block].T.ravel(),
            method="DOP853",
            t_eval=TIMES,
            rtol=setting["rtol"],
            atol=setting["rtol"] / 10,
        )
        if solution.success:
            out[i : i + block] = np.moveaxis(solution.y.reshape(*shape, -1), (0, 1, 2), (2, 0, 1))
    return out, time.process_time() - begin


class Diffrax(Solver):
    """diffeqsolve under jit(vmap), float64, one XLA device a core; exponential shared, sums that XLA fuses."""

    name = "diffrax Tsit5"
    packages = ("jax", "jaxlib", "diffrax", "equinox")
    ladder = rungs(2.5e-5, 3e-6, 5e-7, 1.2e-7, 3e-8, 8e-9, 2e-9, 4e-10, 5e-11)
    method = "Tsit5"
    #: Trajectories on a device: few of them wait long for the slowest, and they are enough to vectorise.
    chunk: ClassVar = {"cpu": 128, "gpu": 8192}

    def prepare(self, setting: Setting, cores: int) -> Run:
        os.environ["JAX_ENABLE_X64"] = "1"
        if self.device == "cpu":
            os.environ["JAX_PLATFORMS"] = "cpu"
            # The whole width of the processor's vectors: a fifth faster than XLA's default here.
            width = "--xla_cpu_prefer_vector_width=512"
            os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={cores} {width}"
        import diffrax
        import jax
        import jax.numpy as jnp

        velocity = self.velocity(RULES[setting["rule"]])
        controller = diffrax.PIDController(rtol=setting["rtol"], atol=setting["rtol"] / 10)
        solver = getattr(diffrax, self.method)()

        def solve(y0: Any) -> Any:
            return diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, args: velocity(y)),
                solver,
                t0=TIMES[0],
                t1=TIMES[-1],
                dt0=None,
                y0=y0,
                saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
                stepsize_controller=controller,
                max_steps=100_000,
            ).ys

        devices = jax.devices()
        size = self.chunk[self.device] * len(devices)
        mesh = jax.make_mesh((len(devices),), ("starts",))
        rows = jax.NamedSharding(mesh, jax.P("starts"))
        mapped = jax.shard_map(
            jax.vmap(solve), mesh=mesh, in_specs=jax.P("starts"), out_specs=jax.P("starts"), check_vma=False
        )
        compiled = jax.jit(mapped).lower(jax.ShapeDtypeStruct((size, len(STATES)), float, sharding=rows)).compile()

        def run(y0: Array) -> Array:
            rest = padded(y0, size)
            # Asynchronous dispatch: the next chunk is on its way while the last one is computed.
            parts = [compiled(jax.device_put(rest[i : i + size], rows)) for i in range(0, len(rest), size)]
            return np.concatenate([np.asarray(part) for part in parts])[: len(y0)]

        return run

    @staticmethod
    def velocity(rule: Rule) -> Callable[[Any], Any]:
        import jax.numpy as jnp

        (z_mixture, w_mixture), (z_target, w_target) = rule.nodes()

        def expectations(a: Any, b: Any, z: Array, weights: Array) -> tuple[Any, Any]:
            grown = jnp.exp(a[:, None] + b * z)
            return jnp.sum(grown / (1 + grown) * weights, axis=-1), jnp.sum(jnp.log1p(grown) * weights, axis=-1)

        def velocity(y: Any) -> Any:
            s11, s12, s22 = y[0], y[1], y[2]
            a = y[5] - (s11 - s22) / 2 + jnp.stack([s11 - s12, s12 - s22])
            A, P = expectations(a, jnp.sqrt(s11 - 2 * s12 + s22), z_mixture, w_mixture)
            B, Q = expectations(2 * y[3:5], 2 * R, z_target, w_target)
            return jnp.stack(combine(y, A[0], A[1], 2 * B[0] - 1, 2 * B[1] - 1, P[0] - P[1] - (Q[0] - Q[1]), jnp))

        return velocity


class DiffraxDopri8(Diffrax):
    """The same with the method of order eight, the faster one at small errors."""

    name = "diffrax Dopri8"
    ladder = rungs(1e-4, 1e-5, 1e-6, 6e-8, 1.5e-8, 3e-9, 8e-10, 2e-10, 2e-11)
    method = "Dopri8"


class DiffraxPlain(Diffrax):
    """Tsit5 as one writes it first: jax.nn.sigmoid, jax.nn.softplus, and a product with the weights."""

    name = "diffrax Tsit5, first writing"
    fastest = False

    @staticmethod
    def velocity(rule: Rule) -> Callable[[Any], Any]:
        import jax
        import jax.numpy as jnp

        (z_mixture, w_mixture), (z_target, w_target) = rule.nodes()

        def expectations(u: Any, weights: Array) -> tuple[Any, Any]:
            return jax.nn.sigmoid(u) @ weights, jax.nn.softplus(u) @ weights

        def velocity(y: Any) -> Any:
            s11, s12, s22 = y[0], y[1], y[2]
            a = y[5] - (s11 - s22) / 2 + jnp.stack([s11 - s12, s12 - s22])
            A, P = expectations(a[:, None] + jnp.sqrt(s11 - 2 * s12 + s22) * z_mixture, w_mixture)
            B, Q = expectations(2 * y[3:5, None] + 2 * R * z_target, w_target)
            return jnp.stack(combine(y, A[0], A[1], 2 * B[0] - 1, 2 * B[1] - 1, P[0] - P[1] - (Q[0] - Q[1]), jnp))

        return velocity


class Heyoka(Solver):
    """taylor_adaptive_batch, as many trajectories in a batch as the processor has lanes; one thread a core."""

    name = "heyoka Taylor batch"
    packages = ("heyoka",)
    ladder = rungs(3e-4, 3e-5, 3e-6, 2e-7, 8e-8, 2e-8, 8e-9, 1e-9, 3e-10)

    def prepare(self, setting: Setting, cores: int) -> Run:
        import copy

        import heyoka

        batch = heyoka.recommended_simd_size()
        integrators = [
            heyoka.taylor_adaptive_batch(
                self.system(RULES[setting["rule"]]),
                np.zeros((len(STATES), batch)),
                tol=setting["rtol"],
                compact_mode=True,
            )
        ]
        integrators += [copy.deepcopy(integrators[0]) for _ in range(cores - 1)]
        grid = np.repeat(TIMES[:, None], batch, axis=1)
        pool = ThreadPoolExecutor(cores)

        def run(y0: Array) -> Array:
            rest = padded(y0, batch)
            out = np.empty((len(rest), len(TIMES), len(STATES)))
            queue = iter(range(0, len(rest), batch))

            def work(integrator: Any) -> None:
                for i in queue:
                    integrator.set_time(TIMES[0])
                    integrator.state[:] = rest[i : i + batch].T
                    _, path = integrator.propagate_grid(grid)
                    out[i : i + batch] = np.moveaxis(path, 2, 0)

            list(pool.map(work, integrators))
            return out[: len(y0)]

        return run

    @staticmethod
    def system(rule: Rule) -> list[tuple[Any, Any]]:
        import heyoka as hy

        mixture, target = rule.nodes()

        def expectations(a: Any, b: Any, nodes: tuple[Array, Array]) -> tuple[Any, Any]:
            grown = [hy.exp(a + b * z) for z in nodes[0]]
            return (
                hy.sum([w * (e / (1.0 + e)) for e, w in zip(grown, nodes[1], strict=True)]),
                hy.sum([w * hy.log(1.0 + e) for e, w in zip(grown, nodes[1], strict=True)]),
            )

        s11, s12, s22, m1, m2, log_odds = y = hy.make_vars(*STATES)
        b, shift = hy.sqrt(s11 - 2.0 * s12 + s22), log_odds - (s11 - s22) / 2.0
        A1, P1 = expectations(shift + s11 - s12, b, mixture)
        A2, P2 = expectations(shift + s12 - s22, b, mixture)
        B1, Q1 = expectations(2.0 * m1, 2 * R, target)
        B2, Q2 = expectations(2.0 * m2, 2 * R, target)
        return list(zip(y, combine(y, A1, A2, 2.0 * B1 - 1.0, 2.0 * B2 - 1.0, P1 - P2 - (Q1 - Q2), hy), strict=True))


PEERS: dict[str, type[Solver]] = {
    "scipy": SciPy,
    "scipy-blocks": SciPyBlocks,
    "diffrax": Diffrax,
    "diffrax-dopri8": DiffraxDopri8,
    "diffrax-plain": DiffraxPlain,
    "heyoka": Heyoka,
}
