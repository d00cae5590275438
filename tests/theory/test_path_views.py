"""The reduced chain as numba and C++ text: one path against the NumPy view of the same programs, adjoints included."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess

import numpy as np
import pytest

from solvers.closed import systems
from theory.emit.paths import cuda, numba
from theory.samplers import reduce_chain

CHAIN = reduce_chain()
PROGRAMS = {program.name: program for program in CHAIN.programs if program.on_paths}
K, R = 3, 2
NUMPY = systems.load(CHAIN.emit("numpy"))
#: The same for all paths.
NUMBERS = ("d", "eta", "log_base", "c_w", "c_f", "c_b")
SIZE = {"k": K, "b": R}


def drawn(indices, rng):
    """A random value; positive, since some of the numbers are lengths and steps."""
    return rng.random([SIZE[str(i)] for i in indices]) + 0.2 if indices else float(rng.random() + 0.2)


def flattened(value):
    return np.ascontiguousarray(value, dtype=np.float64)


def reference(program, values, seeds):
    """Outputs and input derivatives by the NumPy view, on a batch of one path."""
    paths = {n: v if n in NUMBERS else np.asarray(v)[None] for n, v in values.items()}
    saved = getattr(NUMPY, program.name)(**paths)
    if not program.inputs:  # nothing is differentiated
        return {n: v[0] for n, v in saved.items()}, {}
    arriving = {n: np.asarray(v)[None] for n, v in seeds.items()}
    bars = getattr(NUMPY, f"{program.name}_adjoint")(**paths, saved=saved, **arriving)
    if program.steered:
        bars |= getattr(NUMPY, f"{program.name}_slope")(**paths, saved=saved, **arriving)
    return {n: v[0] for n, v in saved.items()}, {n: v[0] for n, v in bars.items()}


def check(program, call):
    """call(name, inputs, outputs): run a function of the compiled text on arrays that it fills."""
    rng = np.random.default_rng(len(program.name))
    values = {n: drawn(i, rng) for n, i in (program.inputs | program.constants).items()}
    seeds = {f"d_{n}": drawn(program.shapes[n], rng) for n in program.outputs}
    expected, bars = reference(program, values, seeds)
    names = [*program.outputs, *(["resp"] if program.name == "score" else [])]
    # Parts of sums are added to what is there, and so are derivatives; everything else replaces it.
    there = [0.5 if program.adds and n in program.outputs else 0.0 for n in names]
    out = [np.full(max(np.size(expected[n]), 1), t or 7.0) for n, t in zip(names, there, strict=True)]
    call(program.name, list(values.values()), out)
    out = [found - t for found, t in zip(out, there, strict=True)]
    for name, found in zip(names, out, strict=True):
        # sums in another order: rounding of a dozen operations
        np.testing.assert_allclose(found, np.ravel(expected[name]), rtol=1e-12, atol=1e-13, err_msg=name)
    for kind, of in (("adjoint", program.inputs), ("slope", program.steered)):
        out = [np.full(max(np.size(bars[n]), 1), 0.5) for n in of]
        if of:
            call(f"{program.name}_{kind}", [*values.values(), *seeds.values()], out)
        for name, found in zip(of, out, strict=True):
            np.testing.assert_allclose(found - 0.5, np.ravel(bars[name]), rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The CUDA text as C++ for the host."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    folder = tmp_path_factory.mktemp("chain")
    head = f"#include <cmath>\nusing namespace std;\nconstexpr int K = {K}, R = {R};\n"
    head += '#define DEVICE extern "C"\n#define UNROLL\n'
    (folder / "chain.cc").write_text(head + cuda(CHAIN))
    command = [
        "g++",
        "-O1",
        "-Wall",
        "-Wno-unused-variable",
        "-Wno-unused-but-set-variable",
        "-Werror",
        "-shared",
        "-fPIC",
    ]
    subprocess.run([*command, "chain.cc", "-o", "chain.so"], cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "chain.so"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_cpp_agrees_with_numpy(library, name):
    def call(function, inputs, outputs):
        arguments = [ctypes.c_double(v) if isinstance(v, float) else flattened(v) for v in inputs] + outputs
        pointers = [a if isinstance(a, ctypes.c_double) else a.ctypes.data_as(ctypes.c_void_p) for a in arguments]
        getattr(library, function)(*pointers)

    check(PROGRAMS[name], call)


def namespace(njit):
    """The numba text executed; with the identity in place of njit it is plain Python."""
    functions = {name: getattr(math, name) for name in ("exp", "expm1", "log", "sqrt")}
    select = njit()(lambda condition, yes, no: yes if condition else no)
    scope = {"np": np, "njit": njit, "FLAGS": {}, "K": K, "R": R, "select": select} | functions
    exec(compile(numba(CHAIN), "<chain>", "exec"), scope)
    return scope


@pytest.mark.parametrize("name", PROGRAMS)
def test_numba_text_agrees_with_numpy(name):
    scope = namespace(lambda **_: lambda f: f)

    def call(function, inputs, outputs):
        scope[function](*(np.ravel(v) if isinstance(v, np.ndarray) else v for v in inputs), *outputs)

    check(PROGRAMS[name], call)


def test_numba_compiles_the_step():
    from numba import njit

    scope = namespace(njit)

    def call(function, inputs, outputs):
        scope[function](*(np.ravel(v) if isinstance(v, np.ndarray) else v for v in inputs), *outputs)

    check(PROGRAMS["step"], call)


def test_structure_is_kept():
    for source in (numba(CHAIN), cuda(CHAIN)):
        assert CHAIN.hash in source
        assert len(source.splitlines()) < 700
