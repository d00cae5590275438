"""What is asked: problem files, checked; keys of problems; starts, and the span that they lie in."""

from solvers.problem.problem import (
    Batch,
    Family,
    Flow,
    Init,
    Overlaps,
    Problem,
    ProblemError,
    SamplerOptions,
    Schedule,
    Target,
    Time,
)

__all__ = [
    "Batch",
    "Family",
    "Flow",
    "Init",
    "Overlaps",
    "Problem",
    "ProblemError",
    "SamplerOptions",
    "Schedule",
    "Target",
    "Time",
]
