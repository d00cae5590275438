"""Ensembles of trajectories on an NVIDIA GPU: whole adaptive integrators as kernels, assembled as text and launched."""

from solvers.cuda.launch import CudaSystem, build, ensemble
from solvers.cuda.source import LARGEST

__all__ = ["LARGEST", "CudaSystem", "build", "ensemble"]
