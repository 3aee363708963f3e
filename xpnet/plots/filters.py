"""Figures of the filters that the first layer of a model has learned."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import checks, reprs, widths
from xpnet.errors import shortened
from xpnet.layer import Params, Shape
from xpnet.models import Sequential
from xpnet.plots.figures import drawn
from xpnet.plots.images import completed, draw_images, image_shape
from xpnet.run import Run


def plot_filters(
    model: Run | Sequential,
    params: Params | None = None,
    *,
    n: int = 64,
    shape: Any = None,
    save: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a figure of the weights of the first linear layer or convolution, as pictures.

    Parameters
    ----------
    model : Run or Sequential
    params : dict of arrays, optional
        Of the model; a run has its own.
    n : int
        Most pictures to draw: one for each output and each channel of the input.
    shape : tuple of int, optional
        (height, width) or (height, width, channels) of images that enter a linear layer as rows of features.
        If omitted, that of the images that the run was trained on or the model makes, or a square from 8 x 8
        features on.
    save : str or path, optional
        Where to write the figure; the suffix names the format: PNG, SVG or PDF.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the features are no images, or no layer has a `weight` of such a shape.
    """
    most = checks.count("n", n)
    entering = None if shape is None else completed(shape)
    if isinstance(model, Run):
        known = None if model.inputs is None else model.inputs.shape
        params = {name: model.xp.to_host(p) for name, p in (params or model.params).items()}
        entering, model = entering or known, model.model
    if params is None:
        raise ValueError("a model was passed without `params`: pass `plot_filters(model, params)`, or a run")
    found = _first_weight(model.layers, entering)
    if found is None:
        raise ValueError("the model has no layer with a `weight`, so there are no filters to draw")
    name, layer, image = found
    kernels = _kernels(name, _on_host(params[name]), model, image)
    outputs, channels, height, width = kernels.shape
    pictured = [*kernels.reshape(-1, height, width)[:most]]
    numbers = [divmod(i, channels) for i in range(len(pictured))]
    captions = [f"{output}, channel {c}" if channels > 1 else str(output) for output, c in numbers]
    part = "" if len(pictured) == outputs * channels else f"first {len(pictured)} of "
    title = f"{name} of {shortened(reprs.of_layer(layer), 60)}: {part}"
    title += f"{reprs.counted(outputs * channels, 'picture')} of {height} x {width}"
    draw = functools.partial(draw_images, title=title, captions=captions, signed=True, bar="weight")
    return drawn(draw, pictured, save)


def _first_weight(
    layers: Sequence[Any], image: Shape | None, prefix: str = ""
) -> tuple[str, Any, Shape | None] | None:
    """Return the name of the first `weight`, its layer and the shape of the last images before it, if any."""
    shape = image
    for i, layer in enumerate(layers):
        if reprs.is_group(layer):
            found = _first_weight(layer.layers, image, f"{prefix}{i}.")
            if found is not None:
                return found
        elif "weight" in layer.shapes:
            return f"{prefix}{i}.weight", layer, image
        shape = widths.shape_after(layer, shape)
        if shape is not None and len(shape) == 3 and None not in shape:
            image = shape
    return None


def _kernels(name: str, weight: np.ndarray, model: Sequential, image: Any) -> np.ndarray:
    """Return weights as (outputs, channels, height, width), those of a linear layer as maps of images."""
    if weight.ndim == 2:
        weight = weight.reshape(*image_shape((len(weight),), model, image), -1)
    if weight.ndim != 4:
        raise ValueError(f"`{name}` has shape {weight.shape}, which is no linear layer and no convolution")
    return np.moveaxis(weight, (3, 2), (0, 1))


def _on_host(weight: Any) -> np.ndarray:
    try:
        return np.asarray(weight)
    except TypeError as e:
        raise TypeError(
            f"`params` are arrays of a device, which cannot be drawn ({e}); pass the run, or what "
            "`xp.to_host` returns for each"
        ) from e
