"""Names and arguments of the machine code of library.py."""

from numba import types

__all__ = ["ARGUMENTS", "PIECES", "PIECES_ARGUMENTS", "SYMBOL"]

SYMBOL = "modecollapse_integrate"
_REALS, _NUMBER = types.CPointer(types.float64), types.int64
ARGUMENTS = (
    _REALS,  # means
    _REALS,  # covs
    *[_NUMBER] * 3,  # count, rows, n
    _REALS,  # points
    *[_NUMBER] * 2,  # length, place
    *(_REALS, _NUMBER),  # values, pairs
    *(_REALS, _NUMBER),  # moments, order
    *(_REALS, _NUMBER),  # errors, estimates
)
PIECES = "modecollapse_pieces"
PIECES_ARGUMENTS = (
    *(_REALS, _NUMBER),  # table, its rows
    *(_REALS, _NUMBER, _NUMBER),  # means, count, n
    _REALS,  # values
    *(_REALS, _NUMBER),  # pairs, whether there is room for them
    types.CPointer(types.uint8),  # found
)
