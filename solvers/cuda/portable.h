/* One source for CUDA and for a host compiler, which runs it as a single thread; solvers/cuda/source.py assembles it.

   Arithmetic is IEEE 754: no fast-math; division and square root are correctly rounded, subnormal numbers are kept.
   A product and a sum may be contracted to a fused multiply-add, which is an IEEE operation too and rounds once
   instead of twice: numbers differ in their last places from those of a processor that does not contract.

   A trajectory has WIDTH threads. SMALL systems (up to two logits) have one, with all numbers in its registers; others
   have a warp, whose threads share the nodes of the quadrature and hold their arrays in common, in the memory of the
   device. All threads of a warp then run the same program on the same numbers, so that they agree in every branch. */

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define CONSTANT static __constant__ const
#define SHARED __shared__
#define BARRIER __syncthreads()
#define ROLL _Pragma("unroll 1")
#if SMALL // all in one piece, so that arrays become registers; else short code, of which little is in a hurry
#define DEVICE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#else
#define DEVICE static __device__ __noinline__
#define UNROLL ROLL
#endif
#else
#include <cmath>
#define DEVICE static inline
#define KERNEL extern "C" void
#define CONSTANT static const
#define SHARED static
#define BARRIER
#define ROLL
#define UNROLL
using std::isfinite;
struct Index { int x; };
CONSTANT Index threadIdx = {0}, blockIdx = {0}, blockDim = {1};
#endif

DEVICE double infinity() { return LN_DOUBLE(0x7ff0000000000000LL); }
DEVICE double not_a_number() { return LN_DOUBLE(0x7ff8000000000000LL); }

// The larger of two numbers, nan if either is.
DEVICE double larger(double x, double y) { return x > y || x != x ? x : y; }

#if defined(__CUDACC__) && !SMALL
#ifndef WIDTH
#define WIDTH 32
#endif
#define LANE (int)(threadIdx.x % WIDTH)
#define TOGETHER __syncwarp()

// An array that a warp shares: what all threads assign alike, one of them writes, when none of them still reads.
struct Rows {
    double *data;
    struct Entry {
        double *place;
        __device__ __forceinline__ operator double() const { return *place; }
        __device__ __forceinline__ void operator=(double value) const {
            TOGETHER;
            if (LANE == 0) *place = value;
            TOGETHER;
        }
        __device__ __forceinline__ void operator=(const Entry &other) const { *this = (double)other; }
        __device__ __forceinline__ void operator+=(double value) const { *this = *place + value; }
        __device__ __forceinline__ void operator-=(double value) const { *this = *place - value; }
        __device__ __forceinline__ void operator*=(double value) const { *this = *place * value; }
    };
    __device__ __forceinline__ Rows(double *data) : data(data) {}
    __device__ __forceinline__ Entry operator[](int i) const { return {data + i}; }
    __device__ __forceinline__ operator double *() const { return data; }
};

// The sum over the threads of a warp, the same to the bit in all of them.
DEVICE double over_threads(double x) {
    for (int step = WIDTH / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
    return x;
}

// The largest over the threads of a warp, nan if any is.
DEVICE double largest_over_threads(double x) {
    for (int step = WIDTH / 2; step > 0; step /= 2) x = larger(x, __shfl_xor_sync(0xffffffff, x, step));
    return x;
}
#else
#define WIDTH 1
#define LANE 0
#define TOGETHER
typedef double *Rows;
DEVICE double over_threads(double x) { return x; }
DEVICE double largest_over_threads(double x) { return x; }
#endif

// A loop whose turns the threads of a trajectory share; between TOGETHER and TOGETHER.
#define EACH(n, size) for (int n = LANE; n < (size); n += WIDTH)

#if SMALL
#define ARRAY(name, size) double name[size]
#else
#define ARRAY(name, size) double *name = scratch; scratch += size
#endif

// The next number of a counter that all trajectories share.
DEVICE int next(int *counter) {
#ifdef __CUDACC__
    int number = 0;
    if (LANE == 0) number = atomicAdd(counter, 1);
    return WIDTH > 1 ? __shfl_sync(0xffffffff, number, 0, WIDTH) : number;
#else
    return (*counter)++;
#endif
}
