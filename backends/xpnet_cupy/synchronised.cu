// Batch normalisation over the rows of several processes: see xpnet/nn/synchronised.py. The kernels of
// normalisation.cu form the sums of each channel over the rows of this process. `sums` has one number of each
// channel, and then the number of rows of all processes.

template <typename T> __global__ void batch_sums(const T* own, T* sums, Index channels, T rows)
{
    for (Index c = first(); c <= channels; c += stride()) sums[c] = c < channels ? own[c] : rows;
}

template <typename T> __global__ void batch_mean(const T* sums, T* mean, Index channels)
{
    for (Index c = first(); c < channels; c += stride()) mean[c] = sums[c] / sums[channels];
}

template <typename T>
__global__ void batch_variances(const T* squares, const T* sums, T* variance, T* unbiased, Index channels)
{
    T rows = sums[channels];
    for (Index c = first(); c < channels; c += stride()) {
        variance[c] = squares[c] / rows;
        unbiased[c] = squares[c] / larger(rows - 1, T(1));
    }
}

// `products` are sums over the rows of dy * (x - mean); `slopes` are two rows.
template <typename T>
__global__ void batch_norm_slopes(
    const T* products, const T* d_shift, const T* variance, T* d_scale, T* slopes, Index channels, T eps)
{
    for (Index c = first(); c < channels; c += stride()) {
        d_scale[c] = slopes[c] = products[c] / sqrt(variance[c] + eps);
        slopes[channels + c] = d_shift[c];
    }
}

template <typename T>
__global__ void batch_norm_shared_backward(
    const T* x, const T* scale, const T* mean, const T* variance, const T* dy, const T* slopes, const T* sums,
    T* dx, Index n, Index channels, T eps)
{
    T rows = sums[channels];
    for (Index i = first(); i < n; i += stride()) {
        Index c = i % channels;
        T deviation = sqrt(variance[c] + eps), normal = (x[i] - mean[c]) / deviation;
        dx[i] = (dy[i] - slopes[channels + c] / rows - normal * (slopes[c] / rows)) * (scale[c] / deviation);
    }
}
