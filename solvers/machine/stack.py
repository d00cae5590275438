"""Arrays of compiled code without an owner: on the stack, and views that count no references.

Functions take small arrays at every call. From the heap each would cost as much as the arithmetic on it, and counting
references, by atomic instructions, costs as much as drawing ten random numbers, and makes threads wait for each other.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

__all__ = ["bare", "empty"]


@intrinsic
def empty(typing: Any, size: Any) -> Any:
    """Room for `size` doubles on the stack of the function that asks; it must not be returned."""
    array = types.Array(types.float64, 1, "C")

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made, width = make_array(array)(context, builder), context.get_constant(types.intp, 8)
        data = builder.alloca(ir.DoubleType(), size=args[0])
        populate_array(made, data=data, shape=[args[0]], strides=[width], itemsize=width, meminfo=None)
        return made._getvalue()

    return array(types.intp), emit


@intrinsic
def bare(typing: Any, array: Any) -> Any:
    """The same array without an owner; the caller keeps that alive."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = make_array(array)(context, builder, value=args[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        made.parent = cgutils.get_null_value(made.parent.type)
        return made._getvalue()

    return array(array), emit
