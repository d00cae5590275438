"""Trajectories of replicas: the steps they take, their order, their seeds and their threads."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from solvers.particles import compiled
from solvers.particles import plan as planning
from solvers.particles.engines import ENGINES
from solvers.particles.replicas import replicas_path, time_steps, velocities
from solvers.problem import Batch, Problem, Schedule
from solvers.problem.starts import starts, vectors

FIELDS = ("s", "m", "w", "v", "objective", "mode_mass")


def problem(
    d=3, target="separation = 2.0", components=2, learn='["means", "weights"]', variances=1.0, weights="softmax", **time
):
    time = {"end": 1.0, "save": 3} | time
    return Problem.parse(
        f"""
        dimension = {d}
        [target]
        {target}
        [family]
        components = {components}
        learn = {learn}
        variances = {variances}
        [flow]
        weights = "{weights}"
        [init]
        scale = 0.8
        seed = 5
        [time]
        end = {time["end"]}
        save = {time["save"]}
        """
    )


def run(case, particles=20, replicas=6, step=0.1, **options):
    begin = starts(case)
    mu, _ = vectors(begin.s[0], begin.m[0], case)
    return replicas_path(case, mu, begin.theta[0], particles=particles, replicas=replicas, step=step, **options)


def same(a, b):
    return all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in FIELDS)


def test_begins_at_the_start_and_saves_every_time():
    case = problem()
    begin, path = starts(case), run(case)
    np.testing.assert_allclose(path.s[:, 0], np.broadcast_to(begin.s[0], (6, 2, 2)), rtol=1e-12)
    np.testing.assert_allclose(path.m[:, 0], np.broadcast_to(begin.m[0], (6, 2, 2)), rtol=1e-12)
    assert (path.s.shape, path.m.shape, path.w.shape) == ((6, 3, 2, 2), (6, 3, 2, 2), (6, 3, 2))
    assert (path.objective.shape, path.mode_mass.shape) == ((6, 3), (6, 3, 2, 2))
    np.testing.assert_allclose(path.w.sum(-1), 1, rtol=1e-12)
    np.testing.assert_allclose(path.mode_mass.sum(-1), 1, rtol=1e-12)


@pytest.mark.parametrize(("save", "steps"), [("[0.0, 1.0]", [0, 4]), ("[0.3, 0.4, 1.0]", [1, 2, 4]), ("[1.0]", [4])])
@pytest.mark.parametrize("refine", [1, 3])
def test_euler_steps_are_equal_and_end_on_the_save_times(save, steps, refine):
    # K = L = 1 and v = u: x cancels between the scores, the gradient μ − ν has no noise, and each step is known.
    case = problem(target="means = [[2.0]]", components=1, save=save)
    begin, path = starts(case), run(case, step=0.3, refine=refine)
    gap = begin.s[0, 0, 0] - 2 * begin.m[0, 0, 0] + 4
    shrink, before, expected = 1.0, 0.0, []
    for time, count in zip(case.time.times, np.diff(steps, prepend=0) * refine, strict=True):
        shrink *= (1 - (time - before) / count) ** (2 * count) if count else 1.0
        before = time
        expected.append(gap * shrink)
    distance = path.s[:, :, 0, 0] - 2 * path.m[:, :, 0, 0] + 4
    np.testing.assert_allclose(distance, np.broadcast_to(expected, distance.shape), rtol=1e-11)


@pytest.mark.slow
def test_bias_is_of_first_order_in_the_step():
    case = problem(d=1, components=1, target="separation = 3.0", end=1.2, save=2)
    runs = [run(case, particles=16000, replicas=40, step=0.2, refine=refine).m[:, -1, 0, 0] for refine in (1, 2, 4)]
    coarse, fine = runs[0] - runs[1], runs[1] - runs[2]
    errors = [x.std(ddof=1) / np.sqrt(40) for x in (coarse, fine)]
    assert abs(fine.mean()) > 10 * errors[1]
    low, high = (
        (abs(coarse.mean()) - sign * 5 * errors[0]) / (abs(fine.mean()) + sign * 5 * errors[1]) for sign in (1, -1)
    )
    # Halving the step halves the bias: the ratio is 2 + O(h), and 1 or 4 at order 0 or 2.
    assert 1.5 < low < high < 3


@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
def test_same_seed_same_bytes_and_other_streams_for_other_steps(weights):
    case = problem(weights=weights)
    first = run(case)
    assert same(first, run(case))
    assert not np.any(first.s[:, 1:] == run(case, key=(1,)).s[:, 1:])
    assert len(np.unique(first.m[:, 1:, 0, 0])) == 12  # no two replicas share numbers


def test_threads_change_no_byte(monkeypatch):
    case, paths = problem(), []
    for cores in (1, 2, 5):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, n=cores: set(range(n)), raising=False)
        paths.append(run(case, particles=50, replicas=40))
    assert same(paths[0], paths[1])
    assert same(paths[0], paths[2])


def test_cores_beyond_the_replicas_share_particles_and_change_no_byte(monkeypatch):
    monkeypatch.setattr(compiled, "PIECE_NORMALS", 1)  # pieces of 32 particles
    case = problem()
    paths = []
    for cores in (2, 7):
        monkeypatch.setattr(planning, "cores", lambda n=cores: n)
        cut = planning.plan(case, particles=100, replicas=2, backend="numba")
        assert (cut.workers, cut.within) == (2, cores // 2)
        paths.append(run(case, particles=100, replicas=2))
    assert same(*paths)


def test_blocks_change_no_byte(monkeypatch):
    case = problem()
    whole = run(case, particles=60, replicas=7)
    for size in (100, 3000):
        monkeypatch.setitem(ENGINES, "numba", ENGINES["numba"]._replace(block_bytes=size))
        assert same(run(case, particles=60, replicas=7), whole)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_groups_change_rounding_only(monkeypatch, backend):
    case = problem()
    whole = run(case, particles=60, replicas=17, backend=backend)
    for together in (2, 1):
        monkeypatch.setattr(planning, "REPLICAS_TOGETHER", together)
        cut = run(case, particles=60, replicas=17, backend=backend)
        for name in FIELDS:
            np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=1e-10, atol=1e-12)


FLOWS = [
    {"learn": ("means",)},
    {"weights": "fisher-rao", "learn": ("means", "weights", "variances"), "temperature": 1.7},
    {"metric": "wasserstein", "learn": ("means", "variances"), "temperature": Schedule(start=3.0, rate=2.0)},
    {"objective": "forward-kl", "learn": ("means", "weights", "variances")},
]


@pytest.mark.parametrize("options", FLOWS, ids=["means", "fisher-rao", "wasserstein", "forward"])
def test_backends_give_the_same_trajectories(options):
    """Same seed, same trajectories: rounding, 1e-15 of each sum over d = 3, grows e-fold a unit of time at most."""
    case, options = problem(components=3, target="means = [[2.0], [-1.0, 1.0]]"), dict(options)
    family = replace(case.family, learn=options.pop("learn"), variances=np.array([0.7, 1.0, 1.3]))
    case = replace(case, family=family, flow=replace(case.flow, **options))
    plain, fast = (run(case, particles=40, backend=backend) for backend in ("numpy", "numba"))
    for name in FIELDS:
        np.testing.assert_allclose(getattr(fast, name), getattr(plain, name), rtol=1e-12, atol=1e-12)
    assert np.all(plain.v[:, 1:] != plain.v[:, :1]) == ("variances" in family.learn)
    assert np.all(plain.w[:, 1:] != plain.w[:, :1]) == ("weights" in family.learn)


def test_temperature_follows_its_schedule():
    """K = L = 1, v = u = 1: the mean nears ν at the rate β(t), step by step in expectation."""
    case = problem(target="means = [[2.0]]", components=1, learn='["means"]', end=2.0, save=2)
    schedule = Schedule(start=4.0, rate=1.5)
    path = run(replace(case, flow=replace(case.flow, temperature=schedule)), particles=200, replicas=40)
    begin = starts(case).m[0, 0, 0] - 4

    def expected(temperature):
        beta = np.array([1 / temperature(0.1 * n) for n in range(20)])
        return 4 + begin * np.prod(1 - 0.1 * beta)

    found = path.m[:, -1, 0, 0]
    limit = student.isf(1e-6 / 2, 39) * found.std(ddof=1) / np.sqrt(40)
    assert abs(found.mean() - expected(lambda t: 1 + 3 * np.exp(-1.5 * t))) < limit
    assert abs(found.mean() - expected(lambda t: 1 + 3 * np.exp(-1.2 * t))) > limit


def batched(case, size, step):
    return replace(case, flow=replace(case.flow, batch=Batch(size, step)))


def test_steps_of_a_batch_are_the_learning_rate():
    case = batched(problem(end=1.0, save="[0.0, 0.3, 0.34, 1.0]"), 20, 0.06)
    sizes, saves = time_steps(case, 0.06)
    assert sizes == [0.06] * 17
    assert saves == {0: 1, 5: 1, 6: 1, 17: 1}
    path = run(case, step=0.06)
    assert path.s.shape[1] == 4


def test_descent_keeps_the_noise_of_its_batches():
    """K = L = 1, v ≠ u: μ' = μ − η[(μ − ν)/u + (1/u − 1/v) √(v/n) ξ], whose stationary law is known."""
    d, n, eta, v, u = 60, 5, 0.2, 2.0, 1.0
    case = problem(d=d, target="means = [[0.0]]", components=1, learn='["means"]', end=8.0, save=2, variances=v)
    path = run(batched(case, n, eta), particles=n, step=eta, replicas=100)
    noise = (eta * (1 / u - 1 / v)) ** 2 * v / n
    steps, shrink = 40, (1 - eta / u) ** 2
    start = starts(case).s[0, 0, 0]
    expected = shrink**steps * start + d * noise * (1 - shrink**steps) / (1 - shrink)
    found = path.s[:, -1, 0, 0]
    limit = student.isf(1e-6 / 2, 99) * found.std(ddof=1) / np.sqrt(100)
    assert abs(found.mean() - expected) < limit
    assert abs(found.mean() - 1.2 * expected) > limit


@pytest.mark.parametrize(
    ("learn", "still", "moving"), [("[]", "smw", ""), ('["means"]', "w", "sm"), ('["weights"]', "sm", "w")]
)
def test_only_what_learns_moves(learn, still, moving):
    path = run(problem(learn=learn))
    for name in still:
        values = getattr(path, name)
        assert np.array_equal(values, np.broadcast_to(values[:, :1], values.shape))
    for name in moving:
        values = getattr(path, name)
        assert np.all(values[:, 1:] != values[:, :1])


@pytest.mark.parametrize("weights", ["softmax", "fisher-rao"])
def test_velocities_are_the_first_step(weights):
    """Mean of ΔX/h over replicas against the mean velocity, from independent streams."""
    case, h = problem(weights=weights, end=0.01, save=2), 0.01
    begin = starts(case)
    mu, nu = vectors(begin.s[0], begin.m[0], case)
    path = run(case, particles=200, replicas=200, step=h)
    found = velocities(case, mu, begin.theta[0], particles=200, replicas=200)
    w = case.family.weights
    pairs = [
        ((path.m[:, 1] - path.m[:, 0]) / h, found.dmu @ nu.T),
        # Linear in h for log-weights only up to normalisation, so differences of them are compared.
        (np.diff(np.log(path.w[:, 1]), axis=1) / h, np.diff(found.dtheta, axis=1)),
        (path.objective[:, 0], found.objective),
        ((w[:, None] * path.mode_mass[:, 0]).sum(-2), found.mode_mass),
    ]
    for one, other in pairs:
        error = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / 200)
        assert np.all(np.abs(one.mean(0) - other.mean(0)) < 6 * error)
        assert np.all(error > 0)


def test_a_replica_that_leaves_the_range_of_floats_is_nan_and_no_warning():
    path = replicas_path(problem(), np.full((2, 3), 1e200), np.zeros(2), particles=5, replicas=4, step=0.1)
    assert not np.isfinite(path.s[:, -1]).any()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("display")])
def test_an_exception_stops_the_threads(error):
    def progress(done):
        raise error

    before = threading.active_count()
    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        run(problem(d=1000, end=1000.0), particles=100, replicas=32, progress=progress)
    assert threading.active_count() == before


def test_progress_ends_at_one_and_never_falls():
    seen = []
    run(problem(d=200, end=4.0), particles=200, replicas=32, progress=seen.append)
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    assert all(0 <= done <= 1 for done in seen)
