"""Backend cupy for real, against the compiled ensembles on the CPU and against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from solvers.closed.flow import solve
from solvers.machine.arrays import BackendError, backend_module
from tests.solvers.closed.decided import assert_same_outcomes
from tests.solvers.cuda.cuda_cases import problem


@pytest.fixture
def gpu() -> None:
    try:
        backend_module("cupy")
    except BackendError as error:
        pytest.skip(f"the CUDA kernels were not run on a GPU: {error}")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
def test_random_starts(weights: str) -> None:
    """Up to t = 1000 at R = 2.5, so that some turn stiff; saddles magnify roundings by five orders or so."""
    case = problem(weights=weights, samples=2000, end=1000.0, d=64, scale=0.125)
    device, host = (solve(case, backend=backend) for backend in ("cupy", "numba"))
    again = solve(case, backend="cupy")
    assert_same_outcomes(device, host, case)
    for name in ("m", "s", "w", "objective", "mode_mass"):
        np.testing.assert_allclose(device[name], host[name], rtol=1e-7, atol=1e-7)
        np.testing.assert_array_equal(device[name], again[name])


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("K", "L"), [(3, 2), (2, 3), (4, 5)])
def test_more_components_or_modes(K: int, L: int) -> None:
    case = problem(K, L, samples=8, end=2.0, save=3)
    device, host = (solve(case, backend=backend) for backend in ("cupy", "numpy"))
    assert_same_outcomes(device, host, case)
    for name in ("m", "s", "w", "objective"):
        np.testing.assert_allclose(device[name], host[name], rtol=1e-4, atol=1e-5)
