// The kernels of the backend cupy, each with the values of its twin in xpnet/nn; those of images are in the files
// beside this one, which use what is here.
//
// CuPy compiles each kernel with NVRTC at its first use; the tests compile all files for the host too, so they
// include nothing. launch.py defines MAX_THREADS, TILE and DEPTH and chooses the grids:
// - an elementwise function strides over n numbers with as many blocks as the device holds;
// - a function of rows has one block per row, with a power of two of threads; a loss, some threads of a warp;
// - a matrix product has one block of MAX_THREADS per tile of its result.
// No two threads add to one number, so the same arguments give the same bits.
//
// source.py reads from these files which kernels there are and what they are templates of: T is a floating-point
// type, S the type of stored images, I that of labels and indices, N any of T and I, F an activation, Rule an
// optimizer's rule.
// An activation, or a rule, is a struct with the name of the function of xpnet.nn: `Relu` for relu, `Sgd` for
// sgd_step.

using Index = long long;  // A set of images can hold more than 2^31 numbers.

__device__ Index first() { return blockIdx.x * static_cast<Index>(blockDim.x) + threadIdx.x; }
__device__ Index stride() { return gridDim.x * static_cast<Index>(blockDim.x); }

template <typename T> __device__ T plus(T a, T b) { return a + b; }

// As xp.maximum has it: a nan on either side is the result.
template <typename T> __device__ T larger(T a, T b) { return a > b || a != a ? a : b; }

// Combines one number of each of `lanes` neighbours, a power of two within a warp, and returns the result to them.
// All threads of the warp must call it.
template <typename T, T (*op)(T, T)> __device__ T over_lanes(T mine, int lanes)
{
    for (int apart = lanes / 2; apart > 0; apart /= 2) mine = op(mine, __shfl_xor_sync(~0u, mine, apart));
    return mine;
}

// Combines one number of each thread and returns the result to all of them.
template <typename T, T (*op)(T, T)> __device__ T over_block(T mine)
{
    __shared__ T slots[MAX_THREADS];
    slots[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x < WARP) {
        // Each thread reads only what it wrote itself, until one number of each is left.
        for (unsigned half = blockDim.x / 2; half >= WARP; half /= 2) {
            for (unsigned i = threadIdx.x; i < half; i += WARP) slots[i] = op(slots[i], slots[i + half]);
        }
        mine = over_lanes<T, op>(slots[threadIdx.x], WARP);
        if (threadIdx.x == 0) slots[0] = mine;
    }
    __syncthreads();
    T result = slots[0];
    __syncthreads();  // Otherwise a fast thread's next call overwrites what a slow one has yet to read.
    return result;
}

template <typename T> __device__ T row_maximum(const T* z, Index classes)
{
    T top = z[0];
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) top = larger(top, z[k]);
    return over_block<T, larger<T>>(top);
}

// Writes exp(z - top), which cannot overflow, to e; returns its sum.
template <typename T> __device__ T row_exponentials(const T* z, T* e, T top, Index classes)
{
    T sum = 0;
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) sum += e[k] = exp(z[k] - top);
    return over_block<T, plus<T>>(sum);
}

template <typename T> __device__ T sigmoid_of(T z)
{
    T e = exp(-fabs(z));
    T y = 1 / (1 + e);
    return z >= 0 ? y : e * y;
}

template <typename T> __device__ T square(T x) { return x * x; }

// Activations: `of` is the function, `backward` its gradient. `kept` is what the gradient needs: the result of
// the function, or its argument if the declaration in xpnet.nn says so.

struct Identity {
    template <typename T> static __device__ T of(T z) { return z; }
    template <typename T> static __device__ T backward(T, T dy) { return dy; }
};

struct Sigmoid {
    template <typename T> static __device__ T of(T z) { return sigmoid_of(z); }
    template <typename T> static __device__ T backward(T y, T dy) { return dy * y * (1 - y); }
};

struct Relu {
    template <typename T> static __device__ T of(T z) { return larger(z, T(0)); }
    template <typename T> static __device__ T backward(T y, T dy) { return y > 0 ? dy : T(0); }
};

struct Tanh {
    template <typename T> static __device__ T of(T z) { return tanh(z); }
    template <typename T> static __device__ T backward(T y, T dy) { return dy * (1 - y * y); }
};

struct Gelu {
    // z s(z), where s is near the normal CDF. The constants are those of xpnet/nn/activations.py.
    template <typename T> static __device__ T bounded(T z) { return z < -32 ? T(-32) : z > 32 ? T(32) : z; }
    template <typename T> static __device__ T cdf(T z)
    {
        return sigmoid_of(z * (T(1.5957691216057308) + T(0.07135481627260025) * z * z));
    }
    template <typename T> static __device__ T of(T z) { return z * cdf(bounded(z)); }
    template <typename T> static __device__ T backward(T kept, T dy)
    {
        T z = bounded(kept), s = cdf(z);
        return dy * s * (1 + z * (1 - s) * (T(1.5957691216057308) + 3 * T(0.07135481627260025) * z * z));
    }
};

struct Silu {
    template <typename T> static __device__ T of(T z) { return z * sigmoid_of(z); }
    template <typename T> static __device__ T backward(T z, T dy)
    {
        T s = sigmoid_of(z);
        T bounded = z < -1000 ? T(-1000) : z > 1000 ? T(1000) : z;
        return dy * s * (1 + bounded * (1 - s));
    }
};

template <typename F, typename T> __global__ void activate(const T* z, T* y, Index n)
{
    for (Index i = first(); i < n; i += stride()) y[i] = F::of(z[i]);
}

template <typename F, typename T> __global__ void activate_backward(const T* kept, const T* dy, T* dz, Index n)
{
    for (Index i = first(); i < n; i += stride()) dz[i] = F::backward(kept[i], dy[i]);
}

template <typename T> __global__ void leaky_relu(const T* z, T* y, Index n, T slope)
{
    for (Index i = first(); i < n; i += stride()) y[i] = z[i] > 0 ? z[i] : slope * z[i];
}

template <typename T> __global__ void leaky_relu_backward(const T* z, const T* dy, T* dz, Index n, T slope)
{
    for (Index i = first(); i < n; i += stride()) dz[i] = z[i] > 0 ? dy[i] : slope * dy[i];
}

template <typename T> __global__ void add(const T* x, const T* y, T* z, Index n)
{
    for (Index i = first(); i < n; i += stride()) z[i] = x[i] + y[i];
}

// Writes element i of the result of a linear layer with an activation; `z`, its argument, may be null.
template <typename F, typename T> __device__ void finish_layer(T sum, T* z, T* y, Index i)
{
    if (z) z[i] = sum;
    y[i] = F::of(sum);
}

// The tail of a linear layer whose product is cuBLAS's; `z` or `y` may be the product itself.
template <typename F, typename T>
__global__ void add_bias(const T* product, const T* bias, T* z, T* y, Index n, Index columns)
{
    for (Index i = first(); i < n; i += stride()) finish_layer<F>(product[i] + bias[i % columns], z, y, i);
}

// Activations of rows

template <typename T> __global__ void softmax(const T* z, T* y, Index classes)
{
    z += blockIdx.x * classes;
    y += blockIdx.x * classes;
    T total = row_exponentials(z, y, row_maximum(z, classes), classes);
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) y[k] /= total;
}

template <typename T> __global__ void softmax_backward(const T* y, const T* dy, T* dz, Index classes)
{
    y += blockIdx.x * classes;
    dy += blockIdx.x * classes;
    dz += blockIdx.x * classes;
    T sum = 0;
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) sum += dy[k] * y[k];
    sum = over_block<T, plus<T>>(sum);
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) dz[k] = y[k] * (dy[k] - sum);
}

template <typename T> __global__ void log_softmax(const T* z, T* y, Index classes)
{
    z += blockIdx.x * classes;
    y += blockIdx.x * classes;
    T top = row_maximum(z, classes);
    T log_total = log(row_exponentials(z, y, top, classes));
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) y[k] = z[k] - top - log_total;
}

template <typename T> __global__ void log_softmax_backward(const T* y, const T* dy, T* dz, Index classes)
{
    y += blockIdx.x * classes;
    dy += blockIdx.x * classes;
    dz += blockIdx.x * classes;
    T sum = 0;
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) sum += dy[k];
    sum = over_block<T, plus<T>>(sum);
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) dz[k] = dy[k] - exp(y[k]) * sum;
}

// Losses: each block leaves a part of the sum; the last one forms the mean. Most have one block, which leaves none.

// Whether all other blocks have been here before this one; `arrived` is then 0 again.
__device__ bool is_last(unsigned* arrived)
{
    __shared__ bool last;
    if (threadIdx.x == 0) {
        __threadfence();  // Whoever sees that a block has arrived sees its part of the sum too.
        last = atomicAdd(arrived, 1u) == gridDim.x - 1;
        if (last) *arrived = 0;
        __threadfence();
    }
    __syncthreads();
    return last;
}

// What a mean is added to, or nothing: the first thread reads it before the work, so as not to wait for it after.
template <typename T> struct Total {
    T* at;
    T before;
    __device__ explicit Total(T* const* total)
        : at(total && threadIdx.x == 0 ? *total : nullptr), before(at ? *at : T(0))
    {
    }
};

// Writes the mean over n numbers, given the sum of each thread; `weight` times that is added to a total.
template <typename T>
__device__ void finish(T mine, T* parts, Index n, unsigned* arrived, T* loss, Total<T> total, T weight)
{
    T sum = over_block<T, plus<T>>(mine);
    if (gridDim.x > 1) {
        if (threadIdx.x == 0) parts[blockIdx.x] = sum;
        if (!is_last(arrived)) return;
        sum = 0;
        for (Index i = threadIdx.x; i < gridDim.x; i += blockDim.x) sum += static_cast<volatile T*>(parts)[i];
        sum = over_block<T, plus<T>>(sum);
    }
    if (threadIdx.x > 0) return;
    *loss = sum / T(n);
    if (total.at) *total.at = total.before + weight * *loss;
}

// Calls f with the place k of every number of a thread, and the number: those at `begin`, `begin + apart` and so
// on, below n. AT_ONCE are loaded together, so that a thread waits for memory once.
template <typename T, typename F> __device__ void each_number(const T* x, Index begin, Index apart, Index n, F f)
{
    for (; begin < n; begin += AT_ONCE * apart) {
        T numbers[AT_ONCE];
        for (int s = 0; s < AT_ONCE; ++s) numbers[s] = begin + s * apart < n ? x[begin + s * apart] : T(0);
        for (int s = 0; s < AT_ONCE; ++s) {
            if (begin + s * apart < n) f(begin + s * apart, numbers[s]);
        }
    }
}

// The same with the numbers of two arrays.
template <typename T, typename F>
__device__ void each_pair(const T* x, const T* y, Index begin, Index apart, Index n, F f)
{
    for (; begin < n; begin += AT_ONCE * apart) {
        T of_x[AT_ONCE], of_y[AT_ONCE];
        for (int s = 0; s < AT_ONCE; ++s) {
            bool is_inside = begin + s * apart < n;
            of_x[s] = is_inside ? x[begin + s * apart] : T(0);
            of_y[s] = is_inside ? y[begin + s * apart] : T(0);
        }
        for (int s = 0; s < AT_ONCE; ++s) {
            if (begin + s * apart < n) f(begin + s * apart, of_x[s], of_y[s]);
        }
    }
}

// The threads that work on one row: `lanes` neighbours in a warp, a power of two, or the whole block.
struct Team {
    Index lanes, lane;
    __device__ explicit Team(Index lanes) : lanes(lanes), lane(threadIdx.x % lanes) {}
    template <typename T, T (*op)(T, T)> __device__ T over(T mine) const
    {
        return lanes > WARP ? over_block<T, op>(mine) : over_lanes<T, op>(mine, int(lanes));
    }
    template <typename T> __device__ T maximum(const T* z, Index classes) const
    {
        T top = z[0];
        each_number(z, lane, lanes, classes, [&](Index, T x) { top = larger(top, x); });
        return over<T, larger<T>>(top);
    }
    // The sum of exp(z - top), which cannot overflow.
    template <typename T> __device__ T exponentials(const T* z, T top, Index classes) const
    {
        T sum = 0;
        each_number(z, lane, lanes, classes, [&](Index, T x) { sum += exp(x - top); });
        return over<T, plus<T>>(sum);
    }
    // Calls f with each row of the team, and whether it counts: all teams of a block go through as many rows, so
    // some have the last one twice.
    template <typename F> __device__ void each_row(Index rows, F f) const
    {
        Index teams = blockDim.x / lanes;
        for (Index top = blockIdx.x * teams; top < rows; top += gridDim.x * teams) {
            Index row = top + threadIdx.x / lanes;
            f(row < rows ? row : rows - 1, row < rows);
        }
    }
};

template <typename T, typename I>
__global__ void softmax_cross_entropy(
    const T* logits, const I* labels, T* d_logits, Index rows, Index classes, Index lanes,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    Team team(lanes);
    Total<T> into(total);
    T mine = 0, batch = rows;
    team.each_row(rows, [&](Index row, bool counts) {
        const T* z = logits + row * classes;
        T* dz = d_logits + row * classes;
        Index label = labels[row];
        T top = team.maximum(z, classes), sum = team.exponentials(z, top, classes);
        if (!counts) return;
        // A label that is no class has no column, as in the twin.
        each_number(z, team.lane, team.lanes, classes, [&](Index k, T x) {
            if (k == label) mine -= x - top;
            dz[k] = (exp(x - top) / sum - T(k == label)) / batch;
        });
        if (team.lane == 0) mine += log(sum);
    });
    finish(mine, parts, rows, arrived, loss, into, weight);
}

template <typename T>
__global__ void sigmoid_cross_entropy(
    const T* logits, const T* targets, T* d_logits, Index n,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    Total<T> into(total);
    T sum = 0;
    each_pair(logits, targets, first(), stride(), n, [&](Index i, T z, T target) {
        sum += larger(z, T(0)) - z * target + log1p(exp(-fabs(z)));
        d_logits[i] = (sigmoid_of(z) - target) / T(n);
    });
    finish(sum, parts, n, arrived, loss, into, weight);
}

template <typename T>
__global__ void squared_error(
    const T* outputs, const T* targets, T* d_outputs, Index n,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    Total<T> into(total);
    T scale = T(2.0 / n), sum = 0;
    each_pair(outputs, targets, first(), stride(), n, [&](Index i, T output, T target) {
        T difference = output - target;
        sum += square(difference);
        d_outputs[i] = difference * scale;
    });
    finish(sum, parts, n, arrived, loss, into, weight);
}

template <typename T> __global__ void accumulate(const T* total, const T* value, T* result, T weight)
{
    *result = *total + weight * *value;
}

// A batch: one block per image

// The row, of n, that an index means; a negative one counts from the end. Out of range it is the nearest one: a
// kernel cannot raise an error and must not read past an array.
__device__ Index row_of(Index index, Index n)
{
    Index row = index < 0 ? index + n : index;
    return row < 0 ? 0 : row < n ? row : n - 1;
}

// The input of a layer, which is an array: row i begins at place(i) * width. What is loaded is raw, so that a thread
// can load more before it waits for a number; `one` is what becomes a 1.
template <typename T> struct Rows {
    using Raw = T;
    const T* x;
    __device__ Index place(Index i) const { return i; }
    __device__ Raw raw(Index at) const { return x[at]; }
    __device__ T number(Raw raw) const { return raw; }
    static __device__ Raw one() { return 1; }
};

// The same for images that are stored: rows at the indices of a batch, scaled where they are read.
template <typename T> struct Stored {
    using Raw = int;
    const unsigned char* images;
    const int* indices;
    Index n;
    T scale, offset;
    __device__ Index place(Index i) const { return row_of(indices[i], n); }
    __device__ Raw raw(Index at) const { return images[at]; }
    __device__ T number(Raw raw) const { return raw < 0 ? T(1) : T(raw) * scale + offset; }
    static __device__ Raw one() { return -1; }
};

template <typename S, typename T, typename I>
__global__ void gather_batch(
    const S* images, const I* indices, T* x, Index features, T scale, T offset, const I* labels, I* batch,
    Index n)
{
    Index image = row_of(indices[blockIdx.x], n);
    images += image * features;
    x += blockIdx.x * features;
    for (Index k = threadIdx.x; k < features; k += blockDim.x) x[k] = T(images[k]) * scale + offset;
    if (labels && threadIdx.x == 0) batch[blockIdx.x] = labels[image];
}

template <typename I>
__global__ void gather_labels(const I* labels, const I* indices, I* batch, Index size, Index n)
{
    for (Index i = first(); i < size; i += stride()) batch[i] = labels[row_of(indices[i], n)];
}

// Rows of 0 with a 1 at the label; for one class, the labels themselves.
template <typename T, typename I> __global__ void one_hot(const I* labels, T* targets, Index n, Index classes)
{
    for (Index i = first(); i < n; i += stride()) {
        Index label = labels[i / classes];
        targets[i] = classes > 1 ? T(label == i % classes) : T(label);
    }
}

// What differs from call to call of a captured step; one block. Each leaves the value for the next call.

template <typename N> __global__ void fetch(const N** address, N* copy, Index n)
{
    const N* from = *address;
    for (Index i = threadIdx.x; i < n; i += blockDim.x) copy[i] = from[i];
    __syncthreads();
    if (threadIdx.x == 0) *address = from + n;
}

// Fetches indices, and gathers their labels.
template <typename I>
__global__ void fetch_labels(const I** address, I* copy, Index size, const I* labels, I* batch, Index n)
{
    const I* from = *address;
    for (Index i = threadIdx.x; i < size; i += blockDim.x) {
        copy[i] = from[i];
        batch[i] = labels[row_of(from[i], n)];
    }
    __syncthreads();
    if (threadIdx.x == 0) *address = from + size;
}

template <typename T> __global__ void count(Index* steps, T* unbias, double beta1, double beta2)
{
    if (threadIdx.x > 0) return;
    unbias[0] = T(1 - pow(beta1, double(*steps)));
    unbias[1] = T(1 - pow(beta2, double(*steps)));
    ++*steps;
}

template <typename T> __global__ void pick(const T** address, T* number)
{
    if (threadIdx.x == 0) *number = *(*address)++;
}

template <typename I> __global__ void advance(I* cell, I* number)
{
    if (threadIdx.x == 0) *number = (*cell)++;
}

// Random numbers: Philox 4x32-10, see xpnet/nn/random.py. The words become the bits at the counter that they are.
__device__ void philox(unsigned* words, unsigned low, unsigned high)
{
    for (int round = 0; round < 10; ++round) {
        unsigned long long p = 0xD2511F53ull * words[0], q = 0xCD9E8D57ull * words[2];
        words[0] = unsigned(q >> 32) ^ words[1] ^ low;
        words[1] = unsigned(q);
        words[2] = unsigned(p >> 32) ^ words[3] ^ high;
        words[3] = unsigned(p);
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
}

// A thread has four elements; `begin` is the number of the first one of all. In a captured step, the number of the
// step is in `counted`, else that is null.
template <typename T>
__global__ void dropout(
    const T* x, T* y, Index n, unsigned low, unsigned high, const Index* counted, unsigned step,
    unsigned below, T factor, Index begin)
{
    if (counted) step = unsigned(*counted);
    Index before = begin % 4;
    for (Index block = first(); 4 * block < before + n; block += stride()) {
        unsigned words[] = {unsigned(begin / 4 + block), 0, step, 0};
        philox(words, low, high);
        for (Index i = 4 * block - before, j = 0; j < 4; ++i, ++j) {
            if (0 <= i && i < n) y[i] = words[j] < below ? T(0) : x[i] * factor;
        }
    }
}

// The norm of gradients: see xpnet/nn/clipping.py.

template <typename T>
__global__ void sum_of_squares(const T* x, Index n, T* parts, unsigned* arrived, T* total)
{
    T sum = 0;
    for (Index i = first(); i < n; i += stride()) sum += square(x[i]);
    finish(sum, parts, 1, arrived, total, Total<T>(nullptr), T(0));
}

template <typename T> __global__ void clip_by_norm(const T* x, const T* squares, T* y, Index n, T limit)
{
    T factor = limit / (sqrt(*squares) + T(1e-6));
    if (factor > 1) factor = 1;
    for (Index i = first(); i < n; i += stride()) y[i] = x[i] * factor;
}

// Optimizer rules: each changes element i of a parameter, and of its state, by a gradient. kernels.py fills a
// rule by the names of its fields: pointers to the state, the numbers of the twin, and for each `beta` and for
// `alpha` among these `rest`, 1 - beta, and `unbias`, 1 - beta**step, and for `weight_decay` `kept`, 1 - lr times
// that; all are rounded once, as in the twins.

// A number that may follow a schedule: in a captured step it is then on the device, by the kernel pick.
template <typename T> struct Number {
    T value;
    const T* at;  // null if `value` holds
    __device__ operator T() const { return at ? *at : value; }
};

// Without decay, a parameter stays as it is, and the product below may become one instruction with the difference.
template <typename T> __device__ void decay(T* param, Index i, T kept)
{
    if (kept != 1) param[i] *= kept;
}

template <typename T> struct Store {
    __device__ void operator()(T* d_param, Index i, T g) const { d_param[i] = g; }
};

template <typename T> struct Sgd {
    Number<T> lr, kept;
    __device__ void operator()(T* param, Index i, T g) const
    {
        decay<T>(param, i, kept);
        param[i] -= lr * g;
    }
};

template <typename T> struct SgdMomentum {
    T* velocity;
    Number<T> lr, share, kept;
    T momentum;
    __device__ void operator()(T* param, Index i, T g) const
    {
        decay<T>(param, i, kept);
        T v = momentum * velocity[i] + share * g;
        velocity[i] = v;
        param[i] -= lr * v;
    }
};

template <typename T> struct SgdNesterov {
    T* velocity;
    Number<T> lr, kept;
    T momentum;
    __device__ void operator()(T* param, Index i, T g) const
    {
        decay<T>(param, i, kept);
        T v = momentum * velocity[i] + g;
        velocity[i] = v;
        param[i] -= lr * (momentum * v + g);
    }
};

template <typename T> struct Rmsprop {
    T* variance;
    Number<T> lr, kept;
    T eps, alpha, rest;
    __device__ void operator()(T* param, Index i, T g) const
    {
        decay<T>(param, i, kept);
        T s = alpha * variance[i] + rest * square(g);
        variance[i] = s;
        param[i] -= lr * g / (sqrt(s) + eps);
    }
};

template <typename T> struct Momentum {
    T* velocity;
    Number<T> lr, kept;
    T beta, rest;
    __device__ void operator()(T* param, Index i, T g) const
    {
        decay<T>(param, i, kept);
        T v = beta * velocity[i] + rest * g;
        velocity[i] = v;
        param[i] -= lr * v;
    }
};

template <typename T> struct Nesterov {
    T* velocity;
    Number<T> lr, kept;
    T beta, rest;
    __device__ void operator()(T* param, Index i, T g) const
    {
        decay<T>(param, i, kept);
        T v = beta * velocity[i] + rest * g;
        velocity[i] = v;
        param[i] -= lr * (beta * v + rest * g);
    }
};

template <typename T> struct Adam {
    T *mean, *variance;
    const T* counted;  // in a captured step, both `unbias`, by the kernel count; else null
    Number<T> lr;
    T eps, beta1, rest1, unbias1, beta2, rest2, unbias2;
    __device__ void operator()(T* param, Index i, T g) const
    {
        T m = beta1 * mean[i] + rest1 * g;
        T v = beta2 * variance[i] + rest2 * square(g);
        mean[i] = m;
        variance[i] = v;
        T unbiased_mean = m / (counted ? counted[0] : unbias1);
        T unbiased_variance = v / (counted ? counted[1] : unbias2);
        param[i] -= lr * unbiased_mean / (sqrt(unbiased_variance) + eps);
    }
};

template <typename T> struct Adamw {
    T *mean, *variance;
    const T* counted;
    Number<T> lr;
    T eps, beta1, rest1, unbias1, beta2, rest2, unbias2, weight_decay;
    __device__ void operator()(T* param, Index i, T g) const
    {
        param[i] *= 1 - lr * weight_decay;
        Adam<T>{mean, variance, counted, lr, eps, beta1, rest1, unbias1, beta2, rest2, unbias2}(param, i, g);
    }
};

template <template <typename> class Rule, typename T>
__global__ void step(T* param, const T* grad, Index n, Rule<T> rule)
{
    for (Index i = first(); i < n; i += stride()) rule(param, i, grad[i]);
}
