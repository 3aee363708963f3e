"""Write the tables and pictures of README.md and docs/benchmarks from the results in `results/`.

python benchmarks/tables.py

A test compares the tables, and the dates of the pictures, with the results.
"""

from __future__ import annotations

import functools
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import matplotlib

import goals
from races import Study, studies
from xpnet import plots
from xpnet_bench import chart, results
from xpnet_bench.distributed import chart as scaling_chart
from xpnet_bench.distributed import page as scaling_page
from xpnet_bench.distributed import results as scaling_results

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
    found = studies(folder)
    rows = [
        f"| library | choose it for | {' | '.join(_race(study.quietest) for study in found)} |",
        f"| --- | --- |{' ---: |' * len(found)}",
    ]
    for library, (purpose, names) in _OTHERS.items():
        cells = [_slower(study, names) for study in found]
        rows.append(f"| {library} | {purpose} | {' | '.join(cells)} |")
    if any(len(study.races) > 1 for study in found):
        rows += ["", "Of several races, the median, and the quietest one in parentheses."]
    return "\n".join(rows) + "\n"


def _race(found: dict[str, Any]) -> str:
    machine = found["machine"]
    where = machine["gpu"] if "gpu" in machine else f"{machine['threads']} cores"
    return f"{results.title(found).partition(', batch')[0].partition(' with')[0]}, {where}"


def _slower(study: Study, names: Sequence[str]) -> str:
    """Return the median of `_ratio` over the races and, if there are several, that of the quietest one."""
    figure = functools.partial(_ratio, names=names)
    if None in map(figure, study.races):
        return "-"
    median, quietest = map(results.two_digits, (study.median(figure), figure(study.quietest)))
    return median if len(study.races) == 1 else f"{median} ({quietest})"


def _ratio(found: dict[str, Any], names: Sequence[str]) -> float | None:
    """Return the ratio of the fastest of some entries to the fastest backend; on a GPU, of entries there."""
    ours = [r["seconds"] for r in found["results"] if r["kind"] == "xpnet"]
    theirs = [
        r["seconds"]
        for r in found["results"]
        if r["name"] in names and ("gpu" not in found["machine"] or r["device"] != "cpu")
    ]
    if not theirs:
        return None
    return results.ratio(min(theirs, key=statistics.median), min(ours, key=statistics.median))


def gpu(folder: pathlib.Path) -> str:
    """Return what was measured on GPUs, a table for each device."""
    parts = []
    for found in (study.quietest for study in studies(folder) if "gpu" in study.quietest["machine"]):
        machine = found["machine"]
        device = f"{machine['gpu']}, driver {machine['driver']}, {found['date'][:10]}"
        rows = [f"| {device} | ms per epoch | versions |", "| --- | ---: | --- |"]
        for r in (r for r in found["results"] if r["device"] != "cpu" and r["kind"] != "limit"):
            versions = ", ".join(f"{name} {version}" for name, version in r["versions"].items())
            rows.append(f"| {r['name']} | {results.milliseconds(r['median'])} | {versions} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def section(folder: pathlib.Path, *, on_gpu: bool = False) -> str:
    """Return a picture and a table for the quietest race of each study that has a GPU, or has none."""
    parts = [results.NOTES]
    for study in studies(folder):
        found = study.quietest
        if ("gpu" in found["machine"]) == on_gpu:
            picture = (
                f"![Median epoch of each competitor, {results.title(found)}](../images/{_picture(study)})"
            )
            among = f"The quietest of {len(study.races)} races.\n" if len(study.races) > 1 else ""
            table = f"{results.table(found)}\n{among}{_conditions(found, 'xpnet', 'peer', 'limit')}"
            parts.append(f"## {results.title(found)}\n\n{picture}\n\n{table}")
            parts += [results.CNN_NOTE] if results.network_of(found) == "cnn" else []
    return "\n".join(parts)


def goals_on_processors(folder: pathlib.Path) -> str:
    """Return the goals of the CPU backends, a table for each study that has all figures."""
    parts = []
    for study in studies(folder):
        table = "" if "gpu" in study.quietest["machine"] else goals.of_processors(study)
        if table:
            parts.append(f"{table}\n{_where(study)}\n")
    return "\n".join(parts)


def _where(study: Study) -> str:
    machine, count = study.quietest["machine"], len(study.quietest["results"][0]["seconds"])
    dates = sorted({found["date"][:10] for found in study.races})
    races = f" in each of {len(study.races)} races" if len(study.races) > 1 else ""
    where = f"{machine['processor']}, {machine['threads']} threads"
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"{where}; ratios of medians of {count}, in turns{races}; {when}."


def gpu_goals(folder: pathlib.Path) -> str:
    """Return the goals of `cupy`, a table for each study on a GPU, else one without any figures."""
    parts = [
        f"{goals.of_gpus(study.races)}\n{_conditions(study.quietest, 'xpnet', 'peer')}"
        for study in studies(folder)
        if "gpu" in study.quietest["machine"] and results.network_of(study.quietest) == "mlp"
    ]
    return "\n".join(parts) or goals.of_gpus([])


def _picture(study: Study) -> str:
    return f"race-{study.name}.svg"


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
        ("goals", goals_on_processors),
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
    pictures = [(_picture(study), chart.bars, study.quietest) for study in studies(folder)]
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
