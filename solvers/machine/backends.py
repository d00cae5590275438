"""Backends: their names, what is true of each wherever it computes, and how the tables of what they can do are asked.

Every room that computes has one such table, name → contract: closed/backends.py, sampler/backends.py and
particles/engines.py. Everything else looks up there, and knows no backend by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

__all__ = ["BACKENDS", "BY_DEFAULT", "DEFAULT", "Backend", "BackendError", "Contract", "check", "first_of", "looked_up"]
__all__ += ["refusal"]


class BackendError(RuntimeError):
    """A backend that cannot be used here; str() is the one-line message `backend: what is wrong; allowed: ...`."""


class Backend(NamedTuple):
    """arrays: whose arrays it takes, a key of solvers.machine.arrays.ARRAYS. instead: who does its work where numba is
    told to compile nothing, "" for one that does not need numba. device: whether it computes elsewhere than on the
    cores of this machine, so that their time says nothing and more threads do not help."""

    arrays: str
    instead: str = ""
    device: bool = False


BACKENDS = {
    "numpy": Backend("numpy"),
    "cupy": Backend("cupy", device=True),
    "numba": Backend("numpy", instead="numpy"),
}

#: Unasked, the first of these that can do the problem.
BY_DEFAULT = ("numba", "numpy")
#: Of simulations, which all of them can do.
DEFAULT = BY_DEFAULT[0]

_Asked = TypeVar("_Asked")
_AskedOf = TypeVar("_AskedOf", contravariant=True)
_Entry = TypeVar("_Entry")


class Contract(Protocol[_AskedOf]):
    """What an entry of every table has: refuse(asked) is what the backend cannot do of it, in words, perhaps with what
    it could, `...; allowed: at most 16`; or None. Who else can is the table's to say, see `refusal`. The rest is what
    the room computes: solve, walk, gradient, sample."""

    @property
    def refuse(self) -> Callable[[_AskedOf], str | None]: ...


def looked_up(table: Mapping[str, _Entry], name: str) -> _Entry:
    """The entry of a backend. Raises  BackendError for a name that the table does not have."""
    if name not in table:
        raise BackendError(f"{name}: unknown backend; allowed: {', '.join(table)}")
    return table[name]


def check(table: Mapping[str, Contract[_Asked]], name: str, asked: _Asked) -> None:
    """Raise BackendError if a backend is not in the table, or refuses what is asked."""
    if reason := refusal(table, name, asked):
        raise BackendError(reason)


def refusal(table: Mapping[str, Contract[_Asked]], name: str, asked: _Asked) -> str | None:
    """What a backend cannot do of what is asked, and which others of the table can; None if it can."""
    reason = looked_up(table, name).refuse(asked)
    if reason is None or not (others := [other for other in table if table[other].refuse(asked) is None]):
        return reason and f"{name}: {reason}"
    return f"{name}: {reason}{', or' if '; allowed: ' in reason else '; allowed:'} {', '.join(others)}"


def first_of(table: Mapping[str, Contract[_Asked]], asked: _Asked, names: Iterable[str] = BY_DEFAULT) -> str:
    """The first of these backends that does not refuse what is asked, else the last."""
    *others, last = names
    return next((name for name in others if table[name].refuse(asked) is None), last)
