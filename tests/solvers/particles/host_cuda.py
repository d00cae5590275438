"""kernel.cu as C++ on the CPU: a thread for each CUDA thread, a barrier for __syncthreads, block after block."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from solvers.particles import device
from solvers.particles.estimate import Averages, Draws, Mixtures, sources

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


def build(folder: Path, constants: dict[str, int]) -> Any:
    """`launch` of a library with these constants."""
    path = folder / ("_".join(map(str, constants.values())) + ".cpp")
    path.write_text(SHIM + device.SOURCE.read_text(encoding="utf-8") + LAUNCH, encoding="utf-8")
    options = ["-std=c++20", "-O1", "-w", "-shared", "-fPIC", "-pthread", "-ffp-contract=off"]
    defines = [f"-D{name}={value}" for name, value in constants.items()]
    library = path.with_suffix(".so")
    subprocess.run(["g++", *options, *defines, str(path), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library)).launch


def sample(launch: Any, at: Mixtures, forward: bool, draws: Draws, *, particles: int, block: int) -> Averages:
    """What device.sample does, with NumPy arrays and the kernel on the CPU."""
    replicas, A, d = at.means.shape
    drawn_from, coefficients = len(sources(at, forward)), at.components if forward else 1
    pieces = -(-particles // block)
    moment = np.zeros((pieces, replicas, drawn_from, coefficients, d))
    table = np.empty((pieces, replicas, drawn_from, A))
    scalar = np.empty((pieces, replicas, drawn_from, 1 + coefficients))
    gram = at.gram
    inputs = [np.ascontiguousarray(part) for part in (at.means, at.variances, at.constants(gram), gram, draws.keys)]
    grid = (ctypes.c_uint(size) for size in (pieces, drawn_from, replicas))
    sizes = (ctypes.c_double(at.beta), ctypes.c_uint(draws.step), *map(ctypes.c_ulonglong, (particles, block, d)))
    pointers = [part.ctypes.data_as(ctypes.c_void_p) for part in itertools.chain(inputs, (moment, table, scalar))]
    launch(*grid, *pointers[:5], *sizes, *pointers[5:])
    moment, table, scalar = (part.sum(0) / particles for part in (moment, table, scalar))
    return Averages(moment, table, scalar[..., 0], scalar[..., 1:])
