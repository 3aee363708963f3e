"""Arrays of scikit-learn's callers: on the host for training, and back in their own library."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np
from sklearn import get_config


def on_host(x: Any) -> Any:
    """Return an array of any library as one of NumPy, and anything else as it is."""
    if isinstance(x, np.ndarray) or not array_api_compat.is_array_api_obj(x):
        return x
    return np.from_dlpack(x, device="cpu")


def like(found: np.ndarray, x: Any) -> Any:
    """Return a result in the library of `x` and on its device, unless it is text, which only NumPy has."""
    if library(x) is np or found.dtype.kind not in "biuf":
        return found
    return array_api_compat.array_namespace(x).asarray(found, device=array_api_compat.device(x))


def flattened(x: Any) -> Any:
    """Return images as rows of their pixels, of the same library."""
    pixels = math.prod(x.shape[1:])
    if isinstance(x, np.ndarray):
        return x.reshape(len(x), pixels)
    return array_api_compat.array_namespace(x).reshape(x, (x.shape[0], pixels))


def library(x: Any) -> Any:
    """Return the library in which scikit-learn keeps `x`: NumPy, unless ``array_api_dispatch`` is set."""
    others = array_api_compat.is_array_api_obj(x) and not isinstance(x, np.ndarray)
    return array_api_compat.array_namespace(x) if others and get_config()["array_api_dispatch"] else np


def place(x: Any) -> tuple[str, str]:
    """Return the names of the library of an array and of its device."""
    found = library(x)
    return (found.__name__, "cpu") if found is np else (found.__name__, str(array_api_compat.device(x)))
