"""What no test may depend on: the terminal that it runs in, chance, and how busy the machine is."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# As many workers as cores: with more threads each, those of BLAS wait for one another, which took up to seven times
# the processor time. NumPy is not imported yet; what a test starts takes it from here.
if "PYTEST_XDIST_WORKER" in os.environ:
    assert "numpy" not in sys.modules
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")

# What a test starts reads our modules compiled, and need not compile each of them again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Widths and colours of help and tables are those of a pipe, whatever the terminal or the build service says of itself.
for name in (
    *("FORCE_COLOR", "NO_COLOR", "PY_COLORS", "CLICOLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("GITHUB_ACTIONS", "TERMINAL_WIDTH", "_TYPER_FORCE_DISABLE_TERMINAL"),
):
    os.environ.pop(name, None)
os.environ |= {"COLUMNS": "80", "LINES": "25"}

# The same examples everywhere and every time; a slow machine is no failure.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no worker begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
