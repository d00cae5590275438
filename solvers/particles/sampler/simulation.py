"""The diffusion sampler of a problem simulated in all its dimensions: what the theory is compared with.

Each replica learns the prior from its own paths in R^d (sampler_learn.py) and evaluates the sampler, at each save time,
on paths of its own, with log-weights accumulated as one would in practice (sampler_chain.py, sampler_compiled.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import rel_entr

from solvers.machine.backends import BACKENDS, DEFAULT
from solvers.machine.chance import Purpose
from solvers.machine.code import usable
from solvers.machine.progress import Progress, part
from solvers.particles.engines import arrays, engine
from solvers.particles.estimate import Report
from solvers.particles.plan import Plan, SimulationError, refuse, threads
from solvers.particles.replicas import over_groups
from solvers.particles.sampler.begin import components, described, in_space, model_of, placed
from solvers.particles.sampler.chain import Model
from solvers.particles.sampler.engine import Walker, gradients
from solvers.particles.sampler.estimates import TOGETHER, by_halves, emc, ess, ess_forward, log_z, pooled
from solvers.particles.sampler.fixed import at_fixed_paths, objective
from solvers.particles.sampler.learn import GRADIENT_BYTES, Learner, NotFinite, learn
from solvers.particles.sampler.optimisers import check_rates, chosen, labelled
from solvers.particles.streams import LARGEST_COUNT, stream_keys
from solvers.problem import Problem, demands
from solvers.problem.starts import Starts, starts
from solvers.results import samples
from solvers.results.datasets import sampler_variables, schedule_variables, simulation_dataset
from solvers.results.outcomes import LOST, STATUS
from solvers.results.replicas import judged, variables

__all__ = ["Curves", "replica_curves", "simulate"]

Array = NDArray[np.float64]
EPSILON = float(np.finfo(np.float64).eps)
NEGLIGIBLE = 1e-6  # nats, where log-weights have no spread to compare with


@dataclass(frozen=True)
class Curves:
    """What each replica did, at the save times.

    values: name -> (replica, time, ...): m, s, w, v, v_diag where covariances are diagonal, mode_mass, log_weights (2,
    path) of paths from the prior and from the target, and those of results.SAMPLER_QUANTITIES that one replica has,
    log_z, ess and ess_forward as they are compared; overlaps and variances of components not yet added are nan, their
    weights 0. B (replica, K, L): mass that paths from component k put on mode l at the last time. scores (replica,
    addition, point): those of additions that were laid down, else empty. samples: x (replica, draw, d) and log_weight
    (replica, draw), if asked for. status (replica,): a key of results.STATUS; all values of a replica whose status is
    not 0 are nan.
    """

    values: dict[str, Array]
    B: Array
    scores: Array
    status: NDArray[np.int8]
    samples: dict[str, Array]


def simulate(
    problem: Problem,
    *,
    particles: int,
    replicas: int,
    step: float,
    backend: str = DEFAULT,
    progress: Progress | None = None,
    draws: int | None = None,
) -> xr.Dataset:
    """The sampler of a problem along learning, from every start, in R^d, averaged over replicas.

    Takes
        particles: paths of each replica behind each gradient, and behind each evaluation in either direction; replicas:
        independent repetitions of each start; step: of explicit Euler, in units of the learning time, not used where
        the problem has an optimiser of its own; backend: numba, numpy or cupy; progress: called with the fraction done;
        draws: samples of x_N to write, of each replica with what it has learned at the last time.
    Returns
        SIM.nc's dataset with the variables of a sampler as means over replicas, and standard errors `_se` over
        replicas, of what is learned too. Bias of what is learned: O(step), of which the noise of the gradient makes
        O(step d/particles). log_z, ess and ess_forward are those of the paths of all replicas together; coverage and
        emc are freed of their bias of first order in 1/particles, and may for that leave their range by a little.
    Raises
        SimulationError for numbers that do not do, or arrays that do not fit in memory; BackendError.
    """
    backend = usable(backend)
    plan(problem, particles=particles, replicas=replicas, step=step, backend=backend)  # refuses, as does the next line
    demands.check_simulation(problem, particles=particles, replicas=replicas, step=step)
    samples.check(problem, draws, problem.init.samples * replicas * problem.dimension)
    begin = starts(problem)
    count, K = len(begin.s), components(problem)
    means: dict[str, list[Array]] = {}
    status = np.zeros(count, dtype=np.int8)
    each = []
    drawn: list[dict[str, Array]] = []
    for i in range(count):
        found = replica_curves(
            problem, begin, i, particles=particles, replicas=replicas, step=step, backend=backend,
            progress=part(progress, i, count), draws=draws or 0,
        )  # fmt: skip
        drawn.append(found.samples)
        status[i] = found.status.max()
        single = {name: of for name, of in found.values.items() if name not in (*TOGETHER, "log_weights")}
        for name, values in single.items():
            means.setdefault(name, []).append(values.mean(0))
            means.setdefault(f"{name}_se", []).append(values.std(0, ddof=1) / np.sqrt(replicas))
        for name, (values, errors) in pooled(found.values["log_weights"]).items():
            means.setdefault(name, []).append(values)
            means.setdefault(f"{name}_se", []).append(errors)
        means.setdefault("B", []).append(found.B.mean(0))
        last = {name: found.values[name][:, -1] for name in ("w", "m", "s")}
        each.append(judged(problem, **last, mode_mass=found.values["mode_mass"], B=found.B))
    arrays = {name: np.stack(values) for name, values in means.items()}
    shown = replace(problem, family=replace(problem.family, components=K))
    common = {"m", "s", "w", "v", "objective", "mode_mass"}
    common |= {f"{name}_se" for name in common} | {"B"}
    ds = simulation_dataset(
        shown,
        **{name: arrays[name] for name in common},  # type: ignore[arg-type]
        status=status,
        backend=backend,
        particles=particles,
        replicas=replicas,
        step=problem.time.end / learning.steps if (learning := problem.learning) and learning.steps else step,
    )
    assert problem.sampler is not None
    steered = {name: arrays[name] for each in problem.sampler.moving for name in (each, f"{each}_se")}
    ds = ds.assign(schedule_variables(steered))
    ds = ds.assign(sampler_variables({name: arrays[name] for name in arrays.keys() - common - steered.keys()}))
    ds = ds.assign_attrs(paths_together=particles * replicas)
    if draws:
        stacked = {name: np.stack([one[name] for one in drawn]) for name in drawn[0]}
        ds = ds.assign(samples.sample_variables(stacked, ("sample", "replica")))
    return labelled(ds.assign(variables(problem, each)), problem, particles)


def replica_curves(
    problem: Problem,
    begin: Starts,
    i: int,
    *,
    particles: int,
    replicas: int,
    step: float,
    cuts: int = 1,
    stride: int = 1,
    backend: str = DEFAULT,
    progress: Progress | None = None,
    draws: int = 0,
) -> Curves:
    """All replicas of one start. Takes and raises as `simulate`; begin, i: the starts, and which; cuts: each step is
    cut into so many: runs with cuts = 1, 2, 4 have steps in exactly these ratios; stride: the n-th step has the random
    numbers of the (stride n)-th.
    """
    options, times, learning = problem.sampler, problem.time.times, problem.learning
    assert options is not None
    cut = plan(problem, particles=particles, replicas=replicas, step=step, backend=backend)
    start = model_of(problem, *placed(problem, begin, i), begin.theta[i])

    def run(group: range, report: Report) -> list[tuple[dict[str, Array], Array, Array, dict[str, Array]] | int]:
        return [one(replica, report) for replica in group]

    def one(replica: int, report: Report) -> tuple[dict[str, Array], Array, Array, dict[str, Array]] | int:
        def key(*words: int) -> NDArray[np.uint64]:
            return np.asarray(stream_keys(problem.init.seed, (*words, i), range(replica, replica + 1))[0])

        def generator(*purpose: int) -> np.random.Generator:
            return np.random.Generator(np.random.Philox(key=key(*purpose)))

        moves = {"prior": problem.family.learn} | dict.fromkeys(start.controls, options.learn)
        learner = Learner(
            moves, problem.flow.weights, problem.flow.metric, (learning and learning.batch) or particles,
            chosen(learning, problem.time.end, step, cuts), lambda: report(0), options.objective, options.explore,
            options.steered,
        )  # fmt: skip
        drawn_by = at_fixed_paths if learner.detached else gradients
        of_step = drawn_by(key(Purpose.GRADIENT, 1), learner, cut.within, cut.engine)
        refine = in_space(options.refine, problem.dimension)
        try:
            models, scores = learn(
                start, learner, times, refine, lambda step: of_step(stride * step), generator(Purpose.CANDIDATES)
            )
        except NotFinite as error:
            report(len(times))
            return error.status
        curves: dict[str, list[Array]] = {}
        walker = Walker(key(Purpose.FORWARD), key(Purpose.BACKWARD), particles, cut.engine, cut.within)
        for model in models:
            found = evaluated(model, walker, generator(Purpose.CHOICES), options.objective, options.explore)
            if isinstance(found, int):
                report(len(times) - len(next(iter(curves.values()), [])))
                return found
            schedule = {name: getattr(model, name) for name in options.moving}
            for name, value in (described(model, K) | schedule | found).items():
                curves.setdefault(name, []).append(np.asarray(value))
            report(1)
        stacked = {name: np.stack(values) for name, values in curves.items()}
        ends: dict[str, Array] = {}
        if draws:
            w = np.exp(models[-1].mixtures["prior"].log_weights)
            origins = generator(Purpose.SAMPLES, 1).choice(len(w), size=draws, p=w / w.sum())
            paths = replace(walker, ahead=key(Purpose.SAMPLES, 0)).walk(models[-1], origins, ends=True)
            ends = {"x": paths.end, "log_weight": paths.log_weight}
        return stacked, walker.by_component(models[-1], K), np.array(scores), ends

    K, L = components(problem), len(problem.target.weights)
    results = [row for group in over_groups(run, cut, len(times), progress) for row in group]
    status = np.array([row if isinstance(row, int) else 0 for row in results], dtype=np.int8)
    known = [row for row in results if not isinstance(row, int)]
    if not known:
        raise SimulationError(
            f"{problem.name}: no replica of start {i} has a result: " + ", ".join(STATUS[s] for s in np.unique(status))
        )
    first, _, scores, ends = known[0]
    empty = {name: np.full_like(a, np.nan) for name, a in first.items()}
    nowhere = {name: np.full_like(a, np.nan) for name, a in ends.items()}
    none = empty, np.full((K, L), np.nan), np.full_like(scores, np.nan), nowhere
    filled = [none if isinstance(row, int) else row for row in results]
    return Curves(
        {name: np.stack([row[0][name] for row in filled]) for name in empty},
        np.stack([row[1] for row in filled]),
        np.stack([row[2] for row in filled]),
        status,
        {name: np.stack([row[3][name] for row in filled]) for name in ends},
    )


def plan(problem: Problem, *, particles: int, replicas: int, step: float, backend: str) -> Plan:
    """One replica at a time in each worker, and its paths in as many threads as there are cores for it. Raises as
    `simulate`."""
    chosen, xp, options, K = engine(backend), arrays(backend), problem.sampler, components(problem)
    assert options is not None
    refuse(problem, backend)
    if not 2 * K <= particles < LARGEST_COUNT:
        raise SimulationError(
            f"particles: is {particles}; must be at least twice the {K} components and at most {LARGEST_COUNT - 1}"
        )
    if replicas < 2:
        raise SimulationError(f"replicas: is {replicas}; must be at least 2, since standard errors are over replicas")
    smallest = float(min(1.0, problem.family.entries.min(), problem.target.variances.min()))
    learning = problem.learning
    if learning is not None:
        by_rate = options.learns or options.objective == "trajectory-balance"  # which has a c
        check_rates(problem.name, learning, by_rate, smallest)
    elif not 0 < step <= smallest:
        raise SimulationError(
            f"step: is {step:.6g}; must be > 0 and, for explicit Euler to be stable, at most the smallest variance and "
            f"1, {smallest:.6g}"
        )
    if (learning.steps if learning else problem.time.end / step) * (options.steps + 1) > LARGEST_COUNT / 8:
        what = (
            f"{problem.name}: learning.steps: is {learning.steps}; must be fewer"
            if learning
            else (f"step: is {step:.6g}; must be larger")
        )
        raise SimulationError(f"{what}, since random numbers of the steps are counted")
    row = 8 * problem.dimension
    # Points, residuals and cotangents of the paths differentiated together; mixtures, and their derivatives and stages.
    held = max(GRADIENT_BYTES, 2 * (options.steps + 1) * row) * 2 + 16 * row
    held += (40 if problem.family.diagonal is None else 80) * row * (K + len(problem.target.weights))
    held += 10 * particles * row * chosen.whole
    workers, within = (1, 1) if BACKENDS[backend].device else threads(problem, held, replicas)
    groups = tuple(range(r, r + 1) for r in range(replicas))
    return Plan(chosen, xp, groups, particles, workers, within, workers * within * held)


def evaluated(
    model: Model, walker: Walker, rng: np.random.Generator, name: str = "reverse-kl", explore: float = 1.0
) -> dict[str, float | Array] | int:
    """Estimates from paths both ways; what they are: results.SAMPLER_QUANTITIES, and the objective of this name. Or the
    status, where log-weights are not finite, not possible, or lost to rounding."""

    def choose(name: str) -> NDArray[np.intp]:
        w = np.exp(model.mixtures[name].log_weights)
        return rng.choice(len(w), size=walker.paths, p=w / w.sum())

    origins = choose("prior")
    ahead = walker.walk(model, origins)
    behind = walker.walk(model, choose("target"), backward=True)
    log_w, log_w_p, pi = ahead.log_weight, behind.log_weight, np.exp(model.mixtures["target"].log_weights)
    if not (np.isfinite(log_w).all() and np.isfinite(log_w_p).all()):
        return 2
    # At most e^{−50} of correct runs get that far, for E W = 1, and E 1/W = 1 of paths from the target: Markov.
    far = np.log(walker.paths) + 50.0
    error = max(float(log_w.std(ddof=1)) / np.sqrt(walker.paths), NEGLIGIBLE)
    if log_w.max() > far or log_w_p.min() < -far or not rounding(model) + EPSILON * np.abs(log_w).max() <= error:
        return LOST
    of = log_w if explore == 1 else walker.walk(model, origins, wider=explore).log_weight
    level = {"log_z_learned": model.level} if name == "trajectory-balance" else {}
    return level | {
        "objective": objective(name, model, of),
        "elbo": float(log_w.mean()),
        "eubo": float(log_w_p.mean()),
        "log_z": by_halves(log_z, log_w),
        "ess": by_halves(ess, log_w),
        "ess_forward": by_halves(ess_forward, log_w_p),
        "ess_sample": ess(log_w),
        "log_weights": np.stack([log_w, log_w_p]),
        "log_weight_variance": float(log_w.var(ddof=1)),
        "mode_mass": ahead.modes.mean(0),
        "coverage": by_halves(lambda modes: float(rel_entr(modes.mean(0), pi).sum()), ahead.modes),
        "emc": by_halves(emc, ahead.modes) if len(pi) > 1 else 1.0,
    }


def rounding(model: Model) -> float:
    """What rounding may take from a log-weight, in nats: that of the coordinates of x beside a noise of √(2η), d N of
    them at random, and that of sums of d squares, at either end and at every step."""
    d, N = model.dimension, model.steps
    x = max(float(np.sqrt(m.variances.max() + (m.means**2).sum(1).max() / d)) for m in model.mixtures.values())
    v = min(float(m.variances.min()) for m in model.mixtures.values())
    inverse = float(np.sum(1 / (2 * model.eta)))  # over steps
    drawn = x * np.sqrt(d * inverse) + d * x**2 * EPSILON * inverse / 2
    # Pairs are added up in blocks: the rounding of such sums is at random, that of the numbers themselves is not.
    return float(EPSILON * (drawn + np.sqrt(d * (N + 1.0)) + d * (1 + x * x / v)))
