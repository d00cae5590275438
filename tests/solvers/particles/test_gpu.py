"""The same simulation through cupy: other streams of numbers, so compared as one simulation with another."""

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.arrays import BackendError, backend_module
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
def test_cupy_and_numpy_agree():
    try:
        backend_module("cupy")
    except BackendError as error:
        pytest.skip(str(error))
    case, options = Problem.parse(PROBLEM), {"particles": 200, "replicas": 32, "step": 0.1}
    host, device = (simulate(case, backend=backend, **options) for backend in ("numpy", "cupy"))
    again = simulate(case, backend="cupy", **options)
    assert all(np.array_equal(device[name], again[name]) for name in device)
    limit = student.isf(1e-6 / (2 * sum(host[name].size for name in "smw")), 31)
    for name in "smw":
        error = np.sqrt(host[f"{name}_se"] ** 2 + device[f"{name}_se"] ** 2)
        assert np.all(np.abs(host[name] - device[name]) <= limit * error + 1e-12)
