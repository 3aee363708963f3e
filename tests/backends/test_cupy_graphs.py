"""Captured steps of the backend `cupy` without a GPU: see `cuda_on_host`."""

import gc
import weakref
from unittest import mock

import cuda_on_host
import numpy
import pytest
import steps
from checking import optimizers

import xpnet
import xpnet.replay.trial
from xpnet.batches import Scaling
from xpnet.layers import ACTIVATIONS
from xpnet.losses import LOSSES

PLAIN = xpnet.Namespace("plain", numpy)
OPTIMIZERS = optimizers(0.5, times=10, beta=0.8, eps=1e-3)


@pytest.fixture
def xp(package, kernels_on_host):
    return cuda_on_host.namespace(package)


def make_data(*, n=22, features=11, classes=3):
    images = numpy.random.default_rng(0).integers(0, 256, (n, features)).astype(numpy.uint8)
    return xpnet.Dataset(images, numpy.arange(n) % classes)


def make_trainer(xp, model, data, *, optimizer=OPTIMIZERS[1], **options):
    options |= {"optimizer": optimizer, "batch_size": 8, "scaling": Scaling(1 / 255, -0.5)}
    return steps.make_trainer(xp, model, data, **options)[0]


def train(trainer, n, *, epochs=4):
    """Return the losses of epochs of three steps, the last of which is ragged."""
    orders = [numpy.roll(numpy.arange(n, dtype=numpy.int32), 5 * epoch) for epoch in range(epochs)]
    return [float(trainer.epoch(order)) for order in orders]


def programs_of(trainer):
    return trainer.compiled.programs


def assert_trained_alike(actual, expected, *, tolerance=1e-10):
    assert actual.compiled.report == ""
    for name, p in expected.params.items():
        numpy.testing.assert_allclose(actual.params[name], p, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("activation", "optimizer", "largest"),
    [
        *(("sigmoid", optimizer, 2**24) for optimizer in OPTIMIZERS),
        *((activation, OPTIMIZERS[1], largest) for activation in ACTIVATIONS for largest in (2**24, 0)),
        *(("sigmoid", optimizer, 0) for optimizer in OPTIMIZERS[3:]),
    ],
    ids=str,
)
def test_captured_training_equals_that_of_the_twins(activation, optimizer, largest, xp, package, monkeypatch):
    monkeypatch.setattr(package.dense, "LARGEST_PRODUCT", largest)
    monkeypatch.setattr(package.blas, "multiply", cuda_on_host.multiply)
    model, data = xpnet.mlp(11, 9, 4, 3, activation=activation), make_data()
    mine, plain = (make_trainer(on, model, data, optimizer=optimizer) for on in (xp, PLAIN))
    losses = train(mine, len(data)), train(plain, len(data))
    numpy.testing.assert_allclose(*losses, rtol=1e-10)
    assert_trained_alike(mine, plain)
    assert [program.captures for program in programs_of(mine)] == [2, 2]
    assert [program.device_bytes for program in programs_of(mine)] == [512, 512]  # of the stand-in's pool


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_is_captured(loss, xp):
    classes = 3 if loss == "softmax_cross_entropy" else 1
    model, data = xpnet.mlp(11, 9, classes, activation="relu"), make_data(classes=max(classes, 2))
    mine, plain = (make_trainer(on, model, data, loss=loss) for on in (xp, PLAIN))
    numpy.testing.assert_allclose(train(mine, len(data)), train(plain, len(data)), rtol=1e-10)
    assert_trained_alike(mine, plain)


def test_hundred_steps_stay_near_the_twins_in_float32(xp):
    model, data = xpnet.mlp(11, 9, 3, activation="sigmoid"), make_data()
    mine, plain = (make_trainer(on, model, data, dtype="float32") for on in (xp, PLAIN))
    train(mine, len(data), epochs=34)
    train(plain, len(data), epochs=34)
    assert_trained_alike(mine, plain, tolerance=1e-4)


def launches(trainer):
    """Return how many launches the captured graphs have, the one used last first."""
    return [len(program._graph.launches) for program in programs_of(trainer)]


@pytest.mark.parametrize(
    ("sizes", "expected"), [((11, 9, 3), 7), ((11, 3), 4), ((11, 9, 7, 3), 10)], ids=["2", "1", "3 layers"]
)
def test_a_step_of_the_courses_network_is_at_most_seven_launches(sizes, expected, xp):
    model, data = xpnet.mlp(*sizes, activation="sigmoid"), make_data()
    trainer = make_trainer(xp, model, data, dtype="float32")
    train(trainer, len(data))
    assert launches(trainer) == [expected, expected]


def test_names_of_the_tasks_tell_what_was_fused(xp, package):
    model, data = xpnet.mlp(11, 9, 3, activation="sigmoid"), make_data()
    trainer = make_trainer(xp, model, data)
    train(trainer, len(data), epochs=1)
    assert [task.name for task in programs_of(trainer)[0].tasks] == [
        "fetch",
        "linear sigmoid",
        "linear",
        "softmax_cross_entropy accumulate",
        "linear_backward sigmoid",
        "linear_momentum_step",
        "linear_momentum_step",
    ]


def test_host_writes_to_the_table_only_where_an_epoch_begins(xp):
    model, data = xpnet.mlp(11, 3), make_data(n=64)
    trainer = make_trainer(xp, model, data)
    train(trainer, len(data))
    program = programs_of(trainer)[0]
    written = []

    class Table:
        def __setitem__(self, i, value):
            written.append(i)
            table[i] = value

    table, program._table._numbers = program._table._numbers, Table()
    plain = make_trainer(PLAIN, model, data)
    numpy.testing.assert_allclose(train(trainer, len(data)), [train(plain, len(data)) for _ in range(2)][-1])
    assert len(written) == 4 * 2  # the address of the indices and that of the total, once in eight steps


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_epochs_of_captured_steps_wait_for_nothing(optimizer, xp, monkeypatch):
    data = make_data()
    mine, plain = (make_trainer(on, xpnet.mlp(11, 9, 3), data, optimizer=optimizer) for on in (xp, PLAIN))
    for trainer in (mine, plain):
        train(trainer, len(data))

    def refuse(*args):
        raise AssertionError("the device was waited for")

    order = numpy.arange(len(data), dtype=numpy.int32)
    with monkeypatch.context() as patch:
        patch.setattr(cuda_on_host.Stream, "synchronize", refuse)
        for name in ("__bool__", "__float__", "__int__", "__index__", "__iter__", "item", "tolist"):
            patch.setattr(cuda_on_host.Array, name, refuse)
        total = mine.epoch(order)
    numpy.testing.assert_allclose(total, plain.epoch(order), rtol=1e-10)
    assert_trained_alike(mine, plain)


def test_totals_of_epochs_past_stay_as_they_are(xp):
    trainer = make_trainer(xp, xpnet.mlp(11, 3), data := make_data())
    order = numpy.arange(len(data), dtype=numpy.int32)
    totals = [trainer.epoch(order) for _ in range(6)]
    kept = [float(total) for total in totals]
    trainer.epoch(order)
    assert [float(total) for total in totals] == kept
    assert kept == sorted(kept, reverse=True)


def test_other_arrays_are_used_and_captured_when_they_come_again(xp):
    step = lambda xp, x, w, b: xp.nn.relu(xp.nn.linear(x, w, b))  # noqa: E731
    compiled = xp.compile(step)
    random = numpy.random.default_rng(1)

    def arguments():
        return [xp.asarray(random.normal(size=shape)) for shape in ((5, 4), (4, 3), (3,))]

    first, second = arguments(), arguments()
    for args in (first, first, first, first, second, first, second, second, second, arguments()):
        x, w, b = args
        numpy.testing.assert_allclose(compiled(xp, *args), numpy.maximum(x @ w + b, 0), rtol=1e-12)
    assert compiled.report == ""
    assert compiled.programs[0].captures == 3


def test_results_of_a_captured_step_stay_as_they_are(xp):
    compiled = xp.compile(lambda xp, x: xp.nn.sigmoid(x))
    x = xp.asarray(numpy.linspace(-1, 1, 6))
    results = []
    for i in range(6):
        x[...] = i
        results.append(compiled(xp, x))
    assert [float(y[0]) for y in results] == [
        float(xp.nn.sigmoid(xp.asarray([float(i)]))[0]) for i in range(6)
    ]


def test_gradients_that_are_returned_are_not_fused_away(xp):
    def step(xp, x, w, b, dy):
        _, d_weight, d_bias = xp.nn.linear_backward(x, w, dy, input_gradient=False)
        return xp.nn.sgd_step(w, d_weight, 0.5), xp.nn.sgd_step(b, d_bias, 0.5), d_weight

    check_against_twins(xp, step, (5, 4), (4, 3), (3,), (5, 3))


def test_a_weight_that_is_used_between_its_gradient_and_its_step_is_the_old_one(xp):
    def step(xp, x, w, b, dy):
        _, d_weight, d_bias = xp.nn.linear_backward(x, w, dy, input_gradient=False)
        b = xp.nn.sgd_step(b, d_bias, 0.5)
        y = xp.nn.linear(x, w, b)
        return xp.nn.sgd_step(w, d_weight, 0.5), b, y

    check_against_twins(xp, step, (5, 4), (4, 3), (3,), (5, 3))


def test_a_hidden_gradient_that_is_returned_is_the_layers_own(xp):
    def step(xp, x, w, b, dy):
        y = xp.nn.sigmoid(x)
        dx, _, _ = xp.nn.linear_backward(y, w, dy)
        return dx, xp.nn.sigmoid_backward(y, dx)

    check_against_twins(xp, step, (5, 4), (4, 3), (3,), (5, 3))


def test_an_input_that_is_changed_before_the_step_of_a_weight_is_the_old_one(xp):
    def step(xp, x, w, b, dy, dx):
        _, d_weight, d_bias = xp.nn.linear_backward(x, w, dy, input_gradient=False)
        x = xp.nn.sgd_step(x, dx, 0.5)
        return x, xp.nn.sgd_step(w, d_weight, 0.5), xp.nn.sgd_step(b, d_bias, 0.5)

    check_against_twins(xp, step, (5, 4), (4, 3), (3,), (5, 3), (5, 4))


def test_an_activation_that_is_changed_before_its_gradient_is_the_new_one(xp):
    def step(xp, x, w, dy, g):
        y = xp.nn.sigmoid(x)
        dx, _, _ = xp.nn.linear_backward(y, w, dy)
        y = xp.nn.sgd_step(y, g, 0.5)
        return xp.nn.sigmoid_backward(y, dx)

    check_against_twins(xp, step, (5, 4), (4, 3), (5, 3), (5, 4))


def test_a_hidden_gradient_in_another_place_is_not_fused(xp):
    def step(xp, x, w, dy):
        dx, _, _ = xp.nn.linear_backward(x, w, dy)
        return xp.nn.relu_backward(dx, x)

    check_against_twins(xp, step, (5, 4), (4, 3), (5, 3))


def test_what_a_layer_returned_stays_beside_its_activation(xp):
    def step(xp, x, w, b):
        z = xp.nn.linear(x, w, b)
        return xp.nn.relu(z), z, xp.nn.tanh(z)

    check_against_twins(xp, step, (5, 4), (4, 3), (3,))


def check_against_twins(xp, step, *shapes):
    random = numpy.random.default_rng(2)
    start = [random.normal(size=shape) for shape in shapes]
    own = [xp.asarray(x, copy=True) for x in start]
    compiled = xp.compile(step)
    plain = [x.copy() for x in start]
    for _ in range(6):
        found = compiled(xp, *own)
        expected = step(PLAIN, *plain)
        for one, other in zip(found, expected, strict=True):
            numpy.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    assert compiled.report == ""


def test_a_capture_that_fails_leaves_the_step_as_it_is_and_says_why(xp, monkeypatch):
    def refuse(self):
        raise RuntimeError("cudaErrorStreamCaptureUnsupported: no")

    monkeypatch.setattr(cuda_on_host.Stream, "begin_capture", refuse)
    model, data = xpnet.mlp(11, 3), make_data()
    mine, plain = (make_trainer(on, model, data) for on in (xp, PLAIN))
    losses = train(mine, len(data)), train(plain, len(data))
    numpy.testing.assert_allclose(*losses, rtol=1e-10)
    assert mine.compiled.report == "RuntimeError: cudaErrorStreamCaptureUnsupported: no"


def test_dropout_is_captured_and_trains_as_in_the_twin(xp):
    layers = xpnet.Linear(11, 9), xpnet.ReLU(), xpnet.Dropout(0.5), xpnet.Linear(9, 9), xpnet.Dropout(0.2)
    model, data = xpnet.Sequential(*layers, xpnet.Linear(9, 3)), make_data()
    mine, plain = (make_trainer(on, model, data) for on in (xp, PLAIN))
    numpy.testing.assert_allclose(train(mine, len(data)), train(plain, len(data)), rtol=1e-10)
    assert mine.compiled.report == ""
    assert all(program.captures for program in programs_of(mine))


def test_programs_are_released_with_the_trainer(xp):
    model, data = xpnet.mlp(11, 9, 3, activation="relu"), make_data()
    trainer = make_trainer(xp, model, data)
    train(trainer, len(data))
    programs = [weakref.ref(program) for program in programs_of(trainer)]
    gc.disable()
    try:
        trainer.close()
        assert [program() for program in programs] == [None, None]
    finally:
        gc.enable()


def test_arrays_made_while_tracing_are_released(xp):
    made = []

    @steps.noting
    def step(xp, x, w, b, dy):
        y = xp.nn.sigmoid(x)
        made.append(weakref.ref(y))
        _, d_weight, d_bias = xp.nn.linear_backward(y, w, dy)
        return xp.nn.sgd_step(w, d_weight, 0.5), xp.nn.sgd_step(b, d_bias, 0.5)

    check_against_twins(xp, step, (5, 4), (4, 3), (3,), (5, 3))
    gc.collect()
    assert made
    assert not any(reference() is not None for reference in made)


def test_result_that_is_returned_twice_is_one_array(xp):
    def step(xp, x, w, b):
        y = xp.nn.relu(xp.nn.linear(x, w, b))
        return y, y

    compiled = xp.compile(step)
    arrays = [xp.asarray(numpy.ones(shape)) for shape in ((5, 4), (4, 3), (3,))]
    for _ in range(6):
        one, other = compiled(xp, *arrays)
        assert one is other
    assert compiled.report == ""


def test_trial_looks_at_the_change_of_a_total(xp, package, monkeypatch):
    """An error in a small loss is small relative to a large total."""
    add = package.fusion._add_loss
    wrong = lambda name, weight, *arrays: add(name, 3 * weight, *arrays)  # noqa: E731
    monkeypatch.setattr(package.fusion, "_add_loss", wrong)

    def step(xp, total, x, w, b, targets):
        loss, d_y = xp.nn.squared_error(xp.nn.linear(x, w, b), targets)
        _, d_w, d_b = xp.nn.linear_backward(x, w, d_y, input_gradient=False)
        return xp.nn.accumulate(total, loss, 0.5), xp.nn.sgd_step(w, d_w, 0.1), xp.nn.sgd_step(b, d_b, 0.1)

    compiled = xp.compile(step)
    x, w, b, y = (xp.asarray(numpy.ones(shape)) for shape in ((5, 4), (4, 3), (3,), (5, 3)))
    total = xp.asarray(numpy.array(1e11))
    for _ in range(2):
        total, w, b = compiled(xp, total, x, w, b, y)
    assert "gives other results" in compiled.report


class OnDevice(cuda_on_host.Array):
    """An array that does not mix with NumPy's, as CuPy's do not."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if any(type(x) is numpy.ndarray and x.ndim for x in inputs):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        out = options.pop("out", ())
        hosts = [numpy.asarray(x) if isinstance(x, OnDevice) else x for x in inputs]
        made = getattr(ufunc, method)(*hosts, **options, **({"out": (numpy.asarray(out[0]),)} if out else {}))
        return out[0] if out else cuda_on_host.own(made)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_large_parameters_are_compared_on_the_host(optimizer, xp, monkeypatch):
    """Size does not distinguish the images of a data set from a parameter."""
    monkeypatch.setattr(xpnet.replay.trial, "DATA_SET", 1)
    monkeypatch.setattr(cuda_on_host, "Array", OnDevice)
    images = numpy.random.default_rng(0).random((22, 11))
    data = xpnet.Dataset(images, numpy.arange(22) % 3)
    mine, plain = (make_trainer(on, xpnet.mlp(11, 9, 3), data, optimizer=optimizer) for on in (xp, PLAIN))
    numpy.testing.assert_allclose(train(mine, len(data)), train(plain, len(data)), rtol=1e-10)
    mine.params = {name: xp.to_host(p) for name, p in mine.params.items()}
    assert_trained_alike(mine, plain)


def test_training_continues_after_a_failed_launch(xp):
    trainer, plain = (make_trainer(on, xpnet.mlp(11, 3), data := make_data(n=16)) for on in (xp, PLAIN))
    train(trainer, len(data))
    train(plain, len(data))
    program = programs_of(trainer)[0]
    graph, program._graph = program._graph, mock.Mock(launch=mock.Mock(side_effect=MemoryError))
    with pytest.raises(MemoryError):
        trainer.epoch(numpy.arange(16, dtype=numpy.int32))
    assert graph is not program._graph
    numpy.testing.assert_allclose(train(trainer, len(data)), train(plain, len(data)), rtol=1e-10)


def test_a_rate_that_is_an_array_is_not_taken_for_a_number(xp):
    def step(xp, x, w, b, dy, lr):
        _, d_weight, d_bias = xp.nn.linear_backward(x, w, dy, input_gradient=False)
        return xp.nn.sgd_step(w, d_weight, lr), xp.nn.sgd_step(b, d_bias, lr)

    compiled = xp.compile(step)
    compiled(xp, *[xp.asarray(numpy.ones(shape)) for shape in ((5, 4), (4, 3), (3,), (5, 3), ())])
    (program,) = compiled.programs
    assert [task.name for task in program.tasks] == ["linear_gradient", "sgd_step", "sgd_step"]
