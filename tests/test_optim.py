"""The optimizers, against a float64 transcription of their rules and against scikit-learn."""

import dataclasses

import array_api_strict
import numpy as np
import pytest
from checking import assert_close
from sklearn.neural_network import MLPClassifier

import xpnet
from xpnet import SGD, Adam, AdamW, Momentum, Nesterov, RMSprop, nn, schedules
from xpnet.optim import OPTIMIZERS, usual_lr

OPTIONS = {
    "momentum": {"beta": 0.8},
    "nesterov": {"beta": 0.8},
    "adam": {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6},
    "adamw": {"lr": 0.01, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.2},
    "rmsprop": {"lr": 0.01, "alpha": 0.8, "eps": 1e-6},
}
PLAIN = [kind(**{"lr": 0.5} | OPTIONS.get(name, {})) for name, kind in OPTIMIZERS.items()]
RULES = [*PLAIN, SGD(0.1, 0.8), SGD(0.1, 0.8, 0.3), SGD(0.1, 0.8, nesterov=True)]


def transcription(rule, p, gradients):
    """Follow the docstring of `rule` step by step for one parameter, in float64 NumPy."""
    v = m = s = 0.0
    for t, g in enumerate(gradients, start=1):
        if isinstance(rule, SGD):
            v = rule.momentum * v + (g if t == 1 else (1 - rule.dampening) * g)
            p = p * (1 - rule.lr * rule.weight_decay) - rule.lr * (
                rule.momentum * v + g if rule.nesterov else v
            )
        elif isinstance(rule, RMSprop):
            s = rule.alpha * s + (1 - rule.alpha) * g**2
            p = p * (1 - rule.lr * rule.weight_decay) - rule.lr * g / (np.sqrt(s) + rule.eps)
        elif isinstance(rule, Adam | AdamW):
            p = p * (1 - rule.lr * getattr(rule, "weight_decay", 0.0))
            m = rule.beta1 * m + (1 - rule.beta1) * g
            s = rule.beta2 * s + (1 - rule.beta2) * g**2
            unbiased = np.sqrt(s / (1 - rule.beta2**t))
            p = p - rule.lr * (m / (1 - rule.beta1**t)) / (unbiased + rule.eps)
        else:
            v = rule.beta * v + (1 - rule.beta) * g
            ahead = rule.beta * v + (1 - rule.beta) * g if isinstance(rule, Nesterov) else v
            p = p * (1 - rule.lr * rule.weight_decay) - rule.lr * ahead
    return p


def test_every_step_of_nn_is_an_optimizer_of_xpnet():
    assert {f.name for f in nn.FUNCTIONS.values() if f.is_step} == {rule.function for rule in RULES}
    assert [f"{name}_step" for name in OPTIMIZERS] == [rule.function for rule in PLAIN]
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
@pytest.mark.parametrize("weight_decay", [None, 0.3])
def test_hundred_steps_follow_the_rule(xp64, rule, weight_decay):
    if weight_decay is not None:
        rule = dataclasses.replace(rule, weight_decay=weight_decay)
    start, gradients = drawn_gradients()
    params = stepped(xp64, rule, start, gradients)
    for name, p in start.items():
        expected = transcription(rule, p, [g[name] for g in gradients])
        assert_close(xp64, params[name], expected, factor=20)


def drawn_gradients(n=100):
    """Return parameters and `n` gradients at them."""
    rng = np.random.Generator(np.random.Philox(0))
    start = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal((2,))}
    return start, [{name: rng.standard_normal(p.shape) for name, p in start.items()} for _ in range(n)]


def stepped(xp, rule, start, gradients):
    """Return parameters after a step by each of these gradients."""
    params = {name: xp.asarray(p.copy()) for name, p in start.items()}
    state = rule.init(xp, params)
    for grads in gradients:
        params, state = rule(xp, params, {name: xp.asarray(g.copy()) for name, g in grads.items()}, state)
    return params


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_gradients_beyond_the_norm_are_scaled_to_it_together(xp64, rule):
    start, gradients = drawn_gradients(20)
    limit = 2.8  # about what these norms are
    norms = [np.sqrt(sum((g**2).sum() for g in grads.values())) for grads in gradients]
    assert min(norms) < limit < max(norms)
    scaled = [
        {name: g * min(1, limit / (norm + 1e-6)) for name, g in grads.items()}
        for grads, norm in zip(gradients, norms, strict=True)
    ]
    found = stepped(xp64, dataclasses.replace(rule, clip_norm=limit), start, gradients)
    expected = stepped(xp64, rule, start, scaled)
    for name, p in found.items():
        assert_close(xp64, p, xp64.to_host(expected[name]), factor=100)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_schedule_gives_each_step_its_rate(xp64, rule):
    start, gradients = drawn_gradients(6)
    schedule = schedules.Step(rule.lr, every=2, factor=0.5)
    found = stepped(xp64, dataclasses.replace(rule, lr=schedule, weight_decay=0.1), start, gradients)

    params = {name: xp64.asarray(p.copy()) for name, p in start.items()}
    state = rule.init(xp64, params)
    for n, grads in enumerate(gradients):
        grads = {name: xp64.asarray(g.copy()) for name, g in grads.items()}
        fixed = dataclasses.replace(rule, lr=rule.lr * 0.5 ** (n // 2), weight_decay=0.1)
        params, state = fixed(xp64, params, grads, state)
    for name, p in found.items():
        np.testing.assert_array_equal(xp64.to_host(p), xp64.to_host(params[name]))


def test_schedule_that_is_a_function_of_ones_own_gives_each_step_its_rate(numpy_xp):
    start, gradients = drawn_gradients(3)
    found = stepped(numpy_xp, SGD(lambda step: 0.5 / step), start, gradients)
    for name, p in start.items():
        np.testing.assert_allclose(found[name], p - sum(0.5 / (n + 1) * gradients[n][name] for n in range(3)))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), "fast", None])
def test_schedule_that_returns_no_rate_is_refused(numpy_xp, rate):
    class Broken:
        def __call__(self, step):
            return rate

    message = f"a schedule must return a finite number, 0 or above, but Broken returned {rate!r} for step 1"
    start, gradients = drawn_gradients(1)
    with pytest.raises(ValueError, match=message):
        stepped(numpy_xp, SGD(Broken()), start, gradients)


def test_state_has_the_number_of_the_step_only_where_it_is_needed(numpy_xp):
    params = {"a": np.zeros(2)}
    for rule in RULES:
        has_count = isinstance(rule, Adam | AdamW) or getattr(rule, "dampening", 0) > 0
        assert ("step" in rule.init(numpy_xp, params)) == has_count
        scheduled = dataclasses.replace(rule, lr=schedules.Constant(0.1))
        _, state = scheduled(numpy_xp, params, {"a": np.ones(2)}, scheduled.init(numpy_xp, params))
        assert state["step"] == 1


def test_sum_of_gradients_is_their_average_at_another_rate(numpy_xp):
    start, gradients = drawn_gradients(30)
    for ours, other in (
        (SGD(0.1, 0.8), Momentum(0.5, 0.8)),
        (SGD(0.1, 0.8, nesterov=True), Nesterov(0.5, 0.8)),
    ):
        found, expected = (stepped(numpy_xp, rule, start, gradients) for rule in (ours, other))
        for name, p in found.items():
            np.testing.assert_allclose(p, expected[name], rtol=1e-12)


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
        (lambda: SGD(0.1, momentum=1.0), r"`momentum` must be in \[0, 1\), got 1.0"),
        (lambda: SGD(0.1, 0.9, dampening=-1), r"`dampening` must be in \[0, 1\), got -1"),
        (lambda: SGD(0.1, 0.9, nesterov=1), "`nesterov` must be True or False, got 1"),
        (lambda: SGD(0.1, nesterov=True), "`nesterov` needs momentum, but `momentum` is 0; pass"),
        (
            lambda: SGD(0.1, dampening=0.5),
            "`dampening` needs momentum, but `momentum` is 0; pass",
        ),
        (lambda: SGD(0.1, 0.9, 0.5, nesterov=True), "`nesterov` needs a `dampening` of 0, got 0.5"),
        (lambda: SGD(0.1, clip_norm=0), "`clip_norm` must be a finite number above 0, got 0"),
        (lambda: Momentum(0.1, weight_decay="much"), "`weight_decay` must be a finite number, 0 or above"),
        (lambda: RMSprop(alpha=1), r"`alpha` must be in \[0, 1\), got 1"),
        (lambda: SGD(schedules.Cosine), "`lr` must be a finite number above 0, got <class"),
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
    assert repr(SGD(0.5, clip_norm=1)) == "SGD(lr=0.5, clip_norm=1.0)"
    assert dataclasses.replace(SGD(0.5, 0.9), momentum=0).function == SGD(0.5).function == "sgd_step"
    with pytest.raises(ValueError, match="`lr` must be a finite number above 0, got 0"):
        dataclasses.replace(Renamed(1.0), lr=0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_gradient_that_is_a_number_of_python_is_refused(numpy_xp, rule):
    params = {"scale": np.ones(())}
    with pytest.raises(TypeError, match=r"`scale` is a builtins.float, but the model is on 'numpy'"):
        rule(numpy_xp, params, {"scale": 0.5}, rule.init(numpy_xp, params))
