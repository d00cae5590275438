"""The door of the derivations: regenerate, verify, or show them."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from derivations import files
from derivations.catalogue import catalogue, documents, entry

View = StrEnum("View", ["latex", "text", "numpy", "numba", "cuda"])

generate_app = typer.Typer(add_completion=False)
show_app = typer.Typer(add_completion=False)


@generate_app.command(
    epilog="Example: python -m derivations --check. To print one: python -m derivations show reverse_kl_flow --as latex"
)
def generate(
    names: Annotated[list[str] | None, typer.Argument(help="Derivations to regenerate; default: all.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if any generated file differs.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only differences and errors.")] = False,
) -> None:
    """Regenerate the derivations (documents, solver source, notation table), or verify them."""
    entries, others = catalogue(), documents()
    for name in names or []:
        if name not in {**entries, **others}:
            fail(f"no derivation {name!r}: allowed are {', '.join({**entries, **others})}")
    chosen = {name: e for name, e in entries.items() if not names or name in names}
    written = {name: document for name, document in others.items() if not names or name in names}
    texts = files.expected(chosen, written)
    if check:
        found = [*files.differences(texts)]
        found += [
            f"{path.relative_to(files.ROOT)}: no derivation generates this file"
            for path in files.stray(entries, others)
        ]
        for line in found:
            print(line, file=sys.stderr)
        if found:
            raise typer.Exit(1)
        if not quiet:
            print(f"{len(texts)} generated files are what {len(chosen) + len(written)} derivations generate")
        return
    for path, text in texts.items():
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            if not quiet:
                print(f"wrote {path.relative_to(files.ROOT)}")


@show_app.command(epilog="Example: python -m derivations show reverse_kl_flow --as numpy")
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


def fail(message: str) -> None:
    """One message, exit status 2."""
    print(message, file=sys.stderr)
    raise typer.Exit(2)


def main() -> None:
    """`show` is a word of its own; anything else is a list of names."""
    if sys.argv[1:2] == ["show"]:
        show_app(args=sys.argv[2:], prog_name="python -m derivations show")
    else:
        generate_app(prog_name="python -m derivations")


if __name__ == "__main__":
    main()
