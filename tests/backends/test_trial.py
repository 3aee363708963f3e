"""The trial of a program, on copies beside the step."""

import dataclasses

import numpy
import pytest
from steps import assert_same

from xpnet import nn


@pytest.fixture(scope="module")
def xp(replaying):
    return replaying


NUMBERS = {
    "sgd_step": (1.0,),
    "momentum_step": (1.0, 0.5),
    "nesterov_step": (1.0, 0.5),
    "adam_step": (3, 0.1, 0.9, 0.99, 1e-8),
}


@pytest.mark.parametrize("name", [name for name, f in nn.FUNCTIONS.items() if f.is_step])
def test_change_in_place_that_is_not_declared_is_found(xp, name, monkeypatch):
    """A trial is run on copies, so a program that changes more than it says leaves the arguments alone."""
    names = nn.FUNCTIONS[name].changed

    def step(xp, grad, param, *states):
        made = getattr(xp.nn, name)(param, grad, *states, *NUMBERS[name])
        return made if isinstance(made, tuple) else (made,)

    def taken(step):
        arrays = [numpy.zeros((2, 3)) for _ in names]
        for _ in range(4):
            arrays = step(xp, numpy.ones((2, 3)), *arrays)
        return arrays

    expected = taken(step)
    declared = nn.FUNCTIONS[name]
    forms = {key: dataclasses.replace(form, changed=False) for key, form in declared.arguments.items()}
    monkeypatch.setitem(nn.FUNCTIONS, name, dataclasses.replace(declared, arguments=forms))
    compiled = xp.compile(step)
    assert_same(taken(compiled), expected, dtype="float64")
    assert compiled.report != ""
