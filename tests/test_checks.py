"""Numbers of any kind are converted to Python's own where they enter, or refused."""

import dataclasses
import decimal
import fractions
import json
import math

import array_api_strict
import numpy as np
import pytest

import xpnet
from xpnet import SGD, Adam, AdamW, Dropout, Linear, Momentum, Nesterov, ReLU, Sequential, Stream, checks
from xpnet.batches import Scaling
from xpnet.initializers import INITIALIZERS
from xpnet.lessons import find_lesson
from xpnet_bench.workload import Workload

HUGE = 10**400

WHOLE = [
    np.uint8(200),
    np.int64(200),
    np.array(200, dtype=np.uint8),
    array_api_strict.asarray(200),
    type("Whole", (int,), {})(200),
]
QUARTERS = [
    np.float32(0.25),
    np.float64(0.25),
    np.float16(0.25),
    np.longdouble(0.25),
    np.array(0.25),
    np.array(fractions.Fraction(1, 4)),
    array_api_strict.asarray(0.25),
    fractions.Fraction(1, 4),
    decimal.Decimal("0.25"),
    type("Real", (float,), {})(0.25),
]
NO_REALS = [
    True,
    np.True_,
    np.array(True),
    array_api_strict.asarray(True),
    "0.25",
    np.str_("0.25"),
    np.array("0.25"),
    b"0.25",
    None,
    0.25j,
    np.complex64(0.25),
    [0.25],
    np.array([0.25]),
    array_api_strict.asarray([0.25]),
    array_api_strict.asarray(0.25j),
    math.nan,
    math.inf,
    np.float32("inf"),
    np.longdouble("1e4000"),
    decimal.Decimal("sNaN"),
    decimal.Decimal("1e400"),
    HUGE,
    10**5000,
    -HUGE,
    fractions.Fraction(HUGE),
]
NO_COUNTS = [0, -1, 2.0, np.float64(2), "2", True, np.True_, np.array(True), [2], np.array([2]), None, HUGE]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers_of_any_kind_become_int(value):
    layer = Linear(value, value)
    found = [checks.count("n", value), checks.seed(value), *checks.shape((value, value)), layer.n_in]
    assert found == [200] * 5
    assert {type(n) for n in found} == {int}
    assert layer == Linear(200, 200)


@pytest.mark.parametrize("value", QUARTERS, ids=repr)
def test_real_numbers_of_any_kind_become_float(value):
    records = [Dropout(value), SGD(value), Momentum(value, value), Nesterov(value, value), Adam(value, value)]
    for record in [*records, Adam(beta2=value, eps=value), Scaling(value, value)]:
        values = [x for x in dataclasses.astuple(record) if x is not None and x is not False]
        assert 0.25 in values
        assert {type(x) for x in values} == {float}


@pytest.mark.parametrize("value", NO_REALS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Dropout, r"`rate` must be in \[0, 1\), got "),
        (SGD, "`lr` must be a finite number above 0, got "),
        (lambda value: Momentum(1.0, value), r"`beta` must be in \[0, 1\), got "),
        (lambda value: Adam(beta1=value), r"`beta1` must be in \[0, 1\), got "),
        (lambda value: AdamW(weight_decay=value), "`weight_decay` must be a finite number, 0 or above, got "),
        (lambda value: Scaling(value), "`scale` must be a finite number, got "),
        (lambda value: Scaling(1.0, value), "`offset` must be a finite number, got "),
    ],
)
def test_value_that_is_not_a_finite_real_number_is_refused(make, message, value):
    with pytest.raises(ValueError, match=message):
        make(value)


@pytest.mark.parametrize("value", NO_COUNTS, ids=lambda value: repr(value)[:20])
def test_value_that_is_not_a_count_is_refused(value):
    for make in (lambda: Linear(value, 3), lambda: xpnet.mlp(3, value), lambda: checks.limit([value])):
        with pytest.raises(ValueError, match="` must be "):
            make()


@pytest.mark.parametrize("value", [2.0, True, np.True_, "1", None, [1]], ids=repr)
def test_seed_that_is_not_a_whole_number_is_refused(value):
    with pytest.raises(TypeError, match="`seed` must be an integer, got "):
        Stream(value, "init")


@pytest.mark.parametrize("value", [-1, 2**64, HUGE, np.int8(-1)], ids=lambda value: repr(value)[:20])
def test_seed_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"`seed` must be in \[0, 2\*\*64\), got "):
        Stream(value, "init")


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_do_not_depend_on_the_kind_of_their_sizes(name):
    expected = INITIALIZERS[name](Stream(3, "init"), 200, 100)
    found = INITIALIZERS[name](Stream(np.uint8(3), "init"), np.uint8(200), np.array(100, dtype=np.uint8))
    np.testing.assert_array_equal(found, expected)
    layer = Linear(np.uint8(200), np.uint8(100), np.str_(name))
    np.testing.assert_array_equal(layer.init(xpnet.backend("numpy"), 3, dtype="float64")["weight"], expected)


def test_streams_take_sizes_of_numpy():
    shape = (np.uint8(200), np.uint8(100))
    np.testing.assert_array_equal(Stream(0, "init").normal(shape), Stream(0, "init").normal((200, 100)))
    np.testing.assert_array_equal(Stream(0, "init").uniform(np.uint8(9)), Stream(0, "init").uniform((9,)))
    orders = [Stream(0, "shuffle").permutation(n) for n in (np.uint8(200), 200)]
    np.testing.assert_array_equal(*orders)
    for wrong in ((2, -1), (2, 1.5), "ab", None, np.array(0.5), (True, 2)):
        with pytest.raises(ValueError, match="`shape` must be whole numbers, none negative, got "):
            Stream(0, "init").uniform(wrong)


def test_training_with_numbers_of_numpy_is_the_same_and_can_be_saved(backend, dataset, tmp_path):
    def train(whole, real):
        n_out = whole(dataset.labels.max() + 1)
        model = Sequential(Linear(whole(12), n_out), ReLU(), Dropout(real(0.25)), Linear(n_out, n_out))
        return xpnet.fit(
            backend,
            model,
            dataset[: whole(64)],
            optimizer=Momentum(real(0.5), real(0.75)),
            epochs=whole(2),
            batch_size=whole(48),
            seed=whole(3),
            scale=real(1 / 256),
            offset=real(-0.5),
        )

    expected = train(int, float)
    for whole, real in ((np.uint8, np.float64), (np.int64, np.float32), (np.array, fractions.Fraction)):
        run = train(whole, real)
        assert (run.model, run.scaling) == (expected.model, expected.scaling)
        assert run.history[-1].train_loss == expected.history[-1].train_loss
        for name, p in run.params.items():
            np.testing.assert_array_equal(backend.to_host(p), backend.to_host(expected.params[name]))
            assert p.dtype == backend.float32
        run.save(tmp_path / "model")
        assert xpnet.load(tmp_path / "model", backend).model == expected.model


@pytest.mark.parametrize("rate", [np.float64(0.25), np.float32(0.25)], ids=repr)
def test_dropout_keeps_the_dtype_of_its_input(xp, rate):
    x = xp.ones((4, 8), dtype=xp.float32)
    y, pullback = Dropout(rate)(xp, {}, x, stream=Stream(0, "dropout"))
    assert y.dtype == pullback(x)[0].dtype == xp.float32


def test_evaluation_takes_numbers_of_numpy(numpy_xp, dataset):
    model = xpnet.mlp(12, 3)
    params = model.init(numpy_xp, 0)
    found = xpnet.evaluate(
        numpy_xp, model, params, dataset, batch_size=np.uint8(32), scale=np.float32(1 / 256)
    )
    expected = xpnet.evaluate(numpy_xp, model, params, dataset, batch_size=32, scale=1 / 256)
    assert found.loss == expected.loss
    labels = np.arange(3)
    confusion = xpnet.metrics.confusion_matrix(numpy_xp, labels, labels, np.uint8(200))
    np.testing.assert_array_equal(np.diag(confusion)[:4], [1, 1, 1, 0])


@pytest.mark.parametrize("options", [{"scale": HUGE}, {"offset": -HUGE}, {"epochs": HUGE}, {"batch_size": 0}])
def test_fit_refuses_numbers_out_of_reach(numpy_xp, dataset, options):
    options = {"optimizer": SGD(0.1), "epochs": 1} | options
    with pytest.raises(ValueError, match="` must be "):
        xpnet.fit(numpy_xp, xpnet.mlp(12, 3), dataset, **options)


def test_lessons_take_numbers_of_numpy(numpy_xp):
    options = {"iterations": np.uint8(3), "lr": np.float32(0.5), "say": lambda line: None}
    figures = find_lesson("gradient-descent").run(numpy_xp, **options)
    assert json.loads(json.dumps(figures)) == figures
    figures = find_lesson("full-network").run(
        numpy_xp, epochs=np.uint8(12), seed=np.uint8(3), say=lambda line: None
    )
    assert len(figures["loss"]) == 2
    figures = find_lesson("mnist-zero").run(
        numpy_xp, iterations=np.uint8(2), seed=np.uint8(255), limit=np.uint8(200), say=lambda line: None
    )
    assert len(figures["cost"]) == 2


def test_deep_lesson_takes_the_largest_seed(numpy_xp, mnist):
    from xpnet.lessons import deep

    train, test = (dataset[:64] for dataset in mnist)
    model = deep.network("relu", 2)
    assert deep.learn(numpy_xp, model, train, test, 0.1, 3, 2**64 - 1) >= 0


@pytest.mark.parametrize(
    "name", ["mnist-zero", "mnist-softmax", "mnist-improved", "first-network", "deep", "cnn"]
)
@pytest.mark.parametrize("limit", [0, -5, True, 2.0], ids=repr)
def test_lessons_refuse_a_limit_that_is_not_a_count(numpy_xp, name, limit):
    with pytest.raises(ValueError, match="`limit` must be a whole number above 0, got "):
        find_lesson(name).run(numpy_xp, limit=limit, say=lambda line: None)


@pytest.mark.parametrize("make", [lambda: Linear(2, 3, ["normal"]), lambda: xpnet.mlp(2, 3, activation=3)])
def test_name_of_another_type_is_refused(make):
    with pytest.raises(ValueError, match=r"unknown (initializer|activation) .*: choose one of "):
        make()


def test_workload_of_numbers_of_numpy_is_that_of_python():
    workload = Workload(batch_size=np.uint8(32), seed=np.uint16(7), limit=np.uint8(100))
    assert workload == Workload(batch_size=32, seed=7, limit=100)
    numbers = {name: getattr(workload, name) for name in ("batch_size", "seed", "limit")}
    assert json.loads(json.dumps(numbers)) == {"batch_size": 32, "seed": 7, "limit": 100}
