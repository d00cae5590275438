"""What no test may depend on: the terminal that it runs in, chance, and how busy the machine is."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
