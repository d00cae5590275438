"""The report of a comparison: one screen for people, JSON for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from solvers.verdict.agreement import POWER, Entry, Part

SHOWN = 5  # entries of each part in the table


@dataclass(frozen=True)
class Report:
    """The outcome of `compare`.

    broken: a line for each start from which the theory has no solution. notes: what limits the verdict, a line each.
    options: particles, replicas, step, rtol, atol, backend, drop and what follows from them. problem: its TOML. system:
    hash of the closed system. agrees: no part is rejected and nothing is broken.
    """

    parts: tuple[Part, ...]
    broken: tuple[str, ...]
    notes: tuple[str, ...]
    options: dict[str, Any]
    problem: str
    system: str

    @property
    def agrees(self) -> bool:
        return not self.broken and all(part.agrees for part in self.parts)

    def to_json(self) -> str:
        """Everything, entries most deviating first; numbers that are not finite become null."""
        parts = [
            {
                "name": part.name,
                "agrees": part.agrees,
                "alpha": part.alpha,
                "limit": part.limit,
                "resolves": {
                    name: {"relative": entry.relative, "start": entry.start, "time": entry.time}
                    for name, entry in part.resolves().items()
                },
                "entries": [asdict(entry) for entry in part.entries],
            }
            for part in self.parts
        ]
        content = {
            "agrees": self.agrees,
            "alpha": sum(part.alpha for part in self.parts),
            "parts": parts,
            "broken": self.broken,
            "notes": self.notes,
            "options": self.options,
            "problem": self.problem,
            "system": self.system,
        }
        return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def table(self) -> RenderableType:
        """The verdict and the most deviating entries of each part, on one screen of 80 columns."""
        lines: list[RenderableType] = []
        for part in self.parts:
            lines.append(Text(f"{part.name}: {'agrees' if part.agrees else 'DISAGREES'}", style="bold"))
            table = Table(box=None, pad_edge=False)
            for heading in ("start", "time", "quantity", "theory", "simulation", "s.e.", "allowed", "deviation"):
                table.add_column(heading, justify="left" if heading == "quantity" else "right", no_wrap=True)
            for entry in part.entries[:SHOWN]:
                table.add_row(*_cells(entry))
            limit = (
                f"{len(part.entries)} entries, each may deviate by {part.limit:.1f} standard errors beyond what is "
                f"allowed;\nfalse-alarm probability {part.alpha:g}\n"
            )
            lines += [table, Text(limit + _resolved(part))]
        lines += [Text(f"disagreement: {line}") for line in self.broken] + [
            Text(f"note: {line}") for line in self.notes
        ]
        verdict = "theory and simulation agree" if self.agrees else "theory and simulation DISAGREE"
        return Group(*lines, Text(verdict, style="bold green" if self.agrees else "bold red"))


def _resolved(part: Part) -> str:
    """What an error of the theory would have had to be, to be rejected."""
    found = [f"{name} {100 * entry.relative:.2g} %" for name, entry in part.resolves().items() if entry.relative <= 1]
    return f"errors rejected with probability {POWER:g}, from: {', '.join(found) or 'none, as nothing moves'}\n"


def _cells(entry: Entry) -> list[str]:
    sizes = [f"{number:.4g}" for number in (entry.theory, entry.simulation)]
    errors = [f"{number:.1e}" for number in (entry.standard_error, entry.allowance)]
    return [str(entry.start), f"{entry.time:.4g}", entry.quantity, *sizes, *errors, f"{entry.deviation:.3g}"]


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
