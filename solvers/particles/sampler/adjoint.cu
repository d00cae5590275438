// Reverse mode through the chain, what sampler_chain.gradient does: derivatives of the sum of weights_i (-log W_i).
//
// A team walks its path and keeps all points and residuals; going back it adds up, at every step, inner products of the
// point, of the residual and of the cotangent x_bar with the means and with x. From these come, for each coordinate, x_bar
// of the step before and the derivatives in the means, as combinations of x_bar, residuals, x and the means. What is
// summed over paths a team sums over its own, in their order, and then teams are added: the order is always the same.
//
// Behind sampler_kernel.cu, with LEARNED > 0 and PLACES: for each mean its place among those learned, or -1.

struct Parameters {
    const double *norms, *variances;  // (MEANS,): |mu_a|^2 and v_a of the mixtures themselves, not noised
    const double *densities;          // (N + 1, SCORES): of the derivative in log-densities
};

// Reverse mode of `scores`. after, error: inner products of x_bar and of the residual with the means and with x, already
// times eta and weight/2. by: the factors of the means and of -x in x_bar, the former also of x in the derivative in that
// mean. rest (3, MEANS): added are derivatives in log-variances and log-weights, and the factor of -mu_a in that in mu_a.
__device__ __forceinline__ void scores_adjoint(
    const double *dot, wide n, const Model &m, const Parameters &known, const double *r, const double *after,
    const double *error, double weight, double d, double *by, double (*rest)[MEANS])
{
    const int count[] = {COUNTS}, base[] = {BASES};
    UNROLL
    for (int a = 0; a < VALUES; ++a) by[a] = 0.0;
    int begin = 0;
    UNROLL
    for (int s = 0; s < SCORES; ++s) {
        const int own = begin;
        const wide first = n * TERMS + own;
        begin += count[s];
        if (!m.live[n * SCORES + s]) continue;
        const double f = m.move[n * (1 + SCORES) + 1 + s], g = m.reverse[n * (1 + SCORES) + 1 + s];
        double alpha[WIDEST], total = known.densities[n * SCORES + s] * weight;
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) {
                const double e = m.scale[first + k];
                alpha[k] = f * (e * after[base[s] + k] - after[MEANS]) - g * (e * error[base[s] + k] - error[MEANS]);
                alpha[k] *= m.inverse[first + k];
                total -= r[own + k] * alpha[k];
            }
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) {
                const int a = base[s] + k;
                const double e = m.scale[first + k], i = m.inverse[first + k];
                const double q = r[own + k] * (alpha[k] + total);
                const double distance = dot[MEANS] - 2.0 * e * dot[a] + e * e * known.norms[a];
                by[MEANS] += q * i;
                by[a] += q * i * e;
                // Of the mixture itself: through its noise.
                rest[0][a] += e * e * known.variances[a] * i * (q * (0.5 * i * distance - 0.5 * d) - r[own + k] * alpha[k]);
                rest[1][a] += q;
                rest[2][a] += q * i * e * e;
            }
    }
}

KERNEL differentiate(
    MODEL, const double *__restrict__ norms, const double *__restrict__ variances, const double *__restrict__ densities,
    const double *__restrict__ weights,  // (path,)
    double *__restrict__ scratch,        // (team, (2 N + 4) width + (N + 1) VALUES)
    double *__restrict__ log_weights,    // (path,)
    double *__restrict__ of_means,       // (team, LEARNED, width), zeros before
    double *__restrict__ of_rest)        // (team, 2, MEANS): in log-variances and log-weights
{
    __shared__ double partial[2][TEAMS][PARTS][VALUES];
    const int place[] = {PLACES};
    const Model m = {scale, inverse, constant, live, move, reverse, eta, steps};
    const Parameters known = {norms, variances, densities};
    const int team = threadIdx.x / TEAM, me = threadIdx.x % TEAM;
    const wide pairs = 8 * ((d + 15) / 16), width = 2 * pairs, me_of_all = (wide)blockIdx.x * TEAMS + team;
    double *const room = scratch + me_of_all * ((2 * steps + 4) * width + (steps + 1) * VALUES);
    const Kept kept = {room, room + (steps + 1) * width, room + (2 * steps + 4) * width};
    double *const bars = room + (2 * steps + 3) * width;  // x_bar, if HELD = 0
    of_means += me_of_all * LEARNED * width;
    double rest[3][MEANS], sum[LEARNED][OWN][2], bar[OWN][2];
    UNROLL
    for (int a = 0; a < MEANS; ++a) rest[0][a] = rest[1][a] = rest[2][a] = 0.0;
    UNROLL
    for (int l = 0; l < LEARNED; ++l)
#pragma unroll
        for (int t = 0; t < OWN; ++t) sum[l][t][0] = sum[l][t][1] = 0.0;
#pragma unroll
    for (int t = 0; HELD == 0 || t < HELD; ++t) {  // residuals of no step: before the first, and after the last
        const wide pair = pair_of(me, t);
        if (pair >= pairs) break;
        for (int half = 0; half < 2; ++half)
            kept.residuals[place_of(pair, half)] = kept.residuals[(steps + 1) * width + place_of(pair, half)] = 0.0;
    }
    int turn = 0;
#pragma unroll 1
    for (wide group = blockIdx.x; group * TEAMS < paths; group += gridDim.x) {
        const bool mine = group * TEAMS + team < paths;
        const wide i = mine ? group * TEAMS + team : paths - 1;
        const Stream stream = {first + (word)i, step, source, k0, k1};
        const int origin = origins[i];
        const double weight = mine ? weights[i] : 0.0;
        const double gained = path<true>(
            means, m, stream, means + origin * width, spreads[i], false, d, kept, partial, turn, 0, 0);
        if (mine && me == 0) log_weights[i] = gained;
        __syncwarp();  // inner products were kept by one thread for all
        double move_by[VALUES], reverse_by[VALUES], by[VALUES], log_density[SCORES], r[TERMS];
#pragma unroll 1
        for (wide turns = 0; turns <= steps + 1; ++turns) {
            // Known of step n + 1: by, move_by and reverse_by, the latter times half the weight over the length of the step
            // that led there: they lead from x_bar of step n + 2 to that of n + 1.
            const bool over = turns == steps + 1;  // after step 0: the start
            const wide n = over ? 0 : steps - turns, at = over ? 0 : n + 1;
            const double *const x_at = kept.points + at * width, *const x_n = kept.points + n * width;
            const double *const e_at = kept.residuals + at * width, *const e_n = kept.residuals + n * width;
            const double kappa = turns > 0 && at < steps ? 0.5 * weight / eta[at] : 0.0;
            double after[VALUES], error[VALUES];
            UNROLL
            for (int a = 0; a < VALUES; ++a) after[a] = error[a] = 0.0;
#pragma unroll
            for (int t = 0; HELD == 0 || t < HELD; ++t) {
                const wide pair = pair_of(me, t);
                if (pair >= pairs) {
                    if (HELD == 0) break;
                    continue;
                }
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const wide j = place_of(pair, half);
                    double x_bar = 0.0;
                    if (turns > 0) {
                        const double later = HELD == 0 ? bars[j] : bar[HELD == 0 ? 0 : t][half], x = x_at[j], e = e_at[j];
                        x_bar = move_by[MEANS] * later + kappa * e_at[width + j] - reverse_by[MEANS] * e - by[MEANS] * x;
                        UNROLL
                        for (int a = 0; a < MEANS; ++a) x_bar += by[a] * means[a * width + j];
                        UNROLL
                        for (int a = 0; a < MEANS; ++a)
                            if (place[a] >= 0) {
                                double of = move_by[a] * later - reverse_by[a] * e + by[a] * x;
                                if (over && a == origin) of += x_bar;
                                if (HELD == 0)
                                    of_means[place[a] * width + j] += of;
                                else
                                    sum[place[a] < 0 ? 0 : place[a]][HELD == 0 ? 0 : t][half] += of;
                            }
                    }
                    if (HELD == 0)
                        bars[j] = x_bar;
                    else
                        bar[HELD == 0 ? 0 : t][half] = x_bar;
                    const double x = x_n[j], e = e_n[j];
                    UNROLL
                    for (int a = 0; a < MEANS; ++a) {
                        const double mean = means[a * width + j];
                        after[a] += x_bar * mean;
                        error[a] += e * mean;
                    }
                    after[MEANS] += x_bar * x;
                    error[MEANS] += e * x;
                }
            }
            over_team<VALUES>(after, partial, turn);
            turn ^= 1;
            if (over) {
                UNROLL
                for (int a = 0; a < MEANS; ++a)
                    if (a == origin) rest[0][a] += 0.5 * (after[MEANS] - after[a]);
                break;
            }
            over_team<VALUES>(error, partial, turn);
            turn ^= 1;
            const double *const dot = kept.dots + n * VALUES;
            scores(dot, n, m, move_by, reverse_by, log_density, r);
            UNROLL
            for (int a = 0; a < VALUES; ++a) {
                after[a] *= n < steps ? eta[n] : 0.0;
                error[a] *= 0.5 * weight;
                reverse_by[a] *= n > 0 ? 0.5 * weight / eta[n - 1] : 0.0;
            }
            scores_adjoint(dot, n, m, known, r, after, error, weight, (double)d, by, rest);
        }
    }
#pragma unroll
    for (int t = 0; HELD == 0 || t < HELD; ++t) {
        const wide pair = pair_of(me, t);
        if (pair >= pairs) break;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const wide j = place_of(pair, half);
            UNROLL
            for (int a = 0; a < MEANS; ++a)
                if (place[a] >= 0) {
                    const double own = HELD == 0 ? 0.0 : sum[place[a] < 0 ? 0 : place[a]][HELD == 0 ? 0 : t][half];
                    of_means[place[a] * width + j] += own - rest[2][a] * means[a * width + j];
                }
        }
    }
    if (me == 0)
        for (int a = 0; a < MEANS; ++a) {
            of_rest[me_of_all * 2 * MEANS + a] = rest[0][a];
            of_rest[me_of_all * 2 * MEANS + MEANS + a] = rest[1][a];
        }
}
