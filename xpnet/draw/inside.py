"""What happens inside a model: the activations of its hidden layers, packed for a page."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import handwriting, reprs
from xpnet.image_layers import Conv2d
from xpnet.run import Run

_MOST_UNITS, _MOST_MAPS = 512, 64  # that are shown of a layer
_MOST_LAYERS = 20  # that are shown of a model
_SHORT = 60  # characters of a layer


class Inside:
    """The hidden layers that a page shows: each linear or convolution layer with what follows it in place.

    Attributes
    ----------
    about : list of dict
        What does not change with the drawing, as JSON.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        outputs = run.activations(handwriting.inputs_of(run, np.zeros((1, 28, 28), np.uint8)))
        self._stages = _stages(run.model, outputs)[:_MOST_LAYERS]
        self.about = [_about(run, stage, outputs) for stage in self._stages]

    def of(self, inputs: np.ndarray) -> list[dict[str, Any]]:
        """Return the activations for one image: each a share of the largest of its layer, in 127 steps."""
        outputs = self._run.activations(inputs)
        return [_packed(_shown(outputs[stage[-1]][0])) for stage in self._stages]


def _stages(model: Any, outputs: dict[str, np.ndarray]) -> list[list[str]]:
    """Return the numbers of layers that belong together; the outputs of the last one are shown."""
    found: list[list[str]] = []
    last = None
    for number, layer in _numbered(model):
        if not reprs.is_group(layer) and getattr(layer, "n_out", None) is not None:
            found.append([number])
        elif found and found[-1][-1] == last and outputs[number].shape == outputs[last].shape:
            found[-1].append(number)
        last = number
    # The outputs of the model are no hidden layer.
    return [stage for stage in found if stage[-1] != last]


def _numbered(group: Any, begin: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the number of each layer and the layer, in the order of `activations`."""
    for i, layer in enumerate(group.layers):
        if reprs.is_group(layer):
            yield from _numbered(layer, f"{begin}{i}.")
        yield f"{begin}{i}", layer


def _about(run: Run, stage: list[str], outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    layers = dict(_numbered(run.model))
    shape = outputs[stage[-1]].shape[1:]
    is_maps = len(shape) == 3
    inner = [layers[number] for number in stage if not reprs.is_group(layers[number])]
    about = {
        "kind": "maps" if is_maps else "units",
        "count": shape[-1],
        "shown": min(shape[-1], _MOST_MAPS if is_maps else _MOST_UNITS),
        "made_by": ", ".join(reprs.of_layer(layer)[:_SHORT] for layer in inner),
    }
    if is_maps:
        about |= {"height": shape[0], "width": shape[1]}
    if isinstance(layers[stage[0]], Conv2d) and layers[stage[0]].n_in == 1:
        weight = np.array(run.xp.to_host(run.params[f"{stage[0]}.weight"]))[:, :, 0]
        about["kernels"] = {"height": weight.shape[0], "width": weight.shape[1], **_packed(_shown(weight))}
    return about


def _shown(values: np.ndarray) -> np.ndarray:
    """Return units, or maps with the filters first, as many as are shown."""
    if values.ndim == 1:
        return values[:_MOST_UNITS]
    return np.moveaxis(values, -1, 0)[:_MOST_MAPS]


def _packed(values: np.ndarray) -> dict[str, Any]:
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    largest = float(np.abs(finite).max())
    return {"values": packed(np.rint(127 * finite / (largest or 1.0)).astype(np.int8))}


def packed(array: np.ndarray) -> str:
    """Return the bytes of an array as text."""
    return base64.b64encode(array.tobytes()).decode()
