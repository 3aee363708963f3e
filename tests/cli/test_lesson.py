"""``xpnet lesson`` as a learner runs it."""

import json
import re
import subprocess
import sys

import pytest
from test_cli import run

from xpnet.lessons import LESSONS, find_lesson, loss
from xpnet.lessons.catalogue import MACHINE, SECONDS


def test_lessons_are_listed_with_their_numbers_and_times():
    *lines, empty, note = run("lesson").splitlines()
    assert [line.split()[:2] for line in lines] == [[str(i), name] for i, name in enumerate(LESSONS, start=1)]
    for line in lines:
        assert re.search(r"  numpy +\S+ (s|min)  numba +\S+ (s|min)  [A-Z]", line), line
    assert max(map(len, lines)) <= 110
    assert empty == ""
    assert MACHINE in note


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_every_lesson_has_its_time_on_every_backend_of_the_cpu(backend):
    assert tuple(SECONDS[backend]) == LESSONS
    assert all(seconds > 0 for seconds in SECONDS[backend].values())


@pytest.mark.parametrize("asked", ["5", "05", "loss"])
def test_lesson_explains_itself_and_names_its_program_before_it_runs(asked):
    output = run("lesson", asked)
    explanation, _, result = output.partition(f"\nThe program: {loss.__file__}\n\n")
    assert explanation.startswith("Losses: one number that says how wrong the predictions are.\n\n")
    assert "    CCE = -(1/n) sum log(y_hat[class])\n" in explanation
    assert "``" not in explanation
    assert result.startswith("mean squared error of")


@pytest.mark.parametrize("name", LESSONS)
def test_source_of_a_lesson_is_printed_and_not_run(name):
    with open(find_lesson(name).__file__, encoding="utf-8") as file:
        assert run("lesson", name, "--source") == file.read()


def test_only_results_go_to_standard_output_that_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "xpnet", "lesson", "3", "--json", "/dev/stdout"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"output": 0.9990889488055994}
    assert done.stderr.startswith("A neuron: ")


def test_lesson_is_found_by_its_number():
    assert find_lesson(14) is find_lesson("14") is find_lesson("cnn")


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_lesson_writes_its_figures(tmp_path, name):
    output = run("lesson", "neuron", "--backend", name, "--seed", 3, "--json", tmp_path / "figures.json")
    assert "0.9990889488055994" in output
    assert json.loads((tmp_path / "figures.json").read_text()) == {"output": 0.9990889488055994}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("first-network", ["--epochs", 1, "--limit", 300]),
        ("sigmoid", []),
        ("neuron", []),
        ("feedforward", []),
        ("loss", []),
        ("chain-rule", []),
        ("gradient-descent", ["--iterations", 5, "--lr", 0.5]),
        ("full-network", ["--epochs", 11, "--seed", 2]),
        ("mnist-zero", ["--iterations", 2, "--limit", 500]),
        ("mnist-zero-hidden", ["--iterations", 2, "--limit", 500]),
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
        (["0"], "there is no lesson 0: choose a number from 1 to 14"),
        (["15"], "there is no lesson 15: choose a number from 1 to 14"),
        (["-1"], "there is no lesson -1: choose a number from 1 to 14"),
        (["9" * 5000], ": choose a number from 1 to 14"),
        (["5.0"], "unknown lesson '5.0': choose one of "),
        (["--source", "loss"], "'--source' comes before the lesson; name that first, as in `xpnet lesson "),
        (["nuron"], "unknown lesson 'nuron': choose one of neuron, "),
        (["mnist-zero", "--iterations", "0"], "invalid value for '--iterations': 0 is not in the range x>=1"),
        (["gradient-descent", "--lr", "nan"], "invalid value for '--lr'"),
        (["gradient-descent", "--lr", "-1"], "invalid value for '--lr'"),
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
