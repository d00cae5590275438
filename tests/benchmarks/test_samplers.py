"""The benchmark of samplers on a GPU does what the one on CPUs does; here its kernels run as C++ on the host."""

from __future__ import annotations

import sys

import pytest

from solvers.particles.sampler import device as sampler_device
from solvers.sampler import device
from tests.benchmarks import samplers
from tests.solvers.cuda.cuda_host import HostCuda, OneThread


@pytest.mark.slow
def test_all_solvers_on_the_device_find_the_same_elbo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", HostCuda(OneThread))
    for module in (device, sampler_device):
        monkeypatch.setattr(module, "THREADS", 1)
        monkeypatch.setattr(module, "WARP", 1)
    monkeypatch.setattr(sampler_device, "FEWEST", 1)
    monkeypatch.setattr(sampler_device, "MOST", 1)
    device._resident.cache_clear()
    made = samplers.MAKERS
    for task in samplers.TASKS:
        this = made[task, "this"]
        found, expected = this(10, 1000, "gpu")(0), this(10, 1000, "cpu")(0)
        for name, value in expected.items():  # the same random numbers
            assert found[name] == pytest.approx(value, rel=1e-9)
        reduced, kept = made[task, "reduced"](10, 1000, "gpu"), made[task, "kept"](10, 1000, "gpu")
        assert kept(0) == kept(1) == reduced(0) != reduced(1)
        # The ELBO has a standard error of 0.03: other paths, the same sampler.
        assert abs(reduced(0)["elbo"] - expected["elbo"]) < 0.3
