"""Problem files: which target, which family, which flow, from where and for how long."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from solvers.problem.family import ISOTROPIC, Family, diagonal_of, over_coordinates
from solvers.problem.flow_section import MOST_STEPS, Batch, Flow, FlowSection, Schedule, check_objective, flow_options
from solvers.problem.geometry import modes
from solvers.problem.gram import NotGram, factor
from solvers.problem.learning_section import LearningOptions, learning_options
from solvers.problem.sampler_section import SamplerOptions, sampler_options, with_points
from solvers.problem.schema import (
    MOST_COMPONENTS,
    FamilySection,
    InitSection,
    ProblemFile,
    TargetSection,
    TimeSection,
    read,
    show,
)
from solvers.problem.text import ProblemError, read_text

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

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Target:
    """p = Σ_l π_l N(ν_l, u_l I), l = 1..L.

    c (L, L): overlaps ν_i·ν_l. weights (L,): π, summing to 1. variances (L,): u_l. vectors (L, d'): coordinates of ν_l
    in the first d' ≤ d directions, the others being zero; given as overlaps, vectors that have them, with d' = rank(c).
    """

    c: Array
    weights: Array
    variances: Array
    vectors: Array


@dataclass(frozen=True, eq=False)
class Overlaps:
    """One start by its overlaps: s (K, K) = μ_k·μ_j and m (K, L) = μ_k·ν_l."""

    s: Array
    m: Array


@dataclass(frozen=True, eq=False)
class Init:
    """Where the flow starts: exactly one of scale, means, overlaps is not None.

    scale: σ₀ of μ_k(0) ~ N(0, σ₀² I_d). means (K, d'): coordinates in the first d' ≤ d directions. samples: how many
    independent starts, 1 unless drawn by scale. seed: of every random number of the problem.
    """

    scale: float | None
    means: Array | None
    overlaps: Overlaps | None
    samples: int
    seed: int


@dataclass(frozen=True, eq=False)
class Time:
    """end: the flow time at which to stop. times (T,): increasing, in [0, end]; when states are saved."""

    end: float
    times: Array


@dataclass(frozen=True, eq=False)
class Problem:
    """A checked problem. All arrays are float64 and read-only.

    text: the TOML it came from. name: what messages call that text, usually the file. dimension: d.
    sampler: None for a gradient flow; else the family is the prior of a diffusion sampler.
    learning: None for the gradient flow; else the steps by which a sampler that is simulated learns.
    """

    text: str
    name: str
    dimension: int
    target: Target
    family: Family
    flow: Flow
    init: Init
    time: Time
    sampler: SamplerOptions | None = None
    learning: LearningOptions | None = None

    @property
    def own_variances(self) -> bool:
        """Whether variances differ or are learned: components and modes then have one each in the equations."""
        both = (self.family.variances, self.target.variances)
        return "variances" in self.family.learn or any(np.ptp(variances) > 0 for variances in both)

    def only_flow(self) -> None:
        """Raise ValueError for a sampler, in functions that know flows alone: solvers.ask tells them apart."""
        if self.sampler is not None:
            raise ValueError(f"{self.name}: has a [sampler], and this function is for flows; use solvers.ask")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Problem:
        """Read a problem file.

        Raises  ProblemError if it cannot be read or is not a valid problem.
        """
        return cls.parse(read_text(path, "a problem file in TOML"), os.fspath(path))

    @classmethod
    def parse(cls, text: str, name: str = "problem") -> Problem:
        """Read a problem from TOML text.

        Raises  ProblemError with one line `name: key: what is wrong, what is allowed`.
        """
        text = text.removeprefix("\ufeff")
        file = read(text, name)
        builder = _Builder(name, file.dimension)
        target = builder.target(file.target)
        family, time = builder.family(file.family), builder.time(file.time)
        sampler = builder.sampler(file, family, target)
        problem = cls(
            text=text,
            name=name,
            dimension=file.dimension,
            target=target,
            family=family,
            flow=builder.flow(file.flow, time.end),
            init=builder.init(file.init, family.components, target, given_overlaps=file.target.overlaps is not None),
            time=time,
            sampler=sampler,
            learning=learning_options(file, sampler, builder.fail),
        )
        check_objective(problem.flow, problem.own_variances, builder.fail)
        return problem


@dataclass(frozen=True)
class _Builder:
    """What the sections of one file need from each other to become arrays."""

    name: str
    dimension: int

    def fail(self, key: str, message: str) -> NoReturn:
        raise ProblemError(f"{self.name}: {key}: {message}")

    def target(self, section: TargetSection) -> Target:
        if section.means is not None and len(section.means) > MOST_COMPONENTS:
            self.fail("target.means", f"has {len(section.means)} rows; must have at most {MOST_COMPONENTS}")
        vectors = modes(section, self)
        if section.overlaps is None:
            c = vectors @ vectors.T
        else:  # as typed
            c = np.array(section.overlaps) * section.scale * section.scale
        count = len(c)
        weights = self.weights("target.weights", section.weights, count, "mode")
        variances = self.variances("target.variances", section.variances, count, "mode")
        return Target(_fixed(c), weights, variances, _fixed(vectors))

    def family(self, section: FamilySection) -> Family:
        components, diagonal = section.components, diagonal_of(section, self.dimension, self.fail)
        typed: Any = section.variances if diagonal is None else over_coordinates(diagonal, self.dimension)
        return Family(
            components,
            self.weights("family.weights", section.weights, components, "component"),
            self.variances("family.variances", typed, components, "component"),
            tuple(section.learn),
            None if diagonal is None else _fixed(diagonal),
        )

    def sampler(self, file: ProblemFile, family: Family, target: Target) -> SamplerOptions | None:
        if file.sampler is None:
            if file.family.covariance != ISOTROPIC:
                must = f'"{ISOTROPIC}" without a [sampler], whose simulation alone has others'
                self.fail("family.covariance", f"is {show(file.family.covariance)}; must be {must}")
            return None
        for key, allowed in (("objective", "reverse-kl"), ("temperature", 1.0)):
            if (value := getattr(file.flow, key)) != allowed:
                self.fail(f"flow.{key}", f"is {show(value)}; with a [sampler] allowed: {show(allowed)}")
        if file.flow.batch is not None:
            self.fail("flow.batch", "is given with a [sampler]; leave one of them out")
        options = sampler_options(file.sampler, family.learn, family.components, self.fail)
        if file.family.covariance != ISOTROPIC and (options.objective != "reverse-kl" or options.steered):
            given = f"is {show(file.family.covariance)}; must be {show(ISOTROPIC)}"
            learned = f"sampler.learn = {show(list(options.steered))}"
            other = learned if options.steered else f"sampler.objective = {show(options.objective)}"
            self.fail("family.covariance", f"{given} with {other}")
        most = options.refine.until if options.refine else family.components
        if file.time.end > 0 and (family.learn or options.learns) and options.paths < most:
            self.fail(
                "sampler.paths",
                f"is {options.paths}; must be >= {most}: learning starts as many paths in each component of the prior",
            )
        return with_points(options, file, target.vectors, self)

    def init(self, section: InitSection, components: int, target: Target, *, given_overlaps: bool) -> Init:
        if section.scale is None and section.samples != 1:
            given = "means" if section.means is not None else "overlaps"
            self.fail("init.samples", f"is {section.samples}; must be 1 or left out, since init.{given} is one start")
        if section.scale is not None:
            # A length of the order of those that will be drawn.
            self.bounded("init.scale", section.scale, np.array([[section.scale * math.sqrt(self.dimension)]]))
        means = overlaps = None
        if section.means is not None:
            if given_overlaps:
                self.fail(
                    "init.means",
                    "has no common coordinates with target.overlaps; give target.means, or start by init.overlaps",
                )
            means = self.init_means(section.means, components)
        if section.overlaps is not None:
            s, m = np.array(section.overlaps.s), np.array(section.overlaps.m)
            self.shape("init.overlaps.s", s, (components, components), "K × K")
            self.shape("init.overlaps.m", m, (components, len(target.c)), "K × L")
            self.factor("init.overlaps", np.block([[s, m], [m.T, target.c]]), "with the overlaps of the target ")
            overlaps = Overlaps(_fixed(s), _fixed(m))
        return Init(section.scale, means, overlaps, section.samples, section.seed)

    def init_means(self, rows: list[list[float]], components: int) -> Array:
        if len(rows) != components:
            self.fail("init.means", f"has {len(rows)} rows, must have {components}, one per component")
        means = self.rows("init.means", rows)
        self.bounded("init.means", rows, means)
        return _fixed(means)

    def time(self, section: TimeSection) -> Time:
        end, save = section.end, section.save
        if isinstance(save, list):
            if save[-1] > end:
                self.fail("time.save", f"entry {len(save)} is {show(save[-1])}; must be <= time.end = {show(end)}")
            return Time(end, _fixed(np.array(save)))
        if save is None:
            save = 51 if end > 0 else 1
        if save > 1 and end == 0:
            self.fail("time.save", f"is {save}; must be 1 when time.end = 0")
        return Time(end, _fixed(np.linspace(0.0, end, save)))

    def flow(self, section: FlowSection, end: float) -> Flow:
        flow = flow_options(section)
        # A save time stands for the step nearest to it: with steps no longer than the time that is half a step at most.
        if flow.batch is not None and end > 0 and not end / MOST_STEPS <= flow.batch.step <= end:
            allowed = f"from {show(end / MOST_STEPS)} to time.end = {show(end)}, for at most {MOST_STEPS:,} steps"
            self.fail("flow.batch.step", f"is {show(flow.batch.step)}; must be {allowed}")
        return flow

    def weights(self, key: str, weights: list[float] | None, count: int, what: str) -> Array:
        if weights is None:
            return _fixed(np.full(count, 1.0 / count))
        if len(weights) != count:
            self.fail(key, f"has {len(weights)} entries, must have {count}, one per {what}")
        return _fixed(np.array(weights) / sum(weights))

    def variances(self, key: str, variances: float | list[float], count: int, what: str) -> Array:
        if isinstance(variances, list) and len(variances) != count:
            self.fail(key, f"has {len(variances)} entries, must be a number or have {count}, one per {what}")
        return _fixed(np.broadcast_to(np.array(variances), (count,)).copy())

    def rows(self, key: str, rows: list[list[float]]) -> Array:
        """Rows padded with zeros to the longest of them, which may be much shorter than d."""
        longest = max(len(row) for row in rows)
        if longest > self.dimension:
            row = next(i for i, row in enumerate(rows, start=1) if len(row) > self.dimension)
            entries = len(rows[row - 1])
            self.fail(key, f"row {row} has {entries} entries, must have at most dimension = {self.dimension}")
        return np.array([row + [0.0] * (max(longest, 1) - len(row)) for row in rows])

    def bounded(self, key: str, value: object, vectors: Array) -> None:
        """Refuse vectors with overlaps beyond float64; none is larger than the largest squared length."""
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("nd,nd->n", vectors, vectors)
        if not np.all(np.isfinite(squares)):
            self.fail(key, f"is {show(value)}; its overlaps exceed the range of float64, must be smaller")

    def shape(self, key: str, matrix: Array, shape: tuple[int, int], what: str) -> None:
        if matrix.shape != shape:
            has, must = (" × ".join(str(n) for n in size) for size in (matrix.shape, shape))
            self.fail(key, f"is {has}; must be {what} = {must}")

    def factor(self, key: str, gram: Array, context: str = "") -> Array:
        try:
            vectors = factor(gram)
        except NotGram as error:
            self.fail(key, f"{context}is not positive semi-definite ({error}); must be inner products of vectors")
        if (rank := vectors.shape[1]) > self.dimension:
            self.fail(key, f"{context}has rank {rank}, must be at most dimension = {self.dimension}")
        return vectors


def _fixed(array: Array) -> Array:
    array = np.ascontiguousarray(array, dtype=np.float64)
    array.setflags(write=False)
    return array
