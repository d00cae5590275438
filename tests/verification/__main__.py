"""`python -m tests.verification`: measure, store the numbers, write the tables of docs/verification.md from them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.verification import calibration, coverage, expectations, mutations, objectives, outcomes, refinement, tables

RESULTS = Path(__file__).parent / "results"

Measure = Callable[..., dict[str, Any]]

#: What can be measured, with its full and its quick size.
PARTS: dict[str, tuple[Measure, dict[str, Any], dict[str, Any]]] = {
    "calibration": (calibration.measure_false_alarms, {"repetitions": 1000}, {"repetitions": 20}),
    "power": (calibration.measure_power, {"repetitions": 50}, {"repetitions": 3}),
    "mutations": (mutations.measure, {}, {"dimensions": (3,)}),
    "outcomes": (outcomes.measure, {}, {"samples": 20, "dimensions": (10,)}),
    "coverage": (coverage.measure, {}, {"repetitions": 20}),
    "refinement": (refinement.measure, {}, {"theory": 4, "simulation": 4}),
    "expectations": (expectations.measure, {}, {"laws": 14, "points": 1 << 16}),
    "objectives": (objectives.measure, {}, {"starts": 8, "end": 10.0, "methods": ("dis",)}),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.verification", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}, tables; default: all")
    parser.add_argument("--quick", action="store_true", help="a run of a minute: prints, stores nothing")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in (*PARTS, "tables")]:
        parser.error(f"{unknown[0]}: no such part; allowed are {', '.join(PARTS)}, tables")
    for part in options.parts or PARTS:
        if part == "tables":
            continue
        measure, full, quick = PARTS[part]
        begin = time.perf_counter()
        result = measure(lambda text: print(text, flush=True), **(quick if options.quick else full))
        print(f"{part}: {time.perf_counter() - begin:.0f} s")
        if options.quick:
            print(tables.TABLES[part](result))
        else:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{part}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if not options.quick:
        tables.write(RESULTS)


if __name__ == "__main__":
    main()
