// The kernels of the backend cupy, each with the values of its twin in xpnet/nn.
//
// CuPy compiles this file with NVRTC when the first kernel is asked for; the tests compile it for the
// host as well, so it includes nothing. launch.py defines MAX_THREADS and chooses the grids:
// - a function of single numbers strides over n of them with as many blocks as the device holds;
// - a function of rows has one block for each row, and a power of two of threads in it.
// Nothing is added atomically, so the same arguments give the same bits.

using Index = long long;  // A set of images can hold more than 2^31 numbers.

__device__ Index first() { return blockIdx.x * static_cast<Index>(blockDim.x) + threadIdx.x; }
__device__ Index stride() { return gridDim.x * static_cast<Index>(blockDim.x); }

template <typename T> __device__ T add(T a, T b) { return a + b; }

// As xp.maximum has it: a nan on either side is the result.
template <typename T> __device__ T larger(T a, T b) { return a > b || a != a ? a : b; }

// Combines one number of each thread, and returns the result to all of them.
template <typename T, T (*op)(T, T)> __device__ T over_block(T mine)
{
    __shared__ T slots[MAX_THREADS];
    slots[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) slots[threadIdx.x] = op(slots[threadIdx.x], slots[threadIdx.x + half]);
        __syncthreads();
    }
    T result = slots[0];
    __syncthreads();  // Else a fast thread's next call overwrites what a slow one has yet to read.
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
    return over_block<T, add<T>>(sum);
}

template <typename T> __device__ T sigmoid_of(T z)
{
    T e = exp(-fabs(z));
    T y = 1 / (1 + e);
    return z >= 0 ? y : e * y;
}

// Activations of single numbers

template <typename T> __global__ void sigmoid(const T* z, T* y, Index n)
{
    for (Index i = first(); i < n; i += stride()) y[i] = sigmoid_of(z[i]);
}

template <typename T> __global__ void sigmoid_backward(const T* y, const T* dy, T* dz, Index n)
{
    for (Index i = first(); i < n; i += stride()) dz[i] = dy[i] * y[i] * (1 - y[i]);
}

template <typename T> __global__ void relu(const T* z, T* y, Index n)
{
    for (Index i = first(); i < n; i += stride()) y[i] = larger(z[i], T(0));
}

template <typename T> __global__ void relu_backward(const T* y, const T* dy, T* dz, Index n)
{
    for (Index i = first(); i < n; i += stride()) dz[i] = y[i] > 0 ? dy[i] : T(0);
}

template <typename T> __global__ void tanh_backward(const T* y, const T* dy, T* dz, Index n)
{
    for (Index i = first(); i < n; i += stride()) dz[i] = dy[i] * (1 - y[i] * y[i]);
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
    sum = over_block<T, add<T>>(sum);
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
    sum = over_block<T, add<T>>(sum);
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) dz[k] = dy[k] - exp(y[k]) * sum;
}

// Losses: each leaves parts of its sum, of which mean() then makes one number.

template <typename T>
__global__ void softmax_cross_entropy(
    const T* logits, const Index* labels, T* d_logits, T* parts, Index classes)
{
    logits += blockIdx.x * classes;
    d_logits += blockIdx.x * classes;
    Index label = labels[blockIdx.x];
    T top = row_maximum(logits, classes);
    T total = row_exponentials(logits, d_logits, top, classes);
    T batch = gridDim.x;
    for (Index k = threadIdx.x; k < classes; k += blockDim.x) {
        d_logits[k] = (d_logits[k] / total - T(k == label)) / batch;
    }
    if (threadIdx.x == 0) {
        // A label that is no class counts as in the twin, where it meets no column.
        T at_label = 0 <= label && label < classes ? logits[label] - top : T(0);
        parts[blockIdx.x] = log(total) - at_label;
    }
}

template <typename T>
__global__ void sigmoid_cross_entropy(const T* logits, const T* targets, T* d_logits, T* parts, Index n)
{
    T sum = 0;
    for (Index i = first(); i < n; i += stride()) {
        T z = logits[i];
        sum += larger(z, T(0)) - z * targets[i] + log1p(exp(-fabs(z)));
        d_logits[i] = (sigmoid_of(z) - targets[i]) / T(n);
    }
    sum = over_block<T, add<T>>(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

template <typename T>
__global__ void squared_error(const T* outputs, const T* targets, T* d_outputs, T* parts, Index n)
{
    T scale = T(2.0 / n);
    T sum = 0;
    for (Index i = first(); i < n; i += stride()) {
        T difference = outputs[i] - targets[i];
        sum += difference * difference;
        d_outputs[i] = difference * scale;
    }
    sum = over_block<T, add<T>>(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// Run by one block.
template <typename T> __global__ void mean(const T* parts, T* result, Index n_parts, Index n)
{
    T sum = 0;
    for (Index i = threadIdx.x; i < n_parts; i += blockDim.x) sum += parts[i];
    sum = over_block<T, add<T>>(sum);
    if (threadIdx.x == 0) *result = sum / T(n);
}

// A block for each image of the batch

template <typename S, typename T>
__global__ void gather_batch(
    const S* images, const Index* indices, T* x, Index features, T scale, T offset)
{
    images += indices[blockIdx.x] * features;
    x += blockIdx.x * features;
    for (Index k = threadIdx.x; k < features; k += blockDim.x) x[k] = T(images[k]) * scale + offset;
}

// Steps, in place. `share` is 1 - beta, rounded once, by Python, as in the twins.

template <typename T> __global__ void sgd_step(T* param, const T* grad, Index n, T lr)
{
    for (Index i = first(); i < n; i += stride()) param[i] -= lr * grad[i];
}

template <typename T>
__global__ void momentum_step(T* param, const T* grad, T* velocity, Index n, T lr, T beta, T share)
{
    for (Index i = first(); i < n; i += stride()) {
        T v = beta * velocity[i] + share * grad[i];
        velocity[i] = v;
        param[i] -= lr * v;
    }
}

template <typename T>
__global__ void nesterov_step(T* param, const T* grad, T* velocity, Index n, T lr, T beta, T share)
{
    for (Index i = first(); i < n; i += stride()) {
        T v = beta * velocity[i] + share * grad[i];
        velocity[i] = v;
        param[i] -= lr * (beta * v + share * grad[i]);
    }
}

template <typename T>
__global__ void adam_step(
    T* param, const T* grad, T* mean, T* variance, Index n, T lr, T eps,
    T beta1, T share1, T unbias1, T beta2, T share2, T unbias2)
{
    for (Index i = first(); i < n; i += stride()) {
        T g = grad[i];
        T m = beta1 * mean[i] + share1 * g;
        T v = beta2 * variance[i] + share2 * (g * g);
        mean[i] = m;
        variance[i] = v;
        param[i] -= lr * (m / unbias1) / (sqrt(v / unbias2) + eps);
    }
}
