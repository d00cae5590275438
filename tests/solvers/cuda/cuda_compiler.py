"""NVIDIA's runtime compiler from its package on PyPI, through ctypes: it needs no driver and no GPU."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import pytest


class CompileError(RuntimeError):
    """The compiler refused; str() is its log."""


def library() -> Path | None:
    """The shared library of the package nvidia-cuda-nvrtc or nvidia-cuda-nvrtc-cu12, None if it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [path for folder in folders for path in Path(folder).rglob("libnvrtc.so*")]
    return max(found, default=None)


@cache
def compile_cuda(source: str, architecture: str, options: tuple[str, ...] = ()) -> tuple[bytes, str]:
    """Machine code of a CUDA source for an architecture such as sm_90, and the log.

    Raises CompileError; skips the test where the compiler is not installed.
    """
    path = library()
    if path is None:
        pytest.skip("nvidia-cuda-nvrtc is not installed: no CUDA source was compiled")
    nvrtc = ctypes.CDLL(str(path))
    program = ctypes.c_void_p()
    text = ctypes.c_char_p(source.encode())
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"ensemble.cu", 0, None, None) == 0
    try:
        flags = [option.encode() for option in (f"--gpu-architecture={architecture}", *options)]
        failed = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
        log = _bytes(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).rstrip(b"\0").decode()
        if failed:
            raise CompileError(log)
        return _bytes(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(size_of: ctypes._NamedFuncPointer, get: ctypes._NamedFuncPointer, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    assert size_of(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert get(program, buffer) == 0
    return buffer.raw
