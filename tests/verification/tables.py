"""The tables of docs/verification.md, from stored numbers; each between two comments that name it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.markdown import filled, table
from tests.verification.calibration import LEVELS, PARTS, interval

DOCUMENT = Path(__file__).parents[2] / "docs" / "verification.md"
CONFIDENCE = 0.99


def calibration(result: dict[str, Any]) -> str:
    """Rates of rejection, of the verdict and of single entries, with exact intervals."""
    rows, total = [], 0
    for part in PARTS:
        found = result["parts"][part]
        total = found["repetitions"]
        for level in map(str, LEVELS):
            count = found["verdict"][level]
            rows.append([part, "verdict", percent(float(level)), *_rate(count, total), "at most the level"])
            entries = found["t test"][level]
            inside = [name for name, n in entries.items() if _covers(n, total, float(level))]
            low, high = min(entries.values()), max(entries.values())
            rows.append(
                [
                    part,
                    f"t test, {len(entries)} entries",
                    percent(float(level)),
                    f"{percent(low / total)} to {percent(high / total)}",
                    f"{len(inside)} of {len(entries)} cover the level",
                    "the level",
                ]
            )
    heading = ["part", "what", "level", "rejected", f"{percent(CONFIDENCE)} interval", "expected"]
    return (
        f"{total} repetitions, d = {result['d']}, {result['particles']} particles, {result['replicas']} replicas, "
        f"step {result['step']:g}.\n\n" + table(heading, rows)
    )


def power(result: dict[str, Any]) -> str:
    """Rejections of each rate multiplied by each factor, and what the report said that it would reject."""
    total, rows = result["repetitions"], []
    for row in result["rows"]:
        low, middle, high = map(percent, row["said"])
        rows.append(
            [
                str(row["particles"]),
                row["rate"],
                f"+{percent(row['factor'] - 1)}",
                *(_of(row["rejected"][part], total) for part in PARTS),
                f"{middle} ({low} to {high})",
            ]
        )
    heading = ["particles", "rate of", "error", *PARTS, "errors that the report said it rejects"]
    return (
        f"{total} repetitions, d = {result['d']}, {result['replicas']} replicas, step {result['step']:g}, level "
        f"{result['level']:g} for each part. In brackets: {percent(CONFIDENCE)} interval, exact; of what was said "
        "median, least and largest.\n\n" + table(heading, rows)
    )


def mutations(result: dict[str, Any]) -> str:
    """What the comparison says of each mutation: how far off its worst entry is, in standard errors."""
    dimensions = list(result["rows"][0]["verdicts"])
    rows = []
    for row in result["rows"]:
        cells = [row["kind"], row["what"]]
        for d in dimensions:
            of, shown = row["verdicts"][d], []
            for part in PARTS:
                one = of["parts"].get(part)
                if one is None:
                    shown.append("—")
                    continue
                size = "∞" if one["deviation"] is None else f"{one['deviation']:.3g}"
                shown.append(f"{size} ({one['quantity']})" if not one["agrees"] else f"agrees, {size}")
            cells += [*shown, "agrees" if of["agrees"] else "**rejected**"]
        rows.append(cells)
    heading = ["error", "in the theory"]
    for d in dimensions:
        heading += [f"d = {d}: {PARTS[0]}", PARTS[1], "verdict"]
    return (
        f"{result['particles']} particles, 32 replicas, step {result['step']:g}; deviations in standard errors beyond "
        "what is allowed, with the worst entry. The limit is about 7.5.\n\n" + table(heading, rows)
    )


def outcomes(result: dict[str, Any]) -> str:
    """Counts of each outcome in theory and simulation, and of rows in which they differ."""
    rows = []
    for row in result["rows"]:
        if not row["theory"] + row["simulation"]:
            continue
        of = [
            f"{row[side]} ({percent(row[f'{side}_interval'][0])}–{percent(row[f'{side}_interval'][1])})"
            for side in ("theory", "simulation")
        ]
        rows.append(
            [
                row["weights"],
                row["scale"],
                str(row["d"]),
                row["outcome"],
                *of,
                f"{row['only_theory']} / {row['only_simulation']}",
                f"{row['mcnemar']:.2g}",
                str(row["replicas_differ"]),
                str(row["sensitive"]),
                f"{row['differ']} of {row['decided']}",
            ]
        )
    heading = [
        "weights",
        "scale",
        "d",
        "outcome",
        "theory",
        "simulation",
        "only theory / only simulation",
        "McNemar p",
        "two simulations differ",
        "sensitive",
        "decided rows that differ",
    ]
    return (
        f"{result['samples']} starts, {result['particles']} particles, step {result['step']:g}; in brackets exact 95 % "
        "intervals. Outcomes that never occur are left out.\n\n" + table(heading, rows)
    )


def refinement(result: dict[str, Any]) -> str:
    """How often a growing prior and a fixed one recover all modes, in theory and in simulation."""
    rows = []
    for row in result["rows"]:
        low, high = row["interval"]
        rows.append(
            [
                row["setting"],
                row["prior"],
                row["side"],
                f"{row['recovered']} of {row['starts']} ({low:.3f} to {high:.3f})",
                f"{row['coverage']:.4f} ± {row['coverage_se']:.4f}",
                str(row.get("replicas_differ", "—")),
            ]
        )
    heading = ["setting", "prior", "side", "recovered", "coverage (nats)", "two simulations differ"]
    return (
        f"d = {result['dimension']}, {result['particles']} paths, step {result['step']:g}; in brackets 95 % Wilson "
        "intervals; coverage ± standard error over starts.\n\n" + table(heading, rows)
    )


def coverage(result: dict[str, Any]) -> str:
    """How often an estimate is given, and how often the truth is within 1.96 of its standard errors."""
    total, rows = result["repetitions"], []
    for row in result["rows"]:

        def cell(side: str, name: str, row: dict[str, Any] = row) -> str:
            given, covers = row[side][name]
            return f"{percent(covers / given)} of {percent(given / total)}" if given > total / 100 else "—"

        cells = [f"{row['d']}, {row['m']:g}, {row['v']:g}", str(row["paths"]), f"{max(0.0, 1 - row['v']):.2g}"]
        cells += [f"{row['ess']:.3g}", *(cell("theory", name) for name in ("log_z", "ess", "ess_forward"))]
        cells += [cell("simulation", "log_z"), cell("simulation", "ess")]
        rows.append([*cells, percent(row["plain"]["log_z"][1] / total), percent(row["plain"]["ess"][1] / total)])
    heading = ["d, m, v", "paths", "tail index", "true ESS", "log_z", "ess", "ess_forward"]
    heading += ["simulation: log_z", "ess", "without: log_z", "ess"]
    worst = ", ".join(f"{percent(missed(result, name))} ({name})" for name in ("log_z", "ess", "ess_forward"))
    return (
        f"{total} repetitions; what was given in at most 1 % of them is left out: —. In no row did more than {worst} "
        "of all repetitions give an interval, on either side, that does not cover.\n\n" + table(heading, rows)
    )


def missed(result: dict[str, Any], name: str) -> float:
    """The largest share of repetitions, over rows and sides, in which an estimate was given that is not covered."""
    pairs = [row[side][name] for row in result["rows"] for side in ("theory", "simulation")]
    return max(given - covers for given, covers in pairs) / float(result["repetitions"])


def scaling(result: dict[str, Any]) -> str:
    """The fitted exponents of the figure, from its reference numbers."""
    numbers = result["numbers"]
    expected = {"particles": "−1/2", "step": "1", "dimension": "0"}
    of = {"particles": "standard deviation over particles", "step": "bias over the step"}
    of["dimension"] = "standard deviation over d"
    rows = [
        [of[line], entry, f"{value:.3f} ± {width:.3f}", expected[line]]
        for line, entries in numbers["exponents"].items()
        for entry, (value, width) in entries.items()
    ]
    value, width = numbers["growth"]
    rows.append(["bias over d at v ≠ u, coefficient of d", "s[0,0]", f"{value:.2e} ± {width:.1e}", "> 0"])
    return table(["exponent of", "entry", "fitted, 95 %", "expected"], rows)


def objectives(result: dict[str, Any]) -> str:
    """Where the learning flows of the objectives end, by method."""
    rows = []
    for row in result["rows"]:
        low, high = row["interval"]
        level = f"{row['log_z_learned'][0]:.2f}" if "log_z_learned" in row else "—"
        rows.append(
            [
                row["method"],
                row["objective"],
                f"{row['collapsed']} of {result['starts']} ({low:.2f} to {high:.2f})",
                f"{row['only_here']} / {row['only_there']}",
                "{:.3f} ± {:.3f}".format(*row["coverage"]),
                f"{row['elbo'][0]:.2f}",
                f"{row['eubo'][0]:.2f}",
                level,
            ]
        )
    heading = [
        "method", "objective", "collapsed", "only here / only by the first", "coverage (nats)", "ELBO", "EUBO",
        "log Z learned",
    ]  # fmt: skip
    return (
        f"{result['starts']} starts, t = {result['end']:g}; in brackets 95 % Wilson intervals; coverage ± standard "
        "error over starts, the rest means over starts.\n\n" + table(heading, rows)
    )


def expectations(result: dict[str, Any]) -> str:
    """How often errors are within estimates, by the number of logits."""
    rows = []
    for n in sorted({law["n"] for law in result["laws"]}):
        some = [law for law in result["laws"] if law["n"] == n]
        beyond = sum(law["error"] - law["noise"] > law["estimate"] for law in some)
        seen = [law for law in some if law["estimate"] > law["noise"]]
        estimates = sorted(law["estimate"] for law in some)
        noise = sorted(law["noise"] for law in some)
        half = len(some) // 2
        counts = [str(n), str(len(some)), str(beyond), str(len(seen))]
        rows.append([*counts, *(f"{x:.0e}" for x in (estimates[half], estimates[-1], noise[half]))])
    heading = ["logits", "laws", "beyond the estimate", "estimate above the noise", "median estimate", "largest"]
    return table([*heading, "median noise of the reference"], rows) + f"\n\n{result['points']:,} points a law."


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "calibration": calibration,
    "power": power,
    "mutations": mutations,
    "outcomes": outcomes,
    "coverage": coverage,
    "refinement": refinement,
    "objectives": objectives,
    "expectations": expectations,
    "scaling": scaling,
}
#: The scaling is a figure's, and so are its numbers.
REFERENCE = Path(__file__).parents[1] / "figures" / "reference" / "agreement_scaling.json"


def written(text: str, results: Path) -> str:
    """The document with every table made anew from the results that are there."""
    contents = {}
    for name, made in TABLES.items():
        path = REFERENCE if name == "scaling" else results / f"{name}.json"
        if path.exists():
            contents[name] = made(json.loads(path.read_text(encoding="utf-8")))
    return filled(text, contents, "docs/verification.md")


def write(results: Path) -> None:
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")


def percent(number: float) -> str:
    return f"{100 * number:.3g} %"


def _covers(count: int, total: int, level: float) -> bool:
    low, high = interval(count, total, CONFIDENCE)
    return low <= level <= high


def _rate(count: int, total: int) -> list[str]:
    low, high = interval(count, total, CONFIDENCE)
    return [percent(count / total), f"{percent(low)} to {percent(high)}"]


def _of(count: int, total: int) -> str:
    low, high = interval(count, total, CONFIDENCE)
    return f"{count / total:.2f} [{low:.2f}, {high:.2f}]"
