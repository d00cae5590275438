"""The chain of sampler_chain.py: a block of paths is walked from end to end while it is in the cache.

Scores enter through inner products x·μ_a and |x|², from which come a shrinking of x and a pull along each mean; then x
is moved, and the residual of the other kernel evaluated, coordinate by coordinate in R^d. The model is that of
sampler_tables.py.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.machine.stack import bare
from solvers.particles.loops.numbers import STRETCH, compiled, draw, entry, exact, exp, log, reordered

LIVE, MOVE, REVERSE = 0, 1, 2
"""Means that scores at a step have, and those in the drift that moves and in that of the reverse kernel."""


@reordered
def dot(x, row, y, other):  # type: ignore[no-untyped-def]
    one, two = x[row], y[other]
    total = 0.0
    for j in range(one.size):
        total += one[j] * two[j]
    return total


@reordered
def project(x, row, means, which, counts, n, dots, at, p):  # type: ignore[no-untyped-def]
    """dots[at + a, p] = x·μ_a for the means that scores at step n have, two at a time so that x is read less often."""
    one, count = x[row], counts[LIVE, n]
    for i in range(0, count - 1, 2):
        a, b = which[LIVE, n, i], which[LIVE, n, i + 1]
        two, three = means[a], means[b]
        first = second = 0.0
        for j in range(one.size):
            first += one[j] * two[j]
            second += one[j] * three[j]
        dots[at + a, p], dots[at + b, p] = first, second
    if count % 2:
        a = which[LIVE, n, count - 1]
        dots[at + a, p] = dot(x, row, means, a)


@compiled
def pull(x, row, means, which, counts, side, n, factor, at, scale, p):  # type: ignore[no-untyped-def]
    """x += scale Σ_a factor[at, 1 + a, p] μ_a over the means of one side at step n, two at a time."""
    one, count = x[row], counts[side, n]
    for i in range(0, count - 1, 2):
        a, b = which[side, n, i], which[side, n, i + 1]
        f, g, two, three = scale * factor[at, 1 + a, p], scale * factor[at, 1 + b, p], means[a], means[b]
        for j in range(one.size):
            one[j] = (one[j] + f * two[j]) + g * three[j]
    if count % 2:
        a = which[side, n, count - 1]
        f, two = scale * factor[at, 1 + a, p], means[a]
        for j in range(one.size):
            one[j] += f * two[j]


@compiled
def combine(out, place, x, row, f, y, other, g):  # type: ignore[no-untyped-def]
    """out = f x + g y."""
    result, one, two = out[place], x[row], y[other]
    for j in range(result.size):
        result[j] = f * one[j] + g * two[j]


@compiled
def _scale(x, row, f, y, other, g, d):  # type: ignore[no-untyped-def]
    """x = f x + g y, 0 beyond d."""
    one, two = x[row], y[other]
    for j in range(one.size):
        one[j] = f * one[j] + g * two[j]
    for j in range(d, one.size):
        one[j] = 0.0


@compiled
def begin(x, row, means, origin, spread, d):  # type: ignore[no-untyped-def]
    """x, which is ξ, becomes μ_origin + spread ξ."""
    _scale(x, row, spread, means, origin, 1.0, d)


@compiled
def move(x, row, y, other, means, which, counts, n, out, at, p, eta, noise, d):  # type: ignore[no-untyped-def]
    """x, which is ξ, becomes y + η drift(y) + noise ξ, where y is at step n. Returns |ξ|²."""
    one = x[row]
    for j in range(d, one.size):
        one[j] = 0.0
    square = dot(x, row, x, row)
    _scale(x, row, noise, y, other, 1.0 + eta * out[at, 0, p], d)
    pull(x, row, means, which, counts, MOVE, n, out, at, eta, p)
    return square


@compiled
def residual(e, place, x, row, y, other, means, which, counts, n, out, at, p, eta):  # type: ignore[no-untyped-def]
    """e = x − y − η drift(y), where y is at step n. Returns |e|²."""
    combine(e, place, x, row, 1.0, y, other, -1.0 - eta * out[at, 0, p])
    pull(e, place, means, which, counts, REVERSE, n, out, at, -eta, p)
    return dot(e, place, e, place)


@exact
def scores(dots, square, slot, base, scale, inverse, constant, live, move, reverse, count, top, r, out):  # type: ignore[no-untyped-def]
    """Responsibilities r (C, path), log-densities top (S, path) of the live scores, and what the drifts are made of.

    out (2, 1 + A, path): factor of x and of each mean, for the drift that moves and for that of the reverse kernel.
    """
    C, S = slot.size, live.size
    for p in range(count):
        out[0, 0, p] = move[0]
        out[1, 0, p] = reverse[0]
    out[:, 1:, :count] = 0.0
    for s in range(S):
        if not live[s]:
            continue
        for p in range(count):
            top[s, p] = -np.inf
        for c in range(C):
            if slot[c] == s:
                a, e, i, k = base[c], scale[c], inverse[c], constant[c]
                for p in range(count):
                    r[c, p] = (e * dots[a, p] - 0.5 * square[p]) * i + k
                for p in range(count):
                    top[s, p] = r[c, p] if r[c, p] > top[s, p] else top[s, p]
        total = top[S]
        for p in range(count):
            total[p] = 0.0
        for c in range(C):
            if slot[c] == s:
                for p in range(count):
                    r[c, p] = exp(r[c, p] - top[s, p])
                for p in range(count):
                    total[p] += r[c, p]
        for c in range(C):
            if slot[c] == s:
                a, e, i = base[c], scale[c], inverse[c]
                f, g = move[1 + s] * i, reverse[1 + s] * i
                for p in range(count):
                    r[c, p] /= total[p]
                for p in range(count):
                    out[0, 0, p] -= f * r[c, p]
                    out[1, 0, p] -= g * r[c, p]
                for p in range(count):
                    out[0, 1 + a, p] += f * e * r[c, p]
                    out[1, 1 + a, p] += g * e * r[c, p]
        for p in range(count):
            top[s, p] += log(total[p])


@entry
def walk(  # type: ignore[no-untyped-def]
    means, slot, base, scale, inverse, constant, live, moves, reverses, which, counts, etas, d, origin, spread, first,
    sources, k0, k1, first_slot, last_slot, log_first, log_last, ratio, resp, resp_at, end, end_at,
    x, y, e, dots, square, top, r, out,
):  # fmt: skip
    """Walk paths first ≤ i < first + origin.size. Writes log-densities at both ends, the log-ratio of the kernels, the
    responsibilities of the target (path, L) and the point at the data end, step `end_at` of those walked.

    etas (N,): in the order of the walk. sources (N+1,): whose numbers each step draws. From x on: room."""
    means, which, counts, x, y, e = bare(means), bare(which), bare(counts), bare(x), bare(y), bare(e)
    slot, base, scale, inverse, constant = bare(slot), bare(base), bare(scale), bare(inverse), bare(constant)
    live, moves, reverses, ratio, end = bare(live), bare(moves), bare(reverses), bare(ratio), bare(end)
    dots, square, top, r, out = bare(dots), bare(square), bare(top), bare(r), bare(out)
    N, block, rows = scale.shape[0] - 1, x.shape[0], max(1, STRETCH // x.shape[1])
    for some in range(0, origin.size, block):
        count = min(block, origin.size - some)
        for n in range(N + 1):
            step = np.uint64(n)
            eta = etas[n - 1] if n > 0 else 0.0
            noise = math.sqrt(2 * eta)
            for p in range(count):
                if p % rows == 0:
                    particle = np.uint64(first + some + p)
                    draw(y, p, min(rows, count - p), 0, y.shape[1], particle, step, sources[n], k0, k1)
                if n == 0:
                    ratio[some + p] = 0.0
                    begin(y, p, means, origin[some + p], spread[some + p], d)
                else:
                    ratio[some + p] += 0.5 * move(y, p, x, p, means, which, counts, n - 1, out, 0, p, eta, noise, d)
                square[p] = dot(y, p, y, p)
                project(y, p, means, which, counts, n, dots, 0, p)
            scores(dots, square, slot, base, scale[n], inverse[n], constant[n], live[n], moves[n], reverses[n], count,
                   top, r, out)  # fmt: skip
            if n > 0:
                for p in range(count):
                    square[p] = residual(e, 0, x, p, y, p, means, which, counts, n, out, 1, p, eta)
                for p in range(count):
                    ratio[some + p] -= square[p] / (4 * eta)
            if n == 0:
                log_first[some : some + count] = top[first_slot, :count]
            if n == N:
                log_last[some : some + count] = top[last_slot, :count]
            if n == end_at:
                for l in range(resp.shape[1]):
                    for p in range(count):
                        resp[some + p, l] = r[resp_at + l, p]
                for p in range(min(count, end.shape[0] - some)):
                    for j in range(d):
                        end[some + p, j] = y[p, j]
            x, y = y, x
