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

// Measured in a sketch of such a kernel, with a barrier of 132 blocks: 1900 cycles after the first stage and 600 to 850
// after the second, in which the next row is read (NVIDIA H200).
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

// Combines a number of each lane and returns the result to all lanes of the warp.
template <typename T, T (*op)(T, T)> __device__ T over_warp(T mine)
{
    for (int other = WARP / 2; other > 0; other /= 2) mine = op(mine, __shfl_xor_sync(~0u, mine, other));
    return mine;
}

// Combines a number of each thread that owns one of N elements; returns the result to these threads.
template <int N, typename T, T (*op)(T, T)> __device__ T over_row(T mine, T* slots)
{
    mine = over_warp<T, op>(mine);
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

// Lists the row of a source that is at an address; `counts` has LISTED * WARPS elements. A barrier must follow.
template <int WIDTH, typename T, typename Source>
__device__ Listed<T> list_row(
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
    return {places, values, count};
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

// Begins to copy a weight of N elements to shared memory; `await_held` and a barrier must follow.
template <int N, typename T> __device__ void hold(T* held, const T* weight)
{
    constexpr int PACK = 16 / sizeof(T);
    for (int i = thread_of() * PACK; i < N / PACK * PACK; i += THREADS * PACK) {
#if defined(XPNET_HOST) || __CUDA_ARCH__ < 800
        *reinterpret_cast<Pack<T, PACK>*>(held + i) = fetch<PACK>(weight + i);
#else
        const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(held + i));
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(weight + i) : "memory");
#endif
    }
    for (int i = N / PACK * PACK + thread_of(); i < N; i += THREADS) held[i] = __ldcg(weight + i);
}

// Waits for what this thread copies.
__device__ void await_held()
{
#if !defined(XPNET_HOST) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
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
template <int N_OUT, typename T, typename Inputs, typename Weight>
__device__ Pack<T, Bands<T, N_OUT>::PACK> sum_of_rows(Inputs x, Weight weight, int column, int split)
{
    using At = Bands<T, N_OUT>;
    Pack<T, At::PACK> sum{};
    for (int i = split; i < x.count; i += IN_FLIGHT * At::SPLITS) {
        Pack<T, At::PACK> rows[IN_FLIGHT];
        T values[IN_FLIGHT];
#pragma unroll
        for (int q = 0; q < IN_FLIGHT; ++q) {
            int at = i + q * At::SPLITS;
            bool has = at < x.count;
            values[q] = has ? x.value(at) : T(0);
            rows[q] = {};
            if (has) rows[q] = weight.template pack<At::PACK>(static_cast<Index>(x.place(at)) * N_OUT + column);
        }
#pragma unroll
        for (int q = 0; q < IN_FLIGHT; ++q) {
#pragma unroll
            for (int c = 0; c < At::PACK; ++c) sum.at[c] += values[q] * rows[q].at[c];
        }
    }
    return sum;
}

// z = x weight + bias, of which `first` is the thread's own; reads all of x. `parts` has PARTS * N_OUT elements.
template <int N_OUT, typename T, typename Inputs, typename Weight>
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
        if (has) sum = sum_of_rows<N_OUT, T>(x, weight, column, split);
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

// Elements of rows

template <int N, typename T> __device__ void keep_row(T* to, const T* x)
{
    for (int j = thread_of(); j < N; j += THREADS) __stcg(to + j, x[j]);
}

template <typename F, int N, typename T> __device__ void activate_row(T* y, const T* z)
{
    for (int j = thread_of(); j < N; j += THREADS) y[j] = F::of(z[j]);
}

template <typename F, int N, typename T> __device__ void activate_backward_row(T* dz, const T* kept, const T* dy)
{
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = F::backward(kept[j], dy[j]);
}

template <int N, typename T> __device__ void leaky_relu_row(T* y, const T* z, T slope)
{
    for (int j = thread_of(); j < N; j += THREADS) y[j] = z[j] > 0 ? z[j] : slope * z[j];
}

template <int N, typename T> __device__ void leaky_relu_backward_row(T* dz, const T* z, const T* dy, T slope)
{
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = z[j] > 0 ? dy[j] : slope * dy[j];
}

template <int N, typename T> __device__ void add_row(T* z, const T* x, const T* y)
{
    for (int j = thread_of(); j < N; j += THREADS) z[j] = x[j] + y[j];
}

// The bits are those of the element's number in the batch, see `dropout`.
template <int N, typename T>
__device__ void dropout_row(
    T* y, const T* x, Index row, Index begin, unsigned low, unsigned high, Index step, unsigned below, T factor)
{
    for (int j = thread_of(); j < N; j += THREADS) {
        Index number = begin + row * N + j;
        unsigned words[] = {unsigned(number / 4), 0, unsigned(step), 0};
        philox(words, low, high);
        unsigned word = number % 4 < 2 ? (number % 4 ? words[1] : words[0]) : number % 4 < 3 ? words[2] : words[3];
        y[j] = word < below ? T(0) : x[j] * factor;
    }
}

template <int N, typename T> __device__ void one_hot_row(T* targets, Index label)
{
    for (int j = thread_of(); j < N; j += THREADS) targets[j] = N > 1 ? T(label == j) : T(label);
}

template <int N, typename T> __device__ void smooth_labels_row(T* smoothed, const T* targets, T kept, T added)
{
    for (int j = thread_of(); j < N; j += THREADS) smoothed[j] = targets[j] * kept + added;
}

// Rows whose elements need each other; `slots` has WARPS elements.

template <int N, typename T> __device__ T maximum_of(const T* z, T* slots)
{
    T top = log(T(0));  // minus infinity: a thread must read no element of another one
    for (int j = thread_of(); j < N; j += THREADS) top = larger(top, z[j]);
    return over_row<N, T, larger<T>>(top, slots);
}

// Writes exp(z - top) to e and returns its sum.
template <int N, typename T> __device__ T exponentials_of(T* e, const T* z, T top, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) sum += e[j] = exp(z[j] - top);
    return over_row<N, T, plus<T>>(sum, slots);
}

template <int N, typename T> __device__ void softmax_row(T* y, const T* z, T* slots)
{
    T total = exponentials_of<N>(y, z, maximum_of<N>(z, slots), slots);
    for (int j = thread_of(); j < N; j += THREADS) y[j] /= total;
}

template <int N, typename T> __device__ void softmax_backward_row(T* dz, const T* y, const T* dy, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) sum += dy[j] * y[j];
    sum = over_row<N, T, plus<T>>(sum, slots);
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = y[j] * (dy[j] - sum);
}

template <int N, typename T> __device__ void log_softmax_row(T* y, const T* z, T* slots)
{
    T top = maximum_of<N>(z, slots);
    T log_total = log(exponentials_of<N>(y, z, top, slots));
    for (int j = thread_of(); j < N; j += THREADS) y[j] = z[j] - top - log_total;
}

template <int N, typename T> __device__ void log_softmax_backward_row(T* dz, const T* y, const T* dy, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) sum += dy[j];
    sum = over_row<N, T, plus<T>>(sum, slots);
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = dy[j] - exp(y[j]) * sum;
}

// Losses: each writes the loss of a row, times its share, to `loss`, and the gradient, too.

template <int N, typename T>
__device__ void softmax_cross_entropy_row(T* d_logits, const T* logits, Index label, T share, T* loss, T* slots)
{
    T top = maximum_of<N>(logits, slots);
    T sum = exponentials_of<N>(d_logits, logits, top, slots);
    bool is_class = 0 <= label && label < N;
    for (int j = thread_of(); j < N; j += THREADS) {
        d_logits[j] = (d_logits[j] / sum - T(j == label)) * share;
        // A label that is no class has no column, as in the twin.
        if (j == (is_class ? label : 0)) __stcg(loss, share * (log(sum) - (is_class ? logits[j] - top : T(0))));
    }
}

template <int N, typename T>
__device__ void soft_cross_entropy_row(T* d_logits, const T* logits, const T* targets, T share, T* loss, T* slots)
{
    T top = maximum_of<N>(logits, slots);
    T sum = exponentials_of<N>(d_logits, logits, top, slots);
    T mine = 0, wanted = 0;
    for (int j = thread_of(); j < N; j += THREADS) {
        mine += targets[j] * (log(sum) - (logits[j] - top));
        wanted += targets[j];
    }
    mine = over_row<N, T, plus<T>>(mine, slots);
    wanted = over_row<N, T, plus<T>>(wanted, slots);
    for (int j = thread_of(); j < N; j += THREADS) d_logits[j] = share * (d_logits[j] / sum * wanted - targets[j]);
    if (thread_of() == 0) __stcg(loss, share * mine);
}

// A row has the mean of the losses of its elements.
template <int N, typename T, typename Error>
__device__ void error_row(
    Error error, T* d_outputs, const T* outputs, const T* targets, T share, T* loss, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) {
        T slope;
        sum += error(outputs[j], targets[j], slope);
        d_outputs[j] = share * (slope / T(N));
    }
    sum = over_row<N, T, plus<T>>(sum, slots);
    if (thread_of() == 0) __stcg(loss, share * (sum / T(N)));
}

// The sum of the weights of a batch.
template <typename T, typename Source> __device__ T whole_of(Source weights, T* slots)
{
    T sum = 0;
    for (int row = thread_of(); row < BATCH; row += THREADS) sum += weights.value(weights.template row<1>(row));
    return over_row<THREADS + WARP, T, plus<T>>(sum, slots);
}

// The share of a row in the mean by weight; 0 if all weights are 0.
template <typename T> __device__ T share_of(T weight, T whole) { return weight / (whole > 0 ? whole : T(1)); }

// Adds the losses of the rows, each with its share, to a total.
template <typename T> __device__ void add_losses(T* total, const T* losses, T weight)
{
    if (warp_of() > 0) return;
    T sum = 0;
    for (int row = lane_of(); row < BATCH; row += WARP) sum += __ldcg(losses + row);
    sum = over_warp<T, plus<T>>(sum);
    if (lane_of() == 0) *total += weight * sum;
}

// Tiles of parameters

// A parameter of HEIGHT x WIDTH as tiles of R x C.
template <int HEIGHT, int WIDTH, int R, int C> struct Tiles {
    static constexpr int ACROSS = ceiling(WIDTH, C), SIZE = R * C;
    int top, left;
    __device__ explicit Tiles(int tile) : top(tile / ACROSS * R), left(tile % ACROSS * C) {}
    __device__ bool has(int e) const { return top + e / C < HEIGHT && left + e % C < WIDTH; }
    __device__ Index place(int e) const { return static_cast<Index>(top + e / C) * WIDTH + left + e % C; }
};

template <typename Tile, typename T> __device__ void load_tile(Tile tile, T* kept, const T* from)
{
    for (int e = thread_of(); e < Tile::SIZE; e += THREADS) kept[e] = tile.has(e) ? __ldcg(from + tile.place(e)) : T(0);
}

template <typename Tile, typename T> __device__ void save_tile(Tile tile, const T* kept, T* to)
{
    for (int e = thread_of(); e < Tile::SIZE; e += THREADS) {
        if (tile.has(e)) __stcg(to + tile.place(e), kept[e]);
    }
}

// Rows of the batch whose inputs are in shared memory at once.
constexpr int SAMPLES = BATCH < 128 ? BATCH : 128;

template <int HEIGHT, int R, typename T, typename Source>
__device__ void stage_inputs(T* inputs, Source source, int top, int begin)
{
#pragma unroll 4
    for (int e = thread_of(); e < SAMPLES * R; e += THREADS) {
        const int row = begin + e / R, k = top + e % R;
        inputs[e] = row < BATCH && k < HEIGHT ? source.value(source.template row<HEIGHT>(row) + k) : T(0);
    }
}

// Gradients at the output of a layer that a lane has at once: rows of the batch that are SPLITS apart.
template <typename T, int WIDTH, int PACK, int SPLITS> struct Slopes {
    static constexpr int TURNS = ceiling(SAMPLES, SPLITS), COUNT = TURNS < IN_FLIGHT ? TURNS : IN_FLIGHT;
    Pack<T, PACK> at[COUNT];

    // Loads those of row `first`, of the SAMPLES from `begin` on, and others; 0 where there is no row.
    __device__ void load(const T* dy, int begin, int first, int column)
    {
#pragma unroll
        for (int q = 0; q < COUNT; ++q) {
            const int row = first + q * SPLITS;
            at[q] = {};
            if (row < SAMPLES && begin + row < BATCH && column < WIDTH) {
                at[q] = fetch<PACK>(dy + static_cast<Index>(begin + row) * WIDTH + column);
            }
        }
    }

    // Adds products with the inputs to the sums of a lane.
    template <int R> __device__ void add(T (&sums)[R][PACK], const T* inputs, int first) const
    {
#pragma unroll
        for (int q = 0; q < COUNT; ++q) {
            const T* x = inputs + min(first + q * SPLITS, SAMPLES - 1) * R;
#pragma unroll
            for (int r = 0; r < R; ++r) {
#pragma unroll
                for (int c = 0; c < PACK; ++c) sums[r][c] += x[r] * at[q].at[c];
            }
        }
    }
};

// Steps a tile of a parameter. IS_KEPT: the tile, and its states in the rule, are in shared memory; IS_STAGED: so are
// its inputs.
template <bool IS_KEPT, bool IS_STAGED, int HEIGHT, int WIDTH, int R, int C, typename T, typename Source, typename Rule>
__device__ void step_tile(int number, T* param, T* kept, Rule rule, Source source, const T* dy, T* inputs, T* parts)
{
    constexpr int PACK = WIDTH % 2 || C % 2 ? 1 : 2, LANES = power_of_two(C / PACK, WARP), SPLITS = WARPS * (WARP / LANES);
    const Tiles<HEIGHT, WIDTH, R, C> tile(number);
    const int lane = lane_of(), column = lane % LANES * PACK, split = warp_of() * (WARP / LANES) + lane / LANES;
    const int left = column < C ? tile.left + column : WIDTH;
    T sums[R][PACK] = {};
    for (int begin = 0; begin < BATCH; begin += SAMPLES) {
        Slopes<T, WIDTH, PACK, SPLITS> slopes;
        slopes.load(dy, begin, split, left);
        if (begin > 0) __syncthreads();
        if (!IS_STAGED) stage_inputs<HEIGHT, R>(inputs, source, tile.top, begin);
        if (!IS_STAGED) __syncthreads();
        slopes.add(sums, inputs, split);
        for (int first = split + slopes.COUNT * SPLITS; first < SAMPLES; first += slopes.COUNT * SPLITS) {
            slopes.load(dy, begin, first, left);
            slopes.add(sums, inputs, first);
        }
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < PACK; ++c) {
            for (int other = LANES; other < WARP; other *= 2) {
                sums[r][c] += __shfl_xor_sync(~0u, sums[r][c], other);
            }
            if (lane < LANES && column < C) parts[warp_of() * R * C + r * C + column + c] = sums[r][c];
        }
    }
    __syncthreads();
    for (int e = thread_of(); e < R * C; e += THREADS) {
        if (!tile.has(e)) continue;
        T gradient = parts[e];
#pragma unroll
        for (int w = 1; w < WARPS; ++w) gradient += parts[w * R * C + e];
        const Index at = tile.place(e);
        rule(IS_KEPT ? kept : param, IS_KEPT ? e : at, gradient);
        if (IS_KEPT) __stcg(param + at, kept[e]);
    }
}
