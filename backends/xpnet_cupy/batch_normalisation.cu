// Batch normalisation and its gradients: see xpnet/nn/batch_normalisation.py. The kernels of normalisation.cu form
// the sums of each channel over all rows; here a thread has one number of the result, and the first threads have
// one number of each channel too.

template <typename T> __global__ void moving_average(T* running, const T* value, Index n, T momentum, T rest)
{
    for (Index i = first(); i < n; i += stride()) running[i] = rest * running[i] + momentum * value[i];
}

template <typename T>
__global__ void batch_norm(
    const T* x, const T* scale, const T* shift, const T* mean, const T* variance, T* y,
    Index n, Index channels, T eps)
{
    for (Index i = first(); i < n; i += stride()) {
        Index c = i % channels;
        y[i] = (x[i] - mean[c]) * (scale[c] / sqrt(variance[c] + eps)) + shift[c];
    }
}

// `products` and `d_shift` are sums over the rows of dy * (x - mean) and of dy.
template <typename T>
__global__ void batch_norm_backward(
    const T* dy, const T* scale, const T* variance, const T* products, const T* d_shift,
    T* dx, T* d_scale, T* d_mean, T* d_variance, Index n, Index channels, T eps)
{
    for (Index i = first(); i < n; i += stride()) {
        Index c = i % channels;
        T deviation = sqrt(variance[c] + eps), factor = scale[c] / deviation;
        dx[i] = dy[i] * factor;
        if (i >= channels) continue;
        d_scale[c] = products[c] / deviation;
        d_mean[c] = -d_shift[c] * factor;
        d_variance[c] = products[c] / deviation * factor / deviation * T(-0.5);
    }
}

// `sums` and `squares` are sums over the rows of x and of (x - mean)^2; `unbias` is n / (n - 1) for n rows.
template <typename T>
__global__ void batch_norm_training(
    const T* x, const T* scale, const T* shift, const T* sums, const T* squares,
    T* y, T* mean, T* variance, Index n, Index channels, T rows, T unbias, T eps)
{
    for (Index i = first(); i < n; i += stride()) {
        Index c = i % channels;
        T centre = sums[c] / rows, biased = squares[c] / rows;
        y[i] = (x[i] - centre) / sqrt(biased + eps) * scale[c] + shift[c];
        if (i >= channels) continue;
        mean[c] = centre;
        variance[c] = biased * unbias;
    }
}

template <typename T>
__global__ void batch_norm_training_backward(
    const T* x, const T* scale, const T* dy, const T* sums, const T* squares, const T* products,
    const T* d_shift, T* dx, T* d_scale, Index n, Index channels, T rows, T eps)
{
    for (Index i = first(); i < n; i += stride()) {
        Index c = i % channels;
        T deviation = sqrt(squares[c] / rows + eps), normal = (x[i] - sums[c] / rows) / deviation;
        T along = products[c] / deviation;
        dx[i] = (dy[i] - d_shift[c] / rows - normal * (along / rows)) * (scale[c] / deviation);
        if (i < channels) d_scale[c] = along;
    }
}
