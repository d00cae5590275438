"""The figures there are: every module of this folder with RESULTS and main. A new figure is one new file."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

import xarray as xr
from matplotlib.figure import Figure

import figures
from figures.stored import Stored


class FigureModule(Protocol):
    """What a figure's module defines; each function takes the results that RESULTS names, and computes no physics."""

    __name__: str
    __doc__: str | None
    #: The stored results that the figure draws, by the name that it gives them.
    RESULTS: Mapping[str, Stored]

    def main(self, results: Mapping[str, xr.Dataset]) -> Figure: ...

    def caption(self, results: Mapping[str, xr.Dataset]) -> str:
        """What is drawn, what a band or an error bar is, and how the simulation was run."""

    def numbers(self, results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
        """The numbers a reader takes from the figure; tests compare them with a reference instead of pixels."""


def catalogue() -> dict[str, FigureModule]:
    """Every figure by its name, in alphabetical order."""
    found = {}
    for module in sorted(pkgutil.iter_modules(figures.__path__), key=lambda module: module.name):
        if not module.name.startswith("_"):
            loaded = import_module(f"figures.{module.name}")
            if hasattr(loaded, "main") and hasattr(loaded, "RESULTS"):
                found[module.name] = cast(FigureModule, loaded)
    return found
