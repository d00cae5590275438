"""Before a sweep begins: its closed systems, how it is cut into units, and where its numbers come from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from solvers.machine.cores import available_memory
from solvers.problem import ProblemError
from solvers.problem.theory import within_theory
from solvers.sampler.limits import check, finest
from solvers.sweeps.dataset import Columns, Layout
from solvers.sweeps.plan import Index, Sweep
from solvers.sweeps.work import PART, End, Options, code, end_state, kind, numerical, versions

__all__ = ["attributes_of", "check_size", "identity", "layout", "prepare", "refined", "tolerances"]

UNIT = 16384  # starts of a unit of several points ...
FEWEST = 64  # ... unless that made fewer units than this


def prepare(sweep: Sweep, options: Options) -> tuple[dict[str, Index], list[str]]:
    """The systems of a sweep with a point where each is met, and the backends.

    One start of every kind of problem is solved. Machine code is made on the way, once, before all workers would.
    Raises  ProblemError if a quantity is not known, BackendError if the backend cannot solve a kind of problem.
    """
    for index in sweep.to_check() if "sampler" in sweep.base else ():
        check(problem := sweep.problem(index))
        within_theory(problem, sweep.name)
    met: dict[Any, list[Index]] = {}
    for index in _kinds(sweep):
        met.setdefault(kind(sweep.problem(index)), []).append(index)
    systems: dict[str, Index] = {}
    backends = set()
    for alike in met.values():
        index, end = _solvable(sweep, alike, options)
        end.columns(columns_of(sweep), sweep.name)
        systems.setdefault(end.system, index)
        backends.add(end.backend)
    return systems, sorted(backends)


def _kinds(sweep: Sweep, section: str = "") -> Iterator[Index]:
    """Points among which there is one of every kind of problem, as far as keys of this section decide: those with
    nothing but floats change none."""
    ranges = []
    for axis in sweep.axes:
        floats = all(isinstance(value, float) for value in axis.values)
        ranges.append(range(1 if floats or not axis.key.startswith(section) else len(axis.values)))
    yield from itertools.islice(itertools.product(*ranges), 10_000)


def columns_of(sweep: Sweep) -> Columns:
    """What is summed at a point of a sweep. Modes are asked for one by one: of the point that has most."""
    if "mechanism" not in sweep.quantities:
        return Columns.of(sweep.quantities, 0)
    return Columns.of(sweep.quantities, max(len(sweep.problem(i).target.weights) for i in _kinds(sweep, "target")))


def _solvable(sweep: Sweep, alike: list[Index], options: Options) -> tuple[Index, End]:
    """A point, of some of one kind, where the first start has an end: the first, or one of a few spread over them.

    Raises  ProblemError if there is none.
    """
    floats = [all(isinstance(value, float) for value in axis.values) for axis in sweep.axes]
    for share in (0.0, 1.0, 0.5, 0.25, 0.75):
        for chosen in (alike[0], alike[int(share * (len(alike) - 1))]):
            sides = zip(chosen, floats, sweep.shape, strict=True)
            index = tuple(int(share * (size - 1)) if free else i for i, free, size in sides)
            problem = sweep.problem(index)
            try:
                with np.errstate(all="ignore"):
                    return index, end_state(problem, range(1), options, sweep.quantities)
            except Exception as error:
                if not numerical(error):
                    raise
                reason = " ".join(str(error).split())[:100]
    raise ProblemError(
        f"{sweep.where(alike[0])}: cannot be solved, nor at other points ({reason}); must have points that can be"
    )


def check_size(sweep: Sweep) -> None:
    """Refuse a grid whose bookkeeping alone would not fit in the memory of this machine.

    Raises  ProblemError with the size.
    """
    parts, columns = -(-int(sweep.samples.max()) // PART), columns_of(sweep)
    # One byte for what is done and one for what is wanted; a refined sweep looks at all sums at once.
    bytes_ = sweep.points * parts * (2 + (48 * columns.count if sweep.refine else 0))
    if bytes_ > (there := available_memory()):
        raise ProblemError(
            f"{sweep.name}: grid: has {sweep.points} points, with init.samples up to {int(sweep.samples.max())}: takes "
            f"{bytes_ / 1e9:.3g} GB of memory; must fit in the {there / 1e9:.3g} GB that are free here"
        )


def identity(sweep: Sweep, options: Options, systems: dict[str, Index]) -> dict[str, Any]:
    """What decides the numbers of a sweep, by the name that messages use."""
    content = {
        "problem": sweep.base,
        "grid": {axis.key: list(axis.values) for axis in sweep.axes},
        "quantities": list(sweep.quantities),
        "refine": asdict(sweep.refine) if sweep.refine else None,
        **asdict(options),
        "systems": sorted(systems),
    }
    if not options.stop_at_equilibrium:  # which earlier versions had not
        del content["stop_at_equilibrium"]
    columns = columns_of(sweep)
    if columns.labels:
        content |= {"labels": columns.labels, "modes": columns.modes}
    return dict(json.loads(json.dumps(content, default=str)))


def attributes_of(sweep: Sweep, systems: dict[str, Index], plan: dict[str, Any]) -> dict[str, Any]:
    """Where the numbers come from. plan, grid, systems and versions are JSON, sweep and problem TOML."""
    return {
        "sweep": sweep.text,
        "problem": sweep.base_text,
        "grid": json.dumps({axis.key: list(axis.values) for axis in sweep.axes}, default=str),
        "systems": json.dumps(systems),
        "plan": json.dumps(plan),
        "backend": ", ".join(plan["backend"]),
        **tolerances(sweep, plan["rtol"], plan["atol"]),
        "seed": sweep.problem((0,) * len(sweep.shape)).init.seed,
        "versions": versions(),
        "code": code(),
        "command": "python -m solvers sweep",
    }


def tolerances(sweep: Sweep, rtol: float, atol: float) -> dict[str, float]:
    """Those that the starts of a sweep are solved with, of those asked for."""
    used = finest(rtol, atol) if "sampler" in sweep.base else (rtol, atol)
    return dict(zip(("rtol", "atol"), used, strict=True))


def layout(sweep: Sweep) -> Layout:
    """How a sweep is cut into units: small enough to lose little by a kill, large enough to be worth a message."""
    most = int(sweep.samples.max())
    together = max(1, min(UNIT // max(most, 1), sweep.points // FEWEST))
    block = [1] * len(sweep.shape)
    if sweep.refine is None:  # which goes by points
        for i in reversed(range(len(block))):
            block[i] = min(sweep.shape[i], together)
            together //= block[i]
    coordinates = {axis.key: axis.coordinate for axis in sweep.axes}
    return Layout(coordinates, tuple(block), -(-most // PART), columns_of(sweep))


def refined(sweep: Sweep) -> tuple[bool, ...]:
    """Along which keys a refined sweep halves its cells: those with three numbers or more."""
    return tuple(axis.numerical and len(axis.values) > 2 for axis in sweep.axes)
