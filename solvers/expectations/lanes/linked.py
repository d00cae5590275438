"""The name and the arguments of the machine code of library.py."""

from numba import types

__all__ = ["ARGUMENTS", "SYMBOL"]

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
