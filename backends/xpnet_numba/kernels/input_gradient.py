"""The gradient of a convolution at its input, see `convolution`.

It is the convolution of `dy` with the weight turned around; or it is made by pixels of `dy`, each of which
adds to all inputs that it was made of. That takes fewer products if a stride leaves gaps, or if inputs side
by side fill vectors better than the channels of one pixel.
"""

from collections.abc import Callable
from typing import Any

from xpnet_numba.kernels.convolution import taps_of
from xpnet_numba.kernels.entries import operation
from xpnet_numba.kernels.memory import put
from xpnet_numba.kernels.sums import add_all, add_products, places, repeat
from xpnet_numba.kernels.vectors import NARROW, lanes, load, splat

Array = Any


@operation
def turn(weight: Array, turned: Array, groups: int) -> None:
    """Fill `turned` with the weight that makes the gradient at the input out of that at the output."""
    rows, columns, per_group, n_out = weight.shape
    outs = n_out // groups
    for i in range(rows):
        for j in range(columns):
            for g in range(groups):
                for c in range(per_group):
                    for n in range(outs):
                        turned[rows - 1 - i, columns - 1 - j, n, g * per_group + c] = weight[
                            i, j, c, g * outs + n
                        ]


@operation
def turn_runs(weight: Array, turned: Array) -> None:
    """Fill `turned` with the weight, where the inputs of a run lie side by side for each output."""
    runs, inner, n_out = weight.shape
    for t in range(runs):
        for n in range(n_out):
            for k in range(inner):
                turned[t, n, k] = weight[t, k, n]


def _return(count: int) -> Callable[..., None]:
    def convolve_back(
        place: int,
        dx: Array,
        out: int,
        out_step: int,
        used: int,
        dy: Array,
        start: int,
        step: int,
        turned: Array,
        at: int,
    ) -> None:
        sums, inner = repeat(splat(dx.dtype.type(0), NARROW), count), turned.shape[2]
        k = start + place * step
        for n in range(dy.shape[3]):
            sums = add_products(sums, dy, k + n, step, load(turned, at + n * inner, used, NARROW))
        add_all(dx, out + place * out_step, out_step, used, sums)

    return convolve_back


# Pixels of a column of `dy`, because what they add to lies in different rows: a vector that overlaps one
# just written would wait for it.
_convolve_back = places(_return)


@operation
def convolve_back(
    dy: Array,
    turned: Array,
    dx: Array,
    kernel_width: int,
    stride_height: int,
    stride_width: int,
    dilation_height: int,
    dilation_width: int,
    first: int,
    end: int,
) -> None:
    """Fill images of `dx`, with their padding around them, with the gradient at the input.

    The products of each pixel of `dy` with a run of the weight are added to where the run was read.
    """
    _, height, width, channels = dx.shape
    _, out_height, out_width, n_out = dy.shape
    _, tap_step, runs, run_step, inner = taps_of(
        dx, 0, kernel_width, channels, dilation_height, dilation_width, 1
    )
    row, out_row, most = out_width * n_out, stride_height * width * channels, lanes(dy, NARROW)
    for b in range(first, end):
        image = b * height * width * channels
        for k in range(image, image + height * width * channels):
            put(dx, k, dx.dtype.type(0))
        for j in range(out_width):
            start, corner = (b * out_height * out_width + j) * n_out, image + j * stride_width * channels
            for t in range(turned.shape[0]):
                out, at = corner + t // runs * tap_step + t % runs * run_step, t * n_out * inner
                for c in range(0, inner, most):
                    used = min(most, inner - c)
                    _convolve_back(0, out_height, dx, out + c, out_row, used, dy, start, row, turned, at + c)
