"""The CUDA source, run by the host, in 10¹² dimensions: the velocities of eight, and the constant of the objective."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from solvers.closed import systems
from tests.solvers.cuda.cuda_cases import problem
from tests.solvers.cuda.cuda_functions import Functions
from tests.solvers.cuda.cuda_host import HostKernels

LARGE = 10**12


def test_terms_of_order_d(monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(2, 2, v=1.0, u=1.0001, samples=4)  # near enough for the series of h
    functions = Functions(case, HostKernels, monkeypatch)
    y = functions.y
    few, _ = functions.derivatives(y)
    (observed,) = functions.call("observe", y, functions.outputs)
    many_case = replace(case, dimension=LARGE)
    at_d = np.flatnonzero(functions.p == case.dimension)
    assert len(at_d) == 1
    functions.p = functions.p.copy()
    functions.p[at_d] = LARGE
    np.testing.assert_array_equal(functions.derivatives(y)[0], few)
    (far,) = functions.call("observe", y, functions.outputs)
    module = systems.for_problem(many_case)
    s, m = functions.space.overlaps(y[:, : 2 * functions.space.directions].reshape(len(y), 2, -1))
    values = systems.evaluate(many_case, module, s, m, y[:, -2:])
    np.testing.assert_allclose(far[:, 0], systems.call(module.objective, values), rtol=1e-12)
    np.testing.assert_array_equal(far[:, 1:], observed[:, 1:])
    assert np.all(far[:, 0] - observed[:, 0] > 1e3)
