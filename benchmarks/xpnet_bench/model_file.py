"""A network in a Python file of the user's, named ``file.py:model``."""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from typing import Any

import xpnet
from xpnet.errors import fitted, shortened

_EXAMPLE = "`model = xpnet.Sequential(...)`, or a function that returns one"


def load_model(named: str) -> xpnet.Sequential:
    """Return the model that a file defines, given ``"file.py:name"``.

    The file is run as a program is, but not as ``__main__``.

    Raises
    ------
    ValueError
        If there is no such file or name, if the file's code raises, or if the name is no model.
    """
    path, _, name = named.rpartition(":")
    if not path or not name.isidentifier():
        raise ValueError(f"{shortened(repr(named), 100)} names no model; pass one as in `net.py:model`")
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {shortened(repr(path), 150)}; pass one as in `net.py:model`")
    found = _called(path, lambda: _names(path))
    if name not in found:
        template = "{path} has no {name}; write " + _EXAMPLE
        raise ValueError(fitted(template, path=repr(path), name=repr(name)))
    model = found[name]
    if not isinstance(model, xpnet.Sequential) and callable(model) and not isinstance(model, type):
        model = _called(path, model)
    if not isinstance(model, xpnet.Sequential):
        template = "{name} of {path} is {kind}, not an `xpnet.Sequential`; write " + _EXAMPLE
        raise ValueError(fitted(template, path=repr(path), name=repr(name), kind=type(model).__name__))
    return model


def _names(path: str) -> dict[str, Any]:
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as for a program, so that it can import the files beside it
    return runpy.run_path(path, run_name=os.path.splitext(os.path.basename(path))[0])


def _called(path: str, code: Any) -> Any:
    """Return what a user's code returns, or raise an error that names its line."""
    try:
        return code()
    except (Exception, SystemExit) as e:
        lines = [frame.lineno for frame in traceback.extract_tb(e.__traceback__) if frame.filename == path]
        if isinstance(e, SyntaxError) and e.filename == path:
            lines = [e.lineno]
        place = f"line {lines[-1]} of " if lines else ""
        template = f"{place}{{path}} raised {type(e).__name__}: {{text}}; correct it"
        text = e.msg if isinstance(e, SyntaxError) else e
        raise ValueError(fitted(template, path=repr(path), text=text)) from e
