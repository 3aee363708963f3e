"""Peers of one's own network: after an epoch they have xpnet's parameters, or they say why they cannot."""

import numpy as np
import pytest
from racing import NAMES, assert_trains_as_xpnet, prepared

import xpnet
from xpnet_bench.peers import PeerUnavailableError
from xpnet_bench.source import Source
from xpnet_bench.workload import Workload

EAGER, COMPILED, JAX, KERAS, SKLEARN = (
    "PyTorch eager",
    "PyTorch compiled",
    "JAX scan",
    "Keras on JAX",
    NAMES[5],
)
ALL = EAGER, JAX, KERAS
# Adam and RMSprop divide by the root of a gradient: where that is near 0, rounding errors grow.
ATOL = 1e-4


def mlp(activation="relu", optimizer=None, **options):
    optimizer = optimizer or xpnet.Momentum(0.5)
    return Workload(xpnet.mlp(784, 24, 10, activation=activation), optimizer, limit=1000, **options)


RULES = {
    "sgd": xpnet.SGD(0.1),
    "sum of gradients": xpnet.SGD(0.05, 0.9),
    "nesterov": xpnet.Nesterov(0.5),
    "adam": xpnet.Adam(0.001),
    "adamw": xpnet.AdamW(0.001, weight_decay=0.1),
    "rmsprop": xpnet.RMSprop(0.001),
    "decay": xpnet.Momentum(0.5, weight_decay=0.01),
}
LACKING = {
    (KERAS, "rmsprop"): "its RMSprop adds epsilon inside the root",
    (SKLEARN, "rmsprop"): "it has no RMSprop",
    (SKLEARN, "adamw"): "it has no decoupled weight decay",
    (SKLEARN, "decay"): "it has no decoupled weight decay",
    (EAGER, "decay"): "the weight decay of its optimizers but AdamW is added to the gradient",
}


def check(name, workload, numpy_xp, lacks=None):
    if lacks is None:
        assert_trains_as_xpnet(prepared(name, workload), workload, numpy_xp, ATOL)
        return
    peer = prepared(name, mlp())
    with pytest.raises(PeerUnavailableError, match=f"peer '{name}' cannot be used: {lacks}; it is left out"):
        peer.prepare(workload)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [*ALL, SKLEARN])
def test_optimizers_take_the_same_steps(name, rule, numpy_xp):
    check(name, mlp(optimizer=RULES[rule]), numpy_xp, LACKING.get((name, rule)))


@pytest.mark.parametrize("rule", ["adamw", "rmsprop", "nesterov"])
def test_optimizers_take_the_same_steps_compiled(rule, numpy_xp):
    check(COMPILED, mlp(optimizer=RULES[rule]), numpy_xp)


@pytest.mark.parametrize("activation", ["tanh", "gelu", "silu"])
@pytest.mark.parametrize("name", [*ALL, SKLEARN])
def test_activations_are_the_same_function(name, activation, numpy_xp):
    lacks = f"it has no {'GELU' if activation == 'gelu' else 'SiLU'}"
    check(name, mlp(activation), numpy_xp, lacks if name == SKLEARN and activation != "tanh" else None)


def cnn(*layers, channels=1):
    return Workload(
        xpnet.Sequential(xpnet.Unflatten(28, 28, channels), *layers),
        xpnet.Momentum(0.1),
        batch_size=64,
        limit=200,
    )


NETWORKS = {
    "strides": cnn(
        xpnet.Conv2d(1, 4, 3, stride=2), xpnet.Tanh(), xpnet.AvgPool2d(3, 2, "same"), xpnet.GlobalAvgPool2d(),
        xpnet.Linear(4, 10),
    ),
    "groups": cnn(
        xpnet.Conv2d(1, 4, (3, 2), padding="valid", dilation=2), xpnet.LeakyReLU(0.1),
        xpnet.Conv2d(4, 8, 3, groups=4), xpnet.LayerNorm(8), xpnet.MaxPool2d(3, 3, "same"), xpnet.Flatten(),
        xpnet.Linear(8 * 8 * 9, 10), xpnet.Softmax(),
    ),
    "padding": cnn(
        xpnet.Conv2d(1, 4, 5, padding=((1, 0), (2, 1))), xpnet.Tanh(), xpnet.AvgPool2d(2), xpnet.Flatten(),
        xpnet.Linear(12 * 13 * 4, 10),
    ),
    "residual": Workload(
        xpnet.Sequential(
            xpnet.Linear(784, 16), xpnet.Residual(xpnet.Sequential(xpnet.Tanh(), xpnet.Linear(16, 16))),
            xpnet.LayerNorm(16), xpnet.Linear(16, 10),
        ),
        xpnet.Momentum(0.5), limit=500,
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ALL)
def test_layers_compute_the_same(name, network, numpy_xp):
    check(name, NETWORKS[network], numpy_xp)


def test_layers_compute_the_same_compiled(numpy_xp):
    check(COMPILED, NETWORKS["groups"], numpy_xp)


BATCH_NORM = Workload(
    xpnet.Sequential(
        xpnet.Unflatten(28, 28), xpnet.Conv2d(1, 4, 3), xpnet.BatchNorm(4), xpnet.Tanh(), xpnet.AvgPool2d(4),
        xpnet.Flatten(), xpnet.Linear(196, 20), xpnet.BatchNorm(20, momentum=0.3), xpnet.Linear(20, 10),
    ),
    xpnet.Momentum(0.1), batch_size=64, limit=200,
)  # fmt: skip


@pytest.mark.parametrize("name", [EAGER, COMPILED, JAX])
def test_running_means_are_the_same(name, numpy_xp):
    check(name, BATCH_NORM, numpy_xp)


def test_keras_has_other_running_variances(numpy_xp):
    lacks = "its BatchNormalization moves towards another estimate of the variance"
    check(KERAS, BATCH_NORM, numpy_xp, lacks)


DROPOUT = Workload(
    xpnet.Sequential(xpnet.Linear(784, 64), xpnet.ReLU(), xpnet.Dropout(0.5), xpnet.Linear(64, 10)),
    limit=4000,
)


@pytest.mark.parametrize("name", ALL)
def test_dropout_draws_masks_of_its_own_in_training_only(name):
    peer, test = prepared(name, DROPOUT), DROPOUT.data()[1]
    peer.epoch(next(DROPOUT.orders(4000)))
    assert DROPOUT.score(peer.outputs(), test)[1] > 0.5
    assert np.array_equal(peer.outputs(), peer.outputs())


class Mystery(xpnet.Tanh):
    pass


@pytest.mark.parametrize("name", ALL)
def test_layer_of_ones_own_is_named_and_not_replaced(name, numpy_xp):
    own = Workload(xpnet.Sequential(xpnet.Linear(784, 8), Mystery(), xpnet.Linear(8, 10)), limit=200)
    check(name, own, numpy_xp, r"there is no translation of Mystery\(\)")


@pytest.fixture
def table(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(3.0, 5.0, size=(300, 4))
    np.savetxt(
        tmp_path / "t.csv", np.c_[x, x[:, 0] - x[:, 1] * 2], delimiter=",", header="a,b,c,d,y", comments=""
    )
    return Source("csv", str(tmp_path / "t.csv"), target=("y",))


VALUES = xpnet.Sequential(xpnet.Standardize(4), xpnet.Linear(4, 8), xpnet.Tanh(), xpnet.Linear(8, 1))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber_error"])
@pytest.mark.parametrize("name", [*ALL, SKLEARN])
def test_values_are_learned_as_xpnet_learns_them(name, loss, table, numpy_xp):
    workload = Workload(VALUES, xpnet.Adam(0.01), loss, batch_size=50, source=table)
    lacks = None if name != SKLEARN or loss == "squared_error" else f"it has no {loss} for these targets"
    check(name, workload, numpy_xp, lacks)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
@pytest.mark.parametrize("name", ALL)
def test_shares_of_classes_are_learned_as_xpnet_learns_them(name, loss, tmp_path, numpy_xp):
    random = np.random.default_rng(0)
    shares = random.dirichlet([1, 1, 1], size=200)
    np.savez(tmp_path / "t.npz", x=random.normal(size=(200, 5)).astype("float32"), y=shares)
    source = Source("npz", str(tmp_path / "t.npz"))
    check(name, Workload(xpnet.mlp(5, 6, 3), xpnet.SGD(0.5), loss, batch_size=32, source=source), numpy_xp)


def test_network_with_two_classes_differs_in_scikit_learn(tmp_path, numpy_xp):
    random = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", x=random.normal(size=(100, 5)), y=random.integers(0, 2, 100))
    workload = Workload(xpnet.mlp(5, 6, 2), source=Source("npz", str(tmp_path / "t.npz")))
    check(SKLEARN, workload, numpy_xp, "with two classes its network has one output")


def test_pictures_with_channels_are_learned_as_xpnet_learns_them(tmp_path, numpy_xp):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, size=(120, 9, 8, 3)).astype("uint8")
    np.savez(tmp_path / "t.npz", x=pixels, y=random.integers(0, 3, 120))
    model = xpnet.Sequential(
        xpnet.Conv2d(3, 4, 3), xpnet.SiLU(), xpnet.AvgPool2d(2), xpnet.Flatten(), xpnet.Linear(64, 3)
    )
    workload = Workload(
        model, xpnet.Momentum(0.1), batch_size=32, source=Source("npz", str(tmp_path / "t.npz"))
    )
    for name in ALL:
        check(name, workload, numpy_xp)
