"""`xpnet draw` in a process of its own: its port, how it ends, and models that it refuses."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from page_server import ask

import xpnet
from xpnet.cli.app import app
from xpnet.cli.draw import trained
from xpnet.draw import PORT, listening

MODEL_LINE = (
    "draw with a model that classifies grey pictures of 28 x 28 pixels, such as one of "
    "`xpnet train --save model.safetensors`\n"
)


def start(*args):
    return subprocess.Popen(
        [sys.executable, "-m", "xpnet", "draw", *map(str, args), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XPNET_BACKEND": "numpy", "PYTHONUNBUFFERED": "1"},
    )


def refused(*args):
    """Return the exit status and the errors of a command that does not serve."""
    process = start(*args)
    output, errors = process.communicate()
    assert output == ""
    return process.returncode, errors


@pytest.fixture
def save(tmp_path, numpy_xp):
    """Return a function that trains a model for a moment, saves it and returns its path."""

    def saved(model, images, targets, **options):
        data = xpnet.Dataset(images, targets)
        run = xpnet.fit(numpy_xp, model, data, epochs=1, optimizer=xpnet.SGD(0.1), progress=False, **options)
        run.save(tmp_path / "model")
        return tmp_path / "model"

    return saved


@pytest.fixture
def digits(save):
    images = np.zeros((4, 28, 28), np.uint8)
    return save(xpnet.mlp(784, 2), images, np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("wanted", [True, False])
def test_browser_is_opened_if_it_is_wanted(digits, tmp_path, wanted):
    opened, program = tmp_path / "opened", tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$1" >{opened}\n')
    program.chmod(0o755)
    options = ["--browser"] if wanted else []  # without a terminal, none is opened by itself
    process = subprocess.Popen(
        [sys.executable, "-m", "xpnet", "draw", digits, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XPNET_BACKEND": "numpy", "BROWSER": f"{program} %s"},
    )
    address = process.stdout.readline().split()[2]
    while wanted and not (opened.exists() and opened.read_text()):
        time.sleep(0.02)
    assert ask(address, "GET", "/")[0] == 200
    process.terminate()
    assert process.communicate() == ("", "xpnet: terminated\n")
    assert (opened.read_text() if opened.exists() else "") == (f"{address}\n" if wanted else "")


@pytest.mark.parametrize(
    ("number", "text"),
    [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")],
)
def test_signal_ends_the_server_with_the_usual_status(digits, number, text):
    process = start(digits, "--port", 0)
    address = re.search(r"draw on (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)", process.stdout.readline())[1]
    assert ask(address, "GET", "/")[0] == 200
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("", f"xpnet: {text}\n", 128 + number)


def test_port_that_is_taken_is_one_clear_line(digits):
    with listening(0) as other:
        port = other.getsockname()[1]
        assert refused(digits, "--port", port) == (
            1,
            f"xpnet: port {port} is taken by another program; name another one with `--port`, or leave that "
            "out to take a free one\n",
        )


def test_port_is_looked_at_before_the_model(tmp_path):
    with listening(0) as other:
        _, errors = refused(tmp_path / "missing", "--port", other.getsockname()[1])
        assert "is taken" in errors


def test_default_port_that_is_taken_is_replaced_by_a_free_one(digits):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", PORT))
            other.listen()
        except OSError:
            pass  # It is taken already.
        process = start(digits)
        said, line = process.stdout.readline(), process.stdout.readline()
        process.terminate()
        process.communicate()
    port = re.fullmatch(rf"port {PORT} is taken, so this is (\d+)\n", said)[1]
    assert line.startswith(f"draw on http://127.0.0.1:{port} ")


@pytest.mark.parametrize("port", ["-1", "65536", "web"])
def test_port_that_is_none_is_bad_usage(port):
    status, errors = refused("--port", port)
    assert (status, errors.count("\n")) == (2, 1)


def test_model_of_rows_of_another_length_is_refused(save):
    path = save(xpnet.mlp(12, 2), np.zeros((4, 12), np.uint8), np.array([0, 1, 0, 1]))
    assert refused(path) == (1, f"xpnet: '{path}' takes 12 features; {MODEL_LINE}")


def test_model_of_other_pictures_is_refused(save):
    path = save(xpnet.mlp(784, 2), np.zeros((4, 14, 14, 4), np.uint8), np.array([0, 1, 0, 1]))
    reason = "was trained on pictures of 14 x 14 pixels with 4 channels"
    assert refused(path) == (1, f"xpnet: '{path}' {reason}; {MODEL_LINE}")
    model = xpnet.Sequential(xpnet.Conv2d(3, 2, 3), xpnet.Flatten(), xpnet.Linear(2 * 28 * 28, 2))
    path = save(model, np.zeros((4, 28, 28, 3), np.uint8), np.array([0, 1, 0, 1]))
    reason = "was trained on pictures of 28 x 28 pixels with 3 channels"
    assert refused(path) == (1, f"xpnet: '{path}' {reason}; {MODEL_LINE}")


def test_model_of_values_is_refused(save):
    path = save(xpnet.mlp(784, 2), np.zeros((4, 784), np.uint8), np.zeros((4, 2)), loss="squared_error")
    assert refused(path) == (1, f"xpnet: '{path}' predicts values; {MODEL_LINE}")


def test_file_that_is_missing_is_one_line(tmp_path):
    status, errors = refused(tmp_path / "missing")
    assert (status, errors.count("\n")) == (1, 1)
    assert "missing" in errors


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "PIL"])
def test_package_that_is_missing_is_named_with_what_to_install(package):
    program = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = ['draw']"
    program += "; from xpnet.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("xpnet: drawing needs Starlette, Uvicorn and Pillow: ")
    assert done.stderr.endswith("install them with `pip install 'xpnet[draw]'`\n")


def test_network_that_is_trained_without_a_model_is_that_of_train(monkeypatch, mnist, numpy_xp, tmp_path):
    few = mnist[0][:300], mnist[1][:100]
    monkeypatch.setattr(xpnet.datasets, "mnist", lambda: few)
    trained(numpy_xp).save(tmp_path / "drawn")
    app.main(["train", "--backend", "numpy", "--quiet", "--save", str(tmp_path / "m")], standalone_mode=False)
    drawn, run = (xpnet.load(tmp_path / name, numpy_xp) for name in ("drawn", "m"))
    assert (drawn.model, drawn.loss, len(drawn.history)) == (run.model, run.loss, 9)
    for name, value in run.params.items():
        np.testing.assert_array_equal(drawn.params[name], value)
