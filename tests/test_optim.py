"""The optimizers, against a float64 transcription of their rules and against scikit-learn."""

import dataclasses

import array_api_strict
import numpy as np
import pytest
from checking import assert_close
from sklearn.neural_network import MLPClassifier

import xpnet
from xpnet import SGD, Adam, AdamW, Momentum, Nesterov, nn
from xpnet.optim import OPTIMIZERS, usual_lr

OPTIONS = {
    "momentum": {"beta": 0.8},
    "nesterov": {"beta": 0.8},
    "adam": {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6},
    "adamw": {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.2},
}
RULES = [kind(**{"lr": 0.5} | OPTIONS.get(name, {})) for name, kind in OPTIMIZERS.items()]


def transcription(rule, p, gradients):
    """Follow the docstring of `rule` step by step for one parameter, in float64 NumPy."""
    v = m = s = 0.0
    for t, g in enumerate(gradients, start=1):
        if isinstance(rule, SGD):
            p = p - rule.lr * g
        elif isinstance(rule, Adam | AdamW):
            p = p * (1 - rule.lr * getattr(rule, "weight_decay", 0.0))
            m = rule.beta1 * m + (1 - rule.beta1) * g
            s = rule.beta2 * s + (1 - rule.beta2) * g**2
            unbiased = np.sqrt(s / (1 - rule.beta2**t))
            p = p - rule.lr * (m / (1 - rule.beta1**t)) / (unbiased + rule.eps)
        else:
            v = rule.beta * v + (1 - rule.beta) * g
            ahead = rule.beta * v + (1 - rule.beta) * g if isinstance(rule, Nesterov) else v
            p = p - rule.lr * ahead
    return p


def test_every_step_of_nn_is_an_optimizer_of_xpnet():
    assert {f.name for f in nn.FUNCTIONS.values() if f.is_step} == {f"{name}_step" for name in OPTIMIZERS}
    for kind in OPTIMIZERS.values():
        assert getattr(xpnet, kind.__name__) is kind


def test_usual_learning_rate_is_the_optimizers_own_or_suits_the_activation():
    for name in ("sgd", "momentum", "nesterov"):
        assert [usual_lr(name, hidden) for hidden in ("sigmoid", "relu", "tanh", None)] == [
            4.0,
            0.5,
            0.5,
            0.5,
        ]
    for hidden in ("sigmoid", "relu", None):
        assert usual_lr("adam", hidden) == Adam().lr == 0.001


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_hundred_steps_follow_the_rule(xp64, rule):
    rng = np.random.Generator(np.random.Philox(0))
    start = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal((2,))}
    gradients = [{name: rng.standard_normal(p.shape) for name, p in start.items()} for _ in range(100)]
    params = {name: xp64.asarray(p.copy()) for name, p in start.items()}
    state = rule.init(xp64, params)
    for grads in gradients:
        grads = {name: xp64.asarray(g) for name, g in grads.items()}
        params, state = rule(xp64, params, grads, state)
    for name, p in start.items():
        expected = transcription(rule, p, [g[name] for g in gradients])
        assert_close(xp64, params[name], expected, factor=20)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Momentum(lr=0.5, beta=0.9), {"solver": "sgd", "momentum": 0.9, "learning_rate_init": 0.05}),
        (Adam(lr=0.01, eps=1e-16), {"solver": "adam", "learning_rate_init": 0.01, "epsilon": 1e-16}),
    ],
    ids=["momentum", "adam"],
)
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
def test_hundred_steps_agree_with_scikit_learn(xp64, ours, theirs, activation):
    """`MLPClassifier`, with its own formulas, gets the same weights and batches."""
    rng = np.random.Generator(np.random.Philox(1))
    x, labels = rng.standard_normal((100, 32, 6)), rng.integers(0, 3, (100, 32)).astype(np.int32)
    model = xpnet.mlp(6, 5, 3, activation=activation)
    params = model.init(xp64, 4, dtype="float64")

    oracle = MLPClassifier(
        (5,),
        activation={"sigmoid": "logistic"}.get(activation, activation),
        alpha=0.0,
        batch_size=32,
        nesterovs_momentum=False,
        **theirs,
    )
    # scikit-learn draws its weights in the first step, so that step is run and then undone.
    oracle.partial_fit(x[0], labels[0], classes=[0, 1, 2])
    own = oracle.coefs_ + oracle.intercepts_
    names = ["0.weight", "2.weight", "0.bias", "2.bias"]
    for array, name in zip(own, names, strict=True):
        array[...] = xp64.to_host(params[name])
    for name in ("velocities", "ms", "vs"):
        for array in getattr(oracle._optimizer, name, ()):
            array[...] = 0.0
    oracle._optimizer.t = 0

    state = ours.init(xp64, params)
    for batch, batch_labels in zip(x, labels, strict=True):
        logits, pullback = model(xp64, params, xp64.asarray(batch))
        _, d_logits = xp64.nn.softmax_cross_entropy(logits, xp64.asarray(batch_labels))
        _, grads = pullback(d_logits)
        params, state = ours(xp64, params, grads, state)
        oracle.partial_fit(batch, batch_labels)
    for array, name in zip(own, names, strict=True):
        np.testing.assert_allclose(xp64.to_host(params[name]), array, rtol=0, atol=1e-9)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_gradients_that_do_not_belong_to_the_parameters_are_refused(numpy_xp, rule):
    params = {"a": np.zeros((2, 3)), "b": np.zeros(3)}
    state = rule.init(numpy_xp, params)
    for grads, error, message in (
        ({"a": np.zeros((2, 3))}, ValueError, "`grads` has no 'b'; pass arrays with the names of `params`"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, ValueError, r"`grads` has shape \(3,\) for 'a', but `params`"),
        ({"a": array_api_strict.zeros((2, 3)), "b": np.zeros(3)}, TypeError, "`a` is a array_api_strict"),
    ):
        with pytest.raises(error, match=message):
            rule(numpy_xp, params, grads, state)
    for name in nn.FUNCTIONS[rule.function].changed[1:]:
        broken = state | {name: {"a": np.zeros(3), "b": np.zeros(3)}}
        with pytest.raises(ValueError, match="`state` has shape"):
            rule(numpy_xp, params, params, broken)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_arrays_of_another_dtype_than_the_parameters_are_refused(xp64, rule):
    p, other = xp64.ones((3,), dtype=xp64.float32), xp64.ones((3,), dtype=xp64.float64)
    params = {"a": p}
    state = rule.init(xp64, params)
    with pytest.raises(TypeError, match=r"`grads` is .*float64 for 'a', but `params` is .*float32"):
        rule(xp64, params, {"a": other}, state)
    for name in nn.FUNCTIONS[rule.function].changed[1:]:
        with pytest.raises(TypeError, match=r"`state` is .*float64 for 'a', but `params` is .*float32"):
            rule(xp64, params, params, state | {name: {"a": other}})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_parameters_that_are_not_floats_are_refused(xp, rule):
    params = {"a": xp.ones((3,), dtype=xp.int32)}
    state = rule.init(xp, {"a": xp.ones((3,), dtype=xp.float32)})
    with pytest.raises(TypeError, match=r"`params` must be float32 or float64, got .*int32 for 'a'"):
        rule(xp, params, params, state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "`lr` must be a finite number above 0, got -0.1"),
        (lambda: Momentum(0.0), "`lr` must be a finite number above 0, got 0.0"),
        (lambda: Adam(float("nan")), "`lr` must be a finite number above 0, got nan"),
        (lambda: Nesterov(float("inf")), "`lr` must be a finite number above 0, got inf"),
        (lambda: Momentum(1.0, beta=1.5), r"`beta` must be in \[0, 1\), got 1.5"),
        (lambda: Nesterov(1.0, beta=-0.1), r"`beta` must be in \[0, 1\), got -0.1"),
        (lambda: Adam(beta2=1.0), r"`beta2` must be in \[0, 1\), got 1.0"),
        (lambda: SGD("fast"), "`lr` must be a finite number above 0, got 'fast'"),
        (lambda: SGD(True), "`lr` must be a finite number above 0, got True"),
        (lambda: Momentum(1.0, None), r"`beta` must be in \[0, 1\), got None"),
        (lambda: AdamW(weight_decay=-0.1), "`weight_decay` must be a finite number, 0 or above, got -0.1"),
        (lambda: Adam(eps=0.0), "`eps` must be a finite number above 0, got 0.0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_optimizers_are_plain_data_that_can_be_replaced_and_extended(numpy_xp):
    @dataclasses.dataclass(frozen=True)
    class Decayed(SGD):
        decay: float = 0.5

    class Renamed(Momentum):
        pass

    changed = dataclasses.replace(Momentum(1.0), lr=np.float32(0.5), beta=np.float64(0.25))
    assert changed == Momentum(0.5, 0.25)
    assert repr(changed) == "Momentum(lr=0.5, beta=0.25)"
    assert Momentum(0.5) != Nesterov(0.5)
    assert Momentum(0.5) != Renamed(0.5)
    assert repr(dataclasses.replace(Decayed(0.5), lr=np.float32(0.25)).lr) == "0.25"
    with pytest.raises(ValueError, match="`lr` must be a finite number above 0, got 0"):
        dataclasses.replace(Renamed(1.0), lr=0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_gradient_that_is_a_number_of_python_is_refused(numpy_xp, rule):
    params = {"scale": np.ones(())}
    with pytest.raises(TypeError, match=r"`scale` is a builtins.float, but the model is on 'numpy'"):
        rule(numpy_xp, params, {"scale": 0.5}, rule.init(numpy_xp, params))
