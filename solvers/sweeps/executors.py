"""Where units of work run: here, in processes of this machine, or on a Dask cluster. One interface for the three."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from solvers.machine_code.notes import said, take_as_said

__all__ = ["Cluster", "SchedulerError", "WorkerError", "local", "on_cluster", "unbroken"]


PATIENCE = 10.0  # seconds to wait for a scheduler


class SchedulerError(RuntimeError):
    """A Dask scheduler that cannot be used; str() is the one-line message."""


class WorkerError(RuntimeError):
    """A worker that cannot be relied on; str() is the one-line message."""


@contextmanager
def unbroken() -> Iterator[None]:
    """Ctrl-C waits until the block is through: it would leave behind threads that write, or a process half started."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


class Cluster:
    """submit(function, argument) gives a Future; ahead() is how many are worth having submitted, now."""

    def __init__(self, executor: Executor, ahead: Callable[[], int]) -> None:
        self._executor, self.ahead = executor, ahead

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        if isinstance(self._executor, _Here) or threading.current_thread() is not threading.main_thread():
            return self._executor.submit(function, argument)
        # Workers start here, on demand. Ctrl-C at the terminal goes to every process of the group, but stopping is
        # for the parent to do in order: what is blocked now stays blocked in a child. Other threads are not blocked,
        # and what reaches them is raised in this one.
        with unbroken():
            if not hasattr(signal, "pthread_sigmask"):
                return self._executor.submit(function, argument)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return self._executor.submit(function, argument)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Here(Executor):
    """Runs what is submitted at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def local(workers: int) -> Iterator[Cluster]:
    """So many processes; none but this one for 1. They end with the block, and with this process however it ends."""
    if workers == 1:
        yield Cluster(_Here(), lambda: 1)
        return
    context = multiprocessing.get_context("spawn")  # compiled code and its threads do not survive a fork
    ends, life = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow, initargs=(ends, said()))
    try:
        yield Cluster(pool, lambda: 2 * workers)
    except BaseException:
        life.close()  # units in flight are given up
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        life.close()
        ends.close()


def _follow(ends: Connection, by_parent: tuple[tuple[str, str], ...]) -> None:
    """End this worker when the other end of the pipe is closed, by its owner or by the kernel after a SIGKILL.

    by_parent: what its owner has said about machine code, not to be said again.
    """
    take_as_said(by_parent)

    def wait() -> None:
        try:
            ends.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def on_cluster(address: str) -> Iterator[Cluster]:
    """The workers of a Dask scheduler. A unit whose worker dies runs again on another one.

    Raises  SchedulerError without the package, or if nobody answers at the address; WorkerError if the scheduler ends.
    """
    try:
        import distributed
    except ImportError:
        raise SchedulerError("--scheduler: needs distributed; install modecollapse[distributed]") from None
    try:
        connect: Any = distributed.Client
        client = connect(address, timeout=PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SchedulerError(f"--scheduler: {address} does not answer ({reason}); must be host:port") from None
    with client, client.get_executor(pure=False) as executor:
        try:
            yield Cluster(executor, lambda: 2 * max(1, sum(client.nthreads().values())))
        except BaseException as error:
            executor.shutdown(wait=False)
            if isinstance(error, CancelledError):
                raise WorkerError(
                    f"{address}: the scheduler is gone; what is done is kept, --resume continues"
                ) from None
            if isinstance(error, distributed.KilledWorker):
                raise WorkerError(f"{address}: one unit of work ended several workers ({error})") from None
            raise
