"""Which checkpoints are kept, and what happens when they cannot be written."""

import errno
import os
import pathlib
import stat

import numpy as np
import pytest
from resuming import EPOCH_1, EPOCH_2, names, network, samples, seal, seal_of, train

import xpnet
from xpnet import Checkpoint
from xpnet.checkpoint_folder import BEST

IS_ROOT = hasattr(os, "getuid") and os.getuid() == 0


def worse(run):
    if len(run.history) == 2:
        run.lr = 30.0


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_last_ones_and_the_best_are_kept(tmp_path, backend):
    run = train(backend, epochs=6, checkpoint=Checkpoint(tmp_path, keep=2), callbacks=[worse])
    assert names(tmp_path) == [BEST, "epoch-0005.safetensors", "epoch-0006.safetensors"]
    losses = [epoch.test_loss for epoch in run.history]
    best = xpnet.load(tmp_path / BEST)
    assert len(best.history) == losses.index(min(losses)) + 1 < 5
    assert best.history == run.history[: len(best.history)]


def test_monitor_decides_which_is_the_best(tmp_path):
    checkpoint = Checkpoint(tmp_path, monitor="test_accuracy")
    run = train(epochs=5, checkpoint=checkpoint, callbacks=[worse])
    accuracies = [epoch.test_accuracy for epoch in run.history]
    assert len(xpnet.load(tmp_path / BEST).history) == accuracies.index(max(accuracies)) + 1
    assert checkpoint.path == tmp_path / "epoch-0005.safetensors"


def test_every_nth_epoch_and_the_last_one_are_saved(tmp_path):
    train(epochs=7, checkpoint=Checkpoint(tmp_path, every=3, keep=5))
    assert [name[8:10] for name in names(tmp_path)[1:]] == ["03", "06", "07"]


def test_long_trainings_have_long_names(tmp_path):
    path = Checkpoint(tmp_path)._place(12345)
    assert path.name == "epoch-12345.safetensors"


def test_best_one_is_never_lost_by_keeping_few_in_several_trainings(tmp_path):
    for epochs in range(1, 7):
        train(
            epochs=epochs,
            checkpoint=Checkpoint(tmp_path, keep=1),
            resume=True,
            callbacks=[worse, lambda r: 0],
        )
    assert names(tmp_path) == [BEST, "epoch-0006.safetensors"]
    assert len(xpnet.load(tmp_path / BEST).history) < 6


def test_best_one_is_marked_again_if_the_training_was_killed_before_it_was(tmp_path):
    train(epochs=2, checkpoint=tmp_path)
    (tmp_path / BEST).unlink()
    train(epochs=2, checkpoint=tmp_path, resume=True)
    assert seal(tmp_path / BEST) == seal(tmp_path / EPOCH_2)


def test_folder_of_another_training_is_refused(tmp_path):
    train(epochs=2, checkpoint=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    message = rf"^'{tmp_path}' has checkpoints already, the newest of epoch 2; pass `resume=True` to continue"
    with pytest.raises(ValueError, match=message):
        train(epochs=2, checkpoint=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    train(epochs=2, checkpoint=tmp_path / "other")
    with pytest.raises(ValueError, match="has checkpoints already"):
        train(epochs=3, checkpoint=tmp_path / "other", resume=tmp_path)


def test_checkpoint_may_be_in_two_folders(tmp_path):
    one, two = Checkpoint(tmp_path / "one"), Checkpoint(tmp_path / "two", every=2)
    train(epochs=2, callbacks=[one], checkpoint=two)
    assert seal(one.path) == seal(two.path)
    assert one.path.read_bytes() == two.path.read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_last_complete_epoch_is_saved_whatever_ends_the_training(tmp_path, error):
    def stop(run):
        if len(run.history) == 3:
            raise error

    with pytest.raises(error):
        train(epochs=5, checkpoint=Checkpoint(tmp_path, every=10), callbacks=[stop])
    # The callbacks of epoch 3 were not done.
    assert names(tmp_path) == [BEST, EPOCH_2]
    whole = train(epochs=5)
    assert seal_of(train(epochs=5, resume=tmp_path), tmp_path) == seal_of(whole, tmp_path)


def test_interruption_in_the_middle_of_an_epoch_saves_the_one_before(tmp_path):
    steps = []

    class Interrupting(xpnet.SGD):
        def __call__(self, xp, params, grads, state):
            steps.append(1)
            if len(steps) == 11 * 2 + 5:
                raise KeyboardInterrupt
            return super().__call__(xp, params, grads, state)

    # On a namespace that does not compile, so that every step is called.
    xp = xpnet.Namespace("plain", np)
    options = {"batch_size": 32, "seed": 3, "checkpoint": Checkpoint(tmp_path, every=10)}
    with pytest.raises(KeyboardInterrupt):
        xpnet.fit(xp, network(), samples(), optimizer=Interrupting(0.1), epochs=4, **options)
    assert names(tmp_path) == [BEST, EPOCH_2]
    assert len(steps) == 27


def test_training_that_diverges_leaves_its_last_good_checkpoint(tmp_path):
    with pytest.raises(xpnet.TrainingDivergedError):
        train(epochs=9, checkpoint=tmp_path, callbacks=[lambda run: setattr(run, "lr", 1e30)])
    assert all(np.isfinite(p).all() for p in xpnet.load(tmp_path / BEST).params.values())
    assert names(tmp_path)[-1] == EPOCH_1


def test_stale_files_of_killed_writers_are_removed(tmp_path):
    stale = tmp_path / f".{'0' * 16}-{'1' * 16}.part"
    stale.write_bytes(b"half")
    train(epochs=1, checkpoint=tmp_path)
    assert names(tmp_path) == [BEST, EPOCH_1]


def test_file_system_without_links_gets_a_copy(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    train(epochs=2, checkpoint=tmp_path)
    assert seal(tmp_path / BEST) == seal(tmp_path / EPOCH_2)
    assert (tmp_path / BEST).stat().st_nlink == 1


def test_place_that_is_no_folder_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        OSError, match=rf"^cannot make the folder '{tmp_path / 'file'}': it is a file; choose"
    ):
        train(checkpoint=tmp_path / "file")
    with pytest.raises(OSError, match=r"^cannot make the folder .*; choose another place$"):
        train(checkpoint=tmp_path / "file" / "inner")
    with pytest.raises(TypeError, match="`checkpoint` must be a Checkpoint or a folder, got 3"):
        train(checkpoint=3)


@pytest.mark.skipif(IS_ROOT, reason="the superuser may write anywhere")
def test_read_only_folder_is_refused_before_training(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(PermissionError, match=r"^cannot write .*Permission denied; choose another place$"):
        train(checkpoint=tmp_path, callbacks=[lambda run: pytest.fail("an epoch was trained")])
    tmp_path.chmod(0o700)


def test_full_disk_ends_the_training_with_its_run_and_the_older_checkpoints(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(run):
        if len(run.history) == 3:
            size = (tmp_path / EPOCH_1).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))

    try:
        with pytest.raises(OSError, match=r"^cannot write '.*epoch-0003.safetensors'") as caught:
            train(epochs=5, checkpoint=tmp_path, callbacks=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(caught.value.run.history) == 3
    assert names(tmp_path) == [BEST, EPOCH_1, EPOCH_2]
    whole = train(epochs=5)
    assert seal_of(train(epochs=5, checkpoint=tmp_path, resume=True), tmp_path) == seal_of(whole, tmp_path)


def test_checkpoint_that_cannot_be_saved_after_an_error_is_a_note_on_it(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def stop(run):
        if len(run.history) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
            raise RuntimeError("mine")

    try:
        with pytest.raises(RuntimeError, match="mine") as caught:
            train(epochs=5, checkpoint=Checkpoint(tmp_path, every=5), callbacks=[stop])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.__notes__[0].startswith("the last complete epoch was not saved: cannot write '")


def test_folder_may_be_named_by_any_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("text", pathlib.Path("path")):
        train(epochs=1, checkpoint=name)
        assert names(pathlib.Path(name)) == [BEST, EPOCH_1]
    assert repr(Checkpoint("text")) == "Checkpoint('text', every=1, keep=3)"
