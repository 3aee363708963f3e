"""Short texts of models and runs, for a prompt, a notebook or an error."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from xpnet.errors import shortened

_MOST = 300  # characters of a model
_MOST_OF_A_VALUE = 60
_MOST_WIDTHS = 8


def of_group(group: Any) -> str:
    """Return a layer that consists of layers as the call that makes it, on one line of limited length."""
    return _group(group, _MOST)


def is_group(layer: Any) -> bool:
    """Return whether a layer consists of `layers`, whose numbers are in the names of its parameters."""
    kind: Any = type(layer)
    return kind.__repr__ is of_group


def of_layer(layer: Any) -> str:
    """Return a layer as the call that makes it, without the options that have their defaults.

    A layer of another kind than a dataclass, or with a `__repr__` of its own, is what that says.
    """
    return _layer(layer, _MOST)


def widths(layers: Sequence[Any]) -> str:
    """Return what a model is in a few words: ``"784-64-10"``, or its number of layers."""
    widened = [layer for layer in layers if getattr(layer, "n_out", None) is not None]
    is_plain = not any(is_group(layer) or getattr(layer, "takes_images", False) for layer in layers)
    if is_plain and 0 < len(widened) <= _MOST_WIDTHS and hasattr(widened[0], "n_in"):
        return "-".join(str(n) for n in (widened[0].n_in, *(layer.n_out for layer in widened)))
    return counted(len(layers), "layer")


def of_run(run: Any) -> str:
    """Return what was trained where, for how long and with which success."""
    epochs = counted(len(run.history), "epoch")
    success = _success(run.history[-1]) if run.history else ""
    return f"<xpnet.Run of {widths(run.model.layers)} on {run.xp.name}, {epochs}{success}>"


def counted(n: int, what: str) -> str:
    """Return a number of things: ``"1 epoch"``, ``"9 epochs"``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _success(epoch: Any) -> str:
    """Return the first of these figures that an epoch has, as text."""
    for what in ("test", "validation"):
        accuracy, loss = (getattr(epoch, f"{what}_{figure}") for figure in ("accuracy", "loss"))
        if accuracy is not None:
            return f", {what} accuracy {accuracy:.2%}"
        if loss is not None:
            return f", {what} loss {loss:.4f}"
    return f", train loss {epoch.train_loss:.4f}"


def _group(group: Any, room: int) -> str:
    """Return a group in about `room` characters; layers that no longer fit are counted."""
    parts: list[str] = []
    room -= len(type(group).__name__)
    for i, layer in enumerate(group.layers):
        part = _layer(layer, room) if room > 0 else ""
        room -= len(part) + 2
        if room < 0:
            parts.append(f"... {len(group.layers) - i} more")
            break
        parts.append(part)
    return f"{type(group).__name__}({', '.join(parts)})"


def _layer(layer: Any, room: int) -> str:
    if is_group(layer):
        return _group(layer, room)
    made = getattr(layer, "__dataclass_params__", None)
    # The `__repr__` that a dataclass makes is wrapped, so that it stops at itself.
    if made is None or not made.repr or not hasattr(type(layer).__repr__, "__wrapped__"):
        return shortened(repr(layer), _MOST)
    fields = [field for field in dataclasses.fields(layer) if field.init and field.repr]
    required = {field.name for field in fields if _is_required(field)}
    usual = _usual(layer, required)
    parts = []
    for field in fields:
        value = getattr(layer, field.name)
        if field.name not in required and _is_same(value, getattr(usual, field.name, field.default)):
            continue
        by_name = "" if field.name in required and not field.kw_only else f"{field.name}="
        parts.append(f"{by_name}{shortened(repr(value), _MOST_OF_A_VALUE)}")
    return f"{type(layer).__qualname__.rpartition('.')[2]}({', '.join(parts)})"


def _is_required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _usual(layer: Any, required: set[str]) -> Any:
    """Return a layer that has the defaults, as its class converts them, or None if it cannot be made."""
    with contextlib.suppress(Exception):
        return type(layer)(**{name: getattr(layer, name) for name in required})
    return None


def _is_same(one: Any, other: Any) -> bool:
    with contextlib.suppress(Exception):  # An array of several elements is neither true nor false.
        return one is other or bool(one == other)
    return False
