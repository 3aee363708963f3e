"""Values that a replayed step reaches besides its arguments: a change is seen, or the report names it."""

import collections
import ctypes
import functools
import operator
import sys
import types
import typing

import numpy
import pytest
from steps import PLAIN

import xpnet

RATE = 1.0
SETTINGS = types.ModuleType("settings")
SETTINGS.rate = 1.0
sys.modules["settings_of_a_test"] = SETTINGS


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


def closure():
    rate = 1.0

    def step(xp, p, g):
        return xp.nn.sgd_step(p, g, rate)

    def change(value):
        nonlocal rate
        rate = value

    return step, change


def variable_of_a_module():
    def step(xp, p, g):
        return xp.nn.sgd_step(p, g, RATE)

    return step, functools.partial(globals().__setitem__, "RATE")


def attribute_of_a_module():
    return lambda xp, p, g: xp.nn.sgd_step(p, g, SETTINGS.rate), functools.partial(setattr, SETTINGS, "rate")


def attribute_of_the_step():
    def step(xp, p, g):
        return xp.nn.sgd_step(p, g, step.rate)

    step.rate = 1.0
    return step, functools.partial(setattr, step, "rate")


def item_of_a_default():
    rates = [1.0]

    def step(xp, p, g, rates=rates):
        return xp.nn.sgd_step(p, g, rates[0])

    return lambda xp, p, g: step(xp, p, g), functools.partial(rates.__setitem__, 0)


def default_of_a_keyword():
    def step(xp, p, g, *, rate=1.0):
        return xp.nn.sgd_step(p, g, rate)

    return step, functools.partial(step.__kwdefaults__.__setitem__, "rate")


def attribute_of_a_metaclass():
    class Meta(type):
        rate = 1.0

    class Settings(metaclass=Meta):
        pass

    return lambda xp, p, g: xp.nn.sgd_step(p, g, Settings.rate), functools.partial(setattr, Meta, "rate")


def item_by_an_attribute():
    class Settings(dict):
        __getattr__ = dict.__getitem__

    settings = Settings(rate=1.0)
    return lambda xp, p, g: xp.nn.sgd_step(p, g, settings.rate), functools.partial(
        settings.__setitem__, "rate"
    )


def argument_of_a_partial():
    rates = {"rate": 1.0}
    step = functools.partial(lambda rates, xp, p, g: xp.nn.sgd_step(p, g, rates["rate"]), rates)
    return step, functools.partial(rates.__setitem__, "rate")


def keyword_of_a_partial():
    step = functools.partial(lambda xp, p, g, rate: xp.nn.sgd_step(p, g, rate), rate=1.0)
    return lambda xp, p, g: step(xp, p, g), functools.partial(step.keywords.__setitem__, "rate")


def attribute_of_a_number():
    class Rate(float):
        factor = 1.0

    rate = Rate(1.0)
    return lambda xp, p, g: xp.nn.sgd_step(p, g, rate.factor), functools.partial(setattr, rate, "factor")


def rate_of_an_own_class():
    class Rule(xpnet.Momentum):
        rate = property(lambda self: self.lr)

    rule = Rule(1.0)
    return lambda xp, p, g: xp.nn.sgd_step(p, g, rule.rate), functools.partial(object.__setattr__, rule, "lr")


def field_that_an_inherited_call_reads():
    class Rule(xpnet.SGD):
        pass

    rule = Rule(1.0)
    step = lambda xp, p, g: rule(xp, {"p": p}, {"p": g}, {})[0]["p"]  # noqa: E731
    return step, functools.partial(object.__setattr__, rule, "lr")


def item_of_a_named_tuple():
    settings = Settings({"rate": 1.0})
    step = lambda xp, p, g: xp.nn.sgd_step(p, g, settings.rates["rate"])  # noqa: E731
    return step, functools.partial(settings.rates.__setitem__, "rate")


def attribute_by_a_getter():
    rule, rate_of = types.SimpleNamespace(rate=1.0), operator.attrgetter("rate")
    return lambda xp, p, g: xp.nn.sgd_step(p, g, rate_of(rule)), functools.partial(setattr, rule, "rate")


def function_for_a_type():
    rates = {"rate": 1.0}
    rate_for = functools.singledispatch(lambda x: 0.0)
    rate_for.register(numpy.ndarray, lambda x: rates["rate"])
    step = lambda xp, p, g: xp.nn.sgd_step(p, g, rate_for(g))  # noqa: E731
    return step, functools.partial(rates.__setitem__, "rate")


def class_of_an_object():
    rule = type("Rule", (), {"rate": 1.0})()

    def change(value):
        rule.__class__ = type("Rule", (), {"rate": value})

    return lambda xp, p, g: xp.nn.sgd_step(p, g, rule.rate), change


def code_of_a_function():
    def rate():
        return 1.0

    def change(value):
        rate.__code__ = rate.__code__.replace(
            co_consts=tuple(value if type(x) is float else x for x in rate.__code__.co_consts)
        )

    return lambda xp, p, g: xp.nn.sgd_step(p, g, rate()), change


def function_behind_a_function():
    step, change = closure()
    return functools.wraps(step)(lambda xp, p, g: step(xp, p, g)), change


def function_behind_a_compiled_one():
    step, change = closure()
    inner = xpnet.backend("numpy").compile(step)
    return lambda xp, p, g: inner(xp, p, g), change


class Settings(typing.NamedTuple):
    rates: dict[str, float]


class Rule:
    shared = 1.0

    def __init__(self):
        self.rate = 1.0
        self.rates = numpy.array([5.0, 1.0])
        self.tables = {"rates": [5.0, 1.0]}
        self.queue = collections.deque([1.0])
        self.inner = Slotted()
        self.space = types.SimpleNamespace(rate=1.0)
        self.cell = ctypes.c_double(1.0)
        self.epoch = 0

    def attribute(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.rate)

    def array(self, xp, p, g):
        return xp.nn.sgd_step(p, g, float(self.rates[1]))

    def tree(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.tables["rates"][1])

    def end_of_a_queue(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.queue[-1])

    def slot(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.inner.rate)

    def simple(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.space.rate)

    def by_name(self, xp, p, g):
        return xp.nn.sgd_step(p, g, getattr(self, "ra" + "te"))

    def behind_a_property(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.doubled)

    def of_the_class(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.shared)

    def buffer(self, xp, p, g):
        return xp.nn.sgd_step(p, g, self.cell.value)

    def pattern(self, xp, p, g):
        match self:
            case Rule(rate=rate):
                return xp.nn.sgd_step(p, g, rate)

    def own_import(self, xp, p, g):
        import settings_of_a_test

        return xp.nn.sgd_step(p, g, settings_of_a_test.rate)

    def branch(self, xp, p, g):
        return xp.nn.sgd_step(p, g, 1.0) if self.epoch < 1 else xp.nn.sgd_step(p, g, 0.25)

    @property
    def doubled(self):
        return 2 * self.rate

    def __call__(self, xp, p, g):
        return self.attribute(xp, p, g)


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
    "buffer": lambda rule, value: setattr(rule.cell, "value", value),
    "pattern": lambda rule, value: setattr(rule, "rate", value),
    "own_import": lambda rule, value: setattr(SETTINGS, "rate", value),
    "branch": lambda rule, value: setattr(rule, "epoch", value),
}


def method(name):
    def make():
        rule = Rule()
        step = rule if name == "__call__" else getattr(rule, name)
        return step, functools.partial(METHODS[name], rule)

    return make


FUNCTIONS = [
    closure,
    variable_of_a_module,
    attribute_of_a_module,
    attribute_of_the_step,
    item_of_a_default,
    default_of_a_keyword,
    attribute_of_a_metaclass,
    item_by_an_attribute,
    argument_of_a_partial,
    keyword_of_a_partial,
    attribute_of_a_number,
    item_of_a_named_tuple,
    rate_of_an_own_class,
    field_that_an_inherited_call_reads,
    attribute_by_a_getter,
    function_for_a_type,
    class_of_an_object,
    code_of_a_function,
    function_behind_a_function,
    function_behind_a_compiled_one,
]
CASES = {f.__name__: f for f in FUNCTIONS} | {name: method(name) for name in METHODS}
VALUES = [1.0, 0.5, 3.0]


def taken(xp, step, change, calls):
    """Return the parameter after this many calls with each of the values."""
    p = numpy.zeros((2, 3))
    for value in VALUES:
        change(value)
        for _ in range(calls):
            p = step(xp, p, numpy.ones((2, 3)))
    return p


@pytest.mark.parametrize("case", CASES)
def test_change_between_calls_is_seen(xp, case):
    expected = taken(PLAIN, *CASES[case](), 5)
    step, change = CASES[case]()
    compiled = xp.compile(step)
    numpy.testing.assert_allclose(taken(xp, compiled, change, 5), expected)
    assert compiled.report == ""
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("case", CASES)
def test_change_between_items_of_a_fold_is_seen(xp, case):
    def folded(xp):
        step, change = CASES[case]()
        compiled = xp.compile(lambda xp, p, g: (step(xp, p, g),))
        change(VALUES[0])

        def items():
            for value in VALUES:
                change(value)
                yield from [(numpy.ones((2, 3)),)] * 5

        return xp.fold(compiled, (numpy.zeros((2, 3)),), items()), compiled

    (expected, _), (found, compiled) = folded(PLAIN), folded(xp)
    numpy.testing.assert_allclose(found, expected)
    assert compiled.report == ""


def test_step_that_initialises_something_in_its_first_call_is_replayed(xp):
    class Lazy:
        @functools.cached_property
        def rate(self):
            return 0.5

    rule = Lazy()
    compiled, p = xp.compile(lambda xp, p, g: xp.nn.sgd_step(p, g, rule.rate)), numpy.zeros(3)
    for _ in range(5):
        p = compiled(xp, p, numpy.ones(3))
    numpy.testing.assert_array_equal(p, -2.5)
    assert compiled.report == ""
    assert len(compiled.programs) == 1


def test_what_changes_at_every_call_is_named_and_right(xp):
    rule = Rule()
    compiled, p = xp.compile(rule.attribute), numpy.zeros(3)
    for i in range(9):
        rule.rate = float(i)
        p = compiled(xp, p, numpy.ones(3))
    numpy.testing.assert_array_equal(p, -36.0)
    assert compiled.report == "`Rule.rate` changes from call to call"


class Parts:
    rate = 1.0


def test_global_with_the_name_of_an_attribute_may_change(xp):
    parts = Parts()

    def step(xp, p, g):
        return xp.nn.sgd_step(p, g, parts.rate)

    compiled = xp.compile(step)
    p = numpy.zeros(2)
    for i in range(8):
        globals()["rate"] = float(i)
        p = compiled(xp, p, numpy.ones(2))
    assert compiled.report == ""
    assert p[0] == -8
