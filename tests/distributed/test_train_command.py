"""``mpiexec -n N xpnet train --distributed``: what it writes, what it prints, and how it fails."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from ranks import THREADS, mpiexec, run_ranks

import xpnet

SMALL = "--backend", "numpy", "--limit", 700, "--hidden", 8, "--epochs", 2, "--batch-size", 64, "--lr", 1
TRAIN = "-m", "xpnet", "train"


def train(ranks, *options):
    """Return the completed process of ``xpnet train`` on several ranks; without a launcher if there are 0."""
    if ranks:
        return run_ranks(ranks, *TRAIN, *options)
    command = [sys.executable, *map(str, (*TRAIN, *options))]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | THREADS)


def train_each(*ranks):
    """Return the completed process of a training whose ranks have folders and options of their own."""
    words = []
    for folder, options in ranks:
        words += [":", "-wdir", folder, "-n", 1, sys.executable, *TRAIN, *options]
    command = [mpiexec(), *map(str, words[1:])]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | THREADS, timeout=120
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder and the outputs of the same training without ranks, and with 2 and 3."""
    folder = tmp_path_factory.mktemp("trained")
    outputs = {}
    for ranks, more in ((0, ()), (2, ("--distributed",)), (3, ("--distributed", "--shard"))):
        own = folder / str(ranks)
        own.mkdir()
        files = "--save", own / "model", "--json", own / "json", "--plot", own / "plot.png"
        options = "--validation", 0.2, "--patience", 5, "--schedule", "cosine", "--checkpoint", own / "saved"
        done = train(ranks, *SMALL, *options, *files, *more)
        assert (done.returncode, done.stderr) == (0, "")
        outputs[ranks] = done.stdout
    return folder, outputs


@pytest.mark.parametrize("ranks", [2, 3])
def test_parameters_and_history_are_those_of_one_process(trained, ranks):
    folder, _ = trained
    one, several = (xpnet.load(folder / str(n) / "model", xpnet.backend("numpy")).params for n in (0, ranks))
    for name, expected in one.items():
        np.testing.assert_allclose(several[name], expected, atol=2e-5)
    one, several = (json.loads((folder / str(n) / "json").read_text()) for n in (0, ranks))
    assert several["initial_sha256"] == one["initial_sha256"]
    assert several["config"] == one["config"]
    for expected, found in zip(one["history"], several["history"], strict=True):
        for name in expected.keys() - {"seconds"}:
            assert found[name] == pytest.approx(expected[name], rel=1e-4), name


@pytest.mark.parametrize("ranks", [2, 3])
def test_only_the_first_rank_prints_and_writes(trained, ranks):
    folder, outputs = trained
    own = folder / str(ranks)
    lines = outputs[ranks].splitlines()
    assert lines[0].startswith(f"numpy on cpu, {ranks} ranks: 784-8-10 sigmoid, Momentum(")
    assert lines[1] == outputs[0].splitlines()[1]
    assert [line.split()[1] for line in lines if line.startswith("epoch ")] == ["1/2", "2/2"]
    assert lines[-3:] == [f"saved {own / 'model'}", f"wrote {own / 'json'}", f"drew {own / 'plot.png'}"]
    names = [{path.name for path in (folder / str(n)).rglob("*")} for n in (0, ranks)]
    assert names[0] == names[1]


@pytest.mark.parametrize("ranks", [2, 3])
def test_document_has_the_times_of_every_rank(trained, ranks):
    folder, _ = trained
    one, several = (json.loads((folder / str(n) / "json").read_text()) for n in (0, ranks))
    assert several.keys() - one.keys() == {"ranks"}
    found = several["ranks"]
    assert [rank["rank"] for rank in found] == list(range(ranks))
    assert len({rank["pid"] for rank in found}) == ranks
    for rank in found:
        assert {rank["host"], rank["device"]} == {platform.node(), "cpu"}
        for seconds, waited in zip(rank["seconds"], rank["waited"], strict=True):
            assert 0 < waited < seconds
        assert len(rank["seconds"]) == len(several["history"])


def test_training_resumes_with_another_number_of_ranks(tmp_path):
    for ranks, epochs, more in ((2, 1, ()), (3, 2, ("--resume",))):
        options = "--epochs", epochs, "--checkpoint", tmp_path, "--distributed", *more
        done = train(ranks, *SMALL, *options)
        assert (done.returncode, done.stderr) == (0, "")
    assert f"resumed from epoch 1 ({tmp_path / 'epoch-0001.safetensors'})" in done.stdout
    done = train(2, *SMALL, "--epochs", 2, "--checkpoint", tmp_path, "--distributed")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "has checkpoints already; pass `--resume` to continue that training, or choose another folder\n"
    )
    assert done.stderr.count("\n") == 1


def test_files_are_needed_on_the_first_rank_only(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    x = np.random.Generator(np.random.Philox(1)).random((80, 3), "float32")
    np.savez(first / "data.npz", x=x, y=np.arange(80) % 2)
    rows = [f"{a},{b},{c},{'yes' if a > b else 'no'}\n" for a, b, c in x]
    (first / "data.csv").write_text("a,b,c,is\n" + "".join(rows))
    common = "--backend", "numpy", "--epochs", 1, "--batch-size", 16, "--distributed"
    for options in (
        ("--data", "data.npz", "--save", "model", "--checkpoint", "saved"),
        ("--data", "data.csv", "--target", "is", "--json", "json"),
        ("--data", "data.npz", "--load", "model", "--plot", "plot.png"),
    ):
        done = train_each((first, (*common, *options)), (second, (*common, *options)))
        assert (done.returncode, done.stderr) == (0, "")
        assert "64 training and 16 test samples" in done.stdout
    assert "the network of model" in done.stdout
    assert list(second.iterdir()) == []


@pytest.mark.parametrize(
    ("ranks", "options", "status", "message"),
    [
        (2, ["--optimiser", "adam"], 2, "no such option '--optimiser'. Did you mean '--optimizer'?"),
        (2, ["--lr", "-1"], 2, "`lr` must be a finite number above 0, got -1.0"),
        (2, ["--data", "nowhere"], 1, "`path` 'nowhere' does not exist; pass a folder of IDX files"),
        (2, ["--save", "no/x"], 2, "cannot write 'no/x': there is no folder 'no'; create it first"),
        (2, ["--backend", "torch"], 2, "unknown backend 'torch': choose one of cupy, numba, numpy"),
        (3, ["--batch-size", 2], 1, "choose at least 3, or start fewer ranks"),
        (3, ["--lr", "1e30", "--activation", "relu", "--save", os.devnull], 1, "lower the learning rate"),
        (2, ["--save", "/dev/full"], 1, "cannot write '/dev/full': No space left on device"),
    ],
)
def test_error_of_all_ranks_is_one_line(ranks, options, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = train(ranks, *SMALL, "--quiet", *options, "--distributed")
    assert done.stderr.startswith("xpnet: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert done.returncode == status


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lr", 2], "rank 1 (there) differs from rank 0 (here): `settings.optimizer.lr` is 2.0 there"),
        (["--limit", 7], "rank 1 (there) differs from rank 0 (here): `limit` is '7' there"),
        (["--dataset", "mnist"], "rank 1 (there) differs from rank 0 (here): `dataset` is 'mnist' there"),
        (["--lr", -1], "rank 1 of 2 failed: "),
        (["--learning-rate", 1], "rank 1 of 2 failed: "),
    ],
)
def test_error_of_another_rank_is_one_line_that_names_it(options, message, tmp_path):
    common = *SMALL, "--quiet", "--distributed"
    done = train_each((tmp_path, common), (tmp_path, (*common, *options)))
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert done.returncode == 1


def test_missing_launcher_and_missing_mpi4py_are_one_line(tmp_path):
    done = train(0, *SMALL, "--distributed")
    assert done.stderr.startswith("xpnet: no `mpiexec` started this process; start it with `mpiexec -n 2 ")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    (tmp_path / "mpi4py.py").write_text("raise ModuleNotFoundError('gone', name='mpi4py')")
    done = run_ranks(3, *TRAIN, *SMALL, "--distributed", env={"PYTHONPATH": str(tmp_path)})
    assert done.stderr == "xpnet: mpi4py is not installed; install it with `pip install 'xpnet[mpi]'`\n"
    assert (done.returncode, done.stdout) == (1, "")


def test_shard_needs_distributed():
    message = "xpnet: `--shard` divides the training set among processes: pass `--distributed` too\n"
    for ranks in 0, 2:
        done = train(ranks, *SMALL, "--shard")
        assert (done.returncode, done.stdout, done.stderr) == (2, "", message)


def test_ranks_that_do_not_train_together_are_told_of_the_option():
    done = train(2, *SMALL, "--quiet")
    assert done.returncode == 0
    assert done.stderr == (
        "note: a launcher started 2 processes, and each trains a model of its own; to train one model "
        "together, pass `--distributed`\n"
    )


def test_script_of_a_slurm_job_is_one_process(monkeypatch):
    for name, text in {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}.items():
        monkeypatch.setenv(name, text)
    done = train(0, *SMALL, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = train(0, *SMALL, "--distributed")
    assert done.stderr.startswith("xpnet: a Slurm job of 8 tasks runs this process once, not by `srun`; ")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize("name", ["PMI", "OMPI_COMM_WORLD"])
def test_process_without_others_is_not_silent(name, monkeypatch):
    for what, text in {"RANK": "1", "SIZE": "1"}.items():
        monkeypatch.setenv(f"{name}_{what}", text)
    done = train(0, "--distributed", "--help")
    assert done.stdout.startswith("Usage: xpnet train [OPTIONS]")


def test_standard_output_has_only_the_document():
    done = train(2, *SMALL, "--distributed", "--json", "/dev/stdout")
    assert json.loads(done.stdout)["backend"] == "numpy"


def test_help_is_printed_once():
    done = train(2, "--distributed", "--help")
    assert done.stdout.count("Usage: xpnet train [OPTIONS]") == 1
    assert "--shard" in done.stdout
    assert done.returncode == 0
