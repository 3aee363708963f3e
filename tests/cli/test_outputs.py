"""A training's results are written somewhere, whatever happens to it or to the given path."""

import json
import os
import pathlib
import subprocess
import sys

import click.testing
import pytest

import xpnet
from xpnet.cli.app import app
from xpnet.cli.interruption import Interruption
from xpnet.cli.outputs import Outputs

TRAIN = ["train", "--backend", "numpy", "--limit", "300", "--quiet"]


@pytest.fixture
def failing_fit(monkeypatch):
    """Return a function that makes trainings fail after this many epochs."""
    fit = xpnet.fit

    def fail_after(epochs, error):
        def failing(*args, callbacks, **options):
            def fail(run):
                if len(run.history) == epochs:
                    raise error

            return fit(*args, callbacks=[*callbacks, fail], **options)

        monkeypatch.setattr(xpnet, "fit", failing)

    return fail_after


def test_error_in_a_training_leaves_its_last_epoch_saved(failing_fit, tmp_path):
    failing_fit(2, xpnet.TrainingDivergedError("the loss is nan; lower the learning rate"))
    result = click.testing.CliRunner().invoke(app, [*TRAIN, "--save", str(tmp_path / "model")])
    saved = f"saved {tmp_path / 'model'} as epoch 2 left it"
    assert result.exit_code == 1
    assert result.output == f"Error: the loss is nan; lower the learning rate; {saved}\n"
    assert len(xpnet.load(tmp_path / "model", xpnet.backend("numpy")).history) == 2


def test_error_without_a_file_to_write_is_unchanged(failing_fit):
    error = xpnet.TrainingDivergedError("the loss is nan")
    failing_fit(2, error)
    assert click.testing.CliRunner().invoke(app, TRAIN).exception is error


def test_interruption_of_the_last_measurement_leaves_every_file_written(monkeypatch, tmp_path):
    evaluate, calls = xpnet.Run.evaluate, []

    def interrupted_once(run, dataset):
        calls.append(dataset)
        if len(calls) == 1:
            raise Interruption("interrupted")
        return evaluate(run, dataset)

    monkeypatch.setattr(xpnet.Run, "evaluate", interrupted_once)
    model, results = tmp_path / "model", tmp_path / "run.json"
    options = ["--epochs", "1", "--save", str(model), "--json", str(results)]
    with pytest.raises(Interruption, match=r"interrupted; saved .*; wrote .* as epoch 1 left it"):
        click.testing.CliRunner().invoke(app, [*TRAIN, *options])
    assert len(json.loads(results.read_text())["history"]) == 1
    assert model.exists()


def test_error_before_an_epoch_is_done_says_that_nothing_was_written(monkeypatch, tmp_path):
    def rehearse(self):
        raise RuntimeError("no memory")

    monkeypatch.setattr("xpnet.trainer.Trainer.rehearse", rehearse)
    result = click.testing.CliRunner().invoke(app, [*TRAIN, "--save", str(tmp_path / "model")])
    assert "no memory; no epoch was done, so nothing was written" in result.output
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("vanished", [True, False])
def test_file_that_cannot_be_written_is_written_elsewhere(tmp_path, monkeypatch, vanished):
    """In the current folder if the given one is gone; next to the file if that cannot be written."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "folder"
    path = folder / "model.bin"
    if not vanished:
        folder.mkdir()

    def write(place):
        if place == path:
            raise PermissionError("cannot write it")
        place.write_text("the model")

    outputs = Outputs()
    outputs.write("saved", path, write)
    outputs.write("saved", tmp_path / "other", write)
    (other,) = tmp_path.glob("**/model-*.bin")
    assert other.read_text() == "the model"
    assert other.parent == (tmp_path if vanished else folder)
    assert outputs.lines == [f"saved {tmp_path / 'other'}"]
    with pytest.raises(OSError, match=rf"^cannot write it, or take it from '{other}'$"):
        outputs.check()


def test_longest_name_is_shortened_when_written_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = Outputs()
    outputs.write("saved", tmp_path / "gone" / ("ü" * 120 + ".x"), lambda place: place.write_bytes(b"work"))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"work"]


def test_nothing_is_written_next_to_a_device(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tried = []

    def fail(place):
        tried.append(place)
        raise OSError("full")

    Outputs().write("saved", pathlib.Path(os.devnull), fail)
    assert pathlib.Path(os.devnull).parent not in {place.parent for place in tried[1:]}


@pytest.mark.parametrize("option", ["--save", "--json", "--plot"])
def test_name_that_is_too_long_is_bad_usage(option):
    result = click.testing.CliRunner().invoke(app, [*TRAIN, option, "a" * 300])
    assert result.exit_code == 2
    assert "': File name too long; choose another place" in result.output


def test_file_that_can_be_written_nowhere_is_the_first_failure(tmp_path):
    def write(place):
        raise OSError(f"cannot write {place.stem[:5]}")

    outputs = Outputs()
    outputs.write("saved", tmp_path / "model", write)
    with pytest.raises(OSError, match=r"^cannot write model$"):
        outputs.check()


def train(*options, **environment):
    command = [sys.executable, "-m", "xpnet", *TRAIN[:-1], "--epochs", "1", *map(str, options)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **environment})


@pytest.mark.parametrize("name", ["modèle", "модель", b"mod\xffel".decode(errors="surrogateescape")])
def test_name_that_the_terminal_cannot_print_is_written(tmp_path, name):
    path = tmp_path / name
    done = train("--save", path, "--json", tmp_path / "run.json", PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert done.returncode == 0, done.stderr
    assert f"saved {path}\n".encode("ascii", "backslashreplace") in done.stdout
    assert path.exists()
    assert (tmp_path / "run.json").exists()


@pytest.mark.parametrize("option", ["--save", "--json", "--plot"])
def test_read_only_file_is_refused_before_the_training(tmp_path, option):
    path = tmp_path / "old.png"
    path.touch(0o444)
    done = train(option, path)
    assert done.returncode == 2
    assert f"cannot write '{path}': it is read-only; choose another place" in done.stderr.decode()
    assert done.stdout == b""


def test_closed_pipe_does_not_end_a_training(tmp_path):
    command = [
        sys.executable,
        "-u",
        "-m",
        "xpnet",
        *TRAIN[:-1],
        "--epochs",
        "3",
        "--save",
        tmp_path / "model",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.close()
    assert len(xpnet.load(tmp_path / "model", xpnet.backend("numpy")).history) == 3


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_closed_pipe_does_not_lose_the_results(command, tmp_path):
    model, results = tmp_path / "model", tmp_path / "results.json"
    click.testing.CliRunner().invoke(app, [*TRAIN, "--epochs", "1", "--save", str(model)])
    arguments = [sys.executable, "-u", "-m", "xpnet", command, model, "--backend", "numpy", "--json", results]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.close()
    assert json.loads(results.read_text())


def test_error_after_the_race_leaves_its_results_written(monkeypatch, tmp_path):
    from xpnet_bench import rounds, sweep

    def fail(*args, **options):
        raise RuntimeError("no memory")

    seconds = {"seconds": [0.1], "median": 0.1, "ratio_to_first": 1.0, "examples_per_second": 600000.0}
    figure = {"name": "xpnet numpy", "kind": "backend", "backend": "numpy", "device": "cpu", "versions": {}}
    memory = {"accuracy": 0.9, "peak_rss_bytes": 2, "imported_rss_bytes": 1, "share_of_limit": None}
    raced = rounds.Raced([figure | seconds | memory], [], "BLAS", 60000)
    monkeypatch.setattr(rounds, "race", lambda *args, **options: raced)
    monkeypatch.setattr(sweep, "sweeps", fail)
    path = tmp_path / "race.json"
    options = ["bench", "--backend", "numpy", "--sweep", "--json", str(path)]
    result = click.testing.CliRunner().invoke(app, options)
    assert str(result.exception) == "no memory"
    assert json.loads(path.read_text())["results"][0]["median"] == 0.1


def test_results_of_a_model_with_nan_are_strict_json(tmp_path):
    xp = xpnet.backend("numpy")
    params = {name: p * float("nan") for name, p in xpnet.mlp(784, 10).init(xp, 0).items()}
    scaling = xpnet.batches.Scaling()
    run = xpnet.Run(xp, xpnet.mlp(784, 10), params, "softmax_cross_entropy", scaling, "")
    run.save(tmp_path / "model")
    command = ["evaluate", str(tmp_path / "model"), "--backend", "numpy", "--json", str(tmp_path / "json")]
    result = click.testing.CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "json").read_text(), parse_constant=pytest.fail)["loss"] is None


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["train", "--data", "table.csv", "--target", "y", "--save", "table.csv"], "save"),
        (["train", "--load", "model", "--json", "model"], "json"),
        (["evaluate", "model", "--json", "model"], "json"),
        (["evaluate", "model", "--data", "table.csv", "--plot-filters", "./table.csv"], "plot-filters"),
        (["predict", "model", "one.png", "two.png", "--plot", "two.png"], "plot"),
        (["predict", "model", "--data", "table.csv", "--json", "table.csv"], "json"),
        (["bench", "--data", "table.csv", "--target", "y", "--json", "table.csv"], "json"),
        (["bench", "--compare", "a.json", "b.json", "--json", "b.json"], "json"),
    ],
    ids=lambda value: str(value),
)
def test_file_that_a_command_reads_is_never_replaced(command, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {name: tmp_path / name for name in command if (tmp_path / name).suffix or name == "model"}
    for file in files.values():
        file.write_text("kept")
    done = click.testing.CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert f"`--{option}` names" in done.output
    assert "is read and would be replaced; name another file" in " ".join(done.output.split())
    assert {file.read_text() for file in files.values()} == {"kept"}


def test_file_of_an_unknown_kind_is_no_folder_of_idx_files(tmp_path):
    path = tmp_path / "flowers.xlsx"
    path.write_bytes(b"PK")
    for command in (["train", "--data", str(path), "--target", "flower"], ["train", "--data", str(path)]):
        done = click.testing.CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert "save a spreadsheet as CSV" in " ".join(done.output.split())
