"""What the commands show on a terminal: progress, and one message where something is wrong."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from solvers.door import ARGUMENTS, say


class OptionError(ValueError):
    """An option that cannot be used; str() is the one-line message `--option: what is wrong, what is allowed`."""


@contextmanager
def one_message() -> Iterator[None]:
    """Bad input becomes one line on standard error and exit status 2; Ctrl-C becomes 130. A warning is one line too."""
    format_of_python = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"{message}\n"
    try:
        yield
    except KeyboardInterrupt as error:
        say(str(error) or "interrupted")
        raise typer.Exit(130) from None
    except MemoryError as error:
        say(f"not enough memory: {error}".rstrip(": "))
        raise typer.Exit(2) from None
    except Exception as error:
        from solvers.machine.backends import BackendError
        from solvers.problem import ProblemError
        from solvers.results.errors import ResultError
        from solvers.results.output import OutputError
        from solvers.sweeps.executors import SchedulerError, WorkerError

        bad_input = (OptionError, ProblemError, BackendError, OutputError, ResultError, SchedulerError, WorkerError)
        if not isinstance(error, bad_input):
            if isinstance(error, BrokenPipeError):  # of a worker, say; typer would make exit status 1 of it
                raise RuntimeError("a pipe of this process was closed") from error
            raise
        say(_as_typed(str(error), isinstance(error, BackendError)))
        raise typer.Exit(2) from None
    finally:
        warnings.formatwarning = format_of_python


def _as_typed(message: str, about_backend: bool) -> str:
    """A message of a function, which speaks of its arguments, with the options as one types them."""
    if message.startswith("--"):
        return message
    if about_backend:
        return f"--backend: {message}"
    return f"--{message}" if message.partition(":")[0] in ARGUMENTS else message


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """A progress bar on standard error while the block runs; it takes the fraction done, in [0, 1].

    Gives None, and shows nothing, when quiet or when standard error is not a terminal.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)


@contextmanager
def counting_bar(label: str, things: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """As progress_bar, with the rate as well; it takes how many things are done, and of how many."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None, rate="")

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.3g} {things}/s" if speed else "")

        yield show
