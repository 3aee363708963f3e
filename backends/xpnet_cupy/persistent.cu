// What persistent kernels are made of: their blocks stay for a whole scan of steps. See persistent/code.py, which
// writes such a kernel for each network, and defines BLOCKS, THREADS and BATCH before this file.
//
// A step has two stages. In the first, a block takes rows of the batch forward to the loss and back. In the second,
// it takes tiles of the parameters: it sums their gradients over the batch, and lets the optimizer's rule change them.
// All blocks wait for each other after each stage. What a block reads of what another one wrote comes from the L2
// cache (`__ldcg`), since the L1 caches are not coherent.
//
// In the first stage, a row is an array in shared memory. Thread t *owns* its elements t, t + THREADS, ...: functions
// that need only the same element of their arguments need no barrier between them. The others expect one before them.
// Sums have a fixed order, so the same arguments give the same bits.

constexpr int WARPS = THREADS / WARP;

// Numbers that are loaded at once.
template <typename T, int N> struct alignas(N * sizeof(T)) Pack {
    T at[N];
};

#ifndef XPNET_HOST  // What a host that runs this file has in its own way, beside __syncthreads, __ldcg and the like.

__device__ unsigned char* shared_memory()
{
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
}

// Two parts, between which a block reads the rows of the next step. Measured in a sketch of such a kernel: a barrier of
// 132 blocks takes 1900 cycles after the first stage, and 600 to 850 after the second (NVIDIA H200).
__device__ void grid_arrive(unsigned* barrier)
{
    __syncthreads();
    if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(barrier) : "memory");
}

// Waits until the number of arrivals, which wraps, is `target`.
__device__ void grid_wait(unsigned* barrier, unsigned target)
{
    if (threadIdx.x == 0) {
        unsigned arrived;
        do {
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(barrier) : "memory");
        } while (static_cast<int>(arrived - target) < 0);
    }
    __syncthreads();
}

// Brings the memory at an address into the L2 cache.
__device__ void prefetch(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

// Copies 16 bytes from global to shared memory, perhaps only when the same thread calls await_copies().
__device__ void copy_later(void* to, const void* from)
{
#if __CUDA_ARCH__ >= 800
    const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from) : "memory");
#else
    *static_cast<uint4*>(to) = __ldcg(static_cast<const uint4*>(from));
#endif
}

__device__ void await_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

#endif

// Returns a number of which the compiler does not know that it is always the same. Otherwise it computes the addresses
// of all tiles and layers once, before the loop over the steps, and they take more registers than there are.
__device__ int renewed(int number)
{
#ifndef XPNET_HOST
    asm volatile("" : "+r"(number));
#endif
    return number;
}

template <int BYTES> struct Raw;
template <> struct Raw<4> { using type = unsigned; };
template <> struct Raw<8> { using type = uint2; };
template <> struct Raw<16> { using type = uint4; };

// Loads neighbours that another block may have written.
template <int N, typename T> __device__ Pack<T, N> fetch(const T* from)
{
    using Bits = typename Raw<N * sizeof(T)>::type;
    Bits bits = __ldcg(reinterpret_cast<const Bits*>(from));
    Pack<T, N> pack;
    memcpy(&pack, &bits, sizeof bits);
    return pack;
}

__device__ int thread_of() { return renewed(threadIdx.x); }
__device__ int lane_of() { return thread_of() % WARP; }
__device__ int warp_of() { return thread_of() / WARP; }

template <typename V> __device__ V* shared_at(int offset)
{
    return reinterpret_cast<V*>(shared_memory() + offset);
}

__device__ constexpr int ceiling(int n, int by) { return (n + by - 1) / by; }

// The least power of two that is not below n, or `most`.
__device__ constexpr int power_of_two(int n, int most)
{
    int power = 1;
    while (power < n && power < most) power *= 2;
    return power;
}

// How many of n neighbours one load has: a divisor of n, at most 16 bytes.
template <typename T> __device__ constexpr int pack_of(int n)
{
    return sizeof(T) == 4 && n % 4 == 0 ? 4 : n % 2 == 0 ? 2 : 1;
}

// Rows of arguments

// Rows of an array, by indices unless these are null.
template <typename T, typename S, typename I> struct Gathered {
    using Stored = S;
    const S* from;
    const I* indices;
    Index n;
    T scale, offset;
    // The row that an index means.
    template <int WIDTH> __device__ const S* at(Index index) const
    {
        return from + (indices ? row_of(index, n) : index) * WIDTH;
    }
    template <int WIDTH> __device__ const S* row(Index row) const
    {
        return at<WIDTH>(indices ? __ldg(indices + row) : row);
    }
    __device__ T value(const S* at) const { return T(__ldg(at)) * scale + offset; }
};

// Rows that another block has written.
template <typename T> struct Written {
    const T* from;
    template <int WIDTH> __device__ const T* row(Index row) const { return from + row * WIDTH; }
    __device__ T value(const T* at) const { return __ldcg(at); }
};

// Rows of one 1: the inputs of a bias.
template <typename T> struct Ones {
    template <int WIDTH> __device__ const T* row(Index) const { return nullptr; }
    __device__ T value(const T*) const { return T(1); }
};

template <int WIDTH, typename T, typename Source>
__device__ void gather_row(T* x, Source source, const typename Source::Stored* from)
{
    for (int k = thread_of(); k < WIDTH; k += THREADS) x[k] = source.value(from + k);
}

// Prefetches a row of a later step.
template <int WIDTH, typename S> __device__ void prefetch_row(const S* from)
{
    constexpr int LINE = 128 / sizeof(S);
    for (int k = thread_of() * LINE; k < WIDTH + LINE; k += THREADS * LINE) prefetch(from + min(k, WIDTH - 1));
}

// Prefetches the rows from `first` on that this block will read.
template <int WIDTH, typename Source> __device__ void prefetch_rows(Source source, Index first)
{
    for (Index row = first; row < BATCH; row += BLOCKS) prefetch_row<WIDTH>(source.template row<WIDTH>(row));
}

// Prefetches the indices of a later step.
template <typename I> __device__ void prefetch_indices(const I* indices)
{
    constexpr int LINE = 128 / sizeof(I);
    for (int row = thread_of() * LINE; row < BATCH; row += THREADS * LINE) prefetch(indices + row);
}

// Combines a number of each thread that owns one of N elements; returns the result to these threads.
template <int N, typename T, T (*op)(T, T)> __device__ T over_row(T mine, T* slots)
{
    mine = over_lanes<T, op>(mine, power_of_two(N, WARP));
    if (N <= WARP) return mine;
    if (lane_of() == 0) slots[warp_of()] = mine;
    __syncthreads();
    mine = slots[0];
    for (int warp = 1; warp < WARPS; ++warp) mine = op(mine, slots[warp]);
    __syncthreads();
    return mine;
}

// The elements of a row that are not 0, in order: where they are and what they are.
template <typename T> struct Listed {
    const int* places;
    const T* values;
    int count;
    __device__ int place(int i) const { return places[i]; }
    __device__ T value(int i) const { return values[i]; }
};

template <typename T, int N> struct Dense {
    const T* values;
    static constexpr int count = N;
    __device__ int place(int i) const { return i; }
    __device__ T value(int i) const { return values[i]; }
};

// Lists the row of a source that is at an address, and returns how many elements are listed; `counts` has
// LISTED * WARPS elements. A barrier must follow.
template <int WIDTH, typename T, typename Source>
__device__ int list_row(
    int* places, T* values, int* counts, Source source, const typename Source::Stored* from)
{
    constexpr int LISTED = 4, CHUNKS = ceiling(WIDTH, THREADS) < LISTED ? ceiling(WIDTH, THREADS) : LISTED;
    const int thread = thread_of(), lane = thread % WARP, warp = thread / WARP;
    int count = 0;
    for (int begin = 0; begin < WIDTH; begin += CHUNKS * THREADS) {
        T mine[CHUNKS];
        unsigned bits[CHUNKS];
        int before[CHUNKS] = {};
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) {
            int k = begin + c * THREADS + thread;
            mine[c] = k < WIDTH ? source.value(from + k) : T(0);
        }
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) {
            bits[c] = __ballot_sync(~0u, mine[c] != 0);
            if (lane == 0) counts[c * WARPS + warp] = __popc(bits[c]);
        }
        __syncthreads();
#pragma unroll
        for (int first = 0; first < CHUNKS * WARPS; first += WARP) {
            int own = first + lane < CHUNKS * WARPS ? counts[first + lane] : 0, sum = own;
            for (int by = 1; by < WARP; by *= 2) {
                int other = __shfl_sync(~0u, sum, lane >= by ? lane - by : lane);
                if (lane >= by) sum += other;
            }
#pragma unroll
            for (int c = 0; c < CHUNKS; ++c) {
                int at = c * WARPS + warp - first;
                if (0 <= at && at < WARP) before[c] = count + __shfl_sync(~0u, sum - own, at);
            }
            count += __shfl_sync(~0u, sum, WARP - 1);
        }
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) {
            int at = before[c] + __popc(bits[c] & ((1u << lane) - 1));
            if (mine[c] != 0) places[at] = begin + c * THREADS + thread;
            if (mine[c] != 0) values[at] = mine[c];
        }
        if (begin + CHUNKS * THREADS < WIDTH) __syncthreads();
    }
    return count;
}

// Linear layers

// A weight in global memory.
template <typename T> struct Global {
    const T* from;
    template <int N> __device__ Pack<T, N> pack(Index i) const { return fetch<N>(from + i); }
};

// A copy of a weight in shared memory, see `hold`.
template <typename T> struct Held {
    const T* from;
    template <int N> __device__ Pack<T, N> pack(Index i) const
    {
        return *reinterpret_cast<const Pack<T, N>*>(from + i);
    }
};

// Begins to copy a weight of N elements to shared memory; `await_copies` and a barrier must follow.
template <int N, typename T> __device__ void hold(T* held, const T* weight)
{
    if (blockIdx.x >= BATCH) return;  // The block has no row, so it would not wait for the copies.
    constexpr int PACK = 16 / sizeof(T);
    for (int i = thread_of() * PACK; i < N / PACK * PACK; i += THREADS * PACK) copy_later(held + i, weight + i);
    for (int i = N / PACK * PACK + thread_of(); i < N; i += THREADS) held[i] = __ldcg(weight + i);
}

// Returns a thread's first element of a bias, so that it is there when the sums are.
template <int N, typename T> __device__ T own_of(const T* bias)
{
    const int thread = thread_of();
    return thread < N ? __ldcg(bias + thread) : T(0);
}

// How a block shares the columns of a product: a lane has a pack of them, LANES lanes a band, and PARTS warps each
// band. Several lanes of a warp, and several warps, have parts of one sum.
template <typename T, int COLUMNS> struct Bands {
    static constexpr int PACK = pack_of<T>(COLUMNS);
    static constexpr int LANES = power_of_two(COLUMNS / PACK, WARP);
    static constexpr int BANDS = ceiling(COLUMNS, LANES * PACK);
    static constexpr int PARTS = BANDS < WARPS ? WARPS / BANDS : 1;
    static constexpr int SPLITS = PARTS * (WARP / LANES);
};

constexpr int IN_FLIGHT = 8;  // loads of a thread

// Adds up rows of a weight, each times an input, for the columns of a lane.
template <int N_IN, int N_OUT, typename T, typename Inputs, typename Weight>
__device__ Pack<T, Bands<T, N_OUT>::PACK> sum_of_rows(Inputs x, Weight weight, int column, int split)
{
    using At = Bands<T, N_OUT>;
    constexpr int TURNS = ceiling(N_IN, At::SPLITS), COUNT = TURNS < IN_FLIGHT ? TURNS : IN_FLIGHT;
    Pack<T, At::PACK> sum{};
    for (int i = split; i < x.count; i += COUNT * At::SPLITS) {
        Pack<T, At::PACK> rows[COUNT];
        T values[COUNT];
#pragma unroll
        for (int q = 0; q < COUNT; ++q) {
            int at = i + q * At::SPLITS;
            bool has = at < x.count;
            values[q] = has ? x.value(at) : T(0);
            rows[q] = {};
            if (has) rows[q] = weight.template pack<At::PACK>(static_cast<Index>(x.place(at)) * N_OUT + column);
        }
#pragma unroll
        for (int q = 0; q < COUNT; ++q) {
#pragma unroll
            for (int c = 0; c < At::PACK; ++c) sum.at[c] += values[q] * rows[q].at[c];
        }
    }
    return sum;
}

// z = x weight + bias, of which `first` is the thread's own; reads all of x. `parts` has PARTS * N_OUT elements.
template <int N_IN, int N_OUT, typename T, typename Inputs, typename Weight>
__device__ void linear_row(T* z, Inputs x, Weight weight, const T* bias, T first, T* parts)
{
    using At = Bands<T, N_OUT>;
    const int thread = thread_of(), lane = thread % WARP, warp = thread / WARP;
    const int part = At::BANDS < WARPS ? warp / At::BANDS : 0, split = part * (WARP / At::LANES) + lane / At::LANES;
    for (int band = At::BANDS < WARPS ? warp % At::BANDS : warp; band < At::BANDS; band += WARPS) {
        if (part >= At::PARTS) break;
        const int column = (band * At::LANES + lane % At::LANES) * At::PACK;
        const bool has = column < N_OUT;
        Pack<T, At::PACK> sum{};
        if (has) sum = sum_of_rows<N_IN, N_OUT, T>(x, weight, column, split);
#pragma unroll
        for (int c = 0; c < At::PACK; ++c) {
            for (int other = At::LANES; other < WARP; other *= 2) {
                sum.at[c] += __shfl_xor_sync(~0u, sum.at[c], other);
            }
        }
        if (has && lane < At::LANES) *reinterpret_cast<Pack<T, At::PACK>*>(parts + part * N_OUT + column) = sum;
    }
    __syncthreads();
    for (int j = thread_of(); j < N_OUT; j += THREADS) {
        T sum = parts[j];
#pragma unroll
        for (int p = 1; p < At::PARTS; ++p) sum += parts[p * N_OUT + j];
        z[j] = sum + (j < THREADS ? first : __ldcg(bias + j));
    }
}

// dx = dy weight^T; reads all of dy, and ends with a barrier.
template <int N_IN, int N_OUT, typename T, typename Weight>
__device__ void input_gradient_row(T* dx, const T* dy, Weight weight)
{
    constexpr int PACK = pack_of<T>(N_OUT), GROUPS = N_OUT / PACK;
    // Lanes for a row of the weight: 8 read neighbours in memory; more if there are threads to spare.
    constexpr int MOST = power_of_two(GROUPS, WARP), SPARE = power_of_two(THREADS / N_IN / 2 + 1, WARP);
    constexpr int LEAST = MOST < 8 ? MOST : 8, LANES = SPARE > MOST ? MOST : SPARE < LEAST ? LEAST : SPARE;
    constexpr int TOGETHER = THREADS / LANES;
    const int thread = thread_of();
#pragma unroll 4
    for (int begin = 0; begin < N_IN; begin += TOGETHER) {
        const int k = begin + thread / LANES;
        T sum = 0;
        if (k < N_IN) {
#pragma unroll 4
            for (int g = thread % LANES; g < GROUPS; g += LANES) {
                Pack<T, PACK> row = weight.template pack<PACK>(static_cast<Index>(k) * N_OUT + g * PACK);
#pragma unroll
                for (int c = 0; c < PACK; ++c) sum += row.at[c] * dy[g * PACK + c];
            }
        }
        for (int other = LANES / 2; other > 0; other /= 2) sum += __shfl_xor_sync(~0u, sum, other);
        if (k < N_IN && thread % LANES == 0) dx[k] = sum;
    }
    __syncthreads();
}
