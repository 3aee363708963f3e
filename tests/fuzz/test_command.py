"""Random argument lists: the command works, or fails in one short line with status 1 or 2."""

import contextlib
import io
import os
import signal
import sys

import pytest

import xpnet
from xpnet.cli.app import main
from xpnet.errors import MOST_CHARACTERS

NUMBERS = ["1", "0", "-1", "0.5", "1e400", "nan", "-inf", "1" + "0" * 30, "9" * 5000, "x", "", "\u0661"]
PATHS = [
    "new",
    "no/new",
    "loop",
    "pipe.png",
    "folder",
    "/dev/null",
    "/dev/fd/987",
    "",
    "x" * 300,
    "ü\n",
    "a.png",
]
TEXTS = [
    "numpy",
    "numba",
    "cupy",
    "numpy:1",
    "mnist",
    "idx",
    "images",
    "none",
    "8,8",
    "relu",
    "sgd",
    "adam",
    "0:5",
]
COMMON = "--backend --json "
DATA = "--dataset --data --max-bytes "
OPTIONS = {
    "train": COMMON
    + DATA
    + "--size --hidden --activation --optimizer --lr --beta --batch-size --seed --dtype --tf32 "
    "--save --plot --quiet",
    "evaluate": COMMON + DATA + "--plot",
    "predict": COMMON + DATA + "--index",
    "lesson": COMMON + "--plot --seed --lr",
    "bench": COMMON + "--rounds --threads --plot",
    "backends": "--help --x",
}
FLAGS = "--tf32 --quiet --help"
FIGURES = "--lr --beta --batch-size --seed --max-bytes --rounds --threads"
FILES = "--save --json --plot --data"


def arguments(rng):
    """Return a random list of arguments; any training is short."""
    command = rng.choice([*OPTIONS, *OPTIONS, "x", "", "-h"])
    found = [command]
    if command in ("evaluate", "predict"):
        found.append(rng.choice(["model", "model", "model", *PATHS]))
    if command == "lesson":
        found.append(rng.choice(["sigmoid", "neuron", "loss", "none"]))
    options = OPTIONS.get(command, "--x").split()
    for option in rng.sample(options, rng.randint(0, min(4, len(options)))):
        found.append(option)
        usual = NUMBERS if option in FIGURES else PATHS if option in FILES else TEXTS
        if option not in FLAGS or rng.random() < 0.1:
            found.append(rng.choice(usual if rng.random() < 0.9 else [*NUMBERS, *PATHS, *TEXTS]))
    if command == "train":
        found += ["--limit", "20", "--epochs", "1"]
    if command == "bench":
        found += ["--threads", "0"]  # Without any timing.
    return found


@pytest.fixture
def place(tmp_path, monkeypatch, numpy_xp):
    """Change to a folder with a model and some odd files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    os.symlink("loop", "loop")
    os.mkdir("folder")
    model = xpnet.mlp(784, 10)
    scaling = xpnet.batches.Scaling()
    xpnet.Run(numpy_xp, model, model.init(numpy_xp, 0), "softmax_cross_entropy", scaling, "").save("model")


def test_command_survives_random_arguments(fuzzer, place, monkeypatch):
    fuzz = fuzzer("command")
    handler = signal.getsignal(signal.SIGINT)
    for _ in fuzz.turns():
        given = arguments(fuzz.rng)
        monkeypatch.setattr(sys, "argv", ["xpnet", *given])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                main()
            except SystemExit as e:
                status = e.code or 0
            finally:
                signal.signal(signal.SIGINT, handler)
        said = errors.getvalue()
        assert status in (0, 1, 2), given
        if status == 0:
            fuzz.tally.accepted += 1
            continue
        fuzz.tally.refused[f"status {status}"] += 1
        line = said.splitlines()[-1]
        assert line.startswith("xpnet: "), (given, said)
        assert len(line) <= MOST_CHARACTERS, (given, said)
        assert "Traceback" not in said, (given, said)
        assert "this is a bug" not in said, (given, said)
