"""The functions of the CUDA source on the host, against the NumPy text of the same system at random points."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from solvers.closed import compiled, systems
from solvers.closed.flow import velocity
from solvers.expectations import gaussian_softmax
from solvers.expectations.quadrature import TIGHTEST
from tests.solvers.cuda.cuda_cases import problem
from tests.solvers.cuda.cuda_functions import Functions
from tests.solvers.cuda.cuda_host import FLAGS, HostKernels
from tests.solvers.expectations.without_factors import leave_all

pytestmark = pytest.mark.slow

SIZES = [(1, 2), (2, 2), (3, 2), (4, 5)]
"""Components and modes: the special function, then one to four directions of quadrature."""


class Contracted(HostKernels):
    """With fused multiply-adds, as on a GPU, where the processor has them."""

    flags = f"{FLAGS} -std=c++17 -O2 -ffp-contract=fast -march=native"


@pytest.mark.parametrize(
    ("sizes", "weights", "kernels", "scale", "tolerance"),
    [(sizes, "softmax", HostKernels, 0.7, TIGHTEST) for sizes in SIZES]
    + [(sizes, "softmax", HostKernels, 0.7, 1e-5) for sizes in SIZES[2:]]
    + [((4, 5), "softmax", HostKernels, 0.7, 1e-2)]  # a part of the Sobol points
    + [((2, 2), "fisher-rao", Contracted, 0.7, TIGHTEST)]
    # no exponentials are shared
    + [((3, 2), "softmax", HostKernels, 15.0, TIGHTEST), ((4, 5), "softmax", HostKernels, 15.0, TIGHTEST)],
)
def test_tables_and_right_hand_side(
    sizes: tuple[int, int],
    weights: str,
    kernels: type[HostKernels],
    scale: float,
    tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    K, L = sizes
    leave_all(monkeypatch)  # the CUDA source has grids and points alone
    case = problem(K, L, weights=weights, v=0.8, u=1.3, samples=6, scale=scale)
    functions = Functions(case, kernels, monkeypatch)
    functions.tolerance, expect = tolerance, partial(gaussian_softmax, tolerance=tolerance)
    y, R = functions.y, functions.space.directions
    y[:, K * R :] = np.random.default_rng(0).normal(size=(len(y), K))
    x, theta = y[:, : K * R].reshape(-1, K, R), y[:, K * R :]
    s, m = functions.space.overlaps(x)
    module = systems.for_problem(case)
    values = systems.evaluate(case, module, s, m, theta, expect=expect)
    (observed,) = functions.call("observe", y, functions.outputs)
    found, _ = functions.derivatives(y)
    dx = found[:, : K * R].reshape(x.shape)
    ds, dm, dtheta = velocity(case, module, s, m, theta, expect=expect)
    for value, expected in (
        (observed[:, 0], systems.call(module.objective, values)),
        (observed[:, 1 : 1 + L], systems.call(module.mode_mass, values)),
        (observed[:, 1 + L :], values["B"].reshape(len(y), -1)),
        (dx @ x.mT + x @ dx.mT, ds),
        (functions.space.overlaps(dx)[1], dm),
        (found[:, K * R :], dtheta),
    ):
        # Terms as large as the overlaps cancel. A sum of 5e4 such terms, one after the other, errs by √5e4 roundings.
        rounding = 1e-14 if scale < 1 else 1e-13
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=rounding * max(100, np.abs(s).max()))
    # Control: the other system is not this one.
    other = problem(K, L, weights="fisher-rao" if weights == "softmax" else "softmax", v=0.8, u=1.3)
    if K > 1:
        assert np.abs(velocity(other, systems.for_problem(other), s, m, theta)[2] - dtheta).max() > 1e-3


@pytest.mark.parametrize("sizes", SIZES)
def test_jacobian(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(*sizes, v=0.8, u=1.3, samples=2, scale=0.7)
    functions = Functions(case, HostKernels, monkeypatch)
    y = functions.y
    y[:, -sizes[0] :] = np.random.default_rng(1).normal(size=(len(y), sizes[0]))
    _, slope = functions.derivatives(y)
    if sizes == (2, 2):
        system = compiled.build(systems.read_compiled(case), *sizes, functions.space.directions)
        np.testing.assert_allclose(slope, system.derivatives(y, functions.p)[1], rtol=1e-12, atol=1e-12)
    # Differences of fourth order: truncation h⁴ times fifth derivatives of order 100, rounding 1e-15/h. Up to three
    # directions; beyond, the derivative in the covariance is that of the integral, not of the sum over Sobol points,
    # and they differ by the error of the rule.
    h, tolerance = 1e-3, 1e-8 if max(sizes) <= 4 else 1e-3
    for column in range(0, y.shape[1], 1 if max(sizes) <= 4 else 9):
        shift = h * np.eye(y.shape[1])[column]
        ahead2, ahead, behind, behind2 = (functions.derivatives(y + n * shift)[0] for n in (2, 1, -1, -2))
        difference = (8 * (ahead - behind) - (ahead2 - behind2)) / (12 * h)
        np.testing.assert_allclose(slope[:, :, column], difference, atol=tolerance)
        if column == 0:  # control: the next column is another one
            assert np.abs(slope[:, :, 1] - difference).max() > 10 * tolerance
