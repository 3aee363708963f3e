"""Steps as people write them are replayed, whatever surrounds them."""

import contextlib
import io
import logging
import random
import types

import numpy
import pytest

import xpnet

LOG = logging.getLogger("steps of a test")
OTHERS = types.SimpleNamespace(rate=0.5, random=random, images=numpy.zeros((1000, 100)))


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


@pytest.fixture(autouse=True)
def handler():
    handler = logging.StreamHandler(io.StringIO())
    LOG.addHandler(handler)
    yield
    LOG.removeHandler(handler)


class Rule:
    """An object with a logger, an attribute named like a module, and large arrays that the step ignores."""

    def __init__(self):
        self.log = LOG
        self.random = False
        self.images = numpy.zeros((1000, 100))
        self.data = xpnet.Dataset(numpy.zeros((4, 3)), [0, 1, 0, 1])

    def logged(self, xp, p, g):
        self.log.debug("a step")
        return xp.nn.sgd_step(p, g, 0.5)

    def named_like_a_module(self, xp, p, g):
        return p if self.random else xp.nn.sgd_step(p, g, 0.5)

    def one_of_many_settings(self, xp, p, g):
        return xp.nn.sgd_step(p, g, OTHERS.rate)

    def scaled_by_a_length(self, xp, p, g):
        return xp.nn.sgd_step(p, g, 2 / len(self.data))

    def printed(self, xp, p, g):
        print("a step")
        with contextlib.suppress(KeyError):
            return xp.nn.sgd_step(p, g, 0.5)


@pytest.mark.parametrize(
    "name", ["logged", "named_like_a_module", "one_of_many_settings", "scaled_by_a_length", "printed"]
)
def test_step_of_an_ordinary_program_is_replayed(xp, name):
    compiled, p = xp.compile(getattr(Rule(), name)), numpy.zeros(3)
    for _ in range(5):
        p = compiled(xp, p, numpy.ones(3))
    numpy.testing.assert_array_equal(p, -2.5)
    assert compiled.report == ""
    assert len(compiled.programs) == 1
