import pytest

import xpnet
from xpnet import Linear, ReLU, Sequential, Sigmoid, Tanh


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
    assert repr(Sequential(ReLU())) == "Sequential(layers=(ReLU(),))"
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
        (lambda: xpnet.mlp(784), ValueError, "`sizes` must name inputs and outputs at least"),
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
