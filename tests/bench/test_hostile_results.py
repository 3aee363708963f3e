"""Invalid results files, or with values of the wrong kind, are refused in one short line."""

import contextlib
import copy
import json
import os

import jsonschema
import pytest

from xpnet.errors import MOST_CHARACTERS
from xpnet_bench import results, schema

RESULT = {
    "name": "xpnet numpy",
    "backend": "numpy",
    "kind": "xpnet",
    "device": "cpu",
    "versions": {"numpy": "2"},
    "seconds": [0.1, 0.2],
    "median": 0.15,
    "ratios": [1.0, 1.0],
    "ratio_to_first": 1.0,
    "accuracy": 0.9,
    "examples_per_second": 1e5,
    "prepare_seconds": 0.0,
    "peak_rss_bytes": 2,
    "imported_rss_bytes": 1,
    "device_bytes": None,
    "share_of_limit": None,
}
FOUND = {
    "schema_version": 1,
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"system": "Linux", "processor": "abacus", "cores": 2, "threads": 2, "blas": "beads"},
    "versions": {"xpnet": "0"},
    "workload": {
        "sizes": [784, 10], "batch_size": 8, "lr": 1.0, "beta": 0.9, "seed": 1, "limit": None, "dtype": "f4"
    },
    "results": [RESULT],
    "skipped": [],
}  # fmt: skip
ODD = [1, -1, 0, 1.5, True, None, "", "x" * 74_000, [], {}, [1], {"x": 1}, [[1]], 2**63, -0.5]


def places(value, path=()):
    """Yield the path to each value within `value`."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(path, odd):
    """Return results with an odd value at a path."""
    if not path:
        return odd
    found = copy.deepcopy(FOUND)
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = odd
    return found


def message_of(kind, path):
    with pytest.raises(kind) as caught:
        results.read(path)
    message = str(caught.value)
    assert len(message) <= MOST_CHARACTERS
    assert message.isprintable()
    return message


@pytest.mark.parametrize("path", list(places(FOUND)), ids=str)
def test_odd_value_is_refused_as_the_schema_says_or_shown(tmp_path, path):
    validator = jsonschema.Draft202012Validator(schema.document())
    file = tmp_path / "r.json"
    for odd in ODD:
        found = changed(path, odd)
        file.write_text(json.dumps(found))
        if validator.is_valid(found):
            results.table(results.read(file))
            results.listing(results.read(file))
        else:
            with contextlib.suppress(ValueError):
                results.table(results.read(file))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("[" * 900 + "]" * 900, "nest too deep"),
        ('{"a":' * 100_000, "nest too deep"),
        ("1" + "0" * 5000, "digits"),
        ("NaN", "NaN"),
        ('{"schema_version": 1, "schema_version": 1}', "the same key twice"),
        (json.dumps({"schema_version": "x" * 74_000}), "of the schema"),
        (json.dumps({"schema_version": True}), "of the schema"),
        (json.dumps(FOUND | {"machine": 1}), "is damaged: 'machine' is not of type object"),
        (json.dumps(FOUND | {"results": [1]}), "is damaged: an item of 'results' is not of type object"),
        (json.dumps(FOUND | {"results": [RESULT | {"seconds": [0]}]}), "out of range"),
        (
            json.dumps(FOUND | {"x" * 74_000: 1, "machine": {"cores": "x" * 74_000}}),
            "'cores' is not of type integer",
        ),
        (b"\xff".decode("latin-1"), "is not a results file"),
        ("\0", "is not a results file"),
    ],
)
def test_file_without_valid_results_is_refused(tmp_path, content, found):
    (tmp_path / "r.json").write_bytes(content.encode("latin-1"))
    assert found in message_of(ValueError, tmp_path / "r.json")


def test_only_regular_files_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    for path in ("pipe", "loop", "/dev/zero", ".", "", "a\0b", "gone", "x" * 5000, b"pipe"):
        assert "cannot read " in message_of(OSError, path)


def test_result_without_a_column_is_named():
    found = copy.deepcopy(FOUND)
    del found["results"][0]["median"]
    with pytest.raises(ValueError, match="a result has no 'median'; pass results that"):
        results.table(found)
