"""The CUDA source of every generated system, as NVIDIA's compiler sees it. Needs neither a GPU nor a driver."""

from __future__ import annotations

import re

import numpy as np
import pytest

from solvers.closed import systems
from solvers.cuda.source import OPTIONS, assemble, missing
from solvers.integrate.tableaus import DOP853, RODAS5P
from tests.solvers.cuda.cuda_compiler import CompileError, compile_cuda

EMITTED = {path.name: path.read_text(encoding="utf-8") for path in sorted(systems.GENERATED.glob("*.cu"))}
SYSTEMS = [name for name, text in EMITTED.items() if "void rhs(" in text and not missing(text)]
"""Systems whose expectations the kernels have; others are refused."""
VERBOSE = (*OPTIONS, "--ptxas-options=-v")


def source(name: str, components: int, modes: int, directions: int) -> str:
    return assemble(EMITTED[name], components, modes, directions)


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "sizes"), [("sm_90", (2, 2, 3)), ("sm_80", (4, 3, 6))])
@pytest.mark.parametrize("name", SYSTEMS)
def test_compiles(name: str, architecture: str, sizes: tuple[int, int, int]) -> None:
    code, log = compile_cuda(source(name, *sizes), architecture, VERBOSE)
    assert "error" not in log
    assert set(re.findall(r"warning #(\d+)", log)) <= {"177"}  # constants that this system does not need
    for kernel in (b"explicit_ensemble", b"rosenbrock_ensemble", b"describe"):
        assert kernel in code


def test_one_character_less_does_not_compile() -> None:
    """Control: the compiler reads what is tested."""
    call = "rhs(u, p, f, work);"
    text = source(SYSTEMS[0], 2, 2, 3)
    assert call in text
    with pytest.raises(CompileError, match=r'ensemble\.cu\(\d+\): error: expected a ";"'):
        compile_cuda(text.replace(call, call[:-1], 1), "sm_90", VERBOSE)


@pytest.mark.slow
def test_small_systems_live_in_registers() -> None:
    """Left in local memory of the explicit method are its stages and the weights of the dense output; no spills."""
    _, log = compile_cuda(source("reverse_kl.cu", 2, 2, 3), "sm_90", VERBOSE)
    part = log.split("Compiling entry function 'explicit_ensemble'")[1]
    stack, stores, loads = map(int, re.findall(r"(\d+) bytes (?:stack frame|spill)", part)[:3])
    stages, states = len(DOP853.a), 2 * 3 + 2
    assert stack <= 8 * stages * (states + 1)
    assert stores == loads == 0


def test_what_the_kernels_do_not_have_is_told_by_the_header() -> None:
    assert SYSTEMS == ["reverse_kl.cu"]
    text = EMITTED["reverse_kl.cu"].replace("expect_tangent.", "expect_tangent, expect_pair.")
    assert missing(text) == ["expect_pair"]


def test_methods_are_those_of_the_tableaus() -> None:
    text = source(SYSTEMS[0], 2, 2, 3)
    for name, expected in {"A": DOP853.a, "ERRORS": DOP853.errors, "ALPHA": RODAS5P.a, "COUPLING": RODAS5P.c}.items():
        body = re.search(rf"CONSTANT double {name}\[.*?\] = \{{(.*?)\}};", text, re.DOTALL)
        assert body is not None
        numbers = [float(x) for x in re.findall(r"[-\d.e]+", body[1])]
        np.testing.assert_array_equal(np.reshape(numbers, expected.shape), expected)


def test_more_logits_than_kernels_can_do_are_refused() -> None:
    with pytest.raises(ValueError, match="17 components, 2 modes: CUDA ensembles have at most 16 of each"):
        source(SYSTEMS[0], 17, 2, 19)
