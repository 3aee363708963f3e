"""The IDX format: a big-endian header of sizes, then numbers of one type; plain or gzipped."""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Sequence
from io import BufferedIOBase
from typing import Any

import numpy

from xpnet.checks import count
from xpnet.errors import fitted
from xpnet.files import to_read

_GZIP_MAGIC = b"\x1f\x8b"
# A DEFLATE symbol takes at least two bits (length and distance) and stands for at most 258 bytes.
_MOST_BYTES_PER_GZIPPED_BYTE = 258 * 8 // 2
# Images of digits shrink to a quarter or a tenth, well within this; zeros shrink to a thousandth.
_MOST_UNPACKED, _MOST_UNPACKED_PER_BYTE = 256 << 20, 32
_CHUNK = 1 << 20  # bytes
TYPES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
"""Types of numbers by their code in the header."""
WHOLE_TYPES = tuple(name for name in TYPES.values() if "int" in name)


class _Refusal(Exception):  # noqa: N818
    """A file's content is wrong; says how, and what to do about it."""

    def __init__(self, finding: str, advice: str = "download or write it again") -> None:
        super().__init__(finding, advice)
        self.finding = finding
        self.advice = advice


def read_idx(
    path: str | bytes | os.PathLike[Any],
    *,
    ndim: int | tuple[int, ...],
    dtypes: Sequence[str] = ("uint8",),
    sha256: str | None = None,
    remedy: str | None = None,
    max_bytes: int | None = None,
) -> numpy.ndarray:
    """Return the array from an IDX file.

    The sizes that its header announces are compared with the file's real size before memory is
    allocated.

    Parameters
    ----------
    path : path
        Plain or gzipped: the first two bytes decide, whatever the name.
    ndim : int or tuple of int
        The number of dimensions that the array must have, or several: 3 for images, 1 for labels.
    dtypes : sequence of str
        The types of numbers that it may have, of those of the format: uint8, int8, int16, int32, float32 and
        float64.
    sha256 : str, optional
        The hexadecimal digest that the unpacked file, including its header, must have.
    remedy : str, optional
        What an error tells the user to do; if omitted, it depends on the error.
    max_bytes : int, optional
        Limit for the unpacked file with its header. If omitted, a gzipped file may unpack to 256 MiB, or to
        32 times its own size if that is more; a plain file has no limit.

    Returns
    -------
    array : numpy.ndarray, `ndim` dimensions, one of `dtypes` in the machine's byte order, read-only

    Raises
    ------
    FileNotFoundError
        If there is no such file, or it is a folder, a pipe or a device.
    OSError
        If it cannot be read.
    ValueError
        If its content disagrees with the header, `ndim`, `dtypes` or `sha256`, or is more than `max_bytes`.
    """
    most = None if max_bytes is None else count("max_bytes", max_bytes)
    named = repr(os.fsdecode(path))
    try:
        name = to_read(path)
    except OSError as e:
        found = "" if isinstance(e, FileNotFoundError) else f": {e.strerror}"
        template = "there is no file {path}{found}; {advice}"
        message = fitted(template, path=named, found=found, advice=remedy or "correct the path")
        raise FileNotFoundError(message) from e
    try:
        with open(name, "rb") as file:
            return _read(file, (ndim,) if isinstance(ndim, int) else ndim, dtypes, sha256, most)
    except _Refusal as e:
        template = "IDX file {path} {finding}; {advice}"
        message = fitted(template, path=named, finding=e.finding, advice=remedy or e.advice)
        raise ValueError(message) from e.__cause__
    except OSError as e:
        template = "cannot read {path}: {reason}; {advice}"
        advice = remedy or "pass a file that you may read"
        raise type(e)(fitted(template, path=named, reason=e.strerror or e, advice=advice)) from e


def _read(
    file: BufferedIOBase,
    ndims: tuple[int, ...],
    dtypes: Sequence[str],
    sha256: str | None,
    most: int | None,
) -> numpy.ndarray:
    stored = os.fstat(file.fileno()).st_size
    zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(max(0, stored - 4))
    trailer = int.from_bytes(file.read(4), "little")  # a gzip file's unpacked size, modulo 2**32
    file.seek(0)
    try:
        stream: BufferedIOBase = gzip.GzipFile(fileobj=file) if zipped else file
        header, shape = _read_header(stream, ndims, dtypes)
        dtype = numpy.dtype(TYPES[header[2]]).newbyteorder(">")
        announced = len(header) + math.prod(shape) * dtype.itemsize
        if zipped:
            _check_gzipped_size(shape, announced, stored, trailer)
            most = most or max(_MOST_UNPACKED, _MOST_UNPACKED_PER_BYTE * stored)
        else:
            _check_plain_size(shape, announced, stored)
        if most is not None and announced > most:
            raise _too_large(stream, shape, announced, most)
        payload = _read_at_most(stream, announced - len(header))
        # Past the last byte, gzip compares its checksum.
        surplus = stream.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as e:
        raise _Refusal(f"is a truncated or damaged gzip file ({e})") from e
    _check_content(header, payload, surplus, shape, announced, sha256)
    array = payload.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    return array


def _too_large(stream: BufferedIOBase, shape: tuple[int, ...], announced: int, most: int) -> _Refusal:
    """Return the refusal of a file of more than `most` bytes, unless reading up to there shows damage."""
    for _ in range(0, most, _CHUNK):
        if not stream.read(_CHUNK):
            break
    return _Refusal(
        f"announces the shape {shape}, {announced} bytes in all, but the limit is {most} bytes",
        f"if you trust it, pass `max_bytes={announced}`, or `--max-bytes {announced}` to the command",
    )


def _read_header(
    stream: BufferedIOBase, ndims: tuple[int, ...], dtypes: Sequence[str]
) -> tuple[bytes, tuple[int, ...]]:
    magic = stream.read(4)
    is_idx = len(magic) == 4 and magic[:2] == bytes(2) and magic[2] in TYPES
    if is_idx and TYPES[magic[2]] not in dtypes:
        supported = "only uint8 is" if len(dtypes) == 1 else f"only {', '.join(dtypes)} are"
        raise _Refusal(
            f"contains {TYPES[magic[2]]}, but {supported} supported",
            "convert it, or pass arrays to `xpnet.Dataset`",
        )
    ndim = magic[3] if is_idx and magic[3] in ndims else ndims[0]
    expected = bytes([0, 0, magic[2] if is_idx else min(TYPES), ndim])
    if is_idx and magic[3] != ndim:
        raise _Refusal(
            f"has the magic number {magic.hex(' ')}, with {magic[3]} for the number of dimensions, "
            f"expected {expected.hex(' ')}",
            _reshape_advice(stream.read(4 * magic[3]), magic[3], ndim),
        )
    if magic != expected:
        raise _Refusal(
            f"begins with {magic.hex(' ') or 'nothing'}, expected the IDX magic number {expected.hex(' ')}",
            "check that it is an IDX file",
        )
    sizes = stream.read(4 * ndim)
    shape = _shape(sizes)
    if len(shape) < ndim:
        raise _Refusal(
            f"is truncated: its header takes {4 + 4 * ndim} bytes, but only {4 + len(sizes)} are present"
        )
    if 0 in shape:
        raise _Refusal(f"is empty: its header announces the shape {shape}")
    return magic + sizes, shape


def _shape(sizes: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes) - 3, 4))


def _reshape_advice(sizes: bytes, found: int, ndim: int) -> str:
    """Return what to do with an array of `found` dimensions if `ndim` are expected."""
    if {found, ndim} == {1, 3}:
        return "check that images and labels are not swapped"
    shape = _shape(sizes)
    if len(shape) < found or found < 2 or 0 in shape:
        return "check that it is the right file"
    if ndim == 1 and math.prod(shape) != shape[0]:
        return "write it again with one label per image"
    kept = (*shape, *[1] * ndim)[: ndim - 1]
    wanted = (*kept, math.prod(shape) // math.prod(kept))
    return f"write its array again as `array.reshape{wanted}`, or pass arrays to `xpnet.Dataset`"


def _check_plain_size(shape: tuple[int, ...], announced: int, stored: int) -> None:
    if stored != announced:
        raise _size_refusal(shape, announced, stored)


def _check_gzipped_size(shape: tuple[int, ...], announced: int, stored: int, trailer: int) -> None:
    most = stored * _MOST_BYTES_PER_GZIPPED_BYTE
    if announced > most:
        raise _Refusal(
            f"announces the shape {shape}, {announced} bytes in all, "
            f"but {stored} gzipped bytes hold at most {most}"
        )
    if announced % 2**32 != trailer:
        raise _Refusal(
            f"announces the shape {shape}, {announced} bytes in all, but its gzip trailer "
            f"says {trailer}: it is truncated, damaged or has several gzip members",
            "download or write it again, or give it a name in '.gz' and unpack it with `gunzip`",
        )


def _size_refusal(shape: tuple[int, ...], announced: int, found: int | None) -> _Refusal:
    if found is None:
        actual = "but has more"
    elif found < announced:
        actual = f"but is truncated: it has {found}, so {announced - found} are missing"
    else:
        actual = f"but has {found}, {found - announced} too many"
    return _Refusal(f"announces the shape {shape}, {announced} bytes in all, {actual}")


def _read_at_most(stream: BufferedIOBase, n: int) -> numpy.ndarray:
    """Return the next `n` bytes, or as many as arrive.

    The memory is NumPy's, which asks for huge pages, so gathering images in any order is faster. The system
    provides no memory until something is written to it.
    """
    data = numpy.empty(n, numpy.uint8)
    arrived = 0
    while arrived < n:
        more = stream.readinto(data.data[arrived : arrived + _CHUNK])
        if not more:
            break
        arrived += more
    data.flags.writeable = False  # so that no copy is needed
    return data[:arrived]


def _check_content(
    header: bytes,
    payload: numpy.ndarray,
    surplus: bytes,
    shape: tuple[int, ...],
    announced: int,
    sha256: str | None,
) -> None:
    found = len(header) + len(payload)
    if surplus or found < announced:
        raise _size_refusal(shape, announced, None if surplus else found)
    if sha256 is None:
        return
    digest = hashlib.sha256(header)
    digest.update(payload.data)
    if digest.hexdigest() != sha256:
        raise _Refusal(f"is damaged: its content has the SHA-256 {digest.hexdigest()}, expected {sha256}")
