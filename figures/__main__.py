"""The door to the figures: python -m figures [NAME ...]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from solvers.console import one_message, progress_bar
from solvers.door import enter, say

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
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder of figures and stored results.")] = "outputs",
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
        say(f"{unknown[0]}: no such figure; allowed are {', '.join(figures)}")
        raise typer.Exit(2)
    from figures.files import check, make_folder, write
    from solvers.results.output import shown

    with one_message():
        chosen, folder = list(dict.fromkeys(names or figures)), make_folder(out)
        if (replaced := check(chosen, folder)) and not quiet:
            say(f"{shown(folder)}: {len(replaced)} files of figures exist; will be replaced")
        for name in chosen:
            results = stored_results(name, figures[name], folder, quick=quick, quiet=quiet)
            for path in write(figures[name], results, folder):
                if not quiet:
                    print(shown(path))


def stored_results(name: str, module: FigureModule, out: Path, *, quick: bool, quiet: bool) -> dict[str, xr.Dataset]:
    """What a figure draws, by the names it gives: read from `out` where stored there, otherwise computed and stored."""
    from solvers.results.output import shown

    found = {}
    for role, stored in module.RESULTS.items():
        path = stored.path(out, f"{name}.{role}", quick=quick)
        result = stored.load(path, quick=quick)
        if result is None:
            with progress_bar(f"{name}: {stored.command}", quiet=quiet) as progress:
                result = stored.make(path, quick=quick, progress=progress)
        if not quiet:
            print(shown(path))
        found[role] = result
    return found


def main() -> None:
    enter(app)


if __name__ == "__main__":
    main()
