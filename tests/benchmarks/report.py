"""The table on the screen, and the machine as it goes into the result file."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.worker import available_cores


def machine() -> dict[str, Any]:
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


def print_throughput(rows: list[dict[str, Any]], console: Console) -> None:
    for criterion, target, cores in dict.fromkeys((r["criterion"], r["target"], r["cores"]) for r in rows):
        worst = "of every trajectory" if criterion == "max" else "of 99 % of the trajectories"
        table = Table(title=f"Achieved error {worst} ≤ {target:g}, {cores} core(s)", title_justify="left")
        for heading in ("solver", "trajectories/s", "per CPU second", "error", "99 %", "this solver is faster by"):
            table.add_column(heading, justify="left" if heading == "solver" else "right")
        chosen = [r for r in rows if (r["criterion"], r["target"], r["cores"]) == (criterion, target, cores)]
        for row in sorted(chosen, key=lambda r: -r["throughput"]):
            ratio = ""
            if "faster" in row and row["solver"] != "this":
                low, high = row["faster_range"]
                ratio = f"{row['faster']:.1f} ({low:.1f} to {high:.1f})"
            speeds = [f"{row[name]:,.0f}" for name in ("throughput", "throughput_cpu")]
            errors = [f"{row['error'][name]:.1e}" for name in ("max", "p99")]
            table.add_row(row["name"], *speeds, *errors, ratio)
        console.print(table)
