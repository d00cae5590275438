"""The chain in R^d as CUDA: it compiles for GPUs, and as C++ on the CPU its paths are those of NumPy."""

import re

import numpy as np
import pytest

from solvers.ask import simulate
from solvers.machine.arrays import BackendError
from solvers.particles.plan import SimulationError
from solvers.particles.sampler import device as sampler_device
from solvers.particles.sampler.chain import Model, gradient, walk
from solvers.particles.streams import normals
from solvers.problem import Problem
from tests.solvers.cuda.cuda_compiler import CompileError, compile_cuda
from tests.solvers.cuda.cuda_host import CUDADriverError, HalfWarps, OneThread, OutOfMemoryError
from tests.solvers.particles.path_cases import KEYS, STREAM, mixture, model, uneven
from tests.solvers.particles.path_cuda import cuda


def difference(at, paths=20, first=7, backward=False):
    """The largest difference between CUDA and NumPy: in modes, in end points, in log-weights relative to their size,
    sums of squares over steps and coordinates."""
    some, d = range(first, first + paths), at.dimension
    start = at.mixtures["target" if backward else "prior"]
    chosen = np.random.default_rng(2).integers(0, len(start.variances), paths)
    plain = walk(at, lambda n: normals(np, STREAM[None], n, 3, some, d)[0], chosen, backward=backward)
    found = sampler_device.walk(at, STREAM, 3, some, chosen, backward=backward, ends=True)
    pairs = [(getattr(found, name), getattr(plain, name)) for name in ("log_weight", "modes", "end")]
    assert all(a.shape == b.shape for a, b in pairs)
    sizes = [max(d * at.steps, np.max(np.abs(plain.log_weight))), 1.0, 1.0]
    return max(float(np.max(np.abs(a - b))) / size for (a, b), size in zip(pairs, sizes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_same_numbers_same_paths(key, monkeypatch):
    """d = 19 is no whole number of tiles."""
    cuda(monkeypatch, held=16)
    for backward in (False, True):
        assert difference(model(key, d=19, steps=5), backward=backward) < 1e-12


def general(K, L, d, steps, key: tuple[str, str, str]):
    rng = np.random.default_rng(K + 10 * L)
    sizes = {"prior": K, "target": L, "control": K + 1, "control_back": 1}
    mixtures = {name: mixture(rng, n, d, 1.0 / np.sqrt(d)) for name, n in sizes.items()}
    return Model(*key, steps, 0.6, mixtures, None, *uneven(steps))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("K", "L", "d", "steps", "key"),
    [
        (1, 1, 1, 2, ("dbs", "ou", "mixture")),
        (1, 3, 16, 3, ("dis", "ou", "exact")),
        (12, 2, 33, 4, ("cmcd", "annealed", "mixture")),
        (2, 5, 300, 2, ("dbs", "annealed", "mixture")),
        (2, 2, 5, 0, ("dis", "ou", "exact")),
    ],
)
def test_numbers_of_components_modes_dimensions_and_steps(K, L, d, steps, key, monkeypatch):
    """Points in registers, and for d = 300 in memory, as on a GPU for d above 2048."""
    cuda(monkeypatch, held=32)
    for backward in (False, True):
        assert difference(general(K, L, d, steps, key), backward=backward) < 1e-12


def gradient_difference(at, paths=20, of=None):
    """The largest difference between CUDA and NumPy in derivatives, each relative to the largest of its kind."""
    some, d, rng = range(paths), at.dimension, np.random.default_rng(2)
    chosen, weights = rng.integers(0, len(at.mixtures["prior"].variances), paths), rng.random(paths)
    walked, bars = gradient(at, lambda n: normals(np, STREAM[None], 40 + n, 3, some, d)[0], chosen, weights)
    of = set(of or at.mixtures)
    log_weight, found = sampler_device.gradient(at, STREAM, 3, 40, some, chosen, weights, of=of)
    assert set(found) == of
    worst = np.max(np.abs(log_weight - walked.log_weight)) / max(d * at.steps, np.max(np.abs(walked.log_weight)))
    for name in of:
        for one, other in zip(found[name], bars[name], strict=True):
            assert one.shape == other.shape
            worst = max(worst, np.max(np.abs(one - other)) / max(d, np.max(np.abs(other))))
    return float(worst)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS, ids="-".join)
def test_same_numbers_same_gradients(key, monkeypatch):
    cuda(monkeypatch, held=32)
    assert gradient_difference(model(key, d=19, steps=4)) < 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("K", "L", "d", "steps", "held", "of"),
    [
        (1, 1, 1, 2, 16, None),
        (12, 2, 33, 3, 48, {"prior"}),
        (2, 5, 50, 2, 4, {"prior", "control_back"}),
        (2, 2, 5, 0, 8, None),
    ],
)
def test_gradients_of_other_models(K, L, d, steps, held, of, monkeypatch):
    """Points in registers and (the third) in memory; derivatives in some of the mixtures."""
    cuda(monkeypatch, held=held)
    assert gradient_difference(general(K, L, d, steps, ("dbs", "annealed", "mixture")), of=of) < 1e-12


class Warps(HalfWarps):
    """Two warps of two threads."""


@pytest.mark.slow
@pytest.mark.parametrize(("fewest", "held"), [(2, 16), (4, 8), (4, 1)], ids=["warp", "block", "memory"])
def test_a_team_walks_the_path_of_one_thread(fewest, held, monkeypatch):
    """Teams of a warp, two of them in a block, and of a block; eleven paths are no whole number of blocks."""
    xp = cuda(monkeypatch, Warps, held=held)
    monkeypatch.setattr(sampler_device, "FEWEST", fewest)
    monkeypatch.setattr(sampler_device, "MOST", fewest)
    at = general(2, 3, 30, 3, ("cmcd", "prior", "mixture"))
    assert difference(at, paths=11) < 1e-12
    assert gradient_difference(at, paths=7) < 1e-12
    # A block takes paths in turns, so that what is kept of them stays small.
    monkeypatch.setattr(sampler_device, "KEPT_BYTES", 1)
    assert gradient_difference(at, paths=7) < 1e-12
    if held == 1:
        # Where memory is short a block takes paths in turns.
        xp.free = 1
        assert difference(at, paths=11, backward=True) < 1e-12


def test_many_paths_are_several_launches(monkeypatch):
    cuda(monkeypatch, held=8)
    grids = []
    monkeypatch.setattr(OneThread, "run", lambda *call, run=OneThread.run: grids.append((call[2], run(*call))))
    at = model(("cmcd", "annealed", "none"), d=19)
    monkeypatch.setattr(sampler_device, "LAUNCH_NORMALS", 8 * 32 * (at.steps + 1))
    assert difference(at) < 1e-12
    assert [grid for grid, _ in grids] == [(8, 1, 1), (8, 1, 1), (4, 1, 1)]


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("1.0 / (4.0 * m.eta[n - 2])", "1.0 / (4.000001 * m.eta[n - 2])"),
        ("reverse_by[MEANS] -= g * part;", "reverse_by[MEANS] -= 1.000001 * g * part;"),
    ],
)
def test_a_wrong_kernel_is_found_out(line, other, monkeypatch):
    """Controls: constants that are off by a millionth or less."""

    class Wrong(OneThread):
        def __init__(self, code, options, backend="nvrtc"):
            assert code.count(line) == 1
            super().__init__(code.replace(line, other), options)

    cuda(monkeypatch, Wrong, held=8)
    assert difference(model(("cmcd", "annealed", "mixture"), d=19)) > 1e-8


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("after[a] += x_bar * mean;", "after[a] += 1.000001 * x_bar * mean;"),
        ("rest[2][a] += q * i * e * e;", "rest[2][a] += 1.000001 * q * i * e * e;"),
    ],
)
def test_a_wrong_gradient_is_found_out(line, other, monkeypatch):
    class Wrong(OneThread):
        def __init__(self, code, options, backend="nvrtc"):
            assert code.count(line) == 1
            super().__init__(code.replace(line, other), options)

    cuda(monkeypatch, Wrong, held=8)
    assert gradient_difference(model(("cmcd", "annealed", "mixture"), d=19)) > 1e-8


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
def test_errors_of_the_device_become_one_message(error, message, monkeypatch):
    cuda(monkeypatch)

    def fail(*_):
        raise error

    monkeypatch.setattr(OneThread, "run", fail)
    with pytest.raises(BackendError, match=message):
        difference(model(("cmcd", "annealed", "none"), d=3))


PROBLEM = """
dimension = 9
[target]
separation = 1.5
[family]
components = {K}
learn = {learn}
[init]
scale = 0.5
[time]
end = 1.0
save = 2
[sampler]
control = "{control}"
steps = 4
horizon = 0.5
{more}
"""


def problem(K=2, learn="[]", control="exact", more=""):
    return Problem.parse(PROBLEM.format(K=K, learn=learn, control=control, more=more), "p.toml")


@pytest.mark.slow
def test_simulate_evaluates_on_the_device(monkeypatch):
    """One launch for each direction, replica and save time, and one for each component's share."""
    cuda(monkeypatch, held=8)
    launches = []
    monkeypatch.setattr(OneThread, "run", lambda *call, run=OneThread.run: launches.append(run(*call)))
    options = {"particles": 20, "replicas": 2, "step": 0.1}
    found, expected = (simulate(problem(), backend=backend, **options) for backend in ("cupy", "numpy"))
    assert len(launches) == 2 * (2 * 2 + 1)
    assert found.attrs["backend"] == "cupy"
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, atol=1e-10, err_msg=name)


STALLED = 'refine = {every = 0.3, until = 3, candidates = 20, rule = "stalled", threshold = 9.0}'


@pytest.mark.slow
@pytest.mark.parametrize("refine", ["", STALLED])
def test_simulate_learns_on_the_device(refine, monkeypatch):
    """Means, weights and, of the control, variances too; with components added on the way."""
    cuda(monkeypatch, held=8)
    more = f'learn = ["means", "variances"]\n{refine}'
    learning = problem(learn='["means", "weights"]', control="mixture", more=more)
    options = {"particles": 20, "replicas": 2, "step": 0.25}
    found, expected = (simulate(learning, backend=backend, **options) for backend in ("cupy", "numpy"))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, atol=1e-9, err_msg=name)
    assert refine == "" or found.w.values[0, -1, 2] > 0
    assert np.abs(found.m.values[0, -1, :2] - found.m.values[0, 0, :2]).max() > 0.01


def test_what_the_kernel_cannot_do_is_refused(monkeypatch):
    cuda(monkeypatch)
    options = {"particles": 1000, "replicas": 2, "step": 0.1, "backend": "cupy"}
    with pytest.raises(
        SimulationError, match=r"^p.toml: cupy: 258 means of prior, target and control; .* at most 256 "
    ):
        simulate(problem(K=128, control="mixture"), **options)


# --- as NVIDIA's compiler sees it -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "d", "K"), [("sm_80", 50, 2), ("sm_90", 1000, 2), ("sm_80", 10**5, 2), ("sm_90", 50, 20)]
)
def test_compiles(architecture, d, K):
    places = [*range(K), -1, -1, *([-1] * (K + 1))]
    for own in (None, places):
        chosen = sampler_device.constants([K, 2, K + 1], [0, K, K + 2], 2 * K + 3, d, own)
        told = (*sampler_device.options(chosen), "--ptxas-options=-v")
        _, log = compile_cuda(sampler_device.text(chosen), architecture, told)
        assert "warning" not in log
        stack, stores, loads = map(int, re.findall(r"(\d+) bytes (?:stack frame|spill)", log)[:3])
        # A few means live in registers, and so do points up to d = 2048; many means in arrays of their number.
        kept = 6 if own is None else 12 + 2 * sampler_device.HELD
        assert stack <= ((0 if own is None else 128) if K == 2 else 8 * kept * (2 * K + 3))
        assert stores + loads <= (0 if own is None else 256 if K == 2 else 1024)


def test_one_character_less_does_not_compile():
    chosen, line = sampler_device.constants([2, 2], [0, 2], 4, 50), "turn ^= 1;"
    text, told = sampler_device.text(chosen), sampler_device.options(chosen)
    with pytest.raises(CompileError, match=r'error: expected a ";"'):
        compile_cuda(text.replace(line, line[:-1], 1), "sm_90", told)


def test_a_path_has_as_few_threads_as_hold_its_points():
    for d in (1, 16, 50, 64, 65, 500, 2048, 2049, 10**6):
        chosen = sampler_device.constants([2, 2], [0, 2], 4, d)
        pairs = 8 * -(-d // 16)
        assert chosen["TEAM"] <= chosen["THREADS"] <= 256
        assert chosen["HELD"] * chosen["TEAM"] >= pairs if d <= 2048 else chosen["HELD"] == 0
        assert chosen["TEAM"] == 8 or chosen["TEAM"] * 2 < pairs
