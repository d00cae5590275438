"""kernel.cu as C++ on the CPU: a thread for each CUDA thread, a barrier for __syncthreads, block after block."""

from __future__ import annotations

import ctypes
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SHIM = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using std::exp; using std::log; using std::sqrt;
#define __device__ static
#define __global__
#define __shared__ static
struct Index { unsigned x, y, z; };
static thread_local Index threadIdx;
static Index blockIdx, gridDim;
static std::barrier<> gate(THREADS);
static double exchanged[THREADS];
static void __syncthreads() { gate.arrive_and_wait(); }
static double __shfl_down_sync(unsigned, double value, int offset)
{
    const unsigned me = threadIdx.x, other = me % WARP + offset < WARP ? me + offset : me;
    exchanged[me] = value;
    gate.arrive_and_wait();
    const double found = exchanged[other];
    gate.arrive_and_wait();
    return found;
}
static void sincospi(double x, double* s, double* c) { *s = sin(M_PI * x); *c = cos(M_PI * x); }
"""

LAUNCH = """
extern "C" void launch(
    unsigned gx, unsigned gy, unsigned gz, const double* means, const double* variances, const double* constants,
    const double* grams, const wide* keys, double beta, word step, wide particles, wide per_block, wide d,
    double* moments, double* tables, double* scalars)
{
    gridDim = {gx, gy, gz};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < THREADS; ++t)
        threads.emplace_back([=] {
            threadIdx.x = t;
            for (unsigned z = 0; z < gz; ++z) for (unsigned y = 0; y < gy; ++y) for (unsigned x = 0; x < gx; ++x) {
                if (t == 0) blockIdx = {x, y, z};
                __syncthreads();
                particle_sums(means, variances, constants, grams, keys, beta, step, particles, per_block, d,
                              moments, tables, scalars);
                __syncthreads();
            }
        });
    for (auto& thread : threads) thread.join();
}
"""


class HostCuda:
    """Stands in for the module cupy: its arrays are NumPy's, and its RawModule makes C++ of CUDA."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder, self.threads, self.free = folder, threads, 2**30
        runtime = SimpleNamespace(memGetInfo=lambda: (self.free, 2**34))
        stream = SimpleNamespace(synchronize=lambda: None)
        self.cuda = SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
        self.launches = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_bytes=lambda: 0)

    def RawModule(self, *, code: str, options: tuple[str, ...]) -> Any:
        defines = [option for option in options if option.startswith("-D")]
        path = self.folder / f"kernel{''.join(defines)}.cpp"
        path.write_text(SHIM + code + LAUNCH, encoding="utf-8")
        # No contraction: rounding as in NumPy.
        flags = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", "-ffp-contract=off"]
        subprocess.run(["g++", *flags, *defines, str(path), "-o", str(path.with_suffix(".so"))], check=True)
        library = ctypes.CDLL(str(path.with_suffix(".so")))
        return SimpleNamespace(get_function=lambda name: partial(self._launch, library.launch))

    def _launch(self, function: Any, grid: tuple[int, int, int], block: tuple[int], arguments: Any) -> None:
        assert block == (self.threads,)
        self.launches += 1
        function(*map(ctypes.c_uint, grid), *map(_argument, arguments))


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return value.ctypes.data_as(ctypes.c_void_p)
    return {np.float64: ctypes.c_double, np.uint32: ctypes.c_uint32, np.uint64: ctypes.c_uint64}[type(value)](value)
