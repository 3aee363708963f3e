"""Kernels that are imported, and Numba with them, when the first one is needed."""

from __future__ import annotations

import functools
import importlib.util
import types
from collections.abc import Callable
from typing import Any, TypeVar

from xpnet import BackendUnavailableError, nn
from xpnet_numba import forks, settings

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


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


@functools.cache
def _defined(module: str) -> frozenset[str]:
    """Return the names of the functions that a module of `kernels` defines, without importing it."""
    spec = importlib.util.find_spec(f"xpnet_numba.kernels.{module}")
    code = spec.loader.get_code(spec.name) if spec else None  # type: ignore[union-attr]
    constants = code.co_consts if code else ()
    return frozenset(constant.co_name for constant in constants if isinstance(constant, types.CodeType))


def module_of(function: nn.Function) -> str | None:
    """Return the module of `kernels` that has a kernel of a function: the one named like its twin's."""
    module = function.twin.__module__.rpartition(".")[2]
    return module if function.name in _defined(module) else None


def has_operation(function: nn.Function) -> bool:
    """Return whether compiled steps have an operation for a function."""
    return module_of(function) is not None or function.name in _defined("operations")


def functions(replace: Callable[[Callable[..., Any], Any], None]) -> dict[str, Callable[..., Any]]:
    """Return the functions of `nn` that have a kernel, each of which becomes it at the first call.

    Parameters
    ----------
    replace : callable
        Takes such a function and its kernel; later calls should go to the kernel directly.
    """
    modules = {function.name: module_of(function) for function in nn.FUNCTIONS.values()}
    return {name: _function(module, name, replace) for name, module in modules.items() if module}


def _function(
    module: str, name: str, replace: Callable[[Callable[..., Any], Any], None]
) -> Callable[..., Any]:
    @functools.cache
    def find() -> Any:
        return getattr(load(module), name)

    @named_like_its_twin(name)
    def function(*args: Any, **kwargs: Any) -> Any:
        kernel = find()
        replace(function, kernel)
        return kernel(*args, **kwargs)

    return function


def named_like_its_twin(name: str) -> Callable[[AnyFunction], AnyFunction]:
    """Decorate a function that takes what a function of `nn` takes, less `xp`."""

    def decorate(function: Any) -> Any:
        twin = nn.FUNCTIONS[name].twin
        function.__name__, function.__doc__ = name, twin.__doc__
        function.__wrapped__ = functools.partial(twin, None)  # where `inspect` finds the signature
        return function

    return decorate
