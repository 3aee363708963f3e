"""Activations and their gradients."""

from typing import Any

from xpnet.nn.declaration import function

Array = Any


@function("z: * -> y: float[0 1] *", gradient="sigmoid_backward")
def sigmoid(xp: Any, z: Array) -> Array:
    """Return ``1 / (1 + exp(-z))``.

    Parameters
    ----------
    z : array, any shape, float

    Returns
    -------
    y : array, shape of `z`, in [0, 1]
    """
    # 1 / (1 + exp(-z)) and exp(z) / (1 + exp(z)) in one: no argument of exp() is positive, so none overflows.
    return xp.exp(xp.minimum(z, xp.zeros_like(z))) / (1 + xp.exp(-xp.abs(z)))


@function("y: float[0 1] *, dy: * -> dz: *")
def sigmoid_backward(xp: Any, y: Array, dy: Array) -> Array:
    """Return ``dy * y * (1 - y)``, the gradient at the input of ``y = sigmoid(z)``.

    Parameters
    ----------
    y, dy : array, equal shapes, float

    Returns
    -------
    dz : array, shape of `y`
    """
    return dy * y * (1 - y)


@function("z: * -> y: *", gradient="relu_backward")
def relu(xp: Any, z: Array) -> Array:
    """Return ``max(z, 0)``.

    Parameters
    ----------
    z : array, any shape, float

    Returns
    -------
    y : array, shape of `z`
    """
    return xp.maximum(z, xp.zeros_like(z))


@function("y: *, dy: * -> dz: *")
def relu_backward(xp: Any, y: Array, dy: Array) -> Array:
    """Return `dy` where ``y = relu(z)`` is positive and 0 elsewhere, the gradient at 0 included.

    Parameters
    ----------
    y, dy : array, equal shapes, float

    Returns
    -------
    dz : array, shape of `y`
    """
    return xp.where(y > 0, dy, xp.zeros_like(dy))


@function("z: * -> y: *", gradient="leaky_relu_backward")
def leaky_relu(xp: Any, z: Array, *, slope: float) -> Array:
    """Return `z` where it is positive and ``slope * z`` elsewhere (Maas, Hannun and Ng, 2013).

    Parameters
    ----------
    z : array, any shape, float
    slope : float

    Returns
    -------
    y : array, shape of `z`
    """
    return xp.where(z > 0, z, slope * z)


@function("z: *, dy: * -> dz: *")
def leaky_relu_backward(xp: Any, z: Array, dy: Array, *, slope: float) -> Array:
    """Return `dy` where `z` is positive and ``slope * dy`` elsewhere, the gradient of ``leaky_relu(z)``.

    Parameters
    ----------
    z, dy : array, equal shapes, float
    slope : float

    Returns
    -------
    dz : array, shape of `z`
    """
    return xp.where(z > 0, dy, slope * dy)


@function("z: * -> y: float[-1 1] *", gradient="tanh_backward")
def tanh(xp: Any, z: Array) -> Array:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    z : array, any shape, float

    Returns
    -------
    y : array, shape of `z`, in [-1, 1]
    """
    return xp.tanh(z)


@function("y: float[-1 1] *, dy: * -> dz: *")
def tanh_backward(xp: Any, y: Array, dy: Array) -> Array:
    """Return ``dy * (1 - y**2)``, the gradient at the input of ``y = tanh(z)``.

    Parameters
    ----------
    y, dy : array, equal shapes, float

    Returns
    -------
    dz : array, shape of `y`
    """
    return dy * (1 - y * y)


# sqrt(8 / pi), and its product with 0.044715: see `gelu`.
GELU_SLOPE = 1.5957691216057308
GELU_BEND = 0.07135481627260025


@function("z: * -> y: *", gradient="gelu_backward")
def gelu(xp: Any, z: Array) -> Array:
    """Return ``z s(z)``, where ``s(z) = sigmoid(sqrt(8 / pi) (z + 0.044715 z**3))`` is near the normal CDF.

    The approximation of Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), who write it with tanh.

    Parameters
    ----------
    z : array, any shape, float

    Returns
    -------
    y : array, shape of `z`
    """
    return z * _normal_cdf(xp, _bounded(xp, z, 32))


@function("z: *, dy: * -> dz: *")
def gelu_backward(xp: Any, z: Array, dy: Array) -> Array:
    """Return ``dy (s + z s (1 - s) sqrt(8 / pi) (1 + 0.134145 z**2))``, the gradient at `z` of ``gelu(z)``.

    Parameters
    ----------
    z, dy : array, equal shapes, float

    Returns
    -------
    dz : array, shape of `z`
    """
    z = _bounded(xp, z, 32)
    s = _normal_cdf(xp, z)
    return dy * s * (1 + z * (1 - s) * (GELU_SLOPE + 3 * GELU_BEND * z * z))


def _normal_cdf(xp: Any, z: Array) -> Array:
    return sigmoid(xp, z * (GELU_SLOPE + GELU_BEND * z * z))


def _bounded(xp: Any, z: Array, bound: float) -> Array:
    """Return `z` within a bound beyond which the sigmoid is 0 or 1; infinity times 0 would be nan."""
    return xp.clip(z, -bound, bound)


@function("z: * -> y: *", gradient="silu_backward")
def silu(xp: Any, z: Array) -> Array:
    """Return ``z sigmoid(z)``, also called swish (Elfwing, Uchibe and Doya, 2017).

    Parameters
    ----------
    z : array, any shape, float

    Returns
    -------
    y : array, shape of `z`
    """
    return z * sigmoid(xp, z)


@function("z: *, dy: * -> dz: *")
def silu_backward(xp: Any, z: Array, dy: Array) -> Array:
    """Return ``dy s (1 + z (1 - s))`` with ``s = sigmoid(z)``, the gradient at the input of ``y = silu(z)``.

    Parameters
    ----------
    z, dy : array, equal shapes, float

    Returns
    -------
    dz : array, shape of `z`
    """
    s = sigmoid(xp, z)
    return dy * s * (1 + _bounded(xp, z, 1000) * (1 - s))


@function("z: batch classes -> y: float[0 1] batch classes", gradient="softmax_backward")
def softmax(xp: Any, z: Array) -> Array:
    """Return ``exp(z) / sum(exp(z))`` along the last axis.

    Parameters
    ----------
    z : array, shape (batch, classes), float

    Returns
    -------
    y : array, shape (batch, classes)
        Each row sums to 1.
    """
    # Subtracting the row maximum keeps exp() below overflow; it cancels in the ratio.
    e = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


@function("y: float[0 1] batch classes, dy: batch classes -> dz: batch classes")
def softmax_backward(xp: Any, y: Array, dy: Array) -> Array:
    """Return ``y * (dy - sum(dy * y))``, the gradient at the input of ``y = softmax(z)``.

    Parameters
    ----------
    y, dy : array, shape (batch, classes), float

    Returns
    -------
    dz : array, shape (batch, classes)
    """
    return y * (dy - xp.sum(dy * y, axis=-1, keepdims=True))


@function("z: batch classes -> y: float[-inf 0] batch classes", gradient="log_softmax_backward")
def log_softmax(xp: Any, z: Array) -> Array:
    """Return ``z - log(sum(exp(z)))`` along the last axis.

    Parameters
    ----------
    z : array, shape (batch, classes), float

    Returns
    -------
    y : array, shape (batch, classes), in nats
    """
    shifted = z - xp.max(z, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


@function("y: float[-inf 0] batch classes, dy: batch classes -> dz: batch classes")
def log_softmax_backward(xp: Any, y: Array, dy: Array) -> Array:
    """Return ``dy - exp(y) * sum(dy)``, the gradient at the input of ``y = log_softmax(z)``.

    Parameters
    ----------
    y, dy : array, shape (batch, classes), float

    Returns
    -------
    dz : array, shape (batch, classes)
    """
    return dy - xp.exp(y) * xp.sum(dy, axis=-1, keepdims=True)
