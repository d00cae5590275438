"""What n weights W can say of E W and E W²: the Pareto index of their tail, and errors that allow for it.

Where few paths carry the sum, a mean of W is off by more than the W that were drawn can show. Beyond a high value they
are taken to follow a generalised Pareto law of index k, of which moments below 1/k exist: its fit, k̂, says whether
there is a mean to be estimated, and how much of it was too rare to be drawn.

Sources: Vehtari, Simpson, Gelman, Yao, Gabry, arXiv 1507.02646 (k̂, fitted by ArviZ, and the limit on it); Hall (1992),
J. R. Statist. Soc. B 54, 221 (skewness).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from solvers.results.intervals import CONFIDENCE

__all__ = [
    "INDEX_OF", "Estimate", "ess_error", "ess_forward_error", "index_of", "known", "known_ess", "limit", "log_z_error",
    "over", "pareto_k",
]  # fmt: skip

Array = NDArray[np.float64]
Estimate = tuple[float, float]

Z = float(ndtri((1 + CONFIDENCE) / 2))
MARKOV = 1 / (1 - CONFIDENCE)
FEWEST = 25  # of fewer weights the tail is less than five
SHARE = 0.5  # one weight that is more than all others together is no sample of a tail
NEGLIGIBLE = 1e-6  # nats: log-weights closer together than this are equal
LIGHT = -0.3  # of a lighter tail there is nothing beyond what was drawn
NO_MEAN = 0.99  # an index from which on the mean does not exist, or might as well not


#: Whether an estimate is to be trusted says the index of what it is a mean of.
INDEX_OF = {"log_z": "pareto_k", "ess": "pareto_k_ess", "ess_forward": "pareto_k_forward"}


class Tail(NamedTuple):
    """The largest `size` of n numbers, those beyond `start`: their index k, and by how much they are beyond, on
    average, as the fitted law has it. k = −inf: there is no tail; inf: it is not known."""

    k: float
    size: int
    start: float
    excess: float


NONE, UNKNOWN = Tail(-np.inf, 0, np.inf, 0.0), Tail(np.inf, 0, np.inf, np.inf)


def limit(count: int) -> float:
    """The largest k̂ with which a mean of `count` weights is to be trusted: min(1 − 1/log₁₀ count, 0.7)."""
    return min(1 - 1 / np.log10(count), 0.7) if count > 1 else -np.inf


def pareto_k(log_w: Array) -> Estimate:
    """k̂ of weights exp(log_w) (n,), and its asymptotic standard error.

    −inf where they are equal; inf where nothing is known of their tail, for there are fewer than 25, or one of them is
    more than all the others together. The error is nan there, and where k̂ < −1/2.
    """
    below = log_w - np.max(log_w)
    fit = UNKNOWN if np.sum(np.exp(below)) < 1 / SHARE else _tail(below)
    regular = fit.size > 0 and fit.k > -0.5
    return fit.k, (1 + fit.k) / np.sqrt(fit.size) if regular else np.nan


def index_of(k: Estimate, error: float, power: int = 1) -> Estimate:
    """The index behind an estimate with this error that rests on means of that power of W, from that of W.

    inf for an infinite error: that of terms whose mean does not exist, as far as can be seen.
    """
    return (power * k[0], power * k[1]) if np.isfinite(error) else (np.inf, np.nan)


def known(estimate: Estimate, k: float, count: int) -> Estimate:
    """The estimate, or nan for both where the index behind it is beyond the limit."""
    return estimate if k <= limit(count) else (np.nan, np.nan)


def known_ess(estimate: Estimate, k: float, count: int) -> Estimate:
    """Likewise of an effective sample size, a fraction; but one below 1/(20 count) is small whatever the tail.

    By Markov's inequality a mean of positive numbers is in at most 5 % of cases 20 times as large as it should be, and
    so the fraction no more than 20 times as small.
    """
    found, value = known(estimate, k, count), estimate[0]
    return (value, MARKOV * value / Z) if np.isnan(found[0]) and value * MARKOV * count < 1 else found


def over(count: ArrayLike) -> Array:
    """The 95 % quantile of t over the normal one, for a standard error over `count` independent numbers."""
    return np.asarray(stdtrit(np.maximum(np.asarray(count) - 1.0, 1.0), (1 + CONFIDENCE) / 2) / Z)


def log_z_error(log_w: Array) -> float:
    """Standard error of log mean W, from log_w (n,).

    This and the others are the longer side of a 95 % interval over 1.96: ± 1.96 of it covers. inf for a tail without a
    mean. How often it does: docs/verification.md.
    """
    w = _normalised(log_w)
    return _side(0.0, w, np.zeros(()), lambda mean: np.log(mean) if mean > 0 else -np.inf)


def ess_error(log_w: Array) -> float:
    """Standard error of (ΣW)²/(n ΣW²), paths from the prior. One over it is 1 + E (W/E W − 1)²."""
    w = _normalised(log_w)
    terms = (w - 1) ** 2
    spread = float(np.mean(terms))
    # The mean W has an error too, and moves the terms.
    return _side(1 / (1 + spread), terms, -2 * spread * (w - 1), lambda mean: 1 / (1 + max(mean, 0.0)))


def ess_forward_error(log_w: Array) -> float:
    """Standard error of 1/(mean W · mean 1/W), paths from the target.

    It is (1 + ½ E(W/c + c/W − 2))^{−2} with c² = E W / E 1/W, which makes the expectation least: an error of c is
    of second order.
    """
    top, bottom = np.max(log_w), np.min(log_w)
    up, down = np.log(np.mean(np.exp(log_w - top))) + top, np.log(np.mean(np.exp(bottom - log_w))) - bottom
    with np.errstate(over="ignore"):
        terms = 4 * np.sinh((log_w - (up - down) / 2) / 2) ** 2
    return _side(float(np.exp(-up - down)), terms, np.zeros(()), lambda mean: (1 + max(mean, 0.0) / 2) ** -2)


def _normalised(log_w: Array) -> Array:
    w = np.exp(log_w - np.max(log_w))
    return np.asarray(w / np.mean(w))


def _side(value: float, terms: Array, beside: Array, function: Callable[[float], float]) -> float:
    """The longer side over Z of the interval of a monotone function of the mean of terms ≥ 0, about its value."""
    low, high = _ends(terms, beside) if np.all(np.isfinite(terms)) else (0.0, np.inf)
    return max(abs(function(end) - value) for end in (low, high)) / Z if np.isfinite(high) else np.inf


def _ends(terms: Array, beside: Array) -> tuple[float, float]:
    """A 95 % interval of the mean of terms ≥ 0 (n,), the wider of two on either side.

    beside: influence on it, beyond that of the terms themselves, of what was estimated along with them. One interval
    knows nothing but the numbers drawn and their skewness; the other has the fitted law for those of the tail.
    """
    low, high = _skewed(terms + beside)
    largest = np.max(terms)
    k, size, start, excess = _tail(np.log(np.maximum(terms, 1e-290 * largest))) if largest > NEGLIGIBLE**2 else NONE
    if k < LIGHT:
        return low, high
    if not k < NO_MEAN:
        return 0.0, np.inf
    drawn = np.minimum(terms, start) + excess * (terms > start)
    error = Z * np.std(drawn + beside, ddof=1) / np.sqrt(len(terms))
    # Of the mean excess σ/(1 − k), relative, by the information of the generalised Pareto law.
    spread = Z * np.sqrt((2 * (1 + k) - 2 * (1 + k) / (1 - k) + ((1 + k) / (1 - k)) ** 2) / size)
    mean, share = float(np.mean(drawn)), size / len(terms) * excess
    with np.errstate(over="ignore"):
        below, above = share * -np.expm1(-spread), share * np.expm1(spread)
    return min(low, float(mean - np.hypot(error, below))), max(high, float(mean + np.hypot(error, above)))


def _skewed(x: Array) -> tuple[float, float]:
    """A 95 % interval of the mean of x (n,) by the t statistic without its skewness (Hall's cubic, inverted)."""
    n, mean, deviation = len(x), float(np.mean(x)), float(np.std(x, ddof=1))
    if not deviation > 0:
        return mean, mean
    skewness = float(np.mean(((x - mean) / deviation) ** 3))
    t = np.array([Z, -Z]) / np.sqrt(n)
    if abs(skewness) > 1e-6:
        t = 3 / skewness * (np.cbrt(1 + skewness * (t - skewness / (6 * n))) - 1)
    return float(mean - deviation * t[0]), float(mean - deviation * t[1])


def _tail(log_v: Array) -> Tail:
    """The tail of exp(log_v) (n,), by ArviZ."""
    from arviz_stats.base.array import array_stats  # takes a tenth of a second, and only samplers have weights

    n = len(log_v)
    if n < FEWEST:
        return UNKNOWN
    size = int(3 * np.sqrt(n)) if n > 225 else n // 5  # as there
    order = np.argsort(log_v, kind="stable")
    start, lower, top = log_v[order[[-size - 1, -size + size // 4, -1]]]
    if not top - start > NEGLIGIBLE:
        return NONE
    if not lower - start > NEGLIGIBLE:  # numbers that are equal, and a few that are not
        return UNKNOWN
    with np.errstate(all="ignore"):
        smoothed, k = array_stats.psislw(top - log_v)  # type: ignore[no-untyped-call]
    k = float(k)
    if not np.isfinite(k):
        return UNKNOWN
    # Smoothed are quantiles of the fitted law. That in the middle has its scale, and the smallest number, left as it
    # is, what all of them were divided by.
    smoothed = smoothed + (log_v[order[0]] - smoothed[order[0]])
    beyond = np.exp(smoothed[order[-size + size // 2]]) - np.exp(start)
    quantile = -np.log1p(-(size // 2 + 0.5) / size)
    scale = beyond * k / np.expm1(k * quantile) if abs(k) > 1e-9 else beyond / quantile
    return Tail(k, size, float(np.exp(start)), float(scale / (1 - k)) if k < 1 else np.inf)
