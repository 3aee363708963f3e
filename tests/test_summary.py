"""The summary of a model counts what the model has."""

import dataclasses
import re

import pytest

import xpnet
from xpnet import BatchNorm, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Residual, Sequential

TABLE = """\
layer               output shape  parameters    bytes
-----------------------------------------------------
0  Linear(784, 64)  (batch, 64)       50,240  200,960
1  Sigmoid()        (batch, 64)            0        0
2  Linear(64, 10)   (batch, 10)          650    2,600
-----------------------------------------------------
parameters  50,890
state       0
bytes       203,560 as float32"""

IMAGES = Sequential(
    Conv2d(1, 8, 3), BatchNorm(8), Residual(Conv2d(8, 8, 3), Sequential(ReLU())), MaxPool2d(), Flatten()
)


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A layer of one's own with a parameter and state."""

    n: int

    @property
    def shapes(self):
        return {"factor": (self.n, 2), "one": ()}

    @property
    def state_shapes(self):
        return {"seen": (self.n,)}

    def train(self, xp, params, x, *, stream=None):
        raise NotImplementedError

    init = __call__ = train


def rows(table):
    """Return the cells of each row, by the number of the layer."""
    cells = [re.split(r" {2,}", line.strip()) for line in table.splitlines()]
    return {first: rest for first, *rest in cells if first[0].isdigit()}


def test_summary_is_a_table_of_layers_and_totals():
    table = xpnet.mlp(784, 64, 10).summary()
    assert isinstance(table, str)
    assert table == TABLE
    assert repr(table) == TABLE  # as a prompt or a notebook shows it


def test_bytes_are_those_of_the_dtype():
    assert xpnet.mlp(784, 64, 10).summary(dtype="float64").endswith("bytes       407,120 as float64")


def test_shape_of_an_input_completes_the_shapes_of_images():
    for shape in ((28, 30), (28, 30, 1)):
        found = rows(IMAGES.summary(shape))
        assert found["0"][1:] == ["(batch, 28, 30, 8)", "80", "320"]
        assert found["3"][1:] == ["(batch, 14, 15, 8)", "0", "0"]
        assert found["4"][1:] == ["(batch, 1680)", "0", "0"]


def test_lengths_that_are_not_known_are_question_marks():
    found = rows(IMAGES.summary())
    assert found["0"][1] == "(batch, ?, ?, 8)"
    assert found["4"][1] == "(batch, ?)"
    assert rows(Sequential(ReLU()).summary())["0"][1] == "?"


def test_layers_within_layers_are_numbered_as_their_parameters():
    found = rows(IMAGES.summary((28, 28)))
    assert found["2"] == ["Residual", "(batch, 28, 28, 8)"]
    assert found["2.0"] == ["Conv2d(8, 8, (3, 3))", "(batch, 28, 28, 8)", "584", "2,336"]
    assert found["2.1.0"] == ["ReLU()", "(batch, 28, 28, 8)", "0", "0"]
    assert [*found] == ["0", "1", "2", "2.0", "2.1", "2.1.0", "3", "4"]


def test_state_counts_apart_from_parameters_and_in_bytes():
    table = IMAGES.summary()
    assert rows(table)["1"][2:] == ["16", "128"]
    assert table.splitlines()[-3:] == ["parameters  680", "state       16", "bytes       2,784 as float32"]


def test_layer_of_ones_own_is_counted_by_its_shapes():
    table = Sequential(Linear(4, 3), Scaling(3)).summary()
    assert rows(table)["1"] == ["Scaling(3)", "(batch, 3)", "7", "40"]
    assert table.splitlines()[-3:] == ["parameters  22", "state       3", "bytes       100 as float32"]


def test_totals_are_those_of_the_initial_arrays(numpy_xp):
    model = Sequential(*xpnet.lenet5().layers, BatchNorm(10))
    params = model.init(numpy_xp, 0)
    assert f"bytes       {sum(p.nbytes for p in params.values()):,} as float32" in model.summary()


def test_features_before_the_first_linear_layer_are_those_that_it_takes():
    assert rows(Sequential(ReLU(), Linear(4, 3)).summary())["0"][1] == "(batch, 4)"


def test_images_enter_a_model_of_features_as_rows():
    model = xpnet.mlp(784, 64, 10)
    assert model.summary(784) == model.summary((28, 28)) == model.summary((28, 28, 1)) == TABLE


def test_numbers_of_layers_are_in_one_column():
    lines = Sequential(*[ReLU()] * 11).summary().splitlines()
    assert lines[2].index("ReLU") == lines[12].index("ReLU")


def test_summary_of_a_huge_model_is_cut():
    model = ReLU()
    for _ in range(60):
        model = Sequential(model, model)
    lines = model.summary().splitlines()
    assert len(lines) < 1100
    assert "... and more layers" in lines


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (xpnet.mlp(784, 10), {"shape": 783}, "layer 0 takes 784 features, but the input gives 783"),
        (IMAGES, {"shape": (28, 28, 3)}, r"takes images \(height, width, 1\), but is given \(28, 28, 3\)"),
        (IMAGES, {"shape": 784}, r"layer 0: takes images \(height, width, 1\), but is given \(784,\)"),
        (IMAGES, {"shape": "28x28"}, "`shape` must be whole numbers, none negative, got '28x28'"),
        (IMAGES, {"dtype": "float16"}, "unknown dtype 'float16': choose one of float32, float64"),
    ],
)
def test_input_or_dtype_that_does_not_fit_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.summary(**options)
