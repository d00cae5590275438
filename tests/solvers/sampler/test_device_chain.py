"""The reduced chain as CUDA: it compiles for GPUs, and as C++ on the CPU its paths and gradients are those of NumPy."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest

from solvers import ask
from solvers.machine.arrays import BackendError
from solvers.problem import Problem
from solvers.sampler import Mixture, Noise, Sampler, device
from solvers.sampler.backends import PLAIN, WALKERS, Walker
from solvers.sampler.gradients import path_gradient
from solvers.sampler.model import Bars
from tests.solvers.cuda.cuda_compiler import CompileError, compile_cuda
from tests.solvers.cuda.cuda_host import BlockKernels, CUDADriverError, HalfWarps, HostCuda, OneThread, OutOfMemoryError
from tests.solvers.sampler.plain_chain import KEYS, case, in_dimensions, uneven

DEVICE = WALKERS["cupy"]
VERBOSE = (*device.OPTIONS, "--ptxas-options=-v")


def cuda(monkeypatch: pytest.MonkeyPatch, kernels: type[BlockKernels] = OneThread, **options: Any) -> HostCuda:
    """cupy, on the CPU, with blocks and warps of its size."""
    xp = HostCuda(kernels, **options)
    monkeypatch.setitem(sys.modules, "cupy", xp)
    monkeypatch.setattr(device, "THREADS", kernels.block)
    monkeypatch.setattr(device, "WARP", kernels.warp)
    device._resident.cache_clear()
    device._module.cache_clear()
    return xp


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> HostCuda:
    return cuda(monkeypatch)


def difference(sampler: Sampler, paths: int = 50, seed: int = 1, *, steered: bool = False) -> float:
    """The largest difference between CUDA and NumPy, relative to the largest number of its kind: all that is left of
    paths both ways, and of the gradient."""
    rng, worst = np.random.default_rng(seed), 0.0
    noise = Noise.draw(sampler, paths, rng)
    chosen = rng.integers(0, len(sampler.mixtures["prior"].log_w), paths)
    weights = rng.random(paths)

    def numbers(by: Walker) -> list[np.ndarray]:
        bars = Bars.zeros(sampler) if steered else None
        found, slopes = by.gradient(sampler, noise, chosen, weights, bars)
        fixed, ratios = by.ratio(sampler, noise, chosen, weights, weights - 0.4)
        runs = (by.forward(sampler, noise), by.backward(sampler, noise), found, fixed)
        sums = [getattr(of[name], part) for of in (slopes, ratios) for name in sorted(of)
                for part in ("mean", "log_var", "log_w")]  # fmt: skip
        sums += [] if bars is None else [*bars]
        return [getattr(run, part) for run in runs for part in ("log_weight", "end", "rho", "modes")] + sums

    for one, other in zip(numbers(PLAIN), numbers(DEVICE), strict=True):
        assert one.shape == other.shape
        worst = max(worst, float(np.max(np.abs(one - other) / max(1.0, np.max(np.abs(one), initial=0.0)), initial=0.0)))
    return worst


@pytest.mark.slow
@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(("key", "d"), in_dimensions(KEYS, 6, 2))
def test_same_noise_same_paths_and_gradients(key: tuple[str, str, str], d: int) -> None:
    assert difference(uneven(case(*key, d=d, steps=3, rng=np.random.default_rng(1))[0])) < 1e-12


def general(K: int, L: int, R: int, d: int, steps: int, key: tuple[str, str, str]) -> Sampler:
    """K components and L modes in general position, every mixture with variances of its own."""
    rng = np.random.default_rng(K + 10 * L + 100 * R)
    sizes = {"prior": K, "target": L, "control": K + 1, "control_back": 1}
    mixtures = {
        name: Mixture.of(rng.standard_normal((n, R)), rng.uniform(0.7, 1.4, n), rng.dirichlet(np.full(n, 5.0)))
        for name, n in sizes.items()
    }
    return Sampler(*key, steps, 0.6, d, mixtures)


@pytest.mark.slow
@pytest.mark.usefixtures("host")
@pytest.mark.parametrize(
    ("K", "L", "R", "d", "steps", "method"),
    [
        (1, 1, 1, 1, 2, "dis"),
        (1, 3, 2, 2, 5, "dbs"),
        (3, 2, 5, 40, 4, "dis"),
        (7, 4, 9, 400, 2, "dbs"),
        (2, 2, 3, 7, 0, "dis"),
    ],
)
def test_numbers_of_components_modes_directions_and_steps(
    K: int, L: int, R: int, d: int, steps: int, method: str
) -> None:
    key = ("dis", "ou", "exact") if method == "dis" else ("dbs", "annealed", "mixture")
    assert difference(general(K, L, R, d, steps, key)) < 1e-12


def wrong(line: str, other: str) -> type[BlockKernels]:
    class Wrong(OneThread):
        """Control: one line of the text is another."""

        def __init__(self, code: str, options: tuple[str, ...], backend: str = "nvrtc") -> None:
            assert code.count(line) == 1, line
            super().__init__(code.replace(line, other), options)

    return Wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("double shrink_f = c_f * shrink;", "double shrink_f = 1.000001 * c_f * shrink;"),
        ("bar = earlier;", "bar = earlier; bar.rho[0] = 0.0;"),
    ],
)
def test_a_wrong_kernel_is_found_out(line: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: a constant that is off by 1e-6, a forgotten derivative."""
    cuda(monkeypatch, wrong(line, other))
    assert difference(general(2, 2, 2, 9, 3, ("cmcd", "annealed", "mixture"))) > 1e-8


class Warps(HalfWarps):
    """Two warps of two threads, and how many blocks were launched."""

    grids: ClassVar[list[int]] = []

    def run(self, function: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        self.grids.append(grid[0])
        super().run(function, grid, arguments)


def test_warps_add_up_what_threads_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven paths by blocks of four threads, and by one block that takes them in turns where memory is short."""
    cuda(monkeypatch, Warps)
    sampler = general(2, 3, 2, 9, 3, ("cmcd", "prior", "mixture"))
    Warps.grids.clear()
    assert difference(sampler, paths=11) < 1e-12
    monkeypatch.setattr(device, "POINT_BYTES", 1)
    assert difference(sampler, paths=11) < 1e-12
    assert Warps.grids == [3, 3, 3, 3, 1, 3, 3, 3]


def test_noise_is_sent_once(host: HostCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along learning every gradient is of the same paths."""
    sampler = general(2, 2, 2, 9, 3, ("cmcd", "annealed", "mixture"))
    noise = Noise.draw(sampler, 20, np.random.default_rng(0))
    first, _ = path_gradient(sampler, noise, DEVICE)
    sent = device._sent[noise]
    moved = replace(sampler.mixtures["prior"], mean=sampler.mixtures["prior"].mean + 0.1)
    second, _ = path_gradient(replace(sampler, mixtures=sampler.mixtures | {"prior": moved}), noise, DEVICE)
    assert device._sent[noise] is sent
    assert abs(second - first) > 1e-3


PROBLEM = """
dimension = 9
[target]
separation = 1.5
[family]
components = 2
learn = ["means", "weights"]
[init]
means = [[0.9, 0.1], [-0.8, 0.2]]
[time]
end = 1.0
save = 2
[sampler]
control = "exact"
steps = 4
horizon = 0.5
paths = 300
"""


@pytest.mark.slow
@pytest.mark.parametrize(("key", "paths"), [(("dis", "ou", "exact"), 20), (("cmcd", "annealed", "mixture"), 11)])
def test_slopes_in_the_schedule(key: tuple[str, str, str], paths: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By threads of their own, and by warps; a number that is a millionth too large is found out."""
    cuda(monkeypatch, Warps if paths == 11 else OneThread)
    sampler = uneven(case(*key, d=6, steps=3, rng=np.random.default_rng(1))[0])
    assert difference(sampler, paths, steered=True) < 1e-12
    cuda(monkeypatch, wrong("add(of_eta, (int)(n - 1), of);", "add(of_eta, (int)(n - 1), 1.000001 * of);"))
    assert difference(sampler, paths, steered=True) > 1e-8


@pytest.mark.slow
@pytest.mark.usefixtures("host")
def test_solve_learns_and_evaluates_on_the_device() -> None:
    problem = Problem.parse(PROBLEM)
    found, expected = (ask.solve(problem, backend=backend) for backend in ("cupy", "numpy"))
    assert found.attrs["backend"] == "cupy"
    for name in expected:
        # steps of the integrator are chosen by the same numbers to rounding
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-8, err_msg=name)


@pytest.mark.usefixtures("host")
def test_refusals() -> None:
    problem = Problem.parse(PROBLEM)
    with pytest.raises(BackendError, match=r"^cupy: cannot drop a term; allowed: numpy$"):
        ask.solve(problem, backend="cupy", drop="along.xi1")
    many = Problem.parse(
        PROBLEM.replace("components = 2", "components = 17").replace("means = [[0.9, 0.1], [-0.8, 0.2]]", "scale = 1.0")
    )
    with pytest.raises(
        BackendError,
        match=r"^cupy: 17 components in up to 9 directions; allowed: at most 256 numbers, or numpy, numba$",
    ):
        ask.solve(many, backend="cupy")
    with pytest.raises(BackendError, match=r"^tpu: unknown backend; allowed: numpy, numba, cupy$"):
        ask.solve(problem, backend="tpu")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OutOfMemoryError("allocating 12 bytes"),
            r"^cupy: out of GPU memory with 20 paths at a time; allowed: about \d+ ",
        ),
        (CUDADriverError("CUDA_ERROR_LAUNCH_FAILED"), r"^cupy: the GPU failed: CUDA_ERROR_LAUNCH_FAILED$"),
    ],
)
def test_errors_of_the_device_become_one_message(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda(monkeypatch)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(OneThread, "run", fail)
    sampler = general(2, 2, 2, 9, 3, ("cmcd", "annealed", "mixture"))
    noise = Noise.draw(sampler, 20, np.random.default_rng(0))
    for run in (DEVICE.forward, partial(path_gradient, walker=DEVICE)):
        with pytest.raises(BackendError, match=message):
            run(sampler, noise)


# --- as NVIDIA's compiler sees it --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [("sm_80", (2, 2, 3)), ("sm_90", (2, 2, 2)), ("sm_80", (16, 16, 4)), ("sm_90", (3, 4, 3, True))],
)
def test_compiles(architecture: str, sizes: tuple[Any, ...]) -> None:
    code, log = compile_cuda(device.source(*sizes), architecture, VERBOSE)
    assert "warning" not in log
    for kernel in (b"forward", b"backward", b"gradient", b"ratio"):
        assert kernel in code
    stacks = [int(n) for n in re.findall(r"(\d+) bytes stack frame", log)]
    # Two components in two directions live in registers; larger ones in some arrays of K R numbers.
    assert max(stacks) <= (64 if sizes[0] == 2 else 8 * (6 * sizes[0] * sizes[1] + 20 * sum(sizes[:3])))


def test_one_character_less_does_not_compile() -> None:
    text, line = device.source(2, 2, 2), "total -= gained(p, before, 1, z, eta[n - 1], t);"
    assert text.count(line) == 1
    with pytest.raises(CompileError, match=r'error: expected a ";"'):
        compile_cuda(text.replace(line, line[:-1]), "sm_90", VERBOSE)
