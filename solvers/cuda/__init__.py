"""Ensembles of trajectories on an NVIDIA GPU: whole adaptive integrators as kernels, assembled as text and launched."""

from solvers.cuda.launch import CudaSystem, build, ensemble

__all__ = ["CudaSystem", "build", "ensemble"]
