"""Copying, pickling, comparing and sending to other processes what users have."""

import copy
import pickle

import joblib
import numpy as np
import pytest

import xpnet
from conftest import REGISTERED, make_namespace
from xpnet import errors
from xpnet.batches import Scaling
from xpnet.losses import LOSSES

COPIERS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "old pickle": lambda x: pickle.loads(pickle.dumps(x, protocol=2)),
}


@pytest.fixture(params=COPIERS.values(), ids=COPIERS)
def copied(request):
    return request.param


def train(xp, dataset, **options):
    options = {"optimizer": xpnet.Momentum(0.5), "epochs": 1, "batch_size": 32, "test": dataset} | options
    return xpnet.fit(xp, xpnet.mlp(12, 8, 3), dataset, **options)


def double(xp, params, x):
    return {"w": params["w"] * 2}, x


@pytest.mark.parametrize(
    "value",
    [
        xpnet.mlp(12, 8, 3),
        xpnet.Sequential(xpnet.Sequential(xpnet.Softmax()), xpnet.Dropout(0.5), xpnet.Tanh()),
        xpnet.SGD(0.5),
        xpnet.Momentum(0.5),
        xpnet.Nesterov(0.5),
        xpnet.Adam(),
        Scaling(0.5, 1.0),
        xpnet.Epoch(1, 0.5, None, None, 0.1),
        xpnet.Evaluation(0.5, 1.0, np.eye(2, dtype=np.int64)),
        xpnet.BackendInfo("mine", usable=False),
        *LOSSES.values(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_data_equals_its_copies(copied, value):
    assert copied(value) == value
    assert hash(copied(value)) == hash(value)
    assert repr(copied(value)) == repr(value)


@pytest.mark.parametrize(
    "error",
    [
        errors.UnknownBackendError("torch", ("numba", "numpy")),
        errors.BackendUnavailableError("cupy", "needs a device", "choose 'numpy'"),
        errors.TrainingDivergedError("the loss is nan"),
        errors.DeviceMemoryError("backend 'cupy' on cuda", 4096, 1024, 7),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_keep_their_text_and_attributes(copied, error):
    found = copied(error)
    assert type(found) is type(error)
    assert (str(found), vars(found), found.args) == (str(error), vars(error), error.args)


def test_every_error_is_tried_above():
    classes = {c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)}
    tried = test_errors_keep_their_text_and_attributes.pytestmark[0].args[1]
    assert classes == {type(error) for error in tried}


def test_namespace_is_copied_by_name(backend, copied):
    assert copied(backend) is backend
    assert copied({"xp": [backend]})["xp"][0] is backend


def test_namespace_of_a_device_is_copied_by_its_name(copied):
    device = xpnet.Device(at=lambda xp, text: make())

    def make():
        return xpnet.Namespace("mine", np, device=device, tf32=lambda: xpnet.Namespace("mine", np))

    plain = make()
    plain._remade = make, ()  # as `xpnet.backend` does
    for xp in (plain.on("1"), plain.with_tf32(), plain.on("1").with_tf32()):
        if copied in (copy.copy, copy.deepcopy):
            assert copied(xp) is xp
        else:
            how, (origin, *_) = xp.__reduce__()
            assert how(origin).name == "mine"


def test_functions_of_a_namespace_are_copied_as_a_part_of_it(backend, copied):
    assert copied(backend.nn) is backend.nn
    assert len({backend.nn, copied(backend.nn)}) == 1


def test_namespace_without_a_name_is_not_pickled():
    xp = xpnet.Namespace("mine", np)
    assert copy.deepcopy(xp) is copy.copy(xp) is xp
    for namespace in (xp, xpnet.Namespace("numpy", np)):
        with pytest.raises(TypeError, match=r"cannot pickle <xpnet.Namespace .*; register it in the"):
            pickle.dumps(namespace)


def test_run_is_copied_whole(backend, dataset, copied):
    run = train(backend, dataset)
    found = copied(run)
    assert found.xp is backend
    assert (found.model, found.loss, found.scaling, found.history) == (
        run.model,
        run.loss,
        run.scaling,
        run.history,
    )
    np.testing.assert_array_equal(found.predict_proba(dataset), run.predict_proba(dataset))
    assert found.evaluate(dataset) == run.evaluate(dataset)
    run.params["0.bias"][...] = 9.0
    changed = bool((backend.to_host(found.params["0.bias"]) == 9.0).all())
    assert changed == (copied is copy.copy)


def test_runs_are_compared_by_identity(numpy_xp, dataset):
    run, other = train(numpy_xp, dataset), train(numpy_xp, dataset)
    assert run == run
    assert run != other
    assert len({run, other, run}) == 2


def test_evaluations_are_compared_by_value():
    first, second, other = (xpnet.Evaluation(0.5, 1.0, np.full((2, 2), n, dtype=np.int64)) for n in (1, 1, 2))
    assert first == second
    assert first != other
    assert first != 0.5
    assert len({first, second, other}) == 2


def test_dataset_stays_read_only(dataset, copied):
    for value in (dataset, dataset[3:7]):
        found = copied(value)
        np.testing.assert_array_equal(found.images, value.images)
        np.testing.assert_array_equal(found.labels, value.labels)
        assert not found.images.flags.writeable
        assert not found.labels.flags.writeable
        assert dataset != dataset[:5]
        assert len({dataset, value}) <= 2


def test_stream_goes_on_in_each_copy(copied):
    stream = xpnet.Stream(3, "init")
    stream.uniform(7)
    found = copied(stream)
    expected = copy.deepcopy(stream).uniform(5)
    np.testing.assert_array_equal(found.uniform(5), expected)
    np.testing.assert_array_equal(stream.uniform(5), expected)


def test_compiled_step_is_compiled_again(backend, copied):
    compiled = backend.compile(double)
    x = backend.ones((2,), dtype=backend.float32)
    for step in (compiled, copied(compiled)):
        params, same = step(backend, {"w": x}, x)
        np.testing.assert_array_equal(backend.to_host(params["w"]), [2, 2])
        assert same is x
    assert type(copied(compiled)) is type(compiled)


@pytest.mark.parametrize("name", [name for name in REGISTERED if name != "cupy"])
def test_processes_of_joblib_train_and_predict(name, dataset):
    xp = make_namespace(name)
    options = {"optimizer": xpnet.SGD(0.5), "epochs": 1, "test": dataset}
    with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
        runs = parallel(
            joblib.delayed(xpnet.fit)(xp, xpnet.mlp(12, 3), dataset, seed=seed, **options) for seed in (1, 2)
        )
        predicted = parallel(joblib.delayed(run.predict)(dataset) for run in runs)
    for seed, run, classes in zip((1, 2), runs, predicted, strict=True):
        here = xpnet.fit(xp, xpnet.mlp(12, 3), dataset, seed=seed, **options)
        assert run.xp is xp
        assert run.initial_sha256 == here.initial_sha256
        np.testing.assert_array_equal(classes, here.predict(dataset))
