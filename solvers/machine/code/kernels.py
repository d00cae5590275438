"""Where cupy keeps compiled CUDA kernels: its own folder if that is to be trusted, else the memory of the process."""

from __future__ import annotations

import os
from pathlib import Path

from solvers.machine.code.folder import Unusable, prepared
from solvers.machine.code.notes import reason, say

__all__ = ["choose_place_of_kernels"]


def choose_place_of_kernels() -> None:
    """To be called before cupy is imported. cupy compares a hash of each file, and stops where it cannot write."""
    if os.environ.get("CUPY_CACHE_IN_MEMORY", "0") != "0":
        return
    try:
        prepared(Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache"))
    except (Unusable, OSError, RuntimeError) as error:
        os.environ["CUPY_CACHE_IN_MEMORY"] = "1"
        say(
            "kernels",
            "cupy",
            f"CUDA kernels are not kept, which costs seconds of compilation each time: {reason(error)}",
        )
