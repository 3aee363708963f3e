"""What a replayed step reaches besides its arguments: a change of it is seen, or the report names it."""

import collections
import dataclasses
import functools
import itertools
import random
import threading
import types

import numpy
import pytest
from steps import PLAIN, assert_trained_alike, make_images, make_trainer, train

import xpnet
from xpnet.captured import Captured

RATE = 1.0
SETTINGS = types.ModuleType("settings")
SETTINGS.rate = 1.0


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def closure(xp):
    rate = 1.0

    def step(p, g):
        return xp.nn.sgd_step(p, g, rate)

    def change(value):
        nonlocal rate
        rate = value

    return step, change


def variable_of_a_module(xp):
    def step(p, g):
        return xp.nn.sgd_step(p, g, RATE)

    return step, functools.partial(globals().__setitem__, "RATE")


def attribute_of_a_module(xp):
    return lambda p, g: xp.nn.sgd_step(p, g, SETTINGS.rate), functools.partial(setattr, SETTINGS, "rate")


def attribute_of_the_step(xp):
    def step(p, g):
        return xp.nn.sgd_step(p, g, step.rate)

    step.rate = 1.0
    return step, functools.partial(setattr, step, "rate")


def item_of_a_default(xp):
    rates = [1.0]

    def step(p, g, rates=rates):
        return xp.nn.sgd_step(p, g, rates[0])

    return lambda p, g: step(p, g), functools.partial(rates.__setitem__, 0)


def argument_of_a_partial(xp):
    rates = {"rate": 1.0}
    step = functools.partial(lambda rates, p, g: xp.nn.sgd_step(p, g, rates["rate"]), rates)
    return step, functools.partial(rates.__setitem__, "rate")


def function_behind_a_function(xp):
    step, change = closure(xp)
    return functools.wraps(step)(lambda p, g: step(p, g)), change


def function_behind_a_compiled_one(xp):
    step, change = closure(xp)
    inner = xp.compile(step)
    return lambda p, g: inner(p, g), change


class Rule:
    shared = 1.0

    def __init__(self, xp):
        self.xp = xp
        self.rate = 1.0
        self.rates = numpy.array([5.0, 1.0])
        self.tables = {"rates": [5.0, 1.0]}
        self.queue = collections.deque([1.0])
        self.inner = Slotted()
        self.space = types.SimpleNamespace(rate=1.0)
        self.epoch = 0

    def attribute(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.rate)

    def array(self, p, g):
        return self.xp.nn.sgd_step(p, g, float(self.rates[1]))

    def tree(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.tables["rates"][1])

    def end_of_a_queue(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.queue[-1])

    def slot(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.inner.rate)

    def simple(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.space.rate)

    def by_name(self, p, g):
        return self.xp.nn.sgd_step(p, g, getattr(self, "ra" + "te"))

    def behind_a_property(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.doubled)

    def of_the_class(self, p, g):
        return self.xp.nn.sgd_step(p, g, self.shared)

    def branch(self, p, g):
        return self.xp.nn.sgd_step(p, g, 1.0) if self.epoch < 1 else self.xp.nn.sgd_step(p, g, 0.25)

    @property
    def doubled(self):
        return 2 * self.rate

    def __call__(self, p, g):
        return self.attribute(p, g)


class Slotted:
    __slots__ = ("rate",)

    def __init__(self):
        self.rate = 1.0


METHODS = {
    "attribute": lambda rule, value: setattr(rule, "rate", value),
    "__call__": lambda rule, value: setattr(rule, "rate", value),
    "by_name": lambda rule, value: setattr(rule, "rate", value),
    "behind_a_property": lambda rule, value: setattr(rule, "rate", value),
    "array": lambda rule, value: rule.rates.__setitem__(1, value),
    "tree": lambda rule, value: rule.tables["rates"].__setitem__(1, value),
    "end_of_a_queue": lambda rule, value: rule.queue.append(value),
    "slot": lambda rule, value: setattr(rule.inner, "rate", value),
    "simple": lambda rule, value: setattr(rule.space, "rate", value),
    "of_the_class": lambda rule, value: setattr(rule, "shared", value),
    "branch": lambda rule, value: setattr(rule, "epoch", value),
}


def method(name):
    def make(xp):
        rule = Rule(xp)
        step = rule if name == "__call__" else getattr(rule, name)
        return step, functools.partial(METHODS[name], rule)

    return make


FUNCTIONS = [
    closure,
    variable_of_a_module,
    attribute_of_a_module,
    attribute_of_the_step,
    item_of_a_default,
    argument_of_a_partial,
    function_behind_a_function,
    function_behind_a_compiled_one,
]
CASES = {f.__name__: f for f in FUNCTIONS} | {name: method(name) for name in METHODS}
VALUES = [1.0, 0.5, 3.0]


def taken(step, change, calls):
    """Return the parameter after some calls with each of the values."""
    p = numpy.zeros((2, 3))
    for value in VALUES:
        change(value)
        for _ in range(calls):
            p = step(p, numpy.ones((2, 3)))
    return p


@pytest.mark.parametrize("case", CASES)
def test_change_between_calls_is_seen(xp, case):
    expected = taken(*CASES[case](PLAIN), 5)
    step, change = CASES[case](xp)
    compiled = xp.compile(step)
    numpy.testing.assert_allclose(taken(compiled, change, 5), expected)
    assert compiled.report == ""
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("case", CASES)
def test_change_between_items_of_a_fold_is_seen(xp, case):
    def folded(step, change):
        def items():
            for value in VALUES:
                change(value)
                yield from [(numpy.ones((2, 3)),)] * 5

        return xp.fold(lambda p, g: (step(p, g),), (numpy.zeros((2, 3)),), items())

    expected = folded(*CASES[case](PLAIN))
    step, change = CASES[case](xp)
    compiled = xp.compile(lambda p, g: (step(p, g),))
    change(VALUES[0])

    def items():
        for value in VALUES:
            change(value)
            yield from [(numpy.ones((2, 3)),)] * 5

    found = xp.fold(compiled, (numpy.zeros((2, 3)),), items())
    numpy.testing.assert_allclose(found, expected)
    assert compiled.report == ""


def test_what_changes_at_every_call_is_named_and_right(xp):
    rule = Rule(xp)
    compiled, p = xp.compile(rule.attribute), numpy.zeros(3)
    for i in range(9):
        rule.rate = float(i)
        p = compiled(p, numpy.ones(3))
    numpy.testing.assert_array_equal(p, -36.0)
    assert compiled.report == "`Rule.rate` changes from call to call"


class Counting:
    """A rule that counts its steps."""

    def __init__(self, count):
        self.count = 0
        self.counts = [0]
        self.totals = {"steps": 0}
        self.array = numpy.zeros(1)
        self.log = []
        self._count = count
        self.begun = 0

    def init(self, xp, params):
        self.begun += 1
        return {}

    def __call__(self, xp, params, grads, state):
        self._count(self)
        return {name: xp.nn.sgd_step(p, grads[name], 0.1) for name, p in params.items()}, state


def by_attribute(rule):
    rule.count += 1


def by_item(rule):
    rule.counts[0] += 1


def by_key(rule):
    rule.totals["steps"] += 1


def by_array(rule):
    rule.array += 1


def by_log(rule):
    rule.log.append(None)


COUNTERS = {
    "count": (by_attribute, lambda rule: rule.count),
    "counts": (by_item, lambda rule: rule.counts[0]),
    "totals": (by_key, lambda rule: rule.totals["steps"]),
    "array": (by_array, lambda rule: rule.array[0]),
    "log": (by_log, lambda rule: len(rule.log)),
}


@pytest.mark.parametrize("name", COUNTERS)
def test_step_that_counts_counts_every_step_and_no_rehearsal(xp, dataset, name):
    count, counted = COUNTERS[name]
    rule = Counting(count)
    run = xpnet.fit(
        xp, xpnet.mlp(12, 3), dataset, test=dataset, optimizer=rule, epochs=2, batch_size=18, progress=False
    )
    assert (counted(rule), rule.begun) == (10, 1)
    assert run.report == f"the step changes `Counting.{name}`"


class Scheduled:
    """A rule whose rate a callback changes."""

    def __init__(self, lr):
        self.lr = lr

    def init(self, xp, params):
        return {}

    def __call__(self, xp, params, grads, state):
        return {name: xp.nn.sgd_step(p, grads[name], self.lr) for name, p in params.items()}, state


class Switched(xpnet.ReLU):
    """A layer that is a ReLU from some epoch on."""

    def __init__(self):
        object.__setattr__(self, "epoch", 0)

    def __call__(self, xp, params, x, *, stream=None):
        if self.epoch < 2:
            return xpnet.Tanh()(xp, params, x, stream=stream)
        return super().__call__(xp, params, x, stream=stream)


def test_change_by_a_callback_between_epochs_is_seen(xp, dataset):
    def trained(xp):
        rule, layer = Scheduled(0.5), Switched()
        model = xpnet.Sequential(xpnet.Linear(12, 8), layer, xpnet.Linear(8, 3))

        def change(run):
            rule.lr = 0.5 * 0.7 ** len(run.history)
            object.__setattr__(layer, "epoch", len(run.history))

        return xpnet.fit(
            xp, model, dataset, optimizer=rule, epochs=4, batch_size=16, callbacks=[change], progress=False
        )

    run, expected = trained(xp), trained(PLAIN)
    assert run.report == ""
    for name, p in expected.params.items():
        numpy.testing.assert_allclose(run.params[name], p, rtol=1e-4, atol=1e-6)


HELD = {
    "a_random": random.Random(0),
    "a_generator": numpy.random.default_rng(0),
    "a_state": numpy.random.RandomState(0),
}


@pytest.mark.parametrize("name", HELD)
def test_own_source_of_random_numbers_is_named(xp, name):
    held = types.SimpleNamespace(**HELD)

    def draw(p):
        generator = getattr(held, name)
        return xp.nn.sgd_step(p, p, float(generator.uniform(0.0, 1.0)))

    compiled = xp.compile(draw)
    for _ in range(3):
        compiled(numpy.ones(3))
    assert "source of random numbers" in compiled.report


@pytest.mark.parametrize(
    "draw",
    [
        lambda: random.random(),
        lambda: numpy.random.rand(),  # noqa: NPY002
        lambda: random.uniform(0.0, 1.0),
    ],
)
def test_global_source_of_random_numbers_is_no_constant(xp, draw):
    compiled = xp.compile(lambda p, g: xp.nn.sgd_step(p, g, draw()))
    found = [compiled(numpy.zeros(3), numpy.ones(3))[0] for _ in range(6)]
    assert len({*map(float, found)}) == 6
    assert compiled.report != ""


@pytest.mark.parametrize("held", [itertools.count(1), iter([1, 2, 3, 4, 5, 6]), threading.Lock()])
def test_what_nobody_can_watch_is_named(xp, held):
    rule = types.SimpleNamespace(held=held)

    def step(p, g):
        rate = 1.0 if isinstance(held, type(threading.Lock())) else next(rule.held)
        return xp.nn.sgd_step(p, g, rate)

    compiled = xp.compile(step)
    compiled(numpy.zeros(3), numpy.ones(3))
    assert type(held).__name__ in compiled.report
    assert "cannot be watched" in compiled.report


def test_large_array_that_did_not_come_as_an_argument_is_named(xp):
    table = numpy.ones(2**14)
    compiled = xp.compile(lambda p, g: xp.nn.sgd_step(p, g, float(table[3])))
    compiled(numpy.zeros(3), numpy.ones(3))
    assert "`table`" in compiled.report


class Loop:
    """A training of one's own, which keeps what its step returns."""

    def __init__(self, xp):
        self.xp = xp
        self.params = numpy.zeros((2, 3))
        self.history = []
        self.calls = 0
        self.rule = Scheduled(0.5)
        self.step = xp.compile(self._step)

    def _step(self, p, g):
        self._noted()
        return self.rule(self.xp, {"p": p}, {"p": g}, {})[0]["p"]

    @staticmethod
    def _noted():
        NOTED.append(None)

    def run(self, n):
        for i in range(n):
            self.calls = i
            self.params = self.step(self.params, numpy.ones((2, 3)))
            self.history.append(float(self.params[0, 0]))


NOTED = []
Loop._noted.__module__ = "xpnet.losses"  # so that it may note its calls, and be replayed


def test_what_the_step_does_not_name_may_change(xp):
    NOTED.clear()
    loop = Loop(xp)
    loop.run(8)
    assert loop.history == [-0.5 * i for i in range(1, 9)]
    assert loop.step.report == ""
    assert len(NOTED) == 2


@dataclasses.dataclass(frozen=True)
class Frozen(xpnet.SGD):
    """A rule of one's own that cannot change."""


@pytest.mark.parametrize(
    ("optimizer", "own"), [(xpnet.Adam(), True), (Frozen(0.1), False), (Scheduled(0.1), False)]
)
def test_only_what_is_not_of_xpnet_is_watched(xp, optimizer, own):
    data = xpnet.Dataset(make_images("sparse", (37, 29)), numpy.arange(37) % 3)
    trainer, _ = make_trainer(xp, xpnet.mlp(29, 10, 3), data, optimizer=optimizer)
    captured = Captured(xp, trainer._step)
    assert (captured.own, bool(captured)) == (own, not own)
    train(trainer, 37)
    assert trainer.report == ""
    plain, _ = make_trainer(PLAIN, xpnet.mlp(29, 10, 3), data, optimizer=optimizer)
    train(plain, 37)
    if not isinstance(optimizer, xpnet.Adam):
        assert_trained_alike(trainer, plain)
