// The chain of sampler_chain.py for CUDA: one launch walks all steps of all paths, coordinate by coordinate in R^d.
//
// A path has a TEAM of threads, which share out the pairs of coordinates; a block has THREADS / TEAM paths. Scores enter
// through inner products with all means and |x|^2, which a team adds up at every step; from them come a shrinking of x
// and a pull along each mean, for the drift that moves and for the one that judges. One pass over the coordinates then
// evaluates the residual of the last move, draws, moves, and begins the next inner products. Where a thread has few
// pairs (HELD > 0) the last two points are in its registers, else (HELD = 0) in `scratch`. Nothing depends on which
// other paths are walked, nor on the number of blocks.
//
// sampler_device.py puts this text behind normals.h. Compile with MEANS, SCORES and MODES; COUNTS and BASES: of each
// score its number of components, and its first mean; WIDEST, the largest count; THREADS, WARP, TEAM, HELD; UNROLL.

enum {
    VALUES = MEANS + 1,  // inner products with the means, and |x|^2; or factors of the means, and of x
    TEAMS = THREADS / TEAM,
    SHARE = TEAM < WARP ? TEAM : WARP,  // threads of a team in a warp
    PARTS = TEAM / SHARE,               // warps of a team
    OWN = HELD > 0 ? HELD : 1
};
enum { PRIOR, TARGET };

struct Model {
    const double *scale, *inverse, *constant;  // (N + 1, TERMS), in the order in which steps are walked
    const int *live;                           // (N + 1, SCORES): whether a score is needed
    const double *move, *judge;                // (N + 1, 1 + SCORES): coefficients of x and of the scores
};

// Sums over the threads of a team, the same to the bit in all of them. turn: of this call, 0 or 1 in turns, so that no
// thread writes what another has still to read.
template <int COUNT>
__device__ __forceinline__ void over_team(double *value, double (*partial)[TEAMS][PARTS][VALUES], int turn)
{
    UNROLL
    for (int i = 0; i < COUNT; ++i)
        for (int step = SHARE / 2; step > 0; step /= 2) value[i] += __shfl_xor_sync(0xffffffffu, value[i], step);
    if (PARTS == 1) return;
    const int team = threadIdx.x / TEAM, me = threadIdx.x % TEAM;
    UNROLL
    for (int i = 0; i < COUNT; ++i)
        if (me % SHARE == i % SHARE) partial[turn][team][me / SHARE][i] = value[i];
    __syncthreads();
    UNROLL
    for (int i = 0; i < COUNT; ++i) {
        value[i] = 0.0;
        for (int part = 0; part < PARTS; ++part) value[i] += partial[turn][team][part][i];
    }
}

// From inner products at step n to log-densities of the live scores, responsibilities of the target's modes, and the
// factors of the means and of x in both drifts.
__device__ __forceinline__ void scores(
    const double *dot, wide n, const Model &m, double *move_by, double *judge_by, double *log_density, double *resp)
{
    const int count[] = {COUNTS}, base[] = {BASES};
    const double half = 0.5 * dot[MEANS];
    move_by[MEANS] = m.move[n * (1 + SCORES)];
    judge_by[MEANS] = m.judge[n * (1 + SCORES)];
    UNROLL
    for (int a = 0; a < MEANS; ++a) move_by[a] = judge_by[a] = 0.0;
    int term = 0;
    UNROLL
    for (int s = 0; s < SCORES; ++s) {
        const wide first = n * TERMS + term;
        term += count[s];
        if (!m.live[n * SCORES + s]) continue;
        double r[WIDEST], top = 0.0, total = 0.0;
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) {
                r[k] = (m.scale[first + k] * dot[base[s] + k] - half) * m.inverse[first + k] + m.constant[first + k];
                top = k == 0 || r[k] > top ? r[k] : top;
            }
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) total += r[k] = exp(r[k] - top);
        const double f = m.move[n * (1 + SCORES) + 1 + s], g = m.judge[n * (1 + SCORES) + 1 + s];
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) {
                r[k] /= total;
                const double part = m.inverse[first + k] * r[k], pull = m.scale[first + k] * part;
                move_by[MEANS] -= f * part;
                judge_by[MEANS] -= g * part;
                move_by[base[s] + k] += f * pull;
                judge_by[base[s] + k] += g * pull;
            }
        log_density[s] = top + log(total);
        if (s == TARGET) {
            UNROLL
            for (int l = 0; l < MODES; ++l) resp[l] = r[l];
        }
    }
}

// Paths first <= i < first + paths: backward = 0 from the prior, 1 from the target.
extern "C" __global__ void __launch_bounds__(THREADS) walk(
    const double *__restrict__ means,  // (MEANS, width): d filled up with zeros to whole tiles of 16
    const double *__restrict__ scale, const double *__restrict__ inverse, const double *__restrict__ constant,
    const int *__restrict__ live, const double *__restrict__ move, const double *__restrict__ judge,
    const int *__restrict__ origins,    // (path,): the mean that it starts from
    const double *__restrict__ spreads,  // (path,): standard deviation about it
    double eta, wide steps, wide d, wide paths, word first, word source, word k0, word k1, word backward, word ends,
    double *__restrict__ scratch,      // (team, 2, width), if HELD = 0
    double *__restrict__ log_weights,  // (path,)
    double *__restrict__ modes,        // (path, MODES): responsibilities at the data end
    double *__restrict__ end)          // (path, d): the data end, if `ends`
{
    __shared__ double partial[2][TEAMS][PARTS][VALUES];
    const Model m = {scale, inverse, constant, live, move, judge};
    const int team = threadIdx.x / TEAM, me = threadIdx.x % TEAM;
    const wide pairs = 8 * ((d + 15) / 16), width = 2 * pairs;
    const double noise = sqrt(2.0 * eta);
    double *points = scratch + ((wide)blockIdx.x * TEAMS + team) * 2 * width;
    int turn = 0;
    // All teams of a block take as many turns: beyond the last path they walk it again, and write nothing.
#pragma unroll 1
    for (wide group = blockIdx.x; group * TEAMS < paths; group += gridDim.x) {
        const bool mine = group * TEAMS + team < paths;
        const wide i = mine ? group * TEAMS + team : paths - 1;
        const double spread = spreads[i], *origin = means + origins[i] * width;
        double old[OWN][2], now[OWN][2], move_by[VALUES], judge_by[VALUES], log_density[SCORES], resp[MODES];
        double squares[2] = {0.0, 0.0}, begun = 0.0;  // of what is drawn, of residuals; log-density at the start
#pragma unroll 1
        for (wide n = 0; n <= steps + 1; ++n) {
            // Known of step n - 1: move_by, which leads from there to x, and judge_by, which leads back to x_{n-2}.
            double dot[VALUES];
            UNROLL
            for (int a = 0; a < VALUES; ++a) dot[a] = 0.0;
            double *const late = points + (n & 1) * width, *const last = points + ((n + 1) & 1) * width;
#pragma unroll
            for (int t = 0; HELD == 0 || t < HELD; ++t) {
                const wide pair = me + (wide)t * TEAM;
                if (pair >= pairs) {
                    if (HELD == 0) break;
                    continue;
                }
                double z[2] = {0.0, 0.0};
                if (n <= steps) normal_pair((word)pair, first + (word)i, (word)n, source, k0, k1, z, z + 1);
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const wide j = 16 * (pair / 8) + 8 * half + pair % 8;
                    double &before = HELD == 0 ? late[j] : old[HELD == 0 ? 0 : t][half];
                    double &here = HELD == 0 ? last[j] : now[HELD == 0 ? 0 : t][half];
                    double x = 0.0;
                    if (n >= 1) {
                        double e = n >= 2 ? before - judge_by[MEANS] * here : 0.0;
                        const double xi = j < d ? z[half] : 0.0;
                        x = move_by[MEANS] * here + noise * xi;
                        UNROLL
                        for (int a = 0; a < MEANS; ++a) {
                            const double mean = means[a * width + j];
                            x += move_by[a] * mean;
                            e -= judge_by[a] * mean;
                        }
                        squares[0] += xi * xi;
                        squares[1] += n >= 2 ? e * e : 0.0;
                    } else if (j < d) {
                        x = origin[j] + spread * z[half];
                    }
                    if (n > steps) continue;
                    UNROLL
                    for (int a = 0; a < MEANS; ++a) dot[a] += x * means[a * width + j];
                    dot[MEANS] += x * x;
                    if (HELD > 0) {
                        before = here;
                        here = x;
                    } else {
                        before = x;  // the place of x_{n-2}, which nobody needs any more
                    }
                    if (ends && mine && j < d && n == (backward ? 0 : steps)) end[i * d + j] = x;
                }
            }
            if (n > steps) break;
            over_team<VALUES>(dot, partial, turn);
            turn ^= 1;
            scores(dot, n, m, move_by, judge_by, log_density, resp);
            UNROLL
            for (int a = 0; a < VALUES; ++a) {
                move_by[a] *= eta;
                judge_by[a] *= eta;
            }
            move_by[MEANS] += 1.0;
            judge_by[MEANS] += 1.0;
            if (n == 0) begun = backward ? log_density[TARGET] : log_density[PRIOR];
            if (n == (backward ? 0 : steps) && mine && me == 0) {
                UNROLL
                for (int l = 0; l < MODES; ++l) modes[i * MODES + l] = resp[l];
            }
        }
        over_team<2>(squares, partial, turn);
        turn ^= 1;
        const double ratio = steps > 0 ? 0.5 * squares[0] - squares[1] / (4.0 * eta) : 0.0;
        const double gained = (backward ? log_density[PRIOR] : log_density[TARGET]) - begun + ratio;
        if (mine && me == 0) log_weights[i] = backward ? -gained : gained;
    }
}
