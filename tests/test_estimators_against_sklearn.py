"""The estimators are as accurate as scikit-learn's networks with the same settings, on real data."""

import json
import pathlib
import sys

import pytest
from sklearn.exceptions import ConvergenceWarning

import estimators

POINT = 0.01

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{ConvergenceWarning.__module__}.{ConvergenceWarning.__name__}"
)


def scores(name):
    """Return the scores of scikit-learn's network and of ours on Numba; a higher rate needs fewer epochs."""
    case = estimators.CASES[name]
    theirs, _, ours = estimators.sides(case).values()
    return [
        estimators.score(case, side.set_params(learning_rate_init=0.005), case.data(), folds=3)
        for side in (theirs, ours)
    ]


@pytest.mark.parametrize("name", ["digits", "breast cancer", "wine", "iris"])
def test_accuracy_is_within_a_point_of_scikit_learns(name):
    theirs, ours = scores(name)
    assert ours > theirs - POINT


def test_r2_is_near_scikit_learns_or_better():
    theirs, ours = scores("diabetes")
    assert ours > theirs - 3 * POINT


def test_comparison_prints_a_table_and_writes_all_runs(tmp_path, monkeypatch, capsys):
    path = tmp_path / "results" / "machine.json"
    monkeypatch.setitem(estimators.CASES["iris"].settings, "max_iter", 10)
    monkeypatch.setattr(sys, "argv", ["estimators.py", "--runs", "2", "--data", "iris", "--json", str(path)])
    estimators.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| iris | ")]
    assert [row.split(" | ")[1] for row in rows] == [
        "MLPClassifier",
        "XPClassifier, numpy",
        "XPClassifier, numba",
    ]
    sides = json.loads(path.read_text())["results"]["iris"]
    assert [len(side["seconds"]) for side in sides] == [2, 2, 2]


def test_table_of_the_page_is_that_of_the_published_runs():
    root = pathlib.Path(estimators.__file__).parents[1]
    found = json.loads((root / "benchmarks/results/estimators/cpu-amd-epyc-2-cores.json").read_text("utf-8"))
    page = (root / "docs/how-to/sklearn.md").read_text(encoding="utf-8")
    assert f"begin -->\n{estimators.table(found).strip()}\n<!-- estimators: end" in page
