/* The functions of a system at many states: many.y (N, n); velocity (N, n), slope (N N, n), observed (OUT, n). */

KERNEL derivatives(const Many *given, double *velocity, double *slope) {
    begin(given);
    OWN_SCRATCH;
    ARRAY(y, N);
    ARRAY(f, N);
    ARRAY(work, WORK + N);
    ARRAY(jac, N * N);
    fixed(p, work);
    Trajectory lane;
    while (take(lane, y)) {
        rhs(y, p, f, work);
        EACH(j, N) velocity[at(j, lane.row)] = f[j];
        jacobian(y, p, jac, work);
        EACH(j, N * N) slope[at(j, lane.row)] = jac[j];
        TOGETHER;
    }
}

KERNEL observe(const Many *given, double *observed) {
    begin(given);
    OWN_SCRATCH;
    ARRAY(y, N);
    ARRAY(work, WORK + N);
    ARRAY(out, OUT);
    fixed(p, work);
    Trajectory lane;
    while (take(lane, y)) {
        observables(y, p, out, work);
        EACH(j, OUT) observed[at(j, lane.row)] = out[j];
        TOGETHER;
    }
}
