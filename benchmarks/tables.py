"""Write the README's tables from the results in `results/`; a test holds the README to them.

python benchmarks/tables.py
"""

from __future__ import annotations

import pathlib
import statistics
import sys
from typing import Any

from xpnet_bench import results

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def headline(folder: pathlib.Path) -> str:
    """Return the table of the first screen: xpnet's own backends, a table for each results file."""
    parts, shown = [], set()
    for found in _read(folder):
        ours = [r for r in found["results"] if r["kind"] == "xpnet"]
        reference = next((r for r in ours if r["backend"] == "numpy"), None)
        rows = [
            "| backend | seconds an epoch | ratio to NumPy | test accuracy |",
            "| --- | ---: | ---: | ---: |",
        ]
        for r in ours:
            shown.add(r["backend"].partition(":")[0])
            rows.append(
                f"| `{r['backend']}` | {r['median']:.3f} | {_ratio(r, reference)} | {r['accuracy']:.2%} |"
            )
        parts.append("\n".join(rows) + f"\n\n{_conditions(found, 'xpnet')}")
    if "cupy" not in shown:
        parts.append("`cupy` has never run on a GPU yet.\n")
    return "\n".join(parts)


def _ratio(result: dict[str, Any], reference: dict[str, Any] | None) -> str:
    if reference is None:
        return ""
    pairs = zip(result["seconds"], reference["seconds"], strict=True)
    return f"{statistics.median(a / b for a, b in pairs):.2f}"


def section(folder: pathlib.Path) -> str:
    """Return a table for each results file, and what has no results yet."""
    found = _read(folder)
    parts = [f"{results.table(one)}\n{_conditions(one, 'xpnet', 'peer', 'limit')}" for one in found]
    if not any(r["backend"].startswith("cupy") for one in found for r in one["results"]):
        parts.append("No GPU has produced results yet; benchmarks/README.md has the command that does.\n")
    return "\n".join(parts)


def _read(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [results.read(path) for path in sorted(folder.glob("*.json"))]


def _conditions(found: dict[str, Any], *kinds: str) -> str:
    machine, workload = found["machine"], found["workload"]
    versions: dict[str, str] = {}
    for r in found["results"]:
        versions |= r["versions"] if r["kind"] in kinds else {}
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    rounds = len(found["results"][0]["seconds"])
    sizes = "-".join(map(str, workload["sizes"]))
    return (
        f"MNIST, {sizes}, batch {workload['batch_size']}, {workload['dtype']}; "
        f"medians of {rounds} epochs, in turns; accuracy after those {rounds}.\n"
        f"{machine['processor']}, {machine['threads']} threads; BLAS: {machine['blas']}; "
        f"{listed}; {found['date'][:10]}.\n"
    )


def replaced(text: str, folder: pathlib.Path) -> str:
    """Return the README's `text` with what stands between its marks made anew."""
    for name, made in (("headline", headline(folder)), ("results", section(folder))):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{made}{end}{after}"
    return text


def main() -> None:
    """Rewrite the README."""
    page = ROOT / "README.md"
    try:
        new = replaced(page.read_text(encoding="utf-8"), RESULTS)
    except (ValueError, OSError) as e:
        sys.exit(f"tables: {e}")
    page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
