"""Files of safetensors that are sealed: their metadata have a SHA-256 of all that they hold."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import safetensors

from xpnet.errors import fitted
from xpnet.files import to_read


class DamagedError(ValueError):
    """A file is not a whole checkpoint; an older one may be."""


class Kind(NamedTuple):
    """A kind of file: what it is called, its format, what writes it, and the class of errors."""

    name: str
    format: str
    wrote: str
    error: type[ValueError]


MODEL = Kind("model", "xpnet model 1", "`run.save` wrote", ValueError)
CHECKPOINT = Kind("checkpoint", "xpnet checkpoint 1", "`fit` wrote with `checkpoint`", DamagedError)


def sha256(arrays: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the arrays' bytes, one after another, little-endian and in C order."""
    digest = hashlib.sha256()
    for x in arrays:
        digest.update(x.astype(x.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def as_array(text: str) -> np.ndarray:
    """Return text as an array of bytes."""
    return np.frombuffer(text.encode(), dtype=np.uint8)


def in_order(data: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted; the library writes them in any order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return b"".join((len(text).to_bytes(8, "little"), text, memoryview(data)[end:]))


def damaged(path: str | bytes | os.PathLike[Any], found: str, kind: Kind = MODEL) -> ValueError:
    """Return the error for a file that is not a model, or not a checkpoint."""
    template = "{path} is not an xpnet {kind} ({found}); pass a file that {wrote}"
    named = repr(os.fsdecode(path))
    return kind.error(fitted(template, found=found, path=named, kind=kind.name, wrote=kind.wrote))


def check_format(
    path: str | bytes | os.PathLike[Any], metadata: dict[str, str], kind: Kind, *others: Kind
) -> None:
    """Raise unless a file has the format of `kind` or of the others."""
    found = metadata.get("format")
    if found in [known.format for known in (kind, *others)]:
        return
    error = damaged(path, f"its format is {found!r}, not {kind.format!r}", kind)
    # A file of xpnet that this version or this function does not read need not be damaged.
    raise ValueError(str(error)) if re.fullmatch(r"xpnet (model|checkpoint) \d+", str(found)) else error


@contextlib.contextmanager
def opened(path: str | bytes | os.PathLike[Any], kind: Kind = MODEL) -> Iterator[Any]:
    """Return a context with a safetensors file, whose errors name `path`."""
    named = repr(os.fsdecode(path))
    try:
        with safetensors.safe_open(to_read(path), framework="numpy") as file:
            yield file
    except FileNotFoundError as e:
        template = "no {kind} at {path}; pass a file that {wrote}"
        raise FileNotFoundError(fitted(template, path=named, kind=kind.name, wrote=kind.wrote)) from e
    except OSError as e:
        template = "cannot read {path}: {reason}; pass a file that {wrote}"
        reason = e.strerror or e
        raise type(e)(fitted(template, path=named, reason=reason, wrote=kind.wrote)) from e
    except safetensors.SafetensorError as e:
        raise damaged(path, f"not a whole safetensors file: {e}", kind) from e
