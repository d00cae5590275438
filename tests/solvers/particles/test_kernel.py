"""kernel.cu without a GPU: it compiles, and as C++ on the CPU it computes what the array code does."""

import shutil

import numpy as np
import pytest

from solvers.particles import device
from solvers.particles.engines import engine
from solvers.particles.estimate import Draws, Mixtures
from solvers.particles.streams import stream_keys
from tests.solvers.particles import host_cuda

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


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the kernel's C++ with")
@pytest.mark.parametrize(
    ("K", "L", "d", "forward", "beta", "threads", "held"),
    [
        (2, 2, 35, False, 0.7, 8, True),
        (3, 2, 50, True, 1.0, 8, True),
        (2, 3, 60, False, 1.3, 4, False),
        (2, 2, 41, True, 1.0, 4, False),
        (1, 1, 1, False, 1.0, 4, True),
    ],
)
def test_the_kernel_computes_what_array_code_does(K, L, d, forward, beta, threads, held, tmp_path):
    chosen = device.constants(K, L, forward, d, threads=threads, warp=4)
    if not held:
        chosen["HELD"] = 0
    at = mixtures(K, L, d, beta)
    draws = Draws(stream_keys(4, (), range(2)), 6)
    expected = engine("numpy").sample(at, forward, draws, particles=23, block=23)
    # 23 particles in pieces of 9, 9 and 5: the last batch of each is not full.
    found = host_cuda.sample(host_cuda.build(tmp_path, chosen), at, forward, draws, particles=23, block=9)
    for name in FIELDS:
        one, other = getattr(expected, name), getattr(found, name)
        # Sums of d terms enter log-densities, and those of the particles come on top.
        np.testing.assert_allclose(other, one, rtol=1e-13, atol=1e-14 * d * max(1, np.abs(one).max()))


def test_constants_hold_x_in_registers_as_long_as_it_fits():
    for forward in (False, True):
        for K, L, d in [(1, 1, 1), (2, 2, 64), (2, 2, 2048), (3, 3, 5000), (2, 2, 10**5), (8, 8, 1000), (40, 2, 100)]:
            chosen = device.constants(K, L, forward, d)
            held = 2 * chosen["HELD"] * (chosen["BATCH"] + (K if forward else 1))
            assert held <= device.HELD_NUMBERS
            assert chosen["HELD"] == 0 or chosen["HELD"] * chosen["THREADS"] >= 8 * -(-d // 16)
    assert device.constants(2, 2, False, 2048)["HELD"] == 4
    assert device.constants(2, 2, False, 10**5)["HELD"] == 0
