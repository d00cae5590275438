"""Backend cupy on the host: the same source and the same launching code, against the compiled ensembles and NumPy."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import cuda
from solvers.closed import compiled, systems
from solvers.closed.compiled import Paths
from solvers.closed.flow import solve
from solvers.cuda.launch import SHARE, block_size, bytes_each
from solvers.machine.arrays import BackendError, compile_cuda
from solvers.problem import Problem
from tests.solvers.closed.decided import assert_same_outcomes
from tests.solvers.cuda.cuda_cases import compiled_start, problem
from tests.solvers.cuda.cuda_host import BlockKernels, CUDADriverError, HostCuda, HostKernels, OutOfMemoryError


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    xp = HostCuda()
    monkeypatch.setitem(sys.modules, "cupy", xp)
    return xp


def both(case: Problem, xp: Any) -> tuple[cuda.CudaSystem, Any, Any, Any]:
    """The system for CUDA and for numba, with starts and parameters."""
    y0, p, space = compiled_start(case)
    sizes = (case.family.components, len(case.target.weights), space.directions)
    gpu = cuda.build(xp, systems.read_compiled(case, "cu"), *sizes)
    return gpu, compiled.build(systems.read_compiled(case), *sizes), y0, p


@pytest.mark.slow
@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
def test_outcomes_and_end_states_of_random_starts(weights: str) -> None:
    case = problem(weights=weights, samples=400, end=60.0, d=64, scale=0.125)
    gpu, cpu = (solve(case, backend=backend) for backend in ("cupy", "numba"))
    assert gpu.attrs["backend"] == "cupy"
    assert gpu.sizes == cpu.sizes
    assert_same_outcomes(gpu, cpu, case)
    if weights == "softmax":  # the Fisher-Rao flow of the weights finds both modes
        assert 0 < cpu["collapsed"].mean() < 1
    # The same steps, with other roundings of exp and log: saddles magnify 1e-15 by five orders or so.
    for name in ("m", "s", "w", "objective", "mode_mass"):
        np.testing.assert_allclose(gpu[name], cpu[name], rtol=1e-8, atol=1e-8)
    # Control: at another tolerance the numbers are others, but not the outcomes' labels.
    loose = solve(case, backend="cupy", rtol=1e-5, atol=1e-6)
    assert np.abs(loose.m.values - cpu.m.values).max() > 1e-7


def same_steps(here: Paths, there: Paths, rows: NDArray[np.bool_]) -> bool:
    """As many steps, but for those that a rounding error accepts or rejects."""
    return bool((np.abs(here.steps - there.steps)[rows] <= 0.02 * there.steps[rows] + 1).all())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["explicit", "rosenbrock", "auto"])
def test_every_step_is_that_of_the_compiled_ensemble(method: str, cupy: Any) -> None:
    """Step control, handover and statuses, also of starts that are no numbers."""
    case = problem(samples=60, end=1e4 if method == "auto" else 10.0)
    gpu, cpu, y0, p = both(case, cupy)
    y0[7, 2], y0[11, -1], y0[20, 0] = np.nan, np.inf, -np.inf
    options: Any = {"rtol": 1e-7, "atol": 1e-9, "method": method}
    here, there = (
        ensemble(system, y0, p, case.time.times, **options)
        for ensemble, system in ((cuda.ensemble, gpu), (compiled.ensemble, cpu))
    )
    broken = np.isin(np.arange(60), [7, 11, 20])
    np.testing.assert_array_equal(here.status, np.where(broken, 2, 0))
    np.testing.assert_array_equal(here.status, there.status)
    # A step at the edge of its tolerance, or of being called stiff, may go the other way for a rounding error.
    assert (here.stiff != there.stiff).mean() <= 0.02
    assert here.stiff.any() == (method != "explicit")
    assert np.isnan(here.y[broken, 1:]).all()
    np.testing.assert_allclose(here.y[~broken], there.y[~broken], rtol=1e-8, atol=1e-8)
    assert same_steps(here, there, ~broken & (here.stiff == there.stiff))
    short, shorter = (
        ensemble(system, y0, p, case.time.times, max_steps=4, **options)
        for ensemble, system in ((cuda.ensemble, gpu), (compiled.ensemble, cpu))
    )
    np.testing.assert_array_equal(short.status, shorter.status)
    np.testing.assert_array_equal(np.isnan(short.y), np.isnan(shorter.y))
    assert (short.status == 1).any()


@pytest.mark.slow
@pytest.mark.usefixtures("cupy")
def test_more_modes_are_those_of_numpy() -> None:
    case = problem(2, 3, samples=6, end=4.0, save=5)
    gpu, numpy = (solve(case, backend=backend, rtol=1e-9, atol=1e-11) for backend in ("cupy", "numpy"))
    assert_same_outcomes(gpu, numpy, case)
    # Two integrators at these tolerances, over a short time; LSODA's own error is the larger one.
    for name in ("m", "s", "w", "objective"):
        np.testing.assert_allclose(gpu[name], numpy[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_stiff_method_for_more_components(cupy: Any) -> None:
    case = problem(3, 2, samples=2, end=3.0, save=4)
    y0, p, space = compiled_start(case)
    gpu = cuda.build(cupy, systems.read_compiled(case, "cu"), 3, 2, space.directions)
    stiff, explicit = (
        cuda.ensemble(gpu, y0, p, case.time.times, rtol=1e-8, method=method) for method in ("rosenbrock", "explicit")
    )
    assert not stiff.status.any()
    np.testing.assert_allclose(stiff.y, explicit.y, atol=1e-5)


def test_expectations_follow_the_tolerance(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the same tolerance with tight expectations end elsewhere, by less than the tolerance."""
    case = problem(3, 2, samples=2, end=3.0, save=4)
    y0, p, space = compiled_start(case)
    gpu = cuda.build(cupy, systems.read_compiled(case, "cu"), 3, 2, space.directions)
    loose = cuda.ensemble(gpu, y0, p, case.time.times, rtol=1e-3, atol=1e-5)
    monkeypatch.setattr("solvers.cuda.launch.of_expectations", lambda rtol: 1e-11)
    tight = cuda.ensemble(gpu, y0, p, case.time.times, rtol=1e-3, atol=1e-5)
    assert 0 < np.abs(loose.y - tight.y).max() < 1e-3


def test_blocks_that_fit_into_memory_give_the_same_bytes() -> None:
    case = problem(samples=50)
    whole = HostCuda()
    gpu, _, y0, p = both(case, whole)
    times = case.time.times
    small = HostCuda(free=int(7.5 * bytes_each(len(times), gpu.size) / SHARE))
    fractions: list[float] = []
    one = cuda.ensemble(gpu, y0, p, times)
    many = cuda.ensemble(dataclasses.replace(gpu, xp=small), y0, p, times, progress=fractions.append)
    assert many.y.tobytes() == one.y.tobytes()
    assert len(fractions) == 8
    assert fractions[-1] == 1.0


def test_too_little_memory_is_refused_with_what_would_fit() -> None:
    case = problem(samples=4)
    gpu, _, y0, p = both(case, HostCuda())
    little = dataclasses.replace(gpu, xp=HostCuda(free=900))
    with pytest.raises(BackendError, match=r"^cupy: 11 save points .* MiB .*; allowed: at most \d+$") as refused:
        cuda.ensemble(little, y0, p, case.time.times)
    fit = int(str(refused.value).split()[-1])
    assert fit == 9
    with pytest.raises(BackendError):
        block_size(900, fit + 1, gpu.size)
    assert block_size(900, fit, gpu.size) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OutOfMemoryError("allocating 12 bytes"),
            r"^cupy: out of GPU memory with 4 .*; allowed: about \d+ \(allocating",
        ),
        (CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), r"^cupy: out of GPU memory with 4 trajectories"),
        (CUDADriverError("CUDA_ERROR_LAUNCH_FAILED"), r"^cupy: the GPU failed: CUDA_ERROR_LAUNCH_FAILED$"),
    ],
)
def test_errors_of_the_device_become_one_message(error: Exception, message: str) -> None:
    case, xp = problem(samples=4), HostCuda()
    gpu, _, y0, p = both(case, xp)

    def fail(name: str) -> Any:
        raise error

    gpu = dataclasses.replace(gpu, module=SimpleNamespace(get_function=fail))
    with pytest.raises(BackendError, match=message):
        cuda.ensemble(gpu, y0, p, case.time.times)


def test_what_the_compiler_says_reaches_the_user(cupy: Any) -> None:
    with pytest.raises(BackendError, match=r"(?s)^cupy: the CUDA source does not compile.*error: .*undeclared_name"):
        compile_cuda(cupy, "int f() { return undeclared_name; }", ())


def test_refusals(cupy: Any) -> None:
    text = systems.read_compiled(problem(), "cu").replace("expect_tangent.", "expect_tangent, expect_pair.")
    with pytest.raises(BackendError, match=r"^cupy: this system needs expect_pair, .*; allowed: .*expect_tangent"):
        cuda.build(cupy, text, 2, 2, 3)
    with pytest.raises(BackendError, match="17 components and 2 modes; allowed: at most 16 of each, or numpy"):
        solve(problem(K=17), backend="cupy")
    with pytest.raises(BackendError, match=r"^cupy: cannot drop a term; allowed: numpy$"):
        solve(problem(), backend="cupy", drop="ds.Bm/u")


def test_shapes_are_checked(cupy: Any) -> None:
    case = problem(samples=3)
    gpu, _, y0, p = both(case, cupy)
    with pytest.raises(ValueError, match=r"states: shape \(3, 7\), must be \(trajectories, 8\)"):
        cuda.ensemble(gpu, y0[:, 1:], p, case.time.times)
    with pytest.raises(ValueError, match=r"parameters: shape \(22,\), must be \(23,\)"):
        cuda.ensemble(gpu, y0, p[1:], case.time.times)
    with pytest.raises(ValueError, match="rtol"):
        cuda.ensemble(gpu, y0, p, case.time.times, rtol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["explicit", "rosenbrock"])
def test_a_warp_takes_the_steps_of_one_thread(method: str) -> None:
    """The branch of the source for GPUs: four threads that share nodes, arrays and decisions."""
    case = problem(3, 2, samples=3, end=0.5, save=3)
    y0, p, space = compiled_start(case)
    y0[1, 0] = np.nan

    def paths(kernels: type[HostKernels]) -> tuple[int, Paths]:
        gpu = cuda.build(HostCuda(kernels), systems.read_compiled(case, "cu"), 3, 2, space.directions)
        return gpu.width, cuda.ensemble(gpu, y0, p, case.time.times, rtol=1e-4, atol=1e-5, method=method)

    (one, alone), (four, together) = paths(HostKernels), paths(BlockKernels)
    assert (one, four) == (1, 4)
    np.testing.assert_array_equal(together.status, [0, 2, 0])
    assert same_steps(together, alone, np.array([True, False, True]))
    # Sums over nodes in another order.
    equal = together.steps == alone.steps
    assert equal[[0, 2]].any()
    np.testing.assert_allclose(together.y[equal], alone.y[equal], rtol=1e-12, atol=1e-12)
    if method == "explicit":
        _, wrong = paths(WrongWarp)
        assert np.abs(wrong.y - alone.y)[::2].max() > 1e-3


class WrongWarp(BlockKernels):
    """Control: sums over the threads are off by one, in all of them."""

    def __init__(self, code: str, options: tuple[str, ...], backend: str = "nvrtc") -> None:
        line = "x += __shfl_xor_sync(0xffffffff, x, step);\n    return x"
        assert code.count(line) == 1
        super().__init__(code.replace(line, line + " + 1.0"), options)
