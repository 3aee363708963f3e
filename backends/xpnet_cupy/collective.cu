// What steps of several processes do beside the sum over them; see xpnet/nn/collective.py.

template <typename T> __global__ void pack(const T* x, T* flat, Index n)
{
    for (Index i = first(); i < n; i += stride()) flat[i] = x[i];
}

template <typename T> __global__ void scaled(const T* x, const T* factor, T* y, Index n)
{
    for (Index i = first(); i < n; i += stride()) y[i] = x[i] * *factor;
}
