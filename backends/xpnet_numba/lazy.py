"""Kernels that are imported, and Numba with them, when one is first needed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from xpnet import BackendUnavailableError, nn
from xpnet_numba import forks, settings

_MODULES = {
    "activations": ("relu", "relu_backward", "sigmoid", "sigmoid_backward", "tanh_backward"),
    "dense": ("gather_batch", "linear_backward"),
    "losses": ("sigmoid_cross_entropy", "softmax_cross_entropy", "squared_error"),
    "softmax": ("log_softmax", "log_softmax_backward", "softmax", "softmax_backward"),
    "steps": ("adam_step", "momentum_step", "nesterov_step", "sgd_step"),
}


def load(module: str) -> Any:
    """Return a module of `kernels`.

    Raises
    ------
    BackendUnavailableError
        If Numba cannot be imported.
    """
    try:
        with forks.compiling:
            return importlib.import_module(f"xpnet_numba.kernels.{module}")
    except ImportError as e:
        raise BackendUnavailableError(
            "numba", f"cannot be loaded: {e}", "install it with `pip install 'xpnet[numba]'`"
        ) from e
    except Exception as e:
        raise BackendUnavailableError(
            "numba", f"cannot be loaded: {type(e).__name__}: {e}", settings.REMEDY
        ) from e


def functions(replace: Callable[[Callable[..., Any], Any], None]) -> dict[str, Callable[..., Any]]:
    """Return the functions of `nn` that have a kernel, each of which becomes it at the first call.

    Parameters
    ----------
    replace : callable
        Is given such a function and its kernel, so that later calls go to that at once.
    """
    return {name: _function(module, name, replace) for module, names in _MODULES.items() for name in names}


def _function(
    module: str, name: str, replace: Callable[[Callable[..., Any], Any], None]
) -> Callable[..., Any]:
    @functools.cache
    def find() -> Any:
        return getattr(load(module), name)

    def function(*args: Any, **kwargs: Any) -> Any:
        kernel = find()
        replace(function, kernel)
        return kernel(*args, **kwargs)

    twin = getattr(nn, name)
    function.__name__, function.__doc__ = name, twin.__doc__
    # Where `inspect` looks for the signature: the twin's, less `xp`.
    function.__wrapped__ = functools.partial(twin, None)  # type: ignore[attr-defined]
    return function
