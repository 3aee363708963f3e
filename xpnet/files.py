"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import pathlib
import secrets


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path`; a failure leaves what was there.

    Raises
    ------
    OSError
        If the file cannot be written; the message names it.
    """
    target = pathlib.Path(path).resolve()  # so that a symbolic link stays one
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a folder; name a file in it")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # A pipe or a device has nothing to keep, and must stay what it is.
            return
        # Written beside its place and then moved there.
        partial = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            partial.write_bytes(data)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as e:
        raise type(e)(f"cannot write {str(path)!r}: {e.strerror}; choose another place") from e
