"""Loops for numba. solvers.particles.compiled executes copies of these files."""
