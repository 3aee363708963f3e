// Losses of targets that are numbers, and their means by weight: see xpnet/nn/losses.py and weighted_losses.py.

template <typename T> __global__ void smooth_labels(const T* targets, T* smoothed, Index n, T kept, T added)
{
    for (Index i = first(); i < n; i += stride()) smoothed[i] = targets[i] * kept + added;
}

// Errors: each returns the loss of an output and stores its gradient. A nan of the difference stays one.

template <typename T> struct SquaredError {
    __device__ T operator()(T output, T target, T& slope) const
    {
        T difference = output - target;
        slope = 2 * difference;
        return square(difference);
    }
};

template <typename T> struct AbsoluteError {
    __device__ T operator()(T output, T target, T& slope) const
    {
        T difference = output - target;
        slope = difference > 0 ? T(1) : difference < 0 ? T(-1) : difference;
        return fabs(difference);
    }
};

template <typename T> struct HuberError {
    T delta;
    __device__ T operator()(T output, T target, T& slope) const
    {
        T difference = output - target;
        slope = difference < -delta ? -delta : difference > delta ? delta : difference;
        return slope * (difference - slope / 2);
    }
};

template <typename T> struct SigmoidError {
    __device__ T operator()(T z, T target, T& slope) const
    {
        slope = sigmoid_of(z) - target;
        return larger(z, T(0)) - z * target + log1p(exp(-fabs(z)));
    }
};

// Forms the mean over n elements.
template <typename T, typename Error>
__device__ void mean_error(
    Error error, const T* outputs, const T* targets, T* d_outputs, Index n,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    T sum = 0;
    for (Index i = first(); i < n; i += stride()) {
        T slope;
        sum += error(outputs[i], targets[i], slope);
        d_outputs[i] = slope / T(n);
    }
    finish(over_block<T, plus<T>>(sum), parts, n, arrived, loss, total, weight);
}

template <typename T>
__global__ void absolute_error(
    const T* outputs, const T* targets, T* d_outputs, Index n,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    mean_error(AbsoluteError<T>{}, outputs, targets, d_outputs, n, parts, arrived, loss, total, weight);
}

template <typename T>
__global__ void huber_error(
    const T* outputs, const T* targets, T* d_outputs, Index n,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight, T delta)
{
    mean_error(HuberError<T>{delta}, outputs, targets, d_outputs, n, parts, arrived, loss, total, weight);
}

// Returns the loss of the block's row, and writes its gradient times `share`.
template <typename T>
__device__ T soft_row(const T* logits, const T* targets, T* d_logits, Index classes, T share)
{
    logits += blockIdx.x * classes;
    targets += blockIdx.x * classes;
    d_logits += blockIdx.x * classes;
    T top = row_maximum(logits, classes);
    T sum = row_exponentials(logits, d_logits, top, classes);
    T loss = 0, wanted = 0;
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) {
        loss += targets[k] * (log(sum) - (logits[k] - top));
        wanted += targets[k];
    }
    loss = over_block<T, plus<T>>(loss);
    wanted = over_block<T, plus<T>>(wanted);
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) {
        d_logits[k] = share * (d_logits[k] / sum * wanted - targets[k]);
    }
    return loss;
}

template <typename T>
__global__ void soft_cross_entropy(
    const T* logits, const T* targets, T* d_logits, Index classes,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    T mine = soft_row(logits, targets, d_logits, classes, 1 / T(gridDim.x));
    finish(mine, parts, gridDim.x, arrived, loss, total, weight);
}

// Means by weight: one block per row. `whole` is the sum of the weights of the batch, by sum_of_weights.

// Returns the sum to all threads; the kernels that call it have one block, so the order is always the same.
template <typename T> __device__ T sum_of(const T* weights, Index n)
{
    T sum = 0;
    for (Index i = threadIdx.x; i < n; i += blockDim.x) sum += weights[i];
    return over_block<T, plus<T>>(sum);
}

template <typename T> __global__ void sum_of_weights(const T* weights, Index n, T* whole)
{
    T sum = sum_of(weights, n);
    if (threadIdx.x == 0) *whole = sum;
}

template <typename T>
__global__ void accumulate_weighted(const T* total, const T* value, const T* weights, Index n, T* result)
{
    T sum = sum_of(weights, n);
    if (threadIdx.x == 0) *result = *total + sum * *value;
}

// The share of the block's row; 0 if all weights are 0.
template <typename T> __device__ T share_of(const T* weights, const T* whole)
{
    return weights[blockIdx.x] / (*whole > 0 ? *whole : T(1));
}

// A row has the mean of the losses of its elements.
template <typename T, typename Error>
__device__ void weighted_error(
    Error error, const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs,
    Index width, T* parts, unsigned* arrived, T* loss, T* const* total)
{
    outputs += blockIdx.x * width;
    targets += blockIdx.x * width;
    d_outputs += blockIdx.x * width;
    T share = share_of(weights, whole), sum = 0;
    for (Index k = threadIdx.x; k < width; k += blockDim.x) {
        T slope;
        sum += error(outputs[k], targets[k], slope);
        d_outputs[k] = share * (slope / T(width));
    }
    sum = over_block<T, plus<T>>(sum);
    finish(share * (sum / T(width)), parts, 1, arrived, loss, total, *whole);
}

template <typename T>
__global__ void weighted_squared_error(
    const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs, Index width,
    T* parts, unsigned* arrived, T* loss, T* const* total)
{
    weighted_error(
        SquaredError<T>{}, outputs, targets, weights, whole, d_outputs, width, parts, arrived, loss, total);
}

template <typename T>
__global__ void weighted_absolute_error(
    const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs, Index width,
    T* parts, unsigned* arrived, T* loss, T* const* total)
{
    weighted_error(
        AbsoluteError<T>{}, outputs, targets, weights, whole, d_outputs, width, parts, arrived, loss, total);
}

template <typename T>
__global__ void weighted_huber_error(
    const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs, Index width,
    T* parts, unsigned* arrived, T* loss, T* const* total, T delta)
{
    weighted_error(
        HuberError<T>{delta}, outputs, targets, weights, whole, d_outputs, width, parts, arrived, loss, total);
}

template <typename T>
__global__ void weighted_sigmoid_cross_entropy(
    const T* logits, const T* targets, const T* weights, const T* whole, T* d_logits, Index width,
    T* parts, unsigned* arrived, T* loss, T* const* total)
{
    weighted_error(
        SigmoidError<T>{}, logits, targets, weights, whole, d_logits, width, parts, arrived, loss, total);
}

template <typename T>
__global__ void weighted_soft_cross_entropy(
    const T* logits, const T* targets, const T* weights, const T* whole, T* d_logits, Index classes,
    T* parts, unsigned* arrived, T* loss, T* const* total)
{
    T share = share_of(weights, whole);
    T mine = soft_row(logits, targets, d_logits, classes, share);
    finish(share * mine, parts, 1, arrived, loss, total, *whole);
}
