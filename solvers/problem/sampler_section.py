"""The section [sampler] of a problem file: what may be typed there, and what it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from solvers.problem.gram import span
from solvers.problem.schedule import annealing_of, given_annealing, given_schedule, shares_of
from solvers.problem.values import Section, choice, integer, number, refuse, rows, show

__all__ = [
    "OBJECTIVES",
    "RUNS",
    "RefineSection",
    "Refinement",
    "SamplerOptions",
    "SamplerSection",
    "learned",
    "sampler_options",
    "with_points",
]

MOST_STEPS, MOST_PATHS, MOST_COMPONENTS = 10**5, 10**9, 10**4
#: Independent runs of learning from a start: enough for a standard error that is known to a quarter of itself.
RUNS = 8
LEARNED = ("means", "weights", "variances")
STEERED = {"steps": "eta", "annealing": "beta"}  # of the schedule, and the variable of results that has it
REFERENCES = ("ou", "prior", "annealed")
OBJECTIVES = ("reverse-kl", "log-variance", "trajectory-balance")


def learned(value: object, allowed: tuple[str, ...] = LEARNED) -> list[str]:
    """What moves: a list of any that are allowed, by default those of a mixture, in that order."""
    if not isinstance(value, list):
        raise refuse(f"is {show(value)}; must be a list of any of {', '.join(map(show, allowed))}")
    for entry in value:
        try:
            choice(allowed)(entry)
        except PydanticCustomError as error:
            raise refuse(f"one entry {error.message()}") from None
    return [name for name in allowed if name in value]


def _learned(value: object) -> list[str]:
    return learned(value, (*LEARNED, *STEERED))


def _source(value: object) -> str | list[list[float]]:
    return rows(value) if isinstance(value, list) else choice(("prior", "mala"))(value)


class RefineSection(Section):
    rule: Annotated[str, BeforeValidator(choice(("interval", "stalled", "gain")))] = "interval"
    every: Annotated[float, BeforeValidator(number("a number > 0", lambda x: x > 0))] = 10.0
    candidates: Annotated[int, BeforeValidator(integer(1, MOST_PATHS))] = 256
    until: Annotated[int, BeforeValidator(integer(1, MOST_COMPONENTS))] = Field(description="an integer >= 1")
    source: Annotated[str | list[list[float]], BeforeValidator(_source)] = "mala"
    threshold: Annotated[float, BeforeValidator(number("a number >= 0", lambda x: x >= 0))] = 0.01
    weight: Annotated[float, BeforeValidator(number("a number > 0 and < 1", lambda x: 0 < x < 1))] = 0.05
    variance: Annotated[float | None, BeforeValidator(number("a number > 0", lambda x: x > 0))] = None


class SamplerSection(Section):
    method: Annotated[str, BeforeValidator(choice(("dis", "mcd", "cmcd", "dbs")))] = "dis"
    reference: Annotated[str | None, BeforeValidator(choice(REFERENCES))] = None
    control: Annotated[str, BeforeValidator(choice(("none", "exact", "mixture")))] = "none"
    steps: Annotated[int, BeforeValidator(integer(0, MOST_STEPS))] = 32
    horizon: Annotated[float, BeforeValidator(number("a number > 0", lambda x: x > 0))] = 1.5
    schedule: Annotated[str | list[float], BeforeValidator(given_schedule)] = "constant"
    annealing: Annotated[str | list[float], BeforeValidator(given_annealing)] = "linear"
    paths: Annotated[int, BeforeValidator(integer(2, MOST_PATHS))] = 4096
    components: Annotated[int | None, BeforeValidator(integer(1, MOST_COMPONENTS))] = None
    learn: Annotated[list[str] | None, BeforeValidator(_learned)] = None
    objective: Annotated[str, BeforeValidator(choice(OBJECTIVES))] = OBJECTIVES[0]
    explore: Annotated[float | None, BeforeValidator(number("a number > 0", lambda x: x > 0))] = None
    refine: RefineSection | None = None


@dataclass(frozen=True, eq=False)
class Refinement:
    """When and how a component is added to the prior.

    rule: "interval" (at every multiple of `every`), "stalled" (there, if |dD/dt| < threshold), "gain" (there, if the
    predicted gain, in nats per unit weight, is above the threshold). candidates: how many points, from source "prior"
    or "mala"; a source (n, d') are given points, all of them candidates each time. until: most components. weight,
    variance: of a new component; variance None is the prior's mean one. laid: in no file; rows of the given points,
    one an addition, laid down beforehand so that runs can be compared which would add others themselves: the run's own
    choice where it ends, and None for a run of which nobody asks what it added.
    """

    rule: str
    every: float
    candidates: int
    until: int
    source: str | NDArray[np.float64]
    threshold: float
    weight: float
    variance: float | None
    laid: tuple[int, ...] | None = None

    def chosen(self, addition: int, own: int) -> int:
        """The row of the candidates that is added, of the additions from 0, where the run itself would choose `own`."""
        laid = self.laid or ()
        return laid[addition] if addition < len(laid) else own


@dataclass(frozen=True, eq=False)
class SamplerOptions:
    """A checked [sampler] section.

    method: "dis", "mcd", "cmcd" or "dbs". reference: "ou", "prior" or "annealed". control: "none", "exact" or
    "mixture". steps: N. horizon: Σ η_n. shares (N,): η_n / horizon, None where all are equal. annealing (N+1,): β_n,
    None for n/N. paths: of the reduced chain behind each evaluation, and behind the gradient.
    components: of a mixture control, at most; it begins as the prior, or its first components, and grows with it.
    learn: which of "means", "weights", "variances" of the mixture control move; empty for other controls.
    objective: one of OBJECTIVES, which learning descends. explore: how many times as far from the mean of their
    component the paths behind it start; 1 for the sampler's own. steered: which of "steps" and "annealing" move.
    """

    method: str
    reference: str
    control: str
    steps: int
    horizon: float
    paths: int
    components: int
    learn: tuple[str, ...]
    refine: Refinement | None
    objective: str = OBJECTIVES[0]
    explore: float = 1.0
    shares: NDArray[np.float64] | None = None
    annealing: NDArray[np.float64] | None = None
    steered: tuple[str, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether anything is learned beside the prior."""
        return bool(self.learn or self.steered)

    @property
    def moving(self) -> dict[str, tuple[int, ...]]:
        """What is learned of the schedule, by the variables of results, and their shapes: eta (N,), beta (N + 1,)."""
        return {STEERED[name]: (self.steps + (name == "annealing"),) for name in self.steered}


def sampler_options(
    section: SamplerSection,
    learn: tuple[str, ...],
    components: int,
    fail: Callable[[str, str], NoReturn],
) -> SamplerOptions:
    """The options, once they fit together.

    learn: what is learned of the prior, the default for a mixture control. components: K of the prior.
    """
    method, control = section.method, section.control
    reference = section.reference or ("ou" if method == "dis" else "annealed")
    if method == "dis" and reference == "annealed":
        others = ", ".join(show(name) for name in REFERENCES if name != reference)
        fail("sampler.reference", f'is "annealed"; with method = "dis" allowed: {others}')
    if control == "exact" and (method, reference) != ("dis", "ou"):
        fail(
            "sampler.control",
            f'is "exact"; known for method = "dis" with reference = "ou" only, here {method}, {reference}',
        )
    steps, horizon, shares = shares_of(section, fail)
    if steps == 0 and control != "none":
        fail("sampler.steps", f'is 0; must be >= 1 with control = "{control}"')
    given = section.learn or []
    steered, own = (tuple(name for name in names if name in given) for names in (STEERED, LEARNED))
    if section.learn is not None and control != "mixture" and (own or not steered):
        fail("sampler.learn", f'is {show(given)}; a control to learn needs control = "mixture"')
    if "steps" in steered and steps == 0:
        fail("sampler.learn", f"is {show(given)}; there are no steps to learn with sampler.steps = 0")
    if "annealing" in steered and (reference != "annealed" or steps < 2):
        fail(
            "sampler.learn",
            f'is {show(given)}; "annealing" needs reference = "annealed" and sampler.steps >= 2, here '
            f"{show(reference)} and {steps}",
        )
    refine = None
    if section.refine is not None:
        if section.refine.until < components:
            fail("sampler.refine.until", f"is {section.refine.until}; must be >= family.components = {components}")
        if not learn:
            fail(
                "sampler.refine",
                f"needs a prior that learns; family.learn must name some of {', '.join(map(show, LEARNED))}",
            )
        refine = Refinement(**section.refine.model_dump())
    most = refine.until if refine else components
    if section.components is not None and control != "mixture":
        fail("sampler.components", f'is {section.components}; a control of components needs control = "mixture"')
    if section.components is not None and section.components > most:
        grown = "sampler.refine.until" if refine else "family.components"
        fail("sampler.components", f"is {section.components}; must be <= {grown} = {most}: it grows with the prior")
    moves = (learn if section.learn is None else own) if control == "mixture" else ()
    _check_objective(section, learn + moves, fail)
    if steered and section.objective != OBJECTIVES[0]:
        must = f"is {show(section.objective)}; must be {show(OBJECTIVES[0])}"
        fail("sampler.objective", f"{must} to learn {', '.join(map(show, steered))}")
    return SamplerOptions(
        method, reference, control, steps, horizon, section.paths, section.components or most, moves, refine,
        section.objective, 1.0 if section.explore is None else section.explore, shares,
        annealing_of(section, reference, steps, fail), steered,
    )  # fmt: skip


def _check_objective(section: SamplerSection, moves: tuple[str, ...], fail: Callable[[str, str], NoReturn]) -> None:
    """Refuse what does not go with an objective. moves: what is learned of anything."""
    usual, *others = OBJECTIVES
    if section.objective == usual:
        if section.explore is not None:
            must = f"needs sampler.objective = {' or '.join(map(show, others))}, whose paths may be of another law"
            fail("sampler.explore", f"is {show(section.explore)}; {must}")
        return
    given = f"is {show(section.objective)}"
    if not moves:
        fail("sampler.objective", f"{given}; must be left out where nothing is learned")
    if section.steps == 0:
        fail("sampler.steps", f"is 0; must be >= 1 with sampler.objective = {show(section.objective)}")
    if section.refine is not None:
        fail("sampler.objective", f"{given}; must be {show(usual)} with sampler.refine")


def with_points(options: SamplerOptions, file: Any, vectors: NDArray[np.float64], builder: Any) -> SamplerOptions:
    """The options with given candidates as an array (n, d'), once it is known where they are.

    file: the ProblemFile. vectors (L, d''): those of the target. builder: with rows, bounded and fail of a problem.
    """
    key = "sampler.refine.source"
    if options.refine is None or isinstance(options.refine.source, str):
        return options
    if file.target.overlaps is not None:
        builder.fail(key, "has no common coordinates with target.overlaps; give target.means")
    points = np.asarray(builder.rows(key, options.refine.source))
    builder.bounded(key, file.sampler.refine.source, points)
    points.setflags(write=False)
    if file.init.means is None:
        width = max(points.shape[1], vectors.shape[1])
        wide, basis = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (points, vectors))
        basis = span(basis)[1]
        outside = np.linalg.norm(wide - wide @ basis @ basis.T, axis=1)
        if (bad := np.flatnonzero(outside > 1e-9 * np.linalg.norm(wide, axis=1))).size:
            builder.fail(
                key,
                f"row {bad[0] + 1} leaves the span of the target's means, and without init.means nothing says where "
                "the components are to it; allowed: points in that span",
            )
    return replace(options, refine=replace(options.refine, source=points))
