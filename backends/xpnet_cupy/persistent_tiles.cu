// The second stage of persistent kernels, by tiles of parameters: see persistent.cu.

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
    for (int e = thread_of(); e < Tile::SIZE; e += THREADS) {
        kept[e] = tile.has(e) ? __ldcg(from + tile.place(e)) : T(0);
    }
}

template <typename Tile, typename T> __device__ void save_tile(Tile tile, const T* kept, T* to)
{
    for (int e = thread_of(); e < Tile::SIZE; e += THREADS) {
        if (tile.has(e)) __stcg(to + tile.place(e), kept[e]);
    }
}

// Rows of the batch whose inputs are in shared memory at once.
constexpr int SAMPLES = BATCH < 128 ? BATCH : 128;

// The inputs of R rows of a parameter are loaded by packs.
template <typename T, int R> struct Inputs {
    static constexpr int PACK = R > 2 ? 16 / sizeof(T) : R, WIDTH = ceiling(R, PACK) * PACK;
};

template <int HEIGHT, int R, typename T, typename Source>
__device__ void stage_inputs(T* inputs, Source source, int top, int begin)
{
#pragma unroll 4
    for (int e = thread_of(); e < SAMPLES * R; e += THREADS) {
        const int row = begin + e / R, k = top + e % R;
        const bool has = row < BATCH && k < HEIGHT;
        T x = has ? source.value(source.template row<HEIGHT>(row) + k) : T(0);
        inputs[e / R * Inputs<T, R>::WIDTH + e % R] = x;
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
            using Own = Inputs<T, R>;
            const T* from = inputs + min(first + q * SPLITS, SAMPLES - 1) * Own::WIDTH;
            Pack<T, Own::PACK> x[Own::WIDTH / Own::PACK];
#pragma unroll
            for (int r = 0; r < Own::WIDTH; r += Own::PACK) {
                x[r / Own::PACK] = *reinterpret_cast<const Pack<T, Own::PACK>*>(from + r);
            }
#pragma unroll
            for (int r = 0; r < R; ++r) {
#pragma unroll
                for (int c = 0; c < PACK; ++c) sums[r][c] += x[r / Own::PACK].at[r % Own::PACK] * at[q].at[c];
            }
        }
    }
};

// Steps a tile of a parameter. IS_KEPT: the tile, and its states in the rule, are in shared memory; IS_STAGED: so are
// its inputs.
template <
    bool IS_KEPT, bool IS_STAGED, int HEIGHT, int WIDTH, int R, int C, typename T, typename Source, typename Rule>
__device__ void step_tile(int number, T* param, T* kept, Rule rule, Source source, const T* dy, T* inputs, T* parts)
{
    constexpr int PACK = WIDTH % 2 || C % 2 ? 1 : 2, LANES = power_of_two(C / PACK, WARP);
    constexpr int SPLITS = WARPS * (WARP / LANES);
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
        Pack<T, PACK> sum;
#pragma unroll
        for (int c = 0; c < PACK; ++c) {
            for (int other = LANES; other < WARP; other *= 2) {
                sums[r][c] += __shfl_xor_sync(~0u, sums[r][c], other);
            }
            sum.at[c] = sums[r][c];
        }
        T* to = parts + warp_of() * R * C + r * C + column;
        if (lane < LANES && column < C) *reinterpret_cast<Pack<T, PACK>*>(to) = sum;
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
