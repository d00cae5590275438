"""What no flow may change or break, at random problems: symmetries, the decrease of the objective, Gram matrices."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from solvers.closed import flow
from tests.solvers.closed.flow_cases import closed, problem, velocity_at

solve = partial(flow.solve, backend="numpy")

METRICS = ["softmax", "fisher-rao"]
POINTS = settings(max_examples=40, deadline=None, derandomize=True)
PATHS = settings(max_examples=15, deadline=None, derandomize=True)


class Case:
    """A random problem in few dimensions with every ingredient: unequal weights, v ≠ u, vectors of any rank."""

    def __init__(self, K, L, d, v, u, spread, metric, seed):
        rng = np.random.default_rng(seed)
        self.K, self.L, self.d, self.v, self.u, self.metric = K, L, d, v, u, metric
        self.mu, self.nu = (rng.standard_normal((n, d)) * spread for n in (K, L))
        self.w, self.pi = (rng.dirichlet(np.full(n, 3.0)) for n in (K, L))
        self.rng = rng

    def problem(self, end=8.0, d=None, turn=None, k=slice(None), l=slice(None)):
        """The problem, or the same one with other dimension, turned, or with components and modes in another order."""
        turn = np.eye(self.d) if turn is None else turn
        target = {"means": self.nu[l] @ turn, "weights": self.pi[l], "variances": self.u}
        family = {"components": self.K, "weights": self.w[k], "variances": self.v, "learn": ["means", "weights"]}
        flow = {"weights": self.metric}
        return problem(d or self.d, target, family, {"means": self.mu[k] @ turn}, {"end": end, "save": 9}, flow)

    def __repr__(self):
        return f"Case(mu={self.mu}, nu={self.nu}, w={self.w}, pi={self.pi}, v={self.v}, u={self.u}, {self.metric})"


def cases(largest=3):
    variances = st.sampled_from([0.3, 1.0, 2.0])
    sizes, dimensions = st.integers(1, largest), st.integers(1, 6)
    spreads, seeds = st.sampled_from([0.1, 1.0, 4.0]), st.integers(0, 2**32 - 1)
    return st.builds(Case, sizes, sizes, dimensions, variances, variances, spreads, st.sampled_from(METRICS), seeds)


def close(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-9 * max(1.0, np.abs(right).max()))


@pytest.mark.slow
@POINTS
@given(cases())
def test_velocity_is_turned_and_permuted_with_the_vectors(case):
    given_, theta = case.problem(), np.log(case.w)
    ds, dm, dtheta = velocity_at(given_, case.mu, case.nu)
    turn = ortho_group.rvs(case.d, random_state=case.rng) if case.d > 1 else -np.eye(1)
    close(velocity_at(given_, case.mu @ turn, case.nu @ turn), (ds, dm, dtheta))
    # A constant in all log-weights means nothing.
    close(velocity_at(given_, case.mu, case.nu, theta + 100.0), (ds, dm, dtheta))
    k, l = case.rng.permutation(case.K), case.rng.permutation(case.L)
    permuted = case.problem(k=k, l=l)
    close(velocity_at(permuted, case.mu[k], case.nu[l]), (ds[k][:, k], dm[k][:, l], dtheta[k]))
    objective, mode_mass = closed(given_, case.mu, case.nu, theta)
    turned = closed(permuted, (case.mu @ turn)[k], (case.nu @ turn)[l], theta[k])
    close(turned, (objective, mode_mass[..., l]))


@pytest.mark.slow
@POINTS
@given(cases())
def test_objective_is_a_divergence_and_masses_are_probabilities(case):
    given_ = case.problem()
    objective, mode_mass = closed(given_, case.mu, case.nu, np.log(case.w))
    assert objective >= -1e-9
    assert mode_mass.min() >= 0
    assert mode_mass.sum() == pytest.approx(1, abs=1e-12)
    # Nothing moves where q = p, and there the divergence is zero.
    family = {"components": case.L, "weights": case.pi, "variances": case.u, "learn": ["means", "weights"]}
    target = {"means": case.nu, "weights": case.pi, "variances": case.u}
    equal = problem(case.d, target, family, {"means": case.nu}, flow={"weights": case.metric})
    close(velocity_at(equal, case.nu, case.nu), [np.zeros(()), np.zeros(()), np.zeros(())])
    close(closed(equal, case.nu, case.nu, np.log(case.pi)), (np.zeros(()), case.pi))


@POINTS
@given(cases(), st.integers(1, 10**6))
def test_more_dimensions_only_add_a_constant(case, more):
    """Vectors padded with zeros: the same flow, and the divergence of `more` Gaussian directions on top."""
    small, large = case.problem(), case.problem(d=case.d + more)
    close(velocity_at(large, case.mu, case.nu), velocity_at(small, case.mu, case.nu))
    a, b = (closed(p, case.mu, case.nu, np.log(case.w)) for p in (small, large))
    ratio = case.v / case.u
    assert b[0] - a[0] == pytest.approx(more / 2 * (ratio - 1 - np.log(ratio)), rel=1e-9, abs=1e-9)
    close(a[1:], b[1:])


@pytest.mark.slow
@PATHS
@given(cases(largest=2))
def test_paths_do_not_depend_on_names_and_axes(case):
    turn = ortho_group.rvs(case.d, random_state=case.rng) if case.d > 1 else -np.eye(1)
    k, l = case.rng.permutation(case.K), case.rng.permutation(case.L)
    here, there = solve(case.problem(end=3.0)), solve(case.problem(end=3.0, turn=turn, k=k, l=l))
    here = here.isel(component=k, component_other=k, mode=l)
    scale = max(1.0, np.abs(here.m).max(), here.s.max())
    for name, size in (("s", scale), ("m", scale), ("w", 1.0), ("objective", scale), ("mode_mass", 1.0)):
        np.testing.assert_allclose(there[name], here[name], rtol=0, atol=2e-6 * size, err_msg=name)


@pytest.mark.slow
@PATHS
@given(cases())
def test_along_a_path_the_objective_falls_and_overlaps_are_those_of_vectors(case):
    check_path(solve(case.problem()), case.nu @ case.nu.T, case.d)


@pytest.mark.slow
@pytest.mark.parametrize("learn", [["means"], ["means", "weights"]])
@pytest.mark.parametrize(("K", "R", "d"), [(1, 2.0, 64), (2, 4.0, 64), (2, 20.0, 1), (3, 3.0, 64), (4, 2.0, 2)])
def test_random_starts_keep_the_invariants(K, R, d, learn):
    given_ = problem(
        d,
        {"separation": R, "weights": [0.4, 0.6]},
        {"components": K, "learn": learn},
        {"scale": 0.5, "samples": 12 if K < 3 else 2},
        {"end": 30.0, "save": 31},
    )
    check_path(solve(given_), given_.target.c, d)


@pytest.mark.slow
@pytest.mark.parametrize("drop", ["dm.Bc/u", "dtheta.F"])
def test_control_in_a_wrong_theory_the_objective_rises(drop):
    family = {"components": 2, "weights": [0.2, 0.8], "learn": ["means", "weights"]}
    given_ = problem(
        8, {"separation": 2.0, "weights": [0.4, 0.6]}, family, {"scale": 1.0, "samples": 12}, {"end": 30.0, "save": 31}
    )
    assert objective_falls(solve(given_), given_.target.c)
    assert not objective_falls(solve(given_, drop=drop), given_.target.c)


def check_path(ds, c, d):
    assert (ds.status == 0).all()
    # Saved overlaps are those of vectors of R^d, to rounding: no eigenvalue is negative, at most d are not zero.
    gram = np.block([[ds.s.values, ds.m.values], [ds.m.values.mT, np.broadcast_to(c, (*ds.m.shape[:2], *c.shape))]])
    eigenvalues = np.linalg.eigvalsh(gram) / np.maximum(np.trace(gram, axis1=-2, axis2=-1), 1e-300)[..., None]
    assert eigenvalues.min() > -1e-13
    assert np.abs(eigenvalues[..., : max(0, gram.shape[-1] - d)]).max(initial=0.0) < 1e-13
    assert ds.w.values.sum(-1) == pytest.approx(1, abs=1e-12)
    assert ds.mode_mass.values.sum(-1) == pytest.approx(1, abs=1e-12)
    assert objective_falls(ds, c)


def objective_falls(ds, c):
    """Whether it never increases and never is negative, up to the error with which it is known.

    It is a function of overlaps known to rtol = 1e-8 of their size, taken ten times, and of expectations with the
    stated error; the largest size is that of the modes or of the components at some time.
    """
    size = np.maximum(1.0, np.trace(c) + np.trace(ds.s.values, axis1=-2, axis2=-1).max(1, keepdims=True))
    error = 1e-7 * size + 4 * ds.quadrature_error.values.max(1, keepdims=True)
    return bool((np.diff(ds.objective.values, axis=1) < error).all() and (ds.objective.values > -error).all())
