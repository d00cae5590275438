"""The sums of estimate.py, a few particles at a time: drawn, evaluated and added up while they are in the cache.

Inner products and sums of x run over coordinates, responsibilities over particles. Sums over particles run in the order
of the particles.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.particles.loops.numbers import STRETCH, compiled, draw, entry, exact, exp, log, reordered


@compiled
def _place(x, row, begin, end, means, origin, scale, d):  # type: ignore[no-untyped-def]
    """x[row] becomes mean + scale·x between begin and end, 0 beyond d."""
    part, mean = x[row, begin:end], means[origin, begin:end]
    for j in range(part.size):
        part[j] = mean[j] + scale * part[j]
    for j in range(d - begin, part.size):
        part[j] = 0.0


@reordered
def _dot(x, row, begin, end, y, other):  # type: ignore[no-untyped-def]
    one, two = x[row, begin:end], y[other, begin:end]
    total = 0.0
    for j in range(one.size):
        total += one[j] * two[j]
    return total


@exact
def _normalise(terms, top, total, count):  # type: ignore[no-untyped-def]
    """top becomes log Σ_a exp(terms_a), terms become exp(terms − that), particle by particle (term, particle)."""
    for p in range(count):
        top[p] = terms[0, p]
        total[p] = 0.0
    for a in range(1, terms.shape[0]):
        for p in range(count):
            top[p] = terms[a, p] if terms[a, p] > top[p] else top[p]
    for a in range(terms.shape[0]):
        for p in range(count):
            terms[a, p] = exp(terms[a, p] - top[p])
        for p in range(count):
            total[p] += terms[a, p]
    for a in range(terms.shape[0]):
        for p in range(count):
            terms[a, p] /= total[p]
    for p in range(count):
        top[p] += log(total[p])


@compiled
def _add_multiples(total, x, factor, count):  # type: ignore[no-untyped-def]
    """total (width,) += Σ_p factor[p] x[p], in the order of p, four at a time so that total is read less often."""
    fours = count // 4 * 4
    for p in range(0, fours, 4):
        f0, f1, f2, f3 = factor[p], factor[p + 1], factor[p + 2], factor[p + 3]
        x0, x1, x2, x3 = x[p], x[p + 1], x[p + 2], x[p + 3]
        for j in range(total.size):
            total[j] = (((total[j] + f0 * x0[j]) + f1 * x1[j]) + f2 * x2[j]) + f3 * x3[j]
    for p in range(fours, count):
        f0, x0 = factor[p], x[p]
        for j in range(total.size):
            total[j] += f0 * x0[j]


@entry
def accumulate(  # type: ignore[no-untyped-def]
    means,
    variances,
    constants,
    gram,
    K,
    beta,
    forward,
    keys,
    step,
    common,
    sign,
    first,
    last,
    d,
    x,
    work,
    moment,
    table,
    scalar,
):
    """Add the particles first ≤ n < last of every source and replica to the sums of estimate.py.

    means (replica, A, width), width = d filled up with zeros to whole tiles; A = K + L; variances, constants (replica,
    A): see Mixtures; gram (replica, A, A); keys (replica, 2); x (block, width) and work (2 A + 4, block): scratch;
    moment (replica, source, coefficient, width), table (replica, source, A), scalar (replica, source, 1 + coefficient):
    the log-ratio, then the squares.
    """
    block, width = x.shape
    rows = max(1, STRETCH // width)
    replicas, A = means.shape[:2]
    terms, dots, square = work[:A], work[A : 2 * A], work[2 * A]
    log_q, log_p, total = work[2 * A + 1], work[2 * A + 2], work[2 * A + 3]
    for g in range(replicas):
        mean, variance, constant = means[g], variances[g], constants[g]
        for s in range(moment.shape[1]):
            origin = K + s if forward else s
            scale, source = sign * math.sqrt(variance[origin]), np.uint64(0 if common else origin)
            for begin in range(first, last, block):
                count = min(block, last - begin)
                dots[:, :count] = 0.0
                square[:count] = 0.0
                for j in range(0, width, STRETCH):
                    end = min(j + STRETCH, width)
                    for p in range(count):
                        if p % rows == 0:
                            particle, drawn = np.uint64(begin + p), min(rows, count - p)
                            draw(x, p, drawn, j, end, particle, step, source, keys[g, 0], keys[g, 1])
                        _place(x, p, j, end, mean, origin, scale, d)
                        square[p] += _dot(x, p, j, end, x, p)
                        for a in range(A):
                            dots[a, p] += _dot(x, p, j, end, mean, a)
                for a in range(A):
                    inverse, shift = 1.0 / variance[a], constant[a]
                    for p in range(count):
                        terms[a, p] = (dots[a, p] - 0.5 * square[p]) * inverse + shift
                _normalise(terms[:K], log_q, total, count)
                _normalise(terms[K:], log_p, total, count)
                for p in range(count):
                    scalar[g, s, 0] += log_q[p] - beta * log_p[p]
                for a in range(A):
                    for p in range(count):
                        table[g, s, a] += terms[a, p]
                if forward:
                    for k in range(K):
                        norm = gram[g, k, k]
                        for p in range(count):
                            scalar[g, s, 1 + k] += terms[k, p] * (square[p] - 2.0 * dots[k, p] + norm)
                        _add_multiples(moment[g, s, k], x, terms[k], count)
                else:
                    # slope and (x − μ)·g, from g = slope·x + Σ_a factor_a·terms_a·mean_a
                    slope, along = total, log_q
                    for p in range(count):
                        slope[p] = 0.0
                        along[p] = 0.0
                    for a in range(A):
                        factor = (1.0 if a < K else -beta) / variance[a]
                        shift = gram[g, s, a]
                        for p in range(count):
                            slope[p] -= factor * terms[a, p]
                            along[p] += factor * terms[a, p] * (dots[a, p] - shift)
                    for p in range(count):
                        scalar[g, s, 1] += slope[p] * (square[p] - dots[s, p]) + along[p]
                    _add_multiples(moment[g, s, 0], x, slope, count)
