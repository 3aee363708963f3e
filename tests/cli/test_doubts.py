"""A training that learned nothing gets advice."""

import click.testing
import numpy as np
import pytest

from xpnet.cli.app import app
from xpnet.cli.doubts import doubt, is_chance


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        (np.diag([10, 10, 10]), False),
        ([[10, 0], [10, 0]], True),
        ([[0, 10], [10, 0]], True),
        ([[1135, 0], [8865, 0]], True),
        (np.full((10, 10), 100), True),
        (np.full((10, 10), 100) + np.diag([100] * 10), False),
        ([[20, 0], [0, 0]], False),
        ([[950, 0], [46, 4]], True),
        ([[950, 0], [10, 40]], False),
    ],
)
def test_chance_means_no_better_than_the_most_frequent_class(confusion, expected):
    assert is_chance(np.asarray(confusion)) is expected


def test_line_names_the_likely_cause():
    chance = np.asarray([[0, 30], [0, 70]])
    line = "this is no better than always naming the most frequent class, 70.00%: "
    high = doubt(chance, 20.0, 0.5)
    assert high == f"{line}the learning rate 20 is likely too high; try `--lr 0.5`"
    assert "0.01 is likely too low; try `--lr 0.5`, or more `--epochs`" in doubt(chance, 0.01, 0.5)
    assert "check that the labels belong to the images" in doubt(chance, 0.5, 0.5)
    assert doubt(np.diag([5, 5]), 20.0, 0.5) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [("--activation relu --lr 20", "20 is likely too high; try `--lr 0.5`"), ("--lr 1", None)],
)
def test_command_says_that_nothing_was_learned(options, said):
    command = ["train", "--backend", "numpy", "--limit", "6000", "--epochs", "2", *options.split()]
    result = click.testing.CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert ("no better than" in result.stdout) is (said is not None)
    assert said is None or said in result.stdout
