"""Samplers by backend cupy for real, against NumPy and the compiled chain on the CPU: the same random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.ask import simulate, solve
from solvers.machine.arrays import BackendError, backend_module
from solvers.problem import Problem

PROBLEM = """
dimension = {d}
[target]
means = [[1.2], [-0.8, 0.6], [0.0, -1.1]]
weights = [0.3, 0.3, 0.4]
[family]
components = 2
learn = {learn}
[init]
scale = 0.5
[time]
end = 1.0
save = 3
[sampler]
method = "{method}"
control = "{control}"
steps = 8
horizon = 0.6
paths = 3000
"""


@pytest.fixture
def gpu() -> None:
    try:
        backend_module("cupy")
    except BackendError as error:
        pytest.skip(f"the CUDA kernels of samplers were not run on a GPU: {error}")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("method", "control"), [("dis", "exact"), ("dbs", "mixture")])
def test_solve_learns_the_same(method: str, control: str) -> None:
    case = Problem.parse(PROBLEM.format(d=30, learn='["means", "weights"]', method=method, control=control))
    device, again, host = (solve(case, backend=backend) for backend in ("cupy", "cupy", "numba"))
    for name in host:
        np.testing.assert_array_equal(device[name], again[name])
        # Sums over paths in another order; the integrator chooses its steps by the same numbers to rounding.
        np.testing.assert_allclose(device[name], host[name], rtol=1e-7, atol=1e-7, err_msg=name)


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("d", [3, 50, 1000, 5000])
def test_simulate_walks_and_learns_the_same(d: int) -> None:
    """Paths of a part of a warp, of a block, and in the memory of the device."""
    case = Problem.parse(PROBLEM.format(d=d, learn='["means", "weights"]', method="cmcd", control="mixture"))
    options = {"particles": 300, "replicas": 4, "step": 0.25}
    device, again, host = (simulate(case, backend=backend, **options) for backend in ("cupy", "cupy", "numba"))
    for name in host:
        np.testing.assert_array_equal(device[name], again[name])
        # Log-weights are sums of squares over steps and coordinates; ESS and log Z are smooth in them.
        np.testing.assert_allclose(device[name], host[name], rtol=1e-8, atol=1e-11 * d * 8, err_msg=name)
