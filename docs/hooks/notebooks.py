"""The notebooks of the course as pages; each notebook itself is beside its page, to be downloaded."""

from __future__ import annotations

import pathlib
import posixpath
from typing import Any

import nbformat
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor


def on_config(config: Any) -> Any:
    """List the notebooks where the navigation says ``course/``."""
    folder = pathlib.Path(config.docs_dir, "course")
    notebooks = [f"course/{path.stem}.md" for path in sorted(folder.glob("*.ipynb"))]
    for entry in config.nav:
        if "course/" in entry.values():
            entry.update({name: ["course/index.md", *notebooks] for name in entry})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add a page, and its pictures, for each notebook."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        _add(files, config, notebook)
    return files


def _add(files: Any, config: Any, notebook: Any) -> None:
    name = posixpath.splitext(notebook.src_uri)[0]
    document = nbformat.reads(notebook.content_string, as_version=4)
    document.metadata.setdefault("language_info", {"name": "python"})
    resources = {"output_files_dir": posixpath.basename(name), "unique_key": "picture"}
    exporter = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor(enabled=True)])
    text, made = exporter.from_notebook_node(document, resources=resources)
    text = text.replace("![png]", "![What the program above draws]")
    link = f'<a href="{posixpath.basename(notebook.src_uri)}" download>Download this notebook</a>'
    files.append(File.generated(config, f"{name}.md", content=f"{text}\n\n{link}\n"))
    for path, content in made["outputs"].items():
        place = posixpath.join(posixpath.dirname(name), path)
        files.append(File.generated(config, place, content=content))
