// Matrix products so small that starting a kernel takes most of the time: so the same kernel does the tail of a
// layer, or the step of its parameters.

// Which number of the result a thread computes: the one at i, j of the tile that begins at `top`, `left`.
struct Element {
    Index top, left;
    int i, j, split;
    __device__ explicit Element(Index columns)
        : top(blockIdx.x / tiles(columns) * TILE), left(blockIdx.x % tiles(columns) * TILE),
          i(threadIdx.x / TILE % TILE), j(threadIdx.x % TILE), split(threadIdx.x / (TILE * TILE))
    {
    }
    static __device__ Index tiles(Index n) { return (n + TILE - 1) / TILE; }
    __device__ Index row() const { return top + i; }
    __device__ Index column() const { return left + j; }
};

struct Same {
    template <typename T> __device__ T operator()(T number) const { return number; }
};

// Returns to the threads of split 0 the sum over k < inner of a(row, k) * b(k, column), which are 0 outside.
// Neighbouring threads fetch neighbours in memory: along k if A_BY_K, or B_BY_K, else across. `number` is what
// becomes of an a(row, k) when it has been loaded.
template <typename T, bool A_BY_K, bool B_BY_K, typename A, typename B, typename Number = Same>
__device__ T product(Element at, Index inner, A a, B b, Number number = {})
{
    constexpr int SPLITS = MAX_THREADS / (TILE * TILE);  // threads per number of the result
    constexpr int LOADS = TILE * DEPTH / MAX_THREADS;    // numbers of a factor that a thread fetches at once
    __shared__ T rows[TILE][DEPTH + 1], columns[DEPTH][TILE + 1], sums[MAX_THREADS];
    decltype(a(0, 0)) from_a[LOADS];
    T from_b[LOADS];
    auto along = [](int e, bool by_k) { return by_k ? e % DEPTH : e / TILE; };
    auto across = [](int e, bool by_k) { return by_k ? e / DEPTH : e % TILE; };
    auto fetch = [&](Index begin) {
        for (int q = 0; q < LOADS; ++q) {
            int e = threadIdx.x + q * MAX_THREADS;
            Index k = begin + along(e, A_BY_K), l = begin + along(e, B_BY_K);
            from_a[q] = k < inner ? a(at.top + across(e, A_BY_K), k) : 0;
            from_b[q] = l < inner ? b(l, at.left + across(e, B_BY_K)) : T(0);
        }
    };
    T sum = 0;
    fetch(0);
    for (Index begin = 0; begin < inner; begin += DEPTH) {
        for (int q = 0; q < LOADS; ++q) {
            int e = threadIdx.x + q * MAX_THREADS;
            rows[across(e, A_BY_K)][along(e, A_BY_K)] = number(from_a[q]);
            columns[along(e, B_BY_K)][across(e, B_BY_K)] = from_b[q];
        }
        __syncthreads();
        fetch(begin + DEPTH);  // in flight while the sums below are formed
        for (int k = at.split; k < DEPTH; k += SPLITS) sum += rows[at.i][k] * columns[k][at.j];
        __syncthreads();
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (at.split > 0) return T(0);
    for (int s = 1; s < SPLITS; ++s) sum += sums[threadIdx.x + s * TILE * TILE];
    return sum;
}

// The sums below are functions of their own, so that they are compiled once for all activations and rules.

template <typename T>
__device__ T forward_sum(Element at, const T* x, const T* weight, Index batch, Index n_in, Index n_out)
{
    return product<T, true, false>(
        at, n_in, [=](Index i, Index k) { return i < batch ? x[i * n_in + k] : T(0); },
        [=](Index k, Index j) { return j < n_out ? weight[k * n_out + j] : T(0); });
}

template <typename F, typename T>
__device__ void finish_element(Element at, T sum, const T* bias, T* z, T* y, Index batch, Index n_out)
{
    if (at.split > 0 || at.row() >= batch || at.column() >= n_out) return;
    finish_layer<F>(sum + bias[at.column()], z, y, at.row() * n_out + at.column());
}

template <typename F, typename T>
__global__ void linear(
    const T* x, const T* weight, const T* bias, T* z, T* y, Index batch, Index n_in, Index n_out)
{
    Element at(n_out);
    finish_element<F>(at, forward_sum(at, x, weight, batch, n_in, n_out), bias, z, y, batch, n_out);
}

// What a thread loads at once.
template <typename T> struct alignas(16) Piece {
    static constexpr int SIZE = 16 / sizeof(T);
    T numbers[SIZE];
};

// Loads a piece of which so many numbers are there; the others are 0.
template <typename T> __device__ Piece<T> piece_of(const T* from, Index there, bool is_whole)
{
    if (is_whole) return there > 0 ? *reinterpret_cast<const Piece<T>*>(from) : Piece<T>{};
    Piece<T> piece;
    for (int e = 0; e < Piece<T>::SIZE; ++e) piece.numbers[e] = e < there ? from[e] : T(0);
    return piece;
}

// Adds up numbers over lanes that are APART, APART / 2, ... LAST from each other, half as many each time: then a
// lane has COUNT / (2 * APART / LAST) of the sums, the first lanes the first ones.
template <int COUNT, int APART, int LAST, typename T> __device__ void add_up(T* numbers)
{
    constexpr int HALF = COUNT / 2;
    bool is_upper = threadIdx.x & APART;
    for (int e = 0; e < HALF; ++e) {
        T given = is_upper ? numbers[e] : numbers[e + HALF], kept = is_upper ? numbers[e + HALF] : numbers[e];
        numbers[e] = kept + __shfl_xor_sync(~0u, given, APART);
    }
    if constexpr (APART > LAST) add_up<HALF, APART / 2, LAST>(numbers);
}

// A layer of many inputs: the threads of a block divide these among themselves, each for a piece of each row of the
// tile, and add up at the end. So all is loaded once, in few waits and without shared memory.
template <typename T, typename X>
__device__ T forward_sum_of_many(Element at, X x, const T* weight, Index batch, Index n_in, Index n_out)
{
    constexpr int SIZE = Piece<T>::SIZE, ACROSS = TILE / SIZE, APART = MAX_THREADS / ACROSS;
    constexpr int EACH = TILE * TILE / WARP;  // numbers of the tile that a lane has at the end
    __shared__ T sums[MAX_THREADS / WARP][TILE * TILE];
    int lane = threadIdx.x % WARP, j = lane % ACROSS * SIZE;
    Index left = at.left + j;
    bool is_whole = n_out % SIZE == 0 && reinterpret_cast<unsigned long long>(weight) % sizeof(Piece<T>) == 0;
    Index places[TILE];
    for (int i = 0; i < TILE; ++i) places[i] = x.place(at.top + i < batch ? at.top + i : batch - 1) * n_in;
    T mine[TILE * SIZE] = {};
    for (Index begin = threadIdx.x / ACROSS; begin < n_in; begin += AHEAD * APART) {
        typename X::Raw from_x[AHEAD][TILE];
        Piece<T> from_weight[AHEAD];
        for (int q = 0; q < AHEAD; ++q) {
            Index k = begin + q * APART;
            for (int i = 0; i < TILE; ++i) from_x[q][i] = k < n_in ? x.raw(places[i] + k) : 0;
        }
        for (int q = 0; q < AHEAD; ++q) {
            Index k = begin + q * APART;
            from_weight[q] = piece_of(weight + k * n_out + left, k < n_in ? n_out - left : 0, is_whole);
        }
        for (int q = 0; q < AHEAD; ++q) {
            for (int i = 0; i < TILE; ++i) {
                T number = x.number(from_x[q][i]);
                for (int e = 0; e < SIZE; ++e) mine[i * SIZE + e] += number * from_weight[q].numbers[e];
            }
        }
    }
    add_up<TILE * SIZE, WARP / 2, ACROSS>(mine);
    for (int e = 0; e < EACH; ++e) {
        int number = lane / ACROSS * EACH + e;
        sums[threadIdx.x / WARP][number / SIZE * TILE + j + number % SIZE] = mine[e];
    }
    __syncthreads();
    T sum = 0;
    if (at.split > 0) return sum;
    for (int warp = 0; warp < MAX_THREADS / WARP; ++warp) sum += sums[warp][threadIdx.x];
    return sum;
}

template <typename F, typename T>
__global__ void linear_of_many_inputs(
    const T* x, const T* weight, const T* bias, T* z, T* y, Index batch, Index n_in, Index n_out)
{
    Element at(n_out);
    T sum = forward_sum_of_many(at, Rows<T>{x}, weight, batch, n_in, n_out);
    finish_element<F>(at, sum, bias, z, y, batch, n_out);
}

template <typename F, typename T>
__global__ void linear_of_stored(
    const unsigned char* images, const int* indices, Index n, T scale, T offset, const T* weight,
    const T* bias, T* z, T* y, Index batch, Index n_in, Index n_out)
{
    Element at(n_out);
    T sum = forward_sum_of_many(at, Stored<T>{images, indices, n, scale, offset}, weight, batch, n_in, n_out);
    finish_element<F>(at, sum, bias, z, y, batch, n_out);
}

template <typename T>
__device__ T backward_sum(Element at, const T* dy, const T* weight, Index batch, Index n_in, Index n_out)
{
    return product<T, true, true>(
        at, n_out, [=](Index i, Index k) { return i < batch ? dy[i * n_out + k] : T(0); },
        [=](Index k, Index j) { return j < n_in ? weight[j * n_out + k] : T(0); });
}

// The gradient at the argument of F, whose result is the layer's input.
template <typename F, typename T>
__global__ void linear_backward(
    const T* dy, const T* weight, const T* kept, T* dz, Index batch, Index n_in, Index n_out)
{
    Element at(n_in);
    T dx = backward_sum(at, dy, weight, batch, n_in, n_out);
    if (at.split > 0 || at.row() >= batch || at.column() >= n_in) return;
    Index i = at.row() * n_in + at.column();
    dz[i] = F::backward(kept[i], dx);
}

// The gradient of a weight and of a bias, which is row n_in of the weight, whose inputs are 1.
template <typename T, typename X>
__device__ T gradient_sum(Element at, X x, const T* dy, Index batch, Index n_in, Index n_out)
{
    return product<T, false, false>(
        at, batch, [=](Index i, Index k) { return i < n_in ? x.raw(x.place(k) * n_in + i) : x.one(); },
        [=](Index k, Index j) { return j < n_out ? dy[k * n_out + j] : T(0); },
        [=](typename X::Raw raw) { return x.number(raw); });
}

template <template <typename> class Rule, typename T>
__device__ void step_element(
    Element at, T g, Index n_in, Index n_out, T* weight, T* bias, const Rule<T>& on_weight,
    const Rule<T>& on_bias)
{
    if (at.split > 0 || at.row() > n_in || at.column() >= n_out) return;
    if (at.row() < n_in) on_weight(weight, at.row() * n_out + at.column(), g);
    else on_bias(bias, at.column(), g);
}

template <template <typename> class Rule, typename T>
__global__ void linear_step(
    const T* x, const T* dy, Index batch, Index n_in, Index n_out, T* weight, T* bias,
    Rule<T> on_weight, Rule<T> on_bias)
{
    Element at(n_out);
    T g = gradient_sum(at, Rows<T>{x}, dy, batch, n_in, n_out);
    step_element(at, g, n_in, n_out, weight, bias, on_weight, on_bias);
}

template <template <typename> class Rule, typename T>
__global__ void linear_step_of_stored(
    const unsigned char* images, const int* indices, Index n, T scale, T offset, const T* dy, Index batch,
    Index n_in, Index n_out, T* weight, T* bias, Rule<T> on_weight, Rule<T> on_bias)
{
    Element at(n_out);
    T g = gradient_sum(at, Stored<T>{images, indices, n, scale, offset}, dy, batch, n_in, n_out);
    step_element(at, g, n_in, n_out, weight, bias, on_weight, on_bias);
}

// Steps of a weight and a bias after a product of cuBLAS: of the weight by a gradient in memory, of the bias by the
// rows of dy, which the first blocks add up, each for TILE columns. The other blocks have the weight.
template <template <typename> class Rule, typename T>
__global__ void step_by_gradient(
    const T* d_weight, Index n, const T* dy, Index batch, Index n_out, T* weight, T* bias, Rule<T> on_weight,
    Rule<T> on_bias)
{
    constexpr int APART = MAX_THREADS / TILE;  // threads that divide the rows of a column
    __shared__ T sums[MAX_THREADS];
    Index blocks = Element::tiles(n_out);
    if (blockIdx.x >= blocks) {
        Index i = (blockIdx.x - blocks) * MAX_THREADS + threadIdx.x;
        for (; i < n; i += (gridDim.x - blocks) * MAX_THREADS) on_weight(weight, i, d_weight[i]);
        return;
    }
    Index j = blockIdx.x * static_cast<Index>(TILE) + threadIdx.x % TILE;
    T sum = 0;
    if (j < n_out) {
        Index begin = threadIdx.x / TILE * n_out;
        each_number(dy + j, begin, APART * n_out, batch * n_out, [&](Index, T g) { sum += g; });
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= TILE || j >= n_out) return;
    for (int from = threadIdx.x + TILE; from < MAX_THREADS; from += TILE) sum += sums[from];
    on_bias(bias, j, sum);
}
