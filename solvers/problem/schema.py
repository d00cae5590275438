"""What a user may type in a problem file, and the one message for what they may not.

Each value is checked here for itself; what ties sections together (lengths, ranks, overlaps) is checked in problem.py.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from solvers.problem.family import COVARIANCES, family_variances, variances
from solvers.problem.flow_section import BatchSection, FlowSection
from solvers.problem.geometry import MOST_MODES, SHAPES
from solvers.problem.learning_section import LearningSection
from solvers.problem.sampler_section import RefineSection, SamplerSection, learned
from solvers.problem.text import ProblemError, dotted, tables
from solvers.problem.values import LARGEST_INTEGER, show, suggestion
from solvers.problem.values import Section as _Section
from solvers.problem.values import as_typed as _as_typed
from solvers.problem.values import choice as _choice
from solvers.problem.values import integer as _integer
from solvers.problem.values import number as _number
from solvers.problem.values import numbers as _numbers
from solvers.problem.values import refuse as _refuse
from solvers.problem.values import rows as _rows

__all__ = ["ProblemError", "read", "show"]

# Far beyond what can be computed, so that a slip of the keyboard is refused instead of filling the memory.
MOST_COMPONENTS, MOST_SAMPLES, MOST_TIMES = 10**4, 10**9, 10**7
#: Squares of shorter times underflow, and integrators take squares. No rate is so large that anything happens in them.
SHORTEST_TIME = 1e-150
_TIME = f"a number >= 0, and >= {SHORTEST_TIME:g} unless it is 0"


def _weights(value: object) -> list[float]:
    weights = _numbers(value, "every weight must be a number > 0", lambda x: x > 0)
    try:
        total = math.fsum(weights)
    except OverflowError:
        total = math.inf
    if abs(total - 1) > 1e-9:
        raise _refuse(f"sums to {total:.10g}, must sum to 1")
    return weights


def _matrix(value: object) -> list[list[float]]:
    rows = _rows(value)
    for position, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise _refuse(
                f"row {position} has {len(row)} entries and row 1 has {len(rows[0])}; all must be equally long"
            )
    return rows


def _gram(value: object) -> list[list[float]]:
    rows = _matrix(value)
    if len(rows) != len(rows[0]):
        raise _refuse(f"has {len(rows)} rows of {len(rows[0])} entries; must be square")
    scale = max(abs(entry) for row in rows for entry in row)
    for i, row in enumerate(rows):
        for j in range(i):
            if abs(row[j] - rows[j][i]) > 1e-9 * scale:
                raise _refuse(
                    f"entry ({j + 1}, {i + 1}) is {show(rows[j][i])} but ({i + 1}, {j + 1}) is {show(row[j])}; "
                    "must be symmetric"
                )
    return [[row[j] / 2 + rows[j][i] / 2 for j in range(len(rows))] for i, row in enumerate(rows)]


def _is_time(value: float) -> bool:
    return value == 0 or value >= SHORTEST_TIME


def _save(value: object) -> int | list[float]:
    if not isinstance(value, list):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_TIMES:
            raise _refuse(f"is {_as_typed(value)}; must be an integer from 1 to {MOST_TIMES} or a list of times")
        return value
    times = _numbers(value, f"every time must be {_TIME}", _is_time)
    if not times:
        raise _refuse("is []; must hold at least one time")
    for before, after in itertools.pairwise(times):
        if not before < after:
            raise _refuse(f"has {show(before)} before {show(after)}; times must increase")
    return times


_Weights = Annotated[list[float], BeforeValidator(_weights)]
_Variances = Annotated[float | list[float], BeforeValidator(variances)]
_Rows = Annotated[list[list[float]], BeforeValidator(_rows)]
_Gram = Annotated[list[list[float]], BeforeValidator(_gram)]
_NonNegative = Annotated[float, BeforeValidator(_number("a number >= 0", lambda x: x >= 0))]


class TargetSection(_Section):
    separation: _NonNegative | None = None
    means: _Rows | None = None
    overlaps: _Gram | None = None
    shape: Annotated[str | None, BeforeValidator(_choice(tuple(SHAPES)))] = None
    modes: Annotated[int | None, BeforeValidator(_integer(2, MOST_MODES))] = None
    seed: Annotated[int | None, BeforeValidator(_integer(0, 2**63 - 1))] = None
    scale: _NonNegative = 1.0
    weights: _Weights | None = None
    variances: _Variances = 1.0

    @model_validator(mode="after")
    def _one_geometry(self) -> TargetSection:
        # A shape has a separation; without one a separation is a shape, the pair.
        self.only_one_of("separation", "means", "overlaps", "shape", together=("separation", "shape"))
        return self


class FamilySection(_Section):
    components: Annotated[int, BeforeValidator(_integer(1, MOST_COMPONENTS))] = Field(description="an integer >= 1")
    weights: _Weights | None = None
    variances: Annotated[float | list[float] | list[list[float]], BeforeValidator(family_variances)] = 1.0
    covariance: Annotated[str, BeforeValidator(_choice(COVARIANCES))] = COVARIANCES[0]
    learn: Annotated[list[str], BeforeValidator(learned)] = Field(default=["means"])


class StartOverlaps(_Section):
    s: _Gram = Field(description="the K × K overlaps of the components")
    m: Annotated[list[list[float]], BeforeValidator(_matrix)] = Field(description="the K × L overlaps with the modes")


class InitSection(_Section):
    scale: _NonNegative | None = None
    means: _Rows | None = None
    overlaps: StartOverlaps | None = None
    samples: Annotated[int, BeforeValidator(_integer(1, MOST_SAMPLES))] = 1
    seed: Annotated[int, BeforeValidator(_integer(0, 2**63 - 1))] = 0

    @model_validator(mode="after")
    def _one_start(self) -> InitSection:
        self.only_one_of("scale", "means", "overlaps")
        return self


class TimeSection(_Section):
    end: Annotated[float, BeforeValidator(_number(_TIME, _is_time))] = Field(description="a number >= 0")
    save: Annotated[int | list[float] | None, BeforeValidator(_save)] = None


class ProblemFile(_Section):
    dimension: Annotated[int, BeforeValidator(_integer(1, LARGEST_INTEGER))] = Field(description="an integer >= 1")
    target: TargetSection = Field(description="a table [target]")
    family: FamilySection = Field(description="a table [family]")
    flow: FlowSection = FlowSection()
    init: InitSection = Field(description="a table [init]")
    time: TimeSection = Field(description="a table [time]")
    sampler: SamplerSection | None = None
    learning: LearningSection | None = None


_SECTIONS: dict[tuple[str, ...], type[BaseModel]] = {
    (): ProblemFile,
    ("target",): TargetSection,
    ("family",): FamilySection,
    ("flow",): FlowSection,
    ("flow", "batch"): BatchSection,
    ("init",): InitSection,
    ("init", "overlaps"): StartOverlaps,
    ("time",): TimeSection,
    ("sampler",): SamplerSection,
    ("sampler", "refine"): RefineSection,
    ("learning",): LearningSection,
}


def read(text: str, name: str) -> ProblemFile:
    """The values typed in a problem file, each checked for itself.

    Raises
        ProblemError with one line naming file, key, value and what is allowed. Of several errors an unknown key is
        reported first: it is often why another key is missing.
    """
    content = tables(text, name)
    try:
        return ProblemFile.model_validate(content)
    except ValidationError as failure:
        errors = failure.errors(include_url=False)
        unknown = (error for error in errors if error["type"] == "extra_forbidden" or "within" in error.get("ctx", {}))
        first = next(unknown, errors[0])
        path = tuple(str(part) for part in first["loc"])
        key = dotted([*path, *first.get("ctx", {}).get("within", ())])
        raise ProblemError(f"{name}: {key}: {_message(path, first['type'], first)}") from None


def _message(path: tuple[str, ...], kind: str, error: Any) -> str:
    if kind == "extra_forbidden":
        return f"unknown key; {suggestion(path[-1], list(_SECTIONS[path[:-1]].model_fields))}"
    if kind == "missing":
        return f"missing; must be {_SECTIONS[path[:-1]].model_fields[path[-1]].description}"
    if kind == "refused":
        return str(error["ctx"]["message"])
    return f"is {show(error['input'])}; must be a table"
