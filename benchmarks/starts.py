"""Find where the time of a short training goes, from the start of its process to the end.

    python benchmarks/starts.py numpy cupy --rounds 7

Each round starts a process for each backend, in turns, which trains the network of the course for one epoch.
The first round fills the caches on disk and does not count. The output is Markdown: medians in seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments ask for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backends", nargs="+", metavar="BACKEND")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=60_000, help="how many images are trained on")
    given = parser.parse_args(arguments)
    rounds = [
        {name: phases(name, given.images) for name in given.backends} for _ in range(max(given.rounds, 1) + 1)
    ]
    print(table({name: [found[name] for found in rounds[1:]] for name in given.backends}))


def phases(backend: str, images: int) -> dict[str, float]:
    """Return the seconds of each phase of a process that trains on a backend."""
    command = [sys.executable, __file__, "--child", backend, str(images)]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - begin
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise SystemExit(f"a training on {backend!r} failed: {reason[0]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"Python's start and end": whole - sum(found.values()), "the process": whole}


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians of the phases as a Markdown table."""
    lines = [f"| seconds | {' | '.join(found)} |", f"| --- |{' ---: |' * len(found)}"]
    for phase in next(iter(found.values()))[0]:
        medians = [statistics.median([each[phase] for each in rounds]) for rounds in found.values()]
        lines.append(f"| {phase} | {' | '.join(f'{seconds:.3f}' for seconds in medians)} |")
    return "\n".join(lines)


def child(backend: str, images: int) -> None:
    """Train on a backend, and print the seconds of each phase as JSON."""
    found: dict[str, float] = {}

    def timed(phase: str, work: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = work()
        found[phase] = time.perf_counter() - begin
        return result

    xpnet = timed("import of xpnet", lambda: importlib.import_module("xpnet"))
    library = "cupy" if backend == "cupy" else "numpy"
    timed("import of the library", lambda: importlib.import_module(library))
    module = timed("import of the backend", lambda: importlib.import_module(f"xpnet_{backend}"))
    # On a GPU the first allocation makes CUDA's context.
    timed("first array", lambda: module.xp.asarray([1.0], dtype=module.xp.float32))
    xp = timed("probe", lambda: xpnet.backend(backend))
    train, test = timed("data", xpnet.datasets.mnist)
    timed("data to the device", lambda: (xp.asarray(train.images, copy=True), xp.synchronize()))
    model = xpnet.mlp(784, 64, 10, activation="sigmoid")
    options = {"optimizer": xpnet.Momentum(4.0), "epochs": 1, "batch_size": 128, "progress": False}
    timed("epoch and compilation", lambda: xpnet.fit(xp, model, train[:images], **options))
    timed(
        "the same once more, with an evaluation",
        lambda: xpnet.fit(xp, model, train[:images], test=test, **options),
    )
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
