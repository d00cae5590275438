"""The catalogue: every module of this package that defines `system()`, or only `document()` on the systems of others.

A new derivation is one new file.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType, SimpleNamespace

import derivations
from theory import ClosedSystem
from theory.correspondence import Correspondence
from theory.samplers import ReducedChain

__all__ = ["SOURCES", "Entry", "catalogue", "documents", "entry", "unknown"]

#: Views that are solver source, and the suffix of their files under solvers/generated/.
SOURCES = {"numpy": ".py", "numba": ".numba", "cuda": ".cu"}

#: Modules of this package that derive nothing themselves.
NO_DERIVATIONS = (
    "__main__", "catalogue", "chain_document", "document", "files", "metrics", "objectives", "widths",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One derivation: its module states TITLE, STATEMENT, LIMITS (Markdown) and system()."""

    name: str
    module: ModuleType | SimpleNamespace

    @property
    def title(self) -> str:
        return str(self.module.TITLE)

    @property
    def statement(self) -> str:
        return str(self.module.STATEMENT).strip()

    @cached_property
    def system(self) -> ClosedSystem | ReducedChain | Correspondence:
        result = self.module.system()
        assert isinstance(result, ClosedSystem | ReducedChain | Correspondence)
        return result

    @property
    def sources(self) -> dict[str, str]:
        """Views of this entry that are solver source, and the suffix of their files."""
        return {view: suffix for view, suffix in SOURCES.items() if view in self.system.views}

    def emit(self, view: str) -> str:
        """The system in one view; source is headed by this entry's name and title."""
        if view in SOURCES:
            return self.system.emit(view, self.name, self.title)
        return self.system.emit(view)


def _modules() -> Iterator[tuple[str, ModuleType]]:
    for info in pkgutil.iter_modules(derivations.__path__):
        if info.name not in NO_DERIVATIONS:
            yield info.name, importlib.import_module(f"derivations.{info.name}")


def catalogue() -> dict[str, Entry]:
    """All closed systems by name."""
    return {name: Entry(name, module) for name, module in _modules() if hasattr(module, "system")}


def documents() -> dict[str, Callable[[], str]]:
    """What renders each document that has no system of its own, by name."""
    return {name: module.document for name, module in _modules() if hasattr(module, "document")}


def entry(name: str) -> Entry:
    """One entry. Raises KeyError with the names that exist."""
    entries = catalogue()
    if name not in entries:
        raise KeyError(unknown(name, entries))
    return entries[name]


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a name that no derivation has: those that are nearest to it."""
    near = difflib.get_close_matches(name[:60], list(known), n=6, cutoff=0.0)
    return f"no derivation {name!r}; nearest: {', '.join(near)}; derivations/documents has all"
