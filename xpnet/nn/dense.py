"""From stored data to pre-activations: gathering a batch, the linear map and its gradients."""

from typing import Any

from xpnet.nn.declaration import function

Array = Any


@function("images: stored n ..., indices: int[n] batch -> x: batch ...")
def gather_batch(xp: Any, images: Array, indices: Array, *, scale: float, offset: float, dtype: Any) -> Array:
    """Return ``images[indices] * scale + offset`` in a floating-point dtype.

    Parameters
    ----------
    images : array, shape (n, features) or (n, height, width, channels), uint8 or float
    indices : array, shape (batch,), int
        Rows of `images`, in ``[0, n)``; not checked. Out of range, a backend may take another row or raise
        an error, but reads nothing past the array.
    scale, offset : float
    dtype : dtype of `xp`
        Of the result; the arithmetic is done in it.

    Returns
    -------
    x : array, shape (batch, features) or (batch, height, width, channels), `dtype`
    """
    x = xp.astype(xp.take(images, indices, axis=0), dtype)  # new in any case, so it may be changed
    if scale != 1.0:
        x *= scale
    if offset != 0.0:
        x += offset
    return x


@function("labels: int n, indices: int[n] batch -> gathered: int batch")
def gather_labels(xp: Any, labels: Array, indices: Array) -> Array:
    """Return ``labels[indices]``.

    Parameters
    ----------
    labels : array, shape (n,), int
    indices : array, shape (batch,), int
        Positions in `labels`, in ``[0, n)``; not checked, see `gather_batch`.

    Returns
    -------
    labels : array, shape (batch,), dtype of `labels`
    """
    return xp.take(labels, indices, axis=0)


@function("x: batch n_in, weight: n_in n_out, bias: n_out -> z: batch n_out", gradient="linear_backward")
def linear(xp: Any, x: Array, weight: Array, bias: Array) -> Array:
    """Return ``x weight + bias``.

    Parameters
    ----------
    x : array, shape (batch, n_in), float
    weight : array, shape (n_in, n_out)
    bias : array, shape (n_out,)

    Returns
    -------
    z : array, shape (batch, n_out)
    """
    z = xp.matmul(x, weight)
    z += bias
    return z


@function(
    "x: batch n_in, weight: n_in n_out, dy: batch n_out"
    " -> dx: ? batch n_in, d_weight: n_in n_out, d_bias: n_out"
)
def linear_backward(
    xp: Any, x: Array, weight: Array, dy: Array, *, input_gradient: bool = True
) -> tuple[Array | None, Array, Array]:
    """Return the gradients of ``linear(x, weight, bias)``.

    Parameters
    ----------
    x : array, shape (batch, n_in), float
    weight : array, shape (n_in, n_out)
    dy : array, shape (batch, n_out)
    input_gradient : bool
        Whether `dx` is wanted; the first layer of a model in training does without.

    Returns
    -------
    dx : array, shape (batch, n_in), or None
    d_weight : array, shape (n_in, n_out)
    d_bias : array, shape (n_out,)
    """
    dx = xp.matmul(dy, xp.matrix_transpose(weight)) if input_gradient else None
    return dx, xp.matmul(xp.matrix_transpose(x), dy), xp.sum(dy, axis=0)
