// Layer normalisation, standardising, and their gradients: see xpnet/nn/normalisation.py. Layer normalisation has
// one block per row.

// The mean of a row and its standard deviation, with `eps` in the variance.
template <typename T> struct Spread {
    T mean, deviation;
    __device__ Spread(const T* x, Index features, T eps)
    {
        T sum = 0;
        for (Index k = threadIdx.x; k < features; k += blockDim.x) sum += x[k];
        mean = over_block<T, plus<T>>(sum) / T(features);
        T squares = 0;
        for (Index k = threadIdx.x; k < features; k += blockDim.x) squares += square(x[k] - mean);
        deviation = sqrt(over_block<T, plus<T>>(squares) / T(features) + eps);
    }
};

template <typename T>
__global__ void layer_norm(const T* x, const T* scale, const T* shift, T* y, Index features, T eps)
{
    x += blockIdx.x * features;
    y += blockIdx.x * features;
    Spread<T> of(x, features, eps);
    for (Index k = threadIdx.x; k < features; k += blockDim.x) {
        y[k] = (x[k] - of.mean) / of.deviation * scale[k] + shift[k];
    }
}

// The gradient at the input, and the normal rows, which the gradients of scale and shift need.
template <typename T>
__global__ void layer_norm_backward(
    const T* x, const T* scale, const T* dy, T* dx, T* normal, Index features, T eps)
{
    x += blockIdx.x * features;
    dy += blockIdx.x * features;
    dx += blockIdx.x * features;
    normal += blockIdx.x * features;
    Spread<T> of(x, features, eps);
    T sum = 0, products = 0;
    for (Index k = threadIdx.x; k < features; k += blockDim.x) {
        normal[k] = (x[k] - of.mean) / of.deviation;
        sum += dy[k] * scale[k];
        products += dy[k] * scale[k] * normal[k];
    }
    sum = over_block<T, plus<T>>(sum) / T(features);
    products = over_block<T, plus<T>>(products) / T(features);
    for (Index k = threadIdx.x; k < features; k += blockDim.x) {
        dx[k] = (dy[k] * scale[k] - sum - normal[k] * products) / of.deviation;
    }
}

// Parts of two sums over rows, of a * (b - mean) and of a; add_parts adds them up. A mean is that of its column:
// means / divisor. If `a` is null, it is b - mean; if `b` or `means` is null, that is 0. A block has OUTPUTS columns
// and `share` rows, of which each of its threads adds up some of one column.
template <typename T>
__global__ void column_parts(
    const T* a, const T* b, const T* means, T divisor, T* parts, Index rows, Index columns, Index share)
{
    __shared__ T products[MAX_THREADS], sums[MAX_THREADS];
    Index tiles = (columns + OUTPUTS - 1) / OUTPUTS, part = blockIdx.x / tiles;
    Index column = blockIdx.x % tiles * OUTPUTS + threadIdx.x % OUTPUTS;
    Index end = (part + 1) * share < rows ? (part + 1) * share : rows;
    T product = 0, sum = 0;
    if (column < columns) {
        T mean = means ? means[column] / divisor : T(0);
        for (Index r = part * share + threadIdx.x / OUTPUTS; r < end; r += MAX_THREADS / OUTPUTS) {
            T right = b ? b[r * columns + column] - mean : T(0);
            T left = a ? a[r * columns + column] : right;
            product += left * right;
            sum += left;
        }
    }
    products[threadIdx.x] = product;
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= OUTPUTS || column >= columns) return;
    for (int from = threadIdx.x + OUTPUTS; from < MAX_THREADS; from += OUTPUTS) {
        product += products[from];
        sum += sums[from];
    }
    parts[2 * part * columns + column] = product;
    parts[(2 * part + 1) * columns + column] = sum;
}

template <typename T>
__global__ void standardize(const T* x, const T* mean, const T* deviation, T* y, Index n, Index features)
{
    for (Index i = first(); i < n; i += stride()) {
        Index k = i % features;
        y[i] = (x[i] - mean[k]) / deviation[k];
    }
}

// The gradient at the input and, for the sums of columns, the negative of it and the normal rows.
template <typename T>
__global__ void standardize_backward(
    const T* x, const T* mean, const T* deviation, const T* dy, T* dx, T* negative, T* normal,
    Index n, Index features)
{
    for (Index i = first(); i < n; i += stride()) {
        Index k = i % features;
        dx[i] = dy[i] / deviation[k];
        negative[i] = -dx[i];
        normal[i] = (x[i] - mean[k]) / deviation[k];
    }
}
