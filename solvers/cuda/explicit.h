/* DOP853, with the way out to the Rosenbrock method when stability, not accuracy, limits the step.

   The rules of solvers/integrate/explicit.py. One loop over the stages holds the only copy of the right-hand side:
   stage 0 is needed for a new trajectory alone, those beyond the end of the step for save points inside it. */

// Error of the step to u, in tolerances; near: h|λ|, from the last two arguments, is near the stability limit.
DEVICE double estimate(const Trajectory &lane, const double *y, const double *u, const double *k, bool &near) {
    double high = 0.0, low = 0.0, change = 0.0, distance = 0.0;
    UNROLL
    EACH(n, N) {
        double first = 0.0, second = 0.0, spread = 0.0;
        UNROLL
        for (int i = 0; i < STAGES; ++i) {
            const double velocity = k[i * N + n];
            first += ERRORS[0][i] * velocity;
            second += ERRORS[1][i] * velocity;
            spread += SPREADS[i] * velocity;
        }
        const double scale = 1.0 / (many.atol + many.rtol * larger(fabs(y[n]), fabs(u[n])));
        high = larger(high, fabs(lane.tried * first) * scale);
        low = larger(low, fabs(lane.tried * second) * scale);
        change = larger(change, fabs(k[STAGES * N + n] - k[(STAGES - 1) * N + n]) * scale);
        distance = larger(distance, fabs(spread) * scale);
    }
    high = largest_over_threads(high);
    low = largest_over_threads(low);
    near = largest_over_threads(change) > NEAR * STABILITY * largest_over_threads(distance);
    const double ratio = low / high;
    return high > 0.0 ? high / sqrt(1.0 + 0.01 * (ratio * ratio)) : high;
}

// out = state at θ within the step from y.
DEVICE void interpolate(double theta, double h, const double *y, const double *k, double *out) {
    double weights[ALL_STAGES];
    ROLL
    for (int i = 0; i < ALL_STAGES; ++i) {
        double weight = theta * DENSE[DENSE_ROWS - 1][i];
        for (int r = DENSE_ROWS - 2; r >= 0; --r) weight = (weight + DENSE[r][i]) * (r % 2 ? 1.0 - theta : theta);
        weights[i] = weight;
    }
    combine(weights, ALL_STAGES, k, out);
    advance(y, h, out);
}

KERNEL explicit_ensemble(const Many *given) {
    begin(given);
    OWN_SCRATCH;
    ARRAY(y, N);
    ARRAY(u, N);
    ARRAY(f, N);
    ARRAY(end, N);
    ARRAY(work, WORK + N);
    ARRAY(k, ALL_STAGES * N);
    double theta;
    fixed(p, work);
    Trajectory lane;
    if (!take(lane, y)) return;
    bool fresh = true;
    for (;;) {
        int status = PENDING;
        bool near = false;
        ROLL
        for (int i = 0; i < ALL_STAGES; ++i) {
            if (i == 0 && !fresh) continue;
            if (i == STAGES + 1 && !due(lane, theta)) break;
            combine(A[i], i, k, u);
            advance(y, lane.tried, u);
            rhs(u, p, f, work);
            ++lane.evaluations;
            copy(f, k + i * N);
            if (i == 0) {
                fresh = false;
                if (lane.h == 0.0 && !first_step(lane, y, f, EXPLICIT_ORDER)) {
                    status = NOT_FINITE;
                    break;
                }
                try_step(lane);
            } else if (i == STAGES) {
                accept(lane, estimate(lane, y, u, k, near), EXPLICIT_ORDER);
                if (!lane.taken) break;
                copy(u, end);
            }
        }
        if (status == PENDING) {
            if (lane.taken) {
                while (due(lane, theta)) {
                    interpolate(theta, lane.tried, y, k, u);
                    save(lane, u);
                }
                copy(end, y);
                copy(k + STAGES * N, k);
                finish_step(lane, y);
                lane.streak = near ? lane.streak + 1 : lane.streak > 0 ? lane.streak - 1 : 0;
            }
            status = fate(lane);
            const bool stiff = many.hand_over && lane.streak >= STIFF_STEPS;
            if (status == PENDING && stiff && many.end - lane.t > WORTH * lane.h) status = STIFF;
            try_step(lane);
        }
        if (status != PENDING) {
            leave(lane, status, y);
            if (!take(lane, y)) return;
            fresh = true;
        }
    }
}
