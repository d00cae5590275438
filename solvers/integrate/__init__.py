"""Integrators of ensembles: methods as data, and kernels that numba compiles together with a system."""
