"""The generated files of the catalogue: what they must contain, and whether they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from derivations import chain_document, document
from derivations.catalogue import Entry
from theory import ClosedSystem
from theory.correspondence import Correspondence
from theory.notation import markdown_table
from theory.samplers import ReducedChain

__all__ = ["DOCUMENTS", "GENERATED", "README", "NoCheckout", "ambiguous", "differences", "expected", "stray"]

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ROOT / "derivations" / "documents"
GENERATED = ROOT / "solvers" / "generated"
README = ROOT / "README.md"
BEGIN, END = "<!-- notation: generated from theory/notation.py -->\n", "<!-- end of notation -->\n"


class NoCheckout(ValueError):
    """The generated files are not beside this package; str() is one line."""


def expected(entries: dict[str, Entry], documents: dict[str, Callable[[], str]], root: Path = ROOT) -> dict[Path, str]:
    """Path and full text of every generated file, the notation table of the README included.

    Raises  NoCheckout where there is no README with that table, as beside an installed package.
    """
    readme = root / README.relative_to(ROOT)
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if BEGIN not in text or END not in text:
        raise NoCheckout(f"{root}: has no {readme.name} with a notation table; must be a checkout of the source")
    files = {root / DOCUMENTS.relative_to(ROOT) / f"{name}.md": written() for name, written in documents.items()}
    for name, entry in entries.items():
        files[root / DOCUMENTS.relative_to(ROOT) / f"{name}.md"] = _document(entry)
        for view, suffix in entry.sources.items():
            files[root / GENERATED.relative_to(ROOT) / f"{name}{suffix}"] = entry.emit(view)
    head, rest = text.split(BEGIN, 1)
    files[readme] = head + BEGIN + markdown_table() + END + rest.split(END, 1)[1]
    return files


def _document(entry: Entry) -> str:
    if isinstance(entry.system, ReducedChain):
        return chain_document.render(entry, entry.system)
    if isinstance(entry.system, Correspondence):
        return chain_document.correspondence(entry, entry.system)
    return document.render(entry)


def stray(entries: dict[str, Entry], documents: Iterable[str], root: Path = ROOT) -> list[Path]:
    """Files in the generated folders that no derivation makes."""
    names = {*entries, *documents}
    there = (root / DOCUMENTS.relative_to(ROOT)).glob("*")
    sources = [p for p in (root / GENERATED.relative_to(ROOT)).glob("*") if p.is_file()]
    found = [p for p in there if not (p.suffix == ".md" and p.stem in names)]
    made = {f"{name}{suffix}" for name, entry in entries.items() for suffix in entry.sources.values()}
    return found + [p for p in sources if p.name not in made and p.name != "__init__.py"]


def ambiguous(entries: dict[str, Entry]) -> Iterator[str]:
    """One line for every two systems that say the same of themselves and are not the same."""
    seen: dict[tuple[object, ...], tuple[str, str]] = {}
    for name, entry in entries.items():
        system = entry.system
        if not isinstance(system, ClosedSystem):
            continue
        says = system.objective, system.parameters, system.own_variances
        other, identity = seen.setdefault(says, (name, system.hash))
        if identity != system.hash:
            yield f"{name}: is headed {system.objective!r} like {other}, and is another system; must say another name"


def differences(files: dict[Path, str], root: Path = ROOT) -> Iterator[str]:
    """One line for every file that is not what the derivation generates."""
    for path, text in files.items():
        label = path.relative_to(root)
        if not path.exists():
            yield f"{label}: missing"
            continue
        current = path.read_text(encoding="utf-8", errors="replace")
        if current != text:
            lines = zip([*current.splitlines(), ""], [*text.splitlines(), ""], strict=False)
            number = next((n for n, (a, b) in enumerate(lines, 1) if a != b), 1)
            yield f"{label}: line {number} differs from what the derivation generates"
