"""Ensembles of trajectories in compiled code: a system's text and the integrators become one package of machine code.

`build` makes a package of Python modules, the system and copies of the kernels of solvers.integrate that import it. Its
machine code is kept in a cache (solvers.machine.code). Nothing here imports numba until a system is built.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.expectations.lanes.nodes import LARGEST, nodes
from solvers.expectations.quadrature import TIGHTEST
from solvers.integrate.ensemble import Paths, ensemble
from solvers.machine.code import cache_folder, package

__all__ = ["CompiledSystem", "Paths", "build", "cache_folder", "ensemble", "logits", "module", "rules"]

Array = NDArray[np.float64]

_KERNELS = ("integrate/explicit", "integrate/rosenbrock", "integrate/pointwise")
_LIBRARY = "expectations/lanes/library"
# What else ends up in the machine code.
_BESIDE = (
    "integrate",
    "expectations",
    "expectations/lanes",
    *(f"machine/{name}.py" for name in ("simd", "lanes", "instructions", "stack", "options", "ranks")),
)
_HEADER = '''"""A closed system as the kernels see it; assembled by solvers.closed.compiled."""

from numba import njit

from solvers.expectations.lanes.elementary import divergence, logarithm
from solvers.expectations.lanes.expectations import log_softmax, mobility
from solvers.expectations.lanes.{expectations} import SLOPES, expect, expect_fixed, expect_tangent
from solvers.machine.options import FLAGS
from solvers.machine.simd import W, fabs, larger, load, select, some, store

K, L, R, DRIVEN = {components}, {modes}, {directions}, {driven}


@njit(**FLAGS)
def weights(work):
    """log w and w = softmax θ."""
    log_softmax(work, K, R_THETA, R_LOG_W, R_W)


@njit(**FLAGS)
def driven_or_given(work, row, p, place):
    """A parameter that may be a state; where it is none a number, whose products the compiler takes out of loops."""
    if DRIVEN:
        return load(work, row)
    return p[place]


'''


def _package(text: str, kernels: tuple[str, ...]) -> dict[str, ModuleType]:
    """The modules of a text and of the kernels that import it."""
    here = Path(__file__).parents[1]
    texts = ((kernel, (here / f"{kernel}.py").read_text(encoding="utf-8")) for kernel in kernels)
    sources = ((kernel.rpartition("/")[2], text) for kernel, text in texts)
    return package(
        (("system", text), *sources),
        inside=(("solvers.integrate.protocol", "system"),),
        beside=tuple(here / name for name in _BESIDE),
    )


@cache
def rules() -> Any:
    """The rules for three and more logits as a C function (ctypes), which compiled systems find by its name."""
    from llvmlite import binding

    from solvers.expectations.lanes.linked import SYMBOL

    entry = _package("", (_LIBRARY,))["library"].entry
    binding.add_symbol(SYMBOL, entry.address)
    return entry.ctypes


def logits(text: str, components: int, modes: int) -> tuple[int, ...]:
    """Sizes of the laws of a text: K, L, and products of them where it needs averages of products."""
    (found,) = re.findall(r"^LOGITS = \((.*?),?\)", text, re.MULTILINE)
    known = {"K": components, "L": modes}
    return tuple(math.prod(known[name] for name in size.split("*")) for size in found.replace(" ", "").split(","))


def module(text: str) -> ModuleType:
    """The module of a text of numba functions; machine code of an `entry` is kept in the cache."""
    return _package(text, ())["system"]


def build(text: str, components: int, modes: int, directions: int, driven: int = 0) -> CompiledSystem:
    """The compiled system of an emitted text (view "numba") for K components and L modes in a span of R directions.

    driven: 1 if the temperature is a state, 0 if it is a parameter.

    Machine code is made, or loaded from the cache, when a function of it is first needed; the rules for three and more
    logits, which all systems share, at once.
    Raises ValueError for more logits than the compiled expectations can do.
    """
    sizes = logits(text, components, modes)
    if max(sizes) > LARGEST:
        raise ValueError(f"{components} components, {modes} modes: compiled laws have at most {LARGEST} logits")
    # Two logits do not wait for the compilation of the rules for many.
    expectations = "many" if max(sizes) > 2 else "expectations"
    head = _HEADER.format(
        components=components,
        modes=modes,
        directions=directions,
        driven=driven,
        expectations=expectations,
    )
    if expectations == "many":
        rules()
    text = head + text
    return CompiledSystem(_package(text, _KERNELS))


@dataclass(frozen=True)
class CompiledSystem:
    """A system with its integrators, see `build`; states y (n, N), parameters p (P,), both float64.

    tolerance: of expectations of three and more logits, see solvers.expectations.
    """

    modules: dict[str, ModuleType]

    @property
    def size(self) -> int:
        """N, the number of states."""
        return int(self.modules["system"].N)

    def rows(self, count: int) -> Array:
        """Zeros (count, W) for vectors, every row starting on a cache line."""
        width = int(self.modules["system"].W)
        raw = np.zeros(count * width + 8)
        start = (-raw.ctypes.data % 64) // 8
        return raw[start : start + count * width].reshape(count, width)

    def work(self, tolerance: float = TIGHTEST) -> Array:
        """Scratch of the functions of the system, and after it the nodes of its expectations."""
        system = self.modules["system"]
        scratch = system.WORK + self.size
        if max(system.LOGITS) < 3:
            return self.rows(scratch)
        points = nodes(*system.LOGITS, width=system.W, first=scratch, tolerance=tolerance)
        work = self.rows(scratch + len(points))
        work[scratch:] = points
        return work

    def checked(self, y: Array, p: Array) -> tuple[Array, Array]:
        """y and p as compiled code needs them. Raises ValueError if a shape does not fit: it would read elsewhere."""
        y, p = (np.ascontiguousarray(a, dtype=float) for a in (y, p))
        if y.ndim != 2 or y.shape[1] != self.size:
            raise ValueError(f"states: shape {y.shape}, must be (trajectories, {self.size})")
        parameters = self.modules["system"].PARAMETERS
        if p.shape != (parameters,):
            raise ValueError(f"parameters: shape {p.shape}, must be ({parameters},)")
        return y, p

    def completed(self, p: Array) -> Array:
        """What kernels take for p: behind it a table for every law of two logits with a fixed covariance."""
        from solvers.expectations.fixed_variance import LINE, fixed_variance

        laws, work = self.modules["system"].FIXED, self.work()
        self.modules["pointwise"].prepare(p, work)
        # In a row of parameters all lanes are the same; the last logit is zero, so the first has the variance.
        tables = [fixed_variance(work[row, 0]) if size == 2 else np.zeros(LINE) for row, size in reversed(laws)]
        raw = np.empty(len(p) + len(tables) * LINE + 8)
        start = (-raw.ctypes.data // 8 - len(p)) % 8  # tables, and so their rows, on cache lines
        out = raw[start : start + len(p) + len(tables) * LINE]
        np.concatenate([p, *tables], out=out)
        return out

    def observables(self, y: Array, p: Array, tolerance: float = TIGHTEST) -> Array:
        """Objective (nats), mode masses, table B: (n, 1 + L + K L)."""
        y, p = self.checked(y, p)
        out = np.empty((len(y), self.modules["system"].OUT))
        self.observed(y, self.completed(p), self.work(tolerance), {0: out})
        return out

    def observed(self, y: Array, completed: Array, work: Array, outs: dict[int, Array]) -> None:
        """Fill arrays (n, ·) with the same of states y, from the column on that is the key of each, or with rows of
        `work`, whose numbers come after the columns. completed: parameters as kernels take them."""
        system, places = self.modules["system"], np.array(list(outs), dtype=np.int64)
        area = self.rows(self.size + system.OUT)
        self.modules["pointwise"].observe(y, completed, places, tuple(outs.values()), area, work)

    def derivatives(self, y: Array, p: Array, tolerance: float = TIGHTEST) -> tuple[Array, Array]:
        """Velocity (n, N) and its exact Jacobian (n, N, N), ∂velocity_i/∂y_j at [i, j]."""
        y, p = self.checked(y, p)
        velocity, slope = np.empty(y.shape), np.empty((*y.shape, self.size))
        area, work = self.rows((2 + self.size) * self.size), self.work(tolerance)
        self.modules["pointwise"].differentiate(y, self.completed(p), velocity, slope, area, work)
        return velocity, slope
