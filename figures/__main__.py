"""The door to the figures: python -m figures [NAME ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvers.console import one_message, progress_bar

# Everything else is imported where it is used: --help should not wait for numpy, xarray and matplotlib.
if TYPE_CHECKING:
    import xarray as xr

    from figures.catalogue import FigureModule

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m figures overlap_trajectories --quick")
def draw(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Figures to draw; default: all.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Coarser simulations, less than 30 seconds a figure.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the figures and stop.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of figures and stored results.")] = Path("outputs"),
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no summary.")] = False,
) -> None:
    """Draw figures as PDF and PNG, with caption and numbers; compute the results they need, unless they are stored."""
    from figures.catalogue import catalogue

    figures = catalogue()
    if show_list:
        for name, module in figures.items():
            print(f"{name}  {(module.__doc__ or '').splitlines()[0]}")
        return
    if unknown := [name for name in names or [] if name not in figures]:
        print(f"{unknown[0]}: no such figure; allowed are {', '.join(figures)}", file=sys.stderr)
        raise typer.Exit(2)
    from figures.files import make_folder, write

    with one_message():
        make_folder(out)
        for name in dict.fromkeys(names or figures):
            results = stored_results(name, figures[name], out, quick=quick, quiet=quiet)
            for path in write(figures[name], results, out):
                if not quiet:
                    print(path)


def stored_results(name: str, module: FigureModule, out: Path, *, quick: bool, quiet: bool) -> dict[str, xr.Dataset]:
    """What a figure draws, by the names it gives: read from `out` where stored there, otherwise computed and stored."""
    found = {}
    for role, stored in module.RESULTS.items():
        path = stored.path(out, f"{name}.{role}", quick=quick)
        result = stored.load(path, quick=quick)
        if result is None:
            with progress_bar(f"{name}: {stored.command}", quiet=quiet) as progress:
                result = stored.make(path, quick=quick, progress=progress)
        if not quiet:
            print(path)
        found[role] = result
    return found


if __name__ == "__main__":
    app()
