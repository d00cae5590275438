"""kernel.cu without a GPU: it compiles, and as C++ on the CPU it computes what the array code does."""

from dataclasses import replace

import numpy as np
import pytest

from solvers.particles import device, engines
from solvers.particles.estimate import Draws, Mixtures, estimate
from solvers.particles.flow import simulate
from solvers.particles.plan import SimulationError, plan
from solvers.particles.streams import stream_keys
from solvers.problem import Problem
from tests.solvers.cuda.cuda_compiler import compile_cuda
from tests.solvers.cuda.cuda_host import HalfWarps, HostCuda

FIELDS = ("moment", "table", "log_ratio", "square")


def mixtures(K, L, d, beta, replicas=2):
    """Components and modes in general position, about as near to each other as their widths; replicas differ."""
    rng = np.random.default_rng(8)
    means = rng.standard_normal((replicas, K + L, d)) * min(1.0, 3 / np.sqrt(d))
    variances = rng.uniform(0.6, 1.6, (replicas, K + L))
    weights = rng.uniform(0.5, 1.5, (replicas, K + L))
    weights[:, :K] /= weights[:, :K].sum(1, keepdims=True)
    weights[:, K:] /= weights[:, K:].sum(1, keepdims=True)
    return Mixtures(means, variances, np.log(weights), K, beta)


@pytest.fixture
def host(monkeypatch):
    """cupy, with four threads a block in warps of two, on the CPU."""
    module = HostCuda(HalfWarps)
    monkeypatch.setattr(device, "THREADS", HalfWarps.block)
    monkeypatch.setattr(device, "WARP", HalfWarps.warp)
    monkeypatch.setattr(device, "array_module", lambda *arrays: module)
    monkeypatch.setattr(engines, "backend_module", lambda name, also=(): module if name == "cupy" else np)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("K", "L", "d", "forward", "beta", "held"),
    [
        (2, 2, 35, False, 0.7, True),
        (3, 2, 50, True, 1.0, True),
        (2, 3, 60, False, 1.3, False),
        (2, 2, 41, True, 1.0, False),
        (1, 1, 1, False, 1.0, True),
    ],
)
def test_the_kernel_computes_what_array_code_does(K, L, d, forward, beta, held, host, monkeypatch):
    monkeypatch.setattr(device, "HELD_NUMBERS", 48 if held else 0)
    at = mixtures(K, L, d, beta)
    draws = Draws(stream_keys(4, (), range(2)), 6, common=forward, sign=-1.0 if held else 1.0)
    expected = estimate(at, forward, draws, particles=11, block=11)
    # 11 particles in pieces of 6 and 5: the last batch of each is not full.
    found = device.sample(at, forward, draws, particles=11, block=6)
    for name in FIELDS:
        one, other = getattr(expected, name), getattr(found, name)
        # Sums of d terms enter log-densities, and those of the particles come on top.
        np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-14 * d * max(1, np.abs(one).max()))


CASE = Problem.parse(
    """
    dimension = 20
    target = {means = [[2.0], [-1.0, 1.0]], variances = 1.2}
    family = {components = 2, learn = ["means", "weights"]}
    init = {scale = 0.3}
    time = {end = 1.0, save = 3}
    """
)


@pytest.mark.slow
def test_a_whole_simulation_on_the_device(host, monkeypatch):
    """Same seed, same numbers as compiled for CPUs, to rounding; one launch a step and nothing else."""
    options = {"particles": 6, "replicas": 2, "step": 0.5}
    launches = []
    monkeypatch.setattr(HalfWarps, "run", lambda *call, run=HalfWarps.run: launches.append(run(*call)))
    expected, found = (simulate(CASE, backend=backend, **options) for backend in ("numba", "cupy"))
    assert len(launches) == 3
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-11, atol=1e-12)


def test_what_does_not_fit_the_device_is_refused_with_the_size_that_would(host):
    options = {"particles": 100, "replicas": 4, "step": 0.1, "backend": "cupy"}
    host.free = 2**22
    with pytest.raises(SimulationError, match=r"needs .* GiB; .* enough for dimension") as refused:
        plan(replace(CASE, dimension=10**6), **options)
    fits = int(str(refused.value).rsplit(" ", 1)[1])
    assert plan(replace(CASE, dimension=fits), **options).size <= 2**22
    # A simulation of 10⁵ particles a step in 10⁵ dimensions stays within a laptop's memory.
    host.free = 2**34
    assert plan(replace(CASE, dimension=10**5), **options | {"particles": 10**5, "replicas": 32}).size < 2**32


def test_constants_hold_x_in_registers_as_long_as_it_fits():
    for forward in (False, True):
        for K, L, d in [(1, 1, 1), (2, 2, 64), (2, 2, 2048), (3, 3, 5000), (2, 2, 10**5), (8, 8, 1000), (40, 2, 100)]:
            chosen = device.constants(K, L, forward, d)
            held = 2 * chosen["HELD"] * (chosen["BATCH"] + (K if forward else 1))
            assert held <= device.HELD_NUMBERS
            assert chosen["HELD"] == 0 or chosen["HELD"] * chosen["THREADS"] >= 8 * -(-d // 16)
    assert device.constants(2, 2, False, 2048)["HELD"] == 4
    assert device.constants(2, 2, False, 10**5)["HELD"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("K", "L", "d", "forward"), [(2, 2, 64, False), (2, 2, 10**5, False), (3, 2, 1000, True)])
def test_the_kernel_compiles_for_gpus(K, L, d, forward):
    _, log = compile_cuda(device.source("kernel.cu"), "sm_90", device.options(K, L, forward, d))
    assert "warning" not in log
