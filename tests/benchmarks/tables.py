"""The numbers of a result file as tables, for the screen and for docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.markdown import filled, table

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
Row = dict[str, Any]


def machine(result: dict[str, Any]) -> str:
    """Where and when, and with which versions."""
    of = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in result.get("versions", {}).items())
    return (
        f"{result['date'][:10]}, {of['processor']} ({of['architecture']}, {of['vectors']}), {of['cores_used']} of "
        f"{of['cores']} cores, Python {of['python']}; {of['load_before']:.1f} processes wanted a core before, "
        f"{of['load_after']:.1f} after. {versions}"
    )


def throughput(result: dict[str, Any]) -> str:
    """A table for each criterion, target and number of cores."""
    rows, texts = result["throughput"], []
    for criterion, target, cores in dict.fromkeys((r["criterion"], r["target"], r["cores"]) for r in rows):
        worst = "of every trajectory" if criterion == "max" else "of 99 % of the trajectories"
        chosen = [r for r in rows if (r["criterion"], r["target"], r["cores"]) == (criterion, target, cores)]
        cells = []
        for row in sorted(chosen, key=lambda r: -r["throughput"]):
            speeds = [f"{row[name]:,.0f}" for name in ("throughput", "throughput_cpu")]
            errors = [f"{row['error'][name]:.1e}" for name in ("max", "p99")]
            cells.append([row["name"], *speeds, *errors, "" if row["solver"] == "this" else _ratio(row)])
        heading = ["solver", "trajectories/s", "per CPU second", "error", "of 99 %", "modecollapse is faster by"]
        texts.append(f"Achieved error {worst} ≤ {target:g}, {_cores(cores)}:\n\n{table(heading, cells)}")
    return "\n\n".join(texts)


def scaling(result: dict[str, Any]) -> str:
    """Trajectories, components, time."""
    titles = {"trajectories": "In trajectories", "components": "In components", "time": "In the time integrated over"}
    heading = ["K", "R", "t ≤", "starts", "seconds", "a second", "largest quadrature error", "peak memory, GiB"]
    texts = []
    for name, rows in result["scaling"].items():
        cells = [
            [
                str(row["components"]),
                f"{row['separation']:g}",
                f"{row['end']:g}",
                f"{row['samples']:,}",
                f"{row['seconds']:.2f}",
                f"{row['throughput']:,.0f}",
                f"{row['quadrature_error']:.0e}",
                f"{row['peak_gib']:.2f}",
            ]
            for row in rows
        ]
        texts.append(f"{titles[name]}:\n\n{table(heading, cells)}")
    return "\n\n".join(texts)


def modes(result: dict[str, Any]) -> str:
    """Of tests.benchmarks.modes."""
    heading = [
        "K",
        "L",
        "modes",
        "rtol",
        "per CPU second",
        "error",
        "earlier",
        "its error",
        "one simulation",
        "its error",
    ]
    cells = []
    for row in result["rows"]:
        runs, simulation = row["runs"], row["simulation"]
        for rtol in dict.fromkeys(run["rtol"] for run in runs):
            this, *other = (run for run in runs if run["rtol"] == rtol)
            before = [f"{other[0]['a second']:.3g}", f"{other[0]['error']:.0e}"] if other else ["", ""]
            what = [str(row["K"]), str(row["L"]), row["shape"], f"{rtol:.0e}"]
            now = [f"{this['a second']:.3g}", f"{this['error']:.0e}"]
            cells.append([*what, *now, *before, f"{simulation['seconds']:.1f} s", f"{simulation['error']:.0e}"])
    return table(heading, cells)


def agreement(result: dict[str, Any]) -> str:
    """Labels that differ from those of the automatic choice."""
    of = result["agreement"]
    cells = [
        [
            row["method"],
            str(sum(row["labels"].values())),
            *(f"{row['distance'][name]:.1e}" for name in ("max", "p99", "median")),
        ]
        for row in of["methods"]
        if row["method"] != of["reference"]
    ]
    found = ", ".join(f"{count:,} {label}" for label, count in of["found"].items())
    heading = ["method", "labels that differ", "largest distance", "of 99 %", "median"]
    return f"{of['starts']:,} starts, of which end {found}; all against `{of['reference']}`:\n\n{table(heading, cells)}"


def particles(result: dict[str, Any]) -> str:
    """Coordinates drawn, evaluated and added."""
    cells = [
        [str(row["d"]), row["name"], f"{row['throughput']:.3g}", f"{row['throughput_cpu']:.3g}", *_both(row)]
        for row in result["particles"]
    ]
    return table(["d", "", "coordinates/s", "per CPU second", "modecollapse is faster by", "by CPU time"], cells)


def sampler(result: dict[str, Any]) -> str:
    """Paths of the diffusion sampler, and gradients along them."""
    cells = [
        [
            row["task"],
            str(row["d"]),
            row["name"],
            f"{row['throughput']:.3g}",
            f"{row['throughput_cpu']:.3g}",
            *_both(row),
        ]
        for row in result["sampler"]
    ]
    return table(["", "d", "", "paths/s", "per CPU second", "modecollapse in R^d is faster by", "by CPU time"], cells)


def gradients(result: dict[str, Any]) -> str:
    """Noise by sampler and estimate, and what a path takes."""
    of, rows = result["gradients"], {}
    for row in of["noise"]:
        at = (row["method"], row["reference"], row["control"], row["of"].replace("_", " "))
        rows.setdefault(at, {})[row["estimate"]] = f"{row['noise']:.3f}"
    estimates = ["along paths, at random", "along paths, Sobol", "starts", "landing", "ratio"]
    cells = [[*at, *(found.get(name, "") for name in estimates)] for at, found in rows.items()]
    noise = table(["method", "reference", "control", "∂D/∂mean of", *estimates], cells)
    taken = [[row["estimate"], row["code"], f"{row['microseconds']:.1f}"] for row in of["seconds"]]
    parts = machine(result), noise, table(["estimate", "", "µs of processor time a path"], taken)
    return "\n\n".join(parts)


def sweeps(result: dict[str, Any]) -> str:
    """Points and starts, over a hundredfold."""
    cells = [
        [
            f"{row['points']:,}",
            f"{row['starts']:,}",
            f"{row['cpu_seconds']:.2f}",
            f"{1e6 * row['cpu_a_start']:.1f}",
            f"{row['peak_gib']:.3f}",
        ]
        for rows in result["sweeps"].values()
        for row in rows
    ]
    return table(["points", "starts a point", "processor seconds", "µs a start", "peak memory, GiB"], cells)


def beginnings(result: dict[str, Any]) -> str:
    """What one waits for."""
    cells = [[row["what"], f"{row['wall']:.2f}", f"{row['cpu']:.2f}"] for row in result["beginnings"]]
    return table(["", "seconds", "of processor time"], cells)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "machine": machine,
    "throughput": throughput,
    "scaling": scaling,
    "agreement": agreement,
    "particles": particles,
    "sampler": sampler,
    "gradients": gradients,
    "sweeps": sweeps,
    "beginnings": beginnings,
}


def made(result: dict[str, Any]) -> dict[str, str]:
    """The tables of the parts that `result` has."""
    return {name: text(result) for name, text in TABLES.items() if name in result}


def written(text: str, path: Path) -> str:
    """The document with the tables of a result file. The machine at its top is that of the trajectories."""
    result = json.loads(path.read_text(encoding="utf-8"))
    shown = {name: part for name, part in made(result).items() if name != "machine" or "throughput" in result}
    return filled(text, shown, "docs/benchmarks.md")


def write(path: Path) -> None:
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), path), encoding="utf-8")


def write_modes(result: dict[str, Any]) -> None:
    """The table of tests.benchmarks.modes into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(filled(text, {"modes": modes(result)}, "docs/benchmarks.md"), encoding="utf-8")


def _ratio(row: Row, kind: str = "") -> str:
    low, high = row[f"faster_range{kind}"]
    return f"{row[f'faster{kind}']:.3g} ({low:.3g} to {high:.3g})"


def _both(row: Row) -> list[str]:
    return ["", ""] if row["solver"] == "this" else [_ratio(row), _ratio(row, "_cpu")]


def _cores(count: int) -> str:
    return "one core" if count == 1 else f"{count} cores"
