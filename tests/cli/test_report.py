"""`xpnet train` says why steps were not sped up."""

import json

import pytest
from click.testing import CliRunner

import xpnet_numpy
from xpnet.cli.train import train
from xpnet.replay.trace import NotReplayableError


@pytest.fixture
def trained(tmp_path):
    def run(*options):
        path = tmp_path / "run.json"
        args = ["--backend", "numpy", "--limit", "300", "--epochs", "1", "--json", str(path), *options]
        done = CliRunner().invoke(train, args, catch_exceptions=False)
        return done.output.splitlines(), json.loads(path.read_text())["report"]

    return run


def refuse(*args, **kwargs):
    raise NotReplayableError("there is a reason")


def test_training_that_was_sped_up_has_no_line(trained):
    lines, report = trained()
    assert report == ""
    assert not [line for line in lines if "sped up" in line]


def test_training_that_was_not_sped_up_says_why_in_one_line(trained, monkeypatch):
    monkeypatch.setattr(xpnet_numpy, "NumPyProgram", refuse)
    lines, report = trained()
    assert report == "there is a reason"
    assert lines.count("steps were not sped up: there is a reason") == 1
    assert trained("--quiet")[0] == []
