"""`xpnet train --checkpoint DIR --resume` continues a training that was stopped in any way."""

import os
import re
import signal
import subprocess
import sys

import pytest
from safetensors import safe_open

import xpnet

EPOCH_1, EPOCH_2 = "epoch-0001.safetensors", "epoch-0002.safetensors"


def train(*args, status=0, command="train"):
    """Return the standard output and the standard error of the command."""
    limit = ("--limit", "500") if command == "train" else ()
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", command, *limit, *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, "XPNET_BACKEND": ""},
    )
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def seal(path):
    with safe_open(path, framework="numpy") as file:
        return file.metadata()["sha256"]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_resumed_training_ends_like_one_that_was_not_interrupted(tmp_path, backend):
    folder, options = tmp_path / "checkpoints", ("--backend", backend, "--model", "cnn")
    train("--epochs", 1, "--checkpoint", folder, *options)
    output, errors = train(
        *("--epochs", 3, "--checkpoint", folder, "--resume", "--save", tmp_path / "continued", *options)
    )
    assert errors == ""
    assert output.splitlines()[2] == f"resumed from epoch 1 ({folder / EPOCH_1})"
    assert re.findall(r"^epoch (\d)/3", output, re.MULTILINE) == ["2", "3"]
    train("--epochs", 3, "--save", tmp_path / "whole", *options)
    assert seal(tmp_path / "continued") == seal(tmp_path / "whole")


def test_checkpoint_is_a_model_for_other_commands(tmp_path):
    output, _ = train("--epochs", 2, "--checkpoint", tmp_path)
    (accuracy,) = re.findall(r"^test accuracy (\S+);", output, re.MULTILINE)
    evaluated, _ = train(tmp_path / EPOCH_2, command="evaluate")
    assert f"test accuracy {accuracy}" in evaluated


def test_options_say_how_many_are_kept(tmp_path):
    train("--epochs", 7, "--checkpoint", tmp_path, "--every", 2, "--keep", 2)
    assert sorted(p.name[6:10] for p in tmp_path.glob("epoch-*")) == ["0006", "0007"]


@pytest.mark.parametrize("option", [("--every", 2), ("--keep", 2), ("--resume",)])
def test_options_need_a_folder(option):
    output, errors = train(*option, status=2)
    assert output == ""
    assert errors == f"xpnet: `{option[0]}` needs a folder of checkpoints: name it with `--checkpoint DIR`\n"


def test_folder_of_another_training_is_kept(tmp_path):
    train("--epochs", 1, "--checkpoint", tmp_path)
    _, errors = train("--epochs", 1, "--checkpoint", tmp_path, status=2)
    assert errors == (
        f"xpnet: {str(tmp_path)!r} has checkpoints already; pass `--resume` to continue that training, or "
        "choose another folder\n"
    )


def test_another_training_is_refused_in_one_line(tmp_path):
    train("--epochs", 1, "--checkpoint", tmp_path)
    _, errors = train("--epochs", 2, "--checkpoint", tmp_path, "--resume", "--lr", 2, status=1)
    assert errors == (
        f"xpnet: cannot resume from {str(tmp_path / EPOCH_1)!r}: `optimizer.lr` is 4.0 there and 2.0 here; "
        "pass the same, or choose another folder\n"
    )


def test_damaged_checkpoint_is_skipped_with_a_note(tmp_path):
    train("--epochs", 2, "--checkpoint", tmp_path)
    os.truncate(tmp_path / EPOCH_2, 5000)
    output, errors = train("--epochs", 2, "--checkpoint", tmp_path, "--resume")
    assert f"resumed from epoch 1 ({tmp_path / EPOCH_1})" in output
    assert errors.startswith(f"note: skipped a checkpoint: '{tmp_path / EPOCH_2}' is not an xpnet checkpoint")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_the_last_complete_epoch(tmp_path, number):
    command = [sys.executable, "-m", "xpnet", "train", "--limit", "500", "--epochs", "1000000"]
    process = subprocess.Popen(
        [*command, "--checkpoint", tmp_path, "--every", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "XPNET_BACKEND": "numpy"},
    )
    lines = [process.stdout.readline() for _ in range(6)]
    process.send_signal(number)
    rest, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors in ("xpnet: interrupted\n", "xpnet: terminated\n")
    (path,) = tmp_path.glob("epoch-*")
    assert f"saved {path}; `--resume` continues from there\n" in rest
    done = len(xpnet.load(path, xpnet.backend("numpy")).history)
    # A signal may come between the end of an epoch and its line, or the line and the record.
    assert (done - "".join([*lines, rest]).count("\nepoch ")) in (-1, 0)
