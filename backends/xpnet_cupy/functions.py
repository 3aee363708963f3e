"""The functions of `xpnet.nn` that have kernels, written out or derived from their declarations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from xpnet import nn
from xpnet_cupy import (
    augmentation,
    batch_normalisation,
    collective,
    kernels,
    losses,
    normalisation,
    pooling,
    rules,
    shapes,
    source,
    synchronised,
)
from xpnet_cupy.convolution import Convolution
from xpnet_cupy.dense import Dense


def functions(dense: Dense) -> dict[str, Callable[..., Any]]:
    """Return the functions of `xpnet.nn` that have kernels, by name, with the parameters of their twins."""
    convolution = Convolution(dense)
    written = (
        augmentation.random_flip,
        augmentation.random_flip_backward,
        augmentation.random_shift,
        augmentation.random_shift_backward,
        batch_normalisation.batch_norm,
        batch_normalisation.batch_norm_backward,
        batch_normalisation.batch_norm_training,
        batch_normalisation.batch_norm_training_backward,
        batch_normalisation.moving_average,
        collective.all_reduce,
        collective.pack,
        collective.scaled,
        collective.unpack,
        convolution.conv2d,
        convolution.conv2d_backward,
        kernels.accumulate,
        kernels.clip_by_norm,
        kernels.dropout,
        kernels.dropout_backward,
        kernels.gather_batch,
        kernels.gather_labels,
        kernels.leaky_relu,
        kernels.leaky_relu_backward,
        kernels.one_hot,
        kernels.sum_of_squares,
        losses.accumulate_weighted,
        losses.smooth_labels,
        normalisation.layer_norm,
        normalisation.layer_norm_backward,
        normalisation.standardize,
        normalisation.standardize_backward,
        pooling.avg_pool2d,
        pooling.avg_pool2d_backward,
        pooling.global_avg_pool2d,
        pooling.global_avg_pool2d_backward,
        pooling.max_pool2d,
        pooling.max_pool2d_backward,
        shapes.flatten,
        shapes.flatten_backward,
        shapes.unflatten,
        shapes.unflatten_backward,
        synchronised.batch_norm_shared_backward,
        synchronised.batch_norm_slopes,
        synchronised.batch_squares,
        synchronised.batch_sums,
        synchronised.batch_variances,
        dense.linear,
        dense.linear_backward,
    )
    found: dict[str, Callable[..., Any]] = {function.__name__: function for function in written}
    for name, function in nn.FUNCTIONS.items():
        kernel = _derived(function)
        if name not in found and kernel is not None:
            found[name] = _with_parameters(function, kernel)
    return found


def _derived(function: nn.Function) -> Callable[..., Any] | None:
    """Return what takes the arguments of a twin in order; None if there is no kernel."""
    name = function.name
    axes = {form.axes for form in (*function.arrays.values(), *function.results.values())}
    if name in source.ACTIVATIONS:
        return functools.partial(kernels.each, "activate", F=name)
    if name in source.GRADIENTS:
        return functools.partial(kernels.each, "activate_backward", F=source.GRADIENTS[name])
    if name in source.RULES:
        names = [*function.arguments, *function.numbers]
        return lambda *values: rules.step(name, dict(zip(names, values, strict=True)))
    if name in source.KERNELS and function.is_loss:
        return losses.loss_of(function)
    if name in source.KERNELS and len(axes) == 1:
        return functools.partial(kernels.each if function.is_elementwise else kernels.each_row, name)
    return None


def _with_parameters(function: nn.Function, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a kernel as a function with the name, the parameters and the documentation of its twin."""
    signature = inspect.signature(function.twin)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    @functools.wraps(function.twin)
    def call(*args: Any, **kwargs: Any) -> Any:
        if len(args) == len(signature.parameters):  # Binding takes 3 us.
            return kernel(*args)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return kernel(*bound.arguments.values())

    vars(call)["__signature__"] = signature
    return call
