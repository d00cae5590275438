"""Reverse mode through the chain: what sampler_chain.gradient does, line by line, for a block of paths in the cache.

And what sampler_chain.fixed does, where nothing goes back: x̄' is then what the forward kernel says, no derivative in x.

Points and residuals of the block are kept; so are responsibilities and what drifts are made of. Going back, x̄ and the
derivatives in the means are combinations, with factors of each path, of x̄ of the step after, the residuals on either
side, x and the means. Derivatives are gathered path by path, and paths added in their order: blocks change no bit.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.machine.stack import bare
from solvers.particles.loops.chain import (
    LIVE,
    MOVE,
    REVERSE,
    begin,
    combine,
    dot,
    move,
    project,
    pull,
    residual,
    scores,
)  # fmt: skip
from solvers.particles.loops.numbers import STRETCH, compiled, draw, entry, exact


@exact
def _scores_back(  # type: ignore[no-untyped-def]
    dots, square, norms, variances, slot, base, scale, inverse, live, moves, reverses, densities, eta, d, weights,
    ahead, after, after_x, error, error_x, r, count, alpha, total, factor, sums,
):  # fmt: skip
    """Reverse mode of `scores` for the derivatives in the drifts, η x̄' and −η ē with ē = (weight/2η) e, and weight
    times `densities` (S,) in the log-densities, where these are positive, of the prior, `ahead` times them.

    after (A, path), after_x (path,): x̄'·μ_a, x̄'·x; error, error_x: e·μ_a, e·x.
    factor (1 + A, path): of −x and of each mean in x̄, the latter also of x in the derivative in that mean. sums (3, A,
    path): added are derivatives in log-variances and log-weights, and the factor of −μ_a in the derivative in μ_a.
    """
    factor[:, :count] = 0.0
    for s in range(live.size):
        if not live[s]:
            continue
        of = ahead if densities[s] > 0.0 else weights
        for p in range(count):
            total[p] = densities[s] * of[p]
        for c in range(slot.size):
            if slot[c] == s:
                a, e, f, g = base[c], scale[c], eta * moves[1 + s] * inverse[c], 0.5 * reverses[1 + s] * inverse[c]
                for p in range(count):
                    alpha[c, p] = f * (e * after[a, p] - after_x[p])
                    alpha[c, p] -= g * weights[p] * (e * error[a, p] - error_x[p])
                for p in range(count):
                    total[p] -= r[c, p] * alpha[c, p]
        for c in range(slot.size):
            if slot[c] == s:
                a, e, i = base[c], scale[c], inverse[c]
                own = e * e * variances[a] * i  # of the mixture itself: through the noise
                for p in range(count):
                    q = r[c, p] * (alpha[c, p] + total[p])
                    distance = square[p] - 2.0 * e * dots[a, p] + e * e * norms[a]
                    factor[0, p] += q * i
                    factor[1 + a, p] += q * i * e
                    sums[0, a, p] += own * (q * (0.5 * i * distance - 0.5 * d) - r[c, p] * alpha[c, p])
                    sums[1, a, p] += q
                    sums[2, a, p] += q * i * e * e


@exact
def _schedule_back(  # type: ignore[no-untyped-def]
    dots, square, norms, variances, slot, base, scale, inverse, live, moves, reverses, densities, eta, d, weights,
    after, after_x, error, error_x, r, count, of_time, of_beta,
):  # fmt: skip
    """Added to of_time: derivatives in the noise time that is left, through noised scores; to of_beta: in β, by the
    target's score less the prior's. As in `_scores_back`; a noised mean is scaled by less than 1."""
    for p in range(count):
        by_time = by_beta = 0.0
        for s in range(live.size):
            if not live[s]:
                continue
            mean = pull = 0.0  # Σ r α, and the same without the coefficients of the drifts
            for c in range(slot.size):
                if slot[c] == s:
                    a, e, i = base[c], scale[c], inverse[c]
                    ahead, behind = eta * (e * after[a, p] - after_x[p]), e * error[a, p] - error_x[p]
                    pull += r[c, p] * i * (ahead - 0.5 * weights[p] * behind)
                    mean += r[c, p] * i * (moves[1 + s] * ahead - 0.5 * reverses[1 + s] * weights[p] * behind)
            if s < 2:
                by_beta += pull if s == 1 else -pull
            for c in range(slot.size):
                if slot[c] == s and scale[c] < 1.0:
                    a, e, i = base[c], scale[c], inverse[c]
                    ahead, behind = eta * moves[1 + s], 0.5 * reverses[1 + s] * weights[p]
                    alpha = i * (ahead * (e * after[a, p] - after_x[p]) - behind * (e * error[a, p] - error_x[p]))
                    q = r[c, p] * (alpha - mean + densities[s] * weights[p])
                    distance = square[p] - 2.0 * e * dots[a, p] + e * e * norms[a]
                    along = r[c, p] * (ahead * after[a, p] - behind * error[a, p]) + q * (dots[a, p] - e * norms[a])
                    wide = q * (0.5 * i * distance - 0.5 * d) - r[c, p] * alpha
                    by_time -= e * i * along + 2.0 * e * e * (variances[a] - 1.0) * i * wide
        of_time[0] += by_time
        of_beta[0] += by_beta


@compiled
def _gather(total, place, x, row, f, y, other, g, z, third, h):  # type: ignore[no-untyped-def]
    """total += f x + g y + h z."""
    result, one, two, three = total[place], x[row], y[other], z[third]
    for j in range(result.size):
        result[j] += (f * one[j] + g * two[j]) + h * three[j]


@compiled
def _turn(x, row, f, e, later, g, now, h, z, third, k):  # type: ignore[no-untyped-def]
    """x = f x + g e[later] + h e[now] + k z."""
    one, two, three, four = x[row], e[later], e[now], z[third]
    for j in range(one.size):
        one[j] = ((f * one[j] + g * two[j]) + h * three[j]) + k * four[j]


@compiled
def _step_noise(e, place, x, row, before, means, which, counts, n, out, at, p, eta, scale):  # type: ignore[no-untyped-def]
    """e = scale (x' − x − η drift(x)), of the move from x at step n to x'."""
    combine(e, place, x, row, scale, x, before, -scale * (1.0 + eta * out[at, 0, p]))
    pull(e, place, means, which, counts, MOVE, n, out, at, -scale * eta, p)


@compiled
def _add(total, place, x, row, f):  # type: ignore[no-untyped-def]
    one, two = total[place], x[row]
    for j in range(one.size):
        one[j] += f * two[j]


@entry
def differentiate(  # type: ignore[no-untyped-def]
    means, slot, base, scale, inverse, constant, live, moves, reverses, which, counts, etas, variances, densities,
    place, d, origin, spread, weights, ahead, fixed, first, step, source, k0, k1, log_weight, of_means, of_rest,
    of_schedule, x, e, x_bar, held, dots, square, r, out, top, factor, sums, alpha, after, error, rest, norms,
):  # fmt: skip
    """log W of the paths first ≤ i < first + origin.size, whose numbers have the steps from `step` on; and added to
    of_means (M, width) and of_rest (2, A), derivatives of Σ_i weights_i (−log W_i) in means, log-variances and
    log-weights; or, if `fixed`, of Σ_i [ahead_i log Q_i − weights_i log P̃_i] at paths that stay where they are. place
    (A,): where in of_means those in a mean go, −1: nowhere. of_schedule (4, N+1), or without rows: added are those in
    the length of the step after n that come through its move, in that of the step before n that come through its
    residual, in the noise time left at n, and in β_n. From x on: room."""
    means, which, counts, place = bare(means), bare(which), bare(counts), bare(place)
    slot, base, scale, inverse, constant = bare(slot), bare(base), bare(scale), bare(inverse), bare(constant)
    live, moves, reverses, densities, weights = bare(live), bare(moves), bare(reverses), bare(densities), bare(weights)
    ahead = bare(ahead)
    x, e, x_bar, held, of_means = bare(x), bare(e), bare(x_bar), bare(held), bare(of_means)
    dots, square, r, out, top = bare(dots), bare(square), bare(r), bare(out), bare(top)
    factor, sums, alpha, after, error = bare(factor), bare(sums), bare(alpha), bare(after), bare(error)
    rest, log_weight, variances, norms = bare(rest), bare(log_weight), bare(variances), bare(norms)
    of_schedule, steered = bare(of_schedule), of_schedule.shape[0] > 0
    N, A, M, block = scale.shape[0] - 1, means.shape[0], of_means.shape[0], x_bar.shape[0]
    rows = max(1, STRETCH // x.shape[1])
    log_first, after_x, error_x, total = rest[0], rest[1], rest[2], rest[3]
    for a in range(A):
        norms[a] = dot(means, a, means, a)
    e[:block] = 0.0  # of no step: before the first, and after the last
    e[(N + 1) * block :] = 0.0
    for some in range(0, origin.size, block):
        count = min(block, origin.size - some)
        weight, other = weights[some : some + count], ahead[some : some + count]
        ratio = log_weight[some : some + count]
        for n in range(N + 1):
            now, number = n * block, np.uint64(step + n)
            eta = etas[n - 1] if n > 0 else 0.0
            noise = math.sqrt(2 * eta)
            for p in range(count):
                i, row = some + p, now + p
                if p % rows == 0:
                    draw(x, row, min(rows, count - p), 0, x.shape[1], np.uint64(first + i), number, source, k0, k1)
                if n == 0:
                    ratio[p] = 0.0
                    begin(x, row, means, origin[i], spread[i], d)
                else:
                    ratio[p] += 0.5 * move(
                        x, row, x, row - block, means, which, counts, n - 1, out, 2 * n - 2, p, eta, noise, d
                    )
                square[n, p] = dot(x, row, x, row)
                project(x, row, means, which, counts, n, dots, n * A, p)
            inner = dots[n * A : (n + 1) * A]
            scores(inner, square[n], slot, base, scale[n], inverse[n], constant[n], live[n], moves[n], reverses[n],
                   count, top, r[n], out[2 * n : 2 * n + 2])  # fmt: skip
            if n == 0:
                log_first[:count] = top[0, :count]
            else:
                for p in range(count):
                    row = now + p
                    total[p] = residual(e, row, x, row - block, x, row, means, which, counts, n, out, 2 * n + 1, p, eta)
                for p in range(count):
                    ratio[p] -= total[p] / (4 * eta)
        for p in range(count):
            ratio[p] = top[1, p] - log_first[p] + ratio[p]
        x_bar[:count] = 0.0
        held[: count * M] = 0.0
        sums[:, :, :count] = 0.0
        after[:] = 0.0
        after_x[:] = 0.0
        for n in range(N, -1, -1):
            now = n * block
            eta = etas[n] if n < N else 0.0  # of the step after; before: of the one that led here
            before = etas[n - 1] if n > 0 else 0.0
            if counts[REVERSE, n] and n > 0:
                for p in range(count):
                    error_x[p] = dot(e, now + p, x, now + p)
                    project(e, now + p, means, which, counts, n, error, 0, p)
            else:
                error[:] = 0.0
                error_x[:] = 0.0
            if counts[MOVE, n] and n < N:
                for p in range(count):
                    after_x[p] = dot(x_bar, p, x, now + p)
                    project(x_bar, p, means, which, counts, n, after, 0, p)
            else:
                after[:] = 0.0
                after_x[:] = 0.0
            inner = dots[n * A : (n + 1) * A]
            _scores_back(
                inner, square[n], norms, variances, slot, base, scale[n], inverse[n], live[n], moves[n], reverses[n],
                densities[n], eta, d, weight, other, after, after_x, error, error_x, r[n], count, alpha, total,
                factor[0], sums,
            )  # fmt: skip
            if steered:
                _schedule_back(
                    inner, square[n], norms, variances, slot, base, scale[n], inverse[n], live[n], moves[n],
                    reverses[n], densities[n], eta, d, weight, after, after_x, error, error_x, r[n], count,
                    of_schedule[2, n : n + 1], of_schedule[3, n : n + 1],
                )  # fmt: skip
                for p in range(count):
                    row = now + p
                    if n < N:
                        here = dot(x_bar, p, x, row)
                        drift = out[2 * n, 0, p] * here
                        for j in range(counts[MOVE, n]):
                            a = which[MOVE, n, j]
                            drift += out[2 * n, 1 + a, p] * after[a, p]
                        # x̄'·(F + ξ/√2η), with √2η ξ = x' − x − η F
                        of_schedule[0, n] += 0.5 * (drift + (dot(x_bar, p, x, row + block) - here) / eta)
                    if n > 0:
                        drift = out[2 * n + 1, 0, p] * dot(e, row, x, row)
                        for j in range(counts[REVERSE, n]):
                            a = which[REVERSE, n, j]
                            drift += out[2 * n + 1, 1 + a, p] * error[a, p]
                        own = dot(e, row, e, row) / (2.0 * before)
                        of_schedule[1, n] -= 0.5 * weight[p] * (own + drift) / before
            for p in range(count):
                row, half = now + p, 0.5 * weight[p]
                for j in range(counts[LIVE, n]):
                    a = which[LIVE, n, j]
                    if place[a] >= 0:
                        _gather(held, p * M + place[a], x_bar, p, eta * out[2 * n, 1 + a, p], e, row,
                                -half * out[2 * n + 1, 1 + a, p], x, row, factor[0, 1 + a, p])  # fmt: skip
                if fixed:
                    if n > 0:  # η x̄' shall be the derivative of log F in its drift, half of √(2η) ξ
                        _step_noise(x_bar, p, x, row, row - block, means, which, counts, n - 1, out, 2 * n - 2, p,
                                    before, 0.5 * other[p] / before)  # fmt: skip
                    continue
                later = half / eta if n < N else 0.0
                kappa = half / before if n > 0 else 0.0
                _turn(x_bar, p, 1.0 + eta * out[2 * n, 0, p], e, row + block, later, row,
                      -kappa * (1.0 + before * out[2 * n + 1, 0, p]), x, row, -factor[0, 0, p])  # fmt: skip
                pull(x_bar, p, means, which, counts, LIVE, n, factor, 0, 1.0, p)
        for p in range(count):
            a = origin[some + p]
            if not fixed:
                sums[0, a, p] += 0.5 * (dot(x_bar, p, x, p) - dot(x_bar, p, means, a))
            if place[a] >= 0 and not fixed:
                _add(held, p * M + place[a], x_bar, p, 1.0)
            for a in range(A):
                of_rest[0, a] += sums[0, a, p]
                of_rest[1, a] += sums[1, a, p]
                if place[a] >= 0:
                    _add(held, p * M + place[a], means, a, -sums[2, a, p])
            for m in range(M):
                _add(of_means, m, held, p * M + m, 1.0)
