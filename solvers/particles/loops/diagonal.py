"""The chain of sampler_chain.py, and reverse mode through it, for mixtures with a variance in each coordinate.

Nothing enters through inner products with the means alone: every component of every score is a pass over the
coordinates. At each step of a block of paths come first `centre` and `precision` (C, width), of the components as they
are noised there: the mean e μ and 1/(e² v + 1 − e²), e the decay. Then the paths go one after the other, so that sums
over paths have one order.
"""

from __future__ import annotations

import math

import numpy as np

from solvers.machine.stack import bare
from solvers.particles.loops.numbers import STRETCH, compiled, draw, entry, exp, log, reordered


@compiled
def _noised(means, variances, slot, base, scale, live, centre, precision):  # type: ignore[no-untyped-def]
    for c in range(slot.size):
        if live[slot[c]]:
            mean, v, to, inverse, e = means[base[c]], variances[base[c]], centre[c], precision[c], scale[c]
            for j in range(mean.size):
                to[j] = e * mean[j]
                inverse[j] = 1.0 / (e * e * v[j] + (1.0 - e * e))


@reordered
def _square(x, row, centre, precision, c):  # type: ignore[no-untyped-def]
    """Σ_j (x_j − μ_j)²/v_j."""
    one, mean, inverse = x[row], centre[c], precision[c]
    total = 0.0
    for j in range(one.size):
        total += inverse[j] * (one[j] - mean[j]) * (one[j] - mean[j])
    return total


@reordered
def _norm(x, row):  # type: ignore[no-untyped-def]
    one = x[row]
    total = 0.0
    for j in range(one.size):
        total += one[j] * one[j]
    return total


@compiled
def _scores(x, row, slot, constant, live, centre, precision, r, top):  # type: ignore[no-untyped-def]
    """Responsibilities r (C,) and log-densities top (S,) of the live scores at a point."""
    for s in range(live.size):
        if not live[s]:
            continue
        most, total = -np.inf, 0.0
        for c in range(slot.size):
            if slot[c] == s:
                r[c] = constant[c] - 0.5 * _square(x, row, centre, precision, c)
                most = r[c] if r[c] > most else most
        for c in range(slot.size):
            if slot[c] == s:
                r[c] = exp(r[c] - most)
                total += r[c]
        for c in range(slot.size):
            if slot[c] == s:
                r[c] /= total
        top[s] = most + log(total)


@compiled
def _push(out, place, x, row, slot, live, side, centre, precision, r, eta):  # type: ignore[no-untyped-def]
    """out += η drift(x), the drift with the coefficients `side` of x and of the scores."""
    result, one = out[place], x[row]
    for j in range(one.size):
        result[j] += eta * side[0] * one[j]
    for c in range(slot.size):
        f = eta * side[1 + slot[c]]
        if live[slot[c]] and f != 0.0:
            f *= r[c]
            mean, inverse = centre[c], precision[c]
            for j in range(one.size):
                result[j] += f * inverse[j] * (mean[j] - one[j])


@compiled
def _affine(out, place, x, row, f, y, other, g, d):  # type: ignore[no-untyped-def]
    """out = f x + g y, 0 beyond d."""
    result, one, two = out[place], x[row], y[other]
    for j in range(d):
        result[j] = f * one[j] + g * two[j]
    for j in range(d, result.size):
        result[j] = 0.0


@compiled
def _begin(x, row, means, spreads, origin, d):  # type: ignore[no-untyped-def]
    """x, which is ξ, becomes μ + σ ξ of its component."""
    one, mean, spread = x[row], means[origin], spreads[origin]
    for j in range(d):
        one[j] = mean[j] + spread[j] * one[j]
    for j in range(d, one.size):
        one[j] = 0.0


@compiled
def _step(  # type: ignore[no-untyped-def]
    n, N, y, row, x, old, z, p, e, at, origin, means, spreads, slot, constant, live, move, reverse, centre, precision,
    r, top, etas, d,
):  # fmt: skip
    """y, which is ξ, becomes the point of step n, z y + η F(n, y), for n > 0 e the residual x − y − η G(n, y), with the
    η of the step that led here. Returns what the step adds to the log-ratio of the kernels."""
    gained, eta = 0.0, etas[n - 1] if n > 0 else 0.0
    if n == 0:
        _begin(y, row, means, spreads, origin, d)
    else:
        one = y[row]
        for j in range(d, one.size):
            one[j] = 0.0
        gained += 0.5 * _norm(y, row)
        _affine(y, row, z, p, 1.0, y, row, math.sqrt(2 * eta), d)
    _scores(y, row, slot, constant, live, centre, precision, r, top)
    if n > 0:
        _affine(e, at, x, old, 1.0, y, row, -1.0, d)
        _push(e, at, y, row, slot, live, reverse, centre, precision, r, -eta)
        gained -= _norm(e, at) / (4 * eta)
    if n < N:
        _affine(z, p, y, row, 1.0, y, row, 0.0, d)
        _push(z, p, y, row, slot, live, move, centre, precision, r, etas[n])
    return gained


@entry
def walk(  # type: ignore[no-untyped-def]
    means, variances, spreads, slot, base, scale, constant, live, moves, reverses, etas, d, origin, first, sources, k0,
    k1, first_slot, last_slot, log_first, log_last, ratio, resp, resp_at, end, end_at, x, y, z, e, centre, precision,
    r, top,
):  # fmt: skip
    """As walk of loops/chain.py, of these variances (A, width) and standard deviations `spreads` of starts."""
    means, variances, spreads, slot, base = bare(means), bare(variances), bare(spreads), bare(slot), bare(base)
    scale, constant, live, moves, reverses = bare(scale), bare(constant), bare(live), bare(moves), bare(reverses)
    x, y, z, e, centre, precision = bare(x), bare(y), bare(z), bare(e), bare(centre), bare(precision)
    ratio, end, r, top = bare(ratio), bare(end), bare(r), bare(top)
    N, block, rows = scale.shape[0] - 1, x.shape[0], max(1, STRETCH // x.shape[1])
    for some in range(0, origin.size, block):
        count = min(block, origin.size - some)
        for n in range(N + 1):
            _noised(means, variances, slot, base, scale[n], live[n], centre, precision)
            for p in range(count):
                i = some + p
                if p % rows == 0:
                    draw(y, p, min(rows, count - p), 0, y.shape[1], np.uint64(first + i), np.uint64(n), sources[n], k0,
                         k1)  # fmt: skip
                ratio[i] = (0.0 if n == 0 else ratio[i]) + _step(
                    n, N, y, p, x, p, z, p, e, 0, origin[i], means, spreads, slot, constant[n], live[n], moves[n],
                    reverses[n], centre, precision, r, top, etas, d,
                )  # fmt: skip
                if n == 0:
                    log_first[i] = top[first_slot]
                if n == N:
                    log_last[i] = top[last_slot]
                if n == end_at:
                    for l in range(resp.shape[1]):
                        resp[i, l] = r[resp_at + l]
                    if i < end.shape[0]:
                        for j in range(d):
                            end[i, j] = y[p, j]
            x, y = y, x


@reordered
def _along(x, row, f, e, at, g, y, other, centre, precision, c):  # type: ignore[no-untyped-def]
    """Σ_j (f x + g e)_j (μ_j − y_j)/v_j."""
    one, two, three, mean, inverse = x[row], e[at], y[other], centre[c], precision[c]
    total = 0.0
    for j in range(one.size):
        total += (f * one[j] + g * two[j]) * inverse[j] * (mean[j] - three[j])
    return total


@compiled
def _pull_back(out, x, row, f, e, at, g, y, other, centre, precision, c, q, r):  # type: ignore[no-untyped-def]
    """out += [q (μ − y) − r cotangent]/v, the cotangent f x + g e."""
    one, two, three, mean, inverse = x[row], e[at], y[other], centre[c], precision[c]
    for j in range(one.size):
        out[j] += inverse[j] * (q * (mean[j] - three[j]) - r * (f * one[j] + g * two[j]))


@compiled
def _of_component(to, of_v, place, x, row, f, e, at, g, y, other, centre, precision, c, v, a, scale, q, r):  # type: ignore[no-untyped-def]
    """Adds the derivatives in the mean and in the log-variances of a component itself: through its noise."""
    one, two, three, mean, inverse = x[row], e[at], y[other], centre[c], precision[c]
    means, widths, own = to[place], of_v[place], v[a]
    for j in range(one.size):
        away, pulled = mean[j] - three[j], r * (f * one[j] + g * two[j])
        means[j] += scale * inverse[j] * (pulled - q * away)
        part = 0.5 * q * (inverse[j] * away * away - 1.0) - pulled * inverse[j] * away
        widths[j] += scale * scale * own[j] * inverse[j] * part


@entry
def differentiate(  # type: ignore[no-untyped-def]
    means, variances, spreads, slot, base, scale, constant, live, moves, reverses, etas, densities, place, d, origin,
    weights, first, step, source, k0, k1, log_weight, of_means, of_v, of_w, x, e, r, x_bar, z, turned, centre,
    precision, top, log_first,
):  # fmt: skip
    """log W of the paths first ≤ i < first + origin.size, whose numbers have the steps from `step` on; and added to
    of_means and of_v (M, width) and of_w (A,), derivatives of Σ_i weights_i (−log W_i) in means, log-variances of
    coordinates and log-weights. place (A,): where those in a component go, −1: nowhere. From x on: room, for all these
    paths; residuals e of no step, before the first and after the last, are 0."""
    means, variances, spreads, slot, base = bare(means), bare(variances), bare(spreads), bare(slot), bare(base)
    scale, constant, live, moves, reverses = bare(scale), bare(constant), bare(live), bare(moves), bare(reverses)
    x, e, r, x_bar, z, turned = bare(x), bare(e), bare(r), bare(x_bar), bare(z), bare(turned)
    centre, precision, top, log_first = bare(centre), bare(precision), bare(top), bare(log_first)
    of_means, of_v, log_weight = bare(of_means), bare(of_v), bare(log_weight)
    N, block, count, rows = scale.shape[0] - 1, x_bar.shape[0], origin.size, max(1, STRETCH // x.shape[1])
    e[:block] = 0.0
    e[(N + 1) * block :] = 0.0
    for n in range(N + 1):
        _noised(means, variances, slot, base, scale[n], live[n], centre, precision)
        for p in range(count):
            row = n * block + p
            if p % rows == 0:
                draw(x, row, min(rows, count - p), 0, x.shape[1], np.uint64(first + p), np.uint64(step + n), source, k0,
                     k1)  # fmt: skip
            log_weight[p] = (0.0 if n == 0 else log_weight[p]) + _step(
                n, N, x, row, x, row - block, z, p, e, row, origin[p], means, spreads, slot, constant[n], live[n],
                moves[n], reverses[n], centre, precision, r[row], top, etas, d,
            )  # fmt: skip
            if n == 0:
                log_first[p] = top[0]
            if n == N:
                log_weight[p] += top[1] - log_first[p]
    x_bar[:count] = 0.0
    for n in range(N, -1, -1):
        _noised(means, variances, slot, base, scale[n], live[n], centre, precision)
        eta, before = etas[n] if n < N else 0.0, etas[n - 1] if n > 0 else 0.0  # of the steps after and before
        for p in range(count):
            row, half = n * block + p, 0.5 * weights[p]
            later, kappa = half / eta if n < N else 0.0, half / before if n > 0 else 0.0
            _affine(turned, 0, x_bar, p, 1.0 + eta * moves[n, 0], e, row, -kappa * (1.0 + before * reverses[n, 0]), d)
            _affine(turned, 0, turned, 0, 1.0, e, row + block, later, d)
            for s in range(live.shape[1]):
                if not live[n, s]:
                    continue
                f, g, total = eta * moves[n, 1 + s], -half * reverses[n, 1 + s], densities[n, s] * weights[p]
                for c in range(slot.size):
                    if slot[c] == s:
                        top[c] = _along(x_bar, p, f, e, row, g, x, row, centre, precision, c)
                        total -= r[row, c] * top[c]
                for c in range(slot.size):
                    if slot[c] == s:
                        a, share = base[c], r[row, c]
                        q = share * (top[c] + total)
                        _pull_back(turned[0], x_bar, p, f, e, row, g, x, row, centre, precision, c, q, share)
                        of_w[a] += q
                        if place[a] >= 0:
                            _of_component(
                                of_means, of_v, place[a], x_bar, p, f, e, row, g, x, row, centre, precision, c,
                                variances, a, scale[n, c], q, share,
                            )  # fmt: skip
            _affine(x_bar, p, turned, 0, 1.0, turned, 0, 0.0, d)
    for p in range(count):
        a = origin[p]
        if place[a] >= 0:
            for j in range(d):
                of_means[place[a], j] += x_bar[p, j]
                of_v[place[a], j] += 0.5 * x_bar[p, j] * (x[p, j] - means[a, j])
