"""A signal that stops a command loses no complete epoch."""

import json
import os
import signal
import subprocess
import sys

import pytest

import xpnet


def interrupted(*args, epochs=1, by=signal.SIGINT):
    """Return the output and the exit status of a training that gets a signal after this many epochs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xpnet", "train", "--backend", "numpy", "--epochs", "100000", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    lines = []
    # During epochs nothing is being imported; during an import Python may drop an exception.
    while sum(line.startswith("epoch ") for line in lines) < epochs:
        lines.append(process.stdout.readline())
        assert lines[-1], process.stderr.read()
    process.send_signal(by)
    rest, errors = process.communicate()
    return "".join(lines) + rest, errors, process.returncode


def test_interruption_is_one_line():
    _, errors, status = interrupted("--limit", 2000)
    assert (status, errors) == (130, "xpnet: interrupted\n")


@pytest.mark.parametrize(("by", "text"), [(signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")])
def test_signal_that_stops_a_training_saves_the_last_complete_epoch(by, text, tmp_path):
    model = tmp_path / "model"
    _, errors, status = interrupted("--limit", 2000, "--save", model, by=by)
    epochs = len(xpnet.load(model, xpnet.backend("numpy")).history)
    assert (status, errors) == (128 + by, f"xpnet: {text}; saved {model} as epoch {epochs} left it\n")


def test_interruption_writes_the_last_complete_epoch(tmp_path):
    model, json_path, plot = (tmp_path / name for name in ("model", "run.json", "plot.png"))
    options = ["--limit", 2000, "--save", model, "--json", json_path, "--plot", plot]
    output, errors, status = interrupted(*options, epochs=2)
    loaded = xpnet.load(model, xpnet.backend("numpy"))
    epochs = len(loaded.history)
    left = f"as epoch {epochs} left it"
    assert status == 130
    assert (
        errors == f"xpnet: interrupted; saved {model} {left}; wrote {json_path} {left}; drew {plot} {left}\n"
    )
    assert f"saved {model}\n" in output
    assert epochs >= 2
    assert f"\nepoch {epochs:6}/100000" in output
    _, test = xpnet.datasets.mnist()
    assert loaded.evaluate(test).accuracy == pytest.approx(loaded.history[-1].test_accuracy)
    assert len(json.loads(json_path.read_text())["history"]) == epochs
    assert plot.exists()
