"""A training prints a line for each epoch where no bar can be shown."""

import dataclasses
import io
import re
import subprocess
import sys

import numpy as np
import pytest

import xpnet
from xpnet import Epoch
from xpnet.epoch_lines import epoch_line, epoch_lines

EPOCH = Epoch(3, 0.51234, 0.6, 0.97581, 0.125)


NOTHING = Epoch(3, 0.51234, None, None, 0.125)
VALIDATED = dataclasses.replace(NOTHING, validation_loss=0.7, validation_accuracy=0.5)


@pytest.mark.parametrize(
    ("epoch", "text"),
    [
        (EPOCH, "test loss 0.6000   test accuracy 97.58%   "),
        (dataclasses.replace(EPOCH, test_accuracy=None), "test loss 0.6000   "),
        (NOTHING, ""),
        (
            dataclasses.replace(NOTHING, validation_loss=0.7, validation_accuracy=0.5),
            "validation loss 0.7000   validation accuracy 50.00%   ",
        ),
        (
            dataclasses.replace(NOTHING, test_loss=0.6, validation_loss=0.7),
            "validation loss 0.7000   test loss 0.6000   ",
        ),
    ],
)
def test_line_has_the_figures_of_the_epoch(epoch, text):
    assert epoch_line(epoch, 10) == f"epoch  3/10   train loss 0.5123   {text}0.125 s"


def train(**options):
    data = xpnet.Dataset(np.eye(6, dtype="uint8"), np.arange(6) % 2)
    options = {"optimizer": xpnet.SGD(0.1), "epochs": 3} | options
    return xpnet.fit(xpnet.backend("numpy"), xpnet.mlp(6, 2), data, **options)


def test_training_prints_a_line_for_each_epoch(capsys):
    run = train()
    assert capsys.readouterr().out.splitlines() == [epoch_line(epoch, 3) for epoch in run.history]


def test_training_without_progress_prints_nothing(capsys):
    train(progress=False)
    assert capsys.readouterr().out == ""


def test_terminal_gets_a_bar_and_no_lines(monkeypatch):
    stream = io.StringIO()
    stream.isatty = lambda: True
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        train()
    assert not re.search(r"epoch \d", stream.getvalue())


def test_line_comes_before_what_a_callback_prints(capsys):
    train(epochs=1, callbacks=[lambda run: print("mine")])
    assert re.fullmatch(r"epoch 1/1 .*\nmine\n", capsys.readouterr().out)


def test_lines_are_printed_at_once():
    program = (
        "import os, numpy as np, xpnet\n"
        "data = xpnet.Dataset(np.eye(6, dtype='uint8'), np.arange(6) % 2)\n"
        "end = lambda run: os._exit(0)\n"  # without writing what is buffered
        "xpnet.fit(xpnet.backend('numpy'), xpnet.mlp(6, 2), data, optimizer=xpnet.SGD(1), epochs=3,"
        " callbacks=[end])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"epoch 1/3 .*\n", done.stdout)


def told(capsys, times, *, epochs=None):
    """Return the numbers of the epochs that are printed if they end at these seconds."""
    now = [0.0]
    with epoch_lines(epochs or len(times), clock=lambda: now[0]) as tell:
        for number, now[0] in enumerate(times, 1):
            tell(dataclasses.replace(EPOCH, epoch=number))
    return [int(number) for number in re.findall(r"epoch +(\d+)/", capsys.readouterr().out)]


def test_fast_epochs_are_printed_every_half_second_and_at_the_end(capsys):
    assert told(capsys, [0.01 * i for i in range(201)]) == [*range(1, 11), 60, 110, 160, 201]


def test_slow_epochs_are_all_printed(capsys):
    assert told(capsys, [0.6 * i for i in range(30)]) == [*range(1, 31)]


def test_last_epoch_is_printed_if_training_ends_early(capsys):
    assert told(capsys, [0.01 * i for i in range(25)], epochs=1000) == [*range(1, 11), 25]


def test_last_whole_epoch_is_printed_if_training_fails(capsys):
    def fail(run):
        if len(run.history) == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(epochs=10_000, callbacks=[fail])
    assert "epoch    25/10000" in capsys.readouterr().out.splitlines()[-1]
