"""Commands that write to pipes and standard output, and their errors for odd paths and numbers."""

import json
import os
import shutil
import subprocess
import sys

import pytest

import xpnet
from xpnet.errors import MOST_CHARACTERS

XPNET = f"{sys.executable} -m xpnet"
TRAIN = f"{XPNET} train --backend numpy --limit 300 --epochs 1"


def shell(command, folder, status=0):
    """Return the output and the errors of a shell command."""
    bash = shutil.which("bash") or pytest.skip("needs bash")
    done = subprocess.run([bash, "-c", f"set -o pipefail; {command}"], capture_output=True, cwd=folder)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr.decode()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    xp = xpnet.backend("numpy")
    network = xpnet.mlp(784, 10)
    path = tmp_path_factory.mktemp("saved") / "model"
    xpnet.Run(xp, network, network.init(xp, 0), "softmax_cross_entropy", xpnet.batches.Scaling(), "").save(
        path
    )
    return path


@pytest.mark.parametrize(
    "command",
    [
        TRAIN,
        f"{XPNET} evaluate MODEL --backend numpy",
        f"{XPNET} predict MODEL --backend numpy",
        f"{XPNET} lesson sigmoid --backend numpy",
    ],
)
def test_standard_output_gets_only_the_results(model, tmp_path, command):
    command = command.replace("MODEL", str(model))
    printed, said = shell(f"{command} --json /dev/stdout | cat", tmp_path)
    json.loads(printed)
    assert said
    printed, _ = shell(f"{command} --json >(cat > received); wait; sleep 0.2", tmp_path)
    assert printed.endswith(b"\n")
    json.loads((tmp_path / "received").read_text())
    shell(f"{command} --json /dev/fd/1 > file", tmp_path)
    json.loads((tmp_path / "file").read_text())
    assert sorted(os.listdir(tmp_path)) == ["file", "received"]


def test_model_is_written_to_standard_output(tmp_path):
    shell(f"{TRAIN} --save /dev/stdout | cat > model", tmp_path)
    assert len(xpnet.load(tmp_path / "model", xpnet.backend("numpy")).history) == 1
    _, said = shell(f"{TRAIN} --save /dev/stdout --json /dev/fd/1 > file", tmp_path, status=2)
    assert said == "xpnet: `--save`, `--json` name the same file; name a different one for each\n"


def test_reader_that_is_gone_loses_no_result(tmp_path):
    _, said = shell(f"{TRAIN} --quiet --json >(true)", tmp_path, status=1)
    assert "Broken pipe; choose another place, or take it from" in said
    (kept,) = tmp_path.iterdir()
    assert "history" in json.loads(kept.read_text())


LONG = "x" * 74_000


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["train", "--lr", "1e400"], 2),
        (["train", "--lr", "nan"], 2),
        (["train", "--beta", "-inf"], 2),
        (["train", "--batch-size", "1" + "0" * 30], 1),
        (["train", "--epochs", "1" + "0" * 30], 1),
        (["train", "--limit", "1" + "0" * 5000], 2),
        (["train", "--hidden", "1" + "0" * 30], 1),
        (["train", "--hidden", "1" * 5000], 2),
        (["train", "--hidden", LONG], 2),
        (["train", "--seed", "1" * 5000], 2),
        (["train", "--backend", LONG], 2),
        (["train", "--data", LONG], 1),
        (["train", "--data", "loop"], 1),
        (["train", "--max-bytes", "5"], 2),
        (["train", "--max-bytes", "0", "--data", "."], 2),
        (["train", "--max-bytes", "1" + "0" * 30, "--data", "loop"], 1),
        (["train", "--save", "loop"], 2),
        (["train", "--json", "loop"], 2),
        (["train", "--plot", "loop.png"], 2),
        (["train", "--json", "loop/x"], 2),
        (["train", "--json", LONG], 2),
        (["train", "--json", LONG + "/x"], 2),
        (["train", "--json", "/dev/fd/987"], 2),
        (["train", "--" + LONG], 2),
        (["evaluate", "loop"], 1),
        (["evaluate", "pipe"], 1),
        (["evaluate", "/dev/zero"], 1),
        (["evaluate", "."], 1),
        (["evaluate", LONG], 1),
        (["evaluate", ""], 1),
        (["lesson", LONG], 2),
        (["lesson", "sigmoid", "--json", "loop"], 2),
        (["bench", "--json", "loop"], 2),
        ([LONG], 2),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else str(value),
)
def test_odd_argument_is_refused_in_one_short_line(tmp_path, monkeypatch, capfd, arguments, status):
    monkeypatch.chdir(tmp_path)
    for name in ("loop", "loop.png"):
        os.symlink(name, name)
    os.mkfifo("pipe")
    assert run(arguments, monkeypatch) == status
    _, said = capfd.readouterr()
    assert said.startswith("xpnet: ")
    assert said.count("\n") == 1
    assert len(said) <= MOST_CHARACTERS + 1


def run(arguments, monkeypatch):
    """Return the status of a command, run in this process."""
    import signal

    from xpnet.cli.app import main

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", ["xpnet", *arguments])
    monkeypatch.setenv("XPNET_BACKEND", "numpy")
    try:
        with pytest.raises(SystemExit) as exit_:
            main()
    finally:
        signal.signal(signal.SIGINT, handler)
    return exit_.value.code
