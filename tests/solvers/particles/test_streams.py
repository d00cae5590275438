"""Random numbers: the known ones, the same for everybody, and normal."""

import numpy as np
import pytest
from mpmath import mp
from scipy.stats import kstest
from scipy.stats import norm as normal

from solvers.particles.loops import numbers
from solvers.particles.streams import TILE, normals, philox, stream_keys
from tests.limits import ROUNDING

# Known answers of the Random123 distribution for Philox4x32-10: zeros, ones, and digits of π.
KNOWN = [
    ([0x00000000] * 4, [0x00000000] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def words(numbers):
    return tuple(np.array(number, dtype=np.uint64) for number in numbers)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_vectors(counter, key, expected):
    assert [int(word) for word in philox(words(counter), words(key))] == expected
    assert [int(word) for word in numbers.philox(*map(np.uint64, (*counter, *key)))] == expected


def draw(seed=3, key=(1, 2), replicas=range(4), step=7, source=1, particles=range(5), d=20):
    return normals(np, stream_keys(seed, key, replicas), step, source, particles, d)


def test_a_number_is_known_by_what_it_is_for():
    whole = draw()
    assert np.array_equal(np.concatenate([draw(replicas=range(1)), draw(replicas=range(1, 4))]), whole)
    assert np.array_equal(draw(particles=range(2, 5)), whole[:, 2:])
    assert np.array_equal(draw(d=13), whole[..., :13])


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 4},
        {"key": (1, 3)},
        {"key": (1,)},
        {"replicas": range(4, 8)},
        {"step": 8},
        {"source": 0},
        {"particles": range(5, 10)},
    ],
)
def test_streams_differ_by_everything_that_names_them(other):
    assert not np.any(np.isin(draw(**other), draw()))


def test_compiled_numbers_are_the_same_to_rounding():
    keys, d = stream_keys(5, (), range(1)), 16 * TILE
    x = np.empty((200, d))
    for n in range(len(x)):
        numbers.draw(x, n, 1, 0, d, *map(np.uint64, (n, 4, 2)), *keys[0])
    expected = normals(np, keys, 4, 2, range(len(x)), d)[0]
    # log, cos and sin are each within a few units in the last place; cosines near zero have the error of the angle.
    np.testing.assert_allclose(x, expected, rtol=ROUNDING, atol=ROUNDING)


def rejecting(x, alpha=1e-6):
    """Which of five tests of rows of standard normal numbers reject, each at a false-alarm rate of alpha/5."""
    rows, n = x.shape
    # Sums of so many numbers are normal to far better than their tails here; row pairs count as so many tests.
    limit = normal.isf(alpha / 10 / rows**2)
    moments = {
        "mean": np.abs(x.mean(1)).max() / np.sqrt(1 / n),
        "variance": np.abs((x**2).mean(1) - 1).max() / np.sqrt(2 / n),
        "kurtosis": np.abs((x**4).mean(1) - 3).max() / np.sqrt(96 / n),
        "correlation": np.abs(x @ x.T / n - np.diag((x**2).mean(1))).max() / np.sqrt(1 / n),
    }
    rejected = {name for name, deviation in moments.items() if deviation > limit}
    return rejected | ({"law"} if kstest(x.ravel(), "norm").pvalue < alpha / 5 else set())


def test_normals_are_normal_and_independent():
    # Rows: replicas, then steps, sources and particles, neighbours in each word of key and counter.
    keys = stream_keys(11, (), range(8))
    rows = [normals(np, keys, 0, 0, range(100), 400).reshape(8, -1)]
    rows += [
        normals(np, keys[:1], step, source, range(100), 400).reshape(1, -1) for step in (1, 2) for source in (0, 1)
    ]
    x = np.concatenate(rows)
    assert rejecting(x) == set()
    pairs = x.reshape(len(x), -1, 2, 8)  # cosines and sines of the same angles
    assert rejecting(np.concatenate([pairs[:, :, 0].reshape(len(x), -1), pairs[:, :, 1].reshape(len(x), -1)])) == set()


@pytest.mark.parametrize(
    ("wrong", "by"),
    [
        (lambda x: 1.02 * x, {"variance", "law"}),
        (lambda x: x + 0.02, {"mean", "law"}),
        (lambda x: np.concatenate([x[:-1], x[:1] + 0.1 * x[-1:]]), {"correlation"}),
        (lambda x: np.clip(x, -2.5, 2.5), {"kurtosis"}),
        (lambda x: np.cos(2 * x), {"law", "mean", "variance", "kurtosis"}),
    ],
)
def test_the_same_tests_reject_numbers_that_are_not(wrong, by):
    x = normals(np, stream_keys(11, (), range(8)), 0, 0, range(100), 400).reshape(8, -1)
    assert by <= rejecting(wrong(x))


def largest_error(found, function, at):
    """Of numbers against the function in 30 digits, relative, in units in the last place."""
    with mp.workdps(30):
        exact = [function(mp.mpf(float(x))) for x in at]
        return float(max(abs(mp.mpf(float(a)) / b - 1) for a, b in zip(found, exact, strict=True) if b)) * 2.0**52


def test_tails_reach_as_far_as_stated():
    """u = 2⁻⁵² and 1: the compiled logarithm at both ends and between, against 30 digits."""
    u = np.concatenate([2.0 ** -np.arange(53.0), 1 - 2.0**-52 * np.arange(1, 2000), np.linspace(0.01, 1, 5000)])
    mine = np.array([numbers.log(number) for number in u])
    assert largest_error(mine, mp.log, u) < 2
    assert np.sqrt(-2 * mine.min()) == pytest.approx(np.sqrt(104 * np.log(2)), rel=ROUNDING)


def test_compiled_exponential():
    x = np.concatenate([-np.linspace(0, 700, 20001), -np.geomspace(1e-300, 1, 500)])
    mine = np.array([numbers.exp(number) for number in x])
    # Reduction by 2ⁿ and the polynomial.
    assert largest_error(mine, mp.exp, x) < 3
    assert 0 < numbers.exp(-1e9) < 1e-300
    assert np.isnan(numbers.exp(np.nan))
