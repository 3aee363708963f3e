"""What each layer of a model gives for inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import reprs
from xpnet.batches import Batches, Scaling
from xpnet.datasets.dataset import without_targets
from xpnet.evaluation import SILENT
from xpnet.layer import Params
from xpnet.measure import BATCH_SIZE
from xpnet.models import Sequential, check_params, copy_params
from xpnet.namespace import Namespace, check_namespace
from xpnet.problem import check_fit, images_for

Array = Any


@SILENT
def activations(
    xp: Namespace,
    model: Sequential,
    params: Params,
    images: Any,
    *,
    scale: float = 1 / 255,
    offset: float = 0.0,
) -> dict[str, np.ndarray]:
    """Return the output of each layer for each image, as in prediction.

    All of them are kept on the host, so pass a few images, such as ``images[:10]``.

    Parameters
    ----------
    images : array_like, shapes as of `Dataset`, uint8 or float, or Dataset
        On the host. For the other parameters see `xpnet.evaluate`.

    Returns
    -------
    outputs : dict of str to NumPy array, shape (n, features) or (n, height, width, channels)
        By the number of the layer, in order: ``"0"``, ``"1"``; a model within the model is ``"2"``, after its
        layers ``"2.0"`` and ``"2.1"``.
    """
    check_namespace(xp)
    dataset = without_targets(images)
    check_fit("images", dataset, model)
    dtype = check_params(xp, model, params)
    batches = Batches(xp, images_for(model, dataset), dtype=dtype, scaling=Scaling(scale, offset))
    params = copy_params(xp, params)  # row by row, which kernels are fast with
    found: dict[str, list[np.ndarray]] = {}
    for x in batches.in_order(BATCH_SIZE):
        for number, y in _outputs(xp, model, params, x, ""):
            # Copied, because a layer may return its input, and the next batch the same memory.
            found.setdefault(number, []).append(np.array(xp.to_host(y)))
    return {number: np.concatenate(parts) for number, parts in found.items()}


def _outputs(xp: Namespace, group: Any, params: Params, x: Array, begin: str) -> Iterator[tuple[str, Array]]:
    """Yield the number and the output of each layer of a group; `begin` begins the numbers."""
    for i, layer in enumerate(group.layers):
        own = {name[len(f"{i}.") :]: p for name, p in params.items() if name.startswith(f"{i}.")}
        y = x
        if reprs.is_group(layer):
            for number, y in _outputs(xp, layer, own, x, f"{begin}{i}."):
                yield number, y
        if type(layer) is not Sequential:  # whose output is that of its last layer
            y, _ = layer(xp, own, x)
        yield f"{begin}{i}", y
        x = y
