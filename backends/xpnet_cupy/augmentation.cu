// Random changes of images (batch, height, width, channels): see xpnet/nn/augmentation.py. A thread has one number of
// the result, draws the words of its image, and finds where the number comes from. `begin` is the number of the
// first image; for `counted` see dropout.

// One number of a batch of images, and the random words of its image.
struct Drawn {
    Index row, column;
    unsigned words[4];
    __device__ Drawn(
        Index i, Index height, Index width, Index channels, unsigned low, unsigned high, const Index* counted,
        unsigned step, Index begin)
        : row(i / channels / width % height), column(i / channels % width),
          words{unsigned(i / channels / width / height + begin), 0, counted ? unsigned(*counted) : step, 0}
    {
        philox(words, low, high);
    }
};

// The moves are `sign` times those drawn: 1, or -1 for the gradient.
template <typename T>
__global__ void random_shift(
    const T* x, T* y, Index n, Index height, Index width, Index channels, unsigned low, unsigned high,
    const Index* counted, unsigned step, Index begin, unsigned choices, Index sign)
{
    Index most = choices / 2;
    for (Index i = first(); i < n; i += stride()) {
        Drawn at(i, height, width, channels, low, high, counted, step, begin);
        Index down = sign * (at.words[0] % choices - most), right = sign * (at.words[1] % choices - most);
        Index row = at.row - down, column = at.column - right;
        bool inside = 0 <= row && row < height && 0 <= column && column < width;
        y[i] = inside ? x[i - (down * width + right) * channels] : T(0);
    }
}

template <typename T>
__global__ void random_flip(
    const T* x, T* y, Index n, Index height, Index width, Index channels, unsigned low, unsigned high,
    const Index* counted, unsigned step, Index begin)
{
    for (Index i = first(); i < n; i += stride()) {
        Drawn at(i, height, width, channels, low, high, counted, step, begin);
        bool mirrored = at.words[0] >> 31;
        y[i] = x[mirrored ? i + (width - 1 - 2 * at.column) * channels : i];
    }
}
