/* Rodas5P: large steps where the motion is slow, whatever the fastest rate, but below 1/λ for a rate of growth λ.

   The rules of solvers/integrate/rosenbrock.py, where the reason for the bound is given. */

// bound = 1/λ, λ > 0 the Rayleigh quotient of the Jacobian at v after two inverse iterations of v; infinity for λ ≤ 0.
DEVICE void bound_growth(Trajectory &lane, const double *factors, const int *swap, double *v, double *w) {
    const double shift = 1.0 / (GAMMA * lane.tried);
    ROLL
    for (int turn = 0; turn < 2; ++turn) {
        copy(v, w);
        solve(factors, swap, w);
        double largest = 0.0, along = 0.0, square = 0.0;
        EACH(n, N) {
            largest = larger(largest, fabs(w[n]));
            along += w[n] * v[n];
            square += w[n] * w[n];
        }
        largest = largest_over_threads(largest);
        const double growth = shift - over_threads(along) / over_threads(square);
        lane.bound = growth > 0.0 ? 1.0 / growth : infinity();
        if (largest > 0.0 && largest < infinity())
            EACH(n, N) v[n] = w[n] / largest;
    }
}

// out = state at θ within the step from y to u; curve holds the combinations of stages for it.
DEVICE void follow_curve(double theta, const double *y, const double *u, const double *curve, double *out) {
    TOGETHER;
    EACH(n, N) {
        double value = curve[(CURVES - 1) * N + n];
        for (int i = CURVES - 2; i >= 0; --i) value = curve[i * N + n] + theta * value;
        out[n] = (1.0 - theta) * y[n] + theta * (u[n] + (1.0 - theta) * value);
    }
    TOGETHER;
}

// Start the vector that looks for growth, with a share in every direction.
DEVICE void spread_out(double *v) {
    TOGETHER;
    EACH(n, N) v[n] = cos(1.0 + (double)n * n);
    TOGETHER;
}

// factors = 1/(hγ) − factors.
DEVICE void shifted(double h, double *factors) {
    const double shift = 1.0 / (GAMMA * h);
    TOGETHER;
    EACH(i, N * N) factors[i] = (i % (N + 1) == 0 ? shift : 0.0) - factors[i];
    TOGETHER;
}

// Error of a step, in tolerances.
DEVICE double measure(const double *y, const double *u, const double *last) {
    double error = 0.0;
    EACH(n, N) {
        const double scale = many.atol + many.rtol * larger(fabs(y[n]), fabs(u[n]));
        error = larger(error, fabs(last[n]) / scale);
    }
    return largest_over_threads(error);
}

// Whether two states are the same to the bit.
DEVICE bool same(const double *x, const double *y) {
    double different = 0.0;
    EACH(n, N) different = x[n] != y[n] ? 1.0 : different;
    return largest_over_threads(different) == 0.0;
}

KERNEL rosenbrock_ensemble(const Many *given) {
    begin(given);
    OWN_SCRATCH;
    ARRAY(y, N);
    ARRAY(u, N);
    ARRAY(v, N);
    ARRAY(w, N);
    ARRAY(work, WORK + N);
    ARRAY(k, STEP_STAGES * N);
    ARRAY(curve, CURVES * N);
    ARRAY(factors, N * N);
    double theta;
    int swap[N];
    fixed(p, work);
    Trajectory lane;
    if (!take(lane, y)) return;
    spread_out(v);
    bool moved = true;
    for (;;) {
        int status = PENDING;
        ROLL
        for (int i = 0; i < STEP_STAGES; ++i) {
            double *stage = k + i * N;
            combine(ALPHA[i], i, k, u);
            advance(y, 1.0, u);
            rhs(u, p, stage, work);
            if (i == 0) {
                if (lane.h == 0.0 && !first_step(lane, y, stage, ROSENBROCK_ORDER)) {
                    status = NOT_FINITE;
                    break;
                }
                if (!moved && norm(stage, y) * (many.end - lane.t) <= FIXED) {
                    status = REACHED;
                    lane.t = many.end;
                    while (lane.saved < many.save_points) save(lane, y);
                    break;
                }
                try_step(lane);
                jacobian(y, p, factors, work);
                shifted(lane.tried, factors);
                factorise(factors, swap);
                bound_growth(lane, factors, swap, v, w);
            } else {
                combine(COUPLING[i], i, k, w);
                advance(stage, 1.0 / lane.tried, w);
                copy(w, stage);
            }
            solve(factors, swap, stage);
        }
        if (status == PENDING) {
            lane.evaluations += STEP_STAGES;
            const double *last = k + (STEP_STAGES - 1) * N;
            TOGETHER;
            EACH(n, N) u[n] += last[n];
            TOGETHER;
            accept(lane, measure(y, u, last), ROSENBROCK_ORDER);
            if (due(lane, theta)) {
                for (int i = 0; i < CURVES; ++i) combine(CURVE[i], STEP_STAGES, k, curve + i * N);
                while (due(lane, theta)) {
                    follow_curve(theta, y, u, curve, w);
                    save(lane, w);
                }
            }
            moved = !lane.taken || !same(u, y);
            if (lane.taken) {
                copy(u, y);
                finish_step(lane, y);
            }
            status = fate(lane);
        }
        if (status != PENDING) {
            leave(lane, status, y);
            if (!take(lane, y)) return;
            spread_out(v);
            moved = true;
        }
    }
}
