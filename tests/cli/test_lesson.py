"""``xpnet lesson`` as a learner runs it."""

import json

import pytest
from test_cli import run

from xpnet.lessons import LESSONS


def test_lessons_are_listed_in_order():
    lines = run("lesson").splitlines()
    assert [line.split()[0] for line in lines] == list(LESSONS)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_lesson_writes_its_figures(tmp_path, name):
    output = run("lesson", "neuron", "--backend", name, "--seed", 3, "--json", tmp_path / "figures.json")
    assert "0.9990889488055994" in output
    assert json.loads((tmp_path / "figures.json").read_text()) == {"output": 0.9990889488055994}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sigmoid", []),
        ("feedforward", []),
        ("gradient-descent", ["--iterations", 5, "--lr", 0.5]),
        ("full-network", ["--epochs", 11, "--seed", 2]),
        ("mnist-softmax", ["--iterations", 2, "--limit", 500]),
        ("mnist-improved", ["--epochs", 1, "--limit", 500]),
        ("deep", ["--epochs", 1, "--limit", 300]),
        ("cnn", ["--epochs", 1, "--limit", 100]),
    ],
)
def test_lesson_draws_its_plot(tmp_path, name, options):
    output = run("lesson", name, *options, "--plot", tmp_path / "picture.png")
    assert output.endswith(f"drew {tmp_path / 'picture.png'}\n")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_long_lesson_says_how_long_it_takes():
    output = run("lesson", "mnist-zero", "--iterations", 10, "--limit", 500)
    assert "10 iterations, about 0 s to go" in output
    assert "iteration    9   cost " in output


@pytest.mark.parametrize("name", LESSONS)
def test_help_explains_the_lesson(name):
    output = run("lesson", name, "--help")
    for option in ("--backend", "--seed", "--json"):
        assert option in output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nuron"], "unknown lesson 'nuron': choose one of neuron, "),
        (["mnist-zero", "--iterations", "0"], "invalid value for '--iterations': 0 is not in the range x>=1"),
        (["gradient-descent", "--lr", "nan"], "invalid value for '--lr'"),
        (["gradient-descent", "--lr", "-1"], "invalid value for '--lr'"),
        (["neuron", "--plot", "x.png"], "lesson 'neuron' has no plot; leave out `--plot`"),
        (["neuron", "--iterations", "5"], "no such option"),
        (["sigmoid", "--plot", "no/such/folder/x.png"], "there is no folder 'no/such/folder'"),
        (["neuron", "--json", "no/such/folder/x"], "there is no folder 'no/such/folder'"),
        (["neuron", "--backend", "torch"], "unknown backend 'torch'"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(args, message):
    assert message in run("lesson", *args, status=2)


def test_missing_drawing_library_says_what_to_install(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('No module named matplotlib')")
    message = run("lesson", "sigmoid", "--plot", "x.png", status=1, PYTHONPATH=str(tmp_path))
    assert "install it with `pip install 'xpnet[plot]'`" in message
