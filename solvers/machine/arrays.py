"""NumPy or CuPy, chosen by the arrays at hand. The only file that imports cupy, and only when a backend asks for it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solvers.machine.backends import BACKENDS, BackendError

__all__ = [
    "ARRAYS",
    "BackendError",
    "address",
    "array_module",
    "backend_module",
    "check_backend",
    "compile_cuda",
    "gpu_errors",
    "gpu_memory",
    "to_numpy",
]


def array_module(*arrays: object) -> Any:
    """The module the arrays belong to: cupy if any of them is a cupy array, else numpy.

    Never imports cupy: an array of it can exist only once somebody else has.
    """
    if any(type(array).__module__.partition(".")[0] == "cupy" for array in arrays):
        return sys.modules["cupy"]
    return np


def backend_module(name: str, also: tuple[str, ...] = ()) -> Any:
    """The array module called `name`, ready for use. also: what else the caller can do, for the messages.

    Raises
        BackendError if the name is unknown, the package is not installed, or it finds no GPU.
    """
    if name in ARRAYS:
        return ARRAYS[name](also)
    if name in BACKENDS:
        raise BackendError(f"{name}: holds no arrays of its own; allowed here: {', '.join(ARRAYS)}")
    raise BackendError(f"{name}: unknown backend; allowed: {', '.join([*ARRAYS, *also])}")


def check_backend(name: str, also: tuple[str, ...] = ()) -> None:
    """Raise BackendError for an option that is no backend, or one that cannot be used here. also: what else it may be.

    What a backend cannot do of a problem, the tables of the rooms say."""
    others = tuple(name for name in BACKENDS if name not in ARRAYS)
    if name not in (*also, *others):
        backend_module(name, (*also, *others))


def _numpy(also: tuple[str, ...]) -> Any:
    return np


def _cupy(also: tuple[str, ...]) -> Any:
    here = ", ".join([*(name for name in ARRAYS if name != "cupy"), *also])
    if "cupy" not in sys.modules and importlib.util.find_spec("cupy") is not None:
        from solvers.machine.code.kernels import choose_place_of_kernels

        choose_place_of_kernels()
    try:
        module = importlib.import_module("cupy")
    except ImportError:
        raise BackendError(
            "cupy: not installed; install modecollapse[cuda12] or modecollapse[cuda13], as the driver supports; "
            f"allowed here: {here}"
        ) from None
    try:
        devices = module.cuda.runtime.getDeviceCount()
    except module.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"cupy: no usable GPU ({error}); allowed here: {here}") from None
    if devices < 1:
        raise BackendError(f"cupy: no GPU found; allowed here: {here}")
    return module


#: Libraries of arrays, made ready by a function of what else may be used instead.
ARRAYS = {"numpy": _numpy, "cupy": _cupy}


def to_numpy(x: Any) -> NDArray[Any]:
    """The same numbers as a numpy array in the memory of the host; a numpy array comes back as it is."""
    return np.asarray(x if array_module(x) is np else x.get())


# --- kernels of our own; xp is cupy, as backend_module gives it -----------------------------------------------------


def address(array: Any) -> int:
    """Where a contiguous array begins, in the memory of the host or of the device."""
    return int(array.ctypes.data if array_module(array) is np else array.data.ptr)


def compile_cuda(xp: Any, source: str, options: tuple[str, ...]) -> Any:
    """A cupy.RawModule of a CUDA source. Raises BackendError with the log of the compiler if it refuses."""
    module = xp.RawModule(code=source, options=options, backend="nvrtc")
    try:
        module.compile()
    except xp.cuda.compiler.CompileException as error:
        raise BackendError(f"cupy: the CUDA source does not compile; the compiler says\n{error}") from None
    return module


def gpu_memory(xp: Any) -> int:
    """Free bytes of the current device, once cupy's own pool has given back what it does not use."""
    xp.get_default_memory_pool().free_all_blocks()
    free, _ = xp.cuda.Device().mem_info
    return int(free)


@contextmanager
def gpu_errors(xp: Any, count: int, each: int, what: str = "trajectories") -> Iterator[None]:
    """Errors of the device become BackendError; for memory, with how many of `what` with `each` bytes would fit."""
    exhausted = xp.cuda.memory.OutOfMemoryError
    try:
        yield
    except (exhausted, xp.cuda.runtime.CUDARuntimeError, xp.cuda.driver.CUDADriverError) as error:
        if isinstance(error, exhausted) or "OUT_OF_MEMORY" in str(error) or "MemoryAllocation" in str(error):
            fit = gpu_memory(xp) // each
            message = f"cupy: out of GPU memory with {count} {what} at a time; allowed: about {fit} ({error})"
            raise BackendError(message) from None
        raise BackendError(f"cupy: the GPU failed: {error}") from None
