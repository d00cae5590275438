"""Views of closed equations. Nobody edits a copy: change the derivation and emit again."""

from collections.abc import Callable

from theory.emit import compiled, latex, numpy, radial, text
from theory.equations import Equations

__all__ = ["VIEWS"]


def _arrays(system: Equations, *names: str) -> str:
    """NumPy source: with a variance for each component its tables are over other laws."""
    return radial.source(system, *names) if system.own_variances else numpy.source(system, *names)


VIEWS: dict[str, Callable[..., str]] = {
    "latex": latex.render,
    "text": text.describe,
    "numpy": _arrays,
    "numba": compiled.numba,
    "cuda": compiled.cuda,
}
