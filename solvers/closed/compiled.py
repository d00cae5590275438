"""Ensembles of trajectories in compiled code: a system's text and the integrators become one package of machine code.

`build` makes a package of Python modules, the system and copies of the kernels of solvers.integrate that import it. Its
machine code is kept in a cache (solvers.machine.code). Nothing here imports numba until a system is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.closed.fixed_laws import FixedLaw, fixed_laws
from solvers.expectations.cells import ABSENT, ALIGNED, up
from solvers.expectations.fixed_covariance import fixed_covariance, known
from solvers.expectations.fixed_variance import fixed_variance
from solvers.expectations.lanes.nodes import LARGEST, nodes
from solvers.expectations.quadrature import TIGHTEST
from solvers.integrate.ensemble import Paths, ensemble
from solvers.machine.code import cache_folder, package

__all__ = ["CompiledSystem", "Paths", "build", "cache_folder", "ensemble", "module", "rules"]

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
from solvers.expectations.lanes.{expectations} import PAIR_SLOPES, expect_pairs, expect_pairs_tangent
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
    """The rules for three and more logits: a module with C functions, which compiled systems find by their names."""
    from llvmlite import binding

    from solvers.expectations.lanes.linked import PIECES, SYMBOL

    library = _package("", (_LIBRARY,))["library"]
    binding.add_symbol(SYMBOL, library.entry.address)
    binding.add_symbol(PIECES, library.pieces.address)
    return library


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
    most = max(components, modes)
    if most > LARGEST:
        raise ValueError(f"{components} components, {modes} modes: compiled laws have at most {LARGEST} logits")
    # Two logits do not wait for the compilation of the rules for many.
    expectations = "many" if most > 2 else "expectations"
    head = _HEADER.format(
        components=components,
        modes=modes,
        directions=directions,
        driven=driven,
        expectations=expectations,
    )
    if expectations == "many":
        rules()
    laws = partial(fixed_laws, text, modes, directions, driven)
    return CompiledSystem(_package(head + text, _KERNELS), laws)


@dataclass(frozen=True)
class CompiledSystem:
    """A system with its integrators, see `build`; states y (n, N), parameters p (P,), both float64.

    tolerance: of expectations of three and more logits, see solvers.expectations. laws: those with a
    fixed covariance, for parameters p. kept: the last `completed`.
    """

    modules: dict[str, ModuleType]
    laws: Callable[[Array], tuple[FixedLaw, ...]]
    kept: dict[tuple[bytes, float], Array] = field(default_factory=dict, compare=False, repr=False)

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

    def work(self, p: Array, tolerance: float) -> Array:
        """Scratch of the functions of the system, and after it the nodes of its expectations for parameters p."""
        system = self.modules["system"]
        scratch = system.WORK + self.size
        if max(system.LOGITS) < 3:
            return self.rows(scratch)
        # Points of a dimension are for more than three directions: the modes of forty logits may lie in a plane.
        flat = [law.size for law in self.laws(p) if law.rank <= 3 and system.LOGITS.count(law.size) == 1]
        sizes = [3 if size in flat else size for size in system.LOGITS]
        points = nodes(*sizes, 4, width=system.W, first=scratch, tolerance=tolerance)
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

    def completed(self, p: Array, tolerance: float) -> Array:
        """What kernels take for p: behind it tables of laws with a fixed covariance, and where each of them begins."""
        key = (p.tobytes(), tolerance)
        if key not in self.kept:
            out = self._completed(p, tolerance, fixed_covariance)
            self.kept.clear()
            self.kept[key] = out
        return self.kept[key]

    def _completed(self, p: Array, tolerance: float, table_of: Callable[[Array, Array, float], Array]) -> Array:
        """The same, with tables of three and more logits from elsewhere."""
        tables = [
            fixed_variance(float(law.cov[0, 0]))
            if law.size == 2
            else (table_of(law.means, law.cov, tolerance) if law.size > 2 else np.empty(0))
            for law in self.laws(p)
        ]
        *starts, end = accumulate((up(len(table)) for table in tables), initial=up(len(p)))
        raw = np.zeros(end + len(tables) + ALIGNED)
        first = (-raw.ctypes.data // 8) % ALIGNED  # tables, and so their rows, on cache lines
        out = raw[first : first + end + len(tables)]
        out[: len(p)] = p
        for law, (start, table) in enumerate(zip(starts, tables, strict=True)):
            out[start : start + len(table)] = table
            out[len(out) - 1 - law] = start if len(table) else ABSENT
        return out

    def _known(self, p: Array, tolerance: float) -> Array:
        """The same with tables that there are: a few averages do not pay for one."""
        found = self.kept.get((p.tobytes(), tolerance))
        return self._completed(p, tolerance, lambda _, cov, reached: known(cov, reached)) if found is None else found

    def observables(self, y: Array, p: Array, tolerance: float = TIGHTEST) -> Array:
        """Objective (nats), mode masses, table B: (n, 1 + L + K L)."""
        y, p = self.checked(y, p)
        out = np.empty((len(y), self.modules["system"].OUT))
        self.observed(y, self._known(p, tolerance), self.work(p, tolerance), {0: out})
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
        area, work = self.rows((2 + self.size) * self.size), self.work(p, tolerance)
        self.modules["pointwise"].differentiate(y, self._known(p, tolerance), velocity, slope, area, work)
        return velocity, slope
