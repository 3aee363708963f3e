"""Documents of the repository as pages of the site, and links between the two.

A page links to files as they lie in the repository, so that its links work on a code host too. Here each link
gets the place of its target on the site: a page, or a copy of the file.
"""

from __future__ import annotations

import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[2]
PAGES = {
    "ARCHITECTURE.md": "project/architecture.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "backends/README.md": "how-to/add-a-backend.md",
    "benchmarks/NOTES.md": "benchmarks/notes.md",
    "benchmarks/README.md": "benchmarks/method.md",
    "xpnet/datasets/mnist_files/LICENSE.md": "project/licence-of-mnist.md",
}
"""Documents outside `docs/` and the pages that they become."""
_PLACES = {**PAGES, "README.md": "start/install.md", "xpnet/lessons/README.md": "course/index.md"}
_SOURCES = {page: source for source, page in PAGES.items()}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|[#/])([^()\s#]+)(?=[)#])")


def on_files(files: Any, config: Any) -> Any:
    """Add the documents, and copies of the files that pages link to."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page in [file for file in files if file.src_uri.endswith(".md")]:
        for target in re.findall(_LINK, page.content_string):
            path = _target(page.src_uri, target)
            if _place(path).startswith("files/") and files.get_file_from_path(_place(path)) is None:
                files.append(File.generated(config, _place(path), abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with its links to files of the repository as links of the site."""
    here = page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        place = _place(_target(here, match[1]))
        return posixpath.relpath(place, posixpath.dirname(here) or ".") if place else match[1]

    return re.sub(_LINK, moved, markdown)


def _target(page: str, link: str) -> str:
    """Return what a page links to, as a path in the repository."""
    source = _SOURCES.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _place(path: str) -> str:
    """Return the place of a file of the repository on the site; empty if there is no such file."""
    if path in _PLACES:
        return _PLACES[path]
    if not (ROOT / path).is_file():
        return ""
    if path.endswith(".ipynb"):
        path = f"{path.removesuffix('.ipynb')}.md"  # the page that `notebooks` makes of it
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"
