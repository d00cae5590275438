"""Paths in R^d by CUDA on the host: cupy replaced, with blocks and warps of a size that a CPU can run."""

import sys

from solvers.particles.sampler import device as sampler_device
from tests.solvers.cuda.cuda_host import HostCuda, OneThread

__all__ = ["cuda"]


def cuda(monkeypatch, kernels=OneThread, held=4, **options):
    """cupy, on the CPU, with blocks and warps of its size; a path has a block."""
    xp = HostCuda(kernels, **options)
    monkeypatch.setitem(sys.modules, "cupy", xp)
    monkeypatch.setattr(sampler_device, "THREADS", kernels.block)
    monkeypatch.setattr(sampler_device, "WARP", kernels.warp)
    monkeypatch.setattr(sampler_device, "FEWEST", kernels.block)
    monkeypatch.setattr(sampler_device, "MOST", kernels.block)
    monkeypatch.setattr(sampler_device, "HELD", held)
    sampler_device._module.cache_clear()
    return xp
