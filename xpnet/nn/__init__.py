"""The extension `nn`, in portable code: each function here defines what a backend's kernel must return.

Every function takes an array-API namespace first and uses nothing but that standard (2024.12), so it runs on
any library that keeps it. `xp.nn` holds the same functions without their first parameter, and a backend may
put kernels of its own in their places. Arguments are trusted: layers, losses and loaders check them, and
`xpnet.backend` has a namespace with checks in each call.

Shapes are ``(batch, features)``; a weight is ``(n_in, n_out)``. Unless they say otherwise, results have the
floating-point dtype of the arguments. A function named ``*_backward`` takes `dy`, the gradient of a scalar
loss at the output, and returns the gradient at the input. Only the ``*_step`` functions may overwrite what
they are given.
"""

from xpnet.nn.activations import (
    log_softmax,
    log_softmax_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from xpnet.nn.dense import gather_batch, gather_labels, linear, linear_backward
from xpnet.nn.losses import (
    accumulate,
    one_hot,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)
from xpnet.nn.steps import adam_step, momentum_step, nesterov_step, sgd_step

__all__ = [
    "accumulate",
    "adam_step",
    "gather_batch",
    "gather_labels",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "momentum_step",
    "nesterov_step",
    "one_hot",
    "relu",
    "relu_backward",
    "sgd_step",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "squared_error",
    "tanh",
    "tanh_backward",
]
