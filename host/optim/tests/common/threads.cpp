// Runs the GPU's kernels on a processor: one thread for each thread of a block, one block after another.

#include <barrier>
#include <cmath>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#define __device__
#define __global__
// Shared memory of the one block that runs at a time.
#define __shared__ static

struct Place {
    unsigned x, y;
};
static thread_local Place threadIdx, blockIdx;
static Place blockDim, gridDim;
static std::barrier<> *block;
static double passed[1024];
static std::mutex device;

static void __syncthreads() { block->arrive_and_wait(); }

static double __shfl_down_sync(unsigned, double own, int apart) {
    passed[threadIdx.x] = own;
    __syncthreads();
    double other = threadIdx.x % 32 + apart < 32 ? passed[threadIdx.x + apart] : own;
    __syncthreads();
    return other;
}

static float __uint_as_float(unsigned bits) {
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

static unsigned __float_as_uint(float number) {
    unsigned bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
}

using std::sqrt;
#include "kernels.cu"

template <typename... Arguments>
static void launch(void (*kernel)(Arguments...), Place grid, unsigned threads, Arguments... arguments) {
    std::lock_guard<std::mutex> launch_by_launch(device);
    blockDim = {threads, 1};
    gridDim = grid;
    std::barrier<> all(threads);
    block = &all;
    std::vector<std::thread> team;
    for (unsigned thread = 0; thread < threads; thread++)
        team.emplace_back([=] {
            threadIdx = {thread, 0};
            for (unsigned y = 0; y < grid.y; y++)
                for (unsigned x = 0; x < grid.x; x++) {
                    blockIdx = {x, y};
                    kernel(arguments...);
                    __syncthreads();
                }
        });
    for (auto &thread : team) thread.join();
}

extern "C" void launch_combine(Place grid, unsigned threads, float *s, const float *o, const bool *flags, float a, float b,
                               size count) {
    launch(combine, grid, threads, s, o, flags, a, b, count);
}

extern "C" void launch_step_ahead(Place grid, unsigned threads, float *x, float *y, const void *d, int is_bfloat16,
                                  const bool *flags, float gain, float ahead, float before, size count) {
    launch(step_ahead, grid, threads, x, y, d, is_bfloat16, flags, gain, ahead, before, count);
}

extern "C" void launch_unit(Place grid, unsigned threads, const float *s, double *sums, int parts, void *out,
                            int is_bfloat16, size count) {
    launch(squares, Place{(unsigned)parts, grid.y}, threads, s, sums, count);
    launch(unit, grid, threads, s, (const double *)sums, parts, out, is_bfloat16, count);
}
