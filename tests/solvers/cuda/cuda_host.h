/* What CUDA provides, by threads of the host: a block of BLOCK threads in warps of LANES that run side by side and meet
   where the source says so. A missing or misplaced meeting shows as other numbers, or as no end. A shuffle is a meeting
   of the whole block here: all its warps have to come to it. */
#include <barrier>
#include <cmath>
#include <cstring>

#define __CUDACC__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(threads)
#define __shared__ static
#define __constant__
#define WIDTH LANES

using std::isfinite;
struct Index { int x, y, z; };
static thread_local Index threadIdx, blockIdx, gridDim;
static const Index blockDim = {BLOCK, 1, 1};
static std::barrier meeting(BLOCK);
static double passed[BLOCK];

static void __syncthreads() { meeting.arrive_and_wait(); }
static void __syncwarp() { __syncthreads(); }
// x of another thread of the block.
static double exchange(double x, int other) {
    passed[threadIdx.x] = x;
    __syncthreads();
    const double y = passed[other];
    __syncthreads();
    return y;
}
static double __shfl_sync(unsigned, double x, int lane, int = LANES) {
    return exchange(x, threadIdx.x / LANES * LANES + lane);
}
static double __shfl_xor_sync(unsigned, double x, int step) { return exchange(x, threadIdx.x ^ step); }
static double __shfl_down_sync(unsigned, double x, int step) {
    return exchange(x, threadIdx.x % LANES + step < LANES ? threadIdx.x + step : threadIdx.x);
}
static int atomicAdd(int *counter, int number) { return __atomic_fetch_add(counter, number, __ATOMIC_SEQ_CST); }
static void sincospi(double x, double *s, double *c) { *s = sin(M_PI * x); *c = cos(M_PI * x); }
struct double2 { double x, y; };
template <class T> static T __ldg(const T *place) { return *place; }
static long long __double_as_longlong(double x) { long long i; memcpy(&i, &x, sizeof i); return i; }
static double __longlong_as_double(long long i) { double x; memcpy(&x, &i, sizeof x); return x; }

// A thread of the host becomes thread `thread` of a block, before it calls the kernel; after it, threads meet here.
extern "C" void enter(int thread, int x, int y, int z, int X, int Y, int Z) {
    threadIdx = {thread, 0, 0};
    blockIdx = {x, y, z};
    gridDim = {X, Y, Z};
}
extern "C" void leave_block() { __syncthreads(); }
