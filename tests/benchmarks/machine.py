"""The machine as it goes into the result file."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from tests.benchmarks.worker import available_cores


def description() -> dict[str, Any]:
    """Processor, cores and system; nothing that names this machine."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    fields = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in info.splitlines() if ":" in line}
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", platform.processor()),
        "architecture": platform.machine(),
        "vectors": next((name for name in ("avx512f", "avx2", "avx") if name in flags), "unknown"),
        "cores": len(available_cores()),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def load() -> float | None:
    """Processes wanting a core, averaged over the last minute: if more than the cores used, others were at work."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
