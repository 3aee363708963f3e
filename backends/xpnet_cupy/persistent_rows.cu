// The first stage of persistent kernels beside their linear layers: see persistent.cu.

// Elements of rows

template <int N, typename T> __device__ void keep_row(T* to, const T* x)
{
    for (int j = thread_of(); j < N; j += THREADS) __stcg(to + j, x[j]);
}

template <typename F, int N, typename T> __device__ void activate_row(T* y, const T* z)
{
    for (int j = thread_of(); j < N; j += THREADS) y[j] = F::of(z[j]);
}

template <typename F, int N, typename T> __device__ void activate_backward_row(T* dz, const T* kept, const T* dy)
{
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = F::backward(kept[j], dy[j]);
}

template <int N, typename T> __device__ void leaky_relu_row(T* y, const T* z, T slope)
{
    for (int j = thread_of(); j < N; j += THREADS) y[j] = z[j] > 0 ? z[j] : slope * z[j];
}

template <int N, typename T> __device__ void leaky_relu_backward_row(T* dz, const T* z, const T* dy, T slope)
{
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = z[j] > 0 ? dy[j] : slope * dy[j];
}

template <int N, typename T> __device__ void add_row(T* z, const T* x, const T* y)
{
    for (int j = thread_of(); j < N; j += THREADS) z[j] = x[j] + y[j];
}

// The bits are those of the element's number in the batch, see `dropout`.
template <int N, typename T>
__device__ void dropout_row(
    T* y, const T* x, Index row, Index begin, unsigned low, unsigned high, Index step, unsigned below, T factor)
{
    for (int j = thread_of(); j < N; j += THREADS) {
        Index number = begin + row * N + j;
        unsigned words[] = {unsigned(number / 4), 0, unsigned(step), 0};
        philox(words, low, high);
        unsigned word = number % 4 < 2 ? (number % 4 ? words[1] : words[0]) : number % 4 < 3 ? words[2] : words[3];
        y[j] = word < below ? T(0) : x[j] * factor;
    }
}

template <int N, typename T> __device__ void one_hot_row(T* targets, Index label)
{
    for (int j = thread_of(); j < N; j += THREADS) targets[j] = N > 1 ? T(label == j) : T(label);
}

template <int N, typename T> __device__ void smooth_labels_row(T* smoothed, const T* targets, T kept, T added)
{
    for (int j = thread_of(); j < N; j += THREADS) smoothed[j] = targets[j] * kept + added;
}

// Rows whose elements need each other; `slots` has WARPS elements.

template <int N, typename T> __device__ T maximum_of(const T* z, T* slots)
{
    T top = log(T(0));  // minus infinity: a thread must read no element of another one
    for (int j = thread_of(); j < N; j += THREADS) top = larger(top, z[j]);
    return over_row<N, T, larger<T>>(top, slots);
}

// Writes exp(z - top) to e and returns its sum.
template <int N, typename T> __device__ T exponentials_of(T* e, const T* z, T top, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) sum += e[j] = exp(z[j] - top);
    return over_row<N, T, plus<T>>(sum, slots);
}

template <int N, typename T> __device__ void softmax_row(T* y, const T* z, T* slots)
{
    T total = exponentials_of<N>(y, z, maximum_of<N>(z, slots), slots);
    for (int j = thread_of(); j < N; j += THREADS) y[j] /= total;
}

template <int N, typename T> __device__ void softmax_backward_row(T* dz, const T* y, const T* dy, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) sum += dy[j] * y[j];
    sum = over_row<N, T, plus<T>>(sum, slots);
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = y[j] * (dy[j] - sum);
}

template <int N, typename T> __device__ void log_softmax_row(T* y, const T* z, T* slots)
{
    T top = maximum_of<N>(z, slots);
    T log_total = log(exponentials_of<N>(y, z, top, slots));
    for (int j = thread_of(); j < N; j += THREADS) y[j] = z[j] - top - log_total;
}

template <int N, typename T> __device__ void log_softmax_backward_row(T* dz, const T* y, const T* dy, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) sum += dy[j];
    sum = over_row<N, T, plus<T>>(sum, slots);
    for (int j = thread_of(); j < N; j += THREADS) dz[j] = dy[j] - exp(y[j]) * sum;
}

// Losses: each writes the loss of a row, times its share, to `loss`, and the gradient, too.

template <int N, typename T>
__device__ void softmax_cross_entropy_row(T* d_logits, const T* logits, Index label, T share, T* loss, T* slots)
{
    T top = maximum_of<N>(logits, slots);
    T sum = exponentials_of<N>(d_logits, logits, top, slots);
    bool is_class = 0 <= label && label < N;
    for (int j = thread_of(); j < N; j += THREADS) {
        d_logits[j] = (d_logits[j] / sum - T(j == label)) * share;
        // A label that is no class has no column, as in the twin.
        if (j == (is_class ? label : 0)) __stcg(loss, share * (log(sum) - (is_class ? logits[j] - top : T(0))));
    }
}

template <int N, typename T>
__device__ void soft_cross_entropy_row(T* d_logits, const T* logits, const T* targets, T share, T* loss, T* slots)
{
    T top = maximum_of<N>(logits, slots);
    T sum = exponentials_of<N>(d_logits, logits, top, slots);
    T mine = 0, wanted = 0;
    for (int j = thread_of(); j < N; j += THREADS) {
        mine += targets[j] * (log(sum) - (logits[j] - top));
        wanted += targets[j];
    }
    mine = over_row<N, T, plus<T>>(mine, slots);
    wanted = over_row<N, T, plus<T>>(wanted, slots);
    for (int j = thread_of(); j < N; j += THREADS) d_logits[j] = share * (d_logits[j] / sum * wanted - targets[j]);
    if (thread_of() == 0) __stcg(loss, share * mine);
}

// A row has the mean of the losses of its elements.
template <int N, typename T, typename Error>
__device__ void error_row(
    Error error, T* d_outputs, const T* outputs, const T* targets, T share, T* loss, T* slots)
{
    T sum = 0;
    for (int j = thread_of(); j < N; j += THREADS) {
        T slope;
        sum += error(outputs[j], targets[j], slope);
        d_outputs[j] = share * (slope / T(N));
    }
    sum = over_row<N, T, plus<T>>(sum, slots);
    if (thread_of() == 0) __stcg(loss, share * (sum / T(N)));
}

// The sum of the weights of a batch.
template <typename T, typename Source> __device__ T whole_of(Source weights, T* slots)
{
    T sum = 0;
    for (int row = thread_of(); row < BATCH; row += THREADS) sum += weights.value(weights.template row<1>(row));
    return over_row<THREADS + WARP, T, plus<T>>(sum, slots);
}

// The share of a row in the mean by weight; 0 if all weights are 0.
template <typename T> __device__ T share_of(T weight, T whole) { return weight / (whole > 0 ? whole : T(1)); }

// Adds the losses of the rows, each with its share, to a total.
template <typename T> __device__ void add_losses(T* total, const T* losses, T weight)
{
    if (warp_of() > 0) return;
    T sum = 0;
    for (int row = lane_of(); row < BATCH; row += WARP) sum += __ldcg(losses + row);
    sum = over_lanes<T, plus<T>>(sum, WARP);
    if (lane_of() == 0) *total += weight * sum;
}
