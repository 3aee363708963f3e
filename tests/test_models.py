import copy
import pickle
import re

import numpy as np
import pytest

import xpnet
from xpnet import Linear, ReLU, Sequential, Sigmoid, Softmax, Tanh


def test_mlp_has_an_activation_after_every_layer_but_the_last():
    assert xpnet.mlp(784, 64, 32, 10, activation="relu") == Sequential(
        Linear(784, 64, "he_normal"),
        ReLU(),
        Linear(64, 32, "he_normal"),
        ReLU(),
        Linear(32, 10, "he_normal"),
    )


@pytest.mark.parametrize(("activation", "layer"), [("sigmoid", Sigmoid()), ("tanh", Tanh())])
def test_mlp_scales_weights_by_one_over_n(activation, layer):
    model = xpnet.mlp(3, 2, 1, activation=activation)
    assert model == Sequential(Linear(3, 2, "lecun_normal"), layer, Linear(2, 1, "lecun_normal"))


def test_mlp_without_hidden_layer_is_linear():
    assert xpnet.mlp(784, 10) == Sequential(Linear(784, 10))


def test_parameters_carry_the_number_of_their_layer():
    model = Sequential(Linear(4, 3), ReLU(), Sequential(Linear(3, 2), ReLU()))
    assert model.shapes == {
        "0.weight": (4, 3),
        "0.bias": (3,),
        "2.0.weight": (3, 2),
        "2.0.bias": (2,),
    }
    assert (model.n_in, model.n_out) == (4, 2)


def test_model_is_plain_data():
    assert repr(Sequential(ReLU())) == "Sequential(ReLU())"
    assert Sequential(ReLU()) == Sequential(ReLU())
    assert len({Sequential(ReLU()), Sequential(ReLU())}) == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential(), ValueError, "a model needs at least one layer, got none"),
        (
            lambda: Sequential(Linear(4, 3), ReLU(), Linear(5, 2)),
            ValueError,
            "layer 2 takes 5 features, but la",
        ),
        (lambda: Sequential(ReLU), TypeError, "layer 0 is <class .*ReLU'>; pass layers, such as"),
        (lambda: Sequential("relu"), TypeError, "layer 0 is 'relu'; pass layers, such as"),
        (lambda: xpnet.mlp(784), ValueError, "`sizes` must have at least inputs and outputs"),
        (
            lambda: xpnet.mlp(2, 1, activation="swish"),
            ValueError,
            "unknown activation 'swish': choose one of sig",
        ),
    ],
)
def test_bad_models_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_model_of_models_knows_its_widths():
    model = Sequential(Sequential(ReLU()), Sequential(Linear(12, 3)), Sequential(Sequential(Softmax())))
    assert (model.n_in, model.n_out) == (12, 3)
    assert model.shapes == {"1.0.weight": (12, 3), "1.0.bias": (3,)}


@pytest.mark.parametrize(
    "layers",
    [
        (Linear(12, 3), Sequential(ReLU()), Linear(5, 2)),
        (Sequential(Linear(12, 3), ReLU()), Sequential(ReLU()), Sequential(Sequential(Linear(5, 2)))),
        (Linear(12, 3), Sequential(ReLU(), Linear(5, 2))),
    ],
)
def test_widths_are_checked_across_nested_models(layers):
    with pytest.raises(ValueError, match=r"layer \d takes 5 features, but layer 0 gives 3"):
        Sequential(*layers)


def test_deeply_nested_model_asks_each_layer_once():
    class Counted(Linear):
        asked = 0

        @property
        def shapes(self):
            Counted.asked += 1
            return super().shapes

    model = Sequential(Counted(3, 3), Counted(3, 3))
    for _ in range(60):
        model = Sequential(ReLU(), model)
    assert (model.n_in, model.n_out, len(model.shapes)) == (3, 3, 4)
    assert Counted.asked <= 4


def test_deeply_nested_model_is_used_copied_and_compared(numpy_xp):
    model, other = (Sequential(Linear(3, 3), Linear(3, n)) for n in (3, 2))
    for _ in range(60):
        model, other = Sequential(ReLU(), model), Sequential(ReLU(), other)
    assert model != other
    params = model.init(numpy_xp, 0)
    x = numpy_xp.ones((2, 3), dtype=numpy_xp.float32)
    assert model(numpy_xp, params, x)[0].shape == (2, 3)
    assert model == pickle.loads(pickle.dumps(model)) == copy.deepcopy(model)
    assert hash(model) == hash(copy.copy(model))


class Scale:
    """Multiplies by a learned number; the layer has only what `Sequential` requires."""

    def __init__(self, make=None, shapes=None):
        self.make = make or (lambda xp, dtype: {"scale": xp.ones((), dtype=getattr(xp, dtype))})
        self.shapes = shapes or {"scale": []}

    def init(self, xp, seed, *, dtype="float32"):
        return self.make(xp, dtype)

    def __call__(self, xp, params, x, *, stream=None):
        def pullback(dy, *, input_gradient=True):
            return dy * params["scale"], {"scale": xp.sum(dy * x)}

        return x * params["scale"], pullback


def test_users_layer_needs_no_widths(backend, dataset):
    model = Sequential(Scale(), Linear(12, 3), Scale(), Softmax())
    assert (model.n_in, model.n_out, model.shapes["0.scale"]) == (12, 3, ())
    run = xpnet.fit(backend, model, dataset, optimizer=xpnet.Adam(0.05), epochs=5, batch_size=16)
    assert run.history[-1].train_loss < run.history[0].train_loss
    assert run.evaluate(dataset).accuracy > 0.9


def test_error_names_a_users_layer_with_other_features():
    class Pairs(Scale):
        n_out = np.int64(6)

    model = Sequential(Pairs(), Linear(6, 2))
    assert (model.n_in, model.n_out) == (None, 2)
    Pairs.n_in = np.uint8(3)
    assert Sequential(ReLU(), Pairs(), Linear(6, 2)).n_in == 3
    with pytest.raises(ValueError, match="layer 1 takes 3 features, but layer 0 gives 2"):
        Sequential(Linear(4, 2), Pairs())


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (
            Scale(lambda xp, dtype: {"scale": 1.0}),
            TypeError,
            r"`params\['1.scale'\]` is a builtins.float, but",
        ),
        (Scale(lambda xp, dtype: {}), ValueError, "`params` has 0.weight, 0.bias, but the model has"),
        (Scale(lambda xp, dtype: {"scale": xp.ones(2)}), ValueError, r"has shape \(2,\) for '1.scale'"),
        (
            Scale(lambda xp, dtype: {"scale": xp.ones((), dtype=xp.float64)}),
            ValueError,
            "`params` mixes float32 and",
        ),
        (
            Scale(lambda xp, dtype: {"scale": xp.ones((), dtype=xp.int64)}),
            TypeError,
            "`params` must be float32 or float64, got int64 for '1.scale'",
        ),
    ],
)
def test_initial_parameters_that_are_not_those_of_the_layer_are_refused(numpy_xp, layer, error, message):
    with pytest.raises(error, match=message):
        Sequential(Linear(2, 2), layer).init(numpy_xp, 0)


def test_initial_parameters_have_the_dtype_asked_for(numpy_xp):
    model = Sequential(Scale(lambda xp, dtype: {"scale": xp.ones((), dtype=xp.float64)}))
    with pytest.raises(ValueError, match="must make parameters of the dtype asked for, 'float32'"):
        model.init(numpy_xp, 0)


@pytest.mark.parametrize("dtype", [">f4", "float16", ">f8", "int64", "longdouble"])
def test_params_of_another_dtype_are_named_and_the_advice_works_when_followed(numpy_xp, dataset, dtype):
    xp, model = numpy_xp, xpnet.mlp(12, 3)
    params = {name: np.asarray(p, dtype=dtype) for name, p in model.init(xp, 0).items()}
    for _ in params:
        with pytest.raises(
            TypeError, match=r"^`params` must be float32 or float64, got .* for '0\."
        ) as error:
            xpnet.evaluate(xp, model, params, dataset)
        name, advice = re.search(r"for '([\w.]+)'; pass `(.*)`$", str(error.value)).groups()
        params[name] = eval(advice, {"xp": xp, "params": params})
    assert xpnet.evaluate(xp, model, params, dataset).confusion.sum() == 90


def test_params_of_another_library_are_named_so_that_the_advice_works_when_followed(numpy_xp, dataset):
    xp, model = numpy_xp, xpnet.mlp(12, 3)
    params = {name: p.tolist() for name, p in model.init(xp, 0).items()}
    for _ in params:
        with pytest.raises(TypeError, match=r"^`params\['0\.\w+'\]` is a builtins\.list, but") as error:
            xpnet.evaluate(xp, model, params, dataset)
        advice = re.search(r"pass `(.*)`$", str(error.value)).group(1)
        name = re.search(r"^`params\['(.*?)'\]`", str(error.value)).group(1)
        params[name] = eval(advice, {"xp": xp, "params": params})
    assert xpnet.evaluate(xp, model, params, dataset).confusion.sum() == 90


def test_params_of_another_model_say_what_to_pass(numpy_xp, dataset):
    params = xpnet.mlp(12, 3, 3).init(numpy_xp, 0)
    with pytest.raises(
        ValueError, match=r"the model has 0\.weight, 0\.bias; pass the `params` of a run of this"
    ):
        xpnet.evaluate(numpy_xp, xpnet.mlp(12, 3), params, dataset)


def test_error_for_params_that_are_not_a_dict_says_what_to_pass(numpy_xp, dataset):
    model = xpnet.mlp(12, 3)
    run = xpnet.fit(numpy_xp, model, dataset, epochs=1, optimizer=xpnet.SGD(0.5))
    for params in (None, run, list(run.params.values())):
        with pytest.raises(
            TypeError, match=r"^`params` must be a dict of arrays, got \w+; pass the `params`"
        ):
            xpnet.evaluate(numpy_xp, model, params, dataset)


def test_error_for_sizes_in_a_list_says_to_write_them_one_by_one():
    with pytest.raises(
        ValueError, match=r"got \(\[784, 64, 10\],\); pass .* for example `mlp\(784, 64, 10\)`$"
    ):
        xpnet.mlp([784, 64, 10])


@pytest.mark.parametrize("model", [None, Linear(12, 3), "mlp"])
def test_error_names_a_value_that_is_not_a_model(numpy_xp, dataset, model):
    with pytest.raises(TypeError, match=r"^`model` must be a Sequential, got .*; pass for example"):
        xpnet.fit(numpy_xp, model, dataset, epochs=1, optimizer=xpnet.SGD(0.5))
    with pytest.raises(TypeError, match=r"^`model` must be a Sequential, got .*; pass for example"):
        xpnet.predict(numpy_xp, model, {}, dataset)


def test_advice_for_a_single_image_works_when_followed(numpy_xp):
    xp, model = numpy_xp, xpnet.mlp(12, 3)
    params, images = model.init(xp, 0), np.zeros((3, 4), dtype=np.uint8)
    with pytest.raises(
        ValueError, match=r"4 features an image, but the model takes 12; if this is a single"
    ) as e:
        xpnet.predict(xp, model, params, images)
    images = eval(re.search(r"pass `(.*)`$", str(e.value)).group(1), {"images": images})
    assert xpnet.predict(xp, model, params, images).shape == (1,)


def test_empty_history_is_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw; pass the `history` of a run"):
        xpnet.plots.history([], tmp_path / "plot.png")
