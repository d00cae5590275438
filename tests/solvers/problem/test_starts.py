"""Starts as overlaps: their law against theory and against vectors drawn in R^d, and vectors that have given overlaps.

Every statistical test is wrong with probability at most FALSE_ALARM over its seeds, and stands beside a negative
control: the same test must reject a law that is slightly off.
"""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from solvers.machine import draws
from solvers.problem import Problem, ProblemError
from solvers.problem.starts import starts, vectors

FALSE_ALARM = 1e-6

LINE = [[3.0], [-3.0]]
TRIANGLE = [[2.0, 0.5], [-1.0, 1.5], [-1.0, -2.0]]


def problem(means, *, d, K, scale=0.3, samples=1, seed=0, init=None):
    return Problem.parse(f"""
dimension = {d}
[target]
means = {means}
[family]
components = {K}
[init]
{init or f"scale = {scale}"}
samples = {samples}
seed = {seed}
[time]
end = 1.0
""")


def gram(s, m, c):
    return np.block([[s, m], [m.mT, np.broadcast_to(c, (*s.shape[:-2], *c.shape))]])


def moment_deviations(drawn, given):
    """First and second moments of the starts, minus theory, in standard errors; asymptotically normal."""
    d, c, scale2 = given.dimension, given.target.c, given.init.scale**2
    K, L = drawn.m.shape[1:]
    upper = np.triu_indices(K)
    means = np.where(upper[0] == upper[1], scale2 * d, 0.0)
    variances = np.where(upper[0] == upper[1], 2 * scale2**2 * d, scale2**2 * d)
    s = drawn.s[:, *upper]
    m = drawn.m.reshape(len(s), K * L)
    m_covariance = scale2 * np.kron(np.eye(K), c)
    pairs = np.triu_indices(K * L)
    samples = np.hstack([s, (s - means) ** 2, m, m[:, pairs[0]] * m[:, pairs[1]]])
    expected = np.concatenate([means, variances, np.zeros(K * L), m_covariance[pairs]])
    return (samples.mean(0) - expected) / (samples.std(0, ddof=1) / np.sqrt(len(s)))


def outside(s, m, c):
    """Overlaps of what the means have outside the span of the modes: Wishart, singular where fewer than K are left."""
    return s - m @ np.linalg.pinv(c) @ m.mT


def law_deviation(left, right, c, freedom):
    """Smallest p of two-sample Kolmogorov–Smirnov tests of scalars that see s, m and their dependence, Bonferroni.

    freedom: dimensions outside the span of the modes. The largest minor of `outside` that does not vanish identically
    sees it; a larger one would be a comparison of roundings.
    """

    def scalars(s, m):
        rest = outside(s, m, c)
        minor = rest[:, :freedom, :freedom]
        return [s[:, 0, 0], s[:, 0, 1], m[:, 0, 0], m[:, 1, -1], rest[:, 0, 0], np.linalg.det(minor)]

    pairs = list(zip(scalars(*left), scalars(*right), strict=True))
    return min(stats.ks_2samp(a, b, method="asymp").pvalue for a, b in pairs) * len(pairs)


def drawn_in_space(given, count, rng):
    """The definition: μ_k ~ N(0, scale² I_d), in all d dimensions."""
    nu = np.zeros((len(given.target.c), given.dimension))
    nu[:, : given.target.vectors.shape[1]] = given.target.vectors
    mu = given.init.scale * rng.standard_normal((count, given.family.components, given.dimension))
    return mu @ mu.mT, mu @ nu.T


@pytest.mark.parametrize(("means", "d", "K"), [(LINE, 64, 2), (TRIANGLE, 7, 3), (TRIANGLE, 3, 4)])
def test_moments(means, d, K):
    given = problem(means, d=d, K=K, samples=20_000)
    drawn = starts(given)
    deviations = moment_deviations(drawn, given)
    limit = stats.norm.isf(FALSE_ALARM / 2 / len(deviations))
    assert np.max(np.abs(deviations)) < limit
    # Negative control: one dimension more.
    assert np.max(np.abs(moment_deviations(drawn, problem(means, d=d + 1, K=K)))) > limit


@pytest.mark.parametrize(("means", "d", "K"), [(LINE, 64, 2), (TRIANGLE, 8, 3), (TRIANGLE, 4, 3)])
def test_law_is_that_of_vectors_drawn_in_space(means, d, K):
    given = problem(means, d=d, K=K, samples=4000)
    c, freedom = given.target.c, d - np.linalg.matrix_rank(given.target.c)
    drawn, reference = starts(given)[:2], drawn_in_space(given, 4000, np.random.default_rng(1))
    assert law_deviation(drawn, reference, c, freedom) > FALSE_ALARM
    # Negative control: five degrees of freedom too many outside the span of the modes.
    wrong = starts(problem(means, d=d + 5, K=K, samples=4000))[:2]
    assert law_deviation(wrong, reference, c, freedom) < FALSE_ALARM
    if freedom < K:
        for s, m in (drawn, reference):
            assert vanishing(s, m, c)
        assert not vanishing(*wrong, c)


def vanishing(s, m, c):
    """Whether the determinant outside the span is zero to rounding in every start.

    Hadamard: a determinant of K rows no longer than a moves by at most K a^(K−1) e when each row moves by e. Entries
    are differences of sums of K L products, so e is some K L units in the last place of these; 16 times is allowed.
    """
    K, L = m.shape[1:]
    rest = outside(s, m, c)
    subtracted = np.abs(m) @ np.abs(np.linalg.pinv(c)) @ np.abs(m.mT)
    rounding = 16 * K * L * np.finfo(float).eps * (np.abs(s) + subtracted).max((1, 2))
    size = np.abs(rest).sum(-1).max(-1)
    return bool(np.all(np.abs(np.linalg.det(rest)) <= K * (size + rounding) ** (K - 1) * rounding))


def test_a_million_dimensions_need_no_vector():
    given = problem(LINE, d=10**6, K=3, samples=100)
    tracemalloc.start()
    drawn = starts(given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**6  # bytes: an eighth of one vector
    assert drawn.s[:, 0, 0].mean() == pytest.approx(0.09 * 10**6, rel=0.01)


@given(
    K=st.integers(1, 4),
    d=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1e-8, 0.3, 1e8]),
    seed=st.integers(0, 2**63 - 1),
)
def test_starts_are_overlaps_of_vectors_of_the_dimension(K, d, scale, seed):
    given = problem(LINE if d == 1 else TRIANGLE, d=d, K=K, scale=scale, samples=3, seed=seed)
    drawn = starts(given)
    assert drawn.s.shape == (3, K, K)
    assert drawn.m.shape == (3, K, len(given.target.c))
    np.testing.assert_array_equal(drawn.s, drawn.s.mT)
    whole = gram(drawn.s / (scale**2 or 1), drawn.m / (scale or 1), given.target.c)
    eigenvalues = np.linalg.eigvalsh(whole)
    top = eigenvalues[:, -1:]
    assert np.all(eigenvalues > -1e-13 * top)
    assert np.all((eigenvalues > 1e-12 * top).sum(-1) <= d)


def test_a_start_depends_on_its_seed_and_index_only():
    given = problem(TRIANGLE, d=20, K=2, samples=6, seed=5)
    whole = starts(given)
    some = starts(given, [4, 1])
    for all_of_them, two in zip(whole, some, strict=True):
        np.testing.assert_array_equal(two, all_of_them[[4, 1]])
    np.testing.assert_array_equal(starts(given).s, whole.s)
    more = starts(problem(TRIANGLE, d=20, K=2, samples=9, seed=5))
    np.testing.assert_array_equal(more.s[:6], whole.s)
    others = np.concatenate([starts(problem(TRIANGLE, d=20, K=2, samples=6, seed=seed)).s for seed in (4, 5, 6)])
    assert len(np.unique(others[:, 0, 0])) == 18  # in particular (seed, i) = (4, 5) and (5, 4) differ
    with pytest.raises(IndexError):
        starts(given, [6])


@pytest.mark.parametrize(("d", "K"), [(64, 2), (3, 4), (4, 3)])
def test_many_starts_are_drawn_compiled_to_the_same_bits(d, K, monkeypatch):
    """d = 4 has chi-squares of one and two degrees of freedom, which are drawn in other ways; d = 3 has none."""
    given = problem(LINE, d=d, K=K, samples=10**9, seed=2**63 - 1)
    chosen = [*range(draws.PIECE + 3), 10**9 - 1]
    compiled = starts(given, chosen)
    monkeypatch.setattr(draws, "_compiled", lambda: None)
    for one, other in zip(compiled, starts(given, chosen), strict=True):
        np.testing.assert_array_equal(one, other)


def test_given_starts():
    by_means = starts(problem(TRIANGLE, d=9, K=2, init="means = [[0.1, 0.2, 0.3], [0.5]]"))
    mu = np.array([[0.1, 0.2, 0.3], [0.5, 0, 0]])
    np.testing.assert_allclose(by_means.s, [mu @ mu.T], rtol=1e-14)
    np.testing.assert_allclose(by_means.m, [mu[:, :2] @ np.array(TRIANGLE).T], rtol=1e-14)
    overlaps = "overlaps = {s = [[1.0, 0.5], [0.5, 1.0]], m = [[1.0, -1.0], [0.0, 0.0]]}"
    by_overlaps = starts(problem(LINE, d=9, K=2, init=overlaps))
    np.testing.assert_array_equal(by_overlaps.s, [[[1, 0.5], [0.5, 1]]])
    np.testing.assert_array_equal(by_overlaps.m, [[[1, -1], [0, 0]]])


def test_theta_holds_the_log_weights():
    text = problem(LINE, d=9, K=2, samples=3).text.replace("components = 2", "components = 2\nweights = [1e-300, 1.0]")
    np.testing.assert_allclose(starts(Problem.parse(text)).theta, np.tile(np.log([1e-300, 1]), (3, 1)))


@given(
    K=st.integers(1, 4),
    d=st.integers(2, 8),
    coordinates=st.integers(1, 3),
    modes=st.integers(1, 4),
    zero=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_vectors_have_the_overlaps_they_were_made_from(K, d, coordinates, modes, zero, seed):
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((modes, min(coordinates, d))) * 10.0 ** rng.integers(-3, 3)
    means[0] *= not zero
    given = problem(means.tolist(), d=d, K=K)
    mu = rng.standard_normal((K, d))
    if K > 1:
        mu[1] = mu[0]  # coincident means: a Gram matrix without an inverse
    nu = np.pad(means, ((0, 0), (0, d - means.shape[1])))
    found_mu, found_nu = vectors(mu @ mu.T, mu @ nu.T, given)
    np.testing.assert_array_equal(found_nu, nu)
    scale = max(1.0, np.abs(means).max())
    np.testing.assert_allclose(found_mu @ found_mu.T, mu @ mu.T, atol=1e-11)
    np.testing.assert_allclose(found_mu @ nu.T, mu @ nu.T, atol=1e-11 * scale)


def test_vectors_from_a_target_given_by_overlaps():
    text = problem(LINE, d=5, K=2).text.replace(f"means = {LINE}", "overlaps = [[9.0, -4.5], [-4.5, 9.0]]")
    given = Problem.parse(text)
    drawn = starts(given)
    mu, nu = vectors(drawn.s[0], drawn.m[0], given)
    assert (mu.shape, nu.shape) == ((2, 5), (2, 5))
    np.testing.assert_allclose(nu @ nu.T, given.target.c, atol=1e-12)
    np.testing.assert_allclose(mu @ nu.T, drawn.m[0], atol=1e-12)
    np.testing.assert_allclose(mu @ mu.T, drawn.s[0], atol=1e-12)


def test_vectors_forgive_the_errors_of_an_integrator():
    given = problem(LINE, d=2, K=2)
    mu = np.array([[1.0, 0.5], [1.0, 0.5]])
    s, m = mu @ mu.T, mu[:, :1] @ np.array(LINE).T
    s = s + 1e-8 * np.array([[-1.0, 1.0], [1.0, -1.0]])
    m = m + 1e-8
    found, nu = vectors(s, m, given)
    np.testing.assert_allclose(found @ found.T, s, atol=1e-7)
    np.testing.assert_allclose(found @ nu.T, m, atol=1e-7)


@pytest.mark.parametrize(
    ("d", "s", "m"),
    [
        (1, [[1.0]], [[0.3, -0.3]]),  # shorter than its projection leaves it, and no room beside it
        (5, [[1.0]], [[4.0, -4.0]]),  # longer overlap than the lengths allow
        (5, [[1.0]], [[1.0, 1.0]]),  # opposite modes, equal overlaps
    ],
)
def test_impossible_overlaps(d, s, m):
    with pytest.raises(ProblemError, match=f"problem: overlaps s, m: no 1 vectors of dimension {d} have them"):
        vectors(np.array(s), np.array(m), problem(LINE, d=d, K=1))
