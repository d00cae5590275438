"""The section [learning] of a problem file: optimisers as they are run in practice, for samplers that are simulated.

The theory is of the gradient flow, optimiser = "flow"; the others take steps, and their time counts these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator

from solvers.problem.flow_section import LARGEST_BATCH, MOST_STEPS
from solvers.problem.sampler_section import SamplerOptions
from solvers.problem.text import ProblemError
from solvers.problem.values import Section, choice, integer, number, show

__all__ = ["LearningOptions", "LearningSection", "learning_options", "only_flow_learns"]

FLOW, SGD, ADAM = "flow", "sgd", "adam"


class LearningSection(Section):
    optimiser: Annotated[str, BeforeValidator(choice((FLOW, SGD, ADAM)))] = FLOW
    rate: Annotated[float | None, BeforeValidator(number("a number > 0", lambda x: x > 0))] = None
    rate_prior: Annotated[float | None, BeforeValidator(number("a number > 0", lambda x: x > 0))] = None
    batch: Annotated[int | None, BeforeValidator(integer(1, LARGEST_BATCH))] = None
    steps: Annotated[int | None, BeforeValidator(integer(1, MOST_STEPS))] = None


@dataclass(frozen=True)
class LearningOptions:
    """Learning by steps. optimiser: "sgd" or "adam". rate: of a control, of c and of a schedule, rate_prior: of the
    prior, per step. batch: paths behind each gradient, None for as many as behind the evaluations. steps: until
    time.end; 0 if nothing is learned."""

    optimiser: str
    rate: float
    rate_prior: float
    batch: int | None
    steps: int

    def rate_of(self, mixture: str) -> float:
        """The rate of the prior, or of what else is learned."""
        return self.rate_prior if mixture == "prior" else self.rate

    def done(self, time: float, end: float) -> int:
        """How many steps are done at a time: time.end stands for all of them, others for their share, rounded."""
        return round(self.steps * (time / end)) if end else 0


def only_flow_learns(name: str, learning: LearningOptions | None) -> None:
    """Raise ProblemError for the problem of this name if it learns by steps, of which the theory knows nothing."""
    if learning is not None:
        raise ProblemError(
            f"{name}: learning.optimiser: is {show(learning.optimiser)}; must be {show(FLOW)}, which the theory is of; "
            "other optimisers are for simulate alone"
        )


def learning_options(
    file: Any, sampler: SamplerOptions | None, fail: Callable[[str, str], NoReturn]
) -> LearningOptions | None:
    """The options of a ProblemFile with this sampler; None for the flow."""
    section: LearningSection | None = file.learning
    if section is None:
        return None
    if sampler is None:
        fail("learning", "is given without a [sampler]; must be left out: the steps of a flow are those of flow.batch")
    end = float(file.time.end) if file.family.learn or sampler.learns else 0.0
    name, given = section.optimiser, section.model_dump(exclude_none=True, exclude={"optimiser"})
    if name == FLOW:
        for key, value in given.items():
            fail(
                f"learning.{key}",
                f'is {show(value)}; must be left out with optimiser = "{FLOW}", whose steps and paths are those of '
                "--step and --particles",
            )
        return None
    rate = section.rate or section.rate_prior
    if rate is None:
        fail("learning.rate", f"missing; must be a number > 0 with optimiser = {show(name)}")
    rate_prior = section.rate_prior or rate
    most = sampler.refine.until if sampler.refine else file.family.components
    if sampler.objective != "reverse-kl":
        most *= 2  # from every path the mean of others of its component is taken
    if section.batch is not None and section.batch < most:
        must = f"must be >= {most}: learning starts as many paths in each component of the prior"
        fail("learning.batch", f"is {section.batch}; {must}")
    steps = section.steps
    if steps is not None and end == 0:
        fail("learning.steps", f"is {steps}; must be left out where nothing is learned")
    if steps is None:
        unit = rate if sampler.learns else rate_prior
        if end > unit * MOST_STEPS:
            key = "rate" if unit == section.rate else "rate_prior"
            allowed = f"{show(end / MOST_STEPS)}, for at most {MOST_STEPS:,} steps until time.end = {show(end)}"
            fail(f"learning.{key}", f"is {show(unit)}; must be at least {allowed}")
        steps = max(1, round(end / unit)) if end else 0
    return LearningOptions(name, rate, rate_prior, section.batch, steps)
