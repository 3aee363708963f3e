"""`xpnet bench` of one's own network and data: what the options mean, and what they may not be."""

import json
import pathlib
import sys

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from test_cli import run

import xpnet
from xpnet.cli.app import app
from xpnet_bench import chart, results
from xpnet_bench.chosen import workload_of
from xpnet_bench.cli import bench
from xpnet_bench.errors import DishonestError, UnusableError
from xpnet_bench.learned import check_accuracies
from xpnet_bench.model_file import load_model
from xpnet_bench.rounds import Entry, race
from xpnet_bench.workload import QUICK, WORKLOADS, described

SCHEMA = json.loads(results.SCHEMA.read_text(encoding="utf-8"))
FILES = {
    "net.py": "import xpnet\nimport beside\nmodel = xpnet.mlp(784, beside.WIDTH, 10)\n"
    "def make():\n    return model\n"
    "class Own(xpnet.Tanh):\n    pass\n"
    "own = xpnet.Sequential(xpnet.Linear(784, 8), Own(), xpnet.Linear(8, 10))\n"
    "wrong = xpnet.mlp(783, 10)\nnumber = 3\n"
    "def broken():\n    return 1 / 0\n",
    "beside.py": "WIDTH = 12\n",
    "bad.py": "model = (\n",
    "raises.py": "import xpnet\n\nxpnet.mlp(3)\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    random = np.random.default_rng(0)
    x = random.normal(size=(100, 3))
    np.savetxt("t.csv", np.c_[x, x @ [1.0, 2.0, 3.0]], delimiter=",", header="a,b,c,y", comments="")
    return tmp_path


def chosen(*args, quick=False):
    return workload_of(bench.make_context("bench", [*map(str, args)]).params, quick=quick)


def test_without_options_it_is_the_default_race():
    assert chosen() == WORKLOADS["mlp"]
    assert chosen(quick=True) == QUICK["mlp"]
    assert chosen("--network", "cnn", quick=True) == QUICK["cnn"]


def test_options_of_the_network_and_the_rule_are_those_of_train():
    found = chosen("--hidden", "512,256", "--activation", "relu", "--optimizer", "adam", "--batch-size", 256)
    assert found.model == xpnet.mlp(784, 512, 256, 10, activation="relu")
    assert (found.optimizer, found.batch_size) == (xpnet.Adam(), 256)
    assert found.title == f"784-512-256-10 relu, batch 256, {xpnet.Adam()!r}"
    assert chosen("--hidden", "none").title == "784-10, batch 128, Momentum(lr=0.5, beta=0.9)"
    assert chosen("--network", "cnn", "--activation", "tanh", "--lr", 0.1).model == xpnet.lenet5(
        activation="tanh"
    )
    rule = chosen("--optimizer", "nesterov", "--beta", 0.8, "--weight-decay", 0.1).optimizer
    assert rule == xpnet.Nesterov(4.0, 0.8, weight_decay=0.1)


def test_quick_race_of_a_large_network_takes_fewer_samples():
    limits = [chosen("--hidden", width, quick=True).limit for width in (64, 1024, 16384)]
    assert limits[0] == 12000 > limits[1] > limits[2] >= 256
    assert chosen("--hidden", 64, "--limit", 50, quick=True).limit == 50


def test_table_of_values_is_standardised_and_learned_by_its_loss(folder):
    found = chosen("--data", "t.csv", "--target", "y", "--hidden", 8)
    assert isinstance(found.model.layers[0], xpnet.Standardize)
    assert (found.loss, found.source.name) == ("squared_error", "t.csv")
    assert described(found.about()) == found


def test_model_of_a_file_is_used_with_what_lies_beside_it(folder):
    found = chosen("--model", "net.py:make")
    assert found.model == load_model("net.py:model") == xpnet.mlp(784, 12, 10)
    own = chosen("--model", "net.py:own", "--limit", 9)
    assert "a network" not in own.title
    assert own.title.startswith("net.py:own with 6,370 parameters")
    assert [type(layer).__name__ for layer in described(own.about()).model.layers] == [
        "Linear",
        "Own",
        "Linear",
    ]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("net.py", "'net.py' names no model; pass one as in `net.py:model`"),
        ("gone.py:model", "there is no file 'gone.py'"),
        ("net.py:gone", "'net.py' has no 'gone'; write `model = xpnet.Sequential(...)`, or a function"),
        ("net.py:number", "'number' of 'net.py' is int, not an `xpnet.Sequential`"),
        ("net.py:Own", "'Own' of 'net.py' is type, not an `xpnet.Sequential`"),
        ("net.py:broken", "line 12 of 'net.py' raised ZeroDivisionError: division by zero; correct it"),
        ("bad.py:model", "line 1 of 'bad.py' raised SyntaxError: '(' was never closed"),
        ("raises.py:model", "line 3 of 'raises.py' raised ValueError: `sizes` must have at least"),
        ("net.py:wrong", "`train` has 784 features an image, but the model takes 783"),
    ],
)
def test_model_that_cannot_be_used_is_one_line(folder, named, message):
    with pytest.raises(ValueError, match=r".") as caught:
        chosen("--model", named)
    assert message in str(caught.value)
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--network", "cnn", "--hidden", "3"], "`--network` and `--hidden` both name a network; leave one"),
        (["--network", "mlp", "--model", "net.py:model"], "`--network` and `--model` both name a network"),
        (
            ["--model", "net.py:model", "--activation", "relu"],
            "`--activation` is for a perceptron or LeNet-5",
        ),
        (["--hidden", "3", "--sweep"], "`--sweep` is for the default race, but `--hidden` changes it"),
        (["--size", "3,3"], "`--size` is for folders of pictures"),
        (["--optimizer", "adam", "--beta", "0.5"], "`--beta` is for momentum and nesterov, not for adam"),
        (["--fail-if-slower"], "`--fail-if-slower` needs `--compare BEFORE AFTER`"),
    ],
)
def test_options_that_contradict_each_other_are_refused(folder, args, message):
    done = CliRunner().invoke(app, ["bench", *args])
    assert done.exit_code == 2
    assert message in done.output


def test_race_of_values_reports_their_loss(folder):
    output = run(
        "bench", "--data", "t.csv", "--target", "y", "--hidden", 8, "--optimizer", "adam", "--lr", "0.01",
        *("--backend", "numpy", "--rounds", 2, "--json", "r.json", "--plot", "r.svg"),
    )  # fmt: skip
    assert "loss" in output.partition("\n\n")[2].splitlines()[0]
    found = results.read("r.json")
    jsonschema.validate(found, SCHEMA)
    first = found["results"][0]
    assert (first["accuracy"], found["workload"]["network"], found["workload"]["samples"]) == (
        None,
        "own",
        80,
    )
    assert first["loss"] > 0
    assert str(folder) not in pathlib.Path("r.json").read_text()
    assert "One epoch of t.csv, 80 samples" in pathlib.Path("r.svg").read_text()


def raced(workload, *peers):
    entries = [Entry("xpnet", "numpy"), *(Entry("peer", name) for name in peers)]
    return race(entries, workload, rounds=2, threads=1, say=lambda line: None)


def test_race_of_a_layer_of_ones_own_leaves_out_a_peer_that_cannot_have_it(folder):
    pytest.importorskip("sklearn")
    found = raced(chosen("--model", "net.py:own", "--limit", 100), "scikit-learn")
    assert [r["name"] for r in found.results] == ["xpnet numpy"]
    assert found.skipped == ["peer 'scikit-learn' cannot be used: it has no Own; it is left out"]


def test_training_that_diverged_is_no_race():
    workload = chosen("--hidden", 8, "--activation", "relu", "--lr", "1e30", "--limit", 300)
    with pytest.raises(UnusableError, match=r"are not finite after the last epoch, .* smaller `--lr`"):
        raced(workload)


def learned(*losses):
    return [{"name": n, "accuracy": None, "loss": x} for n, x in zip("abc", losses, strict=False)]


def test_losses_of_values_must_be_near_each_other():
    check_accuracies(learned(1.0, 1.04, None))
    with pytest.raises(DishonestError, match=r"'b' reached a test loss of 1.1 and 'a' 1, more than 5% apart"):
        check_accuracies(learned(1.0, 1.1))


def test_one_test_sample_may_differ_where_there_are_few():
    found = [{"name": n, "accuracy": a, "loss": 1.0} for n, a in (("a", 0.9), ("b", 0.9 - 1 / 30))]
    check_accuracies(found, tests=30)
    with pytest.raises(DishonestError, match="more than 1 point apart"):
        check_accuracies(found, tests=300)


@pytest.fixture
def figure():
    return pytest.importorskip("matplotlib.figure").Figure(layout="constrained")


GPU = results.read(pathlib.Path(__file__).parents[2] / "benchmarks" / "results" / "gpu-nvidia-h200.json")


def drawn_texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_bars_say_how_they_compare_with_the_reference(figure):
    chart.bars(figure, GPU)
    texts = drawn_texts(figure)
    assert texts[0] == "1.40 ms, 332 times as fast as PyTorch eager"
    assert texts[-1] == "803 ms, 1.7 times as long as PyTorch eager"
    assert "466 ms" in texts
    figure.clear()
    chart.bars(figure, GPU, reference="xpnet cupy", width=5)
    assert drawn_texts(figure)[-1] == "803 ms\n53 times as long as xpnet cupy"
    with pytest.raises(ValueError, match="no competitor is called 'x': choose one of xpnet numpy"):
        chart.bars(figure, GPU, reference="x")


def test_axis_is_linear_where_times_are_near_each_other(figure):
    near = GPU | {"results": [r for r in GPU["results"] if r["name"] in ("xpnet numpy", "scikit-learn")]}
    chart.bars(figure, near)
    assert figure.axes[0].get_xscale() == "linear"
    assert figure.axes[0].get_xlim()[0] == 0
