"""The reduced chain, W paths at once, in compiled code: what chain.py does, in the same order.

What is derived is emitted: start, noise, score, step, weight and the adjoint of each. What is typed is how they follow
each other, here, and the way back, in kernel_adjoint.py; in chain.py and in chain.cu again, once each on purpose, since
arrays, lanes of a processor and threads of a GPU walk differently; tests compare all three path by path.

solvers.sampler.compiled puts these two texts behind the emitted functions of one step. What depends on the path is a
vector of solvers.machine.simd, a path a lane; or a number, then W = 1. Behind the last path it goes on in idle lanes.
`room` is float64 (..., W), see compiled.py: x, rho, a and pull of both drifts at all points; the noise of a step: xi,
xi1, chi2; mean and log_var of starts. What no path changes comes in tables, see solvers.sampler.tables:
means (N+1, J, K R), log_vars and log_ws (N+1, J, K), c (N+1, J, 2), c_x (N+1, 2), ends and used (N+1, J), eta (N,).
Noise as in Noise. Derivatives are added to what is there.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from solvers.machine.code.entries import entry
from solvers.machine.options import FLAGS
from solvers.sampler.protocol import K, R, W, bare, np, rows, score, start, step, weight

Array = Any
PRIOR, TARGET = 0, -1


@njit(**FLAGS)
def drifts(
    n: int, x: Array, rho: float, d: float, base: float, tables: Array, shrink: Array, pull: Array, log_weight: Array,
    resp: Array,
) -> None:  # fmt: skip
    """shrink (2,), pull (2, R) of both drifts at step n. Adds to log_weight (1,) the log-densities that enter there.
    resp (K,): at the last step the responsibilities of the target, whose score is the last."""
    means, log_vars, log_ws, c, c_x, ends, used, _ = tables
    # Sums on the stack, which no other array can be: in rows of the room they took a sixth longer.
    a_f, a_b, b_f, b_b = np.empty(1), np.empty(1), np.empty(R), np.empty(R)
    a_f[0], a_b[0] = c_x[n, 0], c_x[n, 1]
    for i in range(R):
        b_f[i] = b_b[i] = 0.0
    for j in range(used.shape[1]):
        if used[n, j]:
            score(
                x, rho, means[n, j], log_vars[n, j], log_ws[n, j], d, base, ends[n, j], c[n, j, 0], c[n, j, 1],
                log_weight, a_f, b_f, a_b, b_b, resp,
            )  # fmt: skip
    shrink[0], shrink[1] = a_f[0], a_b[0]
    for i in range(R):
        pull[0, i], pull[1, i] = b_f[i], b_b[i]


@njit(**FLAGS)
def ahead(
    i: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array, total: Array,
    resp: Array,
) -> None:  # fmt: skip
    """The paths from i on from the prior: their points and drifts in `room`, log W in total (1,)."""
    xs, rhos, shrinks, pulls, drawn, law = looked_at(room)
    etas, xi, xi1, gained = tables[-1], drawn[:R], drawn[R:], np.empty(1)
    total[0] = 0.0
    begin(i, stop, 0, PRIOR, chosen, tables, room)
    for n in range(len(xs)):
        draw(i, stop, n, noise, room)
        if n == 0:
            start(law[:R], law[R], xi, xi1[0], xi1[1], xs[0], rhos[0])
        else:
            step(xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], xi, xi1[0], xi1[1], etas[n - 1],
                 xs[n], rhos[n])  # fmt: skip
        drifts(n, xs[n], rhos[n, 0], d, base, tables, shrinks[n], pulls[n], total, resp)
        if n > 0:
            weight(xs[n - 1], rhos[n - 1, 0], shrinks[n - 1, 0], pulls[n - 1, 0], shrinks[n, 1], pulls[n, 1],
                   xi, xi1[0], xi1[1], etas[n - 1], base, gained)  # fmt: skip
            total[0] += gained[0]


@njit(**FLAGS)
def draw(i: int, stop: int, n: int, noise: Array, room: Array) -> None:
    """Noise of step n for the paths from i on; lanes behind the last path have its noise."""
    xi, xi1, chi2 = noise
    drawn = room[4]
    for z in range(drawn.shape[1]):
        path = min(i + z, stop - 1)
        for b in range(R):
            drawn[b, z] = xi[n, path, b]
        drawn[R, z], drawn[R + 1, z] = xi1[n, path], chi2[n, path]


@njit(**FLAGS)
def begin(i: int, stop: int, n: int, j: int, chosen: Array, tables: Array, room: Array) -> None:
    """Means and log_vars of the chosen components of the mixture of score j at step n, for the paths from i on."""
    mean, log_var, law = tables[0][n, j], tables[1][n, j], room[5]
    for z in range(law.shape[1]):
        k = chosen[min(i + z, stop - 1)]
        for b in range(R):
            law[b, z] = mean[k * R + b]
        law[R, z] = log_var[k]


@njit(**FLAGS)
def without_owner(tables: Array, noise: Array) -> Array:
    means, log_vars, log_ws, c, c_x, ends, used, etas = tables
    xi, xi1, chi2 = noise
    return (
        (bare(means), bare(log_vars), bare(log_ws), bare(c), bare(c_x), bare(ends), bare(used), bare(etas)),
        (bare(xi), bare(xi1), bare(chi2)),
    )


@njit(**FLAGS)
def unowned(room: Array) -> Array:
    xs, rhos, shrinks, pulls, drawn, law = room
    return bare(xs), bare(rhos), bare(shrinks), bare(pulls), bare(drawn), bare(law)


@njit(**FLAGS)
def looked_at(room: Array) -> Array:
    """The room with W lanes as one number."""
    xs, rhos, shrinks, pulls, drawn, law = room
    return rows(xs), rows(rhos), rows(shrinks), rows(pulls), rows(drawn), rows(law)


@entry(**FLAGS)
def forward(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the prior."""
    tables, noise = without_owner(tables, noise)
    out = bare(log_weight), bare(end), bare(rho), bare(modes)
    room, total, resp = unowned(room), np.empty(1), np.empty(K)
    for i in range(first, stop, W):
        ahead(i, stop, chosen, d, base, tables, noise, room, total, resp)
        finish(i, stop, len(tables[-1]), room, total, resp, out)


@njit(**FLAGS)
def finish(i: int, stop: int, last: int, room: Array, total: Array, resp: Array, out: Array) -> None:
    """What is left of the paths from i on."""
    log_weight, end, rho, modes = out
    xs, rhos = room[0], room[1]
    lanes = room[4]  # noise is not needed any more
    for z in range(min(room[5].shape[1], stop - i)):
        rho[i + z] = rhos[last, 0, z]
        for b in range(end.shape[1]):
            end[i + z, b] = xs[last, b, z]
    one = rows(lanes)
    one[0] = total[0]
    for z in range(min(room[5].shape[1], stop - i)):
        log_weight[i + z] = lanes[0, z]
    for k in range(modes.shape[1]):
        one[0] = resp[k]
        for z in range(min(room[5].shape[1], stop - i)):
            modes[i + z, k] = lanes[0, z]


@entry(**FLAGS)
def backward(
    first: int, stop: int, chosen: Array, d: float, base: float, tables: Array, noise: Array, room: Array,
    log_weight: Array, end: Array, rho: Array, modes: Array,
) -> None:  # fmt: skip
    """Paths first..stop−1 from the target, by the backward kernels; log W of the same path."""
    tables, noise = without_owner(tables, noise)
    out = bare(log_weight), bare(end), bare(rho), bare(modes)
    room, total, gained, resp, unused = unowned(room), np.empty(1), np.empty(1), np.empty(K), np.empty(K)
    xs, rhos, shrinks, pulls, drawn, law = looked_at(room)
    etas, xi, xi1, last = tables[-1], drawn[:R], drawn[R:], len(xs) - 1
    for i in range(first, stop, W):
        total[0] = 0.0
        begin(i, stop, last, TARGET, chosen, tables, room)
        for n in range(last, -1, -1):
            draw(i, stop, (n + 1) % (last + 1), noise, room)
            if n == last:
                start(law[:R], law[R], xi, xi1[0], xi1[1], xs[n], rhos[n])
            else:
                step(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], xi, xi1[0], xi1[1], etas[n],
                     xs[n], rhos[n])  # fmt: skip
            drifts(n, xs[n], rhos[n, 0], d, base, tables, shrinks[n], pulls[n], total, resp if n == last else unused)
            if n < last:
                # log F(x'|x) − log B(x|x'): the same increment with the two kernels in each other's place.
                weight(xs[n + 1], rhos[n + 1, 0], shrinks[n + 1, 1], pulls[n + 1, 1], shrinks[n, 0], pulls[n, 0],
                       xi, xi1[0], xi1[1], etas[n], base, gained)  # fmt: skip
                total[0] -= gained[0]
        finish(i, stop, last, room, total, resp, out)
