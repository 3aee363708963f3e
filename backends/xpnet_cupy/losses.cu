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
    Total<T> into(total);
    T sum = 0;
    each_pair(outputs, targets, first(), stride(), n, [&](Index i, T output, T target) {
        T slope;
        sum += error(output, target, slope);
        d_outputs[i] = slope / T(n);
    });
    finish(sum, parts, n, arrived, loss, into, weight);
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

// Returns the sum over a team's rows of their losses times their shares, and writes the gradients.
template <typename T, typename Share>
__device__ T soft_rows(
    Team team, const T* logits, const T* targets, T* d_logits, Index rows, Index classes, Share share_of)
{
    T mine = 0;
    team.each_row(rows, [&](Index row, bool counts) {
        const T *z = logits + row * classes, *y = targets + row * classes;
        T* dz = d_logits + row * classes;
        T share = share_of(row), top = team.maximum(z, classes), sum = team.exponentials(z, top, classes);
        T loss = 0, wanted = 0, log_sum = log(sum);
        each_pair(z, y, team.lane, team.lanes, classes, [&](Index, T x, T target) {
            loss += target * (log_sum - (x - top));
            wanted += target;
        });
        loss = team.over<T, plus<T>>(loss);
        wanted = team.over<T, plus<T>>(wanted);
        if (!counts) return;
        each_pair(z, y, team.lane, team.lanes, classes, [&](Index k, T x, T target) {
            dz[k] = share * (exp(x - top) / sum * wanted - target);
        });
        if (team.lane == 0) mine += share * loss;
    });
    return mine;
}

template <typename T>
__global__ void soft_cross_entropy(
    const T* logits, const T* targets, T* d_logits, Index rows, Index classes, Index lanes,
    T* parts, unsigned* arrived, T* loss, T* const* total, T weight)
{
    Total<T> into(total);
    T share = 1 / T(rows);
    T mine = soft_rows(Team(lanes), logits, targets, d_logits, rows, classes, [=](Index) { return share; });
    finish(mine, parts, 1, arrived, loss, into, weight);
}

// Means by weight. `whole` is the sum of the weights of the batch, by sum_of_weights; if it is null, each block
// adds them up, all in one order.

// Returns the sum to all threads of the block.
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

// The shares of rows, which are 0 if all weights are.
template <typename T> struct Shares {
    const T* weights;
    T whole;
    __device__ Shares(const T* weights, const T* sum, Index rows)
        : weights(weights), whole(sum ? *sum : sum_of(weights, rows))
    {
    }
    __device__ T operator()(Index row) const { return weights[row] / (whole > 0 ? whole : T(1)); }
};

// A row has the mean of the losses of its elements.
template <typename T, typename Error>
__device__ void weighted_error(
    Error error, const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs,
    Index rows, Index width, Index lanes, T* parts, unsigned* arrived, T* loss, T* const* total)
{
    Team team(lanes);
    Total<T> into(total);
    Shares<T> share_of(weights, whole, rows);
    T mine = 0;
    team.each_row(rows, [&](Index row, bool counts) {
        const T *output = outputs + row * width, *target = targets + row * width;
        T* slopes = d_outputs + row * width;
        T share = share_of(row), sum = 0;
        each_pair(output, target, team.lane, team.lanes, width, [&](Index k, T x, T y) {
            T slope;
            sum += error(x, y, slope);
            if (counts) slopes[k] = share * (slope / T(width));
        });
        sum = team.over<T, plus<T>>(sum);
        if (counts && team.lane == 0) mine += share * (sum / T(width));
    });
    finish(mine, parts, 1, arrived, loss, into, share_of.whole);
}

template <typename T>
__global__ void weighted_squared_error(
    const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs,
    Index rows, Index width, Index lanes, T* parts, unsigned* arrived, T* loss, T* const* total)
{
    weighted_error(
        SquaredError<T>{}, outputs, targets, weights, whole, d_outputs, rows, width, lanes, parts,
        arrived, loss, total);
}

template <typename T>
__global__ void weighted_absolute_error(
    const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs,
    Index rows, Index width, Index lanes, T* parts, unsigned* arrived, T* loss, T* const* total)
{
    weighted_error(
        AbsoluteError<T>{}, outputs, targets, weights, whole, d_outputs, rows, width, lanes, parts,
        arrived, loss, total);
}

template <typename T>
__global__ void weighted_huber_error(
    const T* outputs, const T* targets, const T* weights, const T* whole, T* d_outputs,
    Index rows, Index width, Index lanes, T* parts, unsigned* arrived, T* loss, T* const* total, T delta)
{
    weighted_error(
        HuberError<T>{delta}, outputs, targets, weights, whole, d_outputs, rows, width, lanes, parts,
        arrived, loss, total);
}

template <typename T>
__global__ void weighted_sigmoid_cross_entropy(
    const T* logits, const T* targets, const T* weights, const T* whole, T* d_logits,
    Index rows, Index width, Index lanes, T* parts, unsigned* arrived, T* loss, T* const* total)
{
    weighted_error(
        SigmoidError<T>{}, logits, targets, weights, whole, d_logits, rows, width, lanes, parts,
        arrived, loss, total);
}

template <typename T>
__global__ void weighted_soft_cross_entropy(
    const T* logits, const T* targets, const T* weights, const T* whole, T* d_logits,
    Index rows, Index classes, Index lanes, T* parts, unsigned* arrived, T* loss, T* const* total)
{
    Total<T> into(total);
    Shares<T> share_of(weights, whole, rows);
    T mine = soft_rows(Team(lanes), logits, targets, d_logits, rows, classes, share_of);
    finish(mine, parts, 1, arrived, loss, into, share_of.whole);
}
