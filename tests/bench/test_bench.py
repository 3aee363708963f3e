"""`xpnet bench` detects who is slow, who does not wait, and who learns less."""

import dataclasses
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import sys

import jsonschema
import pytest
from test_cli import run

import xpnet
from xpnet_bench import chart, comparisons, machine, ours, results, rounds
from xpnet_bench.errors import DishonestError, UnusableError
from xpnet_bench.learned import check_accuracies
from xpnet_bench.workload import WORKLOADS, Workload, described

ROOT = pathlib.Path(__file__).parents[2]
FIELDS = {"lr": 4.0, "beta": 0.9, "weight_decay": 0.0, "clip_norm": None}
SCHEMA = json.loads(results.SCHEMA.read_text(encoding="utf-8"))

SLOW = """
import time
import numpy
import xpnet
from xpnet import nn
def gather_batch(images, indices, *, scale, offset, dtype):
    time.sleep(0.02)
    return nn.gather_batch(xp, images, indices, scale=scale, offset=offset, dtype=dtype)
xp = xpnet.Namespace("fake", numpy, fused={"gather_batch": gather_batch})
"""
HASTY = """
import time
import numpy
import xpnet
def to_host(x):
    # A device far away that is still busy when a value is asked for; `synchronize` does not wait for it.
    time.sleep(3)  # a tenth of the slowest epoch on a loaded machine
    return numpy.asarray(x)
xp = xpnet.Namespace("fake", numpy, device=xpnet.Device(to_host=to_host))
"""
LAZY = """
import numpy
import xpnet
def momentum_step(param, grad, velocity, lr, beta):
    return param, velocity
xp = xpnet.Namespace("fake", numpy, fused={"momentum_step": momentum_step})
"""

ON_A_GPU = """
import numpy
import xpnet
xp = xpnet.Namespace("fake", numpy, device=xpnet.Device(kind="gpu"))
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a backend `fake` for processes started from here."""

    def install(source):
        (tmp_path / "xpnet_fake.py").write_text(source)
        info = tmp_path / "fake_backend-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-backend\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[xpnet.backends]\nfake = xpnet_fake:xp\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return install


def bench(*args, **options):
    return run("bench", "--quick", "--rounds", 2, *args, **options)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    options = ["--backend", "numpy", "--json", folder / "r.json", "--plot", folder / "r.png"]
    output = bench(*options)
    return folder, output, json.loads((folder / "r.json").read_text())


def test_results_follow_the_schema(measured):
    _, _, found = measured
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(found, SCHEMA)
    assert [(r["name"], r["kind"]) for r in found["results"]] == [
        ("xpnet numpy", "xpnet"),
        ("gemm alone", "limit"),
    ]
    ours, limit = found["results"]
    assert ours["ratios"] == [1.0, 1.0]
    assert ours["examples_per_second"] == pytest.approx(12000 / ours["median"])
    assert ours["share_of_limit"] == pytest.approx(limit["median"] / ours["median"])
    assert limit["accuracy"] is None
    assert found["machine"]["threads"] >= 1


def test_training_takes_less_memory_than_promised(measured):
    ours = measured[2]["results"][0]
    assert ours["peak_rss_bytes"] - ours["imported_rss_bytes"] < 400e6


def test_table_and_picture_are_made(measured):
    folder, output, _ = measured
    assert re.search(r"^xpnet numpy +\d", output, re.MULTILINE)
    listed = output[output.index("competitor") : output.index("wrote")]
    assert max(map(len, listed.splitlines())) <= 80
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")


def test_network_with_convolutions_is_timed_and_named(tmp_path):
    options = [
        "--limit",
        300,
        "--backend",
        "numpy",
        "--json",
        tmp_path / "r.json",
        "--plot",
        tmp_path / "r.png",
    ]
    output = bench("--network", "cnn", *options)
    assert "MNIST, LeNet-5 with 61,706 parameters, batch 128." in output
    assert "The products of a convolution are those of columns" in output
    found = json.loads((tmp_path / "r.json").read_text())
    jsonschema.validate(found, SCHEMA)
    assert found["workload"]["network"] == "cnn"
    assert [r["name"] for r in found["results"]] == ["xpnet numpy", "gemm alone"]
    assert found["results"][0]["peak_rss_bytes"] - found["results"][0]["imported_rss_bytes"] < 1e9
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_workload_without_options_is_that_of_the_default_race(measured):
    found = measured[2]["workload"]
    assert (found["network"], found["title"]) == ("mlp", "784-64-10, batch 128")
    assert found["optimizer"] == {"part": "Momentum", "fields": FIELDS}
    assert (found["data"], found["samples"], found["limit"]) == ("MNIST", 12000, 12000)
    assert [layer.get("n_out") for layer in found["model"]["layers"]] == [64, None, 10]


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_comes_back_from_its_description(name):
    made = dataclasses.replace(WORKLOADS[name], limit=7, optimizer=xpnet.AdamW(0.5))
    assert described(json.loads(json.dumps(made.about()))) == made
    assert (made.network, WORKLOADS[name].network) == ("own", name)


def test_peer_without_convolutions_is_left_out_in_a_line():
    entries = [rounds.Entry("xpnet", "numpy"), rounds.Entry("peer", "scikit-learn")]
    lines = []
    few = dataclasses.replace(WORKLOADS["cnn"], limit=128)
    raced = rounds.race(entries, few, rounds=1, threads=1, say=lines.append)
    assert [r["name"] for r in raced.results] == ["xpnet numpy"]
    expected = "peer 'scikit-learn' cannot be used: it has no convolution; it is left out"
    assert raced.skipped == [expected]
    assert f"skipped: {expected}" in lines


def test_slowed_backend_shows_in_the_ratio(install, tmp_path):
    install(SLOW)
    bench("--backend", "numpy", "--backend", "fake", "--json", tmp_path / "r.json")
    reference, slow, _ = json.loads((tmp_path / "r.json").read_text())["results"]
    assert min(slow["seconds"]) > 94 * 0.02  # a sleep in each of the 94 batches
    assert slow["ratio_to_first"] == pytest.approx(slow["median"] / reference["median"])
    assert slow["accuracy"] == pytest.approx(reference["accuracy"], abs=1e-6)


def test_backend_that_does_not_synchronise_is_caught(install):
    install(HASTY)
    message = bench("--backend", "fake", status=1)
    assert "backend 'fake' does not synchronise: an epoch seemed to take" in message
    assert "fix the backend's `synchronize`" in message


def test_backend_that_trains_less_is_caught(install):
    install(LAZY)
    message = bench("--backend", "numpy", "--backend", "fake", status=1)
    assert "'xpnet fake' reached" in message
    assert "they did not do the same work" in message


def test_limits_of_a_gpu_are_raced_on_a_backend_whose_device_is_one(install):
    install(ON_A_GPU)
    entries = "rounds.default_entries(['numpy', 'fake'], [])"
    code = f"from xpnet_bench import rounds; print([entry.name for entry in {entries}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["numpy", "fake", "gemm on numpy", "gemm on fake", "bandwidth on fake"])


def test_accuracies_within_a_point_pass():
    learned = [{"name": name, "accuracy": a} for name, a in (("a", 0.97), ("b", 0.9605), ("limit", None))]
    check_accuracies(learned)
    learned.append({"name": "c", "accuracy": 0.95})
    with pytest.raises(
        DishonestError, match=r"'c' reached 95.00% .* and 'a' 97.00%, more than 1 point apart"
    ):
        check_accuracies(learned)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"schema_version": 0}',
            "has version 0 of the schema, but this reads 1 and 2; run `xpnet bench --json`",
        ),
        ("{}", "is no race; pass a file"),
        ("[]", "is no race; pass a file"),
        ("not json", "is not a results file"),
        ('{"schema_version": 1}', "has no 'machine'; pass a file that `xpnet bench --json` wrote"),
    ],
)
def test_older_or_foreign_results_are_refused(tmp_path, content, message):
    path = tmp_path / "old.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        results.read(path)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--backend", "torch"], 2, "unknown backend 'torch': choose one of"),
        (["--json", "no/such/folder/r.json"], 2, "there is no folder 'no/such/folder'"),
        (["--plot", "r.xyz"], 1, "cannot draw 'r.xyz'"),
        (["--backend", "numpy", "--backend", "numpy"], 2, "`--backend` names one twice: numpy, numpy"),
        (["--threads", "999"], 2, "`--threads` is 999, but there are "),
        (["--rounds", "0"], 2, "0 is not in the range x>=1"),
        (["--backend", "numpy", "--tf32"], 2, "`--tf32` is for a GPU, but this would time numpy"),
        (
            ["--network", "cnn", "--sweep"],
            2,
            "`--sweep` varies the sizes of linear layers, so it is for ",
        ),
        (["--network", "cnn", "--tf32"], 2, "`--tf32` varies the sizes of linear layers"),
        (["--network", "rnn"], 2, "'rnn' is not one of 'mlp', 'cnn'"),
    ],
)
def test_bad_input_is_one_line(args, status, message):
    assert message in run("bench", *args, status=status)


def test_shares_are_ratios_of_medians_and_peers_on_a_gpu_get_none():
    def result(backend, kind, *seconds):
        median = sorted(seconds)[1]
        return {
            "backend": backend,
            "kind": kind,
            "seconds": list(seconds),
            "median": median,
            "share_of_limit": None,
        }

    limit, ours, peer = (
        result("numpy", "limit", 1, 2, 3),
        result("numpy", "xpnet", 2, 4, 9),
        result("jax", "peer", 1, 1, 1),
    )
    rounds._share_limits([ours, peer, limit])
    assert (ours["share_of_limit"], peer["share_of_limit"]) == (0.5, 2.0)
    peer["share_of_limit"] = None
    bandwidth, gemm = result("cupy", "limit", 4, 4, 4), result("cupy", "limit", 1, 1, 1)
    gpu = result("cupy", "xpnet", 8, 8, 8)
    rounds._share_limits([ours, peer, gpu, limit, gemm, bandwidth])
    assert (ours["share_of_limit"], peer["share_of_limit"], gpu["share_of_limit"]) == (0.5, None, 0.5)


def test_environment_variable_chooses_the_backend(tmp_path):
    output = bench("--threads", 1, "--json", tmp_path / "r.json", XPNET_BACKEND="numpy")
    found = json.loads((tmp_path / "r.json").read_text())
    assert [r["name"] for r in found["results"]] == ["xpnet numpy", "gemm alone"]
    assert found["machine"]["threads"] == 1
    assert "2 threads" not in found["machine"]["blas"]
    assert "preparing xpnet numba" not in output


def test_comparisons_time_steps_and_whole_processes(monkeypatch):
    commands = []
    monkeypatch.setattr(comparisons, "_TRAINING", ("train", "--epochs", "1", "--limit", "200"))
    steps = {"tiny": Workload(batch_size=50, limit=200)}
    found = comparisons.comparisons(["numpy"], [], rounds=2, threads=1, steps=steps, say=commands.append)
    assert commands == ["steps: tiny", "whole processes"]
    (seconds,) = found["steps"]["tiny"].values()
    assert len(seconds) == len(found["processes"]["numpy"]) == 2
    # A whole process imports NumPy, which takes far longer than a step of fifty images.
    assert 0 < max(seconds) < min(found["processes"]["numpy"])


def test_shares_are_measured_in_each_round():
    workload = Workload(xpnet.mlp(784, 256, 10), batch_size=200, limit=400)
    found = comparisons.shares(["numpy"], rounds=2, threads=1, workload=workload)
    ((name, values),) = found.items()
    assert name == "numpy"
    assert len(values) == 2
    assert all(value > 0 for value in values)


def test_shares_are_the_time_of_the_products_over_that_of_the_training(monkeypatch):
    seconds = {"numpy": [2.0, 4.0], "gemm on numpy": [1.0, 3.0]}
    monkeypatch.setattr(
        comparisons, "laps", lambda entries, *_, **__: {entry.name: seconds[entry.name] for entry in entries}
    )
    assert comparisons.shares(["numpy"], rounds=2, threads=1) == {"numpy": [0.5, 0.75]}


def test_tf32_is_asked_of_the_backend():
    with pytest.raises(UnusableError, match="'numpy' has no products in TF32"):
        ours.Epochs("numpy in TF32")


def gpu_results(**changes):
    names = {"xpnet cupy": 1.0, "JAX scan": 4.0, "PyTorch CUDA graph": 2.0, "PyTorch eager": 20.0}
    found = {
        "schema_version": results.SCHEMA_VERSION,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"processor": "abacus", "threads": 2, "blas": "beads", "gpu": "rod", "driver": "1"},
        "versions": {"xpnet": "0"},
        "workload": {"sizes": [1, 1], "batch_size": 1, "dtype": "float32"},
        "results": [
            {
                "name": name,
                "kind": "peer",
                "device": "cuda",
                "seconds": [s, s, 9 * s],
                "prepare_seconds": 2.5,
                "versions": {},
            }
            for name, s in names.items()
        ],
    }
    found["results"][0]["host_seconds"] = 0.000123
    return found | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["owed", "owed"]),
        ({"shares": {"large": {"cupy": [0.7, 0.8, 0.9]}}}, ["80%", "owed"]),
        ({"shares": {"large": {"cupy": [0.5], "cupy in TF32": [0.75]}}}, ["50%", "75%"]),
    ],
)
def test_gpu_goals_are_medians_and_what_was_not_measured_is_owed(tmp_path, changes, expected):
    assert [row[2] for row in goals_table("gpu_goals", tmp_path)] == ["owed"] * 10
    (tmp_path / "r.json").write_text(json.dumps(gpu_results(**changes)))
    measured = [row[2] for row in goals_table("gpu_goals", tmp_path)]
    assert measured == ["0.25", "0.50", "0.050", "owed", "owed", "0.123 ms", *expected, "3.5 s", "owed"]


def test_peer_on_the_processor_is_not_compared_with_a_gpu(tmp_path):
    found = gpu_results()
    found["results"][1]["device"] = "cpu"
    (tmp_path / "r.json").write_text(json.dumps(found))
    assert [row[2] for row in goals_table("gpu_goals", tmp_path)][:3] == ["owed", "0.50", "0.050"]


def part_of_page(function, folder):
    """Return what a function of `tables` makes of the results in a folder."""
    code = f"import pathlib, tables; print(tables.{function}(pathlib.Path({str(folder)!r})))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
    ).stdout


def goals_table(function, folder):
    """Return the cells of the table of goals for the results in a folder."""
    lines = part_of_page(function, folder).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return rows[2:]


def cpu_results(jax=2.0, limit=(1.0, 1.0, 9.0)):
    names = {"xpnet numpy": 4.0, "xpnet numba": 1.0, "JAX scan": jax, "PyTorch eager": 8.0}
    names |= {"course float64": 16.0}
    kinds = {"xpnet": "xpnet", "gemm": "limit"}
    laps = {name: [s, s, 9 * s] for name, s in names.items()} | {"gemm alone": limit}
    return {
        "schema_version": results.SCHEMA_VERSION,
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {"processor": "abacus", "threads": 2},
        "versions": {"xpnet": "0"},
        "workload": {"sizes": [1, 1], "batch_size": 1},
        "results": [
            {
                "name": name,
                "kind": kinds.get(name.split()[0], "peer"),
                "device": "cpu",
                "seconds": seconds,
                "peak_rss_bytes": 300_000_000,
                "imported_rss_bytes": 0,
            }
            for name, seconds in laps.items()
        ],
        "comparisons": {
            "steps": {
                "batch 32": {"numba": [1.0], "JAX scan": [4.0]},
                "784-1024-1024-10, batch 256": {"numba": [3.0], "JAX scan": [2.0]},
            },
            "processes": {"numba": [3.0], "numpy": [4.0]},
        },
    }


def test_goals_are_ratios_of_medians(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(cpu_results()))
    measured = [row[2] for row in goals_table("goals_on_processors", tmp_path)]
    assert measured == ["0.50", "1.00", "0.12", "2.00", "0.25", "0.25", "1.50", "0.75", "300 MB"]


def test_goals_of_several_races_are_medians_beside_the_quietest_and_all(tmp_path):
    folder = tmp_path / "cpu-abacus"
    folder.mkdir()
    for number, jax in enumerate((2.0, 8.0, 4.0)):
        found = cpu_results(jax, limit=(1.0, 1.0, 1.0) if jax == 8 else (1.0, 1.0, 9.0))
        (folder / f"{number}.json").write_text(json.dumps(found))
    rows = goals_table("goals_on_processors", tmp_path)
    assert rows[0] == ["Numba epoch / JAX scan epoch", "at most 0.25", "0.25", "0.12", "0.50, 0.12, 0.25"]
    ratios = {row[0]: row[2] for row in goals_table("comparison", tmp_path)}
    assert ratios["JAX"] == "4.00 (8.00)"


def test_pages_say_which_of_several_races_they_show(tmp_path):
    path = min([*RACES.glob("cpu-*.json"), *RACES.glob("cpu-*/*.json")])
    said = "The quietest of 2 races.", "and the quietest one in parentheses."
    shutil.copy(path, tmp_path)
    assert not any(text in part_of_page("section", tmp_path) for text in said)
    (tmp_path / "cpu-abacus").mkdir()
    for name in ("1.json", "2.json"):
        shutil.copy(path, tmp_path / "cpu-abacus" / name)
    assert part_of_page("section", tmp_path).count(said[0]) == 1
    assert said[1] in part_of_page("comparison", tmp_path)


CNN = {"sizes": [784, 10], "batch_size": 128, "dtype": "float32", "network": "cnn"}


def test_goals_of_a_network_with_convolutions_are_its_own(tmp_path):
    names = {"xpnet numpy": 4.0, "xpnet numba": 1.0, "JAX scan": 20.0, "PyTorch eager": 2.0}
    found = gpu_results(workload=CNN, machine={"processor": "abacus", "threads": 2})
    found["results"] = [
        {"name": name, "kind": "peer", "seconds": [s], "peak_rss_bytes": 700_000_000, "imported_rss_bytes": 0}
        for name, s in names.items()
    ]
    (tmp_path / "r.json").write_text(json.dumps(found))
    rows = goals_table("goals_on_processors", tmp_path)
    assert [row[1:] for row in rows] == [
        ["at most 0.6", "0.50"],
        ["at most 0.07", "0.050"],
        ["at most 2.5", "2.00"],
        ["at most 1000 MB", "700 MB"],
    ]
    assert all(row[0].startswith("LeNet-5: ") for row in rows)


def test_network_with_convolutions_has_no_part_in_the_goals_of_a_gpu(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(gpu_results(workload=CNN)))
    assert [row[2] for row in goals_table("gpu_goals", tmp_path)] == ["owed"] * 10


def test_crossovers_are_where_the_curves_meet():
    # On logarithmic axes x and 100 / x are straight lines that meet at 10.
    values = [1.0, 100.0]
    ((x, y),) = chart.crossovers(values, [[1.0, 100.0], [100.0, 1.0]])
    assert (x, y) == (pytest.approx(10.0), pytest.approx(10.0))
    assert chart.crossovers(values, [[1.0, 2.0], [3.0, 4.0]]) == []


RACES = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(
    "path", sorted([*RACES.glob("*.json"), *RACES.glob("[cg]pu-*/*.json")]), ids=lambda p: p.stem
)
def test_committed_results_follow_the_schema(path):
    jsonschema.validate(results.read(path), SCHEMA)


def test_pages_show_the_committed_results():
    check = (
        "import tables\n"
        "for page in tables.PAGES:\n"
        "    text = (tables.ROOT / page).read_text(encoding='utf-8')\n"
        "    assert text == tables.replaced(text, tables.RESULTS), page"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT / "benchmarks", check=False)
    assert done.returncode == 0, "run `python benchmarks/tables.py`"


def test_committed_pictures_of_races_are_of_their_results():
    check = (
        "import races, tables\n"
        "for study in races.studies(tables.RESULTS):\n"
        "    picture = tables.ROOT / 'docs' / 'images' / f'race-{study.name}.svg'\n"
        "    date = study.quietest['date']\n"
        "    assert f'<dc:date>{date}</dc:date>' in picture.read_text(encoding='utf-8'), study.name"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT / "benchmarks", check=False)
    assert done.returncode == 0, "run `python benchmarks/tables.py`"


def test_comparison_is_with_the_fastest_entry_of_a_library_on_the_gpu(tmp_path):
    found = gpu_results()
    found["machine"]["gpu"] = "abacus"
    found["results"][0]["kind"] = "xpnet"
    found["results"].append({**found["results"][1], "name": "scikit-learn", "device": "cpu"})
    (tmp_path / "r.json").write_text(json.dumps(found))
    ratios = {row[0]: row[2] for row in goals_table("comparison", tmp_path)}
    assert ratios == {"PyTorch": "2.00", "JAX": "4.00", "Keras": "-", "scikit-learn": "-", "tinygrad": "-"}


def found_with(*seconds_of_each, **machine):
    names = "abcdefgh"
    return {
        "workload": {"sizes": [784, 64, 10], "batch_size": 128, "limit": None},
        "machine": {"processor": "abacus", "threads": 2, **machine},
        "results": [
            {
                "name": name,
                "kind": "xpnet",
                "seconds": list(seconds),
                "median": statistics.median(seconds),
                "ratio_to_first": 1.0,
                "examples_per_second": 1.0,
                "share_of_limit": None,
                "accuracy": None,
                "peak_rss_bytes": 2_000_000,
                "imported_rss_bytes": 1_000_000,
            }
            for name, seconds in zip(names, seconds_of_each, strict=False)
        ],
    }


def test_listing_says_whether_a_kernel_or_a_graph_did_the_steps():
    found = found_with((0.1,), (0.2,), (0.3,))
    for result, launches in zip(found["results"], (0, 8, None), strict=True):
        result["launches_per_step"] = launches
    said = [line for line in results.listing(found).splitlines() if "kernel" in line or "graph" in line]
    names = [result["name"] for result in found["results"]]
    assert said == [
        f"{names[0]}: one kernel takes many steps.",
        f"{names[1]}: a CUDA graph of 8 nodes a step.",
    ]


def test_ratio_is_that_of_the_medians_in_the_table():
    # The ratios by round are 1.31, 0.33 and 1.31, so their median would contradict the medians.
    found = found_with((0.168, 0.168, 0.128), (0.22, 0.055, 0.168))
    line = results.listing(found).splitlines()[2].split()
    assert (line[1], line[5]) == ("168", "1.00")
    found = found_with((0.1, 0.2, 0.3), (0.01, 0.05, 0.09))
    assert results.listing(found).splitlines()[2].split()[5] == "0.25"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.00296, "2.96"), (0.0151, "15.1"), (0.445, "445"), (1.15, "1,150"), (10, "10,000")],
)
def test_times_have_three_significant_digits(seconds, text):
    assert results.milliseconds(seconds) == text


def test_epochs_that_differ_much_get_a_warning():
    (warning,) = results.warnings(found_with((1.0, 1.5, 1.9), (0.07, 0.08, 10.0)))
    assert warning.startswith("warning: epochs of b took 70.0 to 10,000 ms:\n")


def test_bars_are_sorted_on_a_logarithmic_axis_under_the_name_of_the_gpu():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    chart.bars(figure, found_with((0.445,), (0.015,), (0.1,), gpu="NVIDIA H200", driver="580.1"))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    assert axes.get_xscale() == "log"
    assert "NVIDIA H200, driver 580.1" in figure.get_suptitle()


def test_growth_names_the_machine():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    found = found_with((0.4,), gpu="NVIDIA H200", driver="580.1")
    sweep = {"unit": "seconds a step", "values": [32, 128], "seconds": {"numpy": [0.1, 0.2]}}
    chart.growth(figure, found | {"sweeps": {"batch size": sweep}})
    assert figure.get_suptitle().startswith("NVIDIA H200, driver 580.1\n")


def test_gpus_and_their_driver_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "gpu" not in machine.machine(1, "beads")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.1'\necho 'NVIDIA T4, 580.1'\n")
    tool.chmod(0o755)
    found = machine.machine(1, "beads")
    assert (found["gpu"], found["driver"]) == ("NVIDIA H200, NVIDIA T4", "580.1")
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert "gpu" not in machine.machine(1, "beads")


def test_competitors_allocate_gpu_memory_only_as_needed(monkeypatch):
    monkeypatch.delenv("XLA_PYTHON_CLIENT_PREALLOCATE", raising=False)
    assert rounds.limited(1)["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    assert rounds.limited(1)["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"
