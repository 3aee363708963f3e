"""Makes and executes the course's notebooks: one for each lesson, in `docs/course`.

    python course/make_notebooks.py             # all, and the page that lists them
    python course/make_notebooks.py loss 14     # some of them

A notebook is made of two sources: the lesson's module in `xpnet/lessons`, and the text of the same name in
`course/pages`, where ``<<...>>`` stands for a part of the module:

    <<explanation 1-3>>         paragraphs of its docstring, with the formulas typeset
    <<run 2>>                   a paragraph of the function `run`, as a program of its own
    <<neuron>>                  a function, class or constant; <<imports>> are the module's
    <<settings limit=5000>>     the options of `run`, perhaps with others than the command's
    <<picture>>                 the lesson's picture

So no formula, fact or line of a program is written twice. A cell with the tag "solution" is executed, and
then hidden with what it prints.
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
import outputs

from xpnet.lessons import LESSONS, find_lesson
from xpnet.lessons.catalogue import MACHINE, SECONDS, duration, lesson_name

PAGES = pathlib.Path(__file__).parent / "pages"
FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "course"
README = pathlib.Path(find_lesson("loss").__file__).with_name("README.md")
_FORMAT = {"extension": ".md", "split_at_heading": True}
MOST_SECONDS = 300  # that a cell may take, also on a busy machine
_START = """import xpnet
from xpnet import plots

xp = xpnet.backend()  # $XPNET_BACKEND, else "numpy"; xpnet.backend("numba") is usually faster"""


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
    page = jupytext.reads((PAGES / f"{name}.md").read_text(encoding="utf-8"), fmt=_FORMAT)
    parts = Parts(find_lesson(name))
    cells = [nbformat.v4.new_markdown_cell(_heading(name)), nbformat.v4.new_code_cell(_START)]
    for cell in page.cells:
        text = re.sub(r"<<(\w+) ?(.*?)>>", parts.replaced, cell.source)
        if cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(text, metadata=dict(cell.metadata)))
        else:
            cells.append(nbformat.v4.new_markdown_cell(text))
    parts.check(name)
    for number, cell in enumerate(cells, start=1):
        cell.id = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _heading(name: str) -> str:
    module, number = find_lesson(name), LESSONS.index(name) + 1
    title, about = chunks.title(module)
    return (
        f"# {number}. {title}\n\n{about}\n\n"
        f"*Lesson {number} of {len(LESSONS)}. In a terminal, `xpnet lesson {name}` runs the same program, "
        f"`xpnet/lessons/{pathlib.Path(module.__file__).name}`. On another backend, change the next cell.*"
    )


class Parts:
    """The parts of a lesson's module, and which of them a page has not used yet."""

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
        if kind == "picture":
            return f"plots.drawn({self.module.__name__}.draw, figures)"
        if kind in self.numbered:
            first, _, last = arguments.partition("-")
            places = range(int(first), int(last or first) + 1)
            self.unused -= {(kind, i) for i in places}
            return "\n\n".join(self.numbered[kind][i - 1] for i in places)
        if kind not in self.named:
            known = ", ".join(self.named)
            raise ValueError(f"{self.module.__name__} has no {kind!r}: choose one of {known}")
        return self.named[kind].rstrip()

    def check(self, name: str) -> None:
        """Raise if a part is left out."""
        if self.unused:
            left = ", ".join(f"<<{kind} {i}>>" for kind, i in sorted(self.unused))
            raise ValueError(f"the page of lesson {name!r} leaves out {left}; add it")


def build(name: str) -> Any:
    """Return the notebook of a lesson with what its cells print and show, the exercise's solution hidden."""
    notebook = make(name)
    variables = {**os.environ, "XPNET_BACKEND": os.environ.get("XPNET_BACKEND") or "numba"}
    client = nbclient.NotebookClient(notebook, timeout=MOST_SECONDS, record_timing=False)
    client.execute(cwd=str(FOLDER), env=variables)
    outputs.clean(notebook)
    return notebook


def index() -> str:
    """Return the page that lists the lessons: the table of the lessons' own page, with links and times."""
    head, rule, *rows = (line for line in README.read_text(encoding="utf-8").splitlines() if line[:1] == "|")
    lines = [f"{head} {' | '.join(SECONDS)} |", rule + " ---: |" * len(SECONDS)]
    for name, row in zip(LESSONS, rows, strict=True):
        linked = re.sub(r"\[`(.*?)`\]\(.*?\)", rf"[\1]({path_of(name).name})", row)
        lines.append(f"{linked} {' | '.join(duration(known[name]) for known in SECONDS.values())} |")
    page = (PAGES / "index.md").read_text(encoding="utf-8")
    return page.replace("<<lessons>>", "\n".join(lines)).replace("<<machine>>", MACHINE)


def main(lessons: list[str]) -> None:
    """Write the notebooks of these lessons, or of all, and the page that lists them."""
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")
    for name in map(lesson_name, lessons or LESSONS):
        nbformat.write(build(name), path_of(name))
        print(f"wrote {path_of(name)}")


if __name__ == "__main__":
    main(sys.argv[1:])
