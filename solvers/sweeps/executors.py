"""Where units of work run: here, in processes of this machine, or on a Dask cluster. One interface for the three."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from solvers.machine.code.notes import said, take_as_said
from solvers.problem.schema import show

__all__ = ["Cluster", "SchedulerError", "WorkerError", "check_address", "local", "on_cluster", "unbroken"]


PATIENCE = 10.0  # seconds to wait for a scheduler ...
MORE = 5.0  # ... and besides, for one that takes the connection and says nothing ...
WITHOUT_WORKERS = 600.0  # ... for a worker, where it has none ...
LOOK = 2.0  # ... and between two looks whether it has

ADDRESS = re.compile(r"(?:(?:tcp|tls|ucx|ucxx|ws|wss)://)?(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")


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

    def wait(self, running: Iterable[Future[Any]]) -> set[Future[Any]]:
        """Those that are done, once some are."""
        return set(wait(list(running), return_when=FIRST_COMPLETED).done)

    def submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
        try:
            return self._submit(function, argument)
        except OSError as error:
            raise WorkerError(
                f"--workers: a process cannot be started ({error.strerror or error}); what is done is kept, go on with "
                "--resume and fewer of them"
            ) from error

    def _submit(self, function: Callable[[Any], Any], argument: object) -> Future[Any]:
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


def check_address(address: str) -> None:
    """Raises SchedulerError for what is no address: the package would begin a cluster of its own for an empty one."""
    found = ADDRESS.fullmatch(address)
    if not found or not 1 <= int(found[1]) <= 65535:
        raise SchedulerError(f"--scheduler: is {show(address)}; must be host:port, such as tcp://127.0.0.1:8786")


class _Dask(Cluster):
    """The workers of a scheduler, as many as it has at the moment."""

    def __init__(self, executor: Executor, client: Any, address: str) -> None:
        super().__init__(executor, self._wanted)
        self._client, self._address = client, address

    def _wanted(self) -> int:
        return 2 * max(1, self._threads())

    def _threads(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except Exception:  # whatever a closed connection leads to
            raise _gone(self._address) from None

    def wait(self, running: Iterable[Future[Any]]) -> set[Future[Any]]:
        """As for any. Says so where there are no workers, and raises WorkerError where none come."""
        left_at = None
        while True:
            done = set(wait(list(running), timeout=LOOK, return_when=FIRST_COMPLETED).done)
            if done:
                return done
            if self._threads():
                left_at = None
            elif left_at is None:
                left_at = time.monotonic()
                message = f"--scheduler: {self._address} has no workers; waits {WITHOUT_WORKERS:g} s for one"
                print(message, file=sys.stderr, flush=True)
            elif time.monotonic() - left_at > WITHOUT_WORKERS:
                raise WorkerError(
                    f"--scheduler: {self._address} has had no workers for {WITHOUT_WORKERS:g} s; must have one: what "
                    "is done is kept, --resume continues"
                )


def _gone(address: str) -> WorkerError:
    return WorkerError(f"--scheduler: {address} is gone; what is done is kept, --resume continues")


def _connected(connect: Any, address: str) -> Any:
    """In a thread of its own: what takes the connection and says nothing would hold us for ever."""
    found: list[Any] = []

    def attempt() -> None:
        try:
            found.append(connect(address, timeout=PATIENCE))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PATIENCE + MORE)
    if not found:
        raise TimeoutError(f"not within {PATIENCE + MORE:g} s")
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]


def _quiet() -> None:
    """What happens to a connection is said by the message of this process, not by the log of the package besides."""
    for name in ["distributed", "tornado", "asyncio", *logging.root.manager.loggerDict]:
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def on_cluster(address: str) -> Iterator[Cluster]:
    """The workers of a Dask scheduler. A unit whose worker dies runs again on another one.

    Raises  SchedulerError without the package, for what is no address, or if nobody answers at it; WorkerError if the
    scheduler ends, or has no workers for WITHOUT_WORKERS seconds.
    """
    check_address(address)
    try:
        import distributed
    except ImportError:
        raise SchedulerError("--scheduler: needs distributed; install modecollapse[distributed]") from None
    _quiet()
    try:
        client = _connected(distributed.Client, address)
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise SchedulerError(f"--scheduler: {address} does not answer ({reason}); must be host:port") from None
    with client, client.get_executor(pure=False) as executor:
        try:
            yield _Dask(executor, client, address)
        except BaseException as error:
            executor.shutdown(wait=False)
            if isinstance(error, CancelledError):
                raise _gone(address) from None
            if isinstance(error, distributed.KilledWorker):
                raise WorkerError(f"{address}: one unit of work ended several workers ({error})") from None
            raise
