"""Array modules and backends, with stand-ins for cupy where there is none."""

import sys
import types

import numpy as np
import pytest

from solvers.machine.arrays import BackendError, array_module, backend_module, to_numpy


class StandIn:
    """Looks like a cupy array to our code: its class comes from cupy, and get() copies it to the host."""

    __module__ = "cupy.ndarray"

    def get(self):
        return np.arange(3)


@pytest.fixture
def fake_cupy(monkeypatch):
    module = types.ModuleType("cupy")
    error = type("CUDARuntimeError", (RuntimeError,), {})
    runtime = types.SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=error)
    monkeypatch.setattr(module, "cuda", types.SimpleNamespace(runtime=runtime), raising=False)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def test_numpy_arrays_need_no_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it now fails
    assert array_module(np.zeros(2), 1.0, [3]) is np
    assert array_module() is np
    array = np.arange(4.0)
    assert to_numpy(array) is array


def test_cupy_arrays_are_told_by_their_class(fake_cupy):
    assert array_module(np.zeros(2), StandIn()) is fake_cupy
    assert array_module(np.zeros(2)) is np
    np.testing.assert_array_equal(to_numpy(StandIn()), [0, 1, 2])


def test_backends(fake_cupy):
    assert backend_module("numpy") is np
    assert backend_module("cupy") is fake_cupy


def test_a_backend_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        BackendError, match=r"^cupy: not installed; install modecollapse\[cuda12\].*allowed here: numpy$"
    ):
        backend_module("cupy")


def test_cupy_without_a_gpu(fake_cupy):
    fake_cupy.cuda.runtime.getDeviceCount = lambda: 0
    with pytest.raises(BackendError, match=r"^cupy: no GPU found; allowed here: numpy$"):
        backend_module("cupy")

    def no_driver():
        raise fake_cupy.cuda.runtime.CUDARuntimeError("no driver")

    fake_cupy.cuda.runtime.getDeviceCount = no_driver
    with pytest.raises(BackendError, match=r"^cupy: no usable GPU \(no driver\); allowed here: numpy$"):
        backend_module("cupy")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numba", "numba: holds no arrays of its own; allowed here: numpy, cupy"),
        ("torch", "torch: unknown backend; allowed: numpy, cupy"),
    ],
)
def test_other_backends_are_refused(name, message):
    with pytest.raises(BackendError) as refused:
        backend_module(name)
    assert str(refused.value) == message


@pytest.mark.gpu
def test_cupy_on_a_gpu():
    try:
        cupy = backend_module("cupy")
    except BackendError as error:
        pytest.skip(str(error))
    array = cupy.arange(3.0)
    assert array_module(array) is cupy
    np.testing.assert_array_equal(to_numpy(array), [0.0, 1.0, 2.0])
