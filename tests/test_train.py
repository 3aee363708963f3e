import contextlib
import copy
import itertools

import numpy as np
import pytest
from checking import assert_close

import xpnet
from xpnet import Dataset, Dropout, Linear, Momentum, ReLU, Sequential, Sigmoid, Softmax

MODEL = xpnet.mlp(12, 8, 3)


def fit(xp, data, model=MODEL, **options):
    options = {"optimizer": Momentum(1.0), "epochs": 3, "batch_size": 32, "seed": 1} | options
    return xpnet.fit(xp, model, data, **options)


def assert_same_run(run, expected):
    assert [e.train_loss for e in run.history] == [e.train_loss for e in expected.history]
    for name, p in expected.params.items():
        np.testing.assert_array_equal(run.xp.to_host(run.params[name]), expected.xp.to_host(p))


def test_training_learns(xp_int64, dataset):
    run = fit(xp_int64, dataset, test=dataset, epochs=20)
    assert [e.epoch for e in run.history] == list(range(1, 21))
    assert run.history[-1].train_loss < 0.3 * run.history[0].train_loss
    assert run.history[-1].test_accuracy == 1.0
    assert all(e.seconds > 0 for e in run.history)
    assert run.warm_up_seconds > 0


def test_training_runs_on_every_device(xp, dataset):
    run = fit(xp, dataset, epochs=5)
    assert run.history[-1].train_loss < run.history[0].train_loss


def test_backends_agree_to_rounding(xp64, numpy_xp, dataset):
    expected = fit(numpy_xp, dataset, test=dataset, dtype="float64")
    run = fit(xp64, dataset, test=dataset, dtype="float64")
    assert run.initial_sha256 == expected.initial_sha256
    for ours, theirs in zip(run.history, expected.history, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-12)
        assert ours.test_loss == pytest.approx(theirs.test_loss, rel=1e-12)
        assert ours.test_accuracy == theirs.test_accuracy
    for name, p in expected.params.items():
        assert_close(xp64, run.params[name], p, factor=100)


def test_one_epoch_equals_the_steps_written_out(numpy_xp, dataset):
    """The same shuffle, every sample and the ragged batch, in eleven lines of float64 NumPy."""
    run = fit(numpy_xp, dataset, epochs=1, dtype="float64", optimizer=xpnet.SGD(0.5))
    w1, b1, w2, b2 = MODEL.init(numpy_xp, 1, dtype="float64").values()
    order = xpnet.Stream(1, "shuffle").permutation(90)
    losses = []
    for rows in (order[:32], order[32:64], order[64:]):
        x, t = dataset.images[rows] / 255, np.eye(3)[dataset.labels[rows]]
        h = 1 / (1 + np.exp(-(x.dot(w1) + b1)))
        p = np.exp(h.dot(w2) + b2)
        p /= p.sum(axis=1, keepdims=True)
        losses += list(-np.log((p * t).sum(axis=1)))
        dz2 = (p - t) / len(rows)
        dz1 = dz2.dot(w2.T) * h * (1 - h)
        w2, b2 = w2 - 0.5 * h.T.dot(dz2), b2 - 0.5 * dz2.sum(axis=0)
        w1, b1 = w1 - 0.5 * x.T.dot(dz1), b1 - 0.5 * dz1.sum(axis=0)
    assert run.history[0].train_loss == pytest.approx(np.mean(losses), rel=1e-12)
    for p, expected in zip(run.params.values(), (w1, b1, w2, b2), strict=True):
        assert_close(numpy_xp, p, expected, factor=10)


@pytest.mark.parametrize("batch_size", [1, 7, 90, 1000])
def test_every_batch_size_uses_every_sample(numpy_xp, dataset, batch_size):
    seen = []
    gather = numpy_xp.nn.gather_batch

    def spy(images, indices, **options):
        seen.append(indices)
        return gather(images, indices, **options)

    xp = xpnet.Namespace("spy", np, fused={"gather_batch": spy})
    fit(xp, dataset, epochs=1, batch_size=batch_size, optimizer=xpnet.SGD(0.1))
    steps = -(-90 // batch_size)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen[-steps:])), np.arange(90))


def test_final_softmax_is_a_part_of_the_loss(xp_int64, dataset):
    logits = fit(xp_int64, dataset, test=dataset)
    probabilities = fit(xp_int64, dataset, Sequential(*MODEL.layers, Softmax()), test=dataset)
    assert probabilities.history[-1].train_loss == logits.history[-1].train_loss
    np.testing.assert_array_equal(
        probabilities.predict_proba(dataset.images), logits.predict_proba(dataset.images)
    )


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "squared_error"])
def test_one_sigmoid_output_tells_two_classes_apart(xp, dataset, loss):
    binary = Dataset(dataset.images, (dataset.labels == 0).astype(np.int64))
    model = Sequential(Linear(12, 1), Sigmoid())
    run = fit(xp, binary, model, test=binary, loss=loss, epochs=30, optimizer=Momentum(4.0))
    assert run.history[-1].test_accuracy == 1.0
    assert run.predict_proba(binary.images[:5]).shape == (5, 2)
    np.testing.assert_array_equal(run.predict(binary.images[:5]), [1, 0, 0, 1, 0])


def test_dropout_trains_and_is_the_same_everywhere(xp64, numpy_xp, dataset):
    model = Sequential(Linear(12, 16, "he_normal"), ReLU(), Dropout(0.3), Linear(16, 3))
    run = fit(xp64, dataset, model, dtype="float64")
    expected = fit(numpy_xp, dataset, model, dtype="float64")
    assert run.history[-1].train_loss == pytest.approx(expected.history[-1].train_loss, rel=1e-12)


def test_dropout_in_a_model_within_a_model_draws_as_it_does_outside(numpy_xp, dataset):
    first, *others = Linear(12, 16), ReLU(), Dropout(0.3)
    models = Sequential(first, *others, Linear(16, 3)), Sequential(Sequential(first, *others), Linear(16, 3))
    flat, nested = (fit(numpy_xp, dataset, model).history[-1].train_loss for model in models)
    assert nested == flat
    assert nested != fit(numpy_xp, dataset, Sequential(first, ReLU(), Linear(16, 3))).history[-1].train_loss


def test_float_images_enter_unchanged(numpy_xp, dataset):
    pixels = fit(numpy_xp, dataset, scale=1 / 255, offset=-0.5, dtype="float64")
    floats = fit(numpy_xp, Dataset(dataset.images / 255 - 0.5, dataset.labels), dtype="float64")
    assert floats.history[-1].train_loss == pytest.approx(pixels.history[-1].train_loss, rel=1e-12)


def test_loss_refuses_a_model_with_too_few_outputs(numpy_xp, dataset):
    binary = Dataset(dataset.images, (dataset.labels == 0).astype(np.int64))
    with pytest.raises(
        ValueError, match="needs at least 2 outputs, but the model has 1; choose 'sigmoid_cross"
    ):
        fit(numpy_xp, binary, xpnet.mlp(12, 1))


def test_backend_must_be_a_namespace(dataset):
    with pytest.raises(TypeError, match=r"`xp` must be a Namespace, got 'numpy'; pass `xpnet.backend\(\)`"):
        fit("numpy", dataset)


def test_training_goes_on_from_given_parameters(xp_int64, dataset):
    first = fit(xp_int64, dataset, test=dataset)
    before = {name: np.array(xp_int64.to_host(p)) for name, p in first.params.items()}
    second = fit(xp_int64, dataset, test=dataset, params=first.params)
    assert second.history[0].train_loss < first.history[0].train_loss
    assert second.initial_sha256 == xpnet.checkpoint.sha256(before.values())
    for name, p in before.items():
        np.testing.assert_array_equal(xp_int64.to_host(first.params[name]), p)


def test_dtype_may_be_the_namespaces_own(xp64, dataset):
    run = fit(xp64, dataset, dtype=xp64.float64, epochs=1)
    assert run.params["0.weight"].dtype == xp64.float64


def test_dtype_is_that_of_the_parameters(xp64, dataset):
    for dtype in ("float32", "float64"):
        run = fit(xp64, dataset, dtype=dtype, epochs=1)
        assert all(p.dtype == getattr(xp64, dtype) for p in run.params.values())


def test_callbacks_see_every_epoch_and_can_stop(numpy_xp, dataset):
    seen = []
    fit(numpy_xp, dataset, epochs=3, callbacks=[lambda run: seen.append(run.history[-1].epoch)])
    assert seen == [1, 2, 3]
    run = fit(numpy_xp, dataset, epochs=9, callbacks=[lambda run: len(run.history) == 2])
    assert len(run.history) == 2


@pytest.mark.parametrize("wish", [True, np.True_, 1, np.float32(0.5), np.array(True), np.array([1]), "stop"])
def test_anything_true_from_a_callback_ends_the_training(numpy_xp, dataset, wish):
    assert len(fit(numpy_xp, dataset, callbacks=[lambda run: wish, lambda run: None]).history) == 1


@pytest.mark.parametrize("wish", [None, False, np.False_, 0, np.array(0.0), "", []])
def test_nothing_false_from_a_callback_ends_the_training(numpy_xp, dataset, wish):
    assert len(fit(numpy_xp, dataset, callbacks=[lambda run: wish]).history) == 3


def test_an_array_of_the_backend_from_a_callback_ends_the_training(xp, dataset):
    bound = xp.asarray(1e9, dtype=xp.float32)
    run = fit(xp, dataset, callbacks=[lambda run: xp.sum(run.params["0.bias"]) < bound])
    assert len(run.history) == 1


def test_callback_result_that_is_neither_true_nor_false_is_refused(numpy_xp, dataset):
    message = r"a callback returned a ndarray that is neither true nor false \(.*\); return True to end"
    with pytest.raises(TypeError, match=message):
        fit(numpy_xp, dataset, callbacks=[lambda run: run.params["0.bias"]])


async def later(run):
    return None


def piecewise(run):
    yield run


@pytest.mark.parametrize("callback", [piecewise, later])
@pytest.mark.filterwarnings("ignore:coroutine")
def test_callback_whose_code_does_not_run_when_called_is_refused(numpy_xp, dataset, callback):
    with pytest.raises(TypeError, match="whose code has not run; write it as a function without `yield`"):
        fit(numpy_xp, dataset, callbacks=[callback])


def test_values_that_a_callback_keeps_do_not_change(xp, dataset):
    kept, values = [], []

    def keep(run):
        kept.append((run.params, run.history, copy.copy(run)))
        values.append({name: np.array(xp.to_host(p)) for name, p in run.params.items()})

    run = fit(xp, dataset, callbacks=[keep])
    for epoch, (params, history, copied) in enumerate(kept, 1):
        assert copied.params is params
        assert len(history) == len(copied.history) == epoch
        for name, p in params.items():
            np.testing.assert_array_equal(xp.to_host(p), values[epoch - 1][name])
    assert not np.array_equal(values[0]["0.weight"], values[1]["0.weight"])
    assert run.params is kept[-1][0]


def test_parameters_that_a_callback_puts_into_the_run_stay_there(backend, dataset):
    best = []

    def keep(run):
        best[:] = best or [run.params]
        run.params = best[0]

    run = fit(backend, dataset, callbacks=[keep])
    assert run.params is best[0]
    unchanged = fit(backend, dataset)
    assert [e.train_loss for e in run.history] == [e.train_loss for e in unchanged.history]


def test_without_a_test_set_its_results_are_none(numpy_xp, dataset):
    last = fit(numpy_xp, dataset).history[-1]
    assert last.test_loss is None
    assert last.test_accuracy is None


def test_labels_of_a_read_only_data_set_stay(numpy_xp, dataset):
    before = dataset.images.copy()
    fit(numpy_xp, dataset)
    np.testing.assert_array_equal(dataset.images, before)


def test_diverged_training_says_so(numpy_xp, dataset):
    model = xpnet.mlp(12, 8, 8, 3, activation="relu")
    with pytest.raises(
        xpnet.TrainingDivergedError, match=r"mean training loss of epoch 1 is (nan|inf); lower"
    ):
        fit(numpy_xp, dataset, model, optimizer=xpnet.SGD(1e20))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "`epochs` must be a whole number above 0, got 0"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be a whole number above 0, got 0"),
        ({"batch_size": 2.5}, ValueError, "`batch_size` must be a whole number above 0, got 2.5"),
        ({"loss": "hinge"}, ValueError, "unknown loss 'hinge'"),
        ({"dtype": "float16"}, ValueError, "`dtype` must be 'float32' or 'float64', got 'float16'"),
        ({"model": xpnet.mlp(11, 3)}, ValueError, "`train` has 12 features an image, but the model takes 11"),
        (
            {"model": xpnet.mlp(12, 2)},
            ValueError,
            "`train` has the label 2, but the model tells 2 cl",
        ),
        ({"model": Sequential(ReLU())}, ValueError, "the model has no linear layer"),
        ({"model": xpnet.mlp(12, 1)}, ValueError, "`train` has the label 2, but the model tells 2 cl"),
        ({"scale": float("nan")}, ValueError, "`scale` must be a finite number, got nan"),
        ({"optimizer": "sgd"}, TypeError, "`optimizer` must be an optimizer, got 'sgd'; pass for example"),
        ({"optimizer": xpnet.SGD}, TypeError, "`optimizer` must be an optimizer, got <class"),
        ({"callbacks": [3]}, TypeError, r"`callbacks` must be callables, got \[3\]"),
        ({"params": {}}, ValueError, "`params` has nothing, but the model has 0.weight, 0.bias"),
        ({"test": (1, 2)}, TypeError, r"`test` must be a Dataset, got tuple; pass `xpnet.Dataset\("),
    ],
)
def test_arguments_that_do_not_fit_are_refused(numpy_xp, dataset, change, error, message):
    with pytest.raises(error, match=message):
        fit(numpy_xp, dataset, **change)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, StopIteration, RuntimeError])
def test_exception_that_stops_a_training_has_the_run_so_far(backend, dataset, tmp_path, error):
    def fail(run):
        if len(run.history) == 2:
            raise error

    with pytest.raises(error) as caught:
        fit(backend, dataset, test=dataset, epochs=9, callbacks=[fail])
    run, expected = caught.value.run, fit(backend, dataset, test=dataset, epochs=2)
    assert_same_run(run, expected)
    run.save(tmp_path / "model")
    assert_same_run(xpnet.load(tmp_path / "model", backend), expected)


def test_interruption_amid_an_epoch_leaves_the_last_whole_one(backend, dataset, monkeypatch):
    steps = itertools.count(1)

    def interrupt(more):
        if 5 in itertools.islice(steps, more):  # of three per epoch
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def bar(total, what, *, show=None):
        yield interrupt

    with monkeypatch.context() as patch:
        patch.setattr("xpnet.epochs.progress_bar", bar)
        with pytest.raises(KeyboardInterrupt) as caught:
            fit(backend, dataset, epochs=9)
    assert_same_run(caught.value.run, fit(backend, dataset, epochs=1))


def test_interruption_before_the_first_epoch_leaves_the_initial_parameters(backend, dataset):
    class Failing(Momentum):
        def init(self, xp, params):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(backend, dataset, optimizer=Failing(1.0))
    run = caught.value.run
    assert run.history == []
    for name, p in MODEL.init(backend, 1).items():
        np.testing.assert_array_equal(backend.to_host(run.params[name]), backend.to_host(p))


def test_diverged_training_leaves_the_last_good_epoch(backend, dataset):
    model = Sequential(Linear(12, 3))
    with pytest.raises(xpnet.TrainingDivergedError, match="epoch 6 is inf") as caught:
        fit(backend, dataset, model, optimizer=xpnet.SGD(10), loss="squared_error", epochs=9)
    run = caught.value.run
    assert len(run.history) == 5
    assert all(np.isfinite(backend.to_host(p)).all() for p in run.params.values())


def test_training_that_diverges_in_its_last_step_says_so(backend, dataset):
    """The training loss is still finite then, because it was computed before the step."""
    options = {"loss": "squared_error", "batch_size": 90, "test": dataset, "optimizer": xpnet.SGD(1e15)}
    message = "the mean test loss of epoch 2 is inf; lower the learning rate"
    with pytest.raises(xpnet.TrainingDivergedError, match=message) as caught:
        fit(backend, dataset, Sequential(Linear(12, 3)), epochs=2, **options)
    assert len(caught.value.run.history) == 1


def test_parameter_that_is_not_finite_is_divergence(backend, dataset):
    class Losing(xpnet.SGD):
        """Makes a bias infinite, which no loss shows before the next step."""

        def __call__(self, xp, params, grads, state):
            params, state = super().__call__(xp, params, grads, state)
            return params | {"2.bias": params["2.bias"] / xp.zeros_like(params["2.bias"])}, state

    with (
        np.errstate(divide="ignore"),
        pytest.raises(xpnet.TrainingDivergedError, match="a parameter is not finite after epoch 1; lower"),
    ):
        fit(backend, dataset, optimizer=Losing(0.1), epochs=1, batch_size=90)
