"""Views of a ClosedSystem. Nobody edits a copy: change the derivation and emit again."""

from collections.abc import Callable

from theory.emit import compiled, latex, numpy, text

__all__ = ["VIEWS"]

VIEWS: dict[str, Callable[..., str]] = {
    "latex": latex.render,
    "text": text.describe,
    "numpy": numpy.source,
    "numba": compiled.numba,
    "cuda": compiled.cuda,
}
