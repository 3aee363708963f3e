"""Layers with state: batch normalisation, and one of a user's own."""

import numpy as np
import pytest
from checking import assert_close, assert_gradient
from groups import Pretended

import xpnet
from xpnet import BatchNorm, Conv2d, Dataset, Flatten, Linear, ReLU, Residual, Sequential, Unflatten
from xpnet.descriptions import build, describe
from xpnet.layer import state_shapes

STATE = "mean", "variance"


def sample(*shape, seed=0):
    return np.random.Generator(np.random.Philox(seed)).standard_normal(shape)


def on(xp, arrays, dtype="float64"):
    return {name: xp.asarray(np.array(x, dtype)) for name, x in arrays.items()}


def host(xp, arrays):
    return {name: np.array(xp.to_host(x)) for name, x in arrays.items()}


def network(*, momentum=0.1):
    """Return a network with state in several places, one of them nested."""
    return Sequential(
        Unflatten(4, 3),
        Conv2d(1, 2, 3),
        BatchNorm(2, momentum),
        ReLU(),
        Residual(BatchNorm(2), Conv2d(2, 2, 1)),
        Flatten(),
        Linear(24, 3),
    )


NETWORK_STATE = {
    **{f"2.{name}": (2,) for name in STATE},
    **{f"4.0.{name}": (2,) for name in STATE},
}


class Average:
    """Subtracts the mean of all batches so far; with the number of batches as its state."""

    shapes = {"scale": ()}  # noqa: RUF012
    state_shapes = {"count": (), "mean": ()}  # noqa: RUF012

    def init(self, xp, seed, *, dtype="float32"):
        zero = xp.zeros((), dtype=getattr(xp, str(dtype)))
        return {"scale": zero + 1, "count": zero, "mean": zero + 0}

    def __call__(self, xp, params, x, *, stream=None):
        centred = x - params["mean"]

        def pullback(dy, *, input_gradient=True):
            return dy * params["scale"], {"scale": xp.sum(dy * centred)}

        return centred * params["scale"], pullback

    def train(self, xp, params, x, *, stream=None):
        count = params["count"] + 1
        mean = params["mean"] + (xp.mean(x) - params["mean"]) / count
        return *self(xp, params, x), {"count": count, "mean": mean}


@pytest.mark.parametrize("shape", [(6, 3), (2, 4, 5, 3), (1, 2, 2, 3)])
def test_batch_norm_in_training_is_its_formula(xp64, shape):
    layer, x = BatchNorm(3, momentum=0.25, eps=1e-3), sample(*shape) + 2
    params = {name: sample(3, seed=i) ** 2 for i, name in enumerate((*layer.shapes, *layer.state_shapes))}
    y, _, state = layer.train(xp64, on(xp64, params), xp64.asarray(x))
    rows = x.reshape(-1, 3)
    normal = (x - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3)
    assert_close(xp64, y, normal * params["scale"] + params["shift"])
    assert_close(xp64, state["mean"], 0.75 * params["mean"] + 0.25 * rows.mean(0))
    assert_close(xp64, state["variance"], 0.75 * params["variance"] + 0.25 * rows.var(0, ddof=1))
    y, _ = layer(xp64, on(xp64, params), xp64.asarray(x))
    normal = (x - params["mean"]) / np.sqrt(params["variance"] + 1e-3)
    assert_close(xp64, y, normal * params["scale"] + params["shift"])


def test_variance_of_a_channel_with_a_large_mean_keeps_its_precision(numpy_xp):
    x = (sample(64, 1) + 1e4).astype("float32")
    variance = numpy_xp.nn.batch_norm_training(x, np.ones(1, "float32"), np.zeros(1, "float32"), eps=1e-5)[2]
    assert variance == pytest.approx(x.astype("float64").var(0, ddof=1), rel=1e-3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (BatchNorm(3), (6, 3)),
        (BatchNorm(3), (2, 4, 5, 3)),
        (Residual(Linear(3, 3), BatchNorm(3), ReLU()), (6, 3)),
        (network(), (6, 12)),
    ],
)
def test_gradients_in_training_agree_with_finite_differences(xp64, layer, shape):
    x, params = sample(*shape), layer.init(xp64, 1, dtype="float64")
    fixed = host(xp64, params)

    def outputs(x, **changed):
        return layer.train(xp64, on(xp64, fixed) | changed, x)

    y, pullback, _ = outputs(xp64.asarray(x))
    dy = xp64.asarray(sample(*y.shape, seed=2))
    dx, grads = pullback(dy)
    assert grads.keys() == layer.shapes.keys()
    assert_gradient(xp64, lambda x: xp64.sum(outputs(x)[0] * dy), x, xp64.to_host(dx), tolerance=1e-6)
    for name in layer.shapes:

        def loss(p, name=name):
            return xp64.sum(outputs(xp64.asarray(x), **{name: p})[0] * dy)

        assert_gradient(xp64, loss, fixed[name], xp64.to_host(grads[name]), tolerance=1e-6)


def test_state_has_the_names_of_its_layers_and_is_no_parameter(xp):
    model = network()
    assert model.state_shapes == NETWORK_STATE
    assert model.shapes.keys().isdisjoint(NETWORK_STATE)
    params = model.init(xp, 0)
    assert params.keys() == model.shapes.keys() | NETWORK_STATE.keys()
    _, _, state = model.train(xp, params, xp.asarray(sample(5, 12).astype("float32")))
    assert state.keys() == NETWORK_STATE.keys()
    assert Sequential(Linear(3, 2), ReLU()).state_shapes == state_shapes(ReLU()) == {}


def test_running_statistics_are_the_same_bits_on_every_backend(xp):
    layer = BatchNorm(4, momentum=0.5)
    params = layer.init(xp, 0)
    expected = {"mean": np.zeros(4), "variance": np.ones(4)}
    for seed in range(5):
        # Means of 16 whole numbers are exact, and so are variances of 16 numbers that are 0 or 30.
        rows = np.random.default_rng(seed).permuted(np.repeat([[0.0, 30.0]], 8, 1), axis=1).T
        x = np.concatenate([rows + seed] * 4, axis=1)
        _, _, state = layer.train(xp, params, xp.asarray(x.astype("float32")))
        params = params | state
        for name, value in (("mean", x.mean(0)), ("variance", x.var(0, ddof=1))):
            expected[name] = 0.5 * expected[name] + 0.5 * value
    for name in STATE:
        np.testing.assert_array_equal(xp.to_host(params[name]), expected[name])


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 12)).astype("uint8")
    return Dataset(pixels, (pixels[:, :6].mean(1) > pixels[:, 6:].mean(1)).astype(int) + 1)


def train(xp, model, data, **options):
    options = {"epochs": 3, "batch_size": 16, "optimizer": xpnet.Momentum(0.1), "seed": 3} | options
    return xpnet.fit(xp, model, data, test=data, progress=False, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_changes_the_state_in_a_compiled_step(backend, images, dtype):
    run = train(backend, network(), images, dtype=dtype)
    plain = train(xpnet.Namespace("plain", np), network(), images, dtype=dtype)
    assert run.report == ""
    assert run.params.keys() == plain.params.keys()
    initial = network().init(backend, 3, dtype=dtype)
    for name, x in host(backend, run.params).items():
        assert x.dtype == dtype
        assert (x != backend.to_host(initial[name])).any()
        np.testing.assert_allclose(
            x, plain.params[name], rtol=1e-3 if dtype == "float32" else 1e-9, atol=1e-5
        )


@pytest.mark.parametrize("optimizer", [xpnet.Adam(0.01), xpnet.AdamW(0.01)], ids=repr)
def test_step_is_compiled_although_gradients_of_biases_are_rounding_errors(backend, images, optimizer):
    assert train(backend, network(), images, optimizer=optimizer).report == ""


def test_each_step_moves_the_state_once(backend, images):
    xp, momentum = backend, 0.5
    model = Sequential(BatchNorm(12, momentum), Linear(12, 3))
    run = train(xp, model, images, batch_size=64, epochs=4)
    x = images.images.astype("float64") / 255
    left = 0.5**4
    assert_close(xp, run.params["0.mean"], (1 - left) * x.mean(0), dtype="float32", factor=4)
    expected = left + (1 - left) * x.var(0, ddof=1)
    assert_close(xp, run.params["0.variance"], expected, dtype="float32", factor=4)


def test_snapshots_of_the_state_are_not_changed_by_later_epochs(backend, images):
    kept = []
    train(
        backend,
        network(),
        images,
        callbacks=[lambda run: kept.append((run.params, host(backend, run.params)))],
    )
    for params, then in kept:
        for name, x in then.items():
            np.testing.assert_array_equal(backend.to_host(params[name]), x)
    assert any((kept[0][1][name] != kept[-1][1][name]).any() for name in NETWORK_STATE)


def test_initial_state_may_be_passed_on(backend, images):
    first = train(backend, network(), images)
    second = train(backend, network(), images, params=first.params, optimizer=xpnet.SGD(1e-30), epochs=1)
    for name in ("2.mean", "4.0.variance"):
        assert (backend.to_host(second.params[name]) != 0).all()
    for name in network().shapes:
        np.testing.assert_array_equal(
            backend.to_host(first.params[name]), backend.to_host(second.params[name])
        )


def test_row_gives_the_same_bits_alone_and_in_a_batch(backend):
    xp, layer = backend, Sequential(BatchNorm(5), ReLU(), Residual(BatchNorm(5)))
    params = layer.init(xp, 0)
    for seed in range(3):
        _, _, state = layer.train(xp, params, xp.asarray(sample(7, 5, seed=seed).astype("float32")))
        params = params | state
    x = sample(7, 5).astype("float32")
    whole = xp.to_host(layer(xp, params, xp.asarray(x))[0])
    for i in range(7):
        np.testing.assert_array_equal(xp.to_host(layer(xp, params, xp.asarray(x[i : i + 1]))[0])[0], whole[i])


@pytest.mark.parametrize("optimizer", [xpnet.Adam(0.01), xpnet.SGD(0.1)])
def test_saved_model_has_its_state(backend, images, optimizer, tmp_path):
    run = train(backend, network(), images, optimizer=optimizer)
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", backend)
    assert loaded.model == run.model
    for name, x in host(backend, run.params).items():
        np.testing.assert_array_equal(backend.to_host(loaded.params[name]), x)
    np.testing.assert_array_equal(loaded.predict_outputs(images), run.predict_outputs(images))
    assert loaded.evaluate(images) == run.evaluate(images)


def test_file_without_the_state_is_refused(numpy_xp, images, tmp_path):
    run = train(numpy_xp, Sequential(Linear(12, 3)), images)
    run.model = Sequential(Linear(12, 3), BatchNorm(3))
    run.params |= {name: np.ones(3, "float32") for name in ("1.scale", "1.shift", "1.mean", "1.variance")}
    run.save(tmp_path / "model")
    assert xpnet.load(tmp_path / "model", numpy_xp).params.keys() == run.params.keys()
    run.params.pop("1.mean")
    with pytest.raises(ValueError, match=r"`params` has .*, but the model has .*1\.mean"):
        run.evaluate(images)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"mean": np.zeros(4, "float32")}, ValueError, r"`mean` has shape \(4,\), but this layer has \(3,\)"),
        ({"variance": np.ones(3)}, TypeError, "`x` is float32, but `variance` is float64"),
        ({"variance": [1.0] * 3}, TypeError, "`variance` is a builtins.list"),
        (None, ValueError, "`params` has no 'mean'; pass what `init` returned"),
    ],
)
def test_wrong_state_is_refused(numpy_xp, state, error, message):
    layer, x = BatchNorm(3), np.ones((2, 3), "float32")
    good = layer.init(numpy_xp, 0)
    params = {name: good[name] for name in layer.shapes} if state is None else good | state
    for call in (layer, layer.train):
        with pytest.raises(error, match=message):
            call(numpy_xp, params, x)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_single_row_in_training_is_refused_with_its_shape(xp, shape):
    layer, x = BatchNorm(3), xp.ones(shape, dtype=xp.float32)
    with pytest.raises(
        ValueError, match=rf"^`x` has shape \({str(shape)[1:-1]}\), but BatchNorm in training"
    ):
        layer.train(xp, layer.init(xp, 0), x)
    assert layer(xp, layer.init(xp, 0), x)[0].shape == shape


def test_last_batch_of_one_row_is_refused_before_training(numpy_xp, images):
    model = Sequential(Linear(12, 3), BatchNorm(3))
    with pytest.raises(ValueError, match=r"^`x` has shape \(1, 3\), but BatchNorm in training needs more"):
        train(numpy_xp, model, images, batch_size=63)


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 3, 3), (0, 3), (1, 0, 2, 3)])
def test_rows_and_images_of_other_shapes_are_refused(numpy_xp, shape):
    layer, x = BatchNorm(3), np.ones(shape, "float32")
    for call in (layer, layer.train):
        with pytest.raises(
            ValueError, match=r"^`x` has shape .*, but this layer takes \(batch, 3\) or images"
        ):
            call(numpy_xp, layer.init(numpy_xp, 0), x)


def test_layer_with_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"layer 1: takes 4 features or channels, but is given \(3,\)"):
        Sequential(Linear(2, 3), BatchNorm(4))
    with pytest.raises(
        ValueError, match=r"layer 1: takes 3 features or channels, but is given .None, None, 4."
    ):
        Sequential(Conv2d(1, 4, 3), BatchNorm(3))


@pytest.mark.parametrize("nested", [lambda layer: layer, Sequential, Residual])
def test_layer_of_a_users_own_may_have_state(backend, images, nested, tmp_path):
    model = Sequential(Linear(12, 3), nested(Average()))
    run = train(backend, model, images, epochs=2, batch_size=16)
    prefix = "1." if nested(1.0 and Average()).__class__ is Average else "1.0."
    assert model.state_shapes == {f"{prefix}count": (), f"{prefix}mean": ()}
    # 4 steps in each of 2 epochs; classes of a user's own are not rehearsed.
    assert float(run.params[f"{prefix}count"]) == 8
    assert float(run.params[f"{prefix}mean"]) != 0
    run.save(tmp_path / "model")
    loaded = xpnet.load(tmp_path / "model", backend, model=model)
    assert float(loaded.params[f"{prefix}count"]) == 8
    np.testing.assert_array_equal(loaded.predict(images), run.predict(images))


def test_layer_with_state_needs_train_and_names_of_its_own():
    class NoTrain(Average):
        train = None

    class OwnCall(Average):
        def __call__(self, xp, params, x, *, stream=None):
            return super().__call__(xp, params, x)

    class Twice(Average):
        state_shapes = {"scale": ()}  # noqa: RUF012

    for kind in (NoTrain, OwnCall):
        with pytest.raises(TypeError, match=r"layer 0, .* has `state_shapes` but no `train`; write one that"):
            Sequential(kind())
    with pytest.raises(ValueError, match=r"layer 0, .* has scale both as parameter and as state; rename one"):
        Sequential(Twice())


def test_layer_that_returns_no_new_state_is_named(numpy_xp):
    class Forgetful(Average):
        def train(self, xp, params, x, *, stream=None):
            return *self(xp, params, x), {"mean": params["mean"]}

    model = Sequential(Forgetful())
    with pytest.raises(ValueError, match=r"`train` of layer 0, .*Forgetful.* returned no new state 'count'"):
        model.train(numpy_xp, model.init(numpy_xp, 0), np.ones((2, 3), "float32"))


def test_model_whose_class_has_a_call_of_its_own_is_trained_by_it(numpy_xp, images):
    class Doubled(Sequential):
        calls = 0

        def __call__(self, xp, params, x, *, stream=None):
            Doubled.calls += 1
            return super().__call__(xp, params, x, stream=stream)

    train(numpy_xp, Doubled(Linear(12, 3)), images, epochs=1)
    assert Doubled.calls >= 4


def test_synchronised_layer_of_one_process_is_the_usual_one(xp):
    x, dy = (xp.asarray(sample(6, 3).astype("float32")) for _ in range(2))
    made = []
    for layer in (BatchNorm(3, sync=True), BatchNorm(3)):
        for group in (None, xpnet.distributed.ALONE):
            own = xp if group is None else xp.with_group(group)
            y, pullback, state = layer.train(own, layer.init(xp, 0), x)
            dx, grads = pullback(dy)
            made.append([xp.to_host(a).tobytes() for a in (y, dx, *state.values(), *grads.values())])
    assert all(one == made[0] for one in made)


def test_synchronised_layer_takes_a_single_row_if_other_processes_have_more(numpy_xp):
    layer, x = BatchNorm(3, sync=True), np.ones((1, 3), "float32")
    params = layer.init(numpy_xp, 0)
    with pytest.raises(ValueError, match="BatchNorm in training needs more than one row"):
        layer.train(numpy_xp, params, x)
    xp = numpy_xp.with_group(Pretended(2))
    with pytest.raises(ValueError, match=r"leaves no batch of one to a process, or pass `sync=True`$"):
        BatchNorm(3).train(xp, params, x)
    y, pullback, _ = layer.train(xp, params, x)
    assert np.array_equal(y, np.zeros((1, 3)))
    assert np.isfinite(pullback(np.ones_like(x))[0]).all()


def test_synchronised_layer_sums_three_short_arrays(numpy_xp):
    group, layer = Pretended(2), BatchNorm(3, sync=True)
    xp = numpy_xp.with_group(group)
    y, pullback, _ = layer.train(xp, layer.init(xp, 0), sample(6, 3).astype("float32"))
    assert group.sums == [(4,), (3,)]
    pullback(np.ones_like(y), input_gradient=False)
    assert group.sums == [(4,), (3,)]
    pullback(np.ones_like(y))
    assert group.sums == [(4,), (3,), (2, 3)]


def test_layer_is_synchronised_only_if_it_says_so():
    assert str(Sequential(BatchNorm(16, sync=True), BatchNorm(16))) == (
        "Sequential(BatchNorm(16, sync=True), BatchNorm(16))"
    )
    with pytest.raises(TypeError, match="`sync` must be True or False, got 'yes'"):
        BatchNorm(3, sync="yes")
    # Files of layers that are not synchronised are those of earlier versions.
    assert "sync" not in describe(BatchNorm(3))
    for layer in (BatchNorm(3), BatchNorm(3, sync=True)):
        assert build(describe(layer)) == layer
