// Pooling of images (batch, height, width, channels) and its gradients: see xpnet/nn/pooling.py. A thread has one
// number of the result; to find a gradient it asks the windows that hold its element, so nothing is added to from
// two threads.

// Along height or width: window w has the elements from w * stride - before on. `pooling.py` fills both structs.
struct Side {
    int length, out, size, stride, before;
    __device__ int begin(int window) const { return window * stride - before; }
    // The windows that hold an element: from the first to the last, if that is not below the first.
    __device__ int first_with(int at) const
    {
        int from = at + before - size;
        return from < 0 ? 0 : from / stride + 1;
    }
    __device__ int last_with(int at) const
    {
        int last = (at + before) / stride;
        return last < out ? last : out - 1;
    }
    // How many elements of the image a window has.
    __device__ int count(int window) const
    {
        int from = begin(window), to = from + size;
        return (to < length ? to : length) - (from > 0 ? from : 0);
    }
};

struct Pooling {
    Side rows, columns;
    int channels;
};

// One number of an image, or of what pooling makes of it.
struct Place {
    Index image;
    int row, column, channel;
    __device__ Place(Index i, int rows, int columns, int channels)
        : image(i / channels / columns / rows), row(int(i / channels / columns % rows)),
          column(int(i / channels % columns)), channel(int(i % channels))
    {
    }
};

template <typename T>
__device__ T element(
    const T* x, const Pooling& of, Index image, int row, int column, int channel, T padding)
{
    if (row < 0 || row >= of.rows.length || column < 0 || column >= of.columns.length) return padding;
    return x[((image * of.rows.length + row) * of.columns.length + column) * of.channels + channel];
}

template <typename T> __global__ void max_pool2d(const T* x, T* y, Index n, T padding, Pooling of)
{
    for (Index i = first(); i < n; i += stride()) {
        Place at(i, of.rows.out, of.columns.out, of.channels);
        int top = of.rows.begin(at.row), left = of.columns.begin(at.column);
        T largest = padding;
        for (int r = top; r < top + of.rows.size; ++r) {
            for (int c = left; c < left + of.columns.size; ++c) {
                largest = larger(largest, element(x, of, at.image, r, c, at.channel, padding));
            }
        }
        y[i] = largest;
    }
}

// Whether no element of a window before the one at `row` and `column` is `largest`.
template <typename T>
__device__ bool is_first(const T* x, const Pooling& of, Place at, int top, int left, T largest, T padding)
{
    for (int r = top; r <= at.row; ++r) {
        int end = r < at.row ? left + of.columns.size : at.column;
        for (int c = left; c < end; ++c) {
            if (element(x, of, at.image, r, c, at.channel, padding) == largest) return false;
        }
    }
    return true;
}

template <typename T>
__global__ void max_pool2d_backward(
    const T* x, const T* y, const T* dy, T* dx, Index n, T padding, Pooling of)
{
    for (Index i = first(); i < n; i += stride()) {
        Place at(i, of.rows.length, of.columns.length, of.channels);
        T sum = 0;
        for (int r = of.rows.last_with(at.row); r >= of.rows.first_with(at.row); --r) {
            for (int c = of.columns.last_with(at.column); c >= of.columns.first_with(at.column); --c) {
                Index w = ((at.image * of.rows.out + r) * of.columns.out + c) * of.channels + at.channel;
                if (x[i] != y[w]) continue;
                if (is_first(x, of, at, of.rows.begin(r), of.columns.begin(c), y[w], padding)) sum += dy[w];
            }
        }
        dx[i] = sum;
    }
}

template <typename T> __global__ void avg_pool2d(const T* x, T* y, Index n, Pooling of)
{
    for (Index i = first(); i < n; i += stride()) {
        Place at(i, of.rows.out, of.columns.out, of.channels);
        int top = of.rows.begin(at.row), left = of.columns.begin(at.column);
        T sum = 0;
        for (int r = top; r < top + of.rows.size; ++r) {
            for (int c = left; c < left + of.columns.size; ++c) {
                sum += element(x, of, at.image, r, c, at.channel, T(0));
            }
        }
        y[i] = sum / T(of.rows.count(at.row) * of.columns.count(at.column));
    }
}

template <typename T> __global__ void avg_pool2d_backward(const T* dy, T* dx, Index n, Pooling of)
{
    for (Index i = first(); i < n; i += stride()) {
        Place at(i, of.rows.length, of.columns.length, of.channels);
        T sum = 0;
        for (int r = of.rows.last_with(at.row); r >= of.rows.first_with(at.row); --r) {
            for (int c = of.columns.last_with(at.column); c >= of.columns.first_with(at.column); --c) {
                Index w = ((at.image * of.rows.out + r) * of.columns.out + c) * of.channels + at.channel;
                sum += dy[w] / T(of.rows.count(r) * of.columns.count(c));
            }
        }
        dx[i] = sum;
    }
}

// The mean of one channel of one image, whose `pixels` lie `channels` apart: a block has an image and a channel.
template <typename T> __global__ void global_avg_pool2d(const T* x, T* y, Index pixels, Index channels)
{
    x += blockIdx.x / channels * pixels * channels + blockIdx.x % channels;
    T sum = 0;
    for (Index p = threadIdx.x; p < pixels; p += blockDim.x) sum += x[p * channels];
    sum = over_block<T, plus<T>>(sum);
    if (threadIdx.x == 0) y[blockIdx.x] = sum / T(pixels);
}

template <typename T>
__global__ void global_avg_pool2d_backward(const T* dy, T* dx, Index n, Index pixels, Index channels)
{
    for (Index i = first(); i < n; i += stride()) {
        dx[i] = dy[i / channels / pixels * channels + i % channels] / T(pixels);
    }
}
