"""Arrays of compiled code without an owner: on the stack, and views that count no references.

Functions take small arrays at every call. From the heap each would cost as much as the arithmetic on it, and counting
references, by atomic instructions, costs as much as drawing ten random numbers, and makes threads wait for each other.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from solvers.machine.options import FLAGS

__all__ = ["W", "across", "bare", "empty", "room", "rows", "select", "view"]

W = 1
"""Lanes of a number, for code that is written for the vectors of simd.py as well."""


def room(element: Any) -> Any:
    """The function that gives room for `size` elements on the stack of the function that asks, not to be returned."""

    @intrinsic
    def empty(typing: Any, size: Any) -> Any:
        array = types.Array(element, 1, "C")

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            made, kind = make_array(array)(context, builder), context.get_data_type(element)
            width = context.get_constant(types.intp, context.get_abi_sizeof(kind))
            data = builder.alloca(kind, size=args[0])
            populate_array(made, data=data, shape=[args[0]], strides=[width], itemsize=width, meminfo=None)
            return made._getvalue()

        return array(types.intp), emit

    return empty


def view(element: Any) -> Any:
    """The function that sees a C-ordered float64 array (..., W) as an array (...) of elements, each of W doubles, which
    is not checked; without an owner."""

    @intrinsic
    def rows(typing: Any, array: Any) -> Any:
        if not isinstance(array, types.Array) or array.layout != "C" or array.dtype != types.float64:
            return None
        seen = types.Array(element, array.ndim - 1, "C", aligned=element == types.float64)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            of, made = make_array(array)(context, builder, value=args[0]), make_array(seen)(context, builder)
            kind = context.get_data_type(element)
            populate_array(
                made,
                data=builder.bitcast(of.data, kind.as_pointer()),
                shape=cgutils.unpack_tuple(builder, of.shape)[:-1],
                strides=cgutils.unpack_tuple(builder, of.strides)[:-1],
                itemsize=context.get_constant(types.intp, context.get_abi_sizeof(kind)),
                meminfo=None,
            )
            return made._getvalue()

        return seen(array), emit

    return rows


empty, rows = room(types.float64), view(types.float64)


@intrinsic
def bare(typing: Any, array: Any) -> Any:
    """The same array without an owner; the caller keeps that alive."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = make_array(array)(context, builder, value=args[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        made.parent = cgutils.get_null_value(made.parent.type)
        return made._getvalue()

    return array(array), emit


@njit(**FLAGS)
def across(x: float) -> float:
    """The sum over the one lane of a number."""
    return x


@njit(**FLAGS)
def select(condition: bool, yes: float, no: float) -> float:
    """yes if the condition holds, else no."""
    return yes if condition else no
