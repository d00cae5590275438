"""Views of a ClosedSystem. Nobody edits a copy: change the derivation and emit again."""

from theory.emit import compiled, latex, numpy, text

__all__ = ["VIEWS"]

VIEWS = {
    "latex": latex.render,
    "text": text.describe,
    "numpy": numpy.source,
    "numba": compiled.numba,
    "cuda": compiled.cuda,
}
