// The chain of sampler_chain.py for CUDA: one launch walks all steps of all paths, coordinate by coordinate in R^d.
//
// A path has a TEAM of threads, which share out the pairs of coordinates; a block has THREADS / TEAM paths. Scores enter
// through inner products with all means and |x|^2, which a team adds up at every step; from them come a shrinking of x
// and a pull along each mean, for the drift that moves and for that of the reverse kernel. One pass over the coordinates then
// evaluates the residual of the last move, draws, moves, and begins the next inner products. Where a thread has few
// pairs (HELD > 0) the last two points are in its registers, else (HELD = 0) in `scratch`. Nothing depends on which
// other paths are walked, nor on the number of blocks.
//
// sampler_device.py puts this text behind normals.h. Compile with MEANS, SCORES and MODES; COUNTS and BASES: of each
// score its number of components, and its first mean; TERMS and WIDEST, the sum of counts and the largest; THREADS, WARP,
// TEAM, HELD; UNROLL; LEARNED: of how many means derivatives are wanted, with sampler_adjoint.cu behind this, or 0.

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
    const double *move, *reverse;                // (N + 1, 1 + SCORES): coefficients of x and of the scores
    const double *eta;                         // (N,), in that order too
    wide steps;
};

// Which random numbers a path has.
struct Stream {
    word particle, step, source, k0, k1;
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

// From inner products at step n to log-densities of the live scores, responsibilities r (TERMS,) there, and the factors
// by which both drifts move: of the means, and of x, 1 + eta a(x), eta of the step after n and of the one before.
__device__ __forceinline__ void scores(
    const double *dot, wide n, const Model &m, double *move_by, double *reverse_by, double *log_density, double *r)
{
    const int count[] = {COUNTS}, base[] = {BASES};
    const double half = 0.5 * dot[MEANS];
    move_by[MEANS] = m.move[n * (1 + SCORES)];
    reverse_by[MEANS] = m.reverse[n * (1 + SCORES)];
    UNROLL
    for (int a = 0; a < MEANS; ++a) move_by[a] = reverse_by[a] = 0.0;
    int begin = 0;
    UNROLL
    for (int s = 0; s < SCORES; ++s) {
        const int own = begin;
        const wide first = n * TERMS + own;
        begin += count[s];
        if (!m.live[n * SCORES + s]) continue;
        double top = 0.0, total = 0.0;
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) {
                const double term =
                    (m.scale[first + k] * dot[base[s] + k] - half) * m.inverse[first + k] + m.constant[first + k];
                r[own + k] = term;
                top = k == 0 || term > top ? term : top;
            }
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) total += r[own + k] = exp(r[own + k] - top);
        const double f = m.move[n * (1 + SCORES) + 1 + s], g = m.reverse[n * (1 + SCORES) + 1 + s];
        UNROLL
        for (int k = 0; k < WIDEST; ++k)
            if (k < count[s]) {
                r[own + k] /= total;
                const double part = m.inverse[first + k] * r[own + k], pull = m.scale[first + k] * part;
                move_by[MEANS] -= f * part;
                reverse_by[MEANS] -= g * part;
                move_by[base[s] + k] += f * pull;
                reverse_by[base[s] + k] += g * pull;
            }
        log_density[s] = top + log(total);
    }
    const double eta = n < m.steps ? m.eta[n] : 0.0, before = n > 0 ? m.eta[n - 1] : 0.0;
    UNROLL
    for (int a = 0; a < VALUES; ++a) {
        move_by[a] *= eta;
        reverse_by[a] *= before;
    }
    move_by[MEANS] += 1.0;
    reverse_by[MEANS] += 1.0;
}

// What is kept of a path. points: rows of `width`, all N + 1 if KEEP, else the last two, where they are not held in
// registers. Only if KEEP: residuals (N + 2, width), of which the first and the last are zero, and dots (N + 1, VALUES).
struct Kept {
    double *points, *residuals, *dots;
};

// The two pairs of a thread: the t-th pair, and where its coordinates are.
__device__ __forceinline__ wide pair_of(int me, int t) { return me + (wide)t * TEAM; }
__device__ __forceinline__ wide place_of(wide pair, int half) { return 16 * (pair / 8) + 8 * half + pair % 8; }

// Walks a path from its start, of mean and standard deviation `origin` and `spread`. Returns log of the density at the
// last point over that at the first, and of the kernels: log W, or -log W of a path from the target. `modes` and `end`:
// where responsibilities and coordinates at the data end go, unless null.
template <bool KEEP>
__device__ __forceinline__ double path(
    const double *means, const Model &m, const Stream &stream, const double *origin, double spread, bool backward, wide d,
    const Kept &kept, double (*partial)[TEAMS][PARTS][VALUES], int &turn, double *modes, double *end)
{
    const int me = threadIdx.x % TEAM, count[] = {COUNTS};
    const wide pairs = 8 * ((d + 15) / 16), width = 2 * pairs, data = backward ? 0 : m.steps;
    double old[OWN][2], now[OWN][2], move_by[VALUES], reverse_by[VALUES], log_density[SCORES], r[TERMS];
    double squares[2] = {0.0, 0.0}, begun = 0.0;  // of what is drawn, of residuals over 4 eta; log-density at the start
#pragma unroll 1
    for (wide n = 0; n <= m.steps + 1; ++n) {
        // Known of step n - 1: move_by, which leads from there to x, and reverse_by, which leads back to step n - 2.
        double dot[VALUES];
        UNROLL
        for (int a = 0; a < VALUES; ++a) dot[a] = 0.0;
        const double noise = n >= 1 && n <= m.steps ? sqrt(2.0 * m.eta[n - 1]) : 0.0;
        const double share = n >= 2 ? 1.0 / (4.0 * m.eta[n - 2]) : 0.0;
        double *const next = kept.points + (KEEP ? n : n % 2) * width;
        const double *const last = kept.points + (KEEP ? n - 1 : (n + 1) % 2) * width;
        const double *const late = kept.points + (KEEP ? n - 2 : n % 2) * width;
#pragma unroll
        for (int t = 0; HELD == 0 || t < HELD; ++t) {
            const wide pair = pair_of(me, t);
            if (pair >= pairs) {
                if (HELD == 0) break;
                continue;
            }
            double z[2] = {0.0, 0.0};
            if (n <= m.steps)
                normal_pair((word)pair, stream.particle, stream.step + (word)n, stream.source, stream.k0, stream.k1, z, z + 1);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const wide j = place_of(pair, half);
                double x = 0.0, here = 0.0;
                if (n >= 1) {
                    here = HELD == 0 ? last[j] : now[HELD == 0 ? 0 : t][half];
                    double e = 0.0;
                    if (n >= 2) e = (HELD == 0 ? late[j] : old[HELD == 0 ? 0 : t][half]) - reverse_by[MEANS] * here;
                    const double xi = j < d ? z[half] : 0.0;
                    x = move_by[MEANS] * here + noise * xi;
                    UNROLL
                    for (int a = 0; a < MEANS; ++a) {
                        const double mean = means[a * width + j];
                        x += move_by[a] * mean;
                        e -= reverse_by[a] * mean;
                    }
                    if (n == 1) e = 0.0;
                    squares[0] += xi * xi;
                    squares[1] += share * e * e;
                    if (KEEP) kept.residuals[(n - 1) * width + j] = e;
                } else if (j < d) {
                    x = origin[j] + spread * z[half];
                }
                if (n > m.steps) continue;
                UNROLL
                for (int a = 0; a < MEANS; ++a) dot[a] += x * means[a * width + j];
                dot[MEANS] += x * x;
                if (HELD > 0) {
                    old[HELD == 0 ? 0 : t][half] = here;
                    now[HELD == 0 ? 0 : t][half] = x;
                }
                if (HELD == 0 || KEEP) next[j] = x;
                if (n == data && end && j < d) end[j] = x;
            }
        }
        if (n > m.steps) break;
        over_team<VALUES>(dot, partial, turn);
        turn ^= 1;
        if (KEEP && me == 0) {
            UNROLL
            for (int a = 0; a < VALUES; ++a) kept.dots[n * VALUES + a] = dot[a];
        }
        scores(dot, n, m, move_by, reverse_by, log_density, r);
        if (n == 0) begun = backward ? log_density[TARGET] : log_density[PRIOR];
        if (n == data && modes && me == 0) {
            UNROLL
            for (int l = 0; l < MODES; ++l) modes[l] = r[count[PRIOR] + l];
        }
    }
    over_team<2>(squares, partial, turn);
    turn ^= 1;
    return (backward ? log_density[PRIOR] : log_density[TARGET]) - begun + 0.5 * squares[0] - squares[1];
}

#define MODEL                                                                                                     \
    const double *__restrict__ means,  /* (MEANS, width): d filled up with zeros to whole tiles of 16 */         \
    const double *__restrict__ scale, const double *__restrict__ inverse, const double *__restrict__ constant,    \
    const int *__restrict__ live, const double *__restrict__ move, const double *__restrict__ reverse,              \
    const double *__restrict__ eta,                                                                               \
    const int *__restrict__ origins,     /* (path,): the mean that it starts from */                              \
    const double *__restrict__ spreads,  /* (path,): standard deviation about it */                               \
    wide steps, wide d, wide paths, word first, word step, word source, word k0, word k1
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

#if !LEARNED
// Paths first <= i < first + paths: backward = 0 from the prior, 1 from the target.
KERNEL walk(
    MODEL, word backward, word ends,
    double *__restrict__ scratch,      // (team, 2, width), if HELD = 0
    double *__restrict__ log_weights,  // (path,)
    double *__restrict__ modes,        // (path, MODES): responsibilities at the data end
    double *__restrict__ end)          // (path, d): the data end, if `ends`
{
    __shared__ double partial[2][TEAMS][PARTS][VALUES];
    const Model m = {scale, inverse, constant, live, move, reverse, eta, steps};
    const int team = threadIdx.x / TEAM;
    const wide width = 16 * ((d + 15) / 16);
    const Kept kept = {scratch + ((wide)blockIdx.x * TEAMS + team) * 2 * width, 0, 0};
    int turn = 0;
    // All teams of a block take as many turns: beyond the last path they walk it again, and write nothing.
#pragma unroll 1
    for (wide group = blockIdx.x; group * TEAMS < paths; group += gridDim.x) {
        const bool mine = group * TEAMS + team < paths;
        const wide i = mine ? group * TEAMS + team : paths - 1;
        const Stream stream = {first + (word)i, step, source, k0, k1};
        const double gained = path<false>(
            means, m, stream, means + origins[i] * width, spreads[i], backward, d, kept, partial, turn,
            mine ? modes + i * MODES : 0, mine && ends ? end + i * d : 0);
        if (mine && threadIdx.x % TEAM == 0) log_weights[i] = backward ? -gained : gained;
    }
}
#endif
