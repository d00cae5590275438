"""The catalogue: every module of this package that defines `system()`, or only `document()` on the systems of others.

A new derivation is one new file. One with FLOWS, a list of (weights, metric), is one entry for each of them, of
system(weights=…, metric=…).
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import derivations
from theory import ClosedSystem
from theory.correspondence import Correspondence
from theory.samplers import ReducedChain

__all__ = ["SOURCES", "Entry", "catalogue", "documents", "entry", "unknown"]

#: Views that are solver source, and the suffix of their files under solvers/generated/.
SOURCES = {"numpy": ".py", "numba": ".numba", "cuda": ".cu"}


#: What the entries of FLOWS are called, and what their statements say.
WEIGHTS = {
    "softmax": (
        "",
        "softmax weights",
        r"The weights are $w=\mathrm{softmax}\,\theta$, $\dot\theta_k=-\partial D/\partial\theta_k$.",
    ),
    "fisher-rao": (
        "fisher_rao",
        "Fisher–Rao weights",
        r"The weights follow the natural gradient on the simplex, "
        r"$\dot w_k=-w_k(\partial D/\partial w_k-\sum_jw_j\,\partial D/\partial w_j)$, $\theta_k=\log w_k$.",
    ),
}
METRICS = {
    "euclidean": ("", "", r"The means follow the Euclidean gradient, $\dot\mu_k=-\partial D/\partial\mu_k$."),
    "wasserstein": (
        "wasserstein",
        "Wasserstein metric",
        r"The means follow the Wasserstein gradient of a mixture whose components are transported as they are, "
        r"$\dot\mu_k=-w_k^{-1}\,\partial D/\partial\mu_k$.",
    ),
}


@dataclass(frozen=True)
class Entry:
    """One derivation: its module states TITLE, STATEMENT, LIMITS (Markdown) and system()."""

    name: str
    module: ModuleType
    flow: tuple[str, str] | None = None

    @property
    def title(self) -> str:
        words = [METRICS[self.flow[1]][1], WEIGHTS[self.flow[0]][1]] if self.flow else []
        return ", ".join([str(self.module.TITLE), *filter(None, words)])

    @property
    def statement(self) -> str:
        ways = [METRICS[self.flow[1]][2], WEIGHTS[self.flow[0]][2]] if self.flow else []
        return "\n\n".join([str(self.module.STATEMENT).strip(), *(["\n".join(ways)] if ways else [])])

    @cached_property
    def system(self) -> ClosedSystem | ReducedChain | Correspondence:
        options = {"weights": self.flow[0], "metric": self.flow[1]} if self.flow else {}
        result = self.module.system(**options)
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
        if info.name not in ("__main__", "catalogue", "chain_document", "document", "files"):
            yield info.name, importlib.import_module(f"derivations.{info.name}")


def catalogue() -> dict[str, Entry]:
    """All closed systems by name."""
    found = {}
    for module_name, module in _modules():
        for flow in getattr(module, "FLOWS", [None]) if hasattr(module, "system") else []:
            parts = [METRICS[flow[1]][0], WEIGHTS[flow[0]][0]] if flow else []
            name = "_".join([module_name, *filter(None, parts)])
            found[name] = Entry(name, module, flow)
    return found


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
