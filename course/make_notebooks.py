"""Makes and executes the course's notebooks: one for each lesson, in `docs/course`.

    python course/make_notebooks.py             # all, and the page that lists them
    python course/make_notebooks.py loss 14     # some of them

A notebook is made of two sources: the lesson's module in `xpnet/lessons`, and the text of the same name in
`course/pages`, where ``<<...>>`` stands for a part of the module:

    <<explanation 1-3>>         paragraphs of its docstring, with the formulas typeset
    <<run 2>>                   a paragraph of the function `run`, as a program of its own
    <<neuron>>                  a function, class or constant; <<imports>> are the module's
    <<settings limit=5000>>     the options of `run`, perhaps with others than the command's

So no formula, fact or line of a program is written twice.
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
from typing import Any

import chunks
import jupytext
import nbclient
import nbformat

from xpnet.lessons import LESSONS, find_lesson

PAGES = pathlib.Path(__file__).parent / "pages"
FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "course"
README = pathlib.Path(find_lesson("loss").__file__).with_name("README.md")
SECONDS = 300  # the most that a cell may take, also on a busy machine
_START = """import xpnet
from xpnet import plots

xp = xpnet.backend()  # the environment variable XPNET_BACKEND, or "numpy"; pass "numba" for the fast one"""


def path_of(name: str) -> pathlib.Path:
    """Return where the notebook of a lesson is."""
    return FOLDER / f"{LESSONS.index(name) + 1:02}-{name}.ipynb"


def make(name: str) -> Any:
    """Return the notebook of a lesson, not yet executed.

    Raises
    ------
    ValueError
        If its page leaves out a part of the explanation or of `run`, or names one that does not exist.
    """
    module = find_lesson(name)
    page = jupytext.reads((PAGES / f"{name}.md").read_text(encoding="utf-8"), fmt="md")
    parts = _Parts(module)
    cells = [nbformat.v4.new_markdown_cell(_heading(name, module)), nbformat.v4.new_code_cell(_START)]
    for cell in page.cells:
        text = re.sub(r"<<(\w+) ?(.*?)>>", parts.replaced, cell.source)
        make_cell = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        cells.append(
            make_cell(text, metadata={key: cell.metadata[key] for key in ("tags",) if key in cell.metadata})
        )
    parts.check(name)
    for number, cell in enumerate(cells, start=1):
        cell.id = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )


def _heading(name: str, module: Any) -> str:
    title, about = chunks.title(module)
    number = LESSONS.index(name) + 1
    return (
        f"# {number}. {title}\n\n{about}\n\n"
        f"*Lesson {number} of {len(LESSONS)}. In a terminal, `xpnet lesson {name}` runs the same program "
        f"(`xpnet/lessons/{pathlib.Path(module.__file__).name}`).*"
    )


class _Parts:
    """The parts of a lesson's module, and which of them a page has used."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.numbered = {"explanation": chunks.explanation(module), "run": chunks.paragraphs(module)}
        self.named = chunks.definitions(module)
        self.unused = {(kind, i) for kind, texts in self.numbered.items() for i in range(1, len(texts) + 1)}

    def replaced(self, found: re.Match[str]) -> str:
        """Return the text for which ``<<kind arguments>>`` stands."""
        kind, arguments = found.groups()
        if kind == "settings":
            return chunks.settings(self.module, dict(re.findall(r"(\w+)=([^, ]+)", arguments)))
        if kind in self.numbered:
            first, _, last = arguments.partition("-")
            places = range(int(first), int(last or first) + 1)
            self.unused -= {(kind, i) for i in places}
            return "\n\n".join(self.numbered[kind][i - 1] for i in places)
        if kind not in self.named:
            raise ValueError(
                f"<<{kind}>> is not in {self.module.__name__}: choose one of {', '.join(self.named)}"
            )
        return self.named[kind]

    def check(self, name: str) -> None:
        """Raise if a part is left out."""
        if self.unused:
            left = ", ".join(f"<<{kind} {i}>>" for kind, i in sorted(self.unused))
            raise ValueError(f"the page of lesson {name!r} leaves out {left}; add it")


def index() -> str:
    """Return the page that lists the lessons: the table of the lessons' own page, with links to notebooks."""
    table = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    lessons = "\n".join(table)
    for name in LESSONS:
        lessons = lessons.replace(
            f"[`{name}`]({name.replace('-', '_')}.py)", f"[{name}]({path_of(name).name})"
        )
    return (PAGES / "index.md").read_text(encoding="utf-8").replace("<<lessons>>", lessons)


def execute(notebook: Any) -> None:
    """Run all cells in a kernel of their own, and keep what they print and show."""
    variables = {**os.environ, "XPNET_BACKEND": os.environ.get("XPNET_BACKEND", "numba")}
    nbclient.NotebookClient(notebook, timeout=SECONDS, record_timing=False).execute(cwd=FOLDER, env=variables)
    del notebook.metadata.language_info["version"]


def main(names: list[str]) -> None:
    """Write the notebooks of these lessons, or of all, and the page that lists them."""
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")
    for name in names or LESSONS:
        notebook = make(name)
        execute(notebook)
        nbformat.write(notebook, path_of(name))
        print(f"wrote {path_of(name)}")


if __name__ == "__main__":
    main(sys.argv[1:])
