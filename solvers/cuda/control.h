/* What both integrators share: taking trajectories from a queue, step-size control, save points.

   A thread, or a warp, integrates one trajectory at a time, with its own time, step and error; when it is through, by
   whatever end, it takes the next of the queue. The rules are those of solvers/machine/lanes.py, the constants too.

   Functions that write to arrays are entered and left with the threads of a trajectory together. */

SHARED Many many;
SHARED double p[PARAMETERS]; // of the system, the same for all trajectories

DEVICE void begin(const Many *given) {
    if (threadIdx.x == 0) many = *given;
    BARRIER;
    for (int i = threadIdx.x; i < PARAMETERS; i += blockDim.x) p[i] = many.parameters[i];
    BARRIER;
}

// Numbers in the memory of the device that the integrators need for a trajectory, see ARRAY.
constexpr long long SCRATCH =
    SMALL ? 0 : (4 + (ALL_STAGES > STEP_STAGES + CURVES + N ? ALL_STAGES : STEP_STAGES + CURVES + N)) * N + WORK + N;
#if SMALL
#define OWN_SCRATCH
#else
#define OWN_SCRATCH double *scratch = many.scratch + (blockIdx.x * blockDim.x + threadIdx.x) / WIDTH * SCRATCH
#endif

// What the caller has to know of the system.
KERNEL describe(long long *sizes) {
    sizes[0] = N;
    sizes[1] = PARAMETERS;
    sizes[2] = SCRATCH;
    sizes[3] = WIDTH;
}

struct Trajectory {
    double t, h, tried, last, bound;
    int row, saved, steps, evaluations, streak;
    bool rejected, taken;
};

// Position of entry j of the state of a trajectory: neighbouring threads have neighbouring memory.
DEVICE long long at(int j, int row) { return j * many.count + row; }

// max_j |x_j| / (atol + rtol |y_j|), nan if that is not finite.
DEVICE double norm(const double *x, const double *y) {
    double worst = 0.0;
    UNROLL
    EACH(j, N) worst = larger(worst, fabs(x[j]) / (many.atol + many.rtol * fabs(y[j])));
    worst = largest_over_threads(worst);
    return isfinite(worst) ? worst : not_a_number();
}

// Choose the first step from the state and its velocity; false if either is not finite.
DEVICE bool first_step(Trajectory &lane, const double *y, const double *f, int order) {
    const double size = norm(y, y), speed = norm(f, y);
    if (!isfinite(size) || !isfinite(speed)) return false;
    double step = many.end - lane.t;
    if (speed > 0.0) {
        step = fmin(step, exp(log(0.01 / speed) / order));
        if (size > 0.0) step = fmin(step, size / speed);
    }
    lane.h = step;
    return true;
}

// The step to try: h, shortened to the end, or stretched to it rather than leave a sliver.
DEVICE void try_step(Trajectory &lane) {
    const double remaining = many.end - lane.t;
    lane.tried = lane.h > 0.0 && 1.0001 * lane.h >= remaining ? remaining : lane.h;
}

// Accept or reject a step with this error, in tolerances, of that order in h, and choose the next one.
DEVICE void accept(Trajectory &lane, double error, int order) {
    ++lane.steps;
    lane.taken = error <= 1.0;
    if (lane.taken) {
        const double logarithm = log(fmax(error, SMALLEST_ERROR));
        double factor = 0.9 * exp((0.3 * lane.last - 0.75 * logarithm) / order);
        factor = fmin(lane.rejected ? 1.0 : 8.0, fmax(0.2, factor));
        lane.last = logarithm;
        lane.h = fmin(lane.tried * factor, lane.bound);
    } else {
        lane.h = lane.tried * (isfinite(error) ? fmax(0.2, 0.9 * exp(-log(error) / order)) : 0.2);
    }
    lane.rejected = !lane.taken;
}

// Time after the step that was tried; exactly the end for a step that goes there.
DEVICE double next_time(const Trajectory &lane) {
    return lane.tried == many.end - lane.t ? many.end : lane.t + lane.tried;
}

// Whether the step that was taken has a save point inside, and where, in units of the step.
DEVICE bool due(const Trajectory &lane, double &theta) {
    if (!lane.taken || lane.saved >= many.save_points) return false;
    const double time = many.times[lane.saved];
    theta = (time - lane.t) / lane.tried;
    return time < next_time(lane);
}

// Write a state to the next save point.
DEVICE void save(Trajectory &lane, const double *y) {
    UNROLL
    EACH(j, N) many.paths[lane.saved * (N * many.count) + at(j, lane.row)] = y[j];
    ++lane.saved;
}

// Move to the end of a step that was taken, with the state y already; save there if that is a save point.
DEVICE void finish_step(Trajectory &lane, const double *y) {
    lane.t = next_time(lane);
    if (lane.saved < many.save_points && many.times[lane.saved] == lane.t) save(lane, y);
}

// What has become of a trajectory whose step was accepted or not and, if taken, finished.
DEVICE int fate(const Trajectory &lane) {
    if (lane.taken && lane.t == many.end) return REACHED;
    if (!lane.taken && !(lane.t + lane.h > lane.t)) return NOT_FINITE;
    return lane.steps >= many.max_steps ? STEP_LIMIT : PENDING;
}

// Take the next trajectory of the queue; false if there is none.
DEVICE bool take(Trajectory &lane, double *y) {
    const int place = next(many.counter);
    if (place >= many.length) return false;
    const int row = many.queue[place];
    lane = {many.t[row], many.h[row], 0.0, 0.0, infinity(), row, many.saved[row], many.steps[row],
            many.evaluations[row], 0, false, false};
    TOGETHER;
    UNROLL
    EACH(j, N) y[j] = many.y[at(j, row)];
    TOGETHER;
    return true;
}

// Hand a trajectory back; a failed one has nan at the save points that it did not reach.
DEVICE void leave(Trajectory &lane, int status, const double *y) {
    const int row = lane.row, saved = lane.saved;
    UNROLL
    EACH(j, N) many.y[at(j, row)] = y[j];
    many.t[row] = lane.t;
    many.h[row] = lane.h;
    many.saved[row] = saved;
    many.status[row] = status;
    many.steps[row] = lane.steps;
    many.evaluations[row] = lane.evaluations;
    if (status == REACHED || status == STIFF) return;
    for (int s = saved; s < many.save_points; ++s)
        EACH(j, N) many.paths[s * (N * many.count) + at(j, row)] = not_a_number();
}

// out = Σ_j weights_j k_j over `count` stages, those in `k` one after another.
DEVICE void combine(const double *weights, int count, const double *k, double *out) {
    TOGETHER;
    UNROLL
    EACH(n, N) out[n] = 0.0;
    ROLL
    for (int j = 0; j < count; ++j) {
        const double weight = weights[j];
        if (weight != 0.0) {
            UNROLL
            EACH(n, N) out[n] += weight * k[j * N + n];
        }
    }
    TOGETHER;
}

// x = y + h x.
DEVICE void advance(const double *y, double h, double *x) {
    TOGETHER;
    UNROLL
    EACH(n, N) x[n] = y[n] + h * x[n];
    TOGETHER;
}

DEVICE void copy(const double *from, double *to) {
    TOGETHER;
    UNROLL
    EACH(n, N) to[n] = from[n];
    TOGETHER;
}
