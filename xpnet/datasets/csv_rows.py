"""The rows of a CSV file with a header, in blocks; plain or gzipped."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import gzip
import os
import re
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any

from xpnet.checks import count
from xpnet.errors import fitted, shortened
from xpnet.files import to_read

Path = str | bytes | os.PathLike[Any]

DELIMITERS = ",;\t"
"""Those that are recognised by the header; the first if several fit."""
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"
# As for IDX files. Tables shrink to a third or a tenth, well within this.
_MOST_UNPACKED, _MOST_UNPACKED_PER_BYTE = 256 << 20, 32
_LONGEST_LINE = 16 << 20  # bytes
_BLOCK = 4096  # rows


class Refusal(Exception):  # noqa: N818
    """A table's content is wrong; says how, and what to do about it."""

    def __init__(self, finding: str, advice: str) -> None:
        super().__init__(finding, advice)
        self.finding = finding
        self.advice = advice


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows of a table.

    Attributes
    ----------
    columns : tuple of tuple of str
        The cells of each column.
    first : int
        The number of the first row; rows are counted from 1, without the header.
    lines : list of int
        In which line of the file each row ends.
    """

    columns: tuple[tuple[str, ...], ...]
    first: int
    lines: list[int]

    def place(self, i: int) -> str:
        """Return where row `i` of the block is, for an error."""
        return f"row {self.first + i} (line {self.lines[i]})"


@contextlib.contextmanager
def opened_rows(
    path: Path, *, delimiter: str | None = None, max_bytes: int | None = None
) -> Iterator[tuple[list[str], Iterator[Block]]]:
    """Return a context with the header of a CSV file and its rows; within, a `Refusal` gets the file's name.

    Parameters
    ----------
    path : path
        UTF-8. Plain or gzipped: the first two bytes decide, whatever the name.
    delimiter : str, optional
        One character. If omitted, a comma, a semicolon or a tab, whichever the header has.
    max_bytes : int, optional
        Limit for the unpacked file. If omitted, a gzipped file may unpack to 256 MiB, or to 32 times its own
        size if that is more; a plain file has no limit.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or it is a folder, a pipe or a device.
    OSError
        If it cannot be read.
    ValueError
        If it is no such table.
    """
    most = None if max_bytes is None else count("max_bytes", max_bytes)
    _check_delimiter(delimiter)
    named = repr(os.fsdecode(path))
    try:
        name = to_read(path)
    except OSError as e:
        found = "" if isinstance(e, FileNotFoundError) else f": {e.strerror}"
        template = "there is no file {path}{found}; correct the path"
        raise FileNotFoundError(fitted(template, path=named, found=found)) from e
    try:
        with open(name, "rb") as file:
            yield _read(file, delimiter, most)
    except Refusal as e:
        template = "table {path} {finding}; {advice}"
        message = fitted(template, path=named, finding=e.finding, advice=e.advice)
        raise ValueError(message) from e.__cause__
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        template = "table {path} is a truncated or damaged gzip file ({reason}); download or write it again"
        raise ValueError(fitted(template, path=named, reason=e)) from e
    except OSError as e:
        template = "cannot read {path}: {reason}; pass a file that you may read"
        raise type(e)(fitted(template, path=named, reason=e.strerror or e)) from e


def _check_delimiter(delimiter: Any) -> None:
    if delimiter is None:
        return
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise ValueError(
            f"`delimiter` must be one character, such as ';', got {shortened(repr(delimiter), 40)}"
        )


def _read(file: Any, delimiter: str | None, most: int | None) -> tuple[list[str], Iterator[Block]]:
    """Return the header and the rows of an open file."""
    stored = os.fstat(file.fileno()).st_size
    zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    stream: BufferedIOBase = gzip.GzipFile(fileobj=file) if zipped else file
    if zipped:
        most = most or max(_MOST_UNPACKED, _MOST_UNPACKED_PER_BYTE * stored)
    lines = _lines(stream, most)
    first = next(lines, "")
    if not first.strip():
        raise Refusal(
            "is empty" if not first else "begins with an empty line",
            "write a header with the names of the columns",
        )
    reader = csv.reader(_chained(first, lines), delimiter=delimiter or _delimiter(first), strict=True)
    rows = _rows(reader)
    header = [name.strip() for name in next(rows)]
    _check_header(header)
    return header, _blocks(reader, rows, len(header))


def _lines(stream: BufferedIOBase, most: int | None) -> Iterator[str]:
    """Yield the lines of a file as text, and raise at what no table has."""
    read, number = 0, 0
    while line := stream.readline(_LONGEST_LINE):
        number += 1
        read += len(line)
        if most is not None and read > most:
            raise Refusal(
                f"has more than {most} bytes", f"if you trust it, pass a larger `max_bytes` than {most}"
            )
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            raise Refusal(
                f"has a line of more than {_LONGEST_LINE} bytes, line {number}", "check that it is a CSV file"
            )
        try:
            text = (line.removeprefix(_BOM) if number == 1 else line).decode()
        except UnicodeDecodeError as e:
            raise Refusal(f"has bytes in line {number} that are not UTF-8", "save it as UTF-8") from e
        if "\0" in text:
            raise Refusal(
                f"has a NUL byte in line {number}", "check that it is a CSV file, and save it as UTF-8"
            )
        yield text


def _chained(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _delimiter(line: str) -> str:
    """Return the delimiter that is most often in the first line, outside quotation marks."""
    return max(DELIMITERS, key=re.sub('"[^"]*"', "", line).count)


def _rows(reader: Any) -> Iterator[list[str]]:
    """Yield rows as the reader gives them, with errors that name the line."""
    while True:
        try:
            row = next(reader, None)
        except csv.Error as e:
            advice = "check the quotation marks and line ends around it"
            raise Refusal(f"cannot be read in line {reader.line_num}: {e}", advice) from e
        if row is None:
            return
        yield row


def _check_header(header: list[str]) -> None:
    twice = [name for i, name in enumerate(header) if name and name in header[:i]]
    if twice:
        raise Refusal(f"has two columns {twice[0]!r}", "give each column a name of its own")


def _blocks(reader: Any, rows: Iterator[list[str]], width: int) -> Iterator[Block]:
    found: list[list[str]] = []
    lines: list[int] = []
    first = 1
    for row in rows:
        # A line without any cell is left out; in a table of one column it is an empty cell.
        if not row and width > 1:
            continue
        if len(row or [""]) != width:
            n = first + len(found)
            raise Refusal(
                f"has {len(row)} cells in row {n} (line {reader.line_num}), but {width} columns",
                "correct the row; a cell that contains the delimiter must be in quotation marks",
            )
        found.append(row or [""])
        lines.append(reader.line_num)
        if len(found) == _BLOCK:
            yield Block((*zip(*found, strict=True),), first, lines)
            first, found, lines = first + len(found), [], []
    if found:
        yield Block((*zip(*found, strict=True),), first, lines)
        first += len(found)
    if first == 1:
        raise Refusal("has a header, but no rows", "pass a file with data")
