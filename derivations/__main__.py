"""The door of the derivations: regenerate, verify, or show them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from derivations import files, objectives
from derivations.catalogue import catalogue, documents, entry, unknown
from solvers.door import enter, say  # words and exit statuses, the same at all doors; nothing of the numbers
from solvers.objective.grammar import ObjectiveError
from theory import NotClosed

View = StrEnum("View", ["latex", "text", "numpy", "numba", "cuda"])

generate_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
show_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@generate_app.command(
    epilog="Example: python -m derivations --check. To print one: python -m derivations show reverse_kl --as latex"
)
def generate(
    names: Annotated[list[str] | None, typer.Argument(help="Derivations to regenerate; default: all.")] = None,
    objective: Annotated[
        str,
        typer.Option("--objective", help="Derive a system for this objective instead, and write it --into a folder."),
    ] = "",
    into: Annotated[Path | None, typer.Option("--into", help="Folder for the files of --objective.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every step behind --objective by numbers; takes some 15 s.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if any generated file differs.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only differences and errors.")] = False,
) -> None:
    """Regenerate the derivations (documents, solver source, notation table), or verify them."""
    if objective or into is not None or verify:
        own(objective, into, verify, bool(names) or check, quiet)
        return
    entries, others = catalogue(), documents()
    for name in names or []:
        if name not in {**entries, **others}:
            fail(unknown(name, {**entries, **others}))
    chosen = {name: e for name, e in entries.items() if not names or name in names}
    written = {name: document for name, document in others.items() if not names or name in names}
    try:
        texts = files.expected(chosen, written)
    except files.NoCheckout as error:
        fail(str(error))
    if check:
        found = [*files.differences(texts)]
        found += [
            f"{path.relative_to(files.ROOT)}: no derivation generates this file"
            for path in files.stray(entries, others)
        ]
        for line in found:
            say(line)
        if found:
            raise typer.Exit(1)
        if not quiet:
            print(f"{len(texts)} generated files are what {len(chosen) + len(written)} derivations generate")
        return
    for path, text in texts.items():
        try:
            path.parent.mkdir(exist_ok=True)
            if path.exists() and path.read_text(encoding="utf-8", errors="replace") == text:
                continue
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            fail(f"{path}: cannot be written ({error.strerror})")
        else:
            if not quiet:
                print(f"wrote {path.relative_to(files.ROOT)}")


def own(text: str, into: Path | None, verify: bool, more: bool, quiet: bool) -> None:
    """Derive the system of an objective, write its files, and print their paths."""
    if more:
        fail("--objective: stands beside names or --check; must be alone")
    if not text or into is None:
        fail(f"--{'into: is missing; must be a folder' if text else 'objective: is missing; must be an objective'}")
    try:
        found = objectives.derive(text, verify=verify)
        paths = objectives.write(found, into)
    except (ObjectiveError, NotClosed) as error:
        fail(f"--objective: {str(error).removeprefix('objective: ')}")
    except OSError as error:
        fail(f"--into: {into}: cannot be written ({error.strerror})")
    if not quiet:
        for path in paths:
            print(f"wrote {path}")


@show_app.command(epilog="Example: python -m derivations show reverse_kl --as numpy")
def show(
    name: Annotated[str, typer.Argument(help="Name of a derivation.")],
    view: Annotated[View, typer.Option("--as", help="What to print.")] = View.text,
) -> None:
    """Print one closed system."""
    try:
        found = entry(name)
    except KeyError as error:
        fail(error.args[0])
    if view.value not in found.system.views:
        fail(f"{name}: no view {view.value!r}: allowed are {', '.join(found.system.views)}")
    print(found.emit(view.value), end="")


def fail(message: str) -> NoReturn:
    """One message, exit status 2."""
    say(message)
    raise typer.Exit(2)


def main() -> None:
    """`show` is a word of its own; anything else is a list of names."""
    if sys.argv[1:2] == ["show"]:
        enter(show_app, sys.argv[2:], name="python -m derivations show")
    else:
        enter(generate_app, name="python -m derivations")


if __name__ == "__main__":
    main()
