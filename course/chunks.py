"""The parts of a lesson's module that a notebook shows: its explanation and its program, by paragraph."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

import formulas


def title(module: Any) -> tuple[str, str]:
    """Return the title of a lesson and what it is about, from the first line of its docstring."""
    name, _, about = module.__doc__.partition("\n")[0].partition(": ")
    return name, about[:1].upper() + about[1:]


def explanation(module: Any) -> list[str]:
    """Return the paragraphs after the title as Markdown, their formulas as LaTeX."""
    return [_as_markdown(text) for text in module.__doc__.strip().split("\n\n")[1:]]


def paragraphs(module: Any) -> list[str]:
    """Return the paragraphs of the lesson's `run` as a program of its own, which ends with `figures`."""
    (function,) = (node for node in _statements(module) if getattr(node, "name", "") == "run")
    lines = inspect.getsource(module).splitlines()[function.body[1].lineno - 1 : function.end_lineno]
    return [_as_program(text) for text in textwrap.dedent("\n".join(lines)).split("\n\n")]


def definitions(module: Any) -> dict[str, str]:
    """Return the source of each function, class and constant of a lesson, and of its imports."""
    source, found = inspect.getsource(module), {"imports": "from __future__ import annotations\n\n"}
    for node in _statements(module):
        text = ast.get_source_segment(source, node) or ""
        if isinstance(node, ast.ImportFrom | ast.Import):
            if getattr(node, "module", "") not in ("__future__", "collections.abc", "typing"):
                found["imports"] += f"{text}\n"
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = text
        elif isinstance(node, ast.Assign):
            found[_first_name(node)] = "\n".join(source.splitlines()[node.lineno - 1 : node.end_lineno])
    return found


def settings(module: Any, changed: dict[str, Any]) -> str:
    """Return the options of `run` as assignments; comments say where they differ from the command's."""
    lines = []
    for name, parameter in inspect.signature(module.run).parameters.items():
        if name not in ("xp", "say"):
            value, usual = changed.get(name, parameter.default), parameter.default
            note = f"  # `xpnet lesson` takes {'all images' if usual is None else usual}"
            lines.append(f"{name} = {value}" + (note if value != usual else ""))
    return "\n".join([*lines, "say = print"])


def _statements(module: Any) -> list[Any]:
    return ast.parse(inspect.getsource(module)).body


def _first_name(node: ast.Assign) -> str:
    return next(name.id for name in ast.walk(node) if isinstance(name, ast.Name))


def _as_program(paragraph: str) -> str:
    result = re.sub(r"^return ", "figures = ", paragraph, flags=re.MULTILINE)
    result = re.sub(r"^(\w+): .*? = ", r"\1 = ", result, flags=re.MULTILINE)  # without types
    return re.sub(r"\nfigures = figures$", "", result).rstrip()


def _as_markdown(paragraph: str) -> str:
    if not paragraph.startswith(" "):
        joined = " ".join(paragraph.splitlines())
        return re.sub("``(.+?)``", lambda found: f"${formulas.inline(found.group(1))}$", joined)
    rows = [re.split(r" {2,}", line.strip()) for line in paragraph.splitlines()]
    if "=" in paragraph or "~" in paragraph:
        return f"$$\n{formulas.typeset(paragraph)}\n$$"
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]])
