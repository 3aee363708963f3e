"""Steps that reach something that cannot be watched are not replayed, and the report names it."""

import itertools
import random
import sys
import threading
import types

import numpy
import pytest


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


HELD = {
    "a_random": random.Random(0),
    "a_generator": numpy.random.default_rng(0),
    "a_state": numpy.random.RandomState(0),
}


@pytest.mark.parametrize("name", HELD)
def test_own_source_of_random_numbers_is_named(xp, name):
    held = types.SimpleNamespace(**HELD)

    def draw(xp, p):
        generator = getattr(held, name)
        return xp.nn.sgd_step(p, p, float(generator.uniform(0.0, 1.0)))

    compiled = xp.compile(draw)
    for _ in range(3):
        compiled(xp, numpy.ones(3))
    assert "source of random numbers" in compiled.report


@pytest.mark.parametrize(
    "draw",
    [
        lambda: random.random(),
        lambda: numpy.random.rand(),  # noqa: NPY002
        lambda: random.uniform(0.0, 1.0),
    ],
)
def test_global_source_of_random_numbers_is_not_a_constant(xp, draw):
    compiled = xp.compile(lambda xp, p, g: xp.nn.sgd_step(p, g, draw()))
    found = [compiled(xp, numpy.zeros(3), numpy.ones(3))[0] for _ in range(6)]
    assert len({*map(float, found)}) == 6
    assert compiled.report != ""


class Closed:
    """An object that raises when it is inspected."""

    @property
    def __dict__(self):
        raise RuntimeError("closed")

    rate = 1.0


def test_object_that_cannot_be_inspected_does_not_stop_the_step(xp):
    rule = Closed()
    compiled = xp.compile(lambda xp, p, g: xp.nn.sgd_step(p, g, rule.rate))
    for _ in range(3):
        numpy.testing.assert_array_equal(compiled(xp, numpy.zeros(3), numpy.ones(3)), -1.0)
    assert compiled.report == "what the step reaches cannot be watched: RuntimeError: closed"


@pytest.mark.parametrize("held", [itertools.count(1), iter([1, 2, 3, 4, 5, 6]), threading.Lock()])
def test_value_that_cannot_be_watched_is_named(xp, held):
    rule = types.SimpleNamespace(held=held)

    def step(xp, p, g):
        rate = 1.0 if isinstance(held, type(threading.Lock())) else next(rule.held)
        return xp.nn.sgd_step(p, g, rate)

    compiled = xp.compile(step)
    compiled(xp, numpy.zeros(3), numpy.ones(3))
    assert type(held).__name__ in compiled.report
    assert "cannot be watched" in compiled.report


@pytest.mark.parametrize("table", [numpy.ones(2**14), [1.0] * 2000], ids=["array", "list"])
def test_value_that_is_too_large_to_be_watched_is_named(xp, table):
    compiled = xp.compile(lambda xp, p, g: xp.nn.sgd_step(p, g, float(table[3])))
    compiled(xp, numpy.zeros(3), numpy.ones(3))
    assert "`table`" in compiled.report


@pytest.mark.parametrize(
    "read",
    [lambda: eval("RATE"), lambda: globals()["RA" + "TE"], lambda: vars(sys.modules[__name__])["RA" + "TE"]],
)
def test_value_read_by_a_name_in_a_string_is_not_a_constant(xp, read):
    compiled, found = xp.compile(lambda xp, p, g: xp.nn.sgd_step(p, g, read())), []
    for rate in (1.0, 1.0, 1.0, 0.5):
        globals()["RATE"] = rate
        found.append(float(compiled(xp, numpy.zeros(3), numpy.ones(3))[0]))
    assert found == [-1.0, -1.0, -1.0, -0.5]
    assert "and what that reads cannot be watched" in compiled.report
