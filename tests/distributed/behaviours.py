"""What `fit` does in a group of processes: ``behaviours.py FOLDER`` calls each function and writes failures.

Each function is run by all ranks, and is given the group and a folder that all share.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import sys
import traceback

import numpy as np
import pytest
import trainings

import xpnet
from xpnet.distributed import DistributedError

BASE = trainings.BASE | {"epochs": 3}
TRAIN = BASE["train"]


def fit(group, **changes):
    return trainings.trained("numpy", BASE | changes, group)


def same_on_all(group, value):
    values = group.gather(value)
    assert all(other == values[0] for other in values), values


def raised(group, kinds, **changes):
    """Return the text of the error that this rank raises, of the first kind on rank 0, else of the second."""
    kind = kinds[min(group.rank, 1)]
    with pytest.raises(kind) as error:
        fit(group, **changes)
    assert error.type is kind
    return str(error.value)


def callbacks_are_called_on_rank_0(group, folder):
    called = []
    fit(group, callbacks=[lambda run: called.append(len(run.history))])
    assert called == ([] if group.rank else [1, 2, 3])


def a_rate_that_a_callback_sets_is_that_of_all(group, folder):
    def slower(run):
        run.lr /= 2

    run, alone = fit(group, callbacks=[slower]), fit(None, callbacks=[slower])
    same_on_all(group, trainings.digest(run))
    np.testing.assert_allclose(run.params["0.weight"], alone.params["0.weight"], rtol=0, atol=1e-5)
    assert [e.lr for e in run.history] == [e.lr for e in alone.history]


class Plain:
    """An optimizer that a callback can change in place."""

    def __init__(self):
        self.lr = 0.1

    def init(self, xp, params):
        return {}

    def __call__(self, xp, params, grads, state):
        return {name: p - self.lr * grads[name] for name, p in params.items()}, state


def an_optimizer_that_a_callback_changes_in_place_is_that_of_all(group, folder):
    def slower(run):
        run.optimizer.lr /= 3

    run = fit(group, optimizer=Plain(), callbacks=[slower])
    alone = fit(None, optimizer=Plain(), callbacks=[slower])
    same_on_all(group, trainings.digest(run))
    np.testing.assert_allclose(run.params["0.weight"], alone.params["0.weight"], rtol=0, atol=1e-5)


def a_schedule_that_cannot_be_sent_is_an_error_on_all(group, folder):
    def bend(run):
        run.lr = lambda step: 0.1 / step

    text = raised(group, (ValueError, DistributedError), callbacks=[bend])
    assert "cannot be pickled" in text, text


def a_schedule_that_cannot_be_sent_is_taken_if_all_have_it(group, folder):
    run = fit(group, optimizer=xpnet.SGD(lambda step: 0.1 / step), callbacks=[lambda run: None])
    same_on_all(group, trainings.digest(run))


def a_callback_ends_the_training_of_all(group, folder):
    run = fit(group, callbacks=[lambda run: len(run.history) == 2])
    assert len(run.history) == 2


def parameters_that_a_callback_restores_are_those_of_all(group, folder):
    early = xpnet.EarlyStopping(1, restore_best=True)
    run = fit(group, callbacks=[early], validation=0.3, optimizer=xpnet.SGD(3.0), epochs=8)
    assert len(run.history) < 8
    same_on_all(group, trainings.digest(run))


def an_error_of_a_callback_is_raised_on_all(group, folder):
    def fail(run):
        raise RuntimeError("no space")

    text = raised(group, (RuntimeError, DistributedError), callbacks=[fail])
    assert text == "no space" or text == f"rank 0 of {group.size} failed: RuntimeError: no space"


def a_wrong_argument_of_one_rank_is_an_error_on_all(group, folder):
    last = group.size - 1
    kind = ValueError if group.rank == last else DistributedError
    with pytest.raises(kind, match="`epochs`") as error:
        fit(group, epochs=0 if group.rank == last else 1)
    assert group.rank == last or str(error.value).startswith(f"rank {last} of {group.size} failed")


def training_that_diverges_says_where_on_all(group, folder):
    model = xpnet.mlp(12, 16, 5, activation="relu")
    errors = []
    for chosen in (group, None):
        with pytest.raises(xpnet.TrainingDivergedError) as error:
            fit(chosen, optimizer=xpnet.SGD(1e30), model=model)
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert "step" in errors[0]
    same_on_all(group, errors[0])


def a_loss_that_overflows_on_one_rank_is_that_of_all(group, folder):
    targets = np.ones((30, 2), "float32")
    targets[:, 0] = 1e-3
    inputs = np.ones((30, 12), "float32")
    inputs[15:] = 1e20  # of the last rank, or of two
    model = xpnet.Sequential(xpnet.Linear(12, 2))
    errors = []
    for chosen in (group, None):
        with pytest.raises(xpnet.TrainingDivergedError) as error:
            fit(
                chosen,
                model=model,
                train=xpnet.Dataset(inputs, targets),
                loss="squared_error",
                optimizer=xpnet.SGD(1e-30),
                batch_size=30,
            )
        errors.append(str(error.value))
    assert errors[0] == errors[1]
    assert "mean training loss of epoch 1 is inf" in errors[0], errors
    same_on_all(group, errors[0])


def other_data_are_found_out(group, folder):
    inputs = TRAIN.inputs.copy()
    inputs[17, 3] += group.rank == 1
    text = raised(group, (DistributedError, DistributedError), train=xpnet.Dataset(inputs, TRAIN.targets))
    assert text.startswith("rank 1 (there) differs from rank 0 (here): `data.train` has other values"), text


def other_targets_are_found_out(group, folder):
    test = xpnet.Dataset(TRAIN.inputs[:5], (TRAIN.targets[:5] + (group.rank == 2)) % 5)
    assert "rank 2" in raised(group, (DistributedError, DistributedError), test=test)


def other_arguments_are_found_out(group, folder):
    others = {
        "seed": 6,
        "optimizer": xpnet.Momentum(0.4, 0.9),
        "model": xpnet.mlp(12, 17, 5),
        "batch_size": 99,
        "dtype": "float64",
        "epochs": 4,
        "loss": "squared_error",
        "scale": 0.5,
    }
    for name, value in others.items():
        train = {"train": xpnet.Dataset(TRAIN.inputs, np.eye(5)[TRAIN.targets])} if name == "loss" else {}
        changes = {name: value} if group.rank == 1 else {}
        text = raised(group, (DistributedError, DistributedError), **changes, **train)
        assert "rank 1" in text, text
        assert {"scale": "scaling"}.get(name, name) in text, text


def another_backend_is_found_out(group, folder):
    with pytest.raises(DistributedError, match=r"rank 1.*numba"):
        trainings.trained("numba" if group.rank else "numpy", BASE, group)


def other_initial_parameters_are_found_out(group, folder):
    params = BASE["model"].init(xpnet.backend("numpy"), group.rank)
    assert "`params" in raised(group, (DistributedError, DistributedError), params=params)


def what_are_no_parameters_is_an_error_on_all(group, folder):
    with pytest.raises((TypeError, ValueError, AttributeError)) as alone:
        fit(None, params=[1, 2])
    with pytest.raises(alone.type):
        fit(group, params=[1, 2])


def initial_parameters_are_taken(group, folder):
    params = BASE["model"].init(xpnet.backend("numpy"), 77)
    run, alone = fit(group, params=params), fit(None, params=params)
    np.testing.assert_allclose(run.params["0.weight"], alone.params["0.weight"], rtol=0, atol=1e-5)
    assert run.initial_sha256 == alone.initial_sha256


def more_ranks_than_rows_of_a_batch_are_an_error(group, folder):
    text = raised(group, (ValueError, ValueError), batch_size=group.size - 1)
    assert text.startswith(f"`batch_size` is {group.size - 1}, which leaves some of {group.size} ranks"), text
    fit(group, batch_size=group.size, epochs=1, train=TRAIN[:10])


def what_is_no_group_is_an_error(group, folder):
    for wrong in (True, 4, "mpi", xpnet.distributed.mpi):
        with pytest.raises(TypeError, match=r"xpnet\.distributed\.mpi\(\)"):
            fit(wrong)


@dataclasses.dataclass(frozen=True)
class Doubled:
    """A layer of one's own."""

    n_in = n_out = None
    shapes = {}  # noqa: RUF012
    draws = False

    def init(self, xp, seed, *, dtype="float32"):
        return {}

    def __call__(self, xp, params, x, *, stream=None):
        def pullback(dy, *, input_gradient=True):
            return (dy * 2 if input_gradient else None), {}

        return x * 2, pullback


@dataclasses.dataclass(frozen=True)
class Halved(Doubled):
    """Another one, which is registered."""

    def __call__(self, xp, params, x, *, stream=None):
        def pullback(dy, *, input_gradient=True):
            return (dy * 0.5 if input_gradient else None), {}

        return x * 0.5, pullback


xpnet.register(Halved)


@dataclasses.dataclass(frozen=True)
class Tripled(Doubled):
    """One that only rank 0 registers."""


def a_layer_that_only_one_rank_registers_is_no_reason_to_wait(group, folder):
    if group.rank == 0:
        xpnet.register(Tripled)
    model = xpnet.Sequential(xpnet.Linear(12, 16), Tripled(), xpnet.Linear(16, 5))
    with contextlib.suppress(DistributedError):  # or trained as written: ranks differ in what they know
        assert fit(group, model=model).report


def layers_of_ones_own_train_as_in_one_process(group, folder):
    for layer, reported in (Doubled(), True), (Halved(), False):
        model = xpnet.Sequential(xpnet.Linear(12, 16), layer, xpnet.Tanh(), xpnet.Linear(16, 5))
        run, alone = fit(group, model=model), fit(None, model=model)
        np.testing.assert_allclose(run.params["0.weight"], alone.params["0.weight"], rtol=0, atol=1e-5)
        assert ("xpnet.register" in run.report) == reported, run.report


def a_training_goes_on_bit_for_bit(group, folder):
    places = [folder / "resumed", folder / "whole"]
    options = {"validation": 0.2, "optimizer": xpnet.Adam(0.01)}
    fit(group, epochs=2, checkpoint=places[0], **options)
    run = fit(group, epochs=4, checkpoint=places[0], resume=True, **options)
    whole = fit(group, epochs=4, checkpoint=places[1], **options)
    assert trainings.digest(run) == trainings.digest(whole)
    assert run.resumed.startswith("epoch 2")
    same_on_all(group, run.resumed)
    same_on_all(group, [path.name for path in sorted(places[0].iterdir())])
    assert len(run.ranks[0]["seconds"]) == 2


def a_checkpoint_of_another_training_is_an_error_on_all(group, folder):
    fit(group, epochs=1, checkpoint=folder / "other")
    changes = {"checkpoint": folder / "other", "resume": True, "seed": 9}
    text = raised(group, (ValueError, DistributedError), **changes)
    assert "`seed`" in text, text


def a_checkpoint_folder_that_cannot_be_written_is_an_error_on_all(group, folder):
    file = folder / "file"
    file.write_text("taken")
    text = raised(group, (FileExistsError if not group.rank else DistributedError, DistributedError),
                  checkpoint=file)  # fmt: skip
    assert "file" in text, text


def a_finished_training_is_returned_as_it_is(group, folder):
    first = fit(group, epochs=1, checkpoint=folder / "done")
    again = fit(group, epochs=1, checkpoint=folder / "done", resume=True)
    assert trainings.digest(first) == trainings.digest(again)


def only_rank_0_shows_progress(group, folder):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        fit(group, progress=None)
    assert bool(shown.getvalue()) == (group.rank == 0)


def layers_with_state_have_the_same_state_on_all(group, folder):
    model = xpnet.Sequential(xpnet.Linear(12, 16), xpnet.BatchNorm(16), xpnet.ReLU(), xpnet.Linear(16, 5))
    same_on_all(group, trainings.digest(fit(group, model=model, train=TRAIN[:500])))


def an_error_in_the_rehearsal_of_one_rank_is_raised_on_all(group, folder):
    model = xpnet.Sequential(xpnet.Linear(12, 16), xpnet.BatchNorm(16), xpnet.Linear(16, 5))
    with pytest.raises((ValueError, DistributedError), match="BatchNorm"):
        fit(group, model=model, train=TRAIN[:404])  # of the last 4 rows, two ranks have one each


def a_run_of_a_group_is_saved_as_that_of_one_process(group, folder):
    run, path = fit(group), folder / f"model{group.rank}.safetensors"
    run.save(path)
    loaded = xpnet.load(path, xpnet.backend("numpy"))
    assert trainings.digest(loaded) == trainings.digest(run)
    assert loaded.ranks is None


def main(folder):
    group, results = xpnet.distributed.mpi(), {}
    for name, function in behaviours().items():
        try:
            function(group, pathlib.Path(folder))
        except Exception:
            results[name] = traceback.format_exc()
    failed = group.gather(results)
    if group.rank == 0:
        texts = {
            name: {rank: found[name] for rank, found in enumerate(failed) if name in found}
            for name in behaviours()
        }
        pathlib.Path(folder, "failed.json").write_text(json.dumps(texts))


def behaviours():
    """Return the functions above that check something, by name."""
    helpers = {"fit", "same_on_all", "raised", "main", "behaviours"}
    found = {name: value for name, value in globals().items() if type(value) is type(main)}
    return {name: value for name, value in found.items() if name not in helpers}


if __name__ == "__main__":
    main(sys.argv[1])
