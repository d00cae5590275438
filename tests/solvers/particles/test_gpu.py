"""The same simulation through cupy: the same random numbers, so the same trajectories to rounding."""

import numpy as np
import pytest

from solvers.machine.arrays import BackendError, backend_module
from solvers.particles.flow import simulate
from solvers.problem import Problem

PROBLEM = """
dimension = 30
[target]
means = [[2.0], [-1.0, 1.0], [0.0, -2.0]]
variances = 1.2
[family]
components = 2
learn = ["means", "weights"]
[init]
scale = 0.3
[time]
end = 1.0
save = 3
"""


@pytest.mark.gpu
def test_cupy_and_numba_agree():
    try:
        backend_module("cupy")
    except BackendError as error:
        pytest.skip(str(error))
    case, options = Problem.parse(PROBLEM), {"particles": 200, "replicas": 32, "step": 0.1}
    host, device = (simulate(case, backend=backend, **options) for backend in ("numba", "cupy"))
    again = simulate(case, backend="cupy", **options)
    assert all(np.array_equal(device[name], again[name]) for name in device)
    # Sums of d terms round by 1e-15 each step; ten steps of a flow with rates of order one amplify them little.
    for name in host:
        np.testing.assert_allclose(device[name], host[name], rtol=1e-10, atol=1e-11)
