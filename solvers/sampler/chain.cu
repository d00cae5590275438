// The reduced chain path by path for CUDA: what kernel.py does, in the same order. A thread walks a path from end to end.
//
// solvers/sampler/device.py puts this text behind the emitted functions of one step, with K components in R directions,
// SCORES scores, and THREADS threads a block in warps of WARP. Tables are those of tables.py, noise that of paths.py; the
// score of the prior is the first, that of the target the last; STEERED: whether the gradient has derivatives in the
// schedule as well. Emitted derivatives are added to what is there.
// The gradient keeps the points of its paths in `room`, a number innermost for all threads; sums over paths are made by
// warps, each of which has places of its own for them, so that the order of additions is always the same.

typedef unsigned long long wide;

enum { PRIOR, TARGET = SCORES - 1 };
enum { POINT = 3 * R + 3, ENTRIES = K * R + 2 * K };

struct Tables {
    const double *means, *log_vars, *log_ws;  // (N + 1, SCORES, K R), (N + 1, SCORES, K) twice
    const double *c, *c_x, *ends, *eta;       // (N + 1, SCORES, 2), (N + 1, 2), (N + 1, SCORES), (N,)
    const int *used;                          // (N + 1, SCORES)
    double d, base;
    wide steps;
};

// What a step of path i draws.
struct Drawn {
    const double *xi;
    double xi1, chi2;
};

struct Point {
    double x[R], rho[1], shrink[2], pull[2 * R];
};

DEVICE Drawn drawn(const double *xi, const double *xi1, const double *chi2, wide count, wide n, wide i)
{
    const wide at = n * count + i;
    return {xi + at * R, xi1[at], chi2[at]};
}

// Both drifts at step n. Returns the log-densities that enter log W there; resp: at the last step the responsibilities
// of the target.
DEVICE double drifts(wide n, Point &p, const Tables &t, double *resp)
{
    double log_weight = 0.0;
    UNROLL
    for (int side = 0; side < 2; ++side) {
        p.shrink[side] = t.c_x[2 * n + side];
        UNROLL
        for (int b = 0; b < R; ++b) p.pull[side * R + b] = 0.0;
    }
#pragma unroll 1
    for (int j = 0; j < SCORES; ++j) {
        const wide at = n * SCORES + j;
        if (!t.used[at]) continue;
        score(p.x, p.rho[0], t.means + at * K * R, t.log_vars + at * K, t.log_ws + at * K, t.d, t.base, t.ends[at],
              t.c[2 * at], t.c[2 * at + 1], &log_weight, p.shrink, p.pull, p.shrink + 1, p.pull + R, resp);
    }
    return log_weight;
}

// Component k of a mixture at step n.
DEVICE void begin(Point &p, const Tables &t, wide n, int j, int k, Drawn z)
{
    const wide at = n * SCORES + j;
    start(t.means + (at * K + k) * R, t.log_vars[at * K + k], z.xi, z.xi1, z.chi2, p.x, p.rho);
}

// The move from p by one of its drifts, to a point whose drifts are not known yet.
DEVICE void move(const Point &p, int side, Drawn z, double eta, Point &after)
{
    step(p.x, p.rho[0], p.shrink[side], p.pull + side * R, z.xi, z.xi1, z.chi2, eta, after.x, after.rho);
}

// log of the kernel that comes back by the other drift, of `after`, over that of the move by this side's.
DEVICE double gained(const Point &p, const Point &after, int side, Drawn z, double eta, const Tables &t)
{
    const int back = 1 - side;
    double increment;
    weight(p.x, p.rho[0], p.shrink[side], p.pull + side * R, after.shrink[back], after.pull + back * R, z.xi, z.xi1,
           z.chi2, eta, t.base, &increment);
    return increment;
}

DEVICE void finish(
    wide i, const Point &p, const double *resp, double *end, double *rho, double *modes, wide directions, wide L)
{
    rho[i] = p.rho[0];
    UNROLL
    for (int b = 0; b < R; ++b)
        if (b < directions) end[i * directions + b] = p.x[b];
    UNROLL
    for (int l = 0; l < K; ++l)
        if (l < L) modes[i * L + l] = resp[l];
}

#define PARAMETERS                                                                                              \
    const double *__restrict__ means, const double *__restrict__ log_vars, const double *__restrict__ log_ws,   \
    const double *__restrict__ c, const double *__restrict__ c_x, const double *__restrict__ ends,              \
    const double *__restrict__ eta, const int *__restrict__ used, const double *__restrict__ xi,                \
    const double *__restrict__ xi1, const double *__restrict__ chi2, const int *__restrict__ chosen,            \
    double d, double base, wide steps,                                                                          \
    wide count, wide directions, wide modes_there, double *__restrict__ log_weight, double *__restrict__ end,   \
    double *__restrict__ rho, double *__restrict__ modes
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// Paths from the prior.
KERNEL forward(PARAMETERS)
{
    const Tables t = {means, log_vars, log_ws, c, c_x, ends, eta, used, d, base, steps};
    const wide i = (wide)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    double resp[K];
    Point p, after;
    begin(p, t, 0, PRIOR, chosen[i], drawn(xi, xi1, chi2, count, 0, i));
    double total = drifts(0, p, t, resp);
#pragma unroll 1
    for (wide n = 1; n <= steps; ++n) {
        const Drawn z = drawn(xi, xi1, chi2, count, n, i);
        move(p, 0, z, eta[n - 1], after);
        total += drifts(n, after, t, resp);
        total += gained(p, after, 0, z, eta[n - 1], t);
        p = after;
    }
    log_weight[i] = total;
    finish(i, p, resp, end, rho, modes, directions, modes_there);
}

// Paths from the target, by the backward kernels; log W of the same path.
KERNEL backward(PARAMETERS)
{
    const Tables t = {means, log_vars, log_ws, c, c_x, ends, eta, used, d, base, steps};
    const wide i = (wide)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    double resp[K];
    Point p, before;
    begin(p, t, steps, TARGET, chosen[i], drawn(xi, xi1, chi2, count, 0, i));
    double total = drifts(steps, p, t, resp);
    finish(i, p, resp, end, rho, modes, directions, modes_there);
#pragma unroll 1
    for (wide n = steps; n > 0; --n) {
        const Drawn z = drawn(xi, xi1, chi2, count, n, i);
        move(p, 1, z, eta[n - 1], before);
        total += drifts(n - 1, before, t, resp);
        // log F(x'|x) - log B(x|x'): the same increment with the two kernels in each other's place.
        total -= gained(p, before, 1, z, eta[n - 1], t);
        p = before;
    }
    log_weight[i] = total;
}

// --- the gradient ---------------------------------------------------------------------------------------------------

// The points of a path: number e of step n is room[(n POINT + e) lanes].
struct Room {
    double *first;
    wide lanes;
};

DEVICE void keep(const Room &room, wide n, const Point &p)
{
    double *at = room.first + n * POINT * room.lanes;
    UNROLL
    for (int b = 0; b < R; ++b, at += room.lanes) *at = p.x[b];
    UNROLL
    for (int b = 0; b < 2 * R; ++b, at += room.lanes) *at = p.pull[b];
    UNROLL
    for (int side = 0; side < 2; ++side, at += room.lanes) *at = p.shrink[side];
    *at = p.rho[0];
}

// The point at step n.
DEVICE void kept(const Room &room, wide n, Point &p)
{
    const double *at = room.first + n * POINT * room.lanes;
    UNROLL
    for (int b = 0; b < R; ++b, at += room.lanes) p.x[b] = *at;
    UNROLL
    for (int b = 0; b < 2 * R; ++b, at += room.lanes) p.pull[b] = *at;
    UNROLL
    for (int side = 0; side < 2; ++side, at += room.lanes) p.shrink[side] = *at;
    p.rho[0] = *at;
}

// Adds the sum over a warp to a place of its own; different lanes for different entries, so that none waits.
DEVICE void add(double *place, int entry, double value)
{
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    if (threadIdx.x % WARP == entry % WARP) place[entry] += value;
}

// Adds the derivatives in x and rho to `bar`, which has those in both drifts, and those in the numbers of step n to
// `totals`; in what the last score, that of the target, adds to log W it is d_last, in what others add d_first.
DEVICE void drifts_adjoint(
    wide n, const Point &p, const Tables &t, Point &bar, double d_first, double d_last, double *totals, double *of_c,
    wide annealed)
{
#pragma unroll 1
    for (int j = 0; j < SCORES; ++j) {
        const wide at = n * SCORES + j;
        if (!t.used[at]) continue;
        double of_mean[K * R] = {}, of_var[K] = {}, of_w[K] = {};
        score_adjoint(p.x, p.rho[0], t.means + at * K * R, t.log_vars + at * K, t.log_ws + at * K, t.d, t.base, t.ends[at],
                      t.c[2 * at], t.c[2 * at + 1], j == TARGET ? d_last : d_first, bar.shrink[0], bar.pull, bar.shrink[1], bar.pull + R,
                      bar.x, bar.rho, of_mean, of_var, of_w);
        if (STEERED && annealed) {
            double of[2] = {};
            score_slope(p.x, p.rho[0], t.means + at * K * R, t.log_vars + at * K, t.log_ws + at * K, t.d, t.base, t.ends[at],
                        t.c[2 * at], t.c[2 * at + 1], j == TARGET ? d_last : d_first, bar.shrink[0], bar.pull, bar.shrink[1], bar.pull + R,
                        of, of + 1);
            add(of_c + 2 * at, 0, of[0]);
            add(of_c + 2 * at, 1, of[1]);
        }
        double *place = totals + at * ENTRIES;
        UNROLL
        for (int e = 0; e < K * R; ++e) add(place, e, of_mean[e]);
        UNROLL
        for (int k = 0; k < K; ++k) add(place, K * R + k, of_var[k]);
        UNROLL
        for (int k = 0; k < K; ++k) add(place, K * R + K + k, of_w[k]);
    }
}

// `forward`, and the derivatives of the sum of weights_i (-log W_i).
KERNEL gradient(
    PARAMETERS,
    const double *__restrict__ weights,   // (count,)
    double *__restrict__ points,          // (N + 1, POINT, all threads)
    double *__restrict__ totals,          // (all warps, N + 1, SCORES, ENTRIES), zeros before
    double *__restrict__ starts,          // (all warps, K, R + 1), zeros before: of mean and log_var of the first point
    double *__restrict__ of_eta,          // (all warps, N), zeros before, if STEERED
    double *__restrict__ of_c,            // (all warps, N + 1, SCORES, 2), zeros before, if STEERED and annealed
    wide annealed)
{
    const Tables t = {means, log_vars, log_ws, c, c_x, ends, eta, used, d, base, steps};
    const wide me = (wide)blockIdx.x * THREADS + threadIdx.x, all = (wide)gridDim.x * THREADS;
    const Room room = {points + me, all};
    totals += me / WARP * (steps + 1) * SCORES * ENTRIES;
    starts += me / WARP * K * (R + 1);
    of_eta += STEERED ? me / WARP * steps : 0;
    of_c += annealed ? me / WARP * (steps + 1) * SCORES * 2 : 0;
    // All threads of a block take as many turns: beyond the last path they walk it again, with weight 0.
#pragma unroll 1
    for (wide first = (wide)blockIdx.x * THREADS; first < count; first += all) {
        const bool mine = first + threadIdx.x < count;
        const wide i = mine ? first + threadIdx.x : count - 1;
        const double weight_i = mine ? weights[i] : 0.0;
        const int k = chosen[i];
        double resp[K];
        Point p, after;
        begin(p, t, 0, PRIOR, k, drawn(xi, xi1, chi2, count, 0, i));
        double total = drifts(0, p, t, resp);
        keep(room, 0, p);
#pragma unroll 1
        for (wide n = 1; n <= steps; ++n) {
            const Drawn z = drawn(xi, xi1, chi2, count, n, i);
            move(p, 0, z, eta[n - 1], after);
            total += drifts(n, after, t, resp);
            total += gained(p, after, 0, z, eta[n - 1], t);
            p = after;
            keep(room, n, p);
        }
        if (mine) {
            log_weight[i] = total;
            finish(i, p, resp, end, rho, modes, directions, modes_there);
        }
        // Derivatives in the point at step n, and in the one before.
        Point bar = {}, earlier;
#pragma unroll 1
        for (wide n = steps + 1; n-- > 0;) {
            kept(room, n, after);
            Drawn z = {xi, 0.0, 0.0};
            earlier = {};
            if (n > 0) {
                kept(room, n - 1, p);
                z = drawn(xi, xi1, chi2, count, n, i);
                weight_adjoint(p.x, p.rho[0], p.shrink[0], p.pull, after.shrink[1], after.pull + R, z.xi, z.xi1, z.chi2,
                               eta[n - 1], base, -weight_i, earlier.x, earlier.rho, earlier.shrink, earlier.pull, bar.shrink + 1,
                               bar.pull + R);
            }
            drifts_adjoint(n, after, t, bar, -weight_i, -weight_i, totals, of_c, annealed);
            if (STEERED && n > 0) {
                double of = 0.0;
                weight_slope(p.x, p.rho[0], p.shrink[0], p.pull, after.shrink[1], after.pull + R, z.xi, z.xi1, z.chi2,
                             eta[n - 1], base, -weight_i, &of);
                step_slope(p.x, p.rho[0], p.shrink[0], p.pull, z.xi, z.xi1, z.chi2, eta[n - 1], bar.x, bar.rho[0], &of);
                add(of_eta, (int)(n - 1), of);
            }
            if (n > 0) {
                step_adjoint(p.x, p.rho[0], p.shrink[0], p.pull, z.xi, z.xi1, z.chi2, eta[n - 1], bar.x, bar.rho[0],
                             earlier.x, earlier.rho, earlier.shrink, earlier.pull);
                bar = earlier;
            }
        }
        double of_mean[R] = {}, of_var = 0.0;
        const Drawn z = drawn(xi, xi1, chi2, count, 0, i);
        start_adjoint(means + (PRIOR * K + k) * R, log_vars[PRIOR * K + k], z.xi, z.xi1, z.chi2, bar.x, bar.rho[0], of_mean,
                      &of_var);
        UNROLL
        for (int l = 0; l < K; ++l) {
            UNROLL
            for (int b = 0; b < R; ++b) add(starts + l * (R + 1), b, l == k ? of_mean[b] : 0.0);
            add(starts + l * (R + 1), R, l == k ? of_var : 0.0);
        }
    }
}

// `forward`, and the derivatives of the sum of by_forward_i log Q_i + by_backward_i log P_i at paths that stay where they
// are: a path needs no more of its points than the last two.
KERNEL ratio(
    PARAMETERS,
    const double *__restrict__ by_forward,   // (count,)
    const double *__restrict__ by_backward,  // (count,)
    double *__restrict__ totals)             // (all warps, N + 1, SCORES, ENTRIES), zeros before
{
    const Tables t = {means, log_vars, log_ws, c, c_x, ends, eta, used, d, base, steps};
    const wide me = (wide)blockIdx.x * THREADS + threadIdx.x, all = (wide)gridDim.x * THREADS;
    totals += me / WARP * (steps + 1) * SCORES * ENTRIES;
#pragma unroll 1
    for (wide first = (wide)blockIdx.x * THREADS; first < count; first += all) {
        const bool mine = first + threadIdx.x < count;
        const wide i = mine ? first + threadIdx.x : count - 1;
        const double forward_i = mine ? by_forward[i] : 0.0, backward_i = mine ? by_backward[i] : 0.0;
        double resp[K];
        Point p, after, bar = {}, next;
        begin(p, t, 0, PRIOR, chosen[i], drawn(xi, xi1, chi2, count, 0, i));
        double total = drifts(0, p, t, resp);
#pragma unroll 1
        for (wide n = 0; n <= steps; ++n) {
            next = {};
            if (n < steps) {
                const Drawn z = drawn(xi, xi1, chi2, count, n + 1, i);
                move(p, 0, z, eta[n], after);
                total += drifts(n + 1, after, t, resp);
                total += gained(p, after, 0, z, eta[n], t);
                fixed(p.x, p.rho[0], p.shrink[0], p.pull, after.shrink[1], after.pull + R, z.xi, z.xi1, z.chi2, eta[n],
                      forward_i, backward_i, bar.shrink, bar.pull, next.shrink + 1, next.pull + R);
            }
            // log W = log P - log Q: its ends are -log phi, of Q, and log p.
            drifts_adjoint(n, p, t, bar, -forward_i, backward_i, totals, nullptr, 0);
            if (n < steps) {
                p = after;
                bar = next;
            }
        }
        if (mine) {
            log_weight[i] = total;
            finish(i, p, resp, end, rho, modes, directions, modes_there);
        }
    }
}
