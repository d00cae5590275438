"""Running a sweep: units of work to workers, sums to the store, again from where it stopped."""

from __future__ import annotations

import itertools
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.cores import cores
from solvers.results.errors import ResultWarning
from solvers.results.versions import differences
from solvers.sweeps import executors, work
from solvers.sweeps.dataset import EVENTS, Columns, Layout, summaries
from solvers.sweeps.executors import unbroken
from solvers.sweeps.plan import Index, Sweep
from solvers.sweeps.prepare import attributes_of, check_size, identity, layout, prepare, refined
from solvers.sweeps.refine import Rounds
from solvers.sweeps.store import Store, check_new, create, resume
from solvers.sweeps.store import attributes_of as stored
from solvers.sweeps.work import Options, Result, Unit, code, compute, versions

__all__ = ["Done", "Interrupted", "run"]

Progress = Callable[[int, int], None]

PUBLISH_EVERY = 5.0  # seconds between updates of the dataset
Z = 1.959963984540054  # of the 95 % interval of a mean


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; str() says how much is done and how to go on."""


@dataclass(frozen=True)
class Done:
    """What a sweep computed: points, of how many in the grid; starts, and how many of them failed."""

    points: int
    of: int
    starts: int
    failed: int

    def __str__(self) -> str:
        points = f"{self.points} points" if self.points == self.of else f"{self.points} of {self.of} points"
        share = f" ({self.points / self.of:.1%} of the grid)" if self.points < self.of else ""
        return f"{points}{share}, {self.starts} starts"


def run(
    sweep: Sweep | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    resumed: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Done:
    """Compute a sweep into the Zarr store `out`; see docs/sweeps.md for what is in it.

    The numbers depend on the sweep and the options only: not on workers, scheduler, or interruptions.

    Takes
        sweep: or the path of its file. resumed: go on with the store of a sweep that was interrupted.
        workers: processes, default one a core.
        scheduler: address of a Dask scheduler, instead of processes. progress: called with starts done and in all.
    Raises
        ProblemError for a point that cannot be solved, BackendError, OutputError, ResultError, SchedulerError,
        WorkerError; Interrupted on Ctrl-C. Whatever is in the store by then is kept.
    """
    sweep = sweep if isinstance(sweep, Sweep) else Sweep.load(sweep)
    options = options or Options()
    # What can be refused without computing is.
    if scheduler is not None:
        executors.check_address(scheduler)
    if resumed:
        stored(Path(out))
    else:
        check_new(out)
    check_size(sweep)
    systems, backends = prepare(sweep, options)
    plan = identity(sweep, options, systems) | {"backend": backends}
    attributes = attributes_of(sweep, systems, plan)
    processes = max(1, min(workers or cores(), layout(sweep).units))
    # Workers first: without them no store is begun.
    with executors.on_cluster(scheduler) if scheduler is not None else executors.local(processes) as cluster:
        return _run(sweep, out, resumed, plan, attributes, cluster, options, progress)


def _run(
    sweep: Sweep,
    out: str | os.PathLike[str],
    resumed: bool,
    plan: dict[str, Any],
    attributes: dict[str, Any],
    cluster: executors.Cluster,
    options: Options,
    progress: Progress | None,
) -> Done:
    store, finished = None, np.zeros((*sweep.shape, 1), dtype=bool)
    try:
        with unbroken():
            if resumed:
                store = resume(out, plan)
                _say_other_code(store)
            else:
                store = create(out, layout(sweep), attributes)
            finished = store.finished()
        try:
            _rounds(sweep, store, finished, cluster, options, set(plan["systems"]), progress)
        finally:
            with unbroken():
                store.publish()
        with unbroken():
            return Done(int(finished.all(axis=-1).sum()), sweep.points, *store.totals())
    except KeyboardInterrupt:
        done, total = int(finished.all(axis=-1).sum()), sweep.points
        raise Interrupted(
            f"interrupted; {done} of {total} points are done, continue with: "
            f"python -m solvers sweep {sweep.name} --out {os.fspath(out)} --resume"
        ) from None
    except BrokenProcessPool:
        raise executors.WorkerError(
            f"{os.fspath(out)}: a worker process died, perhaps for lack of memory; what is done is kept, go on with "
            "--resume and fewer --workers"
        ) from None
    finally:
        if store:
            with unbroken():
                store.release()


def _say_other_code(store: Store) -> None:
    """Warn, and note in the store, where it was begun with other versions or another text of this code."""
    other = differences(json.loads(store.attributes["versions"]), json.loads(versions()))
    if store.attributes["code"] != code():
        other.append(f"code {store.attributes['code'][:12]}, here {code()[:12]}")
    if other:
        message = f"{store.path}: was begun with {'; '.join(other)}; last bits may differ"
        warnings.warn(message, ResultWarning, stacklevel=2)
        store.annotate(resumed_with=json.dumps(json.loads(versions()) | {"code": code()}))


def _units(
    sweep: Sweep, plan: Layout, finished: NDArray[np.bool_], wanted: NDArray[np.bool_]
) -> Iterator[tuple[Index, int]]:
    """First point and part of the units that are wanted and not finished."""
    for corner in itertools.product(*[range(0, n, b) for n, b in zip(plan.shape, plan.block, strict=True)]):
        region = _region(corner, plan)
        if wanted[region].any():
            for part in np.flatnonzero(~finished[region].reshape(-1, plan.parts).all(axis=0)):
                yield corner, int(part)


def _region(corner: Index, plan: Layout) -> tuple[slice, ...]:
    return tuple(slice(i, min(i + b, n)) for i, b, n in zip(corner, plan.block, plan.shape, strict=True))


def _rounds(
    sweep: Sweep,
    store: Store,
    finished: NDArray[np.bool_],
    cluster: executors.Cluster,
    options: Options,
    systems: set[str],
    progress: Progress | None,
) -> None:
    everywhere = np.ones(sweep.shape, dtype=bool)
    if sweep.refine is None:
        _compute(sweep, store, finished, everywhere, cluster, options, systems, progress)
        return
    rounds = Rounds(sweep.shape, refined(sweep), sweep.refine.levels)
    for level in range(rounds.levels + 1):
        while True:
            with unbroken():
                sums = store.sums()
            low, high = interval(sums, store.layout.columns, sweep.refine.quantity)
            wanted = rounds.wanted(level, low, high, sweep.refine.contour)
            if finished[wanted].all():
                break
            _compute(sweep, store, finished, wanted, cluster, options, systems, progress)


def interval(
    sums: NDArray[np.float64], columns: Columns, quantity: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the 95 % interval of one quantity; nan where it is not computed."""
    found = summaries(sums, columns)
    if quantity in EVENTS:
        return found[f"{quantity}_low"], found[f"{quantity}_high"]
    half = Z * found[f"{quantity}_se"]
    return found[quantity] - half, found[quantity] + half


def _compute(
    sweep: Sweep,
    store: Store,
    finished: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    cluster: executors.Cluster,
    options: Options,
    systems: set[str],
    progress: Progress | None,
) -> None:
    """Compute the units wanted; `finished` is kept up to date."""
    plan = store.layout
    samples = np.broadcast_to(sweep.samples, sweep.shape)
    total = int(samples[wanted].sum())
    done = sum(int(_starts(samples, part)[finished[..., part] & wanted].sum()) for part in range(plan.parts))

    def report() -> None:
        if progress:
            progress(done, total)

    report()
    waiting = _units(sweep, plan, finished.copy(), wanted)
    running: dict[Future[Result], tuple[Index, int]] = {}
    published = time.monotonic()
    while True:
        free = max(0, cluster.ahead() - len(running))
        for corner, part in itertools.islice(waiting, free):
            points = [tuple(corner[i] + step[i] for i in range(len(corner))) for step in _steps(corner, plan)]
            texts = tuple((sweep.where(index), sweep.problem_text(index)) for index in points)
            running[cluster.submit(compute, Unit(texts, part, plan.columns, options))] = corner, part
        if not running:
            return
        for future in cluster.wait(running):
            corner, part = running.pop(future)
            result = future.result()
            _check(result, systems)
            region = _region(corner, plan)
            size = tuple(s.stop - s.start for s in region)
            with unbroken():
                store.write(corner, part, result.moments.reshape(*size, *result.moments.shape[1:]))
                finished[region][..., part] = True
            done += int(_starts(samples[region], part).sum())
        report()
        if time.monotonic() - published > PUBLISH_EVERY:
            with unbroken():
                store.publish()
            published = time.monotonic()


def _starts(samples: NDArray[np.int64], part: int) -> NDArray[np.int64]:
    """How many starts of each point are in this part of them."""
    return np.clip(samples - part * work.PART, 0, work.PART)


def _steps(corner: Index, plan: Layout) -> Iterable[Index]:
    return itertools.product(*[range(s.stop - s.start) for s in _region(corner, plan)])


def _check(result: Result, systems: set[str]) -> None:
    """Refuse sums of a worker that runs other code than this process."""
    if not result.systems <= systems:
        raise executors.WorkerError(
            f"a worker has system {', '.join(sorted(result.systems - systems))}, this process "
            f"{', '.join(sorted(systems))}; must have the same version of the code"
        )
    if result.versions != versions():
        raise executors.WorkerError(
            f"a worker has versions {result.versions}, this process {versions()}; must be the same"
        )
    if result.code != code():
        raise executors.WorkerError(
            f"a worker runs other code ({result.code[:12]}) than this process ({code()[:12]}); must be the same files"
        )
