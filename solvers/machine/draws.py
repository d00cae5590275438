"""Random numbers of many generators at once, to the bit those of solvers.machine.chance, compiled and in threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from solvers.machine.chance import Stream, generator
from solvers.machine.code import package
from solvers.machine.code.switch import switched_off
from solvers.machine.cores import cores
from solvers.machine.pieces import in_order

__all__ = ["drawn"]

Array = NDArray[np.float64]

#: Fewer generators are made one by one: that takes less than loading numba.
MANY = 1024
#: Generators that a thread draws from at a time.
PIECE = 4096


def drawn(seed: int, chosen: Sequence[int], stream: Stream, normals: int, freedom: Array) -> tuple[Array, Array]:
    """normal (n, normals) and square (n, len(freedom)), chi-squares of that many degrees of freedom, of n generators.

    Row i is what generator(seed, chosen[i], stream) draws first, normals before chi-squares, whichever rows there are.
    """
    normal, square = np.empty((len(chosen), normals)), np.empty((len(chosen), len(freedom)))
    compiled = _compiled() if len(chosen) >= MANY and not switched_off() else None
    if compiled is None:
        for row, i in enumerate(chosen):
            rng = generator(seed, i, stream)
            rng.standard_normal(out=normal[row])
            square[row] = rng.chisquare(freedom)
        return normal, square
    numbers, counter = np.asarray(chosen, dtype=np.uint64), np.array([0, 0, 0, int(stream)], dtype=np.uint64)
    freedom = np.ascontiguousarray(freedom, dtype=float)

    def piece(n: int) -> None:
        part = slice(n * PIECE, (n + 1) * PIECE)
        state = np.zeros(compiled.STATE, dtype=np.uint64)
        state[compiled.KEY] = seed
        functions = (compiled.next_uint64, compiled.next_uint32, compiled.next_double, compiled.next_uint64)
        struct = np.array([state.ctypes.data, *(f.address for f in functions)], dtype=np.uint64)
        compiled.draw(struct, state, numbers[part], counter, normal[part], square[part], freedom)

    for _ in in_order(piece, -(-len(chosen) // PIECE), cores()):
        pass
    return normal, square


@cache
def _compiled() -> ModuleType | None:
    """philox.py, or None where NumPy's distributions cannot be called from outside."""
    from llvmlite import binding
    from numpy.random import _generator

    library = ctypes.CDLL(_generator.__file__)
    for name in ("random_standard_normal_fill", "random_chisquare"):
        if not hasattr(library, name):
            return None
        binding.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    here = Path(__file__).parent
    text = (here / "philox.py").read_text(encoding="utf-8")
    return package((("philox", text),), beside=(here / "options.py",))["philox"]
