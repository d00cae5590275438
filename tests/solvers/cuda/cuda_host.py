"""The CUDA source on the host: g++ compiles it, a stand-in for cupy gives it NumPy arrays, one thread runs it.

Everything but the machine code is then what runs on a GPU: the text, the module that launches it, `solve`.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

#: That an array is written before it is read depends on the order of stages, which the compiler does not see.
STRICT = "-std=c++17 -Wall -Wextra -Werror -Wno-maybe-uninitialized -shared -fPIC -x c++"
FREE = 1 << 30
WARP = Path(__file__).with_name("warp.h")


class HostKernels:
    """cupy.RawModule for a host compiler."""

    flags = "-O1 -ffp-contract=off"
    strict = STRICT

    def __init__(self, code: str, options: tuple[str, ...], backend: str) -> None:
        self.code = code

    loaded: ClassVar[dict[tuple[str, str], ctypes.CDLL]] = {}

    def compile(self) -> None:
        key = (self.code, self.flags)
        if key not in self.loaded:
            self.loaded[key] = self._compile()
        self.library = self.loaded[key]

    def _compile(self) -> ctypes.CDLL:
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "ensemble.cu"), Path(folder, "ensemble.so")
            source.write_text(self.code, encoding="utf-8")
            command = ["g++", *f"{self.flags} {self.strict}".split(), str(source), "-o", str(library)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise CompileException(done.stderr)
            return ctypes.CDLL(str(library))

    def get_function(self, name: str) -> Any:
        function = getattr(self.library, name)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert all(n >= 1 for n in (*grid, *block))
            function(*(ctypes.c_void_p(array.ctypes.data) for array in arguments))

        return launch


class WarpKernels(HostKernels):
    """The CUDA branch of the source, run by four threads side by side; see warp.h."""

    flags = "-O1 -ffp-contract=off -pthread"
    strict = "-std=c++20 -shared -fPIC -x c++"

    def __init__(self, code: str, options: tuple[str, ...], backend: str) -> None:
        super().__init__(WARP.read_text(encoding="utf-8") + code, options, backend)

    def get_function(self, name: str) -> Any:
        kernel = ctypes.cast(getattr(self.library, name), ctypes.c_void_p)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            places = [ctypes.c_void_p(array.ctypes.data) for array in arguments]
            self.library.on_warp(kernel, *places, *[ctypes.c_void_p()] * (3 - len(places)))

        return launch


def warp_compiler() -> None:
    """Skips a test that needs a warp where the compiler has no barriers."""
    stand_in()
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    if int(version.split(".")[0]) < 11:
        pytest.skip(f"g++ {version.strip()} has no std::barrier: the code for warps was not run on the host")


class CompileException(Exception):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


def stand_in(free: int = FREE, kernels: type[HostKernels] = HostKernels) -> Any:
    """What of cupy the launching code uses, on the host, with so much free memory."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here: the CUDA source was not run on the host")
    cupy = types.ModuleType("cupy")
    for name in ("arange", "asarray", "empty", "flatnonzero", "full", "isfinite", "zeros"):
        setattr(cupy, name, getattr(np, name))
    device = types.SimpleNamespace(mem_info=(free, 2 * free), attributes={"MultiProcessorCount": 2})
    cupy.RawModule = kernels  # type: ignore[attr-defined]
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(free_all_blocks=lambda: None)  # type: ignore[attr-defined]
    cupy.cuda = types.SimpleNamespace(  # type: ignore[attr-defined]
        Device=lambda: device,
        compiler=types.SimpleNamespace(CompileException=CompileException),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        driver=types.SimpleNamespace(CUDADriverError=CUDADriverError),
        runtime=types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError),
    )
    return cupy
