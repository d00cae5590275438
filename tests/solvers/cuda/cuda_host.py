"""CUDA source on the host: g++ compiles it, a stand-in for cupy gives it NumPy arrays, threads of the host run it.

Everything but the machine code is then what runs on a GPU: the text, the module that launches it, the command.
"""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

#: No contraction: rounding as in NumPy.
FLAGS = "-O1 -ffp-contract=off -shared -fPIC -x c++"
BLOCKS = f"{FLAGS} -std=c++20 -w -pthread"
FREE = 1 << 30
HEADER = Path(__file__).with_name("cuda_host.h")


class HostKernels:
    """cupy.RawModule for a host compiler: a source that takes one for a machine with a single thread."""

    #: That an array is written before it is read depends on the order of stages, which the compiler does not see.
    flags = f"{FLAGS} -std=c++17 -Wall -Wextra -Werror -Wno-maybe-uninitialized"
    head = ""
    loaded: ClassVar[dict[tuple[str, ...], ctypes.CDLL]] = {}

    def __init__(self, code: str, options: tuple[str, ...], backend: str = "nvrtc") -> None:
        self.code = self.head + code
        self.options = (*self.flags.split(), *(option for option in options if option.startswith("-D")))

    def compile(self) -> None:
        key = (self.code, *self.options)
        if key not in self.loaded:
            self.loaded[key] = self._compile()
        self.binary = self.loaded[key]

    def _compile(self) -> ctypes.CDLL:
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "ensemble.cu"), Path(folder, "ensemble.so")
            source.write_text(self.code, encoding="utf-8")
            done = subprocess.run(
                ["g++", *self.options, str(source), "-o", str(library)], capture_output=True, text=True
            )
            if done.returncode:
                raise CompileException(done.stderr)
            return ctypes.CDLL(str(library))

    def get_function(self, name: str) -> Any:
        self.compile()
        function = getattr(self.binary, name)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            assert all(n >= 1 for n in (*grid, *block))
            self.run(function, (*grid, 1, 1)[:3], list(map(_argument, arguments)))

        return launch

    def run(self, function: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        function(*arguments)


@cache
def _parsed() -> tempfile.TemporaryDirectory[str]:
    """A folder with what HEADER includes, parsed once: to parse it takes longer than to compile a kernel."""
    folder = tempfile.TemporaryDirectory()
    includes = [line for line in HEADER.read_text(encoding="utf-8").splitlines() if line.startswith("#include")]
    header = Path(folder.name, "parsed.h")
    header.write_text("\n".join([*includes, ""]), encoding="utf-8")
    told = [*BLOCKS.replace("-x c++ ", "-x c++-header ").split(), str(header), "-o", f"{header}.gch"]
    subprocess.run(["g++", *told], capture_output=True, check=True)
    return folder


class BlockKernels(HostKernels):
    """The source as a GPU gets it, by four threads side by side, block after block; see cuda_host.h."""

    block, warp = 4, 4
    head = HEADER.read_text(encoding="utf-8")

    def __init__(self, code: str, options: tuple[str, ...], backend: str = "nvrtc") -> None:
        self.flags = f"{BLOCKS} -DBLOCK={self.block} -DLANES={self.warp} -include {_parsed().name}/parsed.h"
        super().__init__(code, options, backend)

    def run(self, function: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        def one(thread: int) -> None:
            for place in itertools.product(*map(range, grid)):
                self.binary.enter(thread, *place, *grid)
                function(*arguments)
                self.binary.leave_block()

        with ThreadPoolExecutor(self.block) as pool:
            list(pool.map(one, range(self.block)))


class HalfWarps(BlockKernels):
    """Two warps of two threads."""

    warp = 2


class OneThread(BlockKernels):
    """A block is a thread: the text as it is, with no waiting for others."""

    block, warp = 1, 1


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    return {np.float64: ctypes.c_double, np.uint32: ctypes.c_uint32, np.uint64: ctypes.c_uint64}[type(value)](value)


def needs_blocks() -> None:
    """Skips a test that needs blocks of threads where the compiler has no barriers."""
    needs_compiler()
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    if int(version.split(".")[0]) < 11:
        pytest.skip(f"g++ {version.strip()} has no std::barrier: CUDA source for blocks was not run on the host")


def needs_compiler() -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here: CUDA source was not run on the host")


class CompileException(Exception):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CUDARuntimeError(RuntimeError):
    pass


class CUDADriverError(RuntimeError):
    pass


class HostCuda:
    """Stands in for the module cupy: its arrays are NumPy's, its kernels those of the host, its memory is `free`."""

    def __init__(self, kernels: type[HostKernels] = HostKernels, free: int = FREE) -> None:
        needs_compiler() if kernels is HostKernels else needs_blocks()
        self.RawModule, self.free = kernels, free
        pool = SimpleNamespace(free_all_blocks=lambda: None, free_bytes=lambda: 0)
        self.get_default_memory_pool = lambda: pool
        runtime = SimpleNamespace(
            getDeviceCount=lambda: 1, CUDARuntimeError=CUDARuntimeError, memGetInfo=lambda: (self.free, 2**34)
        )
        self.cuda = SimpleNamespace(
            runtime=runtime,
            Device=lambda: SimpleNamespace(mem_info=(self.free, 2**34), attributes={"MultiProcessorCount": 2}),
            get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
            compiler=SimpleNamespace(CompileException=CompileException),
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            driver=SimpleNamespace(CUDADriverError=CUDADriverError),
        )

    def __getattr__(self, name: str) -> Any:
        if name == "ndarray":  # NumPy's own arrays shall not be taken for those of a device
            raise AttributeError(name)
        return getattr(np, name)
