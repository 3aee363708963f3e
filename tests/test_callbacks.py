"""Ready-made callbacks, alone and in trainings that are resumed."""

import csv
import dataclasses
import errno
import math

import numpy as np
import pytest
from resuming import samples, seal_of, train

import xpnet
from xpnet import Checkpoint, CSVLog, EarlyStopping, Epoch, KeepBest, ReduceOnPlateau, Run


def run_of(*losses, **others):
    """Return a run whose history has these training losses, and parameters that name the epoch."""
    history = [Epoch(i, loss, None, None, 0.1, **others) for i, loss in enumerate(losses, 1)]
    return Run(None, None, {"p": len(losses)}, "", None, "", history, optimizer=xpnet.SGD(1.0))


def feed(callback, losses, **others):
    """Call a callback after each epoch and return what it answered."""
    callback.begin(run_of())
    return [bool(callback(run_of(*losses[: i + 1], **others))) for i in range(len(losses))]


class Worse:
    """Makes the parameters worse after some epochs, so that there is a best epoch before the last one."""

    def __init__(self, after):
        self.after = after

    def __call__(self, run):
        if len(run.history) >= self.after:
            run.lr = 8.0


def test_early_stopping_waits_for_its_patience():
    assert feed(EarlyStopping(2), [3, 2, 2, 2, 1]) == [False, False, False, True, False]
    assert feed(EarlyStopping(2), [3, 2, 2, 1, 1]) == [False] * 5
    assert feed(EarlyStopping(1, min_delta=0.5), [3, 2.6]) == [False, True]


def test_direction_follows_from_the_name():
    stopping = EarlyStopping(1, monitor="validation_accuracy")
    stopping.begin(run_of())
    assert [stopping(run_of(*[1] * n, validation_accuracy=a)) for n, a in ((1, 0.5), (2, 0.6), (3, 0.6))] == [
        False,
        False,
        True,
    ]
    assert (stopping.epoch, stopping.best) == (2, 0.6)


def test_usual_monitor_is_the_loss_that_the_history_has():
    def best(**others):
        keep = KeepBest()
        keep(Run(None, None, {}, "", None, "", [dataclasses.replace(Epoch(1, 1, None, None, 0), **others)]))
        return keep.best

    assert best() == 1
    assert best(test_loss=2.0) == 2
    assert best(test_loss=2.0, validation_loss=3.0) == 3


@pytest.mark.parametrize("kind", [KeepBest, lambda monitor: EarlyStopping(1, monitor=monitor)])
def test_unknown_monitor_names_the_choices(kind):
    with pytest.raises(ValueError, match="unknown `monitor` 'loss': choose one of train_loss, test_loss"):
        kind(monitor="loss")


def test_monitor_that_the_history_has_not_names_those_it_has():
    with pytest.raises(ValueError, match=r"`monitor` is 'test_loss', but the history has only train_loss; "):
        train(epochs=1, test=None, callbacks=[KeepBest("test_loss")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(0), "`patience` must be"),
        (lambda: EarlyStopping(1, min_delta=-1), "`min_delta` must be"),
        (lambda: ReduceOnPlateau(1, 1.0), "`factor` must be below 1, got 1.0"),
        (lambda: ReduceOnPlateau(1, 0.0), "`factor` must be"),
        (lambda: ReduceOnPlateau(1, min_lr=-1.0), "`min_lr` must be"),
        (lambda: Checkpoint("x", every=0), "`every` must be"),
        (lambda: Checkpoint("x", keep=0), "`keep` must be"),
        (lambda: Checkpoint("x", monitor="loss"), "unknown `monitor` 'loss'"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("stopped_early", [True, False])
def test_run_has_the_best_parameters_at_the_end(backend, stopped_early):
    stopping, keep = EarlyStopping(2 if stopped_early else 100), KeepBest()
    run = train(backend, epochs=12, callbacks=[stopping, keep, Worse(after=4)])
    losses = [epoch.test_loss for epoch in run.history]
    assert len(losses) == (stopping.epoch + 2 if stopped_early else 12)
    assert stopping.epoch == keep.epoch == losses.index(min(losses)) + 1 < len(losses)
    assert run.evaluate(samples(50, 1)).loss == pytest.approx(stopping.best)
    assert stopping.best == keep.best == min(losses)
    last = train(backend, epochs=12, callbacks=[EarlyStopping(2, restore_best=False), Worse(after=4)])
    assert last.evaluate(samples(50, 1)).loss == pytest.approx(last.history[-1].test_loss)


def test_best_parameters_are_there_after_an_exception():
    def stop(run):
        losses = [epoch.test_loss for epoch in run.history]
        if losses[-1] > min(losses):
            raise KeyboardInterrupt

    keep = KeepBest()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(epochs=50, callbacks=[keep, Worse(after=3), stop])
    assert caught.value.run.evaluate(samples(50, 1)).loss == pytest.approx(keep.best)


def test_callback_begins_anew_with_every_training():
    stopping = EarlyStopping(1)
    for _ in range(2):
        run = train(epochs=12, callbacks=[stopping, Worse(after=4)])
        assert len(run.history) == stopping.epoch + 1


def test_begin_and_end_are_called_once_and_end_also_after_an_exception():
    class Noting:
        def __init__(self, error=False):
            self.calls, self.error = [], error

        def begin(self, run):
            self.calls.append(("begin", len(run.history)))

        def __call__(self, run):
            self.calls.append(("epoch", len(run.history)))
            if self.error:
                raise RuntimeError("stop")

        def end(self, run):
            self.calls.append(("end", len(run.history)))

    noting = Noting()
    train(epochs=2, callbacks=[noting])
    assert noting.calls == [("begin", 0), ("epoch", 1), ("epoch", 2), ("end", 2)]
    noting = Noting(error=True)
    with pytest.raises(RuntimeError, match="stop"):
        train(epochs=2, callbacks=noting)
    assert noting.calls == [("begin", 0), ("epoch", 1), ("end", 1)]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("optimizer", [xpnet.SGD(0.5), xpnet.Adam(0.5)])
def test_rate_that_a_callback_sets_counts_from_the_next_step_on(backend, optimizer):
    def halve(run):
        run.lr = run.lr / 2

    options = {"optimizer": optimizer, "epochs": 8, "test": None}
    run = train(backend, callbacks=[halve], **options)
    assert run.report == ""
    assert [epoch.lr for epoch in run.history] == [0.5 / 2**i for i in range(8)]
    assert run.optimizer == dataclasses.replace(optimizer, lr=0.5 / 2**8)
    plain = train("numpy", callbacks=[halve], **options)
    for epoch, other in zip(run.history, plain.history, strict=True):
        assert epoch.train_loss == pytest.approx(other.train_loss, rel=1e-3)
    still = train(backend, **options)
    assert still.history[0].train_loss == run.history[0].train_loss
    assert still.history[1].train_loss != run.history[1].train_loss


def test_rate_that_becomes_tiny_stops_the_changes():
    def stop_learning(run):
        run.lr = 1e-30

    run = train(epochs=3, optimizer="sgd", callbacks=[stop_learning])
    first = train(epochs=1, optimizer="sgd")
    assert np.allclose(run.params["0.weight"], first.params["0.weight"], atol=1e-12)


def test_rate_of_an_optimizer_without_one_is_refused():
    class Plain:
        def init(self, xp, params):
            return {}

        def __call__(self, xp, params, grads, state):
            return params, state

    def halve(run):
        run.lr = 0.5

    with pytest.raises(TypeError, match=r"is no dataclass with a field `lr`; set `run\.optimizer`"):
        train(epochs=1, optimizer=Plain(), callbacks=[halve])
    with pytest.raises(ValueError, match="`lr` must be a finite number above 0, got -1"):
        train(epochs=1, callbacks=[lambda run: setattr(run, "lr", -1)])


def test_rate_is_reduced_on_a_plateau_down_to_the_least():
    reduce, run, rates = ReduceOnPlateau(2, 0.5, 0.3), run_of(), []
    reduce.begin(run)
    for loss in [3, 3, 3, 3, 3, 3, 3]:
        run.history.append(Epoch(len(run.history) + 1, loss, None, None, 0.1))
        reduce(run)
        rates.append(run.lr)
    assert rates == [1, 1, 0.5, 0.5, 0.3, 0.3, 0.3]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("done", [3, 6])
def test_callbacks_continue_where_they_were(tmp_path, backend, done):
    def callbacks():
        return [EarlyStopping(4), ReduceOnPlateau(1, 0.5, monitor="train_loss"), Worse(after=4), KeepBest()]

    options = {"backend": backend, "optimizer": xpnet.SGD(0.3)}
    whole = train(epochs=12, callbacks=callbacks(), **options)
    train(epochs=done, callbacks=callbacks(), checkpoint=tmp_path, **options)
    stopping, *others = callbacks()
    continued = train(epochs=12, callbacks=[stopping, *others], resume=tmp_path, **options)
    assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path)
    assert continued.optimizer == whole.optimizer
    assert stopping.epoch == others[-1].epoch > 0


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_schedule_that_a_callback_reduces_is_reduced_when_resumed(tmp_path, backend):
    schedule = xpnet.schedules.Warmup(5, xpnet.schedules.Cosine(0.5, 60))
    options = {"backend": backend, "optimizer": xpnet.Momentum(schedule)}

    def callbacks():
        return [ReduceOnPlateau(1, 0.5, monitor="test_accuracy")]

    whole = train(epochs=8, callbacks=callbacks(), **options)
    assert whole.lr != schedule
    train(epochs=7, callbacks=callbacks(), checkpoint=tmp_path, **options)
    continued = train(epochs=8, callbacks=callbacks(), resume=tmp_path, **options)
    assert continued.optimizer == whole.optimizer
    assert seal_of(continued, tmp_path) == seal_of(whole, tmp_path)


def test_training_that_a_callback_ended_is_still_at_its_end_when_resumed(tmp_path):
    callbacks = [EarlyStopping(1), Worse(after=3)]
    run = train(epochs=12, callbacks=callbacks, checkpoint=tmp_path)
    again = train(epochs=20, callbacks=[EarlyStopping(1), Worse(after=3)], checkpoint=tmp_path, resume=True)
    assert len(run.history) < 12
    assert seal_of(again, tmp_path) == seal_of(run, tmp_path)
    longer = train(epochs=20, callbacks=[EarlyStopping(5), Worse(after=3)], resume=tmp_path)
    assert len(longer.history) > len(run.history)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_log_has_a_line_an_epoch_as_soon_as_it_is_done(tmp_path):
    path, seen = tmp_path / "log.csv", []
    run = train(epochs=3, callbacks=[CSVLog(path), lambda run: seen.append(path.read_text().count("\n"))])
    assert seen == [2, 3, 4]
    found = rows(path)
    assert list(found[0]) == [field.name for field in dataclasses.fields(Epoch)]
    for row, epoch in zip(found, run.history, strict=True):
        assert int(row["epoch"]) == epoch.epoch
        assert float(row["train_loss"]) == epoch.train_loss
        assert row["validation_loss"] == ""


def test_log_of_a_resumed_training_has_every_epoch_once(tmp_path):
    path, folder = tmp_path / "log.csv", tmp_path / "checkpoints"

    options = {"callbacks": [CSVLog(path)], "checkpoint": Checkpoint(folder, every=2)}
    train(epochs=2, **options)
    path.write_bytes(path.read_bytes() + b"3,0.1,,\n4,0.")
    train(epochs=5, resume=True, **options)
    assert [int(row["epoch"]) for row in rows(path)] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(float(row["train_loss"])) for row in rows(path))


def test_log_begins_anew_with_a_new_training(tmp_path):
    for _ in range(2):
        train(epochs=2, callbacks=[CSVLog(tmp_path / "log.csv")])
    assert [row["epoch"] for row in rows(tmp_path / "log.csv")] == ["1", "2"]


def test_log_that_cannot_be_written_is_refused_before_training(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        train(callbacks=[CSVLog(tmp_path / "none" / "log.csv"), lambda run: pytest.fail("an epoch")])


def test_full_disk_leaves_whole_lines_in_the_log(tmp_path):
    resource = pytest.importorskip("resource")
    path, log = tmp_path / "log.csv", CSVLog(tmp_path / "log.csv")
    run = run_of(1.0)
    log.begin(run_of())
    log(run)
    whole = path.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 5, limits[1]))
    try:
        with pytest.raises(OSError, match=r"No space left|cannot write") as caught:
            log(run_of(1.0, 0.5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert path.read_text() == whole
