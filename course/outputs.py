"""What a notebook's cells print and show, made the same for every machine and small."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import nbformat
from PIL import Image

MOST_LINES, FIRST, LAST = 40, 12, 4  # of what a cell prints; the lines between are left out
COLOURS = 64  # of a picture; more are hardly seen in a plot
_TIMES = re.compile(r"^.*, about \d+ s to go\n", re.MULTILINE)  # differ from run to run


def clean(notebook: Any) -> None:
    """Remove times, make pictures small, and hide solutions with what they print."""
    notebook.metadata.pop("language_info", None)
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = [cleaned for output in _merged(cell.outputs) if (cleaned := _cleaned(output))]
            if "solution" in cell.metadata.get("tags", ()):
                notebook.cells[i] = nbformat.v4.new_markdown_cell(_solution(cell), id=cell.id)


def printed(cell: Any) -> str:
    """Return the text that a cell prints or shows."""
    texts = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs)
    return "".join(texts)


def _merged(outputs: list[Any]) -> list[Any]:
    """Return outputs with what was printed in pieces, by chance, as one."""
    found: list[Any] = []
    for output in outputs:
        if found and output.get("name") and output.get("name") == found[-1].get("name"):
            found[-1].text += output.text
        else:
            found.append(output)
    return found


def _shorter(text: str) -> str:
    lines = text.splitlines(keepends=True)
    if len(lines) <= MOST_LINES:
        return text
    left_out = f"... ({len(lines) - FIRST - LAST} more lines)\n"
    return "".join([*lines[:FIRST], left_out, *lines[-LAST:]])


def _cleaned(output: Any) -> Any:
    """Return an output without what differs from run to run, or None if nothing is left."""
    if output.output_type == "stream":
        output.text = _shorter(_TIMES.sub("", output.text))
        return output if output.text else None
    picture = output.get("data", {}).get("image/png")
    if picture:
        output.data = {"image/png": _smaller(picture)}  # not the text, which names a place in memory
    return output


def _smaller(picture: str) -> str:
    """Return a PNG in base64 with few colours."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    file = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _solution(cell: Any) -> str:
    text = f"<details>\n<summary>Solution</summary>\n\n```python\n{cell.source}\n```\n"
    if cell.outputs:
        text += f"\nIt prints:\n\n```text\n{printed(cell).rstrip()}\n```\n"
    return f"{text}\n</details>"
