"""What an optimiser makes of the velocity of the gradient flow: an explicit Euler step, or a step as one takes them.

sgd      x ← x + rate · velocity: Euler's step, its length the rate of each mixture
adam     x ← x + rate · m̂/(√v̂ + ε), m̂ and v̂ running averages of the velocity and of its square, free of the bias of
         their start at zero, coordinate by coordinate

Coordinates are means, log-variances and θ (weights = softmax θ), and log η and logits of a schedule. The velocity is
minus the gradient in the metric of the problem, which is minus the gradient itself for the Euclidean one with softmax
weights.

Source  Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1 and its default constants.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from solvers.problem import Problem, ProblemError
from solvers.problem.learning_section import LearningOptions

__all__ = ["Adam", "Euler", "Optimiser", "Sgd", "check_rates", "chosen", "labelled"]

Array = NDArray[np.float64]
#: By what moves: tuples of arrays with names, of mixtures and of the schedule.
Velocity = dict[str, Any]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Optimiser(Protocol):
    """One run of learning."""

    def moves(self, now: float, stop: float) -> int:
        """How many steps to take from one learning time to the next."""

    def displacement(self, velocity: Velocity) -> Velocity:
        """By how much the next of them moves what is learned; called once for each."""

    def forget(self) -> None:
        """There is a component more: nothing is known of how it moved."""


class Euler:
    """The flow. Each interval between stops is cut into the fewest equal steps not longer than `step`, each of them
    into `cuts`."""

    def __init__(self, step: float, cuts: int) -> None:
        self.step, self.cuts, self.now = step, cuts, 0.0

    def moves(self, now: float, stop: float) -> int:
        count = self.cuts * ceil((stop - now) / self.step * (1 - 1e-12))
        self.now = (stop - now) / count
        return count

    def displacement(self, velocity: Velocity) -> Velocity:
        return {name: type(bars)(*(self.now * a for a in bars)) for name, bars in velocity.items()}

    def forget(self) -> None:
        """It remembers nothing."""


class Sgd:
    """Steps of given rates. end: the learning time when all are done."""

    def __init__(self, options: LearningOptions, end: float) -> None:
        self.options, self.end = options, end

    def moves(self, now: float, stop: float) -> int:
        return self.options.done(stop, self.end) - self.options.done(now, self.end)

    def displacement(self, velocity: Velocity) -> Velocity:
        return {
            name: type(bars)(*(self.options.rate_of(name) * a for a in self.directions(name, bars)))
            for name, bars in velocity.items()
        }

    def directions(self, name: str, velocity: Any) -> Any:
        """Where to go, per unit of the rate."""
        return velocity

    def forget(self) -> None:
        """It remembers nothing."""


class Adam(Sgd):
    def __init__(self, options: LearningOptions, end: float) -> None:
        super().__init__(options, end)
        self.forget()

    def forget(self) -> None:
        #: Of each mixture: steps, and averages of velocity and square, of each kind of parameter.
        self.known: dict[str, tuple[int, list[Array], list[Array]]] = {}

    def directions(self, name: str, velocity: Any) -> Any:
        zero = [np.zeros_like(a) for a in velocity]
        count, first, second = self.known.get(name, (0, zero, zero))
        count += 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, velocity, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g**2 for v, g in zip(second, velocity, strict=True)]
        self.known[name] = count, first, second
        m_hat, v_hat = ([a / (1 - beta**count) for a in moments] for moments, beta in ((first, BETA1), (second, BETA2)))
        return type(velocity)(*(m / (np.sqrt(v) + EPSILON) for m, v in zip(m_hat, v_hat, strict=True)))


def chosen(options: LearningOptions | None, end: float, step: float, cuts: int) -> Callable[[], Optimiser]:
    """Who makes the optimiser of a run: of these options, or Euler's."""
    if options is None:
        return lambda: Euler(step, cuts)
    kind = {"sgd": Sgd, "adam": Adam}[options.optimiser]
    return lambda: kind(options, end)


def check_rates(name: str, options: LearningOptions, control: bool, largest: float) -> None:
    """Refuse rates by which steps along the velocity are unstable, in the problem of this name. control: whether
    anything beside the prior is learned. Raises  ProblemError."""
    used = {"rate": options.rate, "rate_prior": options.rate_prior} if control else {"rate_prior": options.rate_prior}
    for key, rate in used.items():
        if options.optimiser == "sgd" and rate > largest:
            key = "rate" if rate == options.rate else key
            raise ProblemError(
                f"{name}: learning.{key}: is {rate:.6g}; must be, for the steps to be stable, at most the smallest "
                f"variance and 1, {largest:.6g}"
            )


def labelled(ds: xr.Dataset, problem: Problem, particles: int) -> xr.Dataset:
    """A simulation that says who learned: attributes, and how many steps were done at each save time."""
    options, end = problem.learning, problem.time.end
    if options is None:
        return ds.assign_attrs(optimiser="flow")
    about = {"units": "1", "long_name": f"steps of {options.optimiser} done"}
    done = [options.done(float(time), end) for time in problem.time.times]
    ds = ds.assign(learning_step=xr.Variable(("time",), done, about))
    ds["time"].attrs["long_name"] = "learning time: time.end when all steps are done, in proportion before"
    return ds.assign_attrs(
        optimiser=options.optimiser, learning_steps=options.steps, learning_batch=options.batch or particles,
        learning_rate=options.rate, learning_rate_prior=options.rate_prior,
    )  # fmt: skip
