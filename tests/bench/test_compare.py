"""`xpnet bench --compare`: what changed beyond the noise between two races of the same work."""

import copy
import json
import pathlib

import pytest
from click.testing import CliRunner
from test_cli import run

from xpnet.cli.app import app
from xpnet_bench import results
from xpnet_bench.compare import compared, listing

CPU = results.read(pathlib.Path(__file__).with_name("race_of_version_1.json"))


def changed(factor, *names):
    """Return the published race with the times of some competitors changed."""
    found = copy.deepcopy(CPU)
    for r in found["results"]:
        if r["name"] in names:
            r["seconds"] = [s * factor for s in r["seconds"]]
            r["median"] *= factor
    return found


def verdicts(before, after):
    return {c["name"]: c["verdict"] for c in compared(before, after, ["a", "b"])["competitors"]}


def test_equal_races_are_within_the_noise():
    assert set(verdicts(CPU, CPU).values()) == {"within the noise"}


def test_change_beyond_the_spread_is_seen_and_no_other():
    found = verdicts(CPU, changed(2.0, "xpnet numpy"))
    assert found.pop("xpnet numpy") == "slower"
    assert set(found.values()) == {"within the noise"}
    assert verdicts(CPU, changed(0.5, "gemm alone"))["gemm alone"] == "faster"
    # The published epochs of Numba took 41 to 66 ms.
    assert verdicts(CPU, changed(1.1, "xpnet numba"))["xpnet numba"] == "within the noise"


def test_conditions_that_differ_are_listed():
    after = changed(1.0)
    after["machine"]["threads"] = 1
    after["versions"]["python"] = "4.0"
    after["results"][0]["versions"]["numpy"] = "9.9"
    after["results"].pop()
    found = compared(CPU, after, ["a", "b"])
    assert {(c["what"], c["after"]) for c in found["conditions"]} == {
        ("threads", 1),
        ("python", "4.0"),
        ("numpy", "9.9"),
    }
    assert (found["only_before"], found["only_after"]) == (["gemm alone"], [])
    lines = listing(found).splitlines()
    assert "differs: threads, 2 before and 1 after" in lines
    assert "only in a: gemm alone" in lines


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("batch_size", 64, "batch size 128 and 64"),
        ("limit", 5, "training examples 60000 and 5"),
        ("seed", 1, "seed 138 and 1"),
        ("sizes", [784, 32, 10], "network 784-64-10, batch 128 and 784-32-10, batch 128"),
        ("lr", 1.0, "optimizer {"),
    ],
)
def test_other_work_is_refused_with_the_difference(name, value, text):
    after = copy.deepcopy(CPU)
    after["workload"][name] = value
    with pytest.raises(ValueError, match="timed different work: ") as caught:
        compared(CPU, after, ["a", "b"])
    assert text in str(caught.value)


def invoke(*args):
    return CliRunner().invoke(app, ["bench", *map(str, args)])


@pytest.fixture
def files(tmp_path):
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, found in zip(paths, (CPU, changed(2.0, "xpnet numpy")), strict=True):
        path.write_text(json.dumps(found))
    return paths


def test_comparison_is_printed_and_written(files, tmp_path):
    done = invoke("--compare", *files, "--json", tmp_path / "c.json")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[1].split()[:5] == ["xpnet", "numpy", "157", "314", "2.00"]
    assert lines[1].endswith("slower")
    assert "99 % confidence" in done.output
    assert "peers and limits of the same versions took 1.00 times as long" in done.output
    assert json.loads((tmp_path / "c.json").read_text())["competitors"][0]["verdict"] == "slower"


def test_status_is_1_on_request_if_a_backend_is_slower(files):
    message = run("bench", "--compare", *files, "--fail-if-slower", status=1)
    assert message == "xpnet: slower beyond the noise: xpnet numpy\n"
    assert invoke("--compare", files[0], files[0], "--fail-if-slower").exit_code == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--peers"], "`--compare` races nothing, so it takes no `--peers`; leave it out"),
        (["--hidden", "3"], "so it takes no `--hidden`"),
    ],
)
def test_options_of_a_race_are_refused(files, args, message):
    done = invoke("--compare", *files, *args)
    assert done.exit_code == 2
    assert message in done.output
