"""The command as a user runs it, in its own process."""

import contextlib
import gzip
import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

import xpnet
from conftest import make_namespace


def run(*args, status=0, **environment):
    """Return the command's output, after checking its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, "XPNET_BACKEND": "", **environment},
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    if status:
        assert done.stderr.startswith("xpnet: ")
        assert done.stderr.count("\n") == 1
        return done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    output = run(
        "train",
        *("--limit", 3000, "--epochs", 2, "--hidden", "16,8", "--activation", "relu"),
        *("--save", folder / "model", "--json", folder / "run.json", "--plot", folder / "plot.png"),
    )
    return folder, output


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_defaults_reach_the_courses_accuracy(name, tmp_path):
    make_namespace(name)
    output = run("train", "--json", tmp_path / "run.json", XPNET_BACKEND=name)
    assert output.count("\nepoch ") == 9
    results = json.loads((tmp_path / "run.json").read_text())
    assert results["backend"] == name
    assert results["history"][-1]["test_accuracy"] >= 0.975
    assert results["initial_sha256"] == "5735eb89c79fc954f90fe4ef3e7187e75393483a5fbebf4ad9a3d8a66edc69fb"
    assert results["config"] == {
        "hidden": [64],
        "activation": "sigmoid",
        "optimizer": "momentum",
        "lr": 4.0,
        "beta": 0.9,
        "batch_size": 128,
        "epochs": 9,
        "seed": 138,
        "dtype": "float32",
        "dataset": "mnist",
        "data": None,
        "limit": None,
    }


def test_train_prints_plain_lines_in_a_pipe(trained):
    folder, output = trained
    lines = output.splitlines()
    assert lines[0] == "numpy on cpu: 784-16-8-10 relu, Momentum(lr=0.5, beta=0.9)"
    assert lines[1] == "3000 training and 10000 test images, batches of 128"
    assert lines[2].startswith("epoch 1/2   train loss ")
    assert lines[4].startswith("test accuracy ")
    assert lines[5:] == [
        f"saved {folder / 'model'}",
        f"wrote {folder / 'run.json'}",
        f"drew {folder / 'plot.png'}",
    ]
    assert "\x1b" not in output


def test_train_writes_its_results(trained):
    folder, _ = trained
    results = json.loads((folder / "run.json").read_text())
    assert results["versions"]["numpy"] == np.__version__
    assert results["versions"]["xpnet"] == xpnet.__version__
    assert results["device"] == "cpu"
    assert [set(line) for line in results["history"]] == [
        {"epoch", "train_loss", "test_loss", "test_accuracy", "seconds"}
    ] * 2
    confusion = np.array(results["confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == 10000
    assert np.trace(confusion) / 10000 == pytest.approx(results["history"][-1]["test_accuracy"])
    assert (folder / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_agrees_with_training(trained, tmp_path):
    folder, _ = trained
    output = run("evaluate", folder / "model", "--json", tmp_path / "evaluation.json")
    assert "precision" in output
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    results = json.loads((folder / "run.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(results["history"][-1]["test_accuracy"])
    assert evaluation["confusion"] == results["confusion"]


def test_predict_lists_the_chosen_images(trained, tmp_path):
    folder, _ = trained
    output = run("predict", folder / "model", "--index", "0:3", "--json", tmp_path / "predictions.json")
    assert [line.split()[:2] for line in output.splitlines()[1:4]] == [["0", "7"], ["1", "2"], ["2", "1"]]
    predictions = json.loads((tmp_path / "predictions.json").read_text())
    assert [p["label"] for p in predictions] == [7, 2, 1]
    assert all(np.argmax(p["probabilities"]) == p["predicted"] for p in predictions)


@pytest.mark.parametrize(
    ("index", "rows"),
    [("7", [7]), ("3,1,4", [3, 1, 4]), (":2", [0, 1]), ("-1", [9999]), ("0:9:4", [0, 4, 8])],
)
def test_predict_understands_its_index(trained, index, rows):
    output = run("predict", trained[0] / "model", "--index", index)
    assert [int(line.split()[0]) for line in output.splitlines()[1:]] == rows


def test_quiet_prints_nothing(tmp_path):
    assert run("train", "--limit", 500, "--epochs", 1, "--quiet", "--save", tmp_path / "model") == ""
    assert (tmp_path / "model").exists()


def write_folder(folder, classes):
    header = {1: b"\0\0\x08\x01", 3: b"\0\0\x08\x03"}
    rng = np.random.Generator(np.random.Philox(0))
    for stem in ("train", "t10k"):
        images, labels = rng.integers(0, 256, (20, 2, 3)), rng.integers(0, classes, 20)
        for kind, x in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = b"".join(n.to_bytes(4, "big") for n in x.shape)
            payload = header[x.ndim] + sizes + x.astype(np.uint8).tobytes()
            (folder / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(payload))


@pytest.fixture
def folder(tmp_path):
    """Return a folder of IDX files: 20 images of 6 pixels and 4 classes in each set."""
    folder = tmp_path / "my data"
    folder.mkdir()
    write_folder(folder, 4)
    return folder


def test_data_reads_a_folder(folder):
    output = run("train", "--data", folder, "--epochs", 1)
    assert output.startswith("numpy on cpu: 6-64-4 sigmoid")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_model_of_other_data_is_not_used_on_mnist_unasked(folder, tmp_path, command):
    model = tmp_path / "model"
    run("train", "--data", folder, "--epochs", 1, "--quiet", "--save", model)
    message = run(command, model, status=2)
    expected = (
        f"the model was trained on '{folder}', not on mnist; pass `--data '{folder}'`, or `--dataset mnist`"
    )
    assert expected in message
    assert "note" not in run(command, model, "--data", folder)
    assert "takes 6" in run(command, model, "--dataset", "mnist", status=1)
    other = tmp_path / "other"
    folder.rename(other)
    assert f"note: the model was trained on '{folder}', but this is '{other}'" in run(
        command, model, "--data", other
    )


def test_model_of_data_without_a_name_says_so(tmp_path):
    xp, model = xpnet.backend("numpy"), xpnet.mlp(784, 10)
    images = np.random.Generator(np.random.Philox(0)).integers(0, 256, (20, 784)).astype(np.uint8)
    data = xpnet.Dataset(images, np.arange(20) % 10)
    xpnet.fit(xp, model, data, optimizer=xpnet.SGD(0.1), epochs=1).save(tmp_path / "model")
    output = run("evaluate", tmp_path / "model")
    assert output.startswith(
        "note: the model was trained on data without a name, but this is 'mnist'\ntest loss "
    )


def test_data_of_one_class_are_refused_without_an_option_that_no_command_has(tmp_path):
    write_folder(tmp_path, 1)
    message = run("train", "--data", tmp_path, "--epochs", 1, status=1)
    assert message == f"xpnet: all labels in '{tmp_path}' are 0; add images of a second class\n"


def test_folder_within_a_folder_of_its_name_is_named(tmp_path):
    (tmp_path / "inner").mkdir()
    write_folder(tmp_path / "inner", 4)
    message = run("train", "--data", tmp_path, status=1)
    assert message.endswith(f"all four files are in '{tmp_path / 'inner'}': pass that folder\n")


def test_damaged_idx_file_is_called_idx(tmp_path):
    write_folder(tmp_path, 4)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not an IDX file")
    assert run("train", "--data", tmp_path, status=1).startswith("xpnet: IDX file '")


def test_backends_lists_all_if_one_ends_the_process(tmp_path):
    info = tmp_path / "toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[xpnet.backends]\ntoy = toy:xp\n")
    (tmp_path / "toy.py").write_text("raise SystemExit('two\\nlines')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    lines = run("backends", PYTHONPATH=path).splitlines()
    assert lines[-1] == f"{'':8} backend 'toy' cannot be loaded: SystemExit: two lines; reinstall toy"
    assert {line.split()[0] for line in lines if line[:1] != " "} >= {"cupy", "numba", "numpy", "toy"}
    listed = {info["name"]: info for info in json.loads(run("backends", "--json", PYTHONPATH=path))}
    assert listed["numpy"]["usable"]
    assert not listed["toy"]["usable"]
    assert run("train", "--backend", "toy", PYTHONPATH=path, status=1).startswith(
        "xpnet: backend 'toy' cannot be"
    )


def test_backends_says_what_each_needs():
    output = run("backends")
    assert f"numpy    numpy {np.__version__} on cpu" in output
    listed = {info["name"]: info for info in json.loads(run("backends", "--json"))}
    assert {"numpy", "numba", "cupy"} <= set(listed)
    assert listed["numpy"]["usable"]
    keys = {"name", "usable", "reason", "remedy", "library", "version", "device", "fused", "advice"}
    assert all(set(info) == keys for info in listed.values())
    for info in listed.values():
        assert info["usable"] or (info["reason"] in output.replace("\n", " ") and info["remedy"])
    words = " ".join(output.split())
    assert listed["numpy"]["advice"][0].startswith("BLAS: ")
    # The first run's probe may have filled the cache for the second.
    assert all(
        line in words for info in listed.values() for line in info["advice"] if not line.startswith("cache")
    )


def test_help_names_every_option():
    output = run("train", "--help")
    names = "backend dataset data hidden activation optimizer lr beta batch-size epochs seed dtype limit save"
    for name in [*names.split(), "json", "plot", "quiet"]:
        assert f"--{name} " in output
    assert "Commands:" in run()
    assert run("--version") == f"xpnet {xpnet.__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--backend", "torch"], "unknown backend 'torch': choose one of cupy, numba, numpy"),
        (["--epochs", "0"], "invalid value for '--epochs': 0 is not in the range x>=1"),
        (["--batch-size", "0"], "invalid value for '--batch-size': 0 is not in the range"),
        (["--lr", "-1"], "`lr` must be a finite number above 0, got -1.0"),
        (["--beta", "1.5"], "`beta` must be in [0, 1), got 1.5"),
        (["--optimizer", "adam", "--beta", "0.5"], "`--beta` is for momentum and nesterov, not for adam"),
        (["--activation", "swish"], "'swish' is not one of 'sigmoid', 'relu', "),
        (
            ["--hidden", "64,"],
            "'64,' is no list of widths; pass one as in 64, several as in 512,256, or none",
        ),
        (["--dataset", "idx"], "`--dataset idx` reads a folder: name it with `--data DIR`"),
        (["--dataset", "mnist", "--data", "."], "`--dataset mnist` is bundled, and `--data` reads a folder"),
        (["--save", "no/such/folder/model"], "cannot write 'no/such/folder/model': there is no folder"),
        (["--json", "."], "cannot write '.': it is not a file; name one"),
        (["--json", __file__ + "/x"], "is not a folder; choose another place"),
        (
            ["--save", "x", "--json", "./x"],
            "`--save`, `--json` name the same file; name a different one for each",
        ),
        (["--lr", "fast"], "'fast' is not a valid float"),
        (["--learning-rate", "1"], "no such option"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(args, message):
    assert message in run("train", *args, status=2)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "--data", "no-such-folder"], "no-such-folder"),
        (["train", "--plot", "picture.xyz"], "cannot draw 'picture.xyz': its suffix is 'xyz'; choose one of"),
        (["evaluate", "no-such-model"], "no model at 'no-such-model'; pass a file that `run.save` wrote"),
        (["predict", __file__], "is not an xpnet model"),
        (["train", "--limit", "500", "--activation", "relu", "--lr", "1e30"], "lower the learning rate"),
        (["train", "--backend", "numpy:1"], "backend 'numpy' has no device '1'"),
    ],
)
def test_failure_is_one_line_and_status_1(args, message):
    assert message in run(*args, status=1)


@pytest.mark.parametrize("index", ["10000", "5:5", "0,-10001", "::0"])
def test_index_outside_the_test_images_is_refused(trained, index):
    message = run("predict", trained[0] / "model", "--index", index, status=2)
    assert "`--index` must select from the 10000 test images, 0 to 9999" in message


def test_failing_write_leaves_the_older_results(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("older")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)); "
    ignore = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    program = "import runpy; runpy.run_module('xpnet', run_name='__main__')"
    options = ["train", "--limit", "500", "--epochs", "1", "--quiet", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-c", limit + ignore + program, *options], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == f"xpnet: cannot write {str(path)!r}: File too large; choose another place\n"
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_tf32_on_a_backend_without_it_is_one_line_that_names_one_with_it():
    message = run("train", "--tf32", "--backend", "numpy", status=1)
    assert "backend 'numpy' has no products in TF32; leave TF32 out, or choose 'cupy'" in message


def test_terminal_shows_a_bar_and_whole_lines():
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "xpnet", "train", "--limit", "2000", "--epochs", "2"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "XPNET_BACKEND": "numpy"}
    with subprocess.Popen(command, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        output = b""
        # A closed terminal is an error on Linux, not an end of file.
        with contextlib.suppress(OSError):
            while chunk := os.read(parent, 65536):
                output += chunk
    os.close(parent)
    assert process.returncode == 0
    assert b"training" in output
    # A line shows what follows its last carriage return or erasure.
    lines = [re.split(r"\x1b\[2K|\r", line.rstrip("\r"))[-1] for line in output.decode().split("\n")]
    assert [line[:9] for line in lines if "epoch" in line and "train loss" in line] == [
        "epoch 1/2",
        "epoch 2/2",
    ]


def test_missing_drawing_library_says_what_to_install(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('No module named matplotlib')")
    message = run("train", "--plot", "x.png", status=1, PYTHONPATH=str(tmp_path))
    assert "install it with `pip install 'xpnet[plot]'`" in message
