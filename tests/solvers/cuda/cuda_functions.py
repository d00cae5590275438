"""The functions of the CUDA source of a system, evaluated by the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import cuda
from solvers.closed import systems
from solvers.cuda.source import assemble
from solvers.expectations.quadrature import TIGHTEST, digits
from tests.solvers.cuda.cuda_cases import compiled_start
from tests.solvers.cuda.cuda_host import HostCuda, HostKernels

Array = NDArray[np.float64]
POINTWISE = Path(__file__).with_name("pointwise.h").read_text(encoding="utf-8")


class Functions:
    """A system on the host, with kernels that evaluate its functions."""

    def __init__(self, case: Any, kernels: type[HostKernels], monkeypatch: pytest.MonkeyPatch) -> None:
        self.y, self.p, self.space = compiled_start(case)
        K, L = case.family.components, len(case.target.weights)
        self.outputs = 1 + L + K * L
        monkeypatch.setattr("solvers.cuda.launch.assemble", lambda *args: assemble(*args) + POINTWISE)
        self.system = cuda.build(HostCuda(kernels), systems.read_compiled(case, "cu"), K, L, self.space.directions)

    tolerance = TIGHTEST

    def call(self, kernel: str, y: Array, *rows: int) -> list[Array]:
        count = len(y)
        zeros = np.zeros(count * y.shape[1])
        values: dict[str, Any] = dict.fromkeys(("t", "h", "paths", "times"), zeros)
        values |= {name: zeros.view(np.int64) for name in ("saved", "status", "steps", "evaluations")}
        values |= dict.fromkeys(("save_points", "max_steps", "hand_over", "end", "rtol", "atol"), 0)
        values |= {
            "digits": digits(self.tolerance),
            "queue": np.arange(count, dtype=np.int32),
            "y": np.ascontiguousarray(y.T),
        }
        outputs = [np.empty((row, count)) for row in rows]
        self.system.launch(kernel, {**values, "parameters": self.p, "count": count}, *outputs)
        return [output.T for output in outputs]

    def derivatives(self, y: Array) -> tuple[Array, Array]:
        size = y.shape[1]
        velocity, slope = self.call("derivatives", y, size, size * size)
        return velocity, slope.reshape(-1, size, size)
