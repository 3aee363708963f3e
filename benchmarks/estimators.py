"""Compare `xpnet.sklearn` with scikit-learn's own networks: accuracies, and the ratio of times.

python benchmarks/estimators.py [--runs 5] [--json benchmarks/results/estimators/NAME.json]

Both get the same inputs, scaled before, in float64, and the same sizes, optimizer, batches and rule to end.
Scores are accuracies, or R^2: means of five folds, or that on MNIST's test set. Fits on all data are timed
in turns, A B C A B C, after one of each that is not; the result is the ratio of the medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
import threadpoolctl
from sklearn import datasets
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

import xpnet
from xpnet.sklearn import XPClassifier, XPRegressor
from xpnet_bench import results

Data = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Case:
    """Data, and the settings that both sides share; a test set if there is one."""

    data: Callable[[], Data]
    settings: dict[str, Any]
    is_numbers: bool = False
    test: Callable[[], Data] | None = None


def _scaled(load: Callable[..., Any], **options: Any) -> Callable[[], Data]:
    def data() -> Data:
        X, y = load(**options)
        return scale(X), y

    return data


def _diabetes() -> Data:
    X, y = datasets.load_diabetes(return_X_y=True)
    return scale(X), scale(y)


def _mnist(part: int) -> Callable[[], Data]:
    def data() -> Data:
        found = xpnet.datasets.mnist()[part]
        return found.images.reshape(len(found), -1) / 255.0, found.labels

    return data


_USUAL = {"max_iter": 1000}
CASES = {
    "digits": Case(_scaled(datasets.load_digits, return_X_y=True), _USUAL),
    "breast cancer": Case(_scaled(datasets.load_breast_cancer, return_X_y=True), _USUAL),
    "wine": Case(_scaled(datasets.load_wine, return_X_y=True), _USUAL),
    "iris": Case(_scaled(datasets.load_iris, return_X_y=True), _USUAL),
    "moons": Case(_scaled(datasets.make_moons, n_samples=1000, noise=0.3, random_state=0), _USUAL),
    "diabetes": Case(_diabetes, _USUAL | {"early_stopping": True}, is_numbers=True),
    # As scikit-learn's example "Visualization of MLP weights on MNIST".
    "MNIST": Case(
        _mnist(0), {"hidden_layer_sizes": (40,), "max_iter": 8, "learning_rate_init": 0.2}, test=_mnist(1)
    ),
}


def sides(case: Case) -> dict[str, Any]:
    """Return the estimators that are compared, by name."""
    theirs, ours = (MLPRegressor, XPRegressor) if case.is_numbers else (MLPClassifier, XPClassifier)
    settings = case.settings | {"random_state": 0}
    solver: dict[str, Any] = {}
    optimizer: dict[str, Any] = {}
    if case.test is not None:
        solver["solver"] = "sgd"
        optimizer["optimizer"] = xpnet.SGD(0.2, momentum=0.9, nesterov=True)
    found = {theirs.__name__: theirs(**settings, **solver)}
    for backend in ("numpy", "numba"):
        name = f"{ours.__name__}, {backend}"
        found[name] = ours(**settings, **optimizer, backend=backend, standardize=False)
    return found


def score(case: Case, estimator: Any, data: Data, *, folds: int = 5) -> float:
    """Return the mean accuracy, or R^2, of so many folds, or that on the test set."""
    if case.test is not None:
        return float(clone(estimator).fit(*data).score(*case.test()))
    parts = (KFold if case.is_numbers else StratifiedKFold)(folds, shuffle=True, random_state=0)
    return float(cross_val_score(estimator, *data, cv=parts).mean())


def compare(case: Case, runs: int) -> list[dict[str, Any]]:
    """Return what is found of each side: its score, and the seconds and the epochs of each fit."""
    data, estimators = case.data(), sides(case)
    seconds: dict[str, list[float]] = {name: [] for name in estimators}
    for run in range(runs + 1):
        for name, estimator in estimators.items():
            begin = time.perf_counter()
            estimator.fit(*data)
            if run:  # The first one compiles.
                seconds[name].append(time.perf_counter() - begin)
    return [
        {"estimator": name, "score": score(case, e, data), "epochs": e.n_iter_, "seconds": seconds[name]}
        for name, e in estimators.items()
    ]


def table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    rows = [
        "| data | estimator | score | epochs | ms per fit | min to max | ratio | ratio per epoch |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for data, sides_found in found["results"].items():
        first = sides_found[0]
        usual = statistics.median(first["seconds"])
        for side in sides_found:
            times, epochs = [1000 * s for s in side["seconds"]], side["epochs"]
            ratio = statistics.median(side["seconds"]) / usual
            rows.append(
                f"| {data} | {side['estimator']} | {side['score']:.3f} | {epochs} "
                f"| {statistics.median(times):,.0f} | {min(times):,.0f} to {max(times):,.0f} "
                f"| {ratio:.2f} | {ratio * first['epochs'] / epochs:.2f} |"
            )
    machine, versions = found["machine"], found["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(rows) + (
        f"\n\nfloat64; {found['runs']} fits of each, in turns; score: accuracy, or R^2 of diabetes.\n"
        f"{machine['processor']}, {machine['threads']} threads; {listed}; {found['date'][:10]}.\n"
    )


def main() -> None:
    """Print the table, and write the JSON if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="fits of each that are timed")
    parser.add_argument("--data", choices=list(CASES), nargs="*", default=list(CASES), help="which data sets")
    parser.add_argument("--json", type=pathlib.Path, help="write all runs there")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    pools = threadpoolctl.threadpool_info()
    threads = max((pool["num_threads"] for pool in pools), default=os.cpu_count() or 1)
    blas = next((f"{p['internal_api']} {p['version']}" for p in pools if p["user_api"] == "blas"), "unknown")
    versions = xpnet.backend("numba").versions | {"scikit-learn": sklearn.__version__}
    found = {
        "schema_version": 1,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": results.machine(threads, blas),
        "versions": {"xpnet": xpnet.__version__, "numpy": np.__version__, **versions},
        "runs": options.runs,
        "results": {name: compare(CASES[name], options.runs) for name in options.data},
    }
    print(table(found))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
