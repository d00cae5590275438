"""The section [flow] of a problem file: what may be typed there, and what it becomes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NoReturn

from pydantic import BeforeValidator, Field

from solvers.objective.grammar import LONE_VARIANCE, NO_DIVERGENCE, ObjectiveError, parse
from solvers.objective.polynomials import DIVERGENCES, Polynomial, atoms, unsummed, written
from solvers.problem.values import Section, choice, integer, is_number, number, refuse, show, unknown_key

__all__ = ["MOST_STEPS", "Batch", "BatchSection", "Flow", "FlowSection", "Schedule", "check_objective", "flow_options"]

LARGEST_BATCH = 2**32 - 1  # particles are counted in one word of a random number's counter
# 1/T² times overlaps is in the equations: further out it leaves the range of float64.
COLDEST, HOTTEST = 1e-100, 1e100


def _temperature(value: object) -> float | tuple[float, float]:
    allowed = (
        "a number > 0, or a schedule such as {start = 4.0, rate = 0.05} with start > 0 and rate >= 0, "
        f"temperatures from {COLDEST:g} to {HOTTEST:g}"
    )
    if isinstance(value, dict):
        if unknown := [key for key in value if key not in ("start", "rate")]:
            raise unknown_key(unknown[0], ("start", "rate"))
        start, rate = value.get("start", 0), value.get("rate", -1)
        if len(value) != 2 or not (is_number(start) and is_number(rate) and COLDEST <= start <= HOTTEST and rate >= 0):
            raise refuse(f"is {show(value)}; must be {allowed}")
        return float(start), float(rate)
    return number(allowed, lambda x: COLDEST <= x <= HOTTEST)(value)


def _objective(value: object) -> str:
    """The normal form of the text of an objective."""
    allowed = f'allowed: {", ".join(map(show, DIVERGENCES))}, or a sum such as "{" + 0.3 ".join(DIVERGENCES)}"'
    if not isinstance(value, str):
        raise refuse(f"is {show(value)}; {allowed}")
    try:
        return written(parse(value))
    except ObjectiveError as error:
        raise refuse(f"is {show(value)}; {str(error).rpartition(': at ')[2] or error}; {allowed}") from None


def _parameters(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or not all(is_number(entry) for entry in value.values()):
        raise refuse(f"is {show(value)}; must be a table of finite numbers, such as {{lam = 0.3}}")
    return {str(name): float(entry) for name, entry in value.items()}


class BatchSection(Section):
    size: Annotated[int, BeforeValidator(integer(1, LARGEST_BATCH))] = Field(description="an integer >= 1")
    step: Annotated[float, BeforeValidator(number("a number > 0", lambda x: x > 0))] = Field(description="a number > 0")


class FlowSection(Section):
    objective: Annotated[str, BeforeValidator(_objective)] = "reverse-kl"
    parameters: Annotated[dict[str, float], BeforeValidator(_parameters)] = Field(default_factory=dict)
    weights: Annotated[str, BeforeValidator(choice(("softmax", "fisher-rao")))] = "softmax"
    metric: Annotated[str, BeforeValidator(choice(("euclidean", "wasserstein")))] = "euclidean"
    temperature: Annotated[float | tuple[float, float], BeforeValidator(_temperature)] = 1.0
    batch: BatchSection | None = None


# Steps of flow.batch in a run: at ten microseconds each, a quarter of an hour of nothing but steps.
MOST_STEPS = 10**8


@dataclass(frozen=True)
class Batch:
    """Descent by steps: `size` fresh samples of each component behind each of them, `step` the learning rate."""

    size: int
    step: float


@dataclass(frozen=True)
class Schedule:
    """A temperature that decays to 1: T(t) = 1 + (start − 1) e^(−rate t), as start e^(−rate t) + (1 − e^(−rate t))."""

    start: float
    rate: float


@dataclass(frozen=True)
class Flow:
    """objective: "reverse-kl", "forward-kl", or a sum, in the normal form of solvers.objective.grammar. weights:
    "softmax", "fisher-rao". metric: "euclidean", "wasserstein".

    temperature: T of the target p^(1/T), constant or a schedule. batch: None for the flow itself, in continuous time
    and without noise. named: parameters of the objective and their values.
    """

    objective: str
    weights: str
    metric: str
    temperature: float | Schedule
    batch: Batch | None = None
    named: tuple[tuple[str, float], ...] = ()

    @property
    def parameters(self) -> dict[str, float]:
        """Values of the parameters of the objective, by name."""
        return dict(self.named)

    @property
    def terms(self) -> Polynomial:
        """The objective as a sum of products."""
        return parse(self.objective)

    @property
    def tempered(self) -> bool:
        """Whether the temperature is in the objective: in reverse-kl, and not in reverse-kl(2)."""
        found = list(atoms(self.terms))
        reverse = any(atom.name == "reverse-kl" and atom.inner is None for atom in found)
        return reverse or any((atom.kind, atom.name) == ("parameter", "beta") for atom in found)

    @property
    def nonnegative(self) -> bool:
        """Whether the objective is known to be: divergences at temperature 1, times positive numbers."""
        plain = all(
            factor > 0 and [(a.kind, a.inner) for a, _ in monomial] == [("divergence", None)]
            for monomial, factor in self.terms
        )
        return plain and self.temperature == 1

    def at(self, time: float) -> float:
        """Temperature."""
        if isinstance(self.temperature, Schedule):
            passed = -self.temperature.rate * time
            return self.temperature.start * math.exp(passed) - math.expm1(passed)
        return self.temperature

    def beta(self, time: float) -> float:
        """Inverse temperature."""
        return 1 / self.at(time)


def flow_options(section: FlowSection) -> Flow:
    """The options as the rest of the program wants them."""
    batch = None if section.batch is None else Batch(section.batch.size, section.batch.step)
    given = section.temperature
    temperature = Schedule(*given) if isinstance(given, tuple) else given
    named = tuple(section.parameters.items())
    return Flow(section.objective, section.weights, section.metric, temperature, batch, named)


def check_objective(flow: Flow, own_variances: bool, fail: Callable[[str, str], NoReturn]) -> None:
    """Refuse by `fail` an objective without a divergence, parameters that are not just those of the objective, and one
    variance of q where it has more."""
    if not any(atom.kind == "divergence" for atom in atoms(flow.terms)):
        fail("flow.objective", f"is {show(flow.objective)}; {NO_DIVERGENCE}")
    asked = {atom.name for atom in atoms(flow.terms) if atom.kind == "parameter"} - {"beta"}
    if missing := sorted(asked - set(flow.parameters)):
        fail("flow.parameters", f"lacks {missing[0]}; must give every parameter of flow.objective")
    for name in flow.parameters:
        if name == "beta":
            fail("flow.parameters.beta", "is 1/temperature, of flow.temperature; must be left out")
        if name not in asked:
            allowed = ", ".join(sorted(asked)) or "none, since flow.objective has none"
            fail(f"flow.parameters.{name}", f"is no parameter of flow.objective; allowed: {allowed}")
    if own_variances and "v" in {atom.name for atom in unsummed(flow.terms)}:
        fail("flow.objective", f"is {show(flow.objective)}; {LONE_VARIANCE}")
