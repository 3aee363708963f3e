"""The reference of the functions of `nn`, from their declarations and docstrings."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import sys
import types
from typing import Any
from unittest import mock

import xpnet
from xpnet import nn

_MARK = "<!-- functions of nn -->"
# A dash before a description that the docstring does not have.
_NOTHING = re.compile(r'\s*\u2013\s*<div class="doc-md-description">\s*</div>')
_TYPE = re.compile(r"\(\s*<code>((?:(?!</?code>).)*)</code>\s*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page with all functions of `nn` in the place of its mark."""
    if _MARK not in markdown:
        return markdown
    kernels = {"numba": set(xpnet.backend("numba").fused), "cupy": _names_of_cupy()}
    parts = []
    for module, functions in itertools.groupby(nn.FUNCTIONS.values(), lambda each: each.twin.__module__):
        parts.append(f"## {module.rpartition('.')[2].replace('_', ' ').capitalize()}")
        parts += [_section(function, kernels) for function in functions]
    return markdown.replace(_MARK, "\n\n".join(parts))


def on_page_content(content: str, **_: Any) -> str:
    """Return the page without empty descriptions, and with the types of arguments as docstrings have them."""
    return re.sub(_TYPE, _as_written, re.sub(_NOTHING, "", content))


def _as_written(match: re.Match[str]) -> str:
    # What looks like an expression was written again as one: a tuple, and a call of `shape`.
    text = re.sub(r"</?span[^>]*>", "", match[1])
    text = text[1:-1] if text.startswith("(") else text
    text = re.sub(r"shape\((\w+)\)", r"shape (\1,)", text.replace("`", ""))
    return f"(<code>{text.replace('shape(', 'shape (')}</code>)"


def _section(function: nn.Function, kernels: dict[str, set[str]]) -> str:
    """Return the docstring of a function, which mkdocstrings puts there, and what its declaration says."""
    having = [name for name, names in kernels.items() if function.name in names]
    facts = {
        "Declaration": f"`{function.declaration}`",
        "Changed in place": ", ".join(f"`{name}`" for name in function.changed),
        "Gradient": _reference(function.gradient),
        "Kernels": ", ".join(f"`{name}`" for name in having) or "none: every backend runs the portable code",
    }
    lines = "\n".join(f"- {name}: {text}" for name, text in facts.items() if text)
    listed = f'<div class="declared" markdown>\n\n{lines}\n\n</div>'
    return f"::: {function.twin.__module__}.{function.name}\n\n{listed}"


def _reference(name: str | None) -> str:
    return f"[`{name}`][{nn.FUNCTIONS[name].twin.__module__}.{name}]" if name else ""


def _names_of_cupy() -> set[str]:
    """Return the functions that have CUDA kernels, where CuPy need not be installed."""
    spec = importlib.util.find_spec("xpnet_cupy")
    package = types.ModuleType("xpnet_cupy")
    package.__path__ = list(spec.submodule_search_locations or ()) if spec else []
    with mock.patch.dict(sys.modules, {"cupy": mock.MagicMock(), "xpnet_cupy": package}):
        dense = importlib.import_module("xpnet_cupy.dense")
        return set(importlib.import_module("xpnet_cupy.functions").functions(dense.Dense))
