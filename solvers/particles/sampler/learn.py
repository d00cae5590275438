"""Learning the prior of a sampler in R^d, and adding components to it, from simulated paths.

The reverse KL on paths is D = Σ_k α_k E_k[−log W]. Its gradient is estimated from fresh paths at every step of the
optimiser (optimisers.py; Euler's for the flow), stratified over the prior's components, so that weights have exact
gradients given the paths: by reverse mode along paths, or, with the exact control and a small gradient, by the law of
their starts (ratio.py), which has less noise there. Paths kept along the learning time would be learned by heart: in d
dimensions D would come out too small by O(d/paths).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from solvers.particles.motion import rates
from solvers.particles.sampler.chain import Model, gradient, walk
from solvers.particles.sampler.mixtures import Bars
from solvers.particles.sampler.optimisers import Optimiser
from solvers.particles.sampler.schedule import Schedule, in_coordinates
from solvers.results.outcomes import TOO_LONG

__all__ = ["LEVEL", "Gradient", "Learner", "NotFinite", "learn", "path_gradient", "plainly"]

Array = NDArray[np.float64]
#: (step, paths) -> standard normal numbers (path, d).
Normals = Callable[[int, range], Array]
#: (model, chosen, weights, schedule) -> log W (path,), and the derivatives of sampler_chain.gradient in what is
#: learned; schedule, by default None: where those in it are added.
Gradient = Callable[..., tuple[Array, dict[str, Bars]]]
#: By mixture, and of "schedule" where that is learned.
Slopes = dict[str, Any]

LEVEL = "level"  # c of trajectory balance, beside the mixtures: its derivative is the one log-weight
GRADIENT_BYTES = 2**22  # of points of the paths differentiated together
MALA_STEPS, MALA_STEP = 30, 0.1  # candidates by MALA: steps, and their size in units of the least variance of p


class NotFinite(ArithmeticError):
    """Learning left the range of float64. status: a key of solvers.results.STATUS."""

    status = 2


class TooLong(NotFinite):
    """The variances that were learned are too small for the steps of the sampler."""

    status = TOO_LONG


@dataclass(frozen=True)
class Learner:
    """What moves, and how. learn: mixture -> any of means, weights, variances. weights, metric: those of
    solvers.particles.motion. paths: behind each gradient. optimiser: makes that of a run. stop: called now and then,
    may raise. objective, explore: of the problem file. steered: any of steps, annealing."""

    learn: dict[str, tuple[str, ...]]
    weights: str
    metric: str
    paths: int
    optimiser: Callable[[], Optimiser]
    stop: Callable[[], None]
    objective: str = "reverse-kl"
    explore: float = 1.0
    steered: tuple[str, ...] = ()

    @property
    def detached(self) -> bool:
        """Whether the law of the paths is not differentiated."""
        return self.objective != "reverse-kl"

    @property
    def moving(self) -> list[str]:
        """The mixtures of which anything is learned."""
        return [name for name, learned in self.learn.items() if learned]

    @property
    def narrows(self) -> bool:
        """Whether steps may become too long for the variances, or the other way round."""
        return bool(self.steered) or any("variances" in learned for learned in self.learn.values())


def _some(normals: Normals, paths: range, step: int) -> Array:
    return normals(step, paths)


def plainly(normals: Normals) -> Gradient:
    """The gradient in array code, of paths with these numbers."""

    def differentiate(
        model: Model, chosen: NDArray[np.intp], weights: Array, schedule: Schedule | None = None
    ) -> tuple[Array, dict[str, Bars]]:
        block = max(1, GRADIENT_BYTES // (16 * (model.steps + 1) * model.dimension))
        log_weight: list[Array] = []
        totals: list[tuple[str, tuple[Any, ...]]] = [(name, (0.0, 0.0, 0.0)) for name in model.mixtures]
        for first in range(0, len(chosen), block):
            some = range(first, min(first + block, len(chosen)))
            s = slice(first, some.stop)
            noise = partial(_some, normals, some)
            done, bars = gradient(model, noise, chosen[s], weights[s], schedule)
            log_weight.append(done.log_weight)
            totals = [(name, tuple(a + b for a, b in zip(old, bars[name], strict=True))) for name, old in totals]
        return np.concatenate(log_weight), {name: Bars(*map(np.asarray, total)) for name, total in totals}

    return differentiate


def path_gradient(
    model: Model, paths: int, differentiate: Gradient, steered: tuple[str, ...] = (), *, detached: bool = False
) -> tuple[float, Slopes]:
    """D in nats, and its derivatives in means, log-variances and θ (weights = softmax θ) of what is differentiated; of
    a schedule that is steered in log η and in the logits of the increments of β. If `detached`, of another objective,
    by which the share of paths from each component is not differentiated."""
    w = np.exp(model.mixtures["prior"].log_weights)
    K = len(w)
    chosen = np.arange(paths) % K
    counts = np.bincount(chosen, minlength=K)
    schedule = Schedule(np.zeros(model.steps), np.zeros(model.steps + 1)) if steered else None
    log_weight, bars = differentiate(model, chosen, (w / counts)[chosen], schedule)
    losses = np.bincount(chosen, weights=-log_weight, minlength=K) / counts
    value = float(w @ losses)
    found: Slopes = {}
    if schedule is not None:
        found["schedule"] = in_coordinates(model.eta, model.beta, schedule)
    for name, (means, log_variances, log_weights) in bars.items():
        if name == LEVEL:
            found[name] = bars[name]
            continue
        weights = np.exp(model.mixtures[name].log_weights)
        theta = log_weights - weights * np.sum(log_weights)
        if name == "prior" and not detached:
            theta = theta + w * (losses - value)
        found[name] = Bars(means, log_variances, theta)
    return value, found


def velocity(model: Model, learner: Learner, slopes: Slopes) -> Slopes:
    """dμ/dt, d log v/dt and dθ/dt of what is learned, and of the schedule d log η/dt and that of the logits."""
    moved: Slopes = {}
    if learner.steered:
        of = slopes["schedule"]
        moved["schedule"] = Schedule(
            -of.steps * ("steps" in learner.steered), -of.annealing * ("annealing" in learner.steered)
        )
    for name in learner.moving:
        learned = learner.learn[name]
        mixture, slope = model.mixtures[name], slopes[name]
        w, v = np.exp(mixture.log_weights), mixture.variances
        # A component of own variances is a product of Gaussians of one coordinate, and moves as these do.
        shared = model.dimension * len(w) // v.size
        speed_means, speed_v, speed_theta = rates(learner.metric, learner.weights, w, v.T, shared)
        moved[name] = Bars(
            -slope.means * speed_means[:, None] * ("means" in learned),
            -(slope.log_variances.T * speed_v).T * ("variances" in learned),
            -slope.log_weights * speed_theta * ("weights" in learned),
        )
    if LEVEL in slopes:
        moved[LEVEL] = slopes[LEVEL]._replace(log_weights=-slopes[LEVEL].log_weights)
    return moved


def learn(
    model: Model,
    learner: Learner,
    times: Array,
    refine: Any,
    gradients: Callable[[int], Gradient],
    rng: np.random.Generator,
) -> tuple[list[Model], list[Array]]:
    """The models at increasing times ≥ 0; with `refine` (of the problem file), components are added on the way.
    And, where additions are laid down, log p − log φ at all candidates (n,) just before each of them.

    Takes
        gradients: step -> the gradient from paths whose numbers have the steps from this one on; step t of learning has
        the steps t (N + 1) to t (N + 1) + N. rng: for candidates.
    Raises
        NotFinite, or TooLong.
    """
    end = float(times[-1])
    found = [model] * int((times <= 0).sum())
    if end == 0 or not (learner.moving or learner.steered):
        return [model] * len(times), []
    scores: list[Array] = []
    events = np.arange(1, end / refine.every) * refine.every if refine else np.empty(0)
    now, count, optimiser = 0.0, 0, learner.optimiser()

    for stop in np.unique(np.concatenate([times[times > 0], events])):
        for _ in range(optimiser.moves(now, float(stop))):
            learner.stop()
            differentiate = gradients(count * (model.steps + 1))
            slopes = path_gradient(model, learner.paths, differentiate, learner.steered, detached=learner.detached)[1]
            moved = velocity(model, learner, slopes)
            with np.errstate(over="ignore", invalid="ignore"):
                model, count = displaced(model, optimiser.displacement(moved)), count + 1
            if learner.narrows and not model.overshoot() < 2:
                raise TooLong
        now = float(stop)
        found += [model] * int((times == stop).sum())  # at the time of an addition: before it
        if stop in events and len(model.mixtures["prior"].variances) < refine.until:
            differentiate = gradients(count * (model.steps + 1))
            larger, score = addition(model, learner, refine, differentiate, rng, len(scores))
            scores += [score] if refine.laid is not None else []  # else nobody asks, and they may be many
            model, count = larger or model, count + 1
            if larger is not None:
                optimiser.forget()
    return found, scores


def displaced(model: Model, by: Slopes) -> Model:
    """The model moved in means, log-variances and θ, in c, and in its schedule."""
    mixtures, level = dict(model.mixtures), model.level
    for name, more in by.items():
        if name == "schedule":
            model = rescheduled(model, more)
            continue
        if name == LEVEL:
            level += float(more.log_weights[0])
            continue
        old = mixtures[name]
        new = replace(
            old,
            means=old.means + more.means,
            variances=old.variances * np.exp(more.log_variances),  # as it was, if not learned
            log_weights=log_softmax(old.log_weights + more.log_weights),
        )
        if not all(np.isfinite(a).all() for a in (new.means, new.variances, new.log_weights)):
            raise NotFinite
        mixtures[name] = new
    return replace(model, mixtures=mixtures, level=level)


def rescheduled(model: Model, by: Schedule) -> Model:
    """The model moved in log η and in the logits of the increments of β; what has not moved is left as it is."""
    if by.steps.any():
        eta = model.eta * np.exp(by.steps)
        if not 0 < eta.sum() < np.inf:
            raise NotFinite
        model = replace(model, horizon=float(eta.sum()), shares=eta / eta.sum())
    if by.annealing.any():
        parts = softmax(np.log(np.diff(model.beta)) + by.annealing)
        if not (np.isfinite(parts).all() and parts.min() > 0):
            raise NotFinite
        model = replace(model, annealing=np.array([0.0, *np.cumsum(parts)[:-1], 1.0]))
    return model


def addition(
    model: Model, learner: Learner, refine: Any, differentiate: Gradient, rng: np.random.Generator, number: int
) -> tuple[Model | None, Array]:
    """The model with one more prior component, at the candidate where log p − log φ is largest or which is laid down
    for the addition of this number, None if not due; and log p − log φ at all of them."""
    prior, target = model.mixtures["prior"], model.mixtures["target"]
    x = candidates(model, refine, rng)
    score = target.at(x).log_density - prior.at(x).log_density
    if not np.any(np.isfinite(score)):
        raise NotFinite
    best = refine.chosen(number, int(np.argmax(np.where(np.isfinite(score), score, -np.inf))))
    widths = prior.variances.reshape(len(prior.means), -1).mean(1)
    variance = refine.variance or float(np.exp(prior.log_weights) @ widths)
    if refine.rule == "stalled":
        slopes = path_gradient(model, learner.paths, differentiate, learner.steered)[1]
        moved = velocity(model, learner, slopes)
        change = sum(float(np.sum(s * m)) for name in moved for s, m in zip(slopes[name], moved[name], strict=True))
        if abs(change) >= refine.threshold:
            return None, score
    if refine.rule == "gain":
        # dD/dε at weight ε = 0 of the new component is E_new[−log W] − D.
        new, K = widened(model, x[best], 1e-12, variance), len(prior.variances)
        fresh = rng.standard_normal((model.steps + 1, learner.paths, model.dimension))
        value, _ = path_gradient(new, learner.paths, plainly(lambda step, r: fresh[step, r.start : r.stop]))
        log_weight = walk(new, lambda step: fresh[step], np.full(learner.paths, K)).log_weight
        if value + float(np.mean(log_weight)) <= refine.threshold:
            return None, score
    return widened(model, x[best], refine.weight, variance), score


def widened(model: Model, mean: Array, weight: float, variance: float) -> Model:
    """The model with one more prior component, the weights of the others reduced in proportion; a control gets it too,
    as long as it may have more."""
    mixtures = dict(model.mixtures)
    for name in ("prior", *model.controls):
        old = mixtures[name]
        if name == "prior" or model.components is None or len(old.variances) < model.components:
            mixtures[name] = replace(
                old,
                means=np.vstack([old.means, mean]),
                variances=np.concatenate([old.variances, np.full_like(old.variances[:1], variance)]),
                log_weights=np.append(old.log_weights + np.log1p(-weight), np.log(weight)),
            )
    return replace(model, mixtures=mixtures)


def candidates(model: Model, refine: Any, rng: np.random.Generator) -> Array:
    """Samples (n, d) of the prior, moved by a short Metropolis-adjusted Langevin chain to the target if so asked; or
    the given points."""
    if not isinstance(refine.source, str):
        return np.asarray(refine.source)
    prior, target, n, d = model.mixtures["prior"], model.mixtures["target"], refine.candidates, model.dimension
    chosen = rng.choice(len(prior.variances), size=n, p=np.exp(log_softmax(prior.log_weights)))
    x = prior.means[chosen] + prior.spread(chosen) * rng.standard_normal((n, d))
    if refine.source != "mala":
        return np.asarray(x)
    eta = MALA_STEP * float(target.variances.min())
    here = target.at(x)
    for _ in range(MALA_STEPS):
        xi = rng.standard_normal((n, d))
        new = x + eta * here.score + np.sqrt(2 * eta) * xi
        there = target.at(new)
        back = x - new - eta * there.score
        ratio = there.log_density - here.log_density + (xi**2).sum(1) / 2 - (back**2).sum(1) / (4 * eta)
        x = np.where((np.log(rng.random(n)) < ratio)[:, None], new, x)
        here = target.at(x)
    return np.asarray(x)
