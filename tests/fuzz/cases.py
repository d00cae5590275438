"""What becomes of one mutation, and what may not."""

from __future__ import annotations

import signal
import tomllib
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import tomli_w
import xarray as xr

from solvers import ask
from solvers.closed import blocks
from solvers.door import LONGEST
from solvers.machine.arrays import BackendError
from solvers.problem import Problem, ProblemError
from solvers.results.weights import INDEX_OF, limit
from solvers.sampler import learn
from solvers.sweeps.plan import Sweep
from tests.fuzz.mutations import ROOT, examples, mutated

PATIENCE = 20.0  # seconds of processor time for one case
#: Steps of the integrators, each of up to a second where logits are wide; beyond, a sample ends with status 1.
STEPS = {blocks: 40, learn: 10}
LARGEST = 4  # components and modes of what is solved


class Hang(BaseException):
    """A case that took more than PATIENCE."""


@contextmanager
def patience() -> Iterator[None]:
    """Raises Hang by the clock of the processor, which does not run while others compute."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def reduced(problem: Problem) -> Problem | None:
    """The problem with fewer samples, times, steps and paths; None if it stays too large to solve in a moment."""
    if problem.family.components > LARGEST or len(problem.target.weights) > LARGEST:
        return None
    content: dict[str, Any] = tomllib.loads(problem.text)
    if "samples" in content["init"]:
        content["init"]["samples"] = 1
    end = min(0.5, problem.time.end)
    if problem.flow.batch is not None:
        end = min(end, 8 * problem.flow.batch.step)
    content["time"] = {"end": end, "save": 3 if end > 0 else 1}
    if (options := problem.sampler) is not None:
        steps = min(3, options.steps)
        horizon = options.horizon * (steps / options.steps if options.steps else 1.0)
        for key in ("schedule", "annealing"):  # of as many steps as there were
            content["sampler"].pop(key, None)
        content["sampler"] |= {"steps": steps, "horizon": horizon, "paths": min(8, options.paths)}
        content["time"]["end"] = min(end, 0.1)
        if options.refine is not None:
            until = min(options.refine.until, problem.family.components + 1)
            content["sampler"]["refine"] |= {"candidates": min(4, options.refine.candidates), "until": until}
    return Problem.parse(tomli_w.dumps(content), problem.name)


def complaints(ds: xr.Dataset) -> list[str]:
    """Variables that are not finite in samples which reached the end, and of which the file does not say why."""
    good = ds["status"].values == 0
    own = {str(name): ds[name].values for name in ds.data_vars if "sample" in ds[name].dims}
    values = {name: found[good] for name, found in own.items() if not name.endswith("recovered_at")}  # nan: not yet
    for name, index in INDEX_OF.items():
        if name not in values:
            continue
        k = values[index]
        for of in (name, f"{name}_se"):
            told = np.isnan(values[of]) & (k > limit(ds.attrs["paths_together"]))
            values[of] = np.where(told, 0.0, values[of])
        # An index is infinite where it is not known, or there is no tail; then it has no error.
        values[f"{index}_se"] = np.where(np.isinf(k) | (k < -0.5), 0.0, values[f"{index}_se"])
        values[index] = np.where(np.isinf(k), 0.0, k)
    return [name for name, found in values.items() if not _finite(found)]


def _finite(values: Any) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def outcome(path: str, data: bytes, folder: Path, *, solved: bool = True) -> str:
    """In a word or two what became of it; raises what a user would have seen as a traceback, and AssertionError."""
    is_sweep = path.startswith("figures/sweeps")
    place = folder / ("sweeps" if is_sweep else "problems") / "mutated.toml"
    place.write_bytes(data)
    try:
        problem = _first_point(Sweep.load(place)) if is_sweep else Problem.load(place)
    except ProblemError as error:
        return _told(error, "refused")
    if not solved:
        return "read"
    try:
        small = reduced(problem)
    except ProblemError as error:
        return _told(error, "refused when made smaller")
    if small is None:
        return "read, too large to solve here"
    try:
        ds = ask.solve(small, rtol=1e-4, atol=1e-6, backend="numpy", rest=False)
    except (ProblemError, BackendError) as error:
        return _told(error, "refused by the solver")
    assert not (bad := complaints(ds)), f"not finite at status 0: {bad}"
    return "solved" if (ds["status"] == 0).all() else "solved, with failed samples"


def _first_point(sweep: Sweep) -> Problem:
    return sweep.problem((0,) * len(sweep.axes))


def _told(error: Exception, what: str) -> str:
    message = str(error)
    assert message.isprintable(), message
    assert 0 < len(message) <= LONGEST, message
    return what


def run(numbers: range, folder: Path, *, every: int = 1, stop: bool = True) -> tuple[Counter[str], list[str]]:
    """What became of the mutations of these numbers, counted, and a line for each fault, which is printed too.

    folder: an empty one, for the files. every: of those that can be read, numbers divisible by it are solved. stop: at
    the first such line.
    """
    for name in ("problems", "sweeps"):
        (folder / name).mkdir()
    for example in (ROOT / "figures" / "problems").glob("*.toml"):  # bases of sweeps
        (folder / "problems" / example.name).write_bytes(example.read_bytes())
    texts, counts, faults = examples(), Counter[str](), []
    for number in numbers:
        path, data = mutated(number, texts)
        with ExitStack() as stack:
            for module, steps in STEPS.items():
                stack.enter_context(patch.object(module, "MAX_STEPS", steps))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of overflow, on the way to a status
            try:
                with patience():
                    counts[outcome(path, data, folder, solved=number % every == 0)] += 1
            except (Exception, Hang) as error:
                if stop:
                    raise
                counts["FAULT"] += 1
                faults.append(f"{number} ({path}): {type(error).__name__}: {' '.join(str(error).split())[:200]}")
                print(faults[-1], flush=True)
    return counts, faults
