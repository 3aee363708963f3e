"""The check of gradients finds wrong ones, names them, and gives no false alarm."""

import dataclasses
import functools

import array_api_strict
import numpy as np
import pytest

import xpnet
from xpnet import Linear, ReLU, Residual, Sequential, Tanh, check_gradients
from xpnet.layer import Unparametrised, through

RANDOM = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Squared(Unparametrised):
    """``y = x ** 2``, with a gradient that may be wrong."""

    factor: float = 2.0

    def __call__(self, xp, params, x, *, stream=None):
        return x * x, through(xp, lambda x, dy: self.factor * x * dy, x)


@dataclasses.dataclass(frozen=True)
class Scale:
    """``y = factor * x``, whose pullback returns what `gradient` makes of the right gradient."""

    n: int
    gradient: object = None

    @property
    def n_in(self):
        return self.n

    @property
    def shapes(self):
        return {"factor": (self.n,)}

    def init(self, xp, seed, *, dtype="float32"):
        return {"factor": xp.ones((self.n,), dtype=getattr(xp, dtype))}

    def __call__(self, xp, params, x, *, stream=None):
        factor = params["factor"]

        def pullback(dy, *, input_gradient=True):
            right = xp.sum(dy * x, axis=0)
            found = right if self.gradient is None else self.gradient(xp, right)
            return dy * factor, {} if found is None else {"factor": found}

        return factor * x, pullback


MODELS = [
    (xpnet.mlp(20, 30, 30, 4, activation="relu"), {}),
    (xpnet.mlp(5, 4, 1, activation="gelu"), {}),
    (Sequential(Linear(5, 4), xpnet.BatchNorm(4), Tanh(), xpnet.Dropout(0.5), Linear(4, 3)), {}),
    (Sequential(Linear(5, 4), Residual(xpnet.LayerNorm(4), Linear(4, 4), ReLU()), xpnet.Softmax()), {}),
    (Sequential(Linear(5, 4), Squared(), Scale(4)), {}),
    (
        Sequential(
            xpnet.RandomShift(1),
            xpnet.RandomFlip(),
            xpnet.Conv2d(2, 4, 3),
            xpnet.BatchNorm(4),
            ReLU(),
            xpnet.MaxPool2d(2),
            xpnet.AvgPool2d(2),
            xpnet.GlobalAvgPool2d(),
            Linear(4, 3),
        ),
        {"shape": (8, 9, 2)},
    ),
    (xpnet.lenet5(shape=(12, 12, 1)), {}),
    (ReLU(), {"shape": 7}),
    (xpnet.BatchNorm(7), {"shape": 7}),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("model", "options"), MODELS)
def test_right_gradients_pass(model, options, training):
    for seed in range(3):
        report = check_gradients(model, seed=seed, training=training, elements=20, **options)
        assert report.passed
        assert {*report.errors} == {"input", *model.shapes}
        assert max(report.errors.values()) < 1e-6
        assert str(report).startswith(f"the gradients of {1 + len(model.shapes)} array")


def test_gradients_are_checked_on_each_backend_with_float64(xp64):
    model = Sequential(Linear(5, 4), Tanh(), xpnet.Dropout(0.5), Linear(4, 3))
    assert check_gradients(model, xp=xp64, elements=10).passed
    targets = [0, 1, 2, 0]
    assert check_gradients(model, loss="softmax_cross_entropy", targets=targets, xp=xp64, elements=10).passed


def test_backend_without_float64_is_refused():
    names = [name for name in dir(array_api_strict) if name != "float64" and not name.startswith("_")]
    library = type("Library", (), {name: getattr(array_api_strict, name) for name in names})
    with pytest.raises(ValueError, match="gradients are checked in float64, which 'narrow' lacks"):
        check_gradients(xpnet.mlp(4, 2), xp=xpnet.Namespace("narrow", library))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
def test_model_is_checked_with_a_loss(loss):
    for model in (xpnet.mlp(5, 4, 3), Sequential(Linear(5, 3), xpnet.Softmax())):
        report = check_gradients(model, loss=loss, targets=[0, 2, 1, 1])
        assert report.passed
        assert check_gradients(model, loss=xpnet.losses.find_loss(loss), targets=[0, 2, 1, 1]) == report


@pytest.mark.parametrize("loss", xpnet.losses.LOSSES)
def test_loss_alone_is_checked(loss):
    labels = [0, 1, 2, 3, 3]
    report = check_gradients(loss, outputs=RANDOM.normal(size=(5, 4)), targets=labels)
    assert report.passed
    assert [*report.errors] == ["outputs"]


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber_error", "sigmoid_cross_entropy"])
def test_loss_of_numbers_is_checked(loss):
    targets = [0.1, 0.9, 0.0, 1.0, 0.5]
    assert check_gradients(loss, outputs=RANDOM.normal(size=(5, 1)), targets=targets).passed
    assert check_gradients(xpnet.mlp(4, 3, 1), loss=loss, targets=targets, batch_size=5).passed


@pytest.mark.parametrize("loss", xpnet.losses.LOSSES)
def test_targets_are_drawn_if_none_are_passed(loss):
    assert check_gradients(loss, outputs=RANDOM.normal(size=(5, 3))).passed
    assert check_gradients(xpnet.mlp(4, 3), loss=loss).passed


@dataclasses.dataclass(frozen=True)
class Divided(Unparametrised):
    """``y = x / deviation``, with a state that its gradient forgets."""

    n: int

    @property
    def state_shapes(self):
        return {"deviation": (self.n,)}

    def init(self, xp, seed, *, dtype="float32"):
        return {"deviation": xp.ones((self.n,), dtype=getattr(xp, dtype))}

    def __call__(self, xp, params, x, *, stream=None):
        return x / params["deviation"], through(xp, lambda _, dy: dy, x)

    def train(self, xp, params, x, *, stream=None):
        return *self(xp, params, x), params


def test_state_that_a_gradient_forgets_is_noticed():
    with pytest.raises(xpnet.GradientError, match="`input`"):
        check_gradients(Divided(3), shape=3)


def test_report_is_one_line_at_a_prompt():
    report = check_gradients(xpnet.mlp(4, 3))
    assert repr(report) == f"<xpnet.GradientReport: {report}>"
    assert str(report).isprintable()


def test_options_of_a_loss_are_checked():
    loss = xpnet.losses.SoftmaxCrossEntropy(label_smoothing=0.1)
    assert check_gradients(loss, outputs=RANDOM.normal(size=(3, 4)), targets=[0, 1, 3]).passed


def cubed_error(xp, outputs, targets, *, factor=3.0):
    """A loss of one's own, whose gradient may be wrong."""
    difference = outputs - targets
    return xp.mean(difference**3), factor * difference**2 / outputs.shape[0] / outputs.shape[1]


WRONG_LOSS = functools.partial(cubed_error, factor=2.0)
OUTPUTS = {"outputs": RANDOM.normal(size=(5, 4)), "targets": RANDOM.normal(size=(5, 4))}


def test_loss_of_ones_own_is_checked():
    assert check_gradients(cubed_error, **OUTPUTS).passed
    with pytest.raises(
        ValueError, match=r"the gradient of `outputs`\[\d, \d\] is wrong: .*, relative error 3"
    ):
        check_gradients(WRONG_LOSS, **OUTPUTS)


def test_wrong_loss_behind_a_right_model_is_named():
    targets = np.zeros((4, 3))
    assert check_gradients(xpnet.mlp(5, 4, 3), loss=cubed_error, targets=targets).passed
    with pytest.raises(xpnet.GradientError, match=r"; what is wrong is the loss$"):
        check_gradients(xpnet.mlp(5, 4, 3), loss=WRONG_LOSS, targets=targets)


def test_wrong_layer_is_named_and_not_those_in_front_of_it():
    model = Sequential(Linear(5, 4), Squared(2.1), Linear(4, 3))
    with pytest.raises(
        xpnet.GradientError, match=r"; what is wrong is layer 1, Squared\(factor=2\.1\)$"
    ) as e:
        check_gradients(model)
    report = e.value.report
    assert not report.passed
    # What lies behind it is right; what lies in front of it gets a wrong gradient.
    assert {name for name, error in report.errors.items() if error > 1e-6} == {"input", "0.weight", "0.bias"}
    assert report.worst["0.weight"].error == pytest.approx(1 - 2 / 2.1)


def test_wrong_layer_in_a_nested_model_is_named_by_its_numbers():
    model = Sequential(Linear(5, 4), Residual(Linear(4, 4), Sequential(Squared(1.0))), Linear(4, 3))
    with pytest.raises(xpnet.GradientError, match=r"what is wrong is layer 1\.1\.0, Squared\(factor=1\.0\)$"):
        check_gradients(model)


def test_wrong_parameter_is_named_with_its_element():
    def wrong(xp, right):
        return right + xp.asarray(np.eye(5)[2])

    model = Sequential(Linear(4, 5), Scale(5, wrong))
    with pytest.raises(
        ValueError, match=r"the gradient of `1\.factor`\[2\] is wrong: .* layer 1, Scale\(5, gr"
    ):
        check_gradients(model)


def test_slightly_wrong_gradient_is_found():
    assert not check_gradients(Squared(2.00001), shape=3, tolerance=None).passed
    assert check_gradients(Squared(2.00001), shape=3, tolerance=1e-4).passed


def test_without_a_tolerance_a_wrong_gradient_is_reported_and_no_error():
    report = check_gradients(Sequential(Linear(3, 3), Squared(1.0)), tolerance=None)
    assert not report.passed
    assert report.wrong_part == "layer 1, Squared(factor=1.0)"
    assert str(report).startswith("the gradient of `")


def test_gradients_at_kinks_give_no_alarm(numpy_xp):
    """Zeros in front of ReLU, and windows in which all pixels are equal."""
    model = xpnet.mlp(6, 4, 2, activation="relu")
    assert check_gradients(model, np.zeros((4, 6))).passed
    nothing = {name: np.zeros(shape) for name, shape in model.shapes.items()}
    assert check_gradients(model, params=nothing).passed
    assert check_gradients(xpnet.MaxPool2d(2), np.ones((2, 4, 4, 1))).passed
    assert check_gradients(ReLU(), np.zeros((4, 6))).passed


def test_gradients_of_many_units_near_kinks_give_no_alarm():
    for seed in range(4):
        assert check_gradients(xpnet.mlp(100, 300, 200, 5, activation="relu"), seed=seed, elements=20).passed


def test_wrong_gradient_next_to_kinks_is_found():
    @dataclasses.dataclass(frozen=True)
    class Leaky(Unparametrised):
        def __call__(self, xp, params, x, *, stream=None):
            return xp.nn.relu(x), through(xp, lambda x, dy: xp.where(x > 0.0, dy, 0.01 * dy), x)

    with pytest.raises(xpnet.GradientError):
        check_gradients(Sequential(Linear(20, 50), Leaky()))


def test_parameters_of_a_run_are_checked(backend):
    data = xpnet.Dataset(np.eye(6), np.arange(6) % 2)
    model = Sequential(Linear(6, 4), xpnet.BatchNorm(4), ReLU(), Linear(4, 2))
    run = xpnet.fit(backend, model, data, optimizer=xpnet.SGD(0.1), epochs=1, progress=False)
    x = backend.asarray(np.eye(6, dtype=np.float32))
    assert check_gradients(model, x, params=run.params, xp=backend, training=False).passed


def test_at_most_so_many_elements_are_checked():
    calls = []

    @dataclasses.dataclass(frozen=True)
    class Counted(Unparametrised):
        def __call__(self, xp, params, x, *, stream=None):
            calls.append(1)
            return 2 * x, through(xp, lambda _, dy: 2 * dy, x)

    check_gradients(Counted(), shape=1000, elements=10)
    assert len(calls) < 30


def test_one_seed_gives_one_report():
    model = xpnet.mlp(5, 4, 3)
    assert check_gradients(model, seed=1) == check_gradients(model, seed=1)
    assert check_gradients(model, seed=1) != check_gradients(model, seed=2)


@dataclasses.dataclass(frozen=True)
class Noisy(Unparametrised):
    """Draws its own random numbers."""

    def __call__(self, xp, params, x, *, stream=None):
        y = x + xp.asarray(np.random.default_rng().normal(size=x.shape))
        return y, through(xp, lambda _, dy: dy, y)


@dataclasses.dataclass(frozen=True)
class Narrow(Unparametrised):
    """Returns float32."""

    def __call__(self, xp, params, x, *, stream=None):
        return xp.astype(x, xp.float32), None


@pytest.mark.parametrize(
    ("checked", "options", "error", "message"),
    [
        (
            "squared_error",
            {},
            ValueError,
            r"a loss alone is checked at outputs: pass `check_gradients\(loss, outputs=..., targets=...\)`",
        ),
        ("hinge", OUTPUTS, ValueError, "unknown loss 'hinge': choose one of"),
        (
            ReLU(),
            {},
            ValueError,
            r"ReLU\(\) does not tell the shape of its input; pass `shape=` of one input",
        ),
        (
            xpnet.mlp(4, 2),
            {"params": {}},
            ValueError,
            "`params` has nothing, but the model has 0.weight, 0.b",
        ),
        (
            Sequential(Scale(3, lambda xp, right: None)),
            {},
            ValueError,
            "the pullback has no gradient 'factor'; return a dict with the gradient of each parameter",
        ),
        (
            Scale(3, lambda xp, right: None),
            {},
            ValueError,
            "the pullback returned no gradient of `factor`; return one for each parameter",
        ),
        (
            Scale(3, lambda xp, right: right[:2]),
            {},
            ValueError,
            r"the gradient of `factor` has shape \(2,\), but `factor` has \(3,\)",
        ),
        (
            Noisy(),
            {"shape": 3},
            ValueError,
            "equal inputs give different outputs; draw random numbers from the",
        ),
        (Narrow(), {"shape": 3}, TypeError, r"Narrow\(\) returns float32 for float64; keep the dtype of `x`"),
        (Squared(), {"inputs": [[np.inf]]}, ValueError, "the outputs are not finite; pass other `inputs`"),
        (Squared(), {"shape": 3, "elements": 0}, ValueError, "`elements` must be a whole number above 0"),
        (Squared(), {"shape": 3, "tolerance": 0}, ValueError, "`tolerance` must be a finite number above 0"),
    ],
)
def test_what_cannot_be_checked_is_refused(checked, options, error, message):
    with pytest.raises(error, match=message):
        check_gradients(checked, **options)
