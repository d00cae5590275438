"""Iterative refinement: components added to the prior while it learns, where log p − log φ is largest.

Source: Blessing, Jia, Neumann, arXiv 2503.00524 (2025). A candidate x has coordinates x_∥ in the span of the means and
one more, √ϱ, in a direction of its own: its Gram row is (x·v_a, |x|²), and the system goes on with K + 1 components.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from solvers.machine.ranks import VECTORS
from solvers.problem import Problem
from solvers.problem.gram import span
from solvers.problem.sampler_section import Refinement
from solvers.sampler.backends import PLAIN, Walker
from solvers.sampler.chain import Noise, component
from solvers.sampler.gradients import path_gradient
from solvers.sampler.learn import Learning
from solvers.sampler.model import Mixture, Sampler

__all__ = ["Addition", "Script", "add_component", "candidate", "due", "placed", "points", "predicted_gain", "refined"]

Array = NDArray[np.float64]

#: Metropolis-adjusted Langevin chains behind source = "mala": their steps, each a tenth of the least variance.
MALA_STEPS, MALA_STEP = 30, 0.1


def _log_density(sampler: Sampler, name: str, x: Array, rho: Array) -> dict[str, Array]:
    m = sampler.mixtures[name]
    found: dict[str, Array] = sampler.module.score(
        x, rho, m.mean, m.log_var, m.log_w, sampler.dimension, sampler.log_base, 1.0, 1.0, 1.0
    )
    return found


#: By event, from 1: x_∥ (R,) and ϱ of the component added then.
Script = dict[int, tuple[Array, float]]


class Addition(NamedTuple):
    """A point to be added: x_∥ (R,) and ϱ. scores (n,): log p − log φ at all candidates, whose largest is the run's own
    choice."""

    x: Array
    rho: float
    scores: Array


def candidate(sampler: Sampler, refine: Refinement, rng: np.random.Generator, addition: int = 0) -> Addition:
    """The best of the candidates, or what is laid down for this addition, from 0; nan if none has a finite score."""
    x, rho = points(sampler, refine, rng)
    score = _log_density(sampler, "target", x, rho)["lse"] - _log_density(sampler, "prior", x, rho)["lse"]
    if not np.any(np.isfinite(score)):
        return Addition(np.full(x.shape[1], np.nan), np.nan, score)
    best = refine.chosen(addition, int(np.argmax(np.where(np.isfinite(score), score, -np.inf))))
    return Addition(x[best], float(rho[best]), score)


def points(sampler: Sampler, refine: Refinement, rng: np.random.Generator) -> tuple[Array, Array]:
    """x_∥ (n, R) and ϱ (n,): samples of the prior, moved by a short MALA chain towards the target if so asked.

    The chain runs in reduced coordinates: proposal and Metropolis ratio are a step of the reduced chain. Given points
    are in the span, see `placed`.
    """
    if not isinstance(refine.source, str):
        return refine.source, np.zeros(len(refine.source))
    prior, count = sampler.mixtures["prior"], refine.candidates
    moves = MALA_STEPS if refine.source == "mala" else 0
    noise = Noise.draw(replace(sampler, steps=moves), count, rng)
    chosen = component(prior, noise.uniform)
    first = sampler.module.start(prior.mean[chosen], prior.log_var[chosen], *noise.at(0))
    x, rho = first["x"], first["rho"]
    eta = MALA_STEP * float(np.exp(np.min(sampler.mixtures["target"].log_var)))
    here = _log_density(sampler, "target", x, rho)
    for n in range(moves):
        xi = noise.at(n + 1)
        step = sampler.module.step(x, rho, here["shrink"], here["pull"], *xi, eta)
        x_new, rho_new = step["x_new"], step["rho_new"]
        there = _log_density(sampler, "target", x_new, rho_new)
        drifts = (here["shrink"], here["pull"], there["shrink"], there["pull"])
        back = sampler.module.weight(x, rho, *drifts, *xi, eta, sampler.log_base)
        accepted = np.log(rng.random(count)) < back["increment"] + there["lse"] - here["lse"]
        x, rho = np.where(accepted[:, None], x_new, x), np.where(accepted, rho_new, rho)
        here = {name: np.where(accepted if here[name].ndim == 1 else accepted[:, None], there[name], here[name])
                for name in ("shrink", "pull", "lse")}  # fmt: skip
    return x, rho


def placed(problem: Problem, sampler: Sampler, given: Array) -> tuple[Sampler, Array]:
    """Coordinates (n, R) of given points (n, d'), and the sampler in a span that holds them too.

    Where the start has no coordinates the points are in the span of the target, as problem files are made sure of.
    """
    vectors, coordinates = [problem.target.vectors], [sampler.mixtures["target"].mean]
    if problem.init.means is not None:
        vectors.append(problem.init.means)
        coordinates.append(sampler.mixtures["prior"].mean)
    width = max(a.shape[1] for a in (*vectors, given))
    *known, given = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (*vectors, given))
    # Orthonormal rows, the directions of the span in the coordinates of the problem.
    frame = np.linalg.pinv(np.concatenate(coordinates), rcond=VECTORS) @ np.concatenate(known)
    inside = given @ frame.T
    outside = given - inside @ frame
    outside[np.linalg.norm(outside, axis=1) <= 1e-9 * np.linalg.norm(given, axis=1)] = 0.0  # rounding
    more, _ = span(outside)
    mixtures = {
        name: replace(m, mean=np.pad(m.mean, ((0, 0), (0, more.shape[1])))) for name, m in sampler.mixtures.items()
    }
    return replace(sampler, mixtures=mixtures), np.concatenate([inside, more], axis=1)


def add_component(sampler: Sampler, x: Array, rho: float, weight: float, variance: float) -> Sampler:
    """The sampler with one more prior component at (x_∥, ϱ), the other weights reduced in proportion; and one more of
    every control, as long as it may have more: a control that does not know of a component leads its paths away.

    Off the span, ϱ > 0, all means get one more coordinate, that of √ϱ.
    Raises ValueError if the candidate is not finite.
    """
    if not (np.all(np.isfinite(x)) and np.isfinite(rho)):
        raise ValueError("the candidate is not finite")
    wider = int(rho > 0)
    mixtures = {name: replace(m, mean=np.pad(m.mean, ((0, 0), (0, wider)))) for name, m in sampler.mixtures.items()}
    new = np.append(x, np.sqrt(rho)) if wider else x
    for name in ("prior", *sampler.controls):
        old = mixtures[name]
        if name == "prior" or sampler.components is None or len(old.log_w) < sampler.components:
            mixtures[name] = Mixture(
                np.vstack([old.mean, new]),
                np.append(old.log_var, np.log(variance)),
                np.append(old.log_w + np.log1p(-weight), np.log(weight)),
            )
    return replace(sampler, mixtures=mixtures)


def predicted_gain(
    sampler: Sampler, x: Array, rho: float, variance: float, paths: int, rng: np.random.Generator,
    walker: Walker = PLAIN,
) -> float:  # fmt: skip
    """−dD/dε at ε = 0, ε the weight of a new component of the prior at the candidate, nats per unit weight:
    D − E_new[−log W]. What a control gains by growing with it is not in it."""
    tiny = 1e-12  # the prior itself must stay what it is
    wider = add_component(sampler, x, rho, tiny, variance)
    K = len(wider.mixtures["prior"].log_w) - 1
    noise = Noise.draw(wider, paths, rng)
    value, _ = path_gradient(wider, noise, walker)
    new = walker.forward(wider, noise, np.full(paths, K))
    return value + float(np.mean(new.log_weight))


def due(
    learning: Learning, refine: Refinement, x: Array, rho: float, variance: float, rng: np.random.Generator
) -> bool:
    """Whether a component is added now: always ("interval"), once |dD/dt| is below the threshold ("stalled"), or if the
    predicted gain is above it ("gain")."""
    if refine.rule == "interval":
        return True
    if refine.rule == "stalled":
        return learning.decrease() < refine.threshold
    return predicted_gain(learning.sampler, x, rho, variance, learning.paths, rng, learning.walker) > refine.threshold


def refined(
    learning: Learning, refine: Refinement, times: Array, rtol: float, atol: float, rng: np.random.Generator,
    script: Script | None = None,
) -> tuple[list[Sampler], int, list[Addition], Script]:  # fmt: skip
    """The samplers at the given times, with events at the multiples of refine.every; status as of Learning.run; where
    additions are laid down, what was there to be added; and what was added at which event.

    script: what another run from this start added, to do the same, so that components of one number are comparable.
    """
    found: list[Sampler] = []
    added: list[Addition] = []
    made: Script = {}
    now, event = 0.0, 0
    while len(found) < len(times):
        event += 1
        stop = event * refine.every
        inside = times[(times > now if found else times >= now) & (times <= stop)]
        # A save point at an event holds the system before it.
        passed, status = learning.run(np.append(inside, stop) - now, rtol, atol)
        if status:
            return found, status, added, made
        found += passed[: len(inside)]
        learning, now = replace(learning, sampler=passed[-1]), stop
        sampler = learning.sampler
        if len(sampler.mixtures["prior"].log_w) < refine.until and len(found) < len(times):
            prior = sampler.mixtures["prior"]
            variance = refine.variance or float(prior.weights @ np.exp(prior.log_var))
            if script is None:
                x, rho, scores = candidate(sampler, refine, rng, len(added))
                if not (np.all(np.isfinite(x)) and np.isfinite(rho)):
                    return found, 2, added, made
                if refine.laid is not None:  # else nobody asks, and scores may be many
                    added.append(Addition(x, rho, scores))
                if due(learning, refine, x, rho, variance, rng):
                    made[event] = x, rho
            elif event in script:
                made[event] = script[event]
            if event in made:
                sampler = add_component(sampler, *made[event], refine.weight, variance)
                learning = replace(learning, sampler=sampler)
    return found, 0, added, made
