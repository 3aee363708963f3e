// Convolution of images (batch, height, width, channels) and its gradients: see xpnet/nn/images.py.
//
// Each is a matrix product, one factor of which holds what is in each window: row by row the pixels of the
// result, and a column for each tap. A tap is an element of the window with one of its channels. That factor is
// many times as large as the images, so a block gathers the part that it needs from them and stores no more.
//
//   y        = windows of x   (pixels, taps) * weight (taps, outputs)
//   dx       = windows of dy  (pixels, taps) * weight (taps, channels), by the same kernel
//   d_weight = windows of x, transposed (taps, pixels) * dy (pixels, outputs)
//
// launch.py defines PIXELS, OUTPUTS, TAPS and ROWS, the sizes of tiles. No two threads add to one number.

// Along height or width: tap t of pixel p of the result is number (p * stride + t * dilation - before) / spread
// of what is read, if that is whole and inside; else it is 0. `convolution.py` fills both structs by their fields.
struct Axis {
    int from, to, size, stride, dilation, before, spread;
};

// One group of `channels` that are read gives one of `outputs`. The other fields are steps between weights.
struct Convolution {
    Axis rows, columns;
    int groups, channels, outputs;
    int by_channel, by_output, by_group;
    __device__ int taps() const { return rows.size * columns.size * channels; }
};

// Where the window of a pixel begins, after all pixels of the images before its own.
struct Pixel {
    Index before;
    int y, x;
};

// How far a tap is from there, in the channel of its group.
struct Tap {
    int y, x, channel;
};

template <typename X> __device__ Pixel pixel_of(X images, const Convolution& of, Index number)
{
    Index row = number / of.columns.to, image = images.place(row / of.rows.to);
    int y = int(row % of.rows.to), x = int(number % of.columns.to);
    return {image * of.rows.from * of.columns.from, y * of.rows.stride - of.rows.before,
            x * of.columns.stride - of.columns.before};
}

__device__ Tap tap_of(const Convolution& of, int number)
{
    int place = number / of.channels;
    return {place / of.columns.size * of.rows.dilation, place % of.columns.size * of.columns.dilation,
            number % of.channels};
}

// The number along an axis that is read at a place; -1 if there is none.
__device__ int inside(int place, const Axis& axis)
{
    if (axis.spread > 1) {
        if (place % axis.spread != 0) return -1;
        place /= axis.spread;
    }
    return place < axis.from ? place : -1;
}

template <typename T, typename X>
__device__ T at_tap(X x, const Convolution& of, Pixel pixel, Tap tap, int group)
{
    int row = inside(pixel.y + tap.y, of.rows), column = inside(pixel.x + tap.x, of.columns);
    if (row < 0 || column < 0) return 0;
    Index place = pixel.before + static_cast<Index>(row) * of.columns.from + column;
    return x.number(x.raw(place * of.groups * of.channels + group * of.channels + tap.channel));
}

template <typename T>
__device__ T weight_at(const T* weight, const Convolution& of, int number, int output, int group)
{
    int place = number / of.channels, channel = number % of.channels;
    Index window = static_cast<Index>(of.groups) * of.channels * of.outputs;
    return weight[place * window + channel * of.by_channel + output * of.by_output + group * of.by_group];
}

// The convolution of x, plus a bias unless that is null, and F of it: see finish_layer. A block has a tile of
// PIXELS x OUTPUTS of the result, of one group. A thread keeps SHARE sums of one output in registers; for each
// TAPS taps it fetches what one pixel has at some of them.
template <typename F, typename T, typename X>
__device__ void convolve_tile(
    X x, const T* weight, const T* bias, T* z, T* y, Index pixels, const Convolution& of)
{
    constexpr int SHARE = PIXELS * OUTPUTS / MAX_THREADS, APART = PIXELS / SHARE;
    __shared__ T values[TAPS][PIXELS], weights[TAPS][OUTPUTS];
    __shared__ Tap near[TAPS];
    int tiles = (of.outputs + OUTPUTS - 1) / OUTPUTS;
    int left = blockIdx.x % tiles * OUTPUTS, group = blockIdx.x / tiles % of.groups;
    Index top = static_cast<Index>(blockIdx.x / tiles / of.groups) * PIXELS;
    int fetched = threadIdx.x % PIXELS;
    bool is_pixel = top + fetched < pixels;
    Pixel pixel = pixel_of(x, of, is_pixel ? top + fetched : 0);
    int row = threadIdx.x / OUTPUTS, column = threadIdx.x % OUTPUTS, inner = of.taps();
    T sums[SHARE] = {};
    for (int begin = 0; begin < inner; begin += TAPS) {
        if (threadIdx.x < TAPS) near[threadIdx.x] = tap_of(of, begin + threadIdx.x);
        __syncthreads();
        for (int k = threadIdx.x / PIXELS; k < TAPS; k += MAX_THREADS / PIXELS) {
            values[k][fetched] = is_pixel && begin + k < inner ? at_tap<T>(x, of, pixel, near[k], group) : T(0);
        }
        for (int e = threadIdx.x; e < TAPS * OUTPUTS; e += MAX_THREADS) {
            int k = e / OUTPUTS, j = e % OUTPUTS;
            bool is_weight = begin + k < inner && left + j < of.outputs;
            weights[k][j] = is_weight ? weight_at(weight, of, begin + k, left + j, group) : T(0);
        }
        __syncthreads();
        for (int k = 0; k < TAPS; ++k) {
            for (int s = 0; s < SHARE; ++s) sums[s] += values[k][row + s * APART] * weights[k][column];
        }
    }
    if (left + column >= of.outputs) return;
    int output = group * of.outputs + left + column;
    for (int s = 0; s < SHARE; ++s) {
        Index to = top + row + s * APART;
        if (to >= pixels) return;
        T sum = bias ? sums[s] + bias[output] : sums[s];
        finish_layer<F>(sum, z, y, to * of.groups * of.outputs + output);
    }
}

template <typename F, typename T>
__global__ void convolve(
    const T* x, const T* weight, const T* bias, T* z, T* y, Index pixels, Convolution of)
{
    convolve_tile<F>(Rows<T>{x}, weight, bias, z, y, pixels, of);
}

template <typename F, typename T>
__global__ void convolve_of_stored(
    const unsigned char* images, const int* indices, Index n, T scale, T offset, const T* weight,
    const T* bias, T* z, T* y, Index pixels, Convolution of)
{
    convolve_tile<F>(Stored<T>{images, indices, n, scale, offset}, weight, bias, z, y, pixels, of);
}

// Parts of the gradients of a weight and of a bias, which is one more row of it, whose inputs are 1. A block has a
// tile of ROWS taps x OUTPUTS outputs, of one group, and the sum over `share` pixels; a thread has one number.
template <typename T, typename X>
__device__ void weight_gradient_part(
    X x, const T* dy, T* parts, Index pixels, Index share, const Convolution& of)
{
    static_assert(ROWS * OUTPUTS == MAX_THREADS);
    constexpr int STEP = MAX_THREADS / OUTPUTS;  // pixels at a time, so that a thread fetches one gradient
    __shared__ T values[STEP][ROWS], gradients[STEP][OUTPUTS];
    __shared__ Pixel near[STEP];
    int inner = of.taps(), n_out = of.groups * of.outputs;
    int tiles = (of.outputs + OUTPUTS - 1) / OUTPUTS, heights = (inner + ROWS) / ROWS;
    int left = blockIdx.x % tiles * OUTPUTS, group = blockIdx.x / tiles % of.groups;
    int top = blockIdx.x / tiles / of.groups % heights * ROWS;
    Index part = blockIdx.x / tiles / of.groups / heights;
    Index end = (part + 1) * share < pixels ? (part + 1) * share : pixels;
    int i = threadIdx.x / OUTPUTS, j = threadIdx.x % OUTPUTS, output = group * of.outputs + left + j;
    bool is_output = left + j < of.outputs;
    int fetched = threadIdx.x % ROWS, number = top + fetched;
    Tap tap = tap_of(of, number);
    T sum = 0;
    for (Index begin = part * share; begin < end; begin += STEP) {
        if (threadIdx.x < STEP && begin + threadIdx.x < end) {
            near[threadIdx.x] = pixel_of(x, of, begin + threadIdx.x);
        }
        __syncthreads();
        for (int k = threadIdx.x / ROWS; k < STEP; k += MAX_THREADS / ROWS) {
            bool is_tap = begin + k < end && number < inner;
            values[k][fetched] = is_tap ? at_tap<T>(x, of, near[k], tap, group) : T(number == inner);
        }
        gradients[i][j] = begin + i < end && is_output ? dy[(begin + i) * n_out + output] : T(0);
        __syncthreads();
        for (int k = 0; k < STEP; ++k) sum += values[k][i] * gradients[k][j];
    }
    if (top + i > inner || !is_output) return;
    parts[(part * (inner + 1) + top + i) * n_out + output] = sum;
}

template <typename T>
__global__ void weight_gradient_parts(
    const T* x, const T* dy, T* parts, Index pixels, Index share, Convolution of)
{
    weight_gradient_part(Rows<T>{x}, dy, parts, pixels, share, of);
}

template <typename T>
__global__ void weight_gradient_parts_of_stored(
    const unsigned char* images, const int* indices, Index n, T scale, T offset, const T* dy, T* parts,
    Index pixels, Index share, Convolution of)
{
    weight_gradient_part(Stored<T>{images, indices, n, scale, offset}, dy, parts, pixels, share, of);
}

// A step of a weight and a bias by their gradients, the sums of the parts above. A block has OUTPUTS numbers; of
// each, its threads add up some of the parts, and the first of them adds up what these have, always in one order.
template <template <typename> class Rule, typename T>
__global__ void add_parts(
    const T* parts, Index count, Index n_weight, Index n_bias, T* weight, T* bias,
    Rule<T> on_weight, Rule<T> on_bias)
{
    __shared__ T sums[MAX_THREADS];
    Index n = n_weight + n_bias, i = blockIdx.x * static_cast<Index>(OUTPUTS) + threadIdx.x % OUTPUTS;
    T sum = 0;
    if (i < n) {
        for (Index p = threadIdx.x / OUTPUTS; p < count; p += MAX_THREADS / OUTPUTS) sum += parts[p * n + i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= OUTPUTS || i >= n) return;
    for (int from = threadIdx.x + OUTPUTS; from < MAX_THREADS; from += OUTPUTS) sum += sums[from];
    if (i < n_weight) on_weight(weight, i, sum);
    else on_bias(bias, i - n_weight, sum);
}

// The factor of windows itself, for products so large that cuBLAS computes them: a thread gathers one number.
template <typename T> __global__ void windows_of(const T* x, T* windows, Index n, Convolution of)
{
    for (Index i = first(); i < n; i += stride()) {
        Index pixel = i / of.taps();
        Rows<T> images{x};
        windows[i] = at_tap<T>(images, of, pixel_of(images, of, pixel), tap_of(of, int(i % of.taps())), 0);
    }
}

// The gradient at images, from that at such a factor: a thread adds up what the windows have of one number. `of`
// is the convolution backwards, which reads one channel: it gives the number of a window in the factor.
template <typename T>
__global__ void images_of(const T* d_windows, T* dx, Index n, int channels, Convolution of)
{
    int taps = of.rows.size * of.columns.size;
    for (Index i = first(); i < n; i += stride()) {
        Pixel pixel = pixel_of(Rows<T>{dx}, of, i / channels);
        T sum = 0;
        for (int t = 0; t < taps; ++t) {
            Tap tap = tap_of(of, t * of.channels);
            int row = inside(pixel.y + tap.y, of.rows), column = inside(pixel.x + tap.x, of.columns);
            if (row < 0 || column < 0) continue;
            Index window = pixel.before + static_cast<Index>(row) * of.columns.from + column;
            sum += d_windows[(window * taps + t) * channels + i % channels];
        }
        dx[i] = sum;
    }
}
