"""Write the tables and pictures of README.md and docs/benchmarks from the results in `results/`.

python benchmarks/tables.py

A test compares the tables, and the dates of the pictures, with the results.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib

from xpnet import plots
from xpnet_bench import chart, results
from xpnet_bench.distributed import chart as scaling_chart
from xpnet_bench.distributed import page as scaling_page
from xpnet_bench.distributed import results as scaling_results
from xpnet_bench.ours import IN_TF32

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = "README.md", "docs/benchmarks/index.md", "docs/benchmarks/gpu.md", "docs/benchmarks/scaling.md"
_SCALING = "distributed"


# What others are the better choice for, and their entries in a race: the fastest one counts.
_OTHERS = {
    "PyTorch": (
        "pretrained models, data loaders, mixed precision, several GPUs",
        ("PyTorch eager", "PyTorch compiled", "PyTorch CUDA graph"),
    ),
    "JAX": ("gradients of any function, TPUs, research", ("JAX scan",)),
    "Keras": ("ready layers for text, pictures and sound; one API on three engines", ("Keras on JAX",)),
    "scikit-learn": ("every other kind of model, and tools around them", ("scikit-learn",)),
    "tinygrad": ("a small compiler to read, GPUs of several makers", ()),
}


def comparison(folder: pathlib.Path) -> str:
    """Return what each library is good for, and its epoch over that of xpnet's fastest backend."""
    races = _read(folder)
    rows = [
        f"| library | choose it for | {' | '.join(map(_race, races))} |",
        f"| --- | --- |{' ---: |' * len(races)}",
    ]
    for library, (purpose, names) in _OTHERS.items():
        cells = [_slower(found, names) for found in races]
        rows.append(f"| {library} | {purpose} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _race(found: dict[str, Any]) -> str:
    machine = found["machine"]
    where = machine["gpu"] if "gpu" in machine else f"{machine['threads']} cores"
    return f"{results.title(found).partition(', batch')[0].partition(' with')[0]}, {where}"


def _slower(found: dict[str, Any], names: Sequence[str]) -> str:
    """Return the ratio of the fastest of some entries to the fastest backend; on a GPU, of entries there."""
    ours = [r["seconds"] for r in found["results"] if r["kind"] == "xpnet"]
    theirs = [
        r["seconds"]
        for r in found["results"]
        if r["name"] in names and ("gpu" not in found["machine"] or r["device"] != "cpu")
    ]
    return _quotient(min(theirs, key=statistics.median), min(ours, key=statistics.median)) if theirs else "-"


def gpu(folder: pathlib.Path) -> str:
    """Return what was measured on GPUs, a table for each device."""
    parts = []
    for found in (one for one in _read(folder) if "gpu" in one["machine"]):
        machine = found["machine"]
        device = f"{machine['gpu']}, driver {machine['driver']}, {found['date'][:10]}"
        rows = [f"| {device} | ms per epoch | versions |", "| --- | ---: | --- |"]
        for r in (r for r in found["results"] if r["device"] != "cpu" and r["kind"] != "limit"):
            versions = ", ".join(f"{name} {version}" for name, version in r["versions"].items())
            rows.append(f"| {r['name']} | {results.milliseconds(r['median'])} | {versions} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def section(folder: pathlib.Path, *, on_gpu: bool = False) -> str:
    """Return a picture and a table for each results file that has a GPU, or has none."""
    parts = [results.NOTES]
    for path, found in _files(folder):
        if ("gpu" in found["machine"]) == on_gpu:
            picture = (
                f"![Median epoch of each competitor, {results.title(found)}](../images/{_picture(path)})"
            )
            table = f"{results.table(found)}\n{_conditions(found, 'xpnet', 'peer', 'limit')}"
            parts.append(f"## {results.title(found)}\n\n{picture}\n\n{table}")
            parts += [results.CNN_NOTE] if results.network_of(found) == "cnn" else []
    return "\n".join(parts)


# What the goals compare; a file with all of these has the other comparisons too.
_NEEDED = {"xpnet numpy", "xpnet numba", "JAX scan", "PyTorch eager", "course float64", "gemm alone"}
_NEEDED_FOR_CNN = {"xpnet numpy", "xpnet numba", "JAX scan", "PyTorch eager"}


def goals(folder: pathlib.Path) -> str:
    """Return the CPU backends' goals and what was measured, a table for each file that has the figures."""
    parts = []
    for found in _read(folder):
        rows = ["| figure | goal | measured |", "| --- | ---: | ---: |"]
        rows += [f"| {name} | {goal} | {text} |" for name, goal, text in _goals_of(found)]
        if len(rows) == 2:
            continue
        processor, threads = found["machine"]["processor"], found["machine"]["threads"]
        count = len(found["results"][0]["seconds"])
        where = (
            f"{processor}, {threads} threads; ratios of medians of {count}, in turns; {found['date'][:10]}."
        )
        parts.append("\n".join(rows) + f"\n\n{where}\n")
    return "\n".join(parts)


def _goals_of(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield each figure of the file's network with its goal and its value; nothing if it lacks one."""
    names = {r["name"] for r in found["results"]}
    if results.network_of(found) == "cnn":
        found_goals = _cnn_goals(found) if names >= _NEEDED_FOR_CNN else iter(())
    else:
        found_goals = _goals(found) if "comparisons" in found and names >= _NEEDED else iter(())
    for name, goal, text in found_goals:
        yield name, f"at most {goal}", text


def _cnn_goals(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    epochs = {r["name"]: r["seconds"] for r in found["results"]}
    numpy, numba, torch = (epochs[name] for name in ("xpnet numpy", "xpnet numba", "PyTorch eager"))
    yield "LeNet-5: Numba epoch / PyTorch eager epoch", "0.6", _quotient(numba, torch)
    yield "LeNet-5: Numba epoch / JAX scan epoch", "0.07", _quotient(numba, epochs["JAX scan"])
    yield "LeNet-5: NumPy epoch / PyTorch eager epoch", "2.5", _quotient(numpy, torch)
    yield "LeNet-5: memory of a Numba training beyond imports", "1000 MB", _memory(found, "xpnet numba")


def _memory(found: dict[str, Any], name: str) -> str:
    (beyond,) = (r["peak_rss_bytes"] - r["imported_rss_bytes"] for r in found["results"] if r["name"] == name)
    return f"{beyond / 1e6:.0f} MB"


def _goals(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    epochs = {r["name"]: r["seconds"] for r in found["results"]}
    numba, jax = epochs["xpnet numba"], epochs["JAX scan"]
    yield "Numba epoch / JAX scan epoch", "0.5", _quotient(numba, jax)
    yield (
        "Numba epoch / its matrix products alone in BLAS",
        "1.0",
        _quotient(numba, epochs["gemm alone"]),
    )
    yield "Numba epoch / PyTorch eager epoch", "0.2", _quotient(numba, epochs["PyTorch eager"])
    yield "NumPy epoch / JAX scan epoch", "1.3", _quotient(epochs["xpnet numpy"], jax)
    yield (
        "NumPy epoch / the course's program, float64",
        "0.4",
        _quotient(epochs["xpnet numpy"], epochs["course float64"]),
    )
    for (name, seconds), goal in zip(found["comparisons"]["steps"].items(), ("0.5", "1.1"), strict=True):
        yield f"Numba step / JAX step, {name}", goal, _quotient(seconds["numba"], seconds["JAX scan"])
    processes = found["comparisons"]["processes"]
    yield (
        "`xpnet train --epochs 1` as a whole process, Numba / NumPy",
        "1.0",
        _quotient(processes["numba"], processes["numpy"]),
    )
    yield "Memory of a Numba training beyond imports", "400 MB", _memory(found, "xpnet numba")


# What the GPU goals are measured against.
_NEEDED_ON_GPU = {"xpnet cupy", "JAX scan", "PyTorch CUDA graph", "PyTorch eager"}
_ON_GPU = ("cupy", f"cupy{IN_TF32}")
_GPU_GOALS = [
    ("CuPy epoch / JAX scan epoch", "at most 0.5"),
    ("CuPy epoch / PyTorch CUDA-graph epoch", "at most 0.5"),
    ("CuPy epoch / PyTorch eager epoch", "at most 0.1"),
    ("Launches a step (nodes of the graph)", "at most 8"),
    ("784-4096-4096-10, batch 8192: share of the float32 matrix rate", "at least 70%"),
    ("784-4096-4096-10, batch 8192: share of the TF32 matrix rate", "at least 70%"),
    ("First epoch, with compilation", "under 5 s"),
]


def gpu_goals(folder: pathlib.Path) -> str:
    """Return the goals of `cupy`, a table for each file that has the figures, else one without any."""
    parts = []
    for found in _read(folder):
        names = {r["name"] for r in found["results"]}
        if results.network_of(found) == "mlp" and names >= _NEEDED_ON_GPU:
            parts.append(_gpu_table(_gpu_measured(found)) + f"\n{_conditions(found, 'xpnet', 'peer')}")
    return "\n".join(parts) or _gpu_table(["owed"] * len(_GPU_GOALS))


def _gpu_table(measured: Sequence[str]) -> str:
    rows = [
        f"| {name} | {goal} | {text} |\n" for (name, goal), text in zip(_GPU_GOALS, measured, strict=True)
    ]
    return "".join(["| figure | goal | measured |\n", "| --- | ---: | ---: |\n", *rows])


def _gpu_measured(found: dict[str, Any]) -> list[str]:
    by_name = {r["name"]: r for r in found["results"]}
    mine = by_name["xpnet cupy"]
    others = (by_name[name] for name in ("JAX scan", "PyTorch CUDA graph", "PyTorch eager"))
    (shares,) = found.get("shares", {"": {}}).values()
    launches = mine.get("launches_per_step")
    return [
        *(_quotient(mine["seconds"], r["seconds"]) if r["device"] != "cpu" else "owed" for r in others),
        "owed" if launches is None else str(launches),
        *(f"{statistics.median(shares[name]):.0%}" if name in shares else "owed" for name in _ON_GPU),
        f"{mine['prepare_seconds'] + mine['seconds'][0]:.1f} s",
    ]


def _quotient(seconds: Sequence[float], others: Sequence[float]) -> str:
    return results.two_digits(results.ratio(seconds, others))


def _read(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [found for _, found in _files(folder)]


def _files(folder: pathlib.Path) -> list[tuple[pathlib.Path, dict[str, Any]]]:
    return [(path, results.read(path)) for path in sorted(folder.glob("*.json"))]


def _picture(path: pathlib.Path) -> str:
    return f"race-{path.stem}.svg"


def _conditions(found: dict[str, Any], *kinds: str) -> str:
    machine, workload = found["machine"], found["workload"]
    versions: dict[str, str] = {}
    for r in found["results"]:
        versions |= r["versions"] if r["kind"] in kinds else {}
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    rounds = len(found["results"][0]["seconds"])
    gpu = f"{machine['gpu']}, driver {machine['driver']}; " if "gpu" in machine else ""
    return (
        f"MNIST, {results.title(found)}, {workload['dtype']}; "
        f"medians of {rounds} epochs, in turns; accuracy after those {rounds}.\n"
        f"{gpu}{machine['processor']}, {machine['threads']} threads; BLAS: {machine['blas']}; "
        f"{listed}; {found['date'][:10]}.\n"
    )


def replaced(text: str, folder: pathlib.Path) -> str:
    """Return the text of a page with the parts between its markers written again."""
    for name, made in (
        ("comparison", comparison),
        ("gpu", gpu),
        ("results", section),
        ("results on gpu", functools.partial(section, on_gpu=True)),
        ("goals", goals),
        ("gpu goals", gpu_goals),
        ("scaling", lambda folder: scaling_page.section(folder / _SCALING)),
    ):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, found, rest = text.partition(begin)
        if found:
            text = f"{before}{begin}{made(folder)}{end}{rest.partition(end)[2]}"
    return text


def draw(folder: pathlib.Path, images: pathlib.Path) -> None:
    """Write the picture of each race and each study; its date is that of the results."""
    pictures = [(_picture(path), chart.bars, found) for path, found in _files(folder)]
    pictures += [
        (scaling_page.picture(path), scaling_chart.curves, scaling_results.read(path))
        for path in sorted((folder / _SCALING).glob("*.json"))
    ]
    for name, drawing, found in pictures:
        figure = plots.drawn(drawing, found)
        with matplotlib.rc_context({"svg.hashsalt": name.partition("-")[2].removesuffix(".svg")}):
            figure.savefig(images / name, metadata={"Date": found["date"]})


def main() -> None:
    """Rewrite the pages, and draw the pictures."""
    try:
        for page in PAGES:
            text = (ROOT / page).read_text(encoding="utf-8")
            (ROOT / page).write_text(replaced(text, RESULTS), encoding="utf-8")
        draw(RESULTS, ROOT / "docs" / "images")
    except (ValueError, OSError) as e:
        sys.exit(f"tables: {e}")


if __name__ == "__main__":
    main()
