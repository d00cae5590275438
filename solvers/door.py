"""The words of a door: lines that every terminal can show, and an exit status that says what happened.

Nothing of this project is imported: it is the door of the derivations too, and --help waits for nothing.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from typing import Any, NoReturn

import typer

__all__ = ["ARGUMENTS", "LONGEST", "UNEXPECTED", "enter", "escaped", "one_line", "say"]

#: Arguments of functions that are options of the commands.
ARGUMENTS = ("particles", "replicas", "step")
#: Characters of a message; of a longer one the beginning and the end are shown.
LONGEST = 300
BEGINNING = 90
#: Exit status of what is nobody's input (EX_SOFTWARE of sysexits.h). 1 would say that `compare` found disagreement.
UNEXPECTED = 70
#: What a shell reports of a program that the signal of a closed pipe ended.
NOBODY_READS = 141


def escaped(text: str) -> str:
    """The text with escapes for characters that move, hide or reorder others.

    These are controls, ends of lines, marks of direction, zero widths, and lone surrogates (undecodable file names).
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Escaped and at most LONGEST characters; the same again when it is one already."""
    # Where the cut will be, so that a message of megabytes is not escaped first.
    if len(text) > 2 * LONGEST:
        text = text[:LONGEST] + text[-LONGEST:]
    text = escaped(text)
    return text if len(text) <= LONGEST else f"{text[:BEGINNING]} ... {text[BEGINNING + 5 - LONGEST :]}"


def say(message: str) -> None:
    """One line on standard error. If nobody can read it, the exit status still tells."""
    if sys.stderr is not None:
        try:
            print(one_line(message), file=sys.stderr, flush=True)
        except OSError:
            _give_up(2)


def enter(app: typer.Typer, arguments: list[str] | None = None, *, name: str | None = None) -> NoReturn:
    """Run a command line and end the process with its exit status.

    What the commands make of bad input they say themselves. Here: 2 for arguments that are none, for memory that is not
    there, and for a standard output that cannot be written; 141, quietly, for one that nobody reads; 130 for Ctrl-C; 70
    for anything else, with the traceback in a file. Warnings are one line each; none is shown of numbers that overflow
    on the way to a `status`, which is told when all is done.
    """
    warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)
    warnings.formatwarning = lambda message, *_, **__: f"{one_line(str(message))}\n"
    _open_closed()
    _open_output()
    try:
        status = _status(app, arguments, name)
        if sys.stdout is not None:
            sys.stdout.flush()
    except _Lost as lost:
        _give_up(1)
        status = NOBODY_READS
        if lost.errno != errno.EPIPE:
            say(f"standard output: cannot be written ({lost})")
            status = 2
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _give_up(2)
    sys.exit(status)


def _status(app: typer.Typer, arguments: list[str] | None, name: str | None) -> int:
    try:
        return int(app(args=arguments, prog_name=name, standalone_mode=False) or 0)
    except _Lost:
        raise
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return 130
    except MemoryError as error:
        say(f"not enough memory: {error}".rstrip(": "))
        return 2
    except Exception as error:
        about: Any = error  # of arguments: typer has click's classes, or its own copy of them
        if not callable(getattr(error, "format_message", None)):
            return _unexpected(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(about.ctx.get_help())
        else:
            say(f"{about.format_message().rstrip('.')}; --help shows what is allowed")
        return int(about.exit_code)


def _unexpected(error: Exception) -> int:
    trace = "".join(traceback.format_exception(error))
    try:
        handle, path = tempfile.mkstemp(prefix="modecollapse-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(trace)
        where = f"in {path}"
    except OSError:
        where = "above"
        for line in trace.splitlines():
            say(line)
    what = traceback.format_exception_only(error)[-1].strip()
    say(f"unexpected {what}; a mistake of the program, not of its input; the traceback is {where}")
    return UNEXPECTED


class _Lost(Exception):
    """Standard output took no more. No OSError: such are of the work, and typer makes exit status 1 of some."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.errno = error.errno


class _Output(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise _Lost(error) from None


def _open_closed() -> None:
    """Standard streams that the caller has closed lead nowhere; else files opened later would get their numbers."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with suppress(OSError):
                os.fstat(descriptor)
                continue  # open, and lost by Python for another reason
            _give_up(descriptor)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w", encoding="utf-8", closefd=False))


def _open_output() -> None:
    """Standard output with an escape for what its encoding lacks, and failures that are known for what they are."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper) or out is not sys.__stdout__:
        return  # none, or that of a test
    if out.isatty():
        out.reconfigure(errors="backslashreplace")
        return
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(out.fileno(), "w", closefd=False)),
        encoding=out.encoding,
        errors="backslashreplace",
        line_buffering=out.line_buffering,
        write_through=out.write_through,
    )


def _give_up(descriptor: int) -> None:
    """What is still in a buffer goes nowhere, else Python would try once more at its end and have a status for that."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
