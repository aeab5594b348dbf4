// Operations of the Matrix trait on a stack of matrices stored one after another, with `count` numbers each. A block
// works on the matrix blockIdx.y. A matrix whose flag is false is left unchanged; without flags, all are processed.
// Everything is compiled without fused multiply-adds, so that the elementwise operations round like core's.

typedef unsigned short bfloat16;
typedef long long size;

// Numbers per thread. A thread requests them together, which keeps the memory busy.
#define EACH 4

__device__ bool refused(const bool *flags) { return flags && !flags[blockIdx.y]; }

__device__ size matrix(size count) { return blockIdx.y * count; }

// Index of a thread's first number in a block's part of a matrix. Its next number is blockDim.x further on.
__device__ size first() { return (size)blockIdx.x * blockDim.x * EACH + threadIdx.x; }

__device__ float widened(const void *numbers, int is_bfloat16, size i) {
    return is_bfloat16 ? __uint_as_float((unsigned)((const bfloat16 *)numbers)[i] << 16) : ((const float *)numbers)[i];
}

// Rounds a finite number to nearest, ties to even.
__device__ bfloat16 narrowed(float number) {
    unsigned bits = __float_as_uint(number);
    return (bfloat16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// s <- a s + b o.
extern "C" __global__ void combine(float *s, const float *o, const bool *flags, float a, float b, size count) {
    if (refused(flags)) return;
    s += matrix(count);
    o += matrix(count);
    float own[EACH], other[EACH];
    size start = first();
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        size i = start + k * blockDim.x;
        if (i < count) {
            own[k] = s[i];
            other[k] = o[i];
        }
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        size i = start + k * blockDim.x;
        if (i < count) s[i] = a * own[k] + b * other[k];
    }
}

// A step along d and a point ahead of it: next = x + d gain, y <- next + (next - x) ahead + (y - x) before, x <- next.
// Without y, only x is updated.
extern "C" __global__ void step_ahead(float *x, float *y, const void *d, int is_bfloat16, const bool *flags, float gain,
                                      float ahead, float before, size count) {
    if (refused(flags)) return;
    size from = matrix(count), start = first();
    float old[EACH], query[EACH], way[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        size i = start + k * blockDim.x;
        if (i < count) {
            old[k] = x[from + i];
            way[k] = widened(d, is_bfloat16, from + i);
            if (y && before != 0) query[k] = y[from + i];
        }
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        size i = start + k * blockDim.x;
        if (i < count) {
            float next = old[k] + way[k] * gain;
            x[from + i] = next;
            if (y) {
                float point = next + (next - old[k]) * ahead;
                y[from + i] = before != 0 ? point + (query[k] - old[k]) * before : point;
            }
        }
    }
}

// Returns the sum over a block of at most 1024 threads, always added in the same order. Only the first thread gets it.
__device__ double block_sum(double own) {
    __shared__ double warps[32];
    for (int apart = 16; apart > 0; apart /= 2) own += __shfl_down_sync(0xffffffff, own, apart);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = own;
    __syncthreads();
    double all = 0;
    if (threadIdx.x == 0)
        for (unsigned warp = 0; warp < blockDim.x / 32; warp++) all += warps[warp];
    return all;
}

// sums[matrix, block] <- sum of the squares of a block's part of a matrix. In binary64 no square of a binary32
// underflows or overflows.
extern "C" __global__ void squares(const float *s, double *sums, size count) {
    s += matrix(count);
    double sum = 0;
    size stride = (size)gridDim.x * blockDim.x;
    for (size i = (size)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride * EACH) {
        float own[EACH];
#pragma unroll
        for (int k = 0; k < EACH; k++) own[k] = i + k * stride < count ? s[i + k * stride] : 0;
#pragma unroll
        for (int k = 0; k < EACH; k++) sum += (double)own[k] * own[k];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// out <- s divided by its 2-norm, computed from the `parts` sums of squares; zeros stay zeros.
extern "C" __global__ void unit(const float *s, const double *sums, int parts, void *out, int is_bfloat16, size count) {
    __shared__ double factor;
    double sum = block_sum((int)threadIdx.x < parts ? sums[blockIdx.y * parts + threadIdx.x] : 0);
    if (threadIdx.x == 0) factor = sum > 0 ? 1 / sqrt(sum) : 0;
    __syncthreads();
    size from = matrix(count), start = first();
    float own[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        size i = start + k * blockDim.x;
        if (i < count) own[k] = s[from + i];
    }
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        size i = start + k * blockDim.x;
        if (i < count) {
            float number = (float)(own[k] * factor);
            if (is_bfloat16)
                ((bfloat16 *)out)[from + i] = narrowed(number);
            else
                ((float *)out)[from + i] = number;
        }
    }
}
