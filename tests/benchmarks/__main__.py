"""`python -m tests.benchmarks`: measure, print the tables, write them and, from `cpu`, docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown

from solvers.machine.arrays import BackendError, backend_module
from tests.benchmarks import (
    agreement,
    beginnings,
    gradients,
    machine,
    particles,
    samplers,
    scaling,
    sweeps,
    tables,
    throughput,
)
from tests.benchmarks.case import TIMES, problem_text
from tests.benchmarks.worker import SOLVERS, available_cores

RESULTS = Path(__file__).parent / "results"
ON_GPU = ("this", "diffrax", "diffrax-dopri8")
PARTS = ("beginnings", "throughput", "scaling", "agreement", "particles", "sampler", "sweeps", "gradients")
DOCUMENTED = ("cpu", "gradients")  # the result files whose numbers docs/benchmarks.md shows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1], help="default: all but gradients")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, help="default: all of the device; this = modecollapse")
    parser.add_argument("--cores", type=int, default=len(available_cores()), help="default: all")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="fewer starts, rounds and sizes: no result")
    parser.add_argument("--name", help="of the result file; default: the device, or quick")
    options = parser.parse_args()
    if options.device == "gpu":
        try:
            backend_module("cupy")
        except BackendError as error:
            parser.error(f"--device gpu: {error}")
    console = Console()
    console.width = max(console.width, 110)  # also where the output is a file

    def say(text: str) -> None:
        console.print(text, style="dim", highlight=False)

    result: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "device": options.device,
        "machine": machine.description() | {"cores_used": options.cores, "load_before": machine.load()},
        "problem": problem_text(samples=1),
        "save_times": TIMES.tolist(),
        "error": "largest |y - y_ref| / max(1, |y_ref|) over six states and all save times, for each trajectory; "
        "then max, 99th percentile and median over trajectories, none left out",
    }
    if "beginnings" in options.parts and options.device == "cpu":
        result["beginnings"] = beginnings.measure(quick=options.quick, say=say)
    if "throughput" in options.parts:
        sizes = {"measured": 64, "rounds": 2, "seconds": 0.3} if options.quick else {}
        result |= throughput.measure(
            options.solvers or (SOLVERS if options.device == "cpu" else ON_GPU),
            options.cores,
            options.device,
            say=say,
            **{"measured": 512, "rounds": 5, "seconds": 1.0} | sizes,
        )
    if "scaling" in options.parts:
        backend = "numba" if options.device == "cpu" else "cupy"
        result["scaling"] = scaling.measure(backend, quick=options.quick, say=say)
    if "agreement" in options.parts:
        result["agreement"] = agreement.measure(options.cores, quick=options.quick, say=say)
    if "particles" in options.parts and options.device == "cpu":  # on a GPU: not yet measured
        result["particles"] = particles.measure(options.cores, quick=options.quick, say=say)
    if "sampler" in options.parts:
        result["sampler"] = samplers.measure(options.cores, options.device, quick=options.quick, say=say)
    if "gradients" in options.parts and options.device == "cpu":
        result["gradients"] = gradients.measure(quick=options.quick, say=say)
    if "sweeps" in options.parts and options.device == "cpu":
        result["sweeps"] = sweeps.measure(quick=options.quick, say=say)
    result["machine"]["load_after"] = machine.load()
    name = options.name or ("quick" if options.quick else options.device)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for text in tables.made(result).values():
        console.print(Markdown(text))
    if name in DOCUMENTED:
        tables.write(path)
    console.print(f"written: tests/benchmarks/results/{path.name}")


if __name__ == "__main__":
    main()
