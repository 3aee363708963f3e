"""Kill a training at random moments, resume it until it is done, and compare its bytes with one that was not.

    python benchmarks/kills.py --kills 100 --backend numpy --backend numba

`xpnet train --checkpoint DIR --resume` runs in a process of its own, which gets SIGKILL while it starts,
trains or writes. After each kill every checkpoint in the folder is read. A full disk and a read-only folder
follow. The output is Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from safetensors import safe_open

import xpnet
from xpnet import checkpoint
from xpnet.checkpoint_folder import candidates

EPOCHS_A_KILL = 40
_EARLY = 0.25  # the share of kills before the first epoch, while Python starts or a checkpoint is read
_AIMED = 0.35  # the share of kills as soon as a temporary file is there
_LATEST = 0.05  # seconds after the first epoch


@dataclasses.dataclass
class Outcome:
    """What happened to a training that was killed again and again."""

    backend: str
    kills: int = 0
    while_starting: int = 0
    while_writing: int = 0  # a temporary file was left
    unreadable: int = 0  # checkpoints, over all kills
    most_again: int = 0  # epochs that had been reported and were trained again after a kill
    same: bool = False

    def row(self) -> str:
        """Return the outcome as a row of a Markdown table."""
        found = (self.kills, self.while_starting, self.while_writing, self.unreadable, self.most_again)
        numbers = " | ".join(map(str, found))
        return f"| {self.backend} | {numbers} | {'yes' if self.same else 'NO'} |"


HEADER = """\
| backend | kills | while starting | while writing | unreadable checkpoints | most epochs trained again | \
same bytes at the end |
| --- | ---: | ---: | ---: | ---: | ---: | --- |"""


def main() -> None:
    """Run what the arguments ask for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--backend", action="append", help="[default: numpy]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_data(folder / "data")
        print(HEADER)
        for backend in options.backend or ["numpy"]:
            print(kill_again_and_again(folder, backend, options.kills, options.seed).row(), flush=True)
        print("\n| fault | how | status | message | older checkpoints | resumed later: same bytes |")
        print("| --- | --- | ---: | --- | --- | --- |")
        for line in faults(folder):
            print(line, flush=True)


def write_data(folder: pathlib.Path) -> None:
    """Write a small data set as IDX files: images of 8 x 8 pixels in four classes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, n in (("train", 300), ("t10k", 60)):
        labels = rng.integers(0, 4, n).astype(np.uint8)
        images = (rng.integers(0, 100, (n, 8, 8)) + 40 * labels[:, None, None]).clip(0, 255).astype(np.uint8)
        for kind, x in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{x.ndim}I", 0, 0, 8, x.ndim, *x.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + x.tobytes())


def command(data: pathlib.Path, backend: str, epochs: int, *options: Any) -> list[str]:
    """Return the command that trains."""
    fixed = ("--hidden", "256", "--optimizer", "adam", "--batch-size", "64", "--seed", "3")
    chosen = ("--backend", backend, "--data", data, "--epochs", epochs)
    return [sys.executable, "-u", "-m", "xpnet", "train", *map(str, (*fixed, *chosen, *options))]


def seal(path: pathlib.Path) -> str:
    """Return the SHA-256 of a saved run: model, parameters and history without the seconds."""
    with safe_open(path, framework="numpy") as file:
        return str(file.metadata()["sha256"])


def kill_again_and_again(folder: pathlib.Path, backend: str, kills: int, seed: int) -> Outcome:
    """Kill a training so often, let it end, and compare it with one that nobody killed."""
    rng, outcome, epochs = random.Random(seed), Outcome(backend), EPOCHS_A_KILL * kills
    data, place = folder / "data", folder / f"checkpoints-{backend}"
    arguments = command(data, backend, epochs, "--checkpoint", place, "--resume")
    began = time.monotonic()
    subprocess.run(command(data, backend, 1), check=True, capture_output=True)
    startup = time.monotonic() - began
    while outcome.kills < kills:
        drawn = rng.random()
        early, aimed = drawn < _EARLY, drawn > 1 - _AIMED
        done, reported = killed(arguments, rng, startup if early else None, place if aimed else None)
        if done:
            break
        outcome.kills += 1
        outcome.while_starting += early
        _look(place, reported, outcome)
    saved, whole = folder / f"saved-{backend}", folder / f"whole-{backend}"
    subprocess.run([*arguments, "--save", str(saved)], check=True, capture_output=True)
    subprocess.run(command(data, backend, epochs, "--save", whole), check=True, capture_output=True)
    outcome.same = seal(saved) == seal(whole)
    return outcome


def killed(
    arguments: list[str], rng: random.Random, startup: float | None, aimed_at: pathlib.Path | None
) -> tuple[bool, int]:
    """Kill a training; return whether it was done before, and the last epoch that it reported.

    Parameters
    ----------
    startup : float or None
        Seconds in which to kill it while it starts; None to let it finish an epoch first.
    aimed_at : path or None
        A folder: kill it soon after a temporary file is there.
    """
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        if startup is not None:
            time.sleep(rng.uniform(0, startup))
        else:
            for line in process.stdout:
                lines.append(line)
                if line.startswith("epoch "):
                    break
            time.sleep(rng.uniform(0, _LATEST))
        while aimed_at is not None and process.poll() is None and not is_writing(aimed_at):
            pass
        process.send_signal(signal.SIGKILL)
        text = "".join(lines) + process.stdout.read()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the training failed: {text}")
    found = re.findall(r"^epoch +(\d+)/", text, re.MULTILINE)
    return process.returncode == 0, int(found[-1]) if found else 0


def is_writing(place: pathlib.Path) -> bool:
    """Return whether a folder has a temporary file."""
    return place.exists() and any(name.endswith(".part") for name in os.listdir(place))


def _look(place: pathlib.Path, reported: int, outcome: Outcome) -> None:
    """Read all checkpoints in a folder, and note what is wrong with them."""
    outcome.while_writing += is_writing(place)
    newest = 0
    for path in candidates(place):
        try:
            newest = max(newest, read(path))
        except (OSError, ValueError):
            outcome.unreadable += 1
    outcome.most_again = max(outcome.most_again, reported - newest)


def read(path: pathlib.Path) -> int:
    """Return the epoch of a checkpoint after reading all of it."""
    found = checkpoint.load_training(path)
    xpnet.load(path, xpnet.backend("numpy"))
    return int(found["epoch"])


@contextlib.contextmanager
def small_disk(place: pathlib.Path, size: int) -> Iterator[bool]:
    """Return a context in which `place` is a file system of its own, if the user may mount one."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, check=False
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(place)], check=True)


def remount(place: pathlib.Path, option: str) -> None:
    """Change an option of a mounted file system."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def faults(folder: pathlib.Path, epochs: int = 12) -> Iterator[str]:
    """Yield rows of a table: what a full disk and a read-only folder do."""
    data, whole = folder / "data", folder / "whole"
    subprocess.run(command(data, "numpy", epochs, "--save", whole), check=True, capture_output=True)
    one = folder / "one"
    subprocess.run(command(data, "numpy", 1, "--checkpoint", one), check=True, capture_output=True)
    size = (one / "epoch-0001.safetensors").stat().st_size
    place = folder / "disk"
    arguments = command(data, "numpy", epochs, "--checkpoint", place / "c", "--resume")
    with small_disk(place, int(3.5 * size)) as mounted:
        limit = None if mounted else (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, -1)))
        full = subprocess.run(arguments, capture_output=True, text=True, preexec_fn=limit, check=False)
        how = "a file system of 3.5 checkpoints" if mounted else "a limit of half a checkpoint a file"
        yield _row(
            "full disk",
            how,
            full,
            place / "c",
            lambda: mounted and remount(place, "size=64m"),
            arguments,
            whole,
        )
    place = folder / "read-only"
    arguments = command(data, "numpy", epochs, "--checkpoint", place / "c", "--resume")
    with small_disk(place, 2**26) as mounted:
        subprocess.run(
            command(data, "numpy", 3, "--checkpoint", place / "c"), check=True, capture_output=True
        )
        allow = _forbid(place, mounted)
        refused = subprocess.run(arguments, capture_output=True, text=True, check=False)
        how = "a file system mounted read-only" if mounted else "a folder of mode 0500"
        yield _row("read-only folder", how, refused, place / "c", allow, arguments, whole)


def _forbid(place: pathlib.Path, mounted: bool) -> Any:
    """Make a folder read-only, and return a function that ends that."""
    if mounted:
        remount(place, "ro")
        return lambda: remount(place, "rw")
    (place / "c").chmod(0o500)
    return lambda: (place / "c").chmod(0o700)


def _row(
    fault: str,
    how: str,
    done: subprocess.CompletedProcess[str],
    place: pathlib.Path,
    end: Any,
    arguments: list[str],
    whole: pathlib.Path,
) -> str:
    """Return a row for a fault, after ending it and resuming the training."""
    found = [read(path) for path in candidates(place)]  # which raises if one is not whole
    message = done.stderr.strip().replace(str(place.parent), "DIR")
    end()
    saved = whole.with_name("saved-after")
    subprocess.run([*arguments, "--save", str(saved)], check=True, capture_output=True)
    same = "yes" if seal(saved) == seal(whole) else "NO"
    return f"| {fault} | {how} | {done.returncode} | `{message}` | {len(found)}, all whole | {same} |"


if __name__ == "__main__":
    main()
