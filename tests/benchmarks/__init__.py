"""Benchmarks against other ODE solvers: `make bench`, or `python -m tests.benchmarks` with the extra [bench]."""
